//! Cross-fitting with the memory of good parts: a part is judged by the recipe on the map that a memory of others has joined.

use super::crossfit::Learner;
use crate::anomaly::Prediction;
use crate::line::recipe::{Recipe, RecipeError, RecipeSpec, Statistics};
use crate::memory::{self, Memory, MemoryError, Settings};

/// A good part that may make the memory and be judged by one.
#[derive(Clone, Debug)]
pub struct GoodPart {
    /// The model's own answer, with its tokens.
    pub prediction: Prediction,
    /// Columns and rows of its frame.
    pub size: (u32, u32),
}

/// Learns memories with these settings and judges with this recipe.
pub struct Remembering {
    /// Of every memory.
    pub settings: Settings,
    /// Whose regions and `min_area_px` the statistics follow.
    pub recipe: RecipeSpec,
}

/// A part could not be learnt or judged.
#[derive(Debug, thiserror::Error)]
pub enum RememberError {
    /// The memory says so.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The recipe says so.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
}

impl Learner for Remembering {
    type Part = GoodPart;
    type Memory = Memory;
    type Error = RememberError;

    fn learn(&self, parts: &[&GoodPart]) -> Result<Memory, RememberError> {
        let mut learner = memory::Learner::new(self.settings.clone());
        for GoodPart { prediction, size } in parts {
            let Prediction { score, tokens, .. } = prediction;
            let no_tokens = || MemoryError::NoTokens { engine: self.settings.model.engine.clone() };
            learner.take(tokens.as_ref().ok_or_else(no_tokens)?, *score, *size)?;
        }
        Ok(learner.finish()?)
    }

    fn judge(&self, memory: &Memory, part: &GoodPart) -> Result<Statistics, RememberError> {
        let joined = memory.look(part.prediction.clone(), part.size)?;
        Ok(Recipe::new(self.recipe.clone()).statistics(&joined, part.size.0, part.size.1)?)
    }
}

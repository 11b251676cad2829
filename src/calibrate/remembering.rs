//! Cross-fitting with the memory of good parts: a part is judged by the recipe on the map that a memory of others has joined.

use std::marker::PhantomData;

use super::crossfit::Learner;
use crate::anomaly::Prediction;
use crate::line::recipe::{Recipe, RecipeError, RecipeSpec, Statistics};
use crate::memory::{self, Memory, MemoryError, Settings};

/// What the model says of a good part that may make the memory and be judged by one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GoodPart {
    /// The model's own answer, with its tokens.
    pub prediction: Prediction,
    /// Columns and rows of its frame.
    pub size: (u32, u32),
    /// Of its picture, as [`Look`](super::Look) has it.
    pub sha256: [u8; 32],
}

/// Learns memories with these settings and judges with this recipe. `see` says what the model says of a part: it is asked
/// when a part's turn has come, for each memory that it joins and once to judge it, so that many parts need no room.
pub struct Remembering<P, S: Fn(&P) -> Result<GoodPart, E>, E: From<RememberError>> {
    settings: Settings,
    recipe: RecipeSpec,
    see: S,
    parts: PhantomData<fn(&P) -> E>,
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

impl<P, S: Fn(&P) -> Result<GoodPart, E>, E: From<RememberError>> Remembering<P, S, E> {
    /// `settings` are those of every memory; regions and `min_area_px` of the recipe are those of the statistics.
    pub fn new(settings: Settings, recipe: RecipeSpec, see: S) -> Self {
        Self { settings, recipe, see, parts: PhantomData }
    }
}

fn unfit<E: From<RememberError>>(error: impl Into<RememberError>) -> E {
    error.into().into()
}

impl<P, S: Fn(&P) -> Result<GoodPart, E>, E: From<RememberError>> Learner for Remembering<P, S, E> {
    type Part = P;
    type Memory = Memory;
    type Error = E;

    fn learn(&self, parts: &[&P]) -> Result<Memory, E> {
        let mut learner = memory::Learner::new(self.settings.clone());
        for part in parts {
            let GoodPart { prediction: Prediction { score, tokens, .. }, size, sha256 } = (self.see)(part)?;
            let no_tokens = || MemoryError::NoTokens { engine: self.settings.model.engine.clone() };
            let tokens = tokens.ok_or_else(no_tokens).map_err(unfit::<E>)?;
            learner.take(&tokens, score, size).map_err(unfit::<E>)?;
            learner.note(sha256);
        }
        learner.finish().map_err(unfit)
    }

    fn judge(&self, memory: &Memory, part: &P) -> Result<Statistics, E> {
        let GoodPart { prediction, size, .. } = (self.see)(part)?;
        let joined = memory.look(prediction, size).map_err(unfit::<E>)?;
        Recipe::new(self.recipe.clone()).statistics(&joined, size.0, size.1).map_err(unfit)
    }
}

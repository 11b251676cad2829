//! The few-shot protocol: a memory for each class, of a few of its good training pictures, drawn by a seed.

use super::error::EvalError;
use crate::clock::{Clock, SystemClock};
use crate::dataset::{Dataset, Item};
use crate::dice::Dice;
use crate::engine::Engine;
use crate::frame::Frame;
use crate::memory::{Learner, Memory, Settings};

/// The shape of every picture of a data set: some differ from one to the next, the model squeezes each into its square, and a
/// column of figures is for all of them.
pub fn shape(size: usize) -> (u32, u32) {
    (size as u32, size as u32)
}

/// Good pictures for every class.
pub struct FewShot {
    /// The training pictures, of which the good ones are used.
    pub training: Dataset,
    /// Good pictures of each class.
    pub good: usize,
    /// Draws them.
    pub seed: u64,
    /// Tokens of a memory per tapped layer, as multiples of one picture's.
    pub pictures_of_tokens: usize,
}

impl FewShot {
    /// Errors unless every class of `evaluated` has enough good training pictures.
    pub fn check(&self, evaluated: &Dataset) -> Result<(), EvalError> {
        for class in &evaluated.classes {
            let there = self.good_of(&class.name).len();
            if there < self.good {
                return Err(EvalError::TooFewGood { class: class.name.clone(), there, wanted: self.good });
            }
        }
        Ok(())
    }

    fn good_of(&self, class: &str) -> Vec<&Item> {
        let class = self.training.classes.iter().find(|other| other.name == class);
        class.map(|class| class.items.iter().filter(|item| !item.anomalous).collect()).unwrap_or_default()
    }

    /// The class's memory. The engine hands out tokens from here on.
    pub fn memory(&self, class: &str, engine: &mut dyn Engine) -> Result<Memory, EvalError> {
        engine.hand_out_tokens(true);
        let mut good = self.good_of(class);
        let mut dice = Dice::labelled(&["few-shot", class], self.seed);
        let settings = Settings {
            model: engine.info().model(),
            size: engine.info().image_size,
            sigma: engine.info().sigma,
            pictures_of_tokens: self.pictures_of_tokens,
            by: "eval".into(),
            now: SystemClock.now().wall,
        };
        let mut learner = Learner::new(settings);
        for _ in 0..self.good.min(good.len()) {
            let item = good.swap_remove(dice.below(good.len()));
            let (image, _) = item.load_noting(&mut Vec::new()).map_err(|error| EvalError::Strict(error.into()))?;
            let frame = Frame::alone("good", SystemClock.now(), image);
            let named = |source| EvalError::Engine { image: item.image.clone(), source };
            let answer = engine.infer(&[&frame]).map_err(named)?.into_iter().next();
            if let Some(answer) = answer.as_ref()
                && let Some(tokens) = &answer.tokens
            {
                learner.take(tokens, answer.score, shape(engine.info().image_size))?;
            }
        }
        Ok(learner.finish()?)
    }
}

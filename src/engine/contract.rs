//! What every engine does, and what it says about itself.

use std::time::Instant;

use super::choice::{EngineChoice, Precision};
use super::error::EngineError;
use crate::anomaly::Prediction;
use crate::event::ModelInfo;
use crate::frame::{Frame, Image};
use crate::weights::bundle::Bundle;

/// Answers with pictures of the next frames in turn, at most so many, which the engine will be asked for next in this order; until it
/// is, it hears of the same again. Nothing newer takes their place, but a part that nobody waits for any longer may leave a gap.
pub type Coming<'a> = dyn Fn(usize) -> Vec<Image> + 'a;

/// The [`Coming`] of those who know of no next frame.
pub fn nothing_comes(_: usize) -> Vec<Image> {
    Vec::new()
}

/// Runs the model. Opened inside the thread that uses it; not `Send`.
///
/// Implemented by the four engines, by the bench's engine that replays one map, and by those that tests break.
pub trait Engine {
    /// One prediction per frame, in order. Takes at most [`EngineInfo::max_batch`] frames.
    fn infer(&mut self, frames: &[&Frame]) -> Result<Vec<Prediction>, EngineError>;
    /// As [`Self::infer`]. While the answers are computed, an engine may ask `coming` for pictures that are next, as often as it has
    /// room for them, and begin with them. Whatever is asked for next is answered all the same.
    fn infer_looking_ahead(&mut self, frames: &[&Frame], _coming: &Coming<'_>) -> Result<Vec<Prediction>, EngineError> {
        self.infer(frames)
    }
    /// As [`Self::infer_looking_ahead`]; the answer for each frame counts until its `due` and no longer. An engine that asks other
    /// computers may have answers for some frames and none for others.
    fn infer_until(
        &mut self,
        frames: &[&Frame],
        _due: &[Option<Instant>],
        coming: &Coming<'_>,
    ) -> Result<Vec<Result<Prediction, EngineError>>, EngineError> {
        Ok(self.infer_looking_ahead(frames, coming)?.into_iter().map(Ok).collect())
    }
    /// All tiles of a frame, as many at a time as pay off here. A tile is cut when there is room for it and its answer handed over
    /// as soon as it is there, so that no more of them are in memory than the engine works on. Ends early, without an error, when
    /// nobody wants the rest.
    fn infer_tiles(&mut self, tiles: &mut dyn Tiles) -> Result<(), EngineError> {
        let (count, most) = (tiles.count(), self.info().max_batch);
        for first in (0..count).step_by(most) {
            if !tiles.wanted() {
                break;
            }
            let batch: Vec<Frame> = (first..count.min(first + most)).map(|at| tiles.cut(at)).collect();
            let due = vec![tiles.until(); batch.len()];
            let answers = self.infer_until(&batch.iter().collect::<Vec<_>>(), &due, &nothing_comes)?;
            if answers.len() != batch.len() {
                let reason = format!("{} predictions for {} tiles", answers.len(), batch.len());
                return Err(EngineError::Runtime { engine: self.info().engine, step: "inference", reason });
            }
            for (at, answer) in (first..).zip(answers) {
                tiles.take(at, answer?);
            }
        }
        Ok(())
    }
    /// From now on maps carry the two that were blended into them ([`AnomalyMap::paths`](crate::anomaly::AnomalyMap::paths)), or no
    /// longer. An engine that cannot leaves this out.
    fn hand_out_paths(&mut self, _wanted: bool) {}
    /// From now on predictions carry the patch tokens, or no longer: at first they do not, because copying them takes time
    /// (an engine on a card copies them when somebody asks for them). An engine that has none leaves this out.
    fn hand_out_tokens(&mut self, _wanted: bool) {}
    /// Who is looking.
    fn info(&self) -> &EngineInfo;
}

/// The tiles of one frame. Implemented by the stitching of [`crate::look`], and by tests.
pub trait Tiles {
    /// How many.
    fn count(&self) -> usize;
    /// The pixels of one, as a frame of its own.
    fn cut(&mut self, at: usize) -> Frame;
    /// The answer for one; they come in any order.
    fn take(&mut self, at: usize, answer: Prediction);
    /// Until when their answers count; `None` is always.
    fn until(&self) -> Option<Instant> {
        None
    }
    /// Whether anybody still waits for the rest.
    fn wanted(&self) -> bool {
        true
    }
}

/// Identity of an open engine; goes into every event.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineInfo {
    /// Model name in the manifest.
    pub model: String,
    /// SHA-256 of the bundle's weights, hexadecimal.
    pub sha256: String,
    /// The engine really used, never `Auto`.
    pub engine: EngineChoice,
    /// Arithmetic really used.
    pub precision: Precision,
    /// Largest batch.
    pub max_batch: usize,
    /// Side S of the model's input and of the map, pixels.
    pub image_size: usize,
    /// Standard deviation of the Gaussian over the model's map, pixels of it.
    pub sigma: f32,
    /// Pixels of a path's map whose mean is its part of the image score.
    pub top_k: usize,
}

impl EngineInfo {
    /// The identity of an engine that runs `bundle`.
    pub fn new(bundle: &Bundle, engine: EngineChoice, precision: Precision, max_batch: usize) -> Self {
        let manifest = bundle.manifest();
        Self {
            model: manifest.name.clone(),
            sha256: bundle.sha256().to_owned(),
            engine,
            precision,
            max_batch: max_batch.max(1),
            image_size: manifest.architecture.image_size,
            sigma: manifest.constants.sigma,
            top_k: manifest.constants.top_k,
        }
    }

    /// The same as events tell it.
    pub fn model(&self) -> ModelInfo {
        ModelInfo {
            name: self.model.clone(),
            sha256: self.sha256.clone(),
            engine: self.engine.to_string(),
            precision: self.precision.to_string(),
            memory: None,
        }
    }

    /// An error unless `got` frames are a batch this engine takes.
    pub fn check_batch(&self, got: usize) -> Result<(), EngineError> {
        if got == 0 || got > self.max_batch {
            return Err(EngineError::Batch { got, max: self.max_batch });
        }
        Ok(())
    }
}

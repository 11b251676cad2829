//! What good parts look like: patch tokens of good pictures, thinned to a bounded number, and how far a picture's tokens are
//! from the nearest of them. Good parts themselves decide how much of it joins the model's map: see [`fusion`].
//!
//! Comparing the tapped tokens of a CLIP tower with those of a few good pictures, cosine distance per patch, is the few-shot
//! half of APRIL-GAN (Chen et al., VAND 2023 challenge, arXiv 2305.17382).

mod about;
mod core_set;
mod error;
mod file;
pub mod fusion;
mod learner;
pub mod look_up;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tiles;

pub use about::{About, FORMAT, same_shape};
pub use error::MemoryError;
pub use learner::{Learner, Settings};

/// Tokens kept per tapped layer unless asked otherwise, as multiples of one picture's.
pub const PICTURES_OF_TOKENS: u16 = 4;

use std::fmt;

use crate::anomaly::{AnomalyMap, Prediction};
use crate::event::{MemoryInfo, ModelInfo};
use crate::tokens::{Known, PatchTokens};
use fusion::Fusion;
use look_up::{Arithmetic, nearest_in, normalised};

/// A finished memory, ready to be looked things up in.
pub struct Memory {
    about: About,
    /// Per tapped layer: rows of length 1.
    taps: Vec<Vec<f32>>,
    fusion: Fusion,
    /// Why it cannot be used.
    lost: Option<String>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} of {} parts)", self.about.id, self.about.parts)
    }
}

impl Memory {
    /// Where it comes from.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// How both maps become one.
    pub fn fusion(&self) -> &Fusion {
        &self.fusion
    }

    /// As events tell it.
    pub fn info(&self) -> MemoryInfo {
        MemoryInfo { id: self.about.id.clone(), parts: self.about.parts }
    }

    /// Bytes that it takes while it is in use.
    pub fn bytes(&self) -> usize {
        self.taps.iter().map(|tap| tap.len() * size_of::<f32>()).sum()
    }

    /// Stands for one that cannot be read: it fits no model, so that nobody judges without it what it was to help with.
    pub fn lost(reason: String) -> Self {
        Self {
            about: About::nothing(),
            taps: Vec::new(),
            fusion: Fusion::decide(&[], 0, 1, 1, 0.0),
            lost: Some(reason),
        }
    }

    /// Errors unless it was made with this model, engine and precision.
    pub fn fits(&self, model: &ModelInfo) -> Result<(), MemoryError> {
        match &self.lost {
            Some(reason) => Err(MemoryError::Lost { reason: reason.clone() }),
            None => self.about.fits(model),
        }
    }

    /// The prediction with what the memory knows in its map and score; its tokens are used up. `size` is that of the frame.
    pub fn look(&self, prediction: Prediction, size: (u32, u32)) -> Result<Prediction, MemoryError> {
        let Prediction { map, score, times, tokens } = prediction;
        // The recipe says what becomes of it.
        if !score.is_finite() || !map.peak().is_finite() {
            return Ok(Prediction { map, score, times, tokens: None });
        }
        let tokens = tokens.ok_or_else(|| MemoryError::NoTokens { engine: self.about.model.engine.clone() })?;
        self.about.fits_picture(size)?;
        let begin = std::time::Instant::now();
        self.about.fits_tokens(&tokens)?;
        // Where map and tokens lie on a card, it compares and joins them; nothing but the answer comes from there.
        let (map, score) = match map.joined(&self.known(map.size())) {
            Some(joined) => joined,
            None => {
                let distances = self.distances(&tokens)?;
                let (values, score) = self.fusion.join(&distances, map.values(), map.size(), score);
                (AnomalyMap::new(map.size(), values), score)
            }
        };
        let times = crate::anomaly::StageTimes { postprocess: times.postprocess + begin.elapsed(), ..times };
        Ok(Prediction { map, score, times, tokens: None })
    }

    /// As [`Self::look`] for one tile of a frame of this size. The score stays the model's; beside it stands how far the memory's peak
    /// lies above the middle, which [`Fusion::join_score`] takes for the largest of all tiles.
    pub fn look_at_tile(&self, prediction: Prediction, size: (u32, u32)) -> Result<(Prediction, f32), MemoryError> {
        let Prediction { map, score, times, tokens } = prediction;
        let tokens = tokens.ok_or_else(|| MemoryError::NoTokens { engine: self.about.model.engine.clone() })?;
        self.about.fits_picture(size)?;
        let begin = std::time::Instant::now();
        self.about.fits_tokens(&tokens)?;
        let distances = self.distances(&tokens)?;
        let (values, above) = self.fusion.join_map(&distances, map.values(), map.size());
        let map = AnomalyMap::new(map.size(), values);
        let times = crate::anomaly::StageTimes { postprocess: times.postprocess + begin.elapsed(), ..times };
        Ok((Prediction { map, score, times, tokens: None }, above))
    }

    /// As a card takes it, for maps of side `size`.
    pub fn known(&self, size: usize) -> Known<'_> {
        let joining = self.fusion.joining(size);
        Known { id: &self.about.id, taps: &self.taps, width: self.about.width, joining }
    }

    /// Cosine distance of each patch to the nearest token, per tapped layer: N numbers each.
    fn distances(&self, tokens: &PatchTokens) -> Result<Vec<Vec<f32>>, MemoryError> {
        if tokens.taps().len() != self.taps.len() {
            return Err(MemoryError::TokensLost);
        }
        let width = tokens.width();
        let arithmetic = Arithmetic::of(&self.about.model.precision);
        let look = |(tap, memory): (&Vec<f32>, &Vec<f32>)| {
            nearest_in(arithmetic, &normalised(tap, width), memory, width, |_| false)
        };
        Ok(tokens.taps().iter().zip(&self.taps).map(look).collect())
    }
}

//! What an engine says about a frame: a score for every pixel and one for the whole picture.

use std::time::Duration;

/// Anomaly per pixel of the model's square input, row by row: 0 is normal, 1 is anomalous; raw, uncalibrated.
#[derive(Clone, Debug, PartialEq)]
pub struct AnomalyMap {
    size: usize,
    values: Vec<f32>,
}

impl AnomalyMap {
    /// Takes `size × size` values.
    ///
    /// # Panics
    /// When `values` has another length: engines build maps, users do not.
    pub fn new(size: usize, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), size * size, "an anomaly map is square");
        Self { size, values }
    }

    /// Side length S in pixels of the model's input.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The S×S values, row by row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

/// Where the time of one inference went. For a batch, each frame carries its share of the batch's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// Resize and normalisation.
    pub preprocess: Duration,
    /// The network.
    pub inference: Duration,
    /// Post-VCP, map fusion and score.
    pub postprocess: Duration,
}

/// An engine's answer for one frame.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// The blended and smoothed map.
    pub map: AnomalyMap,
    /// Image score in raw model units: 0 … 2, the sum of two top-k means.
    pub score: f32,
    /// Where the time went.
    pub times: StageTimes,
}

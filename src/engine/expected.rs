//! What the reference engine says about the picture of the self-test; kept with every plan.

use serde::{Deserialize, Serialize};

/// What the reference engine said about the picture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Seed of the picture.
    pub seed: u64,
    /// Image score, 0 … 2.
    pub score: f32,
    /// Largest value of the map.
    pub peak: f32,
    /// The map on a grid, row by row: its values themselves, no means that would hide a local error.
    pub samples: Vec<f32>,
}

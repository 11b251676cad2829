//! What the vision tower says about every patch of one picture: the tokens that its tapped blocks hand out.

use std::sync::Arc;

/// F_ℓ of one picture for every tapped layer ℓ: N×Cv numbers each, patches row by row of the G×G grid. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PatchTokens {
    grid: usize,
    width: usize,
    taps: Arc<[Vec<f32>]>,
}

impl PatchTokens {
    /// Takes N×`width` numbers per tapped layer, N = `grid`².
    ///
    /// # Panics
    /// When a layer has another length: engines hand these out, users do not.
    pub fn new(grid: usize, width: usize, taps: Vec<Vec<f32>>) -> Self {
        assert!(taps.iter().all(|tap| tap.len() == grid * grid * width), "tokens of {grid}x{grid} patches");
        Self { grid, width, taps: taps.into() }
    }

    /// G, patches along one side.
    pub fn grid(&self) -> usize {
        self.grid
    }

    /// Cv, numbers of a token.
    pub fn width(&self) -> usize {
        self.width
    }

    /// N×Cv numbers per tapped layer.
    pub fn taps(&self) -> &[Vec<f32>] {
        &self.taps
    }
}

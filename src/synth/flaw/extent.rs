//! What a defect covers of the picture, and how much it may.

use crate::synth::product::Piece;
use crate::synth::scene::Window;

/// Bounds of a defect's area, as shares of the picture.
pub(super) const AREA: (f32, f32) = (0.003, 0.06);

/// What a defect covers, for every pixel of the picture.
pub(super) struct Extent {
    /// Side of the picture, pixels.
    pub size: usize,
    /// 0 untouched … 1 covered.
    pub cover: Vec<f32>,
    /// Change of height.
    pub relief: Vec<f32>,
    /// A second value of the kind's own: the inside of a hole, the broken edge of a missing piece.
    pub core: Vec<f32>,
    /// The piece that is gone as a whole.
    pub piece: Option<Piece>,
}

impl Extent {
    /// Nothing covered yet.
    pub fn new(size: usize) -> Self {
        let blank = || vec![0.0; size * size];
        Self { size, cover: blank(), relief: blank(), core: blank(), piece: None }
    }

    /// The smallest window that holds every covered pixel.
    pub fn window(&self) -> Option<Window> {
        let mut window = Window { x0: self.size, y0: self.size, x1: 0, y1: 0 };
        for (y, row) in self.cover.chunks_exact(self.size).enumerate() {
            let first = row.iter().position(|&cover| cover > 0.0);
            let last = row.iter().rposition(|&cover| cover > 0.0);
            if let (Some(first), Some(last)) = (first, last) {
                window.x0 = window.x0.min(first);
                window.x1 = window.x1.max(last + 1);
                window.y0 = window.y0.min(y);
                window.y1 = y + 1;
            }
        }
        (window.x1 > 0).then_some(window)
    }

    /// Share of the picture that is covered.
    pub fn area(&self) -> f32 {
        self.cover.iter().filter(|&&cover| cover > 0.5).count() as f32 / self.cover.len() as f32
    }
}

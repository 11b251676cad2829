//! What of an anomaly map lies at or above a threshold: a bit per pixel that stays on the card until somebody asks, and
//! a summary of less than a KiB that goes to the host for every part.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::error::CudaError;
use super::launch::{Element, Geometry, Loaded, TypedKernel, arguments, blocks, numbers};
use super::machine::{Machine, Program, Stream, View, ViewMut};

pub(super) const PROGRAM: Program =
    Program { name: "threshold.cu", source: include_str!("threshold.cu"), kernels: &["threshold"] };

const THREADS: usize = 256;
/// Rows of the map per block, one per warp.
const ROWS: usize = 8;
/// Tiles per side for which the summary holds the maximum.
pub const TILES: usize = 8;

numbers!(
    /// S, pixels along one side of a map.
    Side,
);

arguments!(
    /// `threshold`: bits and summary of each map.
    struct Compare<'a> {
        maps: View<'a, f32>,
        scores: View<'a, f32>,
        thresholds: View<'a, f32>,
        mask: ViewMut<'a, u32>,
        summaries: ViewMut<'a, RawSummary>,
        size: Side,
    }
);

/// A summary as the kernel leaves it. Everything is a maximum or a sum over zeros, so the order of blocks is no matter.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Zeroable, Pod)]
pub struct RawSummary {
    /// Pixels at or above the threshold.
    above: u32,
    /// S − smallest x, largest x + 1, S − smallest y and largest y + 1 among them; 0 when there are none.
    bounds: [u32; 4],
    /// The image score, copied so that one transfer suffices.
    score: f32,
    /// Ordered bits of the largest value in the upper half, S² − its position in the lower.
    peak: u64,
    /// Ordered bits of each tile's largest value, row by row.
    tiles: [u32; TILES * TILES],
}

impl Element for RawSummary {
    const NAME: &'static str = "Summary";
}

/// A coarse look at an anomaly map.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Pixels at or above the threshold.
    pub above: usize,
    /// Their bounding box as smallest x, smallest y, width and height; `None` when there are none.
    pub bounds: Option<[usize; 4]>,
    /// The largest value.
    pub peak: f32,
    /// Its x and y; the first in reading order when there are several.
    pub peak_at: [usize; 2],
    /// Largest value of each of [`TILES`]×[`TILES`] tiles of ⌈S / 8⌉ pixels, row by row; `-inf` for a tile without pixels.
    pub tiles: [f32; TILES * TILES],
    /// The image score.
    pub score: f32,
}

impl RawSummary {
    /// In the reader's terms; `size` is S.
    pub fn decode(&self, size: usize) -> Summary {
        let [left, right, top, bottom] = self.bounds.map(|bound| bound as usize);
        let (x, y) = (size - left.min(size), size - top.min(size));
        let at = size * size - (self.peak & u64::from(u32::MAX)) as usize;
        Summary {
            above: self.above as usize,
            bounds: (self.above > 0).then(|| [x, y, right - x, bottom - y]),
            peak: from_ordered((self.peak >> 32) as u32),
            peak_at: [at % size, at / size],
            tiles: self.tiles.map(from_ordered),
            score: self.score,
        }
    }
}

/// The float whose bits were ordered by flipping the sign bit, or all bits of a negative number. Zero, which no number
/// but one NaN becomes, stands for nothing seen.
fn from_ordered(bits: u32) -> f32 {
    match bits {
        0 => f32::NEG_INFINITY,
        _ if bits >> 31 == 1 => f32::from_bits(bits & !(1 << 31)),
        _ => f32::from_bits(!bits),
    }
}

/// Compares maps with thresholds on the card.
#[derive(Debug)]
pub struct Threshold {
    size: usize,
    kernel: TypedKernel<Compare<'static>>,
}

impl Threshold {
    /// For maps of side `size`.
    pub fn new(machine: &Arc<dyn Machine>, size: usize) -> Result<Self, CudaError> {
        // 16 bits of row and column leave the peak's position in 32.
        if !(1..=32_768).contains(&size) {
            return Err(CudaError::Unsupported { what: "the side of a map", found: size, allowed: "1 to 32768" });
        }
        Ok(Self { size, kernel: Loaded::new(machine, &PROGRAM)?.kernel("threshold")? })
    }

    /// Words of 32 pixels in one row of a mask.
    pub fn row_words(&self) -> usize {
        self.size.div_ceil(32)
    }

    /// Enqueues the comparison of `batch` maps `[batch, S, S]` with one threshold each. `scores` `[batch]` are copied into
    /// the summaries. `mask`: `[batch, S, row_words]`, pixel x is bit x % 32 of word x / 32; a bit says value ≥ threshold.
    #[allow(clippy::too_many_arguments)] // Three inputs and two outputs, each a buffer of the caller's.
    pub fn run(
        &self,
        stream: &Stream,
        maps: View<'_, f32>,
        scores: View<'_, f32>,
        thresholds: View<'_, f32>,
        batch: usize,
        mask: ViewMut<'_, u32>,
        summaries: ViewMut<'_, RawSummary>,
    ) -> Result<(), CudaError> {
        let size = self.size;
        CudaError::check_length("the anomaly maps", batch * size * size, maps.len())?;
        CudaError::check_length("the scores", batch, scores.len())?;
        CudaError::check_length("the thresholds", batch, thresholds.len())?;
        CudaError::check_length("the mask", batch * size * self.row_words(), mask.len())?;
        CudaError::check_length("the summaries", batch, summaries.len())?;
        let mut summaries = summaries.slice(0..batch);
        stream.clear(summaries.reborrow())?;
        let geometry = Geometry { grid: [blocks(size, ROWS), batch as u32, 1], threads: THREADS, shared: 0 };
        let arguments = Compare { maps, scores, thresholds, mask, summaries, size: Side::of(size) };
        // SAFETY: the lengths were checked above.
        unsafe { self.kernel.launch(stream, geometry, arguments) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_less_than_a_kib() {
        assert!(size_of::<RawSummary>() < 1024);
    }

    #[test]
    fn nothing_seen_is_no_box() {
        let summary = RawSummary::zeroed().decode(10);
        assert_eq!((summary.above, summary.bounds, summary.tiles[0]), (0, None, f32::NEG_INFINITY));
    }
}

//! What launchers of the mean of a map's k largest values share; the kernels' part is `top_k.cuh`.

use bytemuck::{Pod, Zeroable};

use super::launch::{Element, numbers};

/// Threads of a block.
pub(super) const THREADS: usize = 256;
/// Blocks that share one map's values when they are counted.
pub(super) const SELECT_BLOCKS: usize = 64;
/// Counts per digit of a value's bits, and digits (11, 11 and 10 bits).
pub(super) const BINS: usize = 2048;
pub(super) const DIGITS: usize = 3;

numbers!(
    /// k, pixels whose mean is wanted.
    TopK,
    /// Which digit of the values' bits is counted.
    Digit,
);

/// The bits of the k-th largest value found so far, and how many values are still wanted from those that share them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Zeroable, Pod)]
pub(super) struct Wanted {
    bits: u32,
    remaining: u32,
}

impl Element for Wanted {
    const NAME: &'static str = "Wanted";
}

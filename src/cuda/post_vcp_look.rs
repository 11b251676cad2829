//! The pass over the patch tokens: norms, scores, and what every query vector sees of a part of a sequence.
//!
//! One pass serves all query vectors with an online softmax; a sequence is split over blocks, whose results
//! `post_vcp.rs` merges.

use super::launch::{arguments, numbers};
use super::machine::{Addresses, Dtype, Program, View, ViewMut};

pub(super) const PROGRAM: Program = Program {
    name: "post_vcp_look.cu",
    source: include_str!("post_vcp_look.cu"),
    kernels: &["post_look_tensor_2", "post_look_tensor_4", "post_look_f32", "post_look_f16"],
};

/// Channels per thread of the pass without tensor cores, and the widest token: as many for each of 512 threads.
const PLAIN_CHANNELS: usize = 3;
pub(super) const WIDEST: usize = 1536;
/// Tokens per step of the pass on tensor cores, and channels of each warp there.
const TENSOR_TILE: usize = 16;
const TENSOR_CHANNELS: usize = 128;
/// Bytes between two rows of that tile beyond their length, so that eight rows meet different banks.
const TENSOR_PADDING: usize = 16;
/// Shared memory of that kernel besides the tiles, bytes, rounded up.
const TENSOR_STATIC: usize = 12 * 1024;
/// Tokens per step of the pass without tensor cores.
const PLAIN_TILE: usize = 8;

numbers!(
    /// L, tapped layers.
    Layers,
    /// Tokens of one image in one layer, with the class token where there is one.
    Rows,
    /// The first of them that is a patch.
    FirstRow,
    /// N, patches of an image.
    Patches,
    /// Cv, channels of a token.
    Width,
    /// 2h, query vectors of an image.
    Queries,
    /// Blocks that share a sequence.
    Splits,
);

arguments!(
    /// `post_look_*`: sums and softmax states of each part, and 1/‖f‖ of every token.
    struct PostLook<'a> {
        tokens: Addresses,
        queries: View<'a, f32>,
        partial: ViewMut<'a, f32>,
        states: ViewMut<'a, [f32; 2]>,
        inverse_norms: ViewMut<'a, f32>,
        layers: Layers,
        rows: Rows,
        first_row: FirstRow,
        patches: Patches,
        width: Width,
        count: Queries,
        splits: Splits,
    }
);

/// How the pass is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// On tensor cores with this many tiles in flight.
    Tensor { stages: usize },
    /// With ordinary arithmetic, any size.
    Plain,
}

impl Look {
    pub(super) fn choose(tokens: Dtype, width: usize, shared: usize) -> Self {
        let fits = width.is_multiple_of(TENSOR_CHANNELS) && width <= 8 * TENSOR_CHANNELS;
        if tokens == Dtype::F16 && fits {
            for stages in [4, 2] {
                let look = Self::Tensor { stages };
                if look.shared(width, 0) + TENSOR_STATIC <= shared {
                    return look;
                }
            }
        }
        Self::Plain
    }

    /// How many blocks share a sequence: one block a multiprocessor on tensor cores, two else, so that one wave of
    /// blocks covers the work.
    pub(super) fn splits(self, sequences: usize, patches: usize, multiprocessors: usize) -> usize {
        let (wave, tile) = match self {
            Self::Tensor { .. } => (multiprocessors, TENSOR_TILE),
            Self::Plain => (2 * multiprocessors, PLAIN_TILE),
        };
        (wave / sequences).clamp(1, patches.div_ceil(tile))
    }

    pub(super) fn threads(self, width: usize) -> usize {
        match self {
            Self::Tensor { .. } => width / TENSOR_CHANNELS * 32,
            Self::Plain => width.div_ceil(PLAIN_CHANNELS).next_multiple_of(32).max(128),
        }
    }

    /// Dynamic shared memory of a block, bytes.
    pub(super) fn shared(self, width: usize, queries: usize) -> usize {
        match self {
            Self::Tensor { stages } => stages * TENSOR_TILE * (width * size_of::<half::f16>() + TENSOR_PADDING),
            Self::Plain => {
                (PLAIN_TILE * width + 2 * PLAIN_TILE * queries + PLAIN_TILE + 3 * queries) * size_of::<f32>()
            }
        }
    }

    /// Which kernel does it.
    pub(super) fn kernel(self, tokens: Dtype) -> &'static str {
        match (self, tokens) {
            (Self::Tensor { stages: 4 }, _) => "post_look_tensor_4",
            (Self::Tensor { .. }, _) => "post_look_tensor_2",
            (Self::Plain, Dtype::F32) => "post_look_f32",
            (Self::Plain, Dtype::F16) => "post_look_f16",
        }
    }
}

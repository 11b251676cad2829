//! A memory's tokens on the card, and how far those of a picture are from the nearest of them.
//!
//! The arithmetic of [`crate::memory`]'s look-up as one matrix product on tensor cores that keeps nothing but the largest
//! product of each patch. The memory's rows are halves by nature. Float16 tokens are taken as they are, float32 tokens as
//! sums of two halves, so that nothing is rounded but the sums.

use std::sync::Arc;

use half::f16;

use super::error::CudaError;
use super::launch::{Geometry, Loaded, TypedKernel, arguments, blocks, numbers};
use super::machine::{Addresses, Buffer, Dtype, MOST_LAYERS, Machine, Program, Stream, Values, View, ViewMut};

pub(super) const PROGRAM: Program = Program {
    name: "look_up.cu",
    source: include_str!("look_up.cu"),
    kernels: &["look_up_norms", "look_up_split", "look_up_nearest", "look_up_distances"],
};

const THREADS: usize = 256;
/// Tokens of a block that measures them, one per warp.
const WARPS: usize = THREADS / 32;
/// Threads of a block that multiplies, tokens and rows that it takes, columns of a step and steps in flight.
const PRODUCT_THREADS: usize = 128;
const TILE: usize = 128;
const STEP: usize = 32;
const STAGES: usize = 3;

numbers!(
    /// N, patches of an image.
    Patches,
    /// Numbers of a row of tokens.
    Columns,
    /// Cv, numbers of a row of the memory.
    Width,
    /// Distances.
    Count,
);

arguments!(
    /// `look_up_norms`: 1/‖f‖ of every token.
    struct Norms<'a> {
        tokens: Addresses,
        factors: ViewMut<'a, f32>,
        patches: Patches,
        width: Width,
    }
);

arguments!(
    /// `look_up_split`: tokens of one length as sums of two halves.
    struct Split<'a> {
        tokens: Addresses,
        halves: ViewMut<'a, f16>,
        factors: ViewMut<'a, f32>,
        patches: Patches,
        width: Width,
    }
);

arguments!(
    /// `look_up_nearest`: the largest product of every token with a row of the memory.
    struct Nearest<'a> {
        tokens: Addresses,
        memory: View<'a, f16>,
        firsts: View<'a, i32>,
        largest: ViewMut<'a, u32>,
        patches: Patches,
        columns: Columns,
        width: Width,
    }
);

arguments!(
    /// `look_up_distances`: what the products mean.
    struct Distances<'a> {
        largest: View<'a, u32>,
        factors: View<'a, f32>,
        distances: ViewMut<'a, f32>,
        count: Count,
    }
);

/// Tokens of a memory on the card: rows of length 1 per tapped layer.
#[derive(Debug)]
pub struct Remembered {
    rows: Buffer<f16>,
    /// Where each layer's rows begin, and where the last ends.
    firsts: Buffer<i32>,
    layers: usize,
    width: usize,
    /// Rows of the layer that has the most.
    most: usize,
}

impl Remembered {
    /// Copies the rows of every tapped layer, `[rows, width]` each, to the card and waits for it. A layer may have none.
    pub fn new(machine: &Arc<dyn Machine>, layers: &[&[f16]], width: usize) -> Result<Self, CudaError> {
        let mut ends = vec![0_usize];
        for layer in layers {
            if width == 0 || layer.len() % width != 0 {
                return Err(CudaError::Length { what: "a layer of the memory", needed: width, got: layer.len() });
            }
            ends.push(ends[ends.len() - 1] + layer.len() / width);
        }
        let all = ends[layers.len()];
        let firsts: Vec<i32> = ends.iter().map(|&end| i32::try_from(end)).collect::<Result<_, _>>().map_err(|_| {
            CudaError::Unsupported { what: "the number of a memory's tokens", found: all, allowed: "less than 2³¹" }
        })?;
        let mut rows = Buffer::zeros(machine, all * width)?;
        for (layer, first) in layers.iter().zip(&ends) {
            rows.write_at(first * width, layer)?;
        }
        let most = ends.windows(2).map(|ends| ends[1] - ends[0]).max().unwrap_or(0);
        Ok(Self { rows, firsts: Buffer::from_slice(machine, &firsts)?, layers: layers.len(), width, most })
    }
}

/// Sizes of a picture's tokens.
#[derive(Clone, Copy, Debug)]
pub struct LookUpShape {
    /// L, tapped layers.
    pub layers: usize,
    /// N, patches of an image.
    pub patches: usize,
    /// Cv, a multiple of 8.
    pub width: usize,
    /// Type of the tokens.
    pub tokens: Dtype,
}

/// Compares the tokens of one picture at a time with a memory's, with scratch on the card.
#[derive(Debug)]
pub struct LookUp {
    shape: LookUpShape,
    /// Per layer and patch: what a product is multiplied by to become a cosine.
    factors: Buffer<f32>,
    /// Ordered bits of the largest product.
    largest: Buffer<u32>,
    /// Float32 tokens as sums of halves: L × N × 2 Cv; nothing for halves.
    halves: Buffer<f16>,
    norms: TypedKernel<Norms<'static>>,
    split: TypedKernel<Split<'static>>,
    nearest: TypedKernel<Nearest<'static>>,
    distances: TypedKernel<Distances<'static>>,
}

impl LookUp {
    /// Scratch for tokens of this shape.
    pub fn new(machine: &Arc<dyn Machine>, shape: LookUpShape) -> Result<Self, CudaError> {
        let LookUpShape { layers, patches, width, tokens } = shape;
        let limits = [
            ("the number of tapped layers", layers, "1 to 8", (1..=MOST_LAYERS).contains(&layers)),
            ("the vision width", width, "a multiple of 8", width > 0 && width.is_multiple_of(8)),
            ("the number of patches", patches, "1 to 10⁶", (1..=1_000_000).contains(&patches)),
        ];
        for (what, found, allowed, fine) in limits {
            if !fine {
                return Err(CudaError::Unsupported { what, found, allowed });
            }
        }
        let loaded = Loaded::new(machine, &PROGRAM)?;
        let halves = if tokens == Dtype::F32 { layers * patches * 2 * width } else { 0 };
        Ok(Self {
            shape,
            factors: Buffer::zeros(machine, layers * patches)?,
            largest: Buffer::zeros(machine, layers * patches)?,
            halves: Buffer::zeros(machine, halves)?,
            norms: loaded.kernel("look_up_norms")?,
            split: loaded.kernel("look_up_split")?,
            nearest: loaded.kernel("look_up_nearest")?,
            distances: loaded.kernel("look_up_distances")?,
        })
    }

    /// Enqueues the look-up of one picture. `tokens`: per layer `[N, Cv]` of the shape's type, 16-byte aligned.
    /// `distances`: `[L, N]`, the cosine distance of each to the nearest of its layer, 0 … 2, and 2 where the layer has
    /// none.
    pub fn run(
        &mut self,
        stream: &Stream,
        tokens: &[Values<'_>],
        memory: &Remembered,
        distances: ViewMut<'_, f32>,
    ) -> Result<(), CudaError> {
        let LookUpShape { layers, patches, width, tokens: dtype } = self.shape;
        for (what, needed, got) in [
            ("the list of tapped layers", layers, tokens.len()),
            ("the list of the memory's layers", layers, memory.layers),
            ("a token of the memory", width, memory.width),
        ] {
            if needed != got {
                return Err(CudaError::Length { what, needed, got });
            }
        }
        let tokens = Addresses::of("a layer's patch tokens", tokens, dtype, patches * width)?;
        CudaError::check_length("the distances", layers * patches, distances.len())?;
        let (of_patches, of_width) = (Patches::of(patches), Width::of(width));
        let grid = [blocks(patches, WARPS), layers as u32, 1];
        let geometry = Geometry { grid, threads: THREADS, shared: 0 };
        let (tokens, columns) = match dtype {
            Dtype::F16 => {
                let factors = self.factors.view_mut();
                let arguments = Norms { tokens, factors, patches: of_patches, width: of_width };
                // SAFETY: the lengths of the tokens were checked above; `new` made the others for this shape.
                unsafe { self.norms.launch(stream, geometry, arguments)? };
                (tokens, width)
            }
            Dtype::F32 => {
                let (halves, factors) = (self.halves.view_mut(), self.factors.view_mut());
                let arguments = Split { tokens, halves, factors, patches: of_patches, width: of_width };
                // SAFETY: as above.
                unsafe { self.split.launch(stream, geometry, arguments)? };
                let layer = 2 * patches * width;
                let halves = self.halves.view();
                let views = (0..layers).map(|at| Values::F16(halves.slice(at * layer..(at + 1) * layer)));
                (Addresses::of("tokens as halves", &views.collect::<Vec<_>>(), Dtype::F16, layer)?, 2 * width)
            }
        };
        stream.clear(self.largest.view_mut())?;
        if memory.most > 0 {
            let geometry = Geometry {
                grid: [blocks(patches, TILE) * blocks(memory.most, TILE), layers as u32, 1],
                threads: PRODUCT_THREADS,
                shared: STAGES * 2 * TILE * STEP * size_of::<f16>(),
            };
            let arguments = Nearest {
                tokens,
                memory: memory.rows.view(),
                firsts: memory.firsts.view(),
                largest: self.largest.view_mut(),
                patches: of_patches,
                columns: Columns::of(columns),
                width: of_width,
            };
            // SAFETY: the lengths of the tokens were checked above, `Remembered::new` made rows and their bounds of each
            // other, and layers and width of both are the same.
            unsafe { self.nearest.launch(stream, geometry, arguments)? };
        }
        let count = layers * patches;
        let geometry = Geometry { grid: [blocks(count, THREADS), 1, 1], threads: THREADS, shared: 0 };
        let (largest, factors) = (self.largest.view(), self.factors.view());
        let arguments = Distances { largest, factors, distances, count: Count::of(count) };
        // SAFETY: the length of the distances was checked above.
        unsafe { self.distances.launch(stream, geometry, arguments) }
    }
}

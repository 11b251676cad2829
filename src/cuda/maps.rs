//! From low-resolution difference maps to anomaly map and image score, on the card.
//!
//! The arithmetic of [`crate::vcp_clip::maps`]. The k-th largest value is found exactly by three counts over the bits of
//! the values, from the top, so that nothing is sorted; the sums are formed in a fixed order.

use std::sync::Arc;

use super::machine::{
    Addresses, Buffer, Dtype, Kernel, Launch, MOST_LAYERS, Machine, Program, Stream, Values, View, ViewMut, arg,
};
use super::{CudaError, blocks};
use crate::vcp_clip::maps::{gaussian, upsampling};
use crate::vcp_clip::{Architecture, Constants};

pub(super) const PROGRAM: Program = Program {
    name: "maps.cu",
    source: include_str!("maps.cu"),
    kernels: &["maps_fuse", "maps_select", "maps_top", "maps_smooth"],
};

const THREADS: usize = 256;
/// Rows of the map per block that fuses.
const FUSE_ROWS: usize = 4;
/// Blocks that share one map's values when they are counted.
const SELECT_BLOCKS: usize = 64;
/// Counts per digit of a value's bits, digits (11, 11 and 10 bits), and words per image: two maps' counts and a tally
/// of finished blocks.
const BINS: usize = 2048;
const DIGITS: usize = 3;
const IMAGE_WORDS: usize = 2 * DIGITS * BINS + 32;
/// Side of the square tile that smoothing turns over.
const SMOOTH_TILE: usize = 32;
/// Rows that one thread smooths, and so one more than the zeros behind the weights.
const SMOOTH_ROWS: usize = 4;
/// Shared memory for the low-resolution rows that a block mixes.
const MIXED_BYTES: usize = 32 * 1024;

/// Upsampling, fusion, smoothing and score, with tables and scratch on the card.
#[derive(Debug)]
pub struct Maps {
    grid: usize,
    size: usize,
    layers: usize,
    max_batch: usize,
    raw_weight: f32,
    top_k: usize,
    radius: usize,
    /// Per output coordinate the lower grid coordinate and the weight of the next one, as bits.
    taps: Buffer<[u32; 2]>,
    /// The whole Gaussian with [`SMOOTH_ROWS`] − 1 zeros behind it.
    weights: Buffer<f32>,
    /// Both paths' maps: batch × 2 × S × S.
    paths: Buffer<f32>,
    blend: Buffer<f32>,
    turned: Buffer<f32>,
    counts: Buffer<u32>,
    /// Per map and digit: the bits found so far, and how many values are still wanted from them.
    states: Buffer<[u32; 2]>,
    partial: Buffer<f64>,
    fuse: Kernel,
    select: Kernel,
    top: Kernel,
    smooth: Kernel,
}

impl Maps {
    /// Tables and scratch for one model and its largest batch.
    pub fn new(
        machine: &Arc<dyn Machine>,
        arch: &Architecture,
        constants: &Constants,
        max_batch: usize,
    ) -> Result<Self, CudaError> {
        let (grid, size, layers) = (arch.grid(), arch.image_size, arch.taps.len());
        let limits = [
            ("the number of tapped layers", layers, "1 to 8", (1..=MOST_LAYERS).contains(&layers)),
            ("the largest batch", max_batch, "1 or more", max_batch > 0),
            (
                "the side of the patch grid",
                grid,
                "small enough for 32 KiB of mixed rows",
                grid > 0 && 2 * layers * (grid + 1) * size_of::<f32>() <= MIXED_BYTES,
            ),
        ];
        for (what, found, allowed, fine) in limits {
            if !fine {
                return Err(CudaError::Unsupported { what, found, allowed });
            }
        }
        let half = gaussian(constants.sigma);
        let radius = half.len() - 1;
        let zeros = std::iter::repeat_n(0.0, SMOOTH_ROWS - 1);
        let weights: Vec<f32> = half.iter().rev().chain(&half[1..]).copied().chain(zeros).collect();
        let taps: Vec<[u32; 2]> =
            upsampling(grid, size).into_iter().map(|(low, weight)| [low as u32, weight.to_bits()]).collect();
        let pixels = size * size;
        let [fuse, select, top, smooth]: [Kernel; 4] =
            machine.load(&PROGRAM)?.try_into().map_err(|found: Vec<Kernel>| CudaError::Compile {
                program: PROGRAM.name,
                sm: machine.properties().sm,
                log: format!("{} kernels", found.len()),
            })?;
        Ok(Self {
            grid,
            size,
            layers,
            max_batch,
            raw_weight: constants.raw_weight,
            top_k: constants.top_k.clamp(1, pixels),
            radius,
            taps: Buffer::from_slice(machine, &taps)?,
            weights: Buffer::from_slice(machine, &weights)?,
            paths: Buffer::zeros(machine, max_batch * 2 * pixels)?,
            blend: Buffer::zeros(machine, max_batch * pixels)?,
            turned: Buffer::zeros(machine, max_batch * pixels)?,
            counts: Buffer::zeros(machine, max_batch * IMAGE_WORDS)?,
            states: Buffer::zeros(machine, max_batch * 2 * DIGITS)?,
            partial: Buffer::zeros(machine, max_batch * 2 * SELECT_BLOCKS)?,
            fuse,
            select,
            top,
            smooth,
        })
    }

    /// Enqueues everything from the low-resolution maps to `map` and `scores`.
    ///
    /// `raw`: per layer the Pre-VCP logits `[batch, N, 2]`, normal first, all of one type. `new`: the Post-VCP
    /// differences `[batch, L, N]`. `map`: `[batch, S, S]`, blended and smoothed. `scores`: `[batch]`, the sum of both
    /// paths' top-k means.
    pub fn run(
        &mut self,
        stream: &Stream,
        raw: &[Values<'_>],
        new: View<'_, f32>,
        batch: usize,
        map: ViewMut<'_, f32>,
        scores: ViewMut<'_, f32>,
    ) -> Result<(), CudaError> {
        let (size, layers, patches) = (self.size, self.layers, self.grid * self.grid);
        if batch == 0 || batch > self.max_batch {
            return Err(CudaError::Unsupported { what: "the batch", found: batch, allowed: "1 to max_batch" });
        }
        if raw.len() != layers {
            return Err(CudaError::Length { what: "the list of raw maps", needed: layers, got: raw.len() });
        }
        let dtype = raw[0].dtype();
        let addresses = Addresses::of("a layer's raw logits", raw, dtype, batch * patches * 2)?;
        CudaError::check_length("the difference maps", batch * layers * patches, new.len())?;
        CudaError::check_length("the anomaly maps", batch * size * size, map.len())?;
        CudaError::check_length("the scores", batch, scores.len())?;
        stream.clear(self.counts.view_mut().slice(0..batch * IMAGE_WORDS))?;

        let is_half = i32::from(dtype == Dtype::F16);
        let [n_grid, n_size, n_layers, n_top, n_radius] =
            [self.grid, size, layers, self.top_k, self.radius].map(|n| n as i32);
        let tile = blocks(size, SMOOTH_TILE);
        // SAFETY: lengths were checked above and in `new`; the buffers are this launcher's own.
        unsafe {
            stream.launch(&Launch {
                kernel: &self.fuse,
                grid: [blocks(size, FUSE_ROWS), batch as u32, 1],
                threads: THREADS as u32,
                shared: 2 * layers * (self.grid + 1) * size_of::<f32>(),
                args: &[
                    arg(&addresses),
                    arg(&is_half),
                    arg(&new.address()),
                    arg(&self.taps.address()),
                    arg(&self.paths.address()),
                    arg(&self.blend.address()),
                    arg(&self.counts.address()),
                    arg(&n_grid),
                    arg(&n_size),
                    arg(&n_layers),
                    arg(&self.raw_weight),
                ],
            })?;
            for digit in 1..DIGITS as i32 {
                stream.launch(&Launch {
                    kernel: &self.select,
                    grid: [SELECT_BLOCKS as u32, 2 * batch as u32, 1],
                    threads: THREADS as u32,
                    shared: 0,
                    args: &[
                        arg(&self.paths.address()),
                        arg(&self.counts.address()),
                        arg(&self.states.address()),
                        arg(&digit),
                        arg(&n_size),
                        arg(&n_top),
                    ],
                })?;
            }
            stream.launch(&Launch {
                kernel: &self.top,
                grid: [SELECT_BLOCKS as u32, 2 * batch as u32, 1],
                threads: THREADS as u32,
                shared: 0,
                args: &[
                    arg(&self.paths.address()),
                    arg(&self.counts.address()),
                    arg(&self.states.address()),
                    arg(&self.partial.address()),
                    arg(&scores.address()),
                    arg(&n_size),
                    arg(&n_top),
                ],
            })?;
            // Down, turned over, and down again: both passes read and write whole rows.
            for (from, to) in [(self.blend.address(), self.turned.address()), (self.turned.address(), map.address())] {
                stream.launch(&Launch {
                    kernel: &self.smooth,
                    grid: [tile, tile, batch as u32],
                    threads: THREADS as u32,
                    shared: 0,
                    args: &[arg(&from), arg(&to), arg(&self.weights.address()), arg(&n_size), arg(&n_radius)],
                })?;
            }
        }
        Ok(())
    }

    /// Both paths' maps of the last batch before blending: `[batch, 2, S, S]`, Pre-VCP first.
    pub fn paths(&self) -> View<'_, f32> {
        self.paths.view()
    }
}

//! From low-resolution difference maps to anomaly map and image score, on the card.
//!
//! The arithmetic of [`crate::vcp_clip::maps`]. The k-th largest value is found exactly by three counts over the bits of
//! the values, from the top, so that nothing is sorted; the sums are formed in a fixed order.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::error::CudaError;
use super::launch::{Element, Geometry, IsHalf, Loaded, TypedKernel, arguments, blocks, numbers};
use super::machine::{Addresses, Buffer, MOST_LAYERS, Machine, Program, Stream, Values, View, ViewMut};
use super::top_k::{BINS, DIGITS, Digit, SELECT_BLOCKS, THREADS, TopK, Wanted};
use crate::vcp_clip::maps::{gaussian, upsampling};
use crate::vcp_clip::{Architecture, Constants};

pub(super) const PROGRAM: Program = Program {
    name: "maps.cu",
    source: include_str!("maps.cu"),
    kernels: &["maps_fuse", "maps_select", "maps_top", "maps_smooth"],
};

/// Rows of the map per block that fuses.
const FUSE_ROWS: usize = 4;
/// Words per image: two maps' counts of each digit, and a tally of finished blocks.
const IMAGE_WORDS: usize = 2 * DIGITS * BINS + 32;
/// Side of the square tile that smoothing turns over.
const SMOOTH_TILE: usize = 32;
/// Rows that one thread smooths, and so one more than the zeros behind the weights.
const SMOOTH_ROWS: usize = 4;
/// Shared memory for the low-resolution rows that a block mixes.
const MIXED_BYTES: usize = 32 * 1024;

numbers!(
    /// Patches along one side.
    Grid,
    /// S, pixels along one side of a map.
    Side,
    /// L, tapped layers.
    Layers,
    /// Pixels of the Gaussian to either side.
    Radius,
);

arguments!(
    /// `maps_fuse`: probabilities of both paths, upsampled, their blend, and how often each first digit occurs.
    struct MapsFuse<'a> {
        raw: Addresses,
        is_half: IsHalf,
        post: View<'a, f32>,
        taps: View<'a, Tap>,
        paths: ViewMut<'a, f32>,
        blend: ViewMut<'a, f32>,
        counts: ViewMut<'a, u32>,
        grid: Grid,
        size: Side,
        layers: Layers,
        raw_weight: f32,
    }
);

arguments!(
    /// `maps_select`: one more digit of the k-th largest value.
    struct MapsSelect<'a> {
        paths: View<'a, f32>,
        counts: ViewMut<'a, u32>,
        states: ViewMut<'a, Wanted>,
        digit: Digit,
        size: Side,
        top: TopK,
    }
);

arguments!(
    /// `maps_top`: the mean of the k largest values of both paths, added up.
    struct MapsTop<'a> {
        paths: View<'a, f32>,
        counts: ViewMut<'a, u32>,
        states: ViewMut<'a, Wanted>,
        partial: ViewMut<'a, f64>,
        scores: ViewMut<'a, f32>,
        size: Side,
        top: TopK,
    }
);

arguments!(
    /// `maps_smooth`: the Gaussian along the columns, the result turned over.
    struct MapsSmooth<'a> {
        from: View<'a, f32>,
        to: ViewMut<'a, f32>,
        weights: View<'a, f32>,
        size: Side,
        radius: Radius,
    }
);

/// For an output coordinate the lower grid coordinate, and the weight of the next one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Zeroable, Pod)]
pub(super) struct Tap {
    low: u32,
    weight: f32,
}

impl Element for Tap {
    const NAME: &'static str = "Tap";
}

impl Tap {
    /// Those of every coordinate of a map of side `size` over `grid` patches along one side.
    pub(super) fn table(grid: usize, size: usize) -> Vec<Self> {
        upsampling(grid, size).into_iter().map(|(low, weight)| Self { low: low as u32, weight }).collect()
    }
}

/// A Gaussian on the card.
#[derive(Debug)]
pub(super) struct Smoothing {
    /// All of it, with [`SMOOTH_ROWS`] − 1 zeros behind it.
    weights: Buffer<f32>,
    radius: usize,
}

impl Smoothing {
    pub(super) fn new(machine: &Arc<dyn Machine>, sigma: f32) -> Result<Self, CudaError> {
        let half = gaussian(sigma);
        let zeros = std::iter::repeat_n(0.0, SMOOTH_ROWS - 1);
        let weights: Vec<f32> = half.iter().rev().chain(&half[1..]).copied().chain(zeros).collect();
        Ok(Self { weights: Buffer::from_slice(machine, &weights)?, radius: half.len() - 1 })
    }

    /// Enqueues the smoothing of the columns of `count` maps, the result turned over: twice smooths rows too, and both
    /// passes read and write whole rows.
    ///
    /// # Safety
    /// Both views hold `count` maps of side `size`.
    pub(super) unsafe fn down(
        &self,
        stream: &Stream,
        kernel: &TypedKernel<MapsSmooth<'static>>,
        from: View<'_, f32>,
        to: ViewMut<'_, f32>,
        size: usize,
        count: usize,
    ) -> Result<(), CudaError> {
        let tile = blocks(size, SMOOTH_TILE);
        let geometry = Geometry { grid: [tile, tile, count as u32], threads: THREADS, shared: 0 };
        let (weights, size, radius) = (self.weights.view(), Side::of(size), Radius::of(self.radius));
        // SAFETY: the caller's promise; the weights were made with the radius.
        unsafe { kernel.launch(stream, geometry, MapsSmooth { from, to, weights, size, radius }) }
    }
}

/// Upsampling, fusion, smoothing and score, with tables and scratch on the card.
#[derive(Debug)]
pub struct Maps {
    grid: usize,
    size: usize,
    layers: usize,
    max_batch: usize,
    raw_weight: f32,
    top_k: usize,
    smoothing: Smoothing,
    /// Per output coordinate.
    taps: Buffer<Tap>,
    /// Both paths' maps: batch × 2 × S × S.
    paths: Buffer<f32>,
    blend: Buffer<f32>,
    turned: Buffer<f32>,
    counts: Buffer<u32>,
    /// Per map and digit.
    states: Buffer<Wanted>,
    partial: Buffer<f64>,
    kernels: Kernels,
}

#[derive(Debug)]
struct Kernels {
    fuse: TypedKernel<MapsFuse<'static>>,
    select: TypedKernel<MapsSelect<'static>>,
    top: TypedKernel<MapsTop<'static>>,
    smooth: TypedKernel<MapsSmooth<'static>>,
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
        let pixels = size * size;
        let loaded = Loaded::new(machine, &PROGRAM)?;
        Ok(Self {
            grid,
            size,
            layers,
            max_batch,
            raw_weight: constants.raw_weight,
            top_k: constants.top_k.clamp(1, pixels),
            smoothing: Smoothing::new(machine, constants.sigma)?,
            taps: Buffer::from_slice(machine, &Tap::table(grid, size))?,
            paths: Buffer::zeros(machine, max_batch * 2 * pixels)?,
            blend: Buffer::zeros(machine, max_batch * pixels)?,
            turned: Buffer::zeros(machine, max_batch * pixels)?,
            counts: Buffer::zeros(machine, max_batch * IMAGE_WORDS)?,
            states: Buffer::zeros(machine, max_batch * 2 * DIGITS)?,
            partial: Buffer::zeros(machine, max_batch * 2 * SELECT_BLOCKS)?,
            kernels: Kernels {
                fuse: loaded.kernel("maps_fuse")?,
                select: loaded.kernel("maps_select")?,
                top: loaded.kernel("maps_top")?,
                smooth: loaded.kernel("maps_smooth")?,
            },
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
        self.fuse(stream, addresses, IsHalf::from(dtype), new, batch)?;
        self.score(stream, batch, scores)?;
        self.smooth(stream, batch, map)
    }

    /// Enqueues both paths' maps and their blend, with the counts of the first digit.
    fn fuse(
        &mut self,
        stream: &Stream,
        raw: Addresses,
        is_half: IsHalf,
        post: View<'_, f32>,
        batch: usize,
    ) -> Result<(), CudaError> {
        let geometry = Geometry {
            grid: [blocks(self.size, FUSE_ROWS), batch as u32, 1],
            threads: THREADS,
            shared: 2 * self.layers * (self.grid + 1) * size_of::<f32>(),
        };
        let arguments = MapsFuse {
            raw,
            is_half,
            post,
            taps: self.taps.view(),
            paths: self.paths.view_mut(),
            blend: self.blend.view_mut(),
            counts: self.counts.view_mut(),
            grid: Grid::of(self.grid),
            size: Side::of(self.size),
            layers: Layers::of(self.layers),
            raw_weight: self.raw_weight,
        };
        // SAFETY: `run` checked the lengths of `raw` and `post`; `new` made the others for the largest batch.
        unsafe { self.kernels.fuse.launch(stream, geometry, arguments) }
    }

    /// Enqueues the search for the k-th largest value, digit by digit, and the sums above it.
    fn score(&mut self, stream: &Stream, batch: usize, scores: ViewMut<'_, f32>) -> Result<(), CudaError> {
        let geometry = Geometry { grid: [SELECT_BLOCKS as u32, 2 * batch as u32, 1], threads: THREADS, shared: 0 };
        let (size, top) = (Side::of(self.size), TopK::of(self.top_k));
        for digit in 1..DIGITS {
            let arguments = MapsSelect {
                paths: self.paths.view(),
                counts: self.counts.view_mut(),
                states: self.states.view_mut(),
                digit: Digit::of(digit),
                size,
                top,
            };
            // SAFETY: `new` made these buffers for the largest batch.
            unsafe { self.kernels.select.launch(stream, geometry, arguments)? };
        }
        let arguments = MapsTop {
            paths: self.paths.view(),
            counts: self.counts.view_mut(),
            states: self.states.view_mut(),
            partial: self.partial.view_mut(),
            scores,
            size,
            top,
        };
        // SAFETY: as above, and `run` checked the length of `scores`.
        unsafe { self.kernels.top.launch(stream, geometry, arguments) }
    }

    /// Enqueues the smoothing of the blend: down, turned over, and down again.
    fn smooth(&mut self, stream: &Stream, batch: usize, map: ViewMut<'_, f32>) -> Result<(), CudaError> {
        let (kernel, size) = (&self.kernels.smooth, self.size);
        let (blend, turned) = (self.blend.view(), self.turned.view_mut());
        // SAFETY: `new` made these buffers for the largest batch.
        unsafe { self.smoothing.down(stream, kernel, blend, turned, size, batch)? };
        // SAFETY: as above, and `run` checked the length of `map`.
        unsafe { self.smoothing.down(stream, kernel, self.turned.view(), map, size, batch) }
    }

    /// Both paths' maps of the last batch before blending: `[batch, 2, S, S]`, Pre-VCP first.
    pub fn paths(&self) -> View<'_, f32> {
        self.paths.view()
    }
}

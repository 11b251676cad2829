//! A memory's distances and the model's map and score become one map and one score, on the card.
//!
//! The arithmetic of [`crate::memory::fusion`], from numbers that good parts have decided.

use std::sync::Arc;

use bytemuck::NoUninit;

use super::error::CudaError;
use super::launch::{Argument, Geometry, Loaded, TypedKernel, arguments, blocks, numbers};
use super::machine::{Arg, Buffer, MOST_LAYERS, Machine, Program, Stream, View, ViewMut, arg};
use super::maps::{self, Grid, Layers, MapsSmooth, Side, Smoothing, Tap};
use super::top_k::{BINS, DIGITS, Digit, SELECT_BLOCKS, THREADS, TopK, Wanted};
use crate::tokens::Joining;

pub(super) const PROGRAM: Program = Program {
    name: "join.cu",
    source: include_str!("join.cu"),
    kernels: &["join_patches", "join_raise", "join_fuse", "join_select", "join_top"],
};

/// Counts of each digit, and a tally of the blocks that are done.
const WORDS: usize = DIGITS * BINS + 32;

numbers!(
    /// N, patches of an image.
    Patches,
    /// S², pixels of a map.
    Pixels,
);

arguments!(
    /// `join_patches`: one number for each patch.
    struct JoinPatches<'a> {
        distances: View<'a, f32>,
        means: View<'a, f32>,
        patches: ViewMut<'a, f32>,
        count: Patches,
        layers: Layers,
    }
);

arguments!(
    /// `join_raise`: upsampled.
    struct JoinRaise<'a> {
        patches: View<'a, f32>,
        taps: View<'a, Tap>,
        map: ViewMut<'a, f32>,
        grid: Grid,
        size: Side,
    }
);

arguments!(
    /// `join_fuse`: the memory's map, and both maps as one.
    struct JoinFuse<'a> {
        memory: ViewMut<'a, f32>,
        model: View<'a, f32>,
        fused: ViewMut<'a, f32>,
        counts: ViewMut<'a, u32>,
        pixels: Pixels,
        numbers: Numbers,
    }
);

arguments!(
    /// `join_select`: one more digit of the memory's k-th largest value.
    struct JoinSelect<'a> {
        memory: View<'a, f32>,
        counts: ViewMut<'a, u32>,
        states: ViewMut<'a, Wanted>,
        digit: Digit,
        pixels: Pixels,
        top: TopK,
    }
);

arguments!(
    /// `join_top`: the mean of the memory's k largest values, and both scores as one.
    struct JoinTop<'a> {
        memory: View<'a, f32>,
        counts: ViewMut<'a, u32>,
        states: ViewMut<'a, Wanted>,
        partial: ViewMut<'a, f64>,
        model: View<'a, f32>,
        score: ViewMut<'a, f32>,
        pixels: Pixels,
        top: TopK,
        numbers: Numbers,
    }
);

/// What good parts have decided, as the kernels take it; see [`Joining`].
#[repr(C)]
#[derive(Clone, Copy, Debug, NoUninit)]
pub(super) struct Numbers {
    middle: f32,
    reach: f32,
    neutral: f32,
    floor: f32,
    map_exponent: f32,
    alone: f32,
    score_exponent: f32,
    own: f32,
}

impl Argument for Numbers {
    fn declared() -> String {
        "const __grid_constant__ Numbers".to_owned()
    }

    fn arg(&self) -> Arg<'_> {
        arg(self)
    }
}

/// Joins one picture's maps at a time as one memory's good parts have decided, with tables and scratch on the card.
#[derive(Debug)]
pub struct Join {
    grid: usize,
    size: usize,
    layers: usize,
    top: usize,
    numbers: Numbers,
    /// Mean distance of good parts per layer.
    means: Buffer<f32>,
    smoothing: Smoothing,
    /// Per output coordinate.
    taps: Buffer<Tap>,
    patches: Buffer<f32>,
    raised: Buffer<f32>,
    turned: Buffer<f32>,
    counts: Buffer<u32>,
    states: Buffer<Wanted>,
    partial: Buffer<f64>,
    kernels: Kernels,
}

#[derive(Debug)]
struct Kernels {
    patches: TypedKernel<JoinPatches<'static>>,
    raise: TypedKernel<JoinRaise<'static>>,
    smooth: TypedKernel<MapsSmooth<'static>>,
    fuse: TypedKernel<JoinFuse<'static>>,
    select: TypedKernel<JoinSelect<'static>>,
    top: TypedKernel<JoinTop<'static>>,
}

impl Join {
    /// For maps of side `size` over `grid`×`grid` patches.
    pub fn new(machine: &Arc<dyn Machine>, joining: &Joining<'_>, grid: usize, size: usize) -> Result<Self, CudaError> {
        let layers = joining.means.len();
        let limits = [
            ("the number of tapped layers", layers, "1 to 8", (1..=MOST_LAYERS).contains(&layers)),
            ("the side of the patch grid", grid, "1 to 1000", (1..=1000).contains(&grid)),
            ("the side of a map", size, "1 to 32768", (1..=32_768).contains(&size)),
        ];
        for (what, found, allowed, fine) in limits {
            if !fine {
                return Err(CudaError::Unsupported { what, found, allowed });
            }
        }
        let pixels = size * size;
        let &Joining { middle, reach, neutral, floor, map_exponent, alone, score_exponent, own, .. } = joining;
        let loaded = Loaded::new(machine, &PROGRAM)?;
        Ok(Self {
            grid,
            size,
            layers,
            top: joining.top.clamp(1, pixels),
            numbers: Numbers { middle, reach, neutral, floor, map_exponent, alone, score_exponent, own },
            means: Buffer::from_slice(machine, joining.means)?,
            smoothing: Smoothing::new(machine, joining.sigma)?,
            taps: Buffer::from_slice(machine, &Tap::table(grid, size))?,
            patches: Buffer::zeros(machine, grid * grid)?,
            raised: Buffer::zeros(machine, pixels)?,
            turned: Buffer::zeros(machine, pixels)?,
            counts: Buffer::zeros(machine, WORDS)?,
            states: Buffer::zeros(machine, DIGITS)?,
            partial: Buffer::zeros(machine, SELECT_BLOCKS)?,
            kernels: Kernels {
                patches: loaded.kernel("join_patches")?,
                raise: loaded.kernel("join_raise")?,
                smooth: Loaded::new(machine, &maps::PROGRAM)?.kernel("maps_smooth")?,
                fuse: loaded.kernel("join_fuse")?,
                select: loaded.kernel("join_select")?,
                top: loaded.kernel("join_top")?,
            },
        })
    }

    /// Enqueues everything from `distances` `[L, N]`, the model's `map` `[S, S]` and `score` `[1]` to `fused` `[S, S]` and
    /// `joined` `[1]`.
    #[allow(clippy::too_many_arguments)] // Three inputs and two outputs, each a buffer of the caller's.
    pub fn run(
        &mut self,
        stream: &Stream,
        distances: View<'_, f32>,
        map: View<'_, f32>,
        score: View<'_, f32>,
        fused: ViewMut<'_, f32>,
        joined: ViewMut<'_, f32>,
    ) -> Result<(), CudaError> {
        let &mut Self { grid, size, layers, .. } = self;
        let (patches, pixels) = (grid * grid, size * size);
        CudaError::check_length("the distances", layers * patches, distances.len())?;
        CudaError::check_length("the model's map", pixels, map.len())?;
        CudaError::check_length("the model's score", 1, score.len())?;
        CudaError::check_length("the joined map", pixels, fused.len())?;
        CudaError::check_length("the joined score", 1, joined.len())?;
        self.raise(stream, distances)?;
        self.smooth(stream)?;
        stream.clear(self.counts.view_mut())?;
        let geometry = Geometry { grid: [SELECT_BLOCKS as u32, 1, 1], threads: THREADS, shared: 0 };
        let (pixels, top) = (Pixels::of(pixels), TopK::of(self.top));
        let arguments = JoinFuse {
            memory: self.raised.view_mut(),
            model: map,
            fused,
            counts: self.counts.view_mut(),
            pixels,
            numbers: self.numbers,
        };
        // SAFETY: the lengths of both maps were checked above; `new` made the others for this size.
        unsafe { self.kernels.fuse.launch(stream, geometry, arguments)? };
        for digit in 1..DIGITS {
            let arguments = JoinSelect {
                memory: self.raised.view(),
                counts: self.counts.view_mut(),
                states: self.states.view_mut(),
                digit: Digit::of(digit),
                pixels,
                top,
            };
            // SAFETY: `new` made these buffers for this size.
            unsafe { self.kernels.select.launch(stream, geometry, arguments)? };
        }
        let arguments = JoinTop {
            memory: self.raised.view(),
            counts: self.counts.view_mut(),
            states: self.states.view_mut(),
            partial: self.partial.view_mut(),
            model: score,
            score: joined,
            pixels,
            top,
            numbers: self.numbers,
        };
        // SAFETY: as above, and the lengths of both scores were checked.
        unsafe { self.kernels.top.launch(stream, geometry, arguments) }
    }

    /// Enqueues the upsampling of what the patches say.
    fn raise(&mut self, stream: &Stream, distances: View<'_, f32>) -> Result<(), CudaError> {
        let (grid, size) = (Grid::of(self.grid), Side::of(self.size));
        let patches = self.grid * self.grid;
        let geometry = Geometry { grid: [blocks(patches, THREADS), 1, 1], threads: THREADS, shared: 0 };
        let arguments = JoinPatches {
            distances,
            means: self.means.view(),
            patches: self.patches.view_mut(),
            count: Patches::of(patches),
            layers: Layers::of(self.layers),
        };
        // SAFETY: `run` checked the length of the distances; `new` made the others for this grid.
        unsafe { self.kernels.patches.launch(stream, geometry, arguments)? };
        let geometry =
            Geometry { grid: [blocks(self.size, THREADS), self.size as u32, 1], threads: THREADS, shared: 0 };
        let (patches, taps, map) = (self.patches.view(), self.taps.view(), self.raised.view_mut());
        // SAFETY: `new` made all of them for this grid and size.
        unsafe { self.kernels.raise.launch(stream, geometry, JoinRaise { patches, taps, map, grid, size }) }
    }

    /// Enqueues the smoothing in place: down, turned over, and down again.
    fn smooth(&mut self, stream: &Stream) -> Result<(), CudaError> {
        let (from, to) = (self.raised.view(), self.turned.view_mut());
        // SAFETY: `new` made these buffers for this size.
        unsafe { self.smoothing.down(stream, &self.kernels.smooth, from, to, self.size, 1)? };
        let (from, to) = (self.turned.view(), self.raised.view_mut());
        // SAFETY: as above.
        unsafe { self.smoothing.down(stream, &self.kernels.smooth, from, to, self.size, 1) }
    }
}

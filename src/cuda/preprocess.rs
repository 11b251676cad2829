//! From a camera's bytes on the card to the model's input: Pillow's bicubic, then normalised channel planes.
//!
//! The same tables, passes and rounding as [`crate::vcp_clip::preprocess`], so the bytes before normalisation are equal
//! and the float32 input too.

use std::sync::Arc;

use super::error::CudaError;
use super::frame_format::{FrameFormat, YuvMatrix};
use super::launch::{Geometry, IsHalf, Loaded, blocks};
use super::machine::{Buffer, Machine, Stream, ValuesMut, View, ViewMut};
use super::passes::{
    Height, IsBgr, Kernels, Normalise, NormaliseAcross, NormaliseDown, Nv12ToRgb, PROGRAM, Planes, ResizeAcross,
    ResizeDown, RowBytes, Side, Span, Stride, ToStride, Width,
};
use crate::vcp_clip::resample::{Taps, is_down_first};

const THREADS: usize = 256;
/// Bytes of a row that one thread of a pass down takes.
const BYTES_DOWN: usize = 4;
/// Shared memory that every card gives a block, bytes.
const SHARED: usize = 48 * 1024;
/// Longest side of a frame: byte offsets within a frame stay below 2³¹, and a row of three channels fits shared memory.
const LONGEST: usize = 16_384;
const _: () = assert!(LONGEST * 3 <= SHARED, "passes across keep a row there");

/// Makes [`Prepared`]s for one model's input.
#[derive(Debug)]
pub struct Preprocess {
    machine: Arc<dyn Machine>,
    size: usize,
    /// `[channel][level]`: scaling, mean and deviation are a function of one byte.
    normalised: Arc<Buffer<f32>>,
    gray: Arc<Kernels>,
    colour: Arc<Kernels>,
}

impl Preprocess {
    /// For a model with input side `size`; `mean` and `std` per channel (red, green, blue) on the scale 0 … 1.
    pub fn new(machine: &Arc<dyn Machine>, size: usize, mean: [f32; 3], std: [f32; 3]) -> Result<Self, CudaError> {
        check_side("the model's input side", size)?;
        let levels = |c: usize| (0..256).map(move |level| (level as f32 / 255.0 - mean[c]) / std[c]);
        let normalised: Vec<f32> = (0..3).flat_map(levels).collect();
        let loaded = Loaded::new(machine, &PROGRAM)?;
        Ok(Self {
            machine: Arc::clone(machine),
            size,
            normalised: Arc::new(Buffer::from_slice(machine, &normalised)?),
            gray: Arc::new(Kernels::of(&loaded, 1)?),
            colour: Arc::new(Kernels::of(&loaded, 3)?),
        })
    }

    /// Tables and memory for frames of one kind; a camera needs one. `stride` is the distance of two rows in bytes.
    pub fn prepare(
        &self,
        format: FrameFormat,
        width: usize,
        height: usize,
        stride: usize,
    ) -> Result<Prepared, CudaError> {
        check_side("the frame's width", width)?;
        check_side("the frame's height", height)?;
        let is_nv12 = matches!(format, FrameFormat::Nv12(_));
        if is_nv12 && !(width.is_multiple_of(2) && height.is_multiple_of(2)) {
            let (what, found) = if width.is_multiple_of(2) {
                ("the height of an NV12 frame", height)
            } else {
                ("the width of an NV12 frame", width)
            };
            return Err(CudaError::Unsupported { what, found, allowed: "an even number" });
        }
        let row = width * format.step();
        CudaError::check_length("a row of the frame", row, stride)?;
        let rows = if is_nv12 { height + height / 2 } else { height };
        let channels = format.channels();
        let size = self.size;
        let axis = |source| Axis::new(&self.machine, source, size);
        let order = Order::of(width, height, size);
        // The pass in between keeps the side that it does not touch; its rows start at multiples of four bytes.
        let (between_row, between_rows) = match order {
            Order::DownThenAcross => (width * channels, size),
            Order::AcrossThenDown => (size * channels, height),
            _ => (0, 0),
        };
        let between_stride = between_row.next_multiple_of(4);
        let rgb_stride = (width * 3).next_multiple_of(4);
        Ok(Prepared {
            format,
            size,
            width,
            height,
            stride,
            bytes: stride * (rows - 1) + row,
            order,
            across: axis(width)?,
            down: axis(height)?,
            rgb: if is_nv12 { Some(Buffer::zeros(&self.machine, rgb_stride * height)?) } else { None },
            rgb_stride,
            between: Buffer::zeros(&self.machine, between_stride * between_rows)?,
            between_stride,
            normalised: Arc::clone(&self.normalised),
            kernels: Arc::clone(if channels == 1 { &self.gray } else { &self.colour }),
        })
    }
}

/// Which passes a frame needs, in Pillow's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    None,
    Across,
    Down,
    AcrossThenDown,
    DownThenAcross,
}

impl Order {
    fn of(width: usize, height: usize, size: usize) -> Self {
        match (width == size, height == size) {
            (true, true) => Self::None,
            (false, true) => Self::Across,
            (true, false) => Self::Down,
            _ if is_down_first(width, height, size) => Self::DownThenAcross,
            _ => Self::AcrossThenDown,
        }
    }
}

/// The weights of one axis on the card.
#[derive(Debug)]
struct Axis {
    /// Per target pixel.
    spans: Buffer<Span>,
    weights: Buffer<i32>,
}

impl Axis {
    fn new(machine: &Arc<dyn Machine>, source: usize, target: usize) -> Result<Self, CudaError> {
        let taps = Taps::bicubic(source, target);
        let spans: Vec<Span> = taps.spans().map(|(first, at, count)| Span::new(first, at, count)).collect();
        Ok(Self { spans: Buffer::from_slice(machine, &spans)?, weights: Buffer::from_slice(machine, taps.fixed())? })
    }
}

/// Everything for frames of one format and size.
#[derive(Debug)]
pub struct Prepared {
    format: FrameFormat,
    size: usize,
    width: usize,
    height: usize,
    stride: usize,
    bytes: usize,
    order: Order,
    across: Axis,
    down: Axis,
    rgb: Option<Buffer<u8>>,
    rgb_stride: usize,
    between: Buffer<u8>,
    between_stride: usize,
    normalised: Arc<Buffer<f32>>,
    kernels: Arc<Kernels>,
}

/// Pixels on the card, as the passes hand them on.
#[derive(Clone, Copy)]
struct Plane<'a> {
    pixels: View<'a, u8>,
    stride: usize,
    width: usize,
    height: usize,
}

/// Where the last pass writes.
#[derive(Clone, Copy)]
struct Input {
    planes: Planes,
    is_half: IsHalf,
}

impl Prepared {
    /// Bytes of a frame, from the first pixel to the last.
    pub fn frame_bytes(&self) -> usize {
        self.bytes
    }

    /// Enqueues one frame's way to place `slot` of the model's input `[batch, 3, S, S]`.
    pub fn run(
        &self,
        stream: &Stream,
        frame: View<'_, u8>,
        input: &ValuesMut<'_>,
        slot: usize,
    ) -> Result<(), CudaError> {
        let image = 3 * self.size * self.size;
        CudaError::check_length("the frame", self.bytes, frame.len())?;
        CudaError::check_length("the model's input", (slot + 1) * image, input.len())?;
        let input = Input { planes: Planes::of(input, slot, image), is_half: IsHalf::from(input.dtype()) };
        let frame = Plane { pixels: frame, stride: self.stride, width: self.width, height: self.height };
        let frame = match (self.format, &self.rgb) {
            (FrameFormat::Nv12(matrix), Some(rgb)) => self.to_rgb(stream, frame, matrix, rgb)?,
            _ => frame,
        };
        match self.order {
            Order::None => self.normalise(stream, frame, input),
            Order::Across => self.normalise_across(stream, frame, input),
            Order::Down => self.normalise_down(stream, frame, input),
            Order::AcrossThenDown => {
                let resized = self.resize_across(stream, frame)?;
                self.normalise_down(stream, resized, input)
            }
            Order::DownThenAcross => {
                let resized = self.resize_down(stream, frame)?;
                self.normalise_across(stream, resized, input)
            }
        }
    }

    fn to_rgb<'a>(
        &self,
        stream: &Stream,
        frame: Plane<'_>,
        matrix: YuvMatrix,
        rgb: &'a Buffer<u8>,
    ) -> Result<Plane<'a>, CudaError> {
        let Plane { pixels: luminance, stride, width, height } = frame;
        let (luma, red_cr, green_cb, green_cr, blue_cb) = matrix.factors();
        let arguments = Nv12ToRgb {
            luminance,
            chroma: luminance.slice(stride * height..luminance.len()),
            stride: Stride::of(stride),
            rgb: written(rgb),
            rgb_stride: ToStride::of(self.rgb_stride),
            width: Width::of(width),
            height: Height::of(height),
            luma,
            red_cr,
            green_cb,
            green_cr,
            blue_cb,
        };
        let geometry = Geometry { grid: [blocks(width, THREADS), height as u32, 1], threads: THREADS, shared: 0 };
        // SAFETY: `run` checked the frame's length, and `rgb` was made for it.
        unsafe { self.kernels.nv12_to_rgb.launch(stream, geometry, arguments)? };
        Ok(Plane { pixels: rgb.view(), stride: self.rgb_stride, width, height })
    }

    fn resize_across(&self, stream: &Stream, from: Plane<'_>) -> Result<Plane<'_>, CudaError> {
        let arguments = ResizeAcross {
            from: from.pixels,
            stride: Stride::of(from.stride),
            to: written(&self.between),
            to_stride: ToStride::of(self.between_stride),
            spans: self.across.spans.view(),
            weights: self.across.weights.view(),
            width: Width::of(from.width),
            size: Side::of(self.size),
        };
        // SAFETY: `from` has its rows, as `run` checked the frame; `between` and the tables were made for these sizes.
        unsafe { self.kernels.resize_across.launch(stream, self.rows(from), arguments)? };
        Ok(Plane { pixels: self.between.view(), stride: self.between_stride, width: self.size, height: from.height })
    }

    fn resize_down(&self, stream: &Stream, from: Plane<'_>) -> Result<Plane<'_>, CudaError> {
        let row_bytes = from.width * self.format.channels();
        let arguments = ResizeDown {
            from: from.pixels,
            stride: Stride::of(from.stride),
            to: written(&self.between),
            to_stride: ToStride::of(self.between_stride),
            spans: self.down.spans.view(),
            weights: self.down.weights.view(),
            row_bytes: RowBytes::of(row_bytes),
        };
        // SAFETY: as for `resize_across`.
        unsafe { self.kernels.resize_down.launch(stream, self.columns(row_bytes, BYTES_DOWN), arguments)? };
        Ok(Plane { pixels: self.between.view(), stride: self.between_stride, width: from.width, height: self.size })
    }

    fn normalise_across(&self, stream: &Stream, from: Plane<'_>, to: Input) -> Result<(), CudaError> {
        let arguments = NormaliseAcross {
            from: from.pixels,
            stride: Stride::of(from.stride),
            planes: to.planes,
            is_half: to.is_half,
            is_bgr: self.is_bgr(),
            levels: self.normalised.view(),
            spans: self.across.spans.view(),
            weights: self.across.weights.view(),
            width: Width::of(from.width),
            size: Side::of(self.size),
        };
        // SAFETY: `from` has its rows: `run` checked the frame, and the pass before filled `between`. The tables were made
        // for these sizes, and `run` checked the length of the input.
        unsafe { self.kernels.normalise_across.launch(stream, self.rows(from), arguments) }
    }

    fn normalise_down(&self, stream: &Stream, from: Plane<'_>, to: Input) -> Result<(), CudaError> {
        let arguments = NormaliseDown {
            from: from.pixels,
            stride: Stride::of(from.stride),
            planes: to.planes,
            is_half: to.is_half,
            is_bgr: self.is_bgr(),
            levels: self.normalised.view(),
            spans: self.down.spans.view(),
            weights: self.down.weights.view(),
            size: Side::of(self.size),
        };
        // SAFETY: as for `normalise_across`.
        unsafe { self.kernels.normalise_down.launch(stream, self.columns(self.size, 1), arguments) }
    }

    fn normalise(&self, stream: &Stream, from: Plane<'_>, to: Input) -> Result<(), CudaError> {
        let arguments = Normalise {
            from: from.pixels,
            stride: Stride::of(from.stride),
            planes: to.planes,
            is_half: to.is_half,
            is_bgr: self.is_bgr(),
            levels: self.normalised.view(),
            size: Side::of(self.size),
        };
        // SAFETY: as for `normalise_across`.
        unsafe { self.kernels.normalise.launch(stream, self.columns(self.size, 1), arguments) }
    }

    fn is_bgr(&self) -> IsBgr {
        IsBgr::of(usize::from(self.format == FrameFormat::Bgr8))
    }

    /// A block for each row of `from`, which it keeps in shared memory.
    fn rows(&self, from: Plane<'_>) -> Geometry {
        let shared = from.width * self.format.channels();
        Geometry { grid: [from.height as u32, 1, 1], threads: THREADS, shared }
    }

    /// For each of the model's rows `count` items, `each` of them a thread's.
    fn columns(&self, count: usize, each: usize) -> Geometry {
        Geometry { grid: [blocks(count, each * THREADS), self.size as u32, 1], threads: THREADS, shared: 0 }
    }
}

/// Scratch that a pass writes and the next one reads. Passes of one stream follow each other, and a [`Prepared`] is run
/// on one stream at a time.
fn written(scratch: &Buffer<u8>) -> ViewMut<'_, u8> {
    // SAFETY: the buffer has its memory behind it for as long as it is borrowed, and is dropped after all work on it.
    unsafe { ViewMut::from_raw(scratch.address(), scratch.len()) }
}

fn check_side(what: &'static str, side: usize) -> Result<(), CudaError> {
    if (1..=LONGEST).contains(&side) {
        return Ok(());
    }
    Err(CudaError::Unsupported { what, found: side, allowed: "1 to 16384 pixels" })
}

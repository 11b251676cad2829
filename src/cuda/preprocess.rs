//! From a camera's bytes on the card to the model's input: Pillow's bicubic, then normalised channel planes.
//!
//! The same tables, passes and rounding as [`crate::vcp_clip::preprocess`], so the bytes before normalisation are equal
//! and the float32 input too.

use std::sync::Arc;

use super::machine::{Arg, Buffer, Dtype, Kernel, Launch, Machine, Program, Stream, ValuesMut, View, arg};
use super::{CudaError, blocks};
use crate::vcp_clip::resample::{Taps, is_down_first};

pub(super) const PROGRAM: Program = Program {
    name: "preprocess.cu",
    source: include_str!("preprocess.cu"),
    kernels: &[
        "nv12_to_rgb",
        "resize_across_1",
        "resize_across_3",
        "resize_down",
        "normalise_across_1",
        "normalise_across_3",
        "normalise_down_1",
        "normalise_down_3",
        "normalise_1",
        "normalise_3",
    ],
};

const THREADS: usize = 256;
/// Bytes of a row that one thread of a pass down takes.
const BYTES_DOWN: usize = 4;
/// Shared memory that every card gives a block, bytes.
const SHARED: usize = 48 * 1024;
/// Longest side of a frame: byte offsets within a frame stay below 2³¹, and a row of three channels fits shared memory.
const LONGEST: usize = 16_384;
const _: () = assert!(LONGEST * 3 <= SHARED, "passes across keep a row there");

/// How the bytes of a frame on the card are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFormat {
    /// One byte of luminance.
    Gray8,
    /// Red, green, blue.
    Rgb8,
    /// Blue, green, red.
    Bgr8,
    /// A plane of luminance, then one of interleaved Cb and Cr for 2×2 pixels each, with the same stride. Width and
    /// height are even. It becomes RGB before it is resized; see [`nv12_to_rgb`].
    Nv12(YuvMatrix),
}

/// Which standard says what luminance and chroma mean; both in video range (16 … 235, 16 … 240).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum YuvMatrix {
    /// ITU-R BT.601, standard definition.
    Bt601,
    /// ITU-R BT.709, high definition.
    Bt709,
}

impl YuvMatrix {
    /// Factors × 2¹⁶ of luminance, Cr in red, Cb in green, Cr in green (both taken off) and Cb in blue.
    fn factors(self) -> [i32; 5] {
        match self {
            Self::Bt601 => [76_309, 104_597, 25_675, 53_279, 132_201],
            Self::Bt709 => [76_309, 117_489, 13_975, 34_925, 138_438],
        }
    }
}

/// One pixel from NV12 to RGB in 16-bit fixed point, rounded and clipped; the kernel computes the same.
pub fn nv12_to_rgb(matrix: YuvMatrix, luminance: u8, cb: u8, cr: u8) -> [u8; 3] {
    let [luma, red_cr, green_cb, green_cr, blue_cb] = matrix.factors();
    let base = luma * (i32::from(luminance) - 16) + (1 << 15);
    let (cb, cr) = (i32::from(cb) - 128, i32::from(cr) - 128);
    let sums = [base + red_cr * cr, base - green_cb * cb - green_cr * cr, base + blue_cb * cb];
    sums.map(|sum| (sum >> 16).clamp(0, 255) as u8)
}

impl FrameFormat {
    /// Bytes from one pixel to the next, of the first plane.
    fn step(self) -> usize {
        match self {
            Self::Gray8 | Self::Nv12(_) => 1,
            Self::Rgb8 | Self::Bgr8 => 3,
        }
    }

    /// Channels that are resized.
    fn channels(self) -> usize {
        if self == Self::Gray8 { 1 } else { 3 }
    }
}

/// Makes [`Prepared`]s for one model's input.
#[derive(Debug)]
pub struct Preprocess {
    machine: Arc<dyn Machine>,
    size: usize,
    /// `[channel][level]`: scaling, mean and deviation are a function of one byte.
    normalised: Arc<Buffer<f32>>,
    kernels: Arc<[Kernel]>,
}

impl Preprocess {
    /// For a model with input side `size`; `mean` and `std` per channel (red, green, blue) on the scale 0 … 1.
    pub fn new(machine: &Arc<dyn Machine>, size: usize, mean: [f32; 3], std: [f32; 3]) -> Result<Self, CudaError> {
        check_side("the model's input side", size)?;
        let levels = |c: usize| (0..256).map(move |level| (level as f32 / 255.0 - mean[c]) / std[c]);
        let normalised: Vec<f32> = (0..3).flat_map(levels).collect();
        Ok(Self {
            machine: Arc::clone(machine),
            size,
            normalised: Arc::new(Buffer::from_slice(machine, &normalised)?),
            kernels: machine.load(&PROGRAM)?.into(),
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
            kernels: Arc::clone(&self.kernels),
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
    /// Per target pixel: first source pixel, where its weights start, and how many there are.
    spans: Buffer<[i32; 4]>,
    weights: Buffer<i32>,
}

impl Axis {
    fn new(machine: &Arc<dyn Machine>, source: usize, target: usize) -> Result<Self, CudaError> {
        let taps = Taps::bicubic(source, target);
        let spans: Vec<[i32; 4]> =
            taps.spans().map(|(first, at, count)| [first as i32, at as i32, count as i32, 0]).collect();
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
    kernels: Arc<[Kernel]>,
}

/// Pixels on the card, as the passes hand them on.
#[derive(Clone, Copy)]
struct Plane {
    address: u64,
    stride: usize,
    width: usize,
    height: usize,
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
        let mut source =
            Plane { address: frame.address(), stride: self.stride, width: self.width, height: self.height };
        if let (FrameFormat::Nv12(matrix), Some(rgb)) = (self.format, &self.rgb) {
            source = self.to_rgb(stream, source, matrix, rgb)?;
        }
        let value = if input.dtype() == Dtype::F16 { size_of::<half::f16>() } else { size_of::<f32>() };
        let first = input.address() + (slot * image * value) as u64;
        let [is_half, is_bgr] = [input.dtype() == Dtype::F16, self.format == FrameFormat::Bgr8].map(i32::from);
        let levels = self.normalised.address();
        let to_input = [arg(&first), arg(&is_half), arg(&is_bgr), arg(&levels)];
        let (between, between_stride) = (self.between.address(), self.between_stride as i32);
        let to_between = [arg(&between), arg(&between_stride)];
        let mut resized = Plane { address: between, stride: self.between_stride, ..source };
        match self.order {
            Order::None => {
                let grid = [blocks(self.size, THREADS), self.size as u32, 1];
                self.pass(stream, "normalise", source, grid, 0, &to_input, &[arg(&(self.size as i32))])
            }
            Order::Across => self.across(stream, "normalise_across", source, &to_input),
            Order::Down => self.down(stream, "normalise_down", source, &to_input, (self.size, 1)),
            Order::AcrossThenDown => {
                resized.width = self.size;
                self.across(stream, "resize_across", source, &to_between)?;
                self.down(stream, "normalise_down", resized, &to_input, (self.size, 1))
            }
            Order::DownThenAcross => {
                resized.height = self.size;
                let row = source.width * self.format.channels();
                self.down(stream, "resize_down", source, &to_between, (row, BYTES_DOWN))?;
                self.across(stream, "normalise_across", resized, &to_input)
            }
        }
    }

    fn kernel(&self, stem: &'static str) -> Result<&Kernel, CudaError> {
        let wanted = |kernel: &&Kernel| {
            kernel.name == stem || kernel.name.strip_prefix(stem).is_some_and(|rest| rest == self.suffix())
        };
        self.kernels.iter().find(wanted).ok_or(CudaError::Unsupported {
            what: "the number of channels",
            found: self.format.channels(),
            allowed: "1 or 3",
        })
    }

    fn suffix(&self) -> &'static str {
        if self.format.channels() == 1 { "_1" } else { "_3" }
    }

    fn to_rgb(&self, stream: &Stream, source: Plane, matrix: YuvMatrix, rgb: &Buffer<u8>) -> Result<Plane, CudaError> {
        let chroma = source.address + (source.stride * source.height) as u64;
        let [width, height, stride, rgb_stride] =
            [source.width, source.height, source.stride, self.rgb_stride].map(|n| n as i32);
        let [luma, red_cr, green_cb, green_cr, blue_cb] = matrix.factors();
        // SAFETY: `run` checked the frame's length, and `rgb` was made for it.
        unsafe {
            stream.launch(&Launch {
                kernel: self.kernel("nv12_to_rgb")?,
                grid: [blocks(source.width, THREADS), source.height as u32, 1],
                threads: THREADS as u32,
                shared: 0,
                args: &[
                    arg(&source.address),
                    arg(&chroma),
                    arg(&stride),
                    arg(&rgb.address()),
                    arg(&rgb_stride),
                    arg(&width),
                    arg(&height),
                    arg(&luma),
                    arg(&red_cr),
                    arg(&green_cb),
                    arg(&green_cr),
                    arg(&blue_cb),
                ],
            })?;
        }
        Ok(Plane { address: rgb.address(), stride: self.rgb_stride, ..source })
    }

    /// Enqueues a pass along the rows: a block each.
    fn across(&self, stream: &Stream, stem: &'static str, source: Plane, out: &[Arg<'_>]) -> Result<(), CudaError> {
        let axis = &self.across;
        let (spans, weights) = (axis.spans.address(), axis.weights.address());
        let [width, size] = [source.width, self.size].map(|n| n as i32);
        let row = source.width * self.format.channels();
        let sizes = [arg(&spans), arg(&weights), arg(&width), arg(&size)];
        self.pass(stream, stem, source, [source.height as u32, 1, 1], row, out, &sizes)
    }

    /// Enqueues a pass along the columns: for each of the model's rows `count` items, `each` of them a thread's.
    fn down(
        &self,
        stream: &Stream,
        stem: &'static str,
        source: Plane,
        out: &[Arg<'_>],
        (count, each): (usize, usize),
    ) -> Result<(), CudaError> {
        let axis = &self.down;
        let (spans, weights) = (axis.spans.address(), axis.weights.address());
        let items = count as i32;
        let sizes = [arg(&spans), arg(&weights), arg(&items)];
        let grid = [blocks(count, each * THREADS), self.size as u32, 1];
        self.pass(stream, stem, source, grid, 0, out, &sizes)
    }

    /// Enqueues `stem(source, stride, out…, sizes…)`.
    #[allow(clippy::too_many_arguments)] // What every pass has, and its own.
    fn pass(
        &self,
        stream: &Stream,
        stem: &'static str,
        source: Plane,
        grid: [u32; 3],
        shared: usize,
        out: &[Arg<'_>],
        sizes: &[Arg<'_>],
    ) -> Result<(), CudaError> {
        let stride = source.stride as i32;
        let args = [&[arg(&source.address), arg(&stride)], out, sizes].concat();
        // SAFETY: the source has its rows: `run` checked the frame, and the pass before filled `between`. That and the
        // tables were made for these sizes, and `run` checked the length of the input.
        unsafe {
            stream.launch(&Launch { kernel: self.kernel(stem)?, grid, threads: THREADS as u32, shared, args: &args })
        }
    }
}

fn check_side(what: &'static str, side: usize) -> Result<(), CudaError> {
    if (1..=LONGEST).contains(&side) {
        return Ok(());
    }
    Err(CudaError::Unsupported { what, found: side, allowed: "1 to 16384 pixels" })
}

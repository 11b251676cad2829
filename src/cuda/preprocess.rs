//! From a camera's bytes on the card to the model's input: Pillow's bicubic, then normalised channel planes.
//!
//! The same tables, passes and rounding as [`crate::vcp_clip::preprocess`], so the bytes before normalisation are equal
//! and the float32 input too.

use std::sync::Arc;

use super::machine::{Buffer, Dtype, Kernel, Launch, Machine, Program, Stream, ValuesMut, View, arg};
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
/// Shared memory that every card gives a block; a longer row is read where it lies.
const ROW_IN_SHARED: usize = 48 * 1024;
/// Longest side of a frame: byte offsets within a frame stay below 2³¹.
const LONGEST: usize = 16_384;

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
        let target = Target {
            address: input.address() + (slot * image * value) as u64,
            is_half: i32::from(input.dtype() == Dtype::F16),
            is_bgr: i32::from(self.format == FrameFormat::Bgr8),
        };
        match self.order {
            Order::None => self.copy(stream, source, target),
            Order::Across => self.last_across(stream, source, target),
            Order::Down => self.last_down(stream, source, target),
            Order::AcrossThenDown => {
                let between = self.first_across(stream, source)?;
                self.last_down(stream, between, target)
            }
            Order::DownThenAcross => {
                let between = self.first_down(stream, source)?;
                self.last_across(stream, between, target)
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

    /// Shared memory for one row of the source, or 0 when it is read where it lies.
    fn row_in_shared(&self, source: Plane) -> usize {
        let bytes = source.width * self.format.channels();
        if bytes <= ROW_IN_SHARED { bytes } else { 0 }
    }

    fn first_across(&self, stream: &Stream, source: Plane) -> Result<Plane, CudaError> {
        let shared = self.row_in_shared(source);
        let [width, stride, size, between_stride] =
            [source.width, source.stride, self.size, self.between_stride].map(|n| n as i32);
        let in_shared = i32::from(shared > 0);
        // SAFETY: the source has its rows, and `between` and the tables were made for these sizes.
        unsafe {
            stream.launch(&Launch {
                kernel: self.kernel("resize_across")?,
                grid: [source.height as u32, 1, 1],
                threads: THREADS as u32,
                shared,
                args: &[
                    arg(&source.address),
                    arg(&stride),
                    arg(&self.between.address()),
                    arg(&between_stride),
                    arg(&self.across.spans.address()),
                    arg(&self.across.weights.address()),
                    arg(&width),
                    arg(&size),
                    arg(&in_shared),
                ],
            })?;
        }
        Ok(Plane { address: self.between.address(), stride: self.between_stride, width: self.size, ..source })
    }

    fn first_down(&self, stream: &Stream, source: Plane) -> Result<Plane, CudaError> {
        let row = source.width * self.format.channels();
        let [row_bytes, stride, between_stride] = [row, source.stride, self.between_stride].map(|n| n as i32);
        // SAFETY: as above.
        unsafe {
            stream.launch(&Launch {
                kernel: self.kernel("resize_down")?,
                grid: [blocks(row, 4 * THREADS), self.size as u32, 1],
                threads: THREADS as u32,
                shared: 0,
                args: &[
                    arg(&source.address),
                    arg(&stride),
                    arg(&self.between.address()),
                    arg(&between_stride),
                    arg(&self.down.spans.address()),
                    arg(&self.down.weights.address()),
                    arg(&row_bytes),
                ],
            })?;
        }
        Ok(Plane { address: self.between.address(), stride: self.between_stride, height: self.size, ..source })
    }

    fn last_across(&self, stream: &Stream, source: Plane, target: Target) -> Result<(), CudaError> {
        let shared = self.row_in_shared(source);
        let [width, stride, size] = [source.width, source.stride, self.size].map(|n| n as i32);
        let in_shared = i32::from(shared > 0);
        // SAFETY: as above; `run` checked the length of the input.
        unsafe {
            stream.launch(&Launch {
                kernel: self.kernel("normalise_across")?,
                grid: [self.size as u32, 1, 1],
                threads: THREADS as u32,
                shared,
                args: &[
                    arg(&source.address),
                    arg(&stride),
                    arg(&target.address),
                    arg(&target.is_half),
                    arg(&target.is_bgr),
                    arg(&self.normalised.address()),
                    arg(&self.across.spans.address()),
                    arg(&self.across.weights.address()),
                    arg(&width),
                    arg(&size),
                    arg(&in_shared),
                ],
            })
        }
    }

    fn last_down(&self, stream: &Stream, source: Plane, target: Target) -> Result<(), CudaError> {
        let [stride, size] = [source.stride, self.size].map(|n| n as i32);
        // SAFETY: as above.
        unsafe {
            stream.launch(&Launch {
                kernel: self.kernel("normalise_down")?,
                grid: [blocks(self.size, THREADS), self.size as u32, 1],
                threads: THREADS as u32,
                shared: 0,
                args: &[
                    arg(&source.address),
                    arg(&stride),
                    arg(&target.address),
                    arg(&target.is_half),
                    arg(&target.is_bgr),
                    arg(&self.normalised.address()),
                    arg(&self.down.spans.address()),
                    arg(&self.down.weights.address()),
                    arg(&size),
                ],
            })
        }
    }

    fn copy(&self, stream: &Stream, source: Plane, target: Target) -> Result<(), CudaError> {
        let [stride, size] = [source.stride, self.size].map(|n| n as i32);
        // SAFETY: as above.
        unsafe {
            stream.launch(&Launch {
                kernel: self.kernel("normalise")?,
                grid: [blocks(self.size, THREADS), self.size as u32, 1],
                threads: THREADS as u32,
                shared: 0,
                args: &[
                    arg(&source.address),
                    arg(&stride),
                    arg(&target.address),
                    arg(&target.is_half),
                    arg(&target.is_bgr),
                    arg(&self.normalised.address()),
                    arg(&size),
                ],
            })
        }
    }
}

/// One image's place in the model's input.
#[derive(Clone, Copy)]
struct Target {
    address: u64,
    is_half: i32,
    is_bgr: i32,
}

fn check_side(what: &'static str, side: usize) -> Result<(), CudaError> {
    if (1..=LONGEST).contains(&side) {
        return Ok(());
    }
    Err(CudaError::Unsupported { what, found: side, allowed: "1 to 16384 pixels" })
}

//! The passes of pre-processing, and what each of them takes.

use bytemuck::{Pod, Zeroable};

use super::error::CudaError;
use super::frame_format::{BlueCb, GreenCb, GreenCr, Luma, RedCr};
use super::launch::{Argument, Element, IsHalf, Loaded, TypedKernel, arguments, numbers};
use super::machine::{Arg, Dtype, Program, ValuesMut, View, ViewMut, arg};

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

numbers!(
    /// Bytes between two rows that are read.
    Stride,
    /// Bytes between two rows that are written.
    ToStride,
    /// Pixels of a row that is read.
    Width,
    /// Rows that are read.
    Height,
    /// S, side of the model's input.
    Side,
    /// Bytes of a row that a pass down takes.
    RowBytes,
    /// Whether blue comes first.
    IsBgr,
);

arguments!(
    /// `nv12_to_rgb`.
    struct Nv12ToRgb<'a> {
        luminance: View<'a, u8>,
        chroma: View<'a, u8>,
        stride: Stride,
        rgb: ViewMut<'a, u8>,
        rgb_stride: ToStride,
        width: Width,
        height: Height,
        luma: Luma,
        red_cr: RedCr,
        green_cb: GreenCb,
        green_cr: GreenCr,
        blue_cb: BlueCb,
    }
);

arguments!(
    /// `resize_across_*`: along the rows, to bytes.
    struct ResizeAcross<'a> {
        from: View<'a, u8>,
        stride: Stride,
        to: ViewMut<'a, u8>,
        to_stride: ToStride,
        spans: View<'a, Span>,
        weights: View<'a, i32>,
        width: Width,
        size: Side,
    }
);

arguments!(
    /// `resize_down`: along the columns, to bytes.
    struct ResizeDown<'a> {
        from: View<'a, u8>,
        stride: Stride,
        to: ViewMut<'a, u8>,
        to_stride: ToStride,
        spans: View<'a, Span>,
        weights: View<'a, i32>,
        row_bytes: RowBytes,
    }
);

arguments!(
    /// `normalise_across_*`: along the rows, to the model's input.
    struct NormaliseAcross<'a> {
        from: View<'a, u8>,
        stride: Stride,
        planes: Planes,
        is_half: IsHalf,
        is_bgr: IsBgr,
        levels: View<'a, f32>,
        spans: View<'a, Span>,
        weights: View<'a, i32>,
        width: Width,
        size: Side,
    }
);

arguments!(
    /// `normalise_down_*`: along the columns, to the model's input.
    struct NormaliseDown<'a> {
        from: View<'a, u8>,
        stride: Stride,
        planes: Planes,
        is_half: IsHalf,
        is_bgr: IsBgr,
        levels: View<'a, f32>,
        spans: View<'a, Span>,
        weights: View<'a, i32>,
        size: Side,
    }
);

arguments!(
    /// `normalise_*`: to the model's input, as large as it is.
    struct Normalise<'a> {
        from: View<'a, u8>,
        stride: Stride,
        planes: Planes,
        is_half: IsHalf,
        is_bgr: IsBgr,
        levels: View<'a, f32>,
        size: Side,
    }
);

/// Address of one image's planes in the model's input, of either type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planes(u64);

impl Planes {
    /// Those of image `slot` in an input `[batch, 3, S, S]` whose images have `image` values.
    pub(super) fn of(input: &ValuesMut<'_>, slot: usize, image: usize) -> Self {
        let value = if input.dtype() == Dtype::F16 { size_of::<half::f16>() } else { size_of::<f32>() };
        Self(input.address() + (slot * image * value) as u64)
    }
}

impl Argument for Planes {
    fn declared() -> String {
        "void*".to_owned()
    }

    fn arg(&self) -> Arg<'_> {
        arg(&self.0)
    }
}

/// What one target pixel is made of: first source pixel, where its weights start, and how many there are.
#[repr(C)]
#[derive(Clone, Copy, Debug, Zeroable, Pod)]
pub(super) struct Span {
    first: i32,
    at: i32,
    count: i32,
    unused: i32,
}

impl Span {
    pub(super) fn new(first: usize, at: usize, count: usize) -> Self {
        Self { first: first as i32, at: at as i32, count: count as i32, unused: 0 }
    }
}

impl Element for Span {
    const NAME: &'static str = "Span";
}

/// The passes for frames of one number of channels.
#[derive(Debug)]
pub(super) struct Kernels {
    pub(super) nv12_to_rgb: TypedKernel<Nv12ToRgb<'static>>,
    pub(super) resize_across: TypedKernel<ResizeAcross<'static>>,
    pub(super) resize_down: TypedKernel<ResizeDown<'static>>,
    pub(super) normalise_across: TypedKernel<NormaliseAcross<'static>>,
    pub(super) normalise_down: TypedKernel<NormaliseDown<'static>>,
    pub(super) normalise: TypedKernel<Normalise<'static>>,
}

impl Kernels {
    /// Those for one channel or three.
    pub(super) fn of(loaded: &Loaded, channels: usize) -> Result<Self, CudaError> {
        Ok(Self {
            nv12_to_rgb: loaded.kernel("nv12_to_rgb")?,
            resize_across: loaded.kernel(&format!("resize_across_{channels}"))?,
            resize_down: loaded.kernel("resize_down")?,
            normalise_across: loaded.kernel(&format!("normalise_across_{channels}"))?,
            normalise_down: loaded.kernel(&format!("normalise_down_{channels}"))?,
            normalise: loaded.kernel(&format!("normalise_{channels}"))?,
        })
    }
}

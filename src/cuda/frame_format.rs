//! How a camera's pixels lie on the card, and what luminance and chroma become.

use super::launch::numbers;

numbers!(
    /// Luminance in every colour, × 2¹⁶, as are the others.
    Luma,
    /// Cr in red.
    RedCr,
    /// Cb that is taken off green.
    GreenCb,
    /// Cr that is taken off green.
    GreenCr,
    /// Cb in blue.
    BlueCb,
);

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
    pub(super) fn factors(self) -> (Luma, RedCr, GreenCb, GreenCr, BlueCb) {
        match self {
            Self::Bt601 => {
                (Luma::of(76_309), RedCr::of(104_597), GreenCb::of(25_675), GreenCr::of(53_279), BlueCb::of(132_201))
            }
            Self::Bt709 => {
                (Luma::of(76_309), RedCr::of(117_489), GreenCb::of(13_975), GreenCr::of(34_925), BlueCb::of(138_438))
            }
        }
    }
}

/// One pixel from NV12 to RGB in 16-bit fixed point, rounded and clipped; the kernel computes the same.
pub fn nv12_to_rgb(matrix: YuvMatrix, luminance: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (Luma(luma), RedCr(red_cr), GreenCb(green_cb), GreenCr(green_cr), BlueCb(blue_cb)) = matrix.factors();
    let base = luma * (i32::from(luminance) - 16) + (1 << 15);
    let (cb, cr) = (i32::from(cb) - 128, i32::from(cr) - 128);
    let sums = [base + red_cr * cr, base - green_cb * cb - green_cr * cr, base + blue_cb * cb];
    sums.map(|sum| (sum >> 16).clamp(0, 255) as u8)
}

impl FrameFormat {
    /// Bytes from one pixel to the next, of the first plane.
    pub(super) fn step(self) -> usize {
        match self {
            Self::Gray8 | Self::Nv12(_) => 1,
            Self::Rgb8 | Self::Bgr8 => 3,
        }
    }

    /// Channels that are resized.
    pub(super) fn channels(self) -> usize {
        if self == Self::Gray8 { 1 } else { 3 }
    }
}

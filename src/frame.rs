//! A frame: the pixels a camera delivered, owned, with where and when they came from.

use std::sync::{Arc, LazyLock};

pub use crate::levels::{Levels, LevelsError};

use crate::clock::{ClockSource, Moment};

/// How the bytes of an [`Image`] are laid out. Rows are tight: `stride = width × bytes_per_pixel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelFormat {
    /// One byte of luminance.
    Gray8,
    /// Luminance, alpha.
    GrayAlpha8,
    /// Two bytes of luminance, little endian.
    Gray16,
    /// Red, green, blue.
    Rgb8,
    /// Red, green, blue, two bytes each, little endian.
    Rgb16,
    /// Blue, green, red.
    Bgr8,
    /// Red, green, blue, alpha (not premultiplied).
    Rgba8,
}

impl PixelFormat {
    /// Bytes from one pixel to the next.
    pub const fn bytes_per_pixel(self) -> usize {
        match self {
            Self::Gray8 => 1,
            Self::GrayAlpha8 | Self::Gray16 => 2,
            Self::Rgb8 | Self::Bgr8 => 3,
            Self::Rgba8 => 4,
            Self::Rgb16 => 6,
        }
    }

    /// Whether a channel has more than 8 bits.
    pub const fn is_deep(self) -> bool {
        matches!(self, Self::Gray16 | Self::Rgb16)
    }
}

/// The filter with which the picture is brought to the model's size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resampling {
    /// Pillow's antialiased bicubic: everything a camera delivers.
    #[default]
    Bicubic,
    /// Nearest neighbour: palette and 1-bit files, for which Pillow (and so the released model) never interpolates.
    Nearest,
}

/// Owned pixels; a clone shares them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Columns, at least 1.
    pub width: u32,
    /// Rows, at least 1.
    pub height: u32,
    /// Layout of `data`.
    pub format: PixelFormat,
    /// Filter to use when resizing.
    pub resampling: Resampling,
    /// Its source says that it does not show what was there: a part of it is missing or guessed, and it gets no verdict.
    pub damaged: bool,
    /// What the values of the sensor mean; they are applied after the resize. Absent: 8 bits as they are, 16 bits of
    /// colour from 0 to 65535, and 16 bits of grey as Pillow has them (what lies above 255 is white).
    pub levels: Option<Arc<Levels>>,
    data: Arc<Vec<u8>>,
}

/// The bytes handed to [`Image::new`] do not make a picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{width}x{height} {format:?} needs {needed} bytes, got {got}")]
pub struct ImageError {
    width: u32,
    height: u32,
    format: PixelFormat,
    needed: usize,
    got: usize,
}

impl Image {
    /// Takes tight rows. Errors when the size is zero or `data` is not exactly `width × height × bytes_per_pixel`.
    pub fn new(width: u32, height: u32, format: PixelFormat, data: Vec<u8>) -> Result<Self, ImageError> {
        let needed = width as usize * height as usize * format.bytes_per_pixel();
        if needed == 0 || data.len() != needed {
            return Err(ImageError { width, height, format, needed, got: data.len() });
        }
        let (resampling, damaged, levels) = (Resampling::default(), false, None);
        Ok(Self { width, height, format, resampling, damaged, levels, data: Arc::new(data) })
    }

    /// Copies `height` rows that lie `stride` bytes apart, leaving the padding behind.
    pub fn from_strided(
        width: u32,
        height: u32,
        format: PixelFormat,
        stride: usize,
        bytes: &[u8],
    ) -> Result<Self, ImageError> {
        let row = width as usize * format.bytes_per_pixel();
        let needed = stride * (height as usize).saturating_sub(1) + row;
        if row == 0 || height == 0 || stride < row || bytes.len() < needed {
            return Err(ImageError { width, height, format, needed, got: bytes.len() });
        }
        let mut data = Vec::with_capacity(row * height as usize);
        for line in bytes.chunks(stride).take(height as usize) {
            data.extend_from_slice(&line[..row]);
        }
        Self::new(width, height, format, data)
    }

    /// A piece of this picture, or one of another size made from its pixels: all that is known about them stays. Errors as
    /// [`Self::new`].
    pub fn with_pixels(&self, width: u32, height: u32, data: Vec<u8>) -> Result<Self, ImageError> {
        let Self { data, .. } = Self::new(width, height, self.format, data)?;
        Ok(Self { width, height, data, ..self.clone() })
    }

    /// The pixels, row after row without padding.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Whether `other` is a clone of this very picture. Pictures that only look alike are not.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.data, &other.data)
            && (self.width, self.height, self.format, self.resampling)
                == (other.width, other.height, other.format, other.resampling)
            && self.levels == other.levels
    }

    /// The picture with these levels.
    pub fn through(self, levels: Option<Arc<Levels>>) -> Self {
        Self { levels, ..self }
    }

    /// The levels of a picture that has some: those that it carries, and the whole range of 16-bit colour without any.
    pub fn levels_in_use(&self) -> Option<&Levels> {
        static WHOLE: LazyLock<Levels> = LazyLock::new(|| Levels::of_bits(16));
        match (&self.levels, self.format) {
            (Some(levels), _) => Some(levels),
            (None, PixelFormat::Rgb16) => Some(&WHOLE),
            (None, _) => None,
        }
    }

    /// One pixel as red, green, blue for people: through its levels, alpha is ignored. 16-bit grey without levels keeps its
    /// upper byte.
    pub fn rgb_at(&self, x: u32, y: u32) -> [u8; 3] {
        let step = self.format.bytes_per_pixel();
        let at = (y as usize * self.width as usize + x as usize) * step;
        let p = &self.data[at..at + step];
        let levels = self.levels_in_use();
        let deep = |at: usize| match levels {
            Some(levels) => levels.byte(u16::from_le_bytes([p[at], p[at + 1]])),
            None => p[at + 1],
        };
        let pixel = match self.format {
            PixelFormat::Gray16 => return [deep(0); 3],
            PixelFormat::Rgb16 => return [deep(0), deep(2), deep(4)],
            PixelFormat::Gray8 | PixelFormat::GrayAlpha8 => [p[0]; 3],
            PixelFormat::Rgb8 | PixelFormat::Rgba8 => [p[0], p[1], p[2]],
            PixelFormat::Bgr8 => [p[2], p[1], p[0]],
        };
        match levels {
            Some(levels) => pixel.map(|byte| levels.byte(u16::from(byte))),
            None => pixel,
        }
    }
}

/// The part a frame shows, when the line is triggered.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Part {
    /// The line controller's name for the part.
    pub id: String,
    /// The trigger's counter.
    pub trigger: u64,
}

/// One picture from one camera.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Configured name of the camera.
    pub camera: Arc<str>,
    /// Counts the frames this camera delivered, from 0; a gap is a frame that was skipped.
    pub seq: u64,
    /// The part, or `None` when the camera runs free.
    pub part: Option<Part>,
    /// When the frame arrived.
    pub captured: Moment,
    /// Which clock said so.
    pub clock: ClockSource,
    /// The file it came from, relative to the camera's folder; what is no UTF-8 in its name is replaced. `None` for what
    /// no folder holds.
    pub file: Option<Arc<str>>,
    /// The pixels.
    pub image: Image,
}

impl Frame {
    /// A picture that comes alone: the first frame of something with this name, no part, on this computer's clock.
    pub fn alone(camera: impl Into<Arc<str>>, captured: Moment, image: Image) -> Self {
        let camera = camera.into();
        Self { camera, seq: 0, part: None, captured, clock: ClockSource::System, file: None, image }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strided_rows_lose_their_padding() {
        let bytes = [1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9];
        let image = Image::from_strided(3, 3, PixelFormat::Gray8, 4, &bytes).expect("valid");
        assert_eq!(image.data(), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn only_a_clone_is_the_same_picture() {
        let image = Image::new(2, 1, PixelFormat::Gray8, vec![1, 2]).expect("fits");
        let alike = Image::new(2, 1, PixelFormat::Gray8, vec![1, 2]).expect("fits");
        assert!(image.is_same(&image.clone()) && image == alike && !image.is_same(&alike));
    }

    #[test]
    fn short_buffers_are_refused() {
        assert!(Image::from_strided(3, 3, PixelFormat::Gray8, 4, &[0; 10]).is_err());
        assert!(Image::new(2, 2, PixelFormat::Rgb8, vec![0; 11]).is_err());
        assert!(Image::new(0, 2, PixelFormat::Rgb8, vec![]).is_err());
    }
}

//! Where the anomaly is, pixel by pixel, and at the model's size as the released code brings it there.

use std::path::Path;
use std::sync::Once;

use super::DatasetError;
use crate::frame::{Image, PixelFormat};
use crate::source::image_file::{self, ImageFileError, Orientation, Upright};

/// Fraction bits of a weight in Pillow's 8-bit path.
const FRACTION_BITS: u32 = 32 - 8 - 2;
/// From here on an 8-bit level lies above one half: 127 / 255 < 0.5 < 128 / 255.
const HALF: u8 = 128;

/// Anomalous pixels of one picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Row by row, true where anomalous.
    pub anomalous: Vec<bool>,
}

impl Mask {
    /// Reads a mask: every pixel that is not black is anomalous, as in the released data sets (`convert("L") > 0`).
    pub fn load(path: &Path) -> Result<Self, DatasetError> {
        Ok(Self::of(&image_file::load_as_stored(path)?))
    }

    /// Reads the mask of `picture`. Drawing programs show pictures upright and save masks so; a script that works on the
    /// stored pixels saves them lying. Only the size tells which, and one of the pair turning alone is worth a warning.
    pub fn load_beside(path: &Path, picture: &Upright) -> Result<Self, DatasetError> {
        let mask = image_file::load_upright_as_stored(path)?;
        if mask.orientation == picture.orientation {
            return Ok(Self::of(&mask.image));
        }
        let size = (mask.image.width, mask.image.height);
        let silent = mask.orientation == Orientation::NoTransforms;
        let lies = silent && size == picture.stored_size() && size != (picture.image.width, picture.image.height);
        static TOLD: Once = Once::new();
        TOLD.call_once(|| {
            let done = if lies { "the mask is turned as its picture is" } else { "the mask is taken as upright" };
            tracing::warn!(
                mask = %path.display(), picture = ?picture.orientation, mask_orientation = ?mask.orientation,
                "the EXIF orientation of picture and mask differ: {done}; others like this are not named"
            );
        });
        let image = if lies { image_file::turned(mask.image, picture.orientation) } else { Ok(mask.image) };
        let image = image.map_err(|reason| ImageFileError::Undecodable { path: path.to_owned(), reason })?;
        Ok(Self::of(&image))
    }

    fn of(image: &Image) -> Self {
        Self { width: image.width, height: image.height, anomalous: not_black(image) }
    }

    /// At the model's size, S×S: black and white are resized with Pillow's antialiased bilinear filter, 8 bits a pass,
    /// and what lies above one half is anomalous.
    ///
    /// This is what the released evaluation and training do (commit 4dd96ec, `utils/dataset.py` with the transform of
    /// `test.py`: torchvision's `Resize((S, S))`, whose default is bilinear, `ToTensor`, then `> 0.5`). It is not
    /// nearest neighbour: thin anomalies of large pictures shrink, and may vanish.
    pub fn resized(&self, size: usize) -> Vec<bool> {
        let (width, height) = (self.width as usize, self.height as usize);
        let pixels: Vec<u8> = self.anomalous.iter().map(|&anomalous| if anomalous { u8::MAX } else { 0 }).collect();
        // Pillow 13 shrinks the height first when that takes away more than twice as many rows as columns.
        let (rows_lost, columns_lost) = (height as i64 - size as i64, width as i64 - size as i64);
        let resized = if rows_lost > 0 && rows_lost > 2 * columns_lost {
            across(&down(&pixels, width, height, size), width, size)
        } else {
            down(&across(&pixels, width, size), size, height, size)
        };
        resized.into_iter().map(|level| level >= HALF).collect()
    }
}

/// Reads a mask at the model's size S×S, row by row; see [`Mask::resized`].
pub fn load_mask(path: &Path, size: usize) -> Result<Vec<bool>, DatasetError> {
    Ok(Mask::load(path)?.resized(size))
}

/// Pixels whose 8-bit luminance is not zero. Pillow computes it with 16-bit weights of ITU-R 601-2, rounded.
fn not_black(image: &Image) -> Vec<bool> {
    let step = image.format.bytes_per_pixel();
    let pixels = image.data().chunks_exact(step);
    let luminance =
        |r: u8, g: u8, b: u8| (u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16;
    match image.format {
        PixelFormat::Gray8 | PixelFormat::GrayAlpha8 => pixels.map(|p| p[0] > 0).collect(),
        // 16-bit grey is cut off at 255 there, not scaled: one is not black.
        PixelFormat::Gray16 => pixels.map(|p| p[0] > 0 || p[1] > 0).collect(),
        PixelFormat::Rgb8 | PixelFormat::Rgba8 => pixels.map(|p| luminance(p[0], p[1], p[2]) > 0).collect(),
        PixelFormat::Bgr8 => pixels.map(|p| luminance(p[2], p[1], p[0]) > 0).collect(),
    }
}

/// Resizes every row of `width` pixels to `target`.
fn across(pixels: &[u8], width: usize, target: usize) -> Vec<u8> {
    if width == target {
        return pixels.to_vec();
    }
    let taps = taps(width, target);
    let rows = pixels.chunks_exact(width);
    rows.flat_map(|row| taps.iter().map(|(first, weights)| weigh(weights, row[*first..].iter().copied()))).collect()
}

/// Resizes every column of `height` pixels to `target`.
fn down(pixels: &[u8], width: usize, height: usize, target: usize) -> Vec<u8> {
    if height == target {
        return pixels.to_vec();
    }
    let column = |first: usize, x: usize| pixels[first * width + x..].iter().copied().step_by(width);
    let taps = taps(height, target);
    taps.iter().flat_map(|(first, weights)| (0..width).map(|x| weigh(weights, column(*first, x)))).collect()
}

fn weigh(weights: &[i32], levels: impl Iterator<Item = u8>) -> u8 {
    let sum: i32 = weights.iter().zip(levels).map(|(weight, level)| weight * i32::from(level)).sum();
    ((sum + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS).clamp(0, 255) as u8
}

/// Per target pixel the first source pixel and the fixed-point weights: a triangle that widens when shrinking.
fn taps(source: usize, target: usize) -> Vec<(usize, Vec<i32>)> {
    let scale = source as f64 / target as f64;
    let reach = scale.max(1.0);
    let pixel = |pixel: usize| {
        let centre = (pixel as f64 + 0.5) * scale;
        // Cutting off after adding a half; below zero both give the border, as `as usize` saturates.
        let first = (centre - reach + 0.5) as usize;
        let end = ((centre + reach + 0.5) as usize).min(source);
        let triangle = |x: usize| (1.0 - ((x as f64 - centre + 0.5) / reach).abs()).max(0.0);
        let exact: Vec<f64> = (first..end).map(triangle).collect();
        let sum: f64 = exact.iter().sum();
        let one = f64::from(1u32 << FRACTION_BITS);
        (first, exact.iter().map(|weight| (weight / sum * one + 0.5) as i32).collect())
    };
    (0..target).map(pixel).collect()
}

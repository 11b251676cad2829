//! Which way up a picture is shown: the orientation of EXIF, in all its eight values.
//!
//! Pictures are turned upright, as OpenCV's `imread`, browsers and the programs that masks are drawn in (labelme, CVAT,
//! Label Studio) show them; the bare `Image.open` of Pillow and torchvision's loader leave them lying.

use image::metadata::Orientation;

use super::error::Refusal;
use crate::frame::Image;

/// What JPEG, and some writers of WebP, put before the EXIF data itself.
const EXIF_PREFIX: &[u8] = b"Exif\0\0";

/// The orientation in a block of EXIF data. Data that cannot be understood says nothing, as in every viewer.
pub(crate) fn of_exif(data: &[u8]) -> Orientation {
    let data = data.strip_prefix(EXIF_PREFIX).unwrap_or(data);
    Orientation::from_exif_chunk(data).unwrap_or(Orientation::NoTransforms)
}

/// The orientation of a tag's value; values outside 1 to 8 say nothing.
pub(crate) fn of_value(value: u64) -> Orientation {
    u8::try_from(value).ok().and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
}

/// Turns or mirrors stored pixels into the picture that is to be seen.
pub(crate) fn upright(image: Image, orientation: Orientation) -> Result<Image, Refusal> {
    if orientation == Orientation::NoTransforms {
        return Ok(image);
    }
    let (width, height) = (image.width as usize, image.height as usize);
    let step = image.format.bytes_per_pixel();
    let swapped = swaps_sides(orientation);
    let (columns, rows) = if swapped { (height, width) } else { (width, height) };
    let pixels = image.data();
    let mut data = Vec::with_capacity(pixels.len());
    for y in 0..rows {
        for x in 0..columns {
            let (from_x, from_y) = match orientation {
                Orientation::NoTransforms => (x, y),
                Orientation::FlipHorizontal => (width - 1 - x, y),
                Orientation::Rotate180 => (width - 1 - x, height - 1 - y),
                Orientation::FlipVertical => (x, height - 1 - y),
                Orientation::Rotate90FlipH => (y, x),
                Orientation::Rotate90 => (y, height - 1 - x),
                Orientation::Rotate270FlipH => (width - 1 - y, height - 1 - x),
                Orientation::Rotate270 => (width - 1 - y, x),
            };
            let at = (from_y * width + from_x) * step;
            data.extend_from_slice(&pixels[at..at + step]);
        }
    }
    image.with_pixels(columns as u32, rows as u32, data).map_err(Refusal::because)
}

/// True when columns become rows.
pub fn swaps_sides(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH)
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, GrayImage};

    use super::*;
    use crate::frame::PixelFormat;

    /// Against the library's own turning, which works on another type.
    #[test]
    fn all_eight_turn_as_the_library_turns() {
        let pixels: Vec<u8> = (0..15).collect();
        for value in 1..=8 {
            let orientation = of_value(value);
            let image = Image::new(5, 3, PixelFormat::Gray8, pixels.clone()).unwrap();
            let mut other = DynamicImage::ImageLuma8(GrayImage::from_raw(5, 3, pixels.clone()).unwrap());
            other.apply_orientation(orientation);
            let turned = upright(image, orientation).unwrap();
            assert_eq!((turned.width, turned.height), (other.width(), other.height()), "{value}");
            assert_eq!(turned.data(), other.as_bytes(), "{value}");
            assert_eq!(swaps_sides(orientation), value > 4, "{value}");
        }
        assert!([0, 9, 300].into_iter().all(|value| of_value(value) == Orientation::NoTransforms));
    }
}

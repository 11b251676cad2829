//! JPEG, BMP and WebP: what they hold is checked here, and their pixels come from the `image` library.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::error::{MAX_PIXELS, Refusal, check_size};
use super::{bmp, jpeg, webp};
use crate::frame::{Image, PixelFormat, Resampling};

pub(crate) fn decode(bytes: &[u8]) -> Result<(Image, Orientation), Refusal> {
    let (format, orientation) = if jpeg::is_jpeg(bytes) {
        (ImageFormat::Jpeg, jpeg::check(bytes)?.orientation)
    } else if webp::is_webp(bytes) {
        (ImageFormat::WebP, webp::walk(bytes)?)
    } else if bytes.starts_with(b"BM") {
        (ImageFormat::Bmp, Orientation::NoTransforms)
    } else {
        return Err(Refusal::because("is not PNG, JPEG, BMP, TIFF or WebP"));
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_PIXELS * 8);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(Refusal::because)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    if format == ImageFormat::Bmp {
        bmp::check(bytes)?;
    }
    let colour = decoder.color_type();
    let picture = DynamicImage::from_decoder(decoder).map_err(Refusal::because)?;
    let (format, data) = match colour {
        ColorType::L8 => (PixelFormat::Gray8, picture.into_luma8().into_raw()),
        ColorType::La8 => (PixelFormat::GrayAlpha8, picture.into_luma_alpha8().into_raw()),
        _ if colour.has_alpha() => (PixelFormat::Rgba8, picture.into_rgba8().into_raw()),
        _ => (PixelFormat::Rgb8, picture.into_rgb8().into_raw()),
    };
    let mut image = Image::new(width, height, format, data).map_err(Refusal::because)?;
    if bytes.starts_with(b"BM") && bmp::is_indexed(bytes) {
        image.resampling = Resampling::Nearest;
    }
    Ok((image, orientation))
}

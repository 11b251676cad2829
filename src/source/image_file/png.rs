//! PNG: every chunk's checksum and the end are asked for, then samples are read as they are stored.

use std::io::Cursor;

use image::metadata::Orientation;
use png::{BitDepth, Decoder, Transformations};

use super::depth::{Depth, sixteen_bits, unpack};
use super::error::{MAX_PIXELS, Refusal, check_size};
use super::orientation::of_exif;
use crate::frame::{Image, PixelFormat, Resampling};

/// First bytes of every PNG.
pub(crate) const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

pub(crate) fn decode(bytes: &[u8], wanted: Depth) -> Result<(Image, Orientation), Refusal> {
    // Eight bytes a pixel is the widest PNG has.
    let limits = png::Limits { bytes: MAX_PIXELS as usize * 8 };
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), limits);
    // Samples as they are stored: the decoder's own expansion would turn a transparent colour into alpha.
    decoder.set_transformations(Transformations::IDENTITY);
    let header = decoder.read_header_info().map_err(Refusal::because)?;
    let (width, height) = (header.width, header.height);
    check_size(width, height)?;
    let orientation = walk(bytes)?;
    let mut reader = decoder.read_info().map_err(Refusal::because)?;
    let length = reader.output_buffer_size().ok_or(Refusal::TooLarge(width, height))?;
    let mut data = vec![0; length];
    let frame = reader.next_frame(&mut data).map_err(Refusal::because)?;
    data.truncate(frame.buffer_size());
    let bits = frame.bit_depth;
    if bits == BitDepth::Sixteen {
        let levels: Vec<u16> = data.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        let format = match frame.color_type {
            png::ColorType::GrayscaleAlpha => PixelFormat::GrayAlpha8,
            png::ColorType::Rgb => PixelFormat::Rgb8,
            png::ColorType::Rgba => PixelFormat::Rgba8,
            // A palette has at most 8 bits.
            png::ColorType::Grayscale | png::ColorType::Indexed => PixelFormat::Gray8,
        };
        return Ok((sixteen_bits((width, height), format, &levels, wanted)?, orientation));
    }
    let samples = |data: Vec<u8>| unpack(data, bits as usize, width as usize, frame.line_size);
    let mut resampling = Resampling::Bicubic;
    let (format, data) = match frame.color_type {
        png::ColorType::Grayscale => {
            if bits == BitDepth::One {
                resampling = Resampling::Nearest;
            }
            let white = u8::MAX >> (8 - bits as u8);
            let levels = samples(data).iter().map(|sample| sample * (u8::MAX / white)).collect();
            (PixelFormat::Gray8, levels)
        }
        png::ColorType::Indexed => {
            resampling = Resampling::Nearest;
            let palette = reader.info().palette.as_deref().unwrap_or_default();
            // An index past the end of the palette is black, as in Pillow.
            let colour = |index: &u8| palette.get(usize::from(*index) * 3..).and_then(|rest| rest.first_chunk::<3>());
            let rgb = samples(data).iter().flat_map(|index| colour(index).copied().unwrap_or_default()).collect();
            (PixelFormat::Rgb8, rgb)
        }
        png::ColorType::GrayscaleAlpha => (PixelFormat::GrayAlpha8, data),
        png::ColorType::Rgb => (PixelFormat::Rgb8, data),
        png::ColorType::Rgba => (PixelFormat::Rgba8, data),
    };
    let mut image = Image::new(width, height, format, data).map_err(Refusal::because)?;
    image.resampling = resampling;
    Ok((image, orientation))
}

/// Follows the chunks to the end of the picture; the orientation that one of them tells.
fn walk(bytes: &[u8]) -> Result<Orientation, Refusal> {
    let mut rest = bytes.get(SIGNATURE.len()..).unwrap_or_default();
    let mut orientation = Orientation::NoTransforms;
    loop {
        let cut = || Refusal::damaged("the file ends before the picture does");
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (checked, after) = after.split_at_checked(length.saturating_add(4)).ok_or_else(cut)?;
        let (sum, after) = after.split_first_chunk::<4>().ok_or_else(cut)?;
        let (kind, content) = checked.split_first_chunk::<4>().ok_or_else(cut)?;
        let intact = crc32fast::hash(checked) == u32::from_be_bytes(*sum);
        // A small letter first: without such a chunk the picture is the same.
        let needed = kind[0].is_ascii_uppercase();
        if !intact && needed {
            let kind = String::from_utf8_lossy(kind);
            return Err(Refusal::damaged(format_args!("the checksum of its {kind} chunk is wrong")));
        }
        match kind {
            b"eXIf" if intact => orientation = of_exif(content),
            b"IEND" => return Ok(orientation),
            _ => {}
        }
        rest = after;
    }
}

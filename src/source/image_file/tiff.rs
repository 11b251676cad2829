//! TIFF and BigTIFF: grey, palette, RGB and CMYK, in strips or tiles, plain or with LZW, Deflate, PackBits, fax or JPEG.

use std::borrow::Cow;
use std::io::{Cursor, Read};

use flate2::read::ZlibDecoder;
use image::metadata::Orientation;
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::{CompressionMethod, PhotometricInterpretation, SampleFormat, Tag};
use tiff::{ColorType, TiffError};

use super::depth::{Depth, of_sensor, sixteen_bits, unpack, unpack_deep};
use super::error::{MAX_PIXELS, Refusal, check_size};
use super::jpeg;
use super::orientation::of_value;
use super::tiff_entries::Entries;
use crate::frame::{Image, PixelFormat, Resampling};

/// Bytes of the largest value of a tag: offsets of strips and tiles, and colours.
const MAX_TAG: usize = 64 << 20;

/// Is this the beginning of a TIFF, classic or Big?
pub(crate) fn is_tiff(bytes: &[u8]) -> bool {
    [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"].iter().any(|magic| bytes.starts_with(*magic))
}

/// What the tags of a picture say about its samples.
struct Samples {
    bits: usize,
    /// Per pixel, and how many of them are colours.
    count: usize,
    alpha: bool,
    photometric: PhotometricInterpretation,
    compression: CompressionMethod,
}

/// The first picture in the file.
pub(crate) fn decode(bytes: &[u8], wanted: Depth) -> Result<(Image, Orientation), Refusal> {
    let entries = Entries::of_first_picture(bytes).ok_or_else(cut)?;
    let number = |tag: Tag| entries.number(tag.to_u16());
    let (width, height) = match (number(Tag::ImageWidth), number(Tag::ImageLength)) {
        (Some(width), Some(height)) => (u32::try_from(width).ok(), u32::try_from(height).ok()),
        _ => (None, None),
    };
    let (Some(width), Some(height)) = (width, height) else { return Err(Refusal::damaged("its size is missing")) };
    check_size(width, height)?;
    let samples = samples(&entries, wanted)?;
    let orientation = number(Tag::Orientation).map_or(Orientation::NoTransforms, of_value);

    let jpeg = samples.compression == CompressionMethod::ModernJPEG;
    let photometric = samples.photometric;
    let read_as = match photometric {
        // The decoder refuses indices; they are read as if they were grey levels.
        PhotometricInterpretation::RGBPalette => Some(PhotometricInterpretation::BlackIsZero),
        // JPEG brings its colours to full size: three samples a pixel like any others.
        PhotometricInterpretation::YCbCr if jpeg => Some(PhotometricInterpretation::RGB),
        _ => None,
    };
    let padded = padded(&entries, &samples, (width, height))?;
    let packed = packed_line(&entries, &samples, width)?;
    let mut changes: Vec<(u16, u64)> = Vec::new();
    if let Some(line) = packed {
        changes.extend([(Tag::ImageWidth.to_u16(), u64::from(line)), (Tag::BitsPerSample.to_u16(), 8)]);
    }
    changes.extend(read_as.map(|other| (Tag::PhotometricInterpretation.to_u16(), u64::from(other.to_u16()))));
    if let Some((width, height)) = padded {
        changes.extend([(Tag::ImageWidth.to_u16(), width as u64), (Tag::ImageLength.to_u16(), height as u64)]);
    }
    let bytes = if changes.is_empty() {
        Cow::Borrowed(bytes)
    } else {
        let contradiction = || Refusal::damaged("its tags contradict each other");
        Cow::Owned(entries.rewritten(&changes).ok_or_else(contradiction)?)
    };
    let mut decoder = Decoder::new(Cursor::new(bytes.as_ref())).map_err(refused)?.with_limits(limits());
    chunks_are_there(&mut decoder, &bytes, samples.compression)?;
    let colour = decoder.colortype().map_err(refused)?;
    let stored_bits = if packed.is_some() { 8 } else { samples.bits };
    if usize::from(colour.bit_depth()) != stored_bits {
        return Err(Refusal::damaged("its tags contradict each other"));
    }
    let read = packed.is_some()
        || matches!(samples.bits, 1 | 2 | 4 | 8 | 16)
        || (wanted == Depth::AsStored && samples.bits == 32);
    if !read {
        return Err(Refusal::because(format!("has {} bits a channel; save it with 8 or 16", samples.bits)));
    }
    let mut result = DecodingResult::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut result).map_err(refused)?;
    let planes = if layout.planes > 1 { samples.count } else { 1 };

    let format = match (colour, samples.count, samples.alpha) {
        (ColorType::Gray(_), 1, _) => PixelFormat::Gray8,
        (ColorType::Multiband { num_samples: 2, .. }, 2, true) => PixelFormat::GrayAlpha8,
        (ColorType::RGB(_), 3, _) => PixelFormat::Rgb8,
        (ColorType::RGBA(_), 4, _) => PixelFormat::Rgba8,
        (ColorType::CMYK(8), 4, _) => PixelFormat::Rgba8,
        _ => {
            let Samples { count, bits, .. } = samples;
            return Err(Refusal::because(format!(
                "is a TIFF of {count} channels of {bits} bits ({photometric:?}), which is not read; save it as grey or RGB"
            )));
        }
    };
    let (mut data, line) = match result {
        DecodingResult::U8(data) if packed.is_some() => {
            let levels = unpack_deep(&data, samples.bits, width as usize);
            return Ok((of_sensor((width, height), &levels, samples.bits, wanted)?, orientation));
        }
        DecodingResult::U8(data) => (data, (width as usize * samples.bits).div_ceil(8)),
        DecodingResult::U16(levels) if samples.bits == 16 => {
            let levels = interleaved(within(levels, padded, (width, height)), planes);
            return Ok((sixteen_bits((width, height), format, &levels, wanted)?, orientation));
        }
        other => {
            let labels = if wanted == Depth::AsStored && format == PixelFormat::Gray8 { labels(other) } else { None };
            let Some(levels) = labels else {
                return Err(Refusal::because(format!("has {} bits a channel; save it with 8 or 16", samples.bits)));
            };
            return Ok((sixteen_bits((width, height), format, &levels, wanted)?, orientation));
        }
    };
    data = interleaved(within(data, padded, (width, height)), planes);
    let mut resampling = Resampling::Bicubic;
    let (format, data) = match (photometric, colour) {
        (PhotometricInterpretation::RGBPalette, _) => {
            resampling = Resampling::Nearest;
            let colours = decoder.get_tag_u16_vec(Tag::ColorMap).map_err(refused)?;
            (PixelFormat::Rgb8, of_palette(&unpack(data, samples.bits, width as usize, line), &colours))
        }
        (PhotometricInterpretation::YCbCr, _) => (PixelFormat::Rgb8, of_ycbcr(&data)),
        (_, ColorType::CMYK(_)) => (PixelFormat::Rgb8, of_cmyk(&data)),
        (_, ColorType::Gray(_)) if samples.bits < 8 => {
            if samples.bits == 1 {
                resampling = Resampling::Nearest;
            }
            let white = u8::MAX >> (8 - samples.bits);
            let levels = unpack(data, samples.bits, width as usize, line);
            (PixelFormat::Gray8, levels.into_iter().map(|level| level * (u8::MAX / white)).collect())
        }
        _ => (format, data),
    };
    let mut image = Image::new(width, height, format, data).map_err(Refusal::because)?;
    image.resampling = resampling;
    Ok((image, orientation))
}

fn cut() -> Refusal {
    Refusal::damaged("the file ends before the picture does")
}

fn refused(error: TiffError) -> Refusal {
    match error {
        TiffError::IoError(_) => cut(),
        TiffError::UnsupportedError(what) => Refusal::because(format!("is a TIFF of a kind that is not read: {what}")),
        error => Refusal::damaged(error),
    }
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.decoding_buffer_size = MAX_PIXELS as usize * 8;
    limits.intermediate_buffer_size = MAX_PIXELS as usize * 8;
    limits.ifd_value_size = MAX_TAG;
    limits
}

/// Numbers that name regions, as programs for labels and NumPy write them, of which only one that is not above 0 has to stay
/// at 0: whole ones up to the largest of 16 bits, broken ones from 0 to 1 as parts of it.
fn labels(result: DecodingResult) -> Option<Vec<u16>> {
    let whole = |number: i64| number.clamp(0, u16::MAX.into()) as u16;
    let broken = |numbers: Vec<f32>| {
        let white = if numbers.iter().any(|number| *number > 1.0) { 1.0 } else { f32::from(u16::MAX) };
        // What is no number is not above 0; casting keeps to the range.
        numbers.into_iter().map(|number| if number > 0.0 { (number * white).ceil() as u16 } else { 0 }).collect()
    };
    Some(match result {
        DecodingResult::I8(numbers) => numbers.into_iter().map(|number| whole(number.into())).collect(),
        DecodingResult::I16(numbers) => numbers.into_iter().map(|number| whole(number.into())).collect(),
        DecodingResult::I32(numbers) => numbers.into_iter().map(|number| whole(number.into())).collect(),
        DecodingResult::U32(numbers) => numbers.into_iter().map(|number| whole(number.into())).collect(),
        DecodingResult::F32(numbers) => broken(numbers),
        _ => return None,
    })
}

fn samples(entries: &Entries<'_>, wanted: Depth) -> Result<Samples, Refusal> {
    let number = |tag: Tag| entries.number(tag.to_u16());
    let small = |tag: Tag, default: u16| number(tag).map_or(default, |value| u16::try_from(value).unwrap_or(u16::MAX));
    let compression = small(Tag::Compression, 1);
    if compression == 6 {
        return Err(Refusal::because(
            "is a TIFF with JPEG of the old kind (compression 6), which is not read; save it anew",
        ));
    }
    match SampleFormat::from_u16_exhaustive(small(Tag::SampleFormat, 1)) {
        SampleFormat::Uint | SampleFormat::Void => {}
        SampleFormat::Int | SampleFormat::IEEEFP if wanted == Depth::AsStored => {}
        SampleFormat::IEEEFP => {
            let reason = "has floating-point values, whose white nobody knows; save it with 8 or 16 bits";
            return Err(Refusal::because(reason));
        }
        other => return Err(Refusal::because(format!("has samples of the kind {other:?}; save it with 8 or 16 bits"))),
    }
    let photometric = small(Tag::PhotometricInterpretation, u16::MAX);
    Ok(Samples {
        bits: usize::from(small(Tag::BitsPerSample, 1)),
        count: usize::from(small(Tag::SamplesPerPixel, 1)),
        alpha: matches!(number(Tag::ExtraSamples), Some(1 | 2)),
        photometric: PhotometricInterpretation::from_u16(photometric)
            .ok_or_else(|| Refusal::because(format!("is a TIFF of the unknown kind {photometric}")))?,
        compression: CompressionMethod::from_u16_exhaustive(compression),
    })
}

/// Every strip or tile has to lie in the file, and to be a whole JPEG where it is one.
fn chunks_are_there(
    decoder: &mut Decoder<Cursor<&[u8]>>,
    bytes: &[u8],
    compression: CompressionMethod,
) -> Result<(), Refusal> {
    let jpeg = compression == CompressionMethod::ModernJPEG;
    let deflate = matches!(compression, CompressionMethod::Deflate | CompressionMethod::OldDeflate);
    let tiled = decoder.find_tag(Tag::TileOffsets).map_err(refused)?.is_some();
    let tags = if tiled { (Tag::TileOffsets, Tag::TileByteCounts) } else { (Tag::StripOffsets, Tag::StripByteCounts) };
    let offsets = decoder.get_tag_u64_vec(tags.0).map_err(refused)?;
    let counts = decoder.get_tag_u64_vec(tags.1).map_err(refused)?;
    let tables = if jpeg { decoder.find_tag(Tag::JPEGTables).map_err(refused)? } else { None };
    let tables = tables.map(|tables| tables.into_u8_vec()).transpose().map_err(refused)?;
    for (number, (&offset, &count)) in offsets.iter().zip(&counts).enumerate() {
        let missing = || Refusal::damaged(format_args!("strip or tile {number} of {} is not all there", offsets.len()));
        let end = offset.checked_add(count).filter(|_| count > 0).ok_or_else(missing)?;
        let place = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
        let chunk = place.and_then(|(from, to)| bytes.get(from..to)).ok_or_else(missing)?;
        if jpeg {
            // Tables that all share have their own beginning and end.
            let shared = tables.as_deref().and_then(|tables| tables.get(..tables.len().checked_sub(2)?));
            let whole = match shared.zip(chunk.get(2..)) {
                Some((tables, rest)) => jpeg::check(&[tables, rest].concat()),
                None => jpeg::check(chunk),
            };
            whole.map_err(|_| missing())?;
        }
        if deflate {
            // The decoder stops at the last pixel, before the checksum.
            let mut data = ZlibDecoder::new(chunk).take(MAX_PIXELS * 8);
            std::io::copy(&mut data, &mut std::io::sink()).map_err(|_| missing())?;
        }
    }
    Ok(())
}

/// Bytes of a row of samples of 10, 12 or 14 bits, as sensors have them, where the picture has some.
///
/// The decoder (`tiff` 0.11.3) does not take such samples: their rows are read as bytes, and taken apart here.
fn packed_line(entries: &Entries<'_>, samples: &Samples, width: u32) -> Result<Option<u32>, Refusal> {
    if !matches!(samples.bits, 10 | 12 | 14) {
        return Ok(None);
    }
    let other = |what: &str| {
        Err(Refusal::because(format!(
            "is a TIFF of {} bits a channel, {what}; save it with 8 or 16 bits",
            samples.bits
        )))
    };
    let number = |tag: Tag| entries.number(tag.to_u16());
    let first = |tag: Tag| number(tag).unwrap_or(1) == 1;
    let grey = [PhotometricInterpretation::BlackIsZero, PhotometricInterpretation::WhiteIsZero];
    if samples.count != 1 || !grey.contains(&samples.photometric) {
        return other("not grey");
    }
    if number(Tag::TileWidth).is_some() || samples.compression == CompressionMethod::ModernJPEG {
        return other("not in strips without loss");
    }
    if !first(Tag::Predictor) || !first(Tag::FillOrder) || !first(Tag::SampleFormat) {
        return other("with a predictor, a sign or its bits the other way round");
    }
    let bytes = (u64::from(width) * samples.bits as u64).div_ceil(8);
    // What is read in its place must fit the tag, which may have 16 bits.
    match u32::try_from(bytes).ok().filter(|_| entries.rewritten(&[(Tag::ImageWidth.to_u16(), bytes)]).is_some()) {
        Some(line) => Ok(Some(line)),
        None => other("in rows that are too long for its tags"),
    }
}

/// Columns and rows with the tiles at the right and lower edge filled up, where planes lie in tiles.
///
/// The decoder (`tiff` 0.11.3) takes the tiles of every plane but the first for full ones, and panics at the edges: such a
/// picture is read as if its edges were those of its tiles, and cut to its size.
fn padded(
    entries: &Entries<'_>,
    samples: &Samples,
    (width, height): (u32, u32),
) -> Result<Option<(usize, usize)>, Refusal> {
    let number = |tag: Tag| entries.number(tag.to_u16());
    let (Some(columns), Some(rows)) = (number(Tag::TileWidth), number(Tag::TileLength)) else { return Ok(None) };
    if samples.count <= 1 || number(Tag::PlanarConfiguration) != Some(2) {
        return Ok(None);
    }
    if samples.bits < 8 {
        return Err(Refusal::because(format!(
            "is a TIFF whose planes of {} bits lie in tiles, which is not read; save it with 8 or 16 bits",
            samples.bits
        )));
    }
    let filled = |length: u32, tile: u64| {
        let filled = if tile > 0 { u64::from(length).checked_next_multiple_of(tile) } else { None };
        filled.and_then(|length| u32::try_from(length).ok())
    };
    let (Some(columns), Some(rows)) = (filled(width, columns), filled(height, rows)) else {
        return Err(Refusal::damaged("the size of its tiles cannot be understood"));
    };
    check_size(columns, rows)?;
    Ok(Some((columns as usize, rows as usize)))
}

/// The samples of planes that were read larger than they are.
fn within<T: Copy>(samples: Vec<T>, padded: Option<(usize, usize)>, (width, height): (u32, u32)) -> Vec<T> {
    let Some((columns, rows)) = padded else { return samples };
    let lines = |plane: &[T]| {
        plane
            .chunks_exact(columns)
            .take(height as usize)
            .flat_map(|row| row[..width as usize].to_vec())
            .collect::<Vec<T>>()
    };
    samples.chunks_exact((columns * rows).max(1)).flat_map(lines).collect()
}

/// Samples of planes that lie one after the other, pixel by pixel.
fn interleaved<T: Copy>(samples: Vec<T>, planes: usize) -> Vec<T> {
    if planes <= 1 {
        return samples;
    }
    let length = samples.len() / planes;
    (0..length).flat_map(|at| (0..planes).map(move |plane| plane * length + at)).map(|at| samples[at]).collect()
}

/// Colours of 16 bits lie as all reds, all greens, all blues; their upper byte counts, as in Pillow.
fn of_palette(indices: &[u8], colours: &[u16]) -> Vec<u8> {
    let length = colours.len() / 3;
    let colour = |channel: usize, index: u8| match usize::from(index) {
        index if index < length => (colours[channel * length + index] >> 8) as u8,
        _ => 0,
    };
    indices.iter().flat_map(|&index| [0, 1, 2].map(|channel| colour(channel, index))).collect()
}

/// The colours of JPEG: ITU-R BT.601 over the full range, as JFIF has it.
fn of_ycbcr(data: &[u8]) -> Vec<u8> {
    let pixel = |&[y, cb, cr]: &[u8; 3]| {
        let (y, cb, cr) = (f32::from(y), f32::from(cb) - 128.0, f32::from(cr) - 128.0);
        [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb].map(|level| level.round() as u8)
    };
    data.as_chunks::<3>().0.iter().flat_map(pixel).collect()
}

/// Inks to light, as Pillow's `convert("RGB")` has it.
fn of_cmyk(data: &[u8]) -> Vec<u8> {
    let pixel = |&[c, m, y, k]: &[u8; 4]| {
        let light = u32::from(255 - k);
        [c, m, y].map(|ink| {
            let product = u32::from(ink) * light + 128;
            (light - (((product >> 8) + product) >> 8).min(light)) as u8
        })
    };
    data.as_chunks::<4>().0.iter().flat_map(pixel).collect()
}

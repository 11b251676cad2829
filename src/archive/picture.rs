//! Pictures as files: frames and anomaly maps as PNG, lossless and at full depth.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use png::{BitDepth, ColorType, Compression, Decoder, Encoder, Filter, Transformations};
use uuid::Uuid;

use super::error::ArchiveError;
use super::schema;
use crate::anomaly::AnomalyMap;
use crate::frame::{Image, PixelFormat};

/// A map's value 1.0.
const FULL: f32 = 65535.0;
/// Where a map of a part of the frame says which part: `x y width height`, in pixels of the frame, as text of the PNG.
const PLACE: &str = "vcp-line place";

/// The file of a part's frame.
pub(super) fn frame_file(directory: &Path, id: i64, event_id: Uuid) -> PathBuf {
    schema::folder(directory, id).join(format!("{event_id}.png"))
}

/// The file of its map.
pub(super) fn map_file(directory: &Path, id: i64, event_id: Uuid) -> PathBuf {
    schema::folder(directory, id).join(format!("{event_id}-map.png"))
}

/// The event that a file belongs to, by its name.
pub(super) fn event_of(name: &str) -> Option<Uuid> {
    let stem = name.strip_suffix(".png")?;
    stem.strip_suffix("-map").unwrap_or(stem).parse().ok()
}

/// Writes a frame; returns when it is on disk, and says how long the file is.
pub(super) fn write_frame(path: &Path, image: &Image) -> Result<u64, ArchiveError> {
    use PixelFormat::{Bgr8, Gray8, Gray16, GrayAlpha8, Rgb8, Rgb16, Rgba8};
    let (colour, depth) = match image.format {
        Gray8 => (ColorType::Grayscale, BitDepth::Eight),
        Gray16 => (ColorType::Grayscale, BitDepth::Sixteen),
        GrayAlpha8 => (ColorType::GrayscaleAlpha, BitDepth::Eight),
        Rgb8 | Bgr8 => (ColorType::Rgb, BitDepth::Eight),
        Rgb16 => (ColorType::Rgb, BitDepth::Sixteen),
        Rgba8 => (ColorType::Rgba, BitDepth::Eight),
    };
    match image.format {
        Gray8 | GrayAlpha8 | Rgb8 | Rgba8 => {
            write(path, (image.width, image.height), (colour, depth), None, image.data())
        }
        Gray16 | Rgb16 => {
            let big: Vec<u8> = image.data().chunks_exact(2).flat_map(|pair| [pair[1], pair[0]]).collect();
            write(path, (image.width, image.height), (colour, depth), None, &big)
        }
        Bgr8 => {
            let rgb: Vec<u8> = image.data().chunks_exact(3).flat_map(|bgr| [bgr[2], bgr[1], bgr[0]]).collect();
            write(path, (image.width, image.height), (colour, depth), None, &rgb)
        }
    }
}

/// Writes a map; returns when it is on disk, and says how long the file is.
pub(super) fn write_map(path: &Path, map: &AnomalyMap) -> Result<u64, ArchiveError> {
    let size = (map.width() as u32, map.height() as u32);
    // What is no number shows as nothing.
    let value = |value: &f32| ((value.clamp(0.0, 1.0) * FULL).round() as u16).to_be_bytes();
    let bytes: Vec<u8> = map.values().iter().flat_map(value).collect();
    write(path, size, (ColorType::Grayscale, BitDepth::Sixteen), map.place(), &bytes)
}

fn write(
    path: &Path,
    (width, height): (u32, u32),
    (colour, depth): (ColorType, BitDepth),
    place: Option<[u32; 4]>,
    rows: &[u8],
) -> Result<u64, ArchiveError> {
    let opened = File::create(path).map_err(ArchiveError::file("writing", path))?;
    let mut file = BufWriter::with_capacity(1 << 18, opened);
    let mut encode = || -> Result<(), png::EncodingError> {
        let mut encoder = Encoder::new(&mut file, width, height);
        encoder.set_color(colour);
        encoder.set_depth(depth);
        // Camera noise hardly compresses: the fastest filter and deflate gain what there is to gain.
        encoder.set_compression(Compression::Fastest);
        encoder.set_filter(Filter::Up);
        if let Some([x, y, width, height]) = place {
            encoder.add_text_chunk(PLACE.into(), format!("{x} {y} {width} {height}"))?;
        }
        let mut writer = encoder.write_header()?;
        writer.write_image_data(rows)?;
        writer.finish()
    };
    encode().map_err(|error| match error {
        png::EncodingError::IoError(source) => ArchiveError::File { what: "writing", path: path.to_owned(), source },
        other => ArchiveError::Picture { path: path.to_owned(), done: "written", reason: other.to_string() },
    })?;
    file.flush().map_err(ArchiveError::file("writing", path))?;
    let file = file.into_inner().map_err(|error| ArchiveError::File {
        what: "writing",
        path: path.to_owned(),
        source: error.into_error(),
    })?;
    file.sync_data().map_err(ArchiveError::file("writing", path))?;
    Ok(file.metadata().map_err(ArchiveError::file("looking at", path))?.len())
}

/// A frame as it was.
pub(super) fn read_frame(path: &Path) -> Result<Image, ArchiveError> {
    let ((info, _), mut data) = read(path)?;
    let format = match (info.color_type, info.bit_depth) {
        (ColorType::Grayscale, BitDepth::Eight) => PixelFormat::Gray8,
        (ColorType::Grayscale, BitDepth::Sixteen) => PixelFormat::Gray16,
        (ColorType::GrayscaleAlpha, BitDepth::Eight) => PixelFormat::GrayAlpha8,
        (ColorType::Rgb, BitDepth::Eight) => PixelFormat::Rgb8,
        (ColorType::Rgb, BitDepth::Sixteen) => PixelFormat::Rgb16,
        (ColorType::Rgba, BitDepth::Eight) => PixelFormat::Rgba8,
        (colour, depth) => return Err(unreadable(path, format!("{colour:?} of {depth:?} bits is none of its kinds"))),
    };
    if matches!(format, PixelFormat::Gray16 | PixelFormat::Rgb16) {
        data.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1));
    }
    Image::new(info.width, info.height, format, data).map_err(|error| unreadable(path, error.to_string()))
}

/// A map, to the 65535th part.
pub(super) fn read_map(path: &Path) -> Result<AnomalyMap, ArchiveError> {
    let ((info, place), data) = read(path)?;
    if (info.color_type, info.bit_depth) != (ColorType::Grayscale, BitDepth::Sixteen) {
        return Err(unreadable(path, format!("{:?} of {:?} bits is no map", info.color_type, info.bit_depth)));
    }
    let value = |pair: &[u8]| f32::from(u16::from_be_bytes([pair[0], pair[1]])) / FULL;
    let values = data.chunks_exact(2).map(value).collect();
    Ok(AnomalyMap::sized(info.width as usize, info.height as usize, values).over(place))
}

fn corners(text: &str) -> Option<[u32; 4]> {
    let numbers: Vec<u32> = text.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
    numbers.try_into().ok()
}

fn unreadable(path: &Path, reason: String) -> ArchiveError {
    ArchiveError::Picture { path: path.to_owned(), done: "read", reason }
}

/// What it is, and its place in a frame where it says one.
type Kind = (png::OutputInfo, Option<[u32; 4]>);

fn read(path: &Path) -> Result<(Kind, Vec<u8>), ArchiveError> {
    let bytes = fs::read(path).map_err(ArchiveError::file("reading", path))?;
    let decode = || -> Result<_, png::DecodingError> {
        let mut decoder = Decoder::new(std::io::Cursor::new(&bytes));
        decoder.set_transformations(Transformations::IDENTITY);
        let mut reader = decoder.read_info()?;
        let mut data = vec![0; reader.output_buffer_size().unwrap_or_default()];
        let info = reader.next_frame(&mut data)?;
        data.truncate(info.buffer_size());
        let texts = &reader.info().uncompressed_latin1_text;
        let place = texts.iter().find(|text| text.keyword == PLACE).and_then(|text| corners(&text.text));
        Ok(((info, place), data))
    };
    decode().map_err(|error| unreadable(path, error.to_string()))
}

/// Red, green, blue as PNG, in memory.
pub(super) fn rgb_png(picture: &image::RgbImage) -> Result<Vec<u8>, ArchiveError> {
    in_memory(picture.width(), picture.height(), ColorType::Rgb, Compression::Fastest, picture.as_raw())
}

/// 8-bit grey as PNG, in memory; small rather than soon.
pub(super) fn grey_png(width: u32, height: u32, rows: &[u8]) -> Result<Vec<u8>, ArchiveError> {
    in_memory(width, height, ColorType::Grayscale, Compression::Balanced, rows)
}

fn in_memory(
    width: u32,
    height: u32,
    colour: ColorType,
    compression: Compression,
    rows: &[u8],
) -> Result<Vec<u8>, ArchiveError> {
    let mut bytes = Vec::new();
    let mut encode = || -> Result<(), png::EncodingError> {
        let mut encoder = Encoder::new(&mut bytes, width, height);
        encoder.set_color(colour);
        encoder.set_compression(compression);
        encoder.set_filter(Filter::Up);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(rows)?;
        writer.finish()
    };
    encode().map_err(|error| ArchiveError::Picture {
        path: PathBuf::from("in memory"),
        done: "written",
        reason: error.to_string(),
    })?;
    Ok(bytes)
}

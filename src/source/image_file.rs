//! One image file becomes one picture, in the mode that Pillow would open it in: what the filter sees depends on it.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use image::{ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageReader, Limits};
use png::{BitDepth, Decoder, Transformations};

use crate::frame::{Image, PixelFormat, Resampling};

/// File name endings that are read, in lower case.
pub const EXTENSIONS: [&str; 8] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp", "dib"];

/// Pixels of the largest picture that is decoded. A small file can claim a size that fills the memory.
pub const MAX_PIXELS: u64 = 200_000_000;

/// Bytes of the largest file that is read; a picture of [`MAX_PIXELS`] in 16-bit colour, stored plainly, has 1.2 GB.
const MAX_FILE: u64 = 1_300_000_000;

/// First bytes of every PNG.
const PNG_SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// An image file that gives no picture.
#[derive(Debug, thiserror::Error)]
pub enum ImageFileError {
    /// The file cannot be opened or read.
    #[error("image {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The content is damaged, or of a kind that is not read.
    #[error("image {}: {reason}", path.display())]
    Undecodable {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
    },
    /// The picture is larger than [`MAX_PIXELS`].
    #[error("image {}: {width}x{height} is more than {MAX_PIXELS} pixels: scale it down first", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Columns it claims.
        width: u32,
        /// Rows it claims.
        height: u32,
    },
}

/// Why there is no picture; the path joins it in [`load`].
enum Refusal {
    Undecodable(String),
    TooLarge(u32, u32),
}

impl Refusal {
    fn because(reason: impl ToString) -> Self {
        Self::Undecodable(reason.to_string())
    }
}

/// Reads the picture in `path`; the content decides the format, not the name.
///
/// Grey stays grey, 16-bit grey keeps its 16 bits, other 16-bit files keep the upper byte; palette and 1-bit files
/// are to be resized without interpolation. A transparent colour of a palette or of an opaque file is ignored.
pub fn load(path: &Path) -> Result<Image, ImageFileError> {
    let unreadable = |source| ImageFileError::Unreadable { path: path.to_owned(), source };
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    let mut bytes = Vec::new();
    file.by_ref().take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        let reason = format!("has more than {MAX_FILE} bytes: scale the picture down first");
        return Err(ImageFileError::Undecodable { path: path.to_owned(), reason });
    }
    decode(&bytes).map_err(|refusal| match refusal {
        Refusal::Undecodable(reason) => ImageFileError::Undecodable { path: path.to_owned(), reason },
        Refusal::TooLarge(width, height) => ImageFileError::TooLarge { path: path.to_owned(), width, height },
    })
}

fn decode(bytes: &[u8]) -> Result<Image, Refusal> {
    if bytes.is_empty() {
        return Err(Refusal::because("the file is empty"));
    }
    if bytes.starts_with(&PNG_SIGNATURE) {
        return decode_png(Cursor::new(bytes));
    }
    let mut image = decode_other(Cursor::new(bytes))?;
    if bmp_is_indexed(bytes) {
        image.resampling = Resampling::Nearest;
    }
    Ok(image)
}

fn check_size(width: u32, height: u32) -> Result<(), Refusal> {
    if u64::from(width) * u64::from(height) > MAX_PIXELS { Err(Refusal::TooLarge(width, height)) } else { Ok(()) }
}

fn decode_png(reader: impl BufRead + Seek) -> Result<Image, Refusal> {
    // Eight bytes a pixel is the widest PNG has.
    let limits = png::Limits { bytes: MAX_PIXELS as usize * 8 };
    let mut decoder = Decoder::new_with_limits(reader, limits);
    // Samples as they are stored: the decoder's own expansion would turn a transparent colour into alpha.
    decoder.set_transformations(Transformations::IDENTITY);
    let header = decoder.read_header_info().map_err(Refusal::because)?;
    let (width, height) = (header.width, header.height);
    check_size(width, height)?;
    let mut reader = decoder.read_info().map_err(Refusal::because)?;
    let length = reader.output_buffer_size().ok_or(Refusal::TooLarge(width, height))?;
    let mut data = vec![0; length];
    let frame = reader.next_frame(&mut data).map_err(Refusal::because)?;
    data.truncate(frame.buffer_size());
    let depth = frame.bit_depth;
    let samples = |data: Vec<u8>| unpack(data, depth, width as usize, frame.line_size);
    let mut resampling = Resampling::Bicubic;
    let (format, data) = match (frame.color_type, depth) {
        (png::ColorType::Grayscale, BitDepth::Sixteen) => {
            data.chunks_exact_mut(2).for_each(|sample| sample.swap(0, 1));
            (PixelFormat::Gray16, data)
        }
        (png::ColorType::Grayscale, _) => {
            if depth == BitDepth::One {
                resampling = Resampling::Nearest;
            }
            let white = u8::MAX >> (8 - depth as u8);
            let levels = samples(data).iter().map(|sample| sample * (u8::MAX / white)).collect();
            (PixelFormat::Gray8, levels)
        }
        (png::ColorType::Indexed, _) => {
            resampling = Resampling::Nearest;
            let palette = reader.info().palette.as_deref().unwrap_or_default();
            // An index past the end of the palette is black, as in Pillow.
            let colour = |index: &u8| palette.get(usize::from(*index) * 3..).and_then(|rest| rest.first_chunk::<3>());
            let rgb = samples(data).iter().flat_map(|index| colour(index).copied().unwrap_or_default()).collect();
            (PixelFormat::Rgb8, rgb)
        }
        (png::ColorType::GrayscaleAlpha, _) => (PixelFormat::GrayAlpha8, upper_bytes(data, depth)),
        (png::ColorType::Rgb, _) => (PixelFormat::Rgb8, upper_bytes(data, depth)),
        (png::ColorType::Rgba, _) => (PixelFormat::Rgba8, upper_bytes(data, depth)),
    };
    let mut image = Image::new(width, height, format, data).map_err(Refusal::because)?;
    image.resampling = resampling;
    Ok(image)
}

/// Samples of 1, 2 or 4 bits, packed from the high end of each byte and padded at the end of each row, one a byte.
fn unpack(packed: Vec<u8>, depth: BitDepth, width: usize, line: usize) -> Vec<u8> {
    let bits = depth as usize;
    if bits == 8 {
        return packed;
    }
    let mask = u8::MAX >> (8 - bits);
    let sample = |row: &[u8], x: usize| (row[x * bits / 8] >> (8 - bits - x * bits % 8)) & mask;
    packed.chunks_exact(line).flat_map(|row| (0..width).map(move |x| sample(row, x))).collect()
}

fn upper_bytes(data: Vec<u8>, depth: BitDepth) -> Vec<u8> {
    if depth == BitDepth::Sixteen { data.into_iter().step_by(2).collect() } else { data }
}

fn decode_other(reader: impl BufRead + Seek) -> Result<Image, Refusal> {
    let mut reader = ImageReader::new(reader).with_guessed_format().map_err(Refusal::because)?;
    if reader.format().is_none() {
        return Err(Refusal::because("is not PNG, JPEG, BMP, TIFF or WebP"));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_PIXELS * 8);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(Refusal::because)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    let colour = decoder.color_type();
    let one_bit = decoder.original_color_type() == ExtendedColorType::L1;
    let picture = DynamicImage::from_decoder(decoder).map_err(Refusal::because)?;
    let (format, data) = match colour {
        ColorType::L8 => (PixelFormat::Gray8, picture.into_luma8().into_raw()),
        ColorType::La8 => (PixelFormat::GrayAlpha8, picture.into_luma_alpha8().into_raw()),
        ColorType::L16 => {
            let levels = picture.into_luma16().into_raw();
            (PixelFormat::Gray16, levels.into_iter().flat_map(u16::to_le_bytes).collect())
        }
        _ if colour.has_alpha() => (PixelFormat::Rgba8, picture.into_rgba8().into_raw()),
        _ => (PixelFormat::Rgb8, picture.into_rgb8().into_raw()),
    };
    let mut image = Image::new(width, height, format, data).map_err(Refusal::because)?;
    if one_bit {
        image.resampling = Resampling::Nearest;
    }
    Ok(image)
}

/// Is this a BMP with a palette of colours, or of black and white alone? One whose palette counts the grey levels is a
/// grey picture.
fn bmp_is_indexed(bytes: &[u8]) -> bool {
    let number = |at: usize, length: usize| {
        let field = bytes.get(at..at + length)?;
        Some(field.iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte)))
    };
    let indexed = || {
        // After the file's 14 bytes comes a header that begins with its own length; 12 is the one of OS/2.
        let header = number(14, 4)?;
        let (bits, entry, used) =
            if header == 12 { (number(24, 2)?, 3, 0) } else { (number(28, 2)?, 4, number(46, 4)?) };
        if bits > 8 {
            return Some(false);
        }
        let colours = if used == 0 { 1 << bits } else { used };
        let palette = bytes.get(14 + header..)?.chunks_exact(entry).take(colours);
        let counts = palette.enumerate().all(|(level, colour)| colour[..3].iter().all(|&c| usize::from(c) == level));
        Some(colours <= 2 || !counts)
    };
    bytes.starts_with(b"BM") && indexed() == Some(true)
}

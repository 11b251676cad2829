//! One image file becomes one picture, in the mode that Pillow would open it in: what the filter sees depends on it.
//! Only the depth is ours: Pillow cuts 16-bit grey off at 255, which turns a part white; here 16 bits become 8 by one rule.

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

/// A 16-bit picture that stays below uses at most 14 bits, as the sensors of many cameras do: whether it is dark or lies
/// unshifted in its 16 bits, the file does not say, and a part that comes out nearly black would pass.
const DOUBTFUL: u16 = 1 << 14;

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

/// What becomes of samples of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    /// [`to_eight`], and refused where that would be a guess.
    Eight,
    /// Grey keeps its 16 bits, colours their upper byte, as Pillow has it.
    AsStored,
}

/// Reads the picture in `path` with 8 bits a channel; the content decides the format, not the name.
///
/// Samples of 16 bits are divided by 257 and rounded, so that a 16-bit copy of an 8-bit picture gives the same bytes;
/// a picture that uses at most 14 of its 16 bits is refused. Palette and 1-bit files are to be resized without
/// interpolation. A transparent colour of a palette or of an opaque file is ignored.
pub fn load(path: &Path) -> Result<Image, ImageFileError> {
    read(path, Depth::Eight)
}

/// Like [`load`] for what is no photograph, such as a mask of ones: 16-bit grey stays as it is, colours keep their upper
/// byte.
pub fn load_as_stored(path: &Path) -> Result<Image, ImageFileError> {
    read(path, Depth::AsStored)
}

fn read(path: &Path, depth: Depth) -> Result<Image, ImageFileError> {
    let unreadable = |source| ImageFileError::Unreadable { path: path.to_owned(), source };
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    let mut bytes = Vec::new();
    file.by_ref().take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        let reason = format!("has more than {MAX_FILE} bytes: scale the picture down first");
        return Err(ImageFileError::Undecodable { path: path.to_owned(), reason });
    }
    decode(&bytes, depth).map_err(|refusal| match refusal {
        Refusal::Undecodable(reason) => ImageFileError::Undecodable { path: path.to_owned(), reason },
        Refusal::TooLarge(width, height) => ImageFileError::TooLarge { path: path.to_owned(), width, height },
    })
}

fn decode(bytes: &[u8], depth: Depth) -> Result<Image, Refusal> {
    if bytes.is_empty() {
        return Err(Refusal::because("the file is empty"));
    }
    if bytes.starts_with(&PNG_SIGNATURE) {
        return decode_png(Cursor::new(bytes), depth);
    }
    let mut image = decode_other(Cursor::new(bytes), depth)?;
    if bmp_is_indexed(bytes) {
        image.resampling = Resampling::Nearest;
    }
    Ok(image)
}

fn check_size(width: u32, height: u32) -> Result<(), Refusal> {
    if u64::from(width) * u64::from(height) > MAX_PIXELS { Err(Refusal::TooLarge(width, height)) } else { Ok(()) }
}

fn decode_png(reader: impl BufRead + Seek, wanted: Depth) -> Result<Image, Refusal> {
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
    if depth == BitDepth::Sixteen && wanted == Depth::Eight {
        let levels: Vec<u16> = data.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        let format = match frame.color_type {
            png::ColorType::GrayscaleAlpha => PixelFormat::GrayAlpha8,
            png::ColorType::Rgb => PixelFormat::Rgb8,
            png::ColorType::Rgba => PixelFormat::Rgba8,
            // A palette has at most 8 bits.
            png::ColorType::Grayscale | png::ColorType::Indexed => PixelFormat::Gray8,
        };
        return eight_bits(width, height, format, &levels);
    }
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

/// The 8 bits that stand for 16: white stays white, and what was 8 bits before comes back.
fn to_eight(level: u16) -> u8 {
    // 257 is odd: nothing lies half way, and at most 255 is left.
    ((u32::from(level) + 128) / 257) as u8
}

/// A picture of 16-bit samples, in the order of `format`.
fn eight_bits(width: u32, height: u32, format: PixelFormat, levels: &[u16]) -> Result<Image, Refusal> {
    let channels = format.bytes_per_pixel();
    // Alpha comes last and is white in every picture that has it by habit.
    let colours = channels - usize::from(matches!(format, PixelFormat::GrayAlpha8 | PixelFormat::Rgba8));
    let brightest = levels.chunks_exact(channels).flat_map(|pixel| &pixel[..colours]).max().copied().unwrap_or(0);
    let copied_from_8_bits = || levels.iter().all(|level| level % 257 == 0);
    if brightest < DOUBTFUL && !copied_from_8_bits() {
        let bits = u16::BITS - brightest.leading_zeros();
        return Err(Refusal::because(format!(
            "has 16 bits a channel, and no value above {brightest}: looks like {bits} bits in 16, which would come out \
             nearly black; scale its values to 0 … 65535, or save it with 8 bits"
        )));
    }
    let data = levels.iter().copied().map(to_eight).collect();
    Image::new(width, height, format, data).map_err(Refusal::because)
}

fn decode_other(reader: impl BufRead + Seek, depth: Depth) -> Result<Image, Refusal> {
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
    if matches!(colour, ColorType::Rgb32F | ColorType::Rgba32F) {
        return Err(Refusal::because("has floating-point values, whose white nobody knows; save it with 8 or 16 bits"));
    }
    let picture = DynamicImage::from_decoder(decoder).map_err(Refusal::because)?;
    if depth == Depth::Eight {
        let deep = match &picture {
            DynamicImage::ImageLuma16(levels) => Some((PixelFormat::Gray8, levels.as_raw())),
            DynamicImage::ImageLumaA16(levels) => Some((PixelFormat::GrayAlpha8, levels.as_raw())),
            DynamicImage::ImageRgb16(levels) => Some((PixelFormat::Rgb8, levels.as_raw())),
            DynamicImage::ImageRgba16(levels) => Some((PixelFormat::Rgba8, levels.as_raw())),
            _ => None,
        };
        if let Some((format, levels)) = deep {
            return eight_bits(width, height, format, levels);
        }
    }
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

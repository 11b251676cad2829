//! What becomes of samples of 16 bits: they stay, unless 8 bits held them before, and what they mean is a matter of levels.

use std::sync::Arc;

use super::error::Refusal;
use crate::frame::{Image, Levels, PixelFormat};
use crate::levels::sensor_bits;

/// A 16-bit picture that stays below uses at most 14 bits, as the sensors of many cameras do: whether it is dark or lies
/// unshifted in its 16 bits, the file does not say, and a part that comes out nearly black would pass.
const DOUBTFUL: u16 = 1 << 14;

/// What becomes of samples of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Kept, white at 65535; refused where that would be a guess.
    Whole,
    /// Kept, and whoever asked knows the levels.
    Sensor,
    /// Grey keeps its 16 bits, colours their upper byte, as Pillow has it.
    AsStored,
}

/// The 8 bits that stand for 16: white stays white, and what was 8 bits before comes back.
fn to_eight(level: u16) -> u8 {
    // 257 is odd: nothing lies half way, and at most 255 is left.
    ((u32::from(level) + 128) / 257) as u8
}

/// A picture of 16-bit samples in the order of `format`, which has 8 bits a channel. With alpha it keeps 8 bits: there is no
/// camera that delivers it.
fn with_its_depth(
    (width, height): (u32, u32),
    format: PixelFormat,
    levels: &[u16],
    wanted: Depth,
) -> Result<Image, Refusal> {
    let channels = format.bytes_per_pixel();
    let deeper = match format {
        PixelFormat::Gray8 => Some(PixelFormat::Gray16),
        PixelFormat::Rgb8 => Some(PixelFormat::Rgb16),
        _ => None,
    };
    // Alpha comes last and is white in every picture that has it by habit.
    let colours = channels - usize::from(matches!(format, PixelFormat::GrayAlpha8 | PixelFormat::Rgba8));
    if levels.iter().all(|level| level % 257 == 0) {
        let data = levels.iter().copied().map(to_eight).collect();
        return Image::new(width, height, format, data).map_err(Refusal::because);
    }
    let brightest = levels.chunks_exact(channels).flat_map(|pixel| &pixel[..colours]).max().copied().unwrap_or(0);
    if brightest < DOUBTFUL && (wanted == Depth::Whole || deeper.is_none()) {
        let bits = u16::BITS - brightest.leading_zeros();
        let white = Levels::of_bits(sensor_bits(brightest)).white();
        let remedy = match deeper {
            Some(_) => {
                format!("say what they mean: `inspect` and `learn` have --levels 0,{white}, a line [camera.levels]")
            }
            None => "save it without transparency".to_owned(),
        };
        return Err(Refusal::because(format!(
            "has 16 bits a channel, and no value above {brightest}: looks like {bits} bits in 16, which would come out \
             nearly black; {remedy}, scale its values to 0 … 65535, or save it with 8 bits"
        )));
    }
    let Some(deeper) = deeper else {
        let data = levels.iter().copied().map(to_eight).collect();
        return Image::new(width, height, format, data).map_err(Refusal::because);
    };
    let data = levels.iter().flat_map(|level| level.to_le_bytes()).collect();
    let mut image = Image::new(width, height, deeper, data).map_err(Refusal::because)?;
    image.levels = (wanted == Depth::Whole).then(|| Arc::new(Levels::of_bits(16)));
    Ok(image)
}

/// A picture of 16-bit samples, grey or with `format` of 8 bits a channel, with the depth that is wanted.
pub(crate) fn sixteen_bits(
    size: (u32, u32),
    format: PixelFormat,
    levels: &[u16],
    wanted: Depth,
) -> Result<Image, Refusal> {
    if wanted != Depth::AsStored {
        return with_its_depth(size, format, levels, wanted);
    }
    let (format, data) = match format {
        PixelFormat::Gray8 => (PixelFormat::Gray16, levels.iter().flat_map(|level| level.to_le_bytes()).collect()),
        colours => (colours, levels.iter().map(|level| (level >> 8) as u8).collect()),
    };
    Image::new(size.0, size.1, format, data).map_err(Refusal::because)
}

/// Samples of 1, 2, 4 or 8 bits, packed from the high end of each byte and padded at the end of each row of `line` bytes,
/// one a byte.
pub(crate) fn unpack(packed: Vec<u8>, bits: usize, width: usize, line: usize) -> Vec<u8> {
    if bits == 8 {
        return packed;
    }
    let mask = u8::MAX >> (8 - bits);
    let sample = |row: &[u8], x: usize| (row[x * bits / 8] >> (8 - bits - x * bits % 8)) & mask;
    packed.chunks_exact(line).flat_map(|row| (0..width).map(move |x| sample(row, x))).collect()
}

/// Samples of 9 to 16 bits, packed from the high end of each byte, each row from a byte of its own.
pub(crate) fn unpack_deep(packed: &[u8], bits: usize, width: usize) -> Vec<u16> {
    let mask = u32::from(u16::MAX >> (16 - bits));
    let sample = |row: &[u8], x: usize| {
        let (at, used) = (x * bits / 8, x * bits % 8);
        let byte = |at: usize| row.get(at).map_or(0, |&byte| u32::from(byte));
        let three = (byte(at) << 16) | (byte(at + 1) << 8) | byte(at + 2);
        ((three >> (24 - bits - used)) & mask) as u16
    };
    packed.chunks_exact((width * bits).div_ceil(8)).flat_map(|row| (0..width).map(move |x| sample(row, x))).collect()
}

/// A grey picture whose file says how many bits its sensor has: white is certain.
pub(crate) fn of_sensor(
    (width, height): (u32, u32),
    levels: &[u16],
    bits: usize,
    wanted: Depth,
) -> Result<Image, Refusal> {
    let data = levels.iter().flat_map(|level| level.to_le_bytes()).collect();
    let mut image = Image::new(width, height, PixelFormat::Gray16, data).map_err(Refusal::because)?;
    image.levels = (wanted == Depth::Whole).then(|| Arc::new(Levels::of_bits(bits as u32)));
    Ok(image)
}

//! A mask as files hold it: black and white, labels, grey, lossy, in a palette or in the alpha channel.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use png::{Decoder, Transformations};

use super::{DatasetError, Mask};
use crate::frame::{Image, PixelFormat};
use crate::source::image_file::{self, Orientation, Upright};

/// So many different levels besides black are labels of kinds or regions, however they lie.
const FEW_LEVELS: usize = 8;
/// Labels cover areas: at least this share of their pixels has the same level below and to the right. Noise has not.
const FLAT: f64 = 0.75;
/// A lossy mask whose largest level lies below marks nothing: what is there is the compression's.
const NOISE: u16 = 32;
/// Bytes that tell how a file is compressed.
const HEAD: u64 = 4096;

/// What is peculiar about a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MaskNote {
    /// JPEG or lossy WebP: levels beside black are the compression's.
    Lossy,
    /// Many levels in areas that are not flat: soft edges, a heat map, or a lossy file that was converted.
    Grey,
    /// What is marked stands in the alpha channel.
    Alpha,
    /// A palette whose first colour is not black: its index 0 is good.
    Palette,
    /// More than half of the picture is marked.
    MostMarked,
    /// Nothing is marked.
    Empty,
    /// The picture is turned by EXIF, the mask says nothing of it and fits the turned one.
    DrawnUpright,
    /// The picture is turned by EXIF, the mask says nothing of it and fits the stored one: it is turned as well.
    DrawnLying,
    /// The mask is turned by EXIF and its picture is not.
    TurnedAlone,
}

impl MaskNote {
    /// What follows "N masks".
    pub fn text(self) -> &'static str {
        match self {
            Self::Lossy => {
                "are JPEG or lossy WebP: pixels of at least half of a mask's largest level count as anomalous; save masks as PNG"
            }
            Self::Grey => "are grey: pixels of at least half of a mask's largest level count as anomalous",
            Self::Alpha => {
                "mark with their alpha channel: pixels at least half as opaque as the most opaque one count as anomalous"
            }
            Self::Palette => {
                "have a palette that does not begin with black: colour 0 counts as good, or black where that leaves less to be anomalous"
            }
            Self::MostMarked => {
                "mark more than half of their picture: are they inverted? Anomalous is what is not black"
            }
            Self::Empty => "mark nothing, though their picture is labelled as defective",
            Self::DrawnUpright => {
                "say nothing of the EXIF orientation that turns their picture: they are taken as drawn on the upright one, as \
                 labelling programs show it"
            }
            Self::DrawnLying => {
                "say nothing of the EXIF orientation that turns their picture, and have the size of the stored one: they are \
                 turned with it"
            }
            Self::TurnedAlone => "have an EXIF orientation and their picture has none: check that they fit",
        }
    }
}

/// Reads a mask, upright by its own orientation, which is returned as well: every pixel that is not black is anomalous, as
/// in the released data sets (`convert("L") > 0`).
///
/// Where that would be wrong another rule is taken and noted: see [`MaskNote`].
pub fn read(path: &Path, notes: &mut Vec<MaskNote>) -> Result<(Mask, Orientation), DatasetError> {
    let Upright { image, orientation } = image_file::load_upright_as_stored(path)?;
    let (width, height) = (image.width, image.height);
    let head = head(path);
    if let Some(stored) = indexed(path, &head, notes) {
        return Ok((turned(stored, orientation)?, orientation));
    }
    let levels = levels(&image);
    let anomalous = match opaque(&image) {
        Some(opaque) => {
            // Pixels that are not to be seen do not mark; where all that is seen is black, seeing itself does.
            let seen = || levels.iter().zip(&opaque).filter(|(_, opaque)| **opaque).map(|(level, _)| *level);
            let coloured = seen().any(|level| level > 0);
            let one_colour = seen().max() == seen().min();
            if !coloured || one_colour {
                notes.push(MaskNote::Alpha);
            }
            levels.iter().zip(&opaque).map(|(&level, &opaque)| opaque && (level > 0 || !coloured)).collect()
        }
        None => marked(&levels, width as usize, is_lossy(&head), notes),
    };
    Ok((Mask { width, height, anomalous }, orientation))
}

/// Brings a mask to the picture it belongs to, which `orientation` has turned and which has `size` now.
///
/// Programs differ in what they draw masks on: most show pictures upright, some as they are stored. Where only one of the
/// two says that it lies, sizes decide, and upright where they do not.
pub(super) fn fitted(
    (mask, own): (Mask, Orientation),
    orientation: Orientation,
    size: (u32, u32),
    notes: &mut Vec<MaskNote>,
) -> Result<Mask, DatasetError> {
    let fits = |mask: &Mask| (mask.width, mask.height) == size;
    match (orientation, own) {
        (picture, mask) if picture == mask => {}
        (_, Orientation::NoTransforms) => {
            if !fits(&mask) {
                let other = turned(mask.clone(), orientation)?;
                if fits(&other) {
                    notes.push(MaskNote::DrawnLying);
                    return Ok(other);
                }
            }
            notes.push(MaskNote::DrawnUpright);
        }
        (Orientation::NoTransforms, own) => {
            notes.push(MaskNote::TurnedAlone);
            if !fits(&mask) {
                return turned(mask, inverse(own));
            }
        }
        _ => notes.push(MaskNote::TurnedAlone),
    }
    Ok(mask)
}

fn turned(mask: Mask, orientation: Orientation) -> Result<Mask, DatasetError> {
    if orientation == Orientation::NoTransforms {
        return Ok(mask);
    }
    let impossible = |reason: String| DatasetError::List { list: "mask".into(), reason };
    let levels = mask.anomalous.iter().map(|&anomalous| u8::from(anomalous)).collect();
    let image = Image::new(mask.width, mask.height, PixelFormat::Gray8, levels);
    let image = image_file::turned(image.map_err(|error| impossible(error.to_string()))?, orientation);
    let image = image.map_err(impossible)?;
    let anomalous = image.data().iter().map(|&level| level > 0).collect();
    Ok(Mask { width: image.width, height: image.height, anomalous })
}

/// What takes back what an orientation turns.
fn inverse(orientation: Orientation) -> Orientation {
    match orientation {
        Orientation::Rotate90 => Orientation::Rotate270,
        Orientation::Rotate270 => Orientation::Rotate90,
        other => other,
    }
}

impl Mask {
    /// Reads a mask; see [`read`] for what counts as anomalous.
    pub fn load(path: &Path) -> Result<Self, DatasetError> {
        read(path, &mut Vec::new()).map(|(mask, _)| mask)
    }
}

/// Reads a mask at the model's size S×S, row by row; see [`Mask::resized`].
pub fn load_mask(path: &Path, size: usize) -> Result<Vec<bool>, DatasetError> {
    Ok(Mask::load(path)?.resized(size))
}

/// Levels that mark.
fn marked(levels: &[u16], width: usize, lossy: bool, notes: &mut Vec<MaskNote>) -> Vec<bool> {
    let largest = levels.iter().copied().max().unwrap_or(0);
    let half = |level: &u16| largest > 0 && 2 * u32::from(*level) >= u32::from(largest);
    if lossy {
        notes.push(MaskNote::Lossy);
        return levels.iter().map(|level| largest >= NOISE && half(level)).collect();
    }
    let different: BTreeSet<u16> = levels.iter().copied().filter(|&level| level > 0).collect();
    if different.len() > FEW_LEVELS && !is_flat(levels, width) {
        notes.push(MaskNote::Grey);
        return levels.iter().map(half).collect();
    }
    levels.iter().map(|&level| level > 0).collect()
}

/// Do the levels between black and the largest lie in areas, as labels do?
fn is_flat(levels: &[u16], width: usize) -> bool {
    let largest = levels.iter().copied().max().unwrap_or(0);
    let (mut between, mut flat) = (0usize, 0usize);
    for (at, &level) in levels.iter().enumerate().filter(|(_, level)| **level > 0 && **level < largest) {
        let same = |other: Option<&u16>| other.is_none_or(|&other| other == level);
        between += 1;
        let right = if at % width + 1 == width { None } else { levels.get(at + 1) };
        flat += usize::from(same(right) && same(levels.get(at + width)));
    }
    flat as f64 >= FLAT * between as f64
}

/// 8-bit luminance, or 16-bit grey as it is. Pillow computes the first with 16-bit weights of ITU-R 601-2, rounded.
fn levels(image: &Image) -> Vec<u16> {
    let step = image.format.bytes_per_pixel();
    let pixels = image.data().chunks_exact(step);
    let luminance = |r: u8, g: u8, b: u8| {
        ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u16
    };
    match image.format {
        PixelFormat::Gray8 | PixelFormat::GrayAlpha8 => pixels.map(|p| u16::from(p[0])).collect(),
        PixelFormat::Gray16 => pixels.map(|p| u16::from_le_bytes([p[0], p[1]])).collect(),
        PixelFormat::Rgb8 | PixelFormat::Rgba8 => pixels.map(|p| luminance(p[0], p[1], p[2])).collect(),
        PixelFormat::Bgr8 => pixels.map(|p| luminance(p[2], p[1], p[0])).collect(),
        PixelFormat::Rgb16 => pixels.map(|p| luminance(p[1], p[3], p[5])).collect(),
    }
}

/// Which pixels are at least half as opaque as the most opaque one; `None` where all are equal, and alpha says nothing.
fn opaque(image: &Image) -> Option<Vec<bool>> {
    let step = match image.format {
        PixelFormat::GrayAlpha8 | PixelFormat::Rgba8 => image.format.bytes_per_pixel(),
        _ => return None,
    };
    let alpha = || image.data().chunks_exact(step).map(|pixel| pixel[step - 1]);
    let most = alpha().max().unwrap_or(0);
    (alpha().min() != Some(most)).then(|| alpha().map(|alpha| 2 * u16::from(alpha) >= u16::from(most)).collect())
}

/// What the palette of a PNG marks, as it is stored, where its colours do not say it: index 0 is good, as labelling programs have it.
fn indexed(path: &Path, head: &[u8], notes: &mut Vec<MaskNote>) -> Option<Mask> {
    // The colour type of a PNG's header; 3 is a palette.
    if !head.starts_with(b"\x89PNG") || head.get(25) != Some(&3) {
        return None;
    }
    let mut decoder = Decoder::new(BufReader::new(File::open(path).ok()?));
    decoder.set_transformations(Transformations::IDENTITY);
    let mut reader = decoder.read_info().ok()?;
    let mut packed = vec![0; reader.output_buffer_size()?];
    let frame = reader.next_frame(&mut packed).ok()?;
    let bits = frame.bit_depth as usize;
    let index = |row: &[u8], x: usize| (row[x * bits / 8] >> (8 - bits - x * bits % 8)) & (u8::MAX >> (8 - bits));
    let (width, height) = (frame.width as usize, frame.height as usize);
    let rows = packed.chunks_exact(frame.line_size).take(height);
    let indices: Vec<u8> = rows.flat_map(|row| (0..width).map(move |x| index(row, x))).collect();
    let palette = reader.info().palette.as_deref().unwrap_or_default();
    let colour = |index: u8| palette.get(usize::from(index) * 3..).and_then(|rest| rest.first_chunk::<3>()).copied();
    let colour = |index: u8| colour(index).unwrap_or_default();
    let used: BTreeSet<u8> = indices.iter().copied().collect();
    let is_grey = |index: &u8| colour(*index).iter().all(|part| *part == colour(*index)[0]);
    let black = |index: &u8| colour(*index) == [0; 3];
    let greys = used.iter().all(is_grey);
    let blacks = used.iter().filter(|index| black(index)).count();
    if blacks == 1 && greys && used.len() > FEW_LEVELS {
        // A grey picture with a palette.
        return None;
    }
    let mask = |anomalous| Some(Mask { width: frame.width, height: frame.height, anomalous });
    let by_index = || indices.iter().map(|&index| index > 0).collect::<Vec<_>>();
    let by_colour = || indices.iter().map(|&index| !black(&index)).collect::<Vec<_>>();
    if black(&0) || blacks == 0 {
        if !black(&0) {
            notes.push(MaskNote::Palette);
        }
        return mask(by_index());
    }
    // The first colour is not black and another one is: programs that save space sort colours as they like. What is
    // anomalous is the smaller part.
    notes.push(MaskNote::Palette);
    let marked = |mask: &Vec<bool>| mask.iter().filter(|&&anomalous| anomalous).count();
    let (index, colour) = (by_index(), by_colour());
    mask(if marked(&colour) <= marked(&index) { colour } else { index })
}

fn head(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What cannot be read has no head; the decoder has said so before.
    let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut bytes));
    if read.is_err() {
        bytes.clear();
    }
    bytes
}

/// JPEG, or WebP with a lossy frame.
fn is_lossy(head: &[u8]) -> bool {
    let webp = head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP");
    head.starts_with(&[0xff, 0xd8]) || (webp && head.windows(4).any(|chunk| chunk == b"VP8 "))
}

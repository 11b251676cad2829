//! One image file becomes one picture, upright, in the mode that Pillow would open it in: what the filter sees depends on it.
//! Only the depth is ours: Pillow cuts 16-bit grey off at 255, which turns a part white; here 16 bits stay and have levels.
//!
//! A file with less than a whole picture is no picture: decoders fill what is missing with grey, so each format is
//! followed to its end before it is decoded.

mod bmp;
mod depth;
mod error;
mod jpeg;
mod jpeg_entropy;
mod jpeg_tables;
mod orientation;
mod other;
mod png;
mod tiff;
mod tiff_entries;
mod webp;

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

pub use image::metadata::Orientation;

use self::depth::Depth;
use self::error::Refusal;
pub use self::error::{ImageFileError, MAX_PIXELS};
pub use self::orientation::swaps_sides;
use crate::frame::{Image, Levels};

/// File name endings that are read, in lower case.
pub const EXTENSIONS: [&str; 8] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp", "dib"];

/// Bytes of the largest file that is read; a picture of [`MAX_PIXELS`] in 16-bit colour, stored plainly, has 1.2 GB.
const MAX_FILE: u64 = 1_300_000_000;

/// A picture as it is to be seen, and how it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upright {
    /// The pixels, turned already.
    pub image: Image,
    /// What turned the stored pixels into `image`.
    pub orientation: Orientation,
}

impl Upright {
    /// Columns and rows as they are stored.
    pub fn stored_size(&self) -> (u32, u32) {
        let (width, height) = (self.image.width, self.image.height);
        if swaps_sides(self.orientation) { (height, width) } else { (width, height) }
    }
}

/// Reads the picture in `path`, upright by its EXIF orientation; the content decides the format, not the name.
///
/// Samples of 16 bits stay, with white at 65535, and those of a grey TIFF of 10, 12 or 14 bits with the white of their bits; a
/// 16-bit copy of an 8-bit picture gives the same bytes as that. A picture that uses at most 14 of its 16 bits is refused, and so is
/// one that is not all there. Palette and 1-bit files are to be resized
/// without interpolation. A transparent colour of a palette or of an opaque file is ignored.
pub fn load(path: &Path) -> Result<Image, ImageFileError> {
    load_upright(path).map(|upright| upright.image)
}

/// Like [`load`] for pictures of a sensor whose levels are known elsewhere: those of more than 8 bits have none yet, and none is
/// refused for being dark.
pub fn load_of_sensor(path: &Path) -> Result<Image, ImageFileError> {
    read(path, Depth::Sensor).map(|upright| upright.image)
}

/// [`load_of_sensor`] through these levels, and [`load`] without any.
pub fn load_with(path: &Path, levels: Option<&Arc<Levels>>) -> Result<Image, ImageFileError> {
    let Some(levels) = levels else { return load(path) };
    let mut image = load_of_sensor(path)?;
    image.levels = Some(Arc::clone(levels));
    Ok(image)
}

/// Like [`load`] for what is no photograph, such as a mask of ones: 16-bit grey stays as it is, grey of 32 bits or with a
/// sign is brought there, colours keep their upper byte.
pub fn load_as_stored(path: &Path) -> Result<Image, ImageFileError> {
    load_upright_as_stored(path).map(|upright| upright.image)
}

/// [`load`], with the orientation: what belongs to the picture may be stored lying, as the picture is.
pub fn load_upright(path: &Path) -> Result<Upright, ImageFileError> {
    read(path, Depth::Whole)
}

/// [`load_as_stored`], with the orientation.
pub fn load_upright_as_stored(path: &Path) -> Result<Upright, ImageFileError> {
    read(path, Depth::AsStored)
}

/// Turns a picture that is stored lying, without saying so itself, as `orientation` turns.
///
/// Errors never for a picture that could be loaded.
pub fn turned(image: Image, orientation: Orientation) -> Result<Image, String> {
    orientation::upright(image, orientation).map_err(|refusal| match refusal {
        Refusal::Undecodable(reason) => reason,
        Refusal::TooLarge(width, height) => format!("{width}x{height} is too large"),
    })
}

/// The picture in the bytes of a file, as [`load`] reads it; the reason why there is none.
pub fn from_bytes(bytes: &[u8]) -> Result<Image, String> {
    decode(bytes, Depth::Whole).map(|upright| upright.image).map_err(|refusal| match refusal {
        Refusal::Undecodable(reason) => reason,
        Refusal::TooLarge(width, height) => format!("{width}x{height} is more than {MAX_PIXELS} pixels"),
    })
}

/// Whether these bytes are one whole JPEG; the reason why they are not.
pub fn whole_jpeg(bytes: &[u8]) -> Result<(), String> {
    match jpeg::check(bytes) {
        Ok(_) => Ok(()),
        Err(Refusal::Undecodable(reason)) => Err(reason),
        Err(Refusal::TooLarge(width, height)) => Err(format!("{width}x{height} is more than {MAX_PIXELS} pixels")),
    }
}

fn read(path: &Path, depth: Depth) -> Result<Upright, ImageFileError> {
    let unreadable = |source| ImageFileError::Unreadable { path: path.to_owned(), source };
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    let mut bytes = Vec::new();
    file.by_ref().take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        let reason = format!("has more than {MAX_FILE} bytes: scale the picture down first");
        return Err(ImageFileError::Undecodable { path: path.to_owned(), reason });
    }
    decode(&bytes, depth).map_err(|refusal| refusal.at(path.to_owned()))
}

/// A decoder that panics costs this picture, not the camera's thread.
fn decode(bytes: &[u8], depth: Depth) -> Result<Upright, Refusal> {
    let unfinished = |_| Err(Refusal::damaged("its decoder gave up in the middle of it"));
    std::panic::catch_unwind(|| decode_any(bytes, depth)).unwrap_or_else(unfinished)
}

fn decode_any(bytes: &[u8], depth: Depth) -> Result<Upright, Refusal> {
    if bytes.is_empty() {
        return Err(Refusal::because("the file is empty"));
    }
    let (image, orientation) = if bytes.starts_with(png::SIGNATURE) {
        png::decode(bytes, depth)?
    } else if tiff::is_tiff(bytes) {
        tiff::decode(bytes, depth)?
    } else {
        other::decode(bytes)?
    };
    Ok(Upright { image: orientation::upright(image, orientation)?, orientation })
}

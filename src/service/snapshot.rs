//! The picture that was inspected last, and its overlay, as files.

use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::{fs, io};

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError, RgbImage};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::frame::{Image, PixelFormat};
use crate::line::Inspected;
use crate::output::NewFile;
use crate::overlay;

/// Pictures of one camera at most; the oldest go.
const MOST: usize = 100;
/// JPEG quality: small defects stay visible.
const QUALITY: u8 = 92;
const OVERLAY: &str = "-overlay.jpg";
/// Ending of pictures of more than 8 bits, which JPEG does not hold.
const DEEP: &str = ".png";

/// A picture cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The folder cannot be anywhere.
    #[error("no such place; name a folder")]
    NoPlace,
    /// The folder would not take a file.
    #[error("writing in {folder}; choose another folder for snapshots")]
    Closed {
        /// The folder, or the nearest one above it that is there.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder is not there and cannot be made.
    #[error("making {folder}")]
    Make {
        /// Which.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder cannot be looked through for old pictures.
    #[error("reading {folder}")]
    Read {
        /// Which.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk, or the rights on it.
    #[error("writing {path}")]
    Write {
        /// Where the picture was to be.
        path: PathBuf,
        /// What went wrong.
        source: ImageError,
    },
}

/// A folder of pictures.
pub struct Snapshots {
    folder: PathBuf,
}

impl Snapshots {
    /// Writes there; the folder is made when it is needed.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// For `check`: whether pictures can be written there. Leaves nothing behind.
    pub fn look(folder: &Path) -> Result<String, SnapshotError> {
        let place = folder.ancestors().find(|place| place.exists()).ok_or(SnapshotError::NoPlace)?;
        tempfile::tempfile_in(place).map_err(|source| SnapshotError::Closed { folder: place.to_owned(), source })?;
        let new = if place == folder { "" } else { ", made when it is needed" };
        Ok(format!("{}{new}, at most {MOST} pictures of each camera", folder.display()))
    }

    /// Writes the frame and its overlay, and says where.
    pub fn take(&self, inspected: &Inspected, now: Timestamp) -> Result<Value, SnapshotError> {
        let frame = &inspected.frame;
        fs::create_dir_all(&self.folder)
            .map_err(|source| SnapshotError::Make { folder: self.folder.clone(), source })?;
        let name = format!("{}-{}-{}", frame.camera, now.strftime("%Y%m%dT%H%M%S%.3fZ"), frame.seq);
        let (width, height) = (frame.image.width, frame.image.height);
        let plain = match frame.image.format.is_deep() {
            true => self.write(&format!("{name}{DEEP}"), |file| deep(&frame.image, file))?,
            false => {
                let picture = RgbImage::from_fn(width, height, |x, y| image::Rgb(frame.image.rgb_at(x, y)));
                self.write(&format!("{name}.jpg"), |file| jpeg(&picture, file))?
            }
        };
        let drawn = overlay::draw(&frame.image, &inspected.map, inspected.defect_threshold);
        let drawn = self.write(&format!("{name}{OVERLAY}"), |file| jpeg(&drawn, file))?;
        self.forget_the_oldest(&frame.camera)?;
        Ok(json!({
            "camera": frame.camera,
            "frame": { "seq": frame.seq, "width": width, "height": height },
            "captured": frame.captured.wall,
            "path": plain,
            "overlay": drawn,
        }))
    }

    /// A reader never sees half a picture.
    fn write(
        &self,
        name: &str,
        encode: impl FnOnce(BufWriter<&mut NewFile>) -> Result<(), ImageError>,
    ) -> Result<PathBuf, SnapshotError> {
        let path = self.folder.join(name);
        let writing = || -> Result<(), ImageError> {
            let mut new = NewFile::beside(&path)?;
            encode(BufWriter::new(&mut new))?;
            Ok(new.put()?)
        };
        match writing() {
            Ok(()) => Ok(path),
            Err(source) => Err(SnapshotError::Write { path, source }),
        }
    }

    /// Names sort by their time.
    fn forget_the_oldest(&self, camera: &str) -> Result<(), SnapshotError> {
        let mut names: Vec<PathBuf> = fs::read_dir(&self.folder)
            .map_err(|source| SnapshotError::Read { folder: self.folder.clone(), source })?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| is_of(path, camera))
            .collect();
        names.sort();
        let surplus = names.len().saturating_sub(MOST);
        for old in &names[..surplus] {
            let overlay = old.with_file_name(
                old.file_stem().map_or_else(String::new, |stem| format!("{}{OVERLAY}", stem.to_string_lossy())),
            );
            for path in [old, &overlay] {
                if let Err(error) = fs::remove_file(path) {
                    tracing::warn!("{}: {error}; an old picture stays", path.display());
                }
            }
        }
        Ok(())
    }
}

fn jpeg(picture: &RgbImage, file: BufWriter<&mut NewFile>) -> Result<(), ImageError> {
    picture.write_with_encoder(JpegEncoder::new_with_quality(file, QUALITY))
}

/// The values of the sensor, as they came: what its levels are is told in the log and by `check`.
fn deep(picture: &Image, file: BufWriter<&mut NewFile>) -> Result<(), ImageError> {
    let colours = if picture.format == PixelFormat::Gray16 { ExtendedColorType::L16 } else { ExtendedColorType::Rgb16 };
    // The encoder takes 16 bits in the order of this computer.
    let values = picture.data().chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let bytes: Vec<u8> = values.flat_map(u16::to_ne_bytes).collect();
    PngEncoder::new(file).write_image(&bytes, picture.width, picture.height, colours)
}

/// `CAMERA-TIME-SEQ.jpg` or `.png`, not the overlay beside it, and of no camera whose name merely begins alike.
fn is_of(path: &Path, camera: &str) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let Some(rest) = name.strip_prefix(camera).and_then(|rest| rest.strip_prefix('-')) else { return false };
    let rest = rest.strip_suffix(".jpg").or(rest.strip_suffix(DEEP));
    let Some((time, seq)) = rest.and_then(|rest| rest.split_once('-')) else { return false };
    time.len() == 20 && time.ends_with('Z') && !seq.is_empty() && seq.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::anomaly::AnomalyMap;
    use crate::clock::{Clock, ClockSource, SystemClock};
    use crate::frame::{Frame, Levels};

    fn inspected(camera: &str, seq: u64) -> Inspected {
        let frame = Frame {
            camera: Arc::from(camera),
            seq,
            part: None,
            captured: SystemClock.now(),
            clock: ClockSource::System,
            file: None,
            image: Image::new(8, 6, PixelFormat::Gray8, vec![90; 48]).expect("valid"),
        };
        Inspected { frame, map: AnomalyMap::new(2, vec![0.0, 0.9, 0.0, 0.0]), defect_threshold: 0.5 }
    }

    #[test]
    fn pictures_are_written_and_the_oldest_go() {
        let folder = tempfile::tempdir().expect("temp dir");
        let snapshots = Snapshots::new(folder.path().join("pictures"));
        let at = |second| Timestamp::from_second(1_700_000_000 + second).expect("valid");
        snapshots.take(&inspected("top-2", 1), at(0)).expect("written");
        for shot in 0..MOST as i64 + 2 {
            snapshots.take(&inspected("top", shot as u64), at(shot)).expect("written");
        }
        let taken = snapshots.take(&inspected("top", 7), at(500)).expect("written");
        let path = taken["path"].as_str().expect("a path");
        assert!(path.ends_with("/pictures/top-20231114T222140.000Z-7.jpg"), "{path}");
        let picture = image::open(path).expect("a picture");
        assert_eq!((picture.width(), picture.height()), (8, 6));
        assert!(image::open(taken["overlay"].as_str().expect("a path")).is_ok());
        let count = fs::read_dir(folder.path().join("pictures")).expect("there").count();
        assert_eq!(count, 2 * (MOST + 1), "the other camera's stay");
    }

    #[test]
    fn a_deep_picture_keeps_its_depth() {
        let folder = tempfile::tempdir().expect("temp dir");
        let snapshots = Snapshots::new(folder.path().to_owned());
        for (format, step) in [(PixelFormat::Gray16, 1), (PixelFormat::Rgb16, 3)] {
            let values: Vec<u16> = (0..8 * 6 * step).map(|at| (at * 85) as u16).collect();
            let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let mut image = Image::new(8, 6, format, data).expect("valid");
            image.levels = Some(Arc::new(Levels::of_bits(12)));
            let mut inspected = inspected("top", step as u64);
            inspected.frame.image = image;
            let taken = snapshots.take(&inspected, Timestamp::UNIX_EPOCH).expect("written");
            let path = taken["path"].as_str().expect("a path");
            assert!(path.ends_with(".png"), "{path}");
            let read = image::open(path).expect("a picture");
            let found = if step == 1 { read.into_luma16().into_raw() } else { read.into_rgb16().into_raw() };
            assert_eq!(found, values);
        }
    }
}

//! A selection of parts as a data set that `eval` and `train vcp` read, in a folder or in one zip.
//!
//! ```text
//! TARGET/CAMERA/test/good/ID.png            good parts
//! TARGET/CAMERA/test/bad/ID.png             bad ones
//! TARGET/CAMERA/ground_truth/bad/ID_mask.png   what the line has outlined, where it has failed them
//! TARGET/parts.jsonl                        for each: file, what it is and who says so, event, reviews
//! ```

use std::fs;
use std::io::{BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::error::ArchiveError;
use super::filter::Filter;
use super::outlines;
use super::reader::{Reader, StoredPart};
use super::reviews::Opinion;
use crate::event::VerdictWord;
use crate::output::{NewFile, NewFolder};

/// Parts that are asked for at once.
const PAGE: usize = 500;

/// In what an export is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A folder.
    Folder,
    /// One zip file.
    Zip,
}

/// What was exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Exported {
    /// Good parts.
    pub good: usize,
    /// Bad parts.
    pub bad: usize,
    /// Parts left out: neither a verdict nor a review, or their pictures have made room for others.
    pub left_out: usize,
}

/// Where files of an export go.
trait Place {
    fn copy(&mut self, name: &str, from: &Path) -> Result<(), ArchiveError>;
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), ArchiveError>;
}

impl Reader {
    /// Writes the parts with pictures that the filter lets through, `most` at most, the newest first, to `target`, which must
    /// not be there yet. A part is what its newest review says, else what its verdict was.
    pub fn export(
        &self,
        filter: &Filter,
        most: usize,
        target: &Path,
        layout: Layout,
    ) -> Result<Exported, ArchiveError> {
        if target.symlink_metadata().is_ok() {
            return Err(ArchiveError::Export(format!("{} is there already; name another place", target.display())));
        }
        let refused = || ArchiveError::file("writing", target);
        match layout {
            Layout::Folder => {
                let folder = NewFolder::beside(target).map_err(refused())?;
                let mut place = InFolder(folder.path().to_owned());
                let exported = self.fill(&mut place, filter, most)?;
                folder.put().map_err(refused())?;
                Ok(exported)
            }
            Layout::Zip => {
                let mut file = NewFile::beside(target).map_err(refused())?;
                let handle = file.file().and_then(fs::File::try_clone).map_err(refused())?;
                let mut place = InZip { zip: ZipWriter::new(BufWriter::new(handle)), path: target.to_owned() };
                let exported = self.fill(&mut place, filter, most)?;
                let mut written = place.zip.finish().map_err(|error| zip_failed(target, &error))?;
                written.flush().map_err(refused())?;
                file.flush().map_err(refused())?;
                file.put().map_err(refused())?;
                Ok(exported)
            }
        }
    }

    /// The same as one zip, written from its beginning to its end into `target`.
    pub fn export_to(&self, filter: &Filter, most: usize, target: impl Write) -> Result<Exported, ArchiveError> {
        let path = PathBuf::from("parts.zip");
        let mut place = InZip { zip: ZipWriter::new_stream(target), path };
        let exported = self.fill(&mut place, filter, most)?;
        place.zip.finish().map_err(|error| zip_failed(&place.path, &error))?;
        Ok(exported)
    }

    fn fill(&self, place: &mut dyn Place, filter: &Filter, most: usize) -> Result<Exported, ArchiveError> {
        let filter = Filter { pictures: true, ..filter.clone() };
        let (mut exported, mut lines, mut after) = (Exported::default(), String::new(), None);
        let mut left = most;
        while left > 0 {
            let page = self.list(&filter, after, left.min(PAGE))?;
            left -= page.parts.len();
            for summary in &page.parts {
                let part = self.get(summary.event_id)?;
                let put = part.map(|part| self.put_part(place, &part, &mut lines)).transpose()?.flatten();
                match put {
                    Some(true) => exported.good += 1,
                    Some(false) => exported.bad += 1,
                    None => exported.left_out += 1,
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        place.put("parts.jsonl", lines.as_bytes())?;
        Ok(exported)
    }

    /// Whether it was good; `None` when it is left out.
    fn put_part(
        &self,
        place: &mut dyn Place,
        part: &StoredPart,
        lines: &mut String,
    ) -> Result<Option<bool>, ArchiveError> {
        let Some(good) = is_good(part) else { return Ok(None) };
        let (Some(frame), _) = self.files(&part.summary) else { return Ok(None) };
        let (id, camera) = (part.summary.event_id, &part.summary.camera);
        let name = format!("{camera}/test/{}/{id}.png", if good { "good" } else { "bad" });
        place.copy(&name, &frame)?;
        let event = part.event.as_ref().unwrap_or(&Value::Null);
        if !good && let Some(mask) = outlines::mask(event)? {
            place.put(&format!("{camera}/ground_truth/bad/{id}_mask.png"), &mask)?;
        }
        let line = json!({
            "file": name,
            "good": good,
            "by": if part.reviews.is_empty() { "verdict" } else { "review" },
            "event": event,
            "reviews": part.reviews,
        });
        lines.push_str(&line.to_string());
        lines.push('\n');
        Ok(Some(good))
    }
}

fn is_good(part: &StoredPart) -> Option<bool> {
    match (part.reviews.last(), part.summary.verdict) {
        (Some(review), _) => Some(review.opinion == Opinion::Good),
        (None, VerdictWord::Pass) => Some(true),
        (None, VerdictWord::Fail) => Some(false),
        (None, VerdictWord::NoVerdict) => None,
    }
}

struct InFolder(PathBuf);

impl InFolder {
    fn place(&self, name: &str) -> Result<PathBuf, ArchiveError> {
        let path = self.0.join(name);
        let parent = path.parent().unwrap_or(&self.0);
        fs::create_dir_all(parent).map_err(ArchiveError::file("making", parent))?;
        Ok(path)
    }
}

impl Place for InFolder {
    fn copy(&mut self, name: &str, from: &Path) -> Result<(), ArchiveError> {
        let path = self.place(name)?;
        fs::copy(from, path).map_err(ArchiveError::file("copying", from))?;
        Ok(())
    }

    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), ArchiveError> {
        let path = self.place(name)?;
        fs::write(&path, bytes).map_err(ArchiveError::file("writing", path))
    }
}

struct InZip<W: Write + Seek> {
    zip: ZipWriter<W>,
    path: PathBuf,
}

impl<W: Write + Seek> Place for InZip<W> {
    fn copy(&mut self, name: &str, from: &Path) -> Result<(), ArchiveError> {
        let bytes = fs::read(from).map_err(ArchiveError::file("reading", from))?;
        // Pictures are compressed already.
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        self.zip.start_file(name, options).map_err(|error| zip_failed(&self.path, &error))?;
        self.zip.write_all(&bytes).map_err(ArchiveError::file("writing", &self.path))
    }

    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), ArchiveError> {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        self.zip.start_file(name, options).map_err(|error| zip_failed(&self.path, &error))?;
        self.zip.write_all(bytes).map_err(ArchiveError::file("writing", &self.path))
    }
}

fn zip_failed(path: &Path, error: &dyn std::fmt::Display) -> ArchiveError {
    ArchiveError::Export(format!("{} cannot be written: {error}", path.display()))
}

//! What a folder holds at one moment: the pictures in it, each with its length and the time of its last change.

use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::names::{is_folder_set_aside, is_picture};

/// Length in bytes and time of the last change, nanoseconds since 1970: while both stay, nobody has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Look {
    /// Nanoseconds since 1970; before 1678 and after 2261 the ends of that time.
    pub changed: i64,
    /// Bytes.
    pub length: u64,
}

impl Look {
    /// At a regular file; `None` when there is none.
    pub fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().and_then(|metadata| Self::of(&metadata))
    }

    fn of(metadata: &Metadata) -> Option<Self> {
        let changed = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        metadata.is_file().then_some(Self { changed, length: metadata.len() })
    }
}

/// Which files of a folder are wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// File name endings, in any letter case; empty: all that can be read.
    pub endings: Vec<String>,
    /// Folders inside the folder, too. A link to a folder is not followed.
    pub recursive: bool,
}

/// The pictures in a folder, in no order; and its subfolders where they are wanted.
#[derive(Debug, Default)]
pub struct Listing {
    /// Relative to the folder.
    pub files: Vec<(PathBuf, Look)>,
    /// Relative to the folder, the empty path of the folder itself first.
    pub folders: Vec<PathBuf>,
    /// Subfolders that cannot be read, and why.
    pub unreadable: Vec<(PathBuf, io::Error)>,
}

impl Listing {
    /// Of `root/below` and what is in it.
    pub fn of(root: &Path, below: &Path, wanted: &Wanted) -> io::Result<Self> {
        let mut listing = Self::default();
        listing.enter(root, below.to_owned(), wanted)?;
        let mut next = 1;
        while let Some(folder) = listing.folders.get(next).cloned() {
            next += 1;
            if let Err(error) = listing.read(root, &folder, wanted)
                // One that is gone again since it was listed is not there.
                && error.kind() != io::ErrorKind::NotFound
            {
                listing.unreadable.push((folder, error));
            }
        }
        Ok(listing)
    }

    fn enter(&mut self, root: &Path, folder: PathBuf, wanted: &Wanted) -> io::Result<()> {
        self.folders.push(folder.clone());
        self.read(root, &folder, wanted)
    }

    fn read(&mut self, root: &Path, folder: &Path, wanted: &Wanted) -> io::Result<()> {
        for entry in fs::read_dir(root.join(folder))? {
            let entry = entry?;
            let (name, path) = (entry.file_name(), folder.join(entry.file_name()));
            if is_picture(&name, &wanted.endings) {
                // What is gone again since it was listed is not there.
                if let Some(look) = Look::at(&entry.path()) {
                    self.files.push((path, look));
                    continue;
                }
            }
            if wanted.recursive && is_folder(&entry) && !is_folder_set_aside(&name) {
                self.folders.push(path);
            }
        }
        Ok(())
    }
}

fn is_folder(entry: &DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_dir())
}

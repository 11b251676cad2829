//! What lies in the folders of a data set: pictures, folders, and what is none of them. Names are bytes.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::DatasetError;
use super::words::name_of;
use crate::source::image_file::EXTENSIONS;

/// Endings of pictures that other programs read and this one does not: they are missed when they are passed over.
const FOREIGN: &[&str] =
    &["gif", "jp2", "heic", "heif", "avif", "jxl", "tga", "ppm", "pgm", "pnm", "dcm", "raw", "exr", "npy"];
/// Folders below which pictures are counted.
const DEEPEST: usize = 6;

/// What is in a folder, sorted by name, hidden files left out.
pub(super) fn list(folder: &Path, layout: &'static str) -> Result<Vec<PathBuf>, DatasetError> {
    let missing = |source| DatasetError::Missing { path: folder.to_owned(), layout, source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(missing)? {
        let path = entry.map_err(missing)?.path();
        if !name_of(&path).starts_with('.') {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The folders in a folder that may not be there.
pub(super) fn folders(folder: &Path) -> Vec<PathBuf> {
    list(folder, "").unwrap_or_default().into_iter().filter(|path| path.is_dir()).collect()
}

/// The pictures in a folder that may not be there.
pub(super) fn pictures(folder: &Path) -> Vec<PathBuf> {
    list(folder, "").unwrap_or_default().into_iter().filter(|path| is_picture(path)).collect()
}

/// Pictures in a folder and below it.
pub(super) fn count(folder: &Path) -> usize {
    fn below(folder: &Path, depth: usize) -> usize {
        let within = if depth == 0 { 0 } else { folders(folder).iter().map(|inner| below(inner, depth - 1)).sum() };
        pictures(folder).len() + within
    }
    below(folder, DEEPEST)
}

/// A file that [`crate::source::image_file`] reads, by its ending.
pub(super) fn is_picture(path: &Path) -> bool {
    EXTENSIONS.contains(&ending(path).as_str()) && path.is_file()
}

/// A picture of a kind that is not read.
pub(super) fn is_foreign(path: &Path) -> bool {
    FOREIGN.contains(&ending(path).as_str()) && path.is_file()
}

/// The ending in lower case.
pub(super) fn ending(path: &Path) -> String {
    path.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase()
}

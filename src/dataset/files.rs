//! What lies in the folders of a data set: pictures, folders, and what is none of them. Names are bytes.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::DatasetError;
use super::words::name_of;
use crate::source::directory::is_folder_set_aside;
use crate::source::image_file::EXTENSIONS;

/// Endings of pictures that other programs read and this one does not: they are missed when they are passed over.
const FOREIGN: &[&str] =
    &["gif", "jp2", "heic", "heif", "avif", "jxl", "tga", "ppm", "pgm", "pnm", "dcm", "raw", "exr", "npy"];
/// Folders below which pictures are counted.
const DEEPEST: usize = 6;

/// What is in a folder, sorted by name, without hidden files and the folders that file servers make for themselves.
pub(super) fn list(folder: &Path, layout: &'static str) -> Result<Vec<PathBuf>, DatasetError> {
    let missing = |source| DatasetError::Missing { path: folder.to_owned(), layout, source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(missing)? {
        let path = entry.map_err(missing)?.path();
        let hidden = name_of(&path).starts_with('.');
        let of_server = path.file_name().is_some_and(is_folder_set_aside) && path.is_dir();
        if !(hidden || of_server) {
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

/// The names without endings of all pictures in a folder and below it, in lower case, but for those in folders for which
/// `aside` is true.
pub(super) fn stems(folder: &Path, aside: fn(&str) -> bool) -> BTreeSet<Vec<u8>> {
    fn below(folder: &Path, depth: usize, aside: fn(&str) -> bool, found: &mut BTreeSet<Vec<u8>>) {
        let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) =
            list(folder, "").unwrap_or_default().into_iter().partition(|path| path.is_dir());
        found.extend(files.iter().filter(|path| is_picture(path)).map(|path| stem(path).to_ascii_lowercase()));
        for inner in folders.iter().filter(|inner| depth > 0 && !aside(&name_of(inner))) {
            below(inner, depth - 1, aside, found);
        }
    }
    let mut found = BTreeSet::new();
    below(folder, DEEPEST, aside, &mut found);
    found
}

/// The name without its ending, as it is stored.
pub(super) fn stem(path: &Path) -> &[u8] {
    path.file_stem().map(OsStr::as_bytes).unwrap_or_default()
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

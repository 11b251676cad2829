//! Which masks belong to which picture, by the names that data sets and labelling programs give them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::files::{self, is_picture};
use crate::source::image_file::EXTENSIONS;

/// What follows the picture's name in that of its mask, the more usual first. MVTec-AD and its followers have `_mask`, the
/// released conversion nothing, KolektorSDD2 `_GT`, KolektorSDD and DAGM `_label`.
const SUFFIXES: [&str; 11] =
    ["_mask", "", "_gt", "_label", "-mask", "_masks", "_seg", "_ground_truth", "_groundtruth", ".mask", "-gt"];
/// Those that may lie beside the picture and be told from it.
const BESIDE: [&str; 9] =
    ["_mask", "_gt", "_label", "-mask", "_masks", "_ground_truth", "_groundtruth", ".mask", "-gt"];

/// A folder of masks.
#[derive(Debug)]
pub(super) struct MaskFolder {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
    /// What has found its picture.
    used: BTreeSet<PathBuf>,
}

impl MaskFolder {
    /// Lists a folder; one that is not there holds nothing.
    pub(super) fn open(folder: &Path) -> Self {
        Self::of(files::list(folder, "").unwrap_or_default())
    }

    /// What is to be looked through.
    pub(super) fn of(entries: Vec<PathBuf>) -> Self {
        let (folders, files) = entries.into_iter().partition(|path: &PathBuf| path.is_dir());
        Self { files, folders, used: BTreeSet::new() }
    }

    /// Masks of a picture: one file, or all of `NAME_mask_0`, `NAME_mask_1`, …, or of the folder with its name as MVTec
    /// LOCO has it. Letters count in either case; the exact name goes first.
    pub(super) fn of_picture(&mut self, image: &Path) -> Vec<PathBuf> {
        let stem = stem(image);
        let whole = image.file_name().unwrap_or_default().as_bytes();
        let found = [stem, whole].into_iter().find_map(|name| self.file(name, image)).map(|path| vec![path]);
        let found = found.or_else(|| self.numbered(stem)).or_else(|| self.folder(stem)).unwrap_or_default();
        self.used.extend(found.iter().cloned());
        found
    }

    fn file(&self, name: &[u8], image: &Path) -> Option<PathBuf> {
        let rank = |path: &PathBuf| EXTENSIONS.iter().position(|known| *known == files::ending(path));
        SUFFIXES.iter().find_map(|suffix| {
            let wanted = [name, suffix.as_bytes()].concat();
            let fits = |path: &&PathBuf| {
                stem(path).eq_ignore_ascii_case(&wanted) && is_picture(path) && path.as_path() != image
            };
            let exact = |path: &PathBuf| !stem(path).starts_with(name);
            self.files.iter().filter(fits).min_by_key(|path| (exact(path), rank(path))).cloned()
        })
    }

    fn numbered(&self, name: &[u8]) -> Option<Vec<PathBuf>> {
        let is_part = |path: &&PathBuf| {
            let lower = stem(path).to_ascii_lowercase();
            let rest = lower.strip_prefix(name.to_ascii_lowercase().as_slice());
            let number = rest.and_then(|rest| rest.strip_prefix(b"_mask").or_else(|| rest.strip_prefix(b"_gt")));
            let number = number.map(|rest| rest.strip_prefix(b"_").or_else(|| rest.strip_prefix(b"-")).unwrap_or(rest));
            number.is_some_and(|rest| !rest.is_empty() && rest.iter().all(u8::is_ascii_digit)) && is_picture(path)
        };
        let parts: Vec<PathBuf> = self.files.iter().filter(is_part).cloned().collect();
        (!parts.is_empty()).then_some(parts)
    }

    fn folder(&self, name: &[u8]) -> Option<Vec<PathBuf>> {
        let called = |path: &&PathBuf, exact: bool| {
            let own = path.file_name().unwrap_or_default().as_bytes();
            let masks = [name, b"_mask"].concat();
            if exact {
                own == name || own == masks
            } else {
                own.eq_ignore_ascii_case(name) || own.eq_ignore_ascii_case(&masks)
            }
        };
        let folder = self
            .folders
            .iter()
            .find(|path| called(path, true))
            .or_else(|| self.folders.iter().find(|path| called(path, false)))?;
        let parts = files::pictures(folder);
        (!parts.is_empty()).then_some(parts)
    }

    /// Files that belong to no picture.
    pub(super) fn unused(&self) -> Vec<PathBuf> {
        let mut within: Vec<PathBuf> = self.folders.iter().flat_map(|folder| files::pictures(folder)).collect();
        within.extend(self.files.iter().cloned());
        within.retain(|path| !self.used.contains(path));
        within
    }
}

/// Splits what lies in one folder into pictures and the masks beside them, told by a name that is a picture's with an ending.
pub(super) fn beside(entries: Vec<PathBuf>) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let stems: BTreeSet<Vec<u8>> = entries.iter().map(|path| stem(path).to_ascii_lowercase()).collect();
    let is_mask = |path: &PathBuf| {
        let own = stem(path).to_ascii_lowercase();
        BESIDE.iter().any(|suffix| own.strip_suffix(suffix.as_bytes()).is_some_and(|name| stems.contains(name)))
    };
    let (masks, pictures) = entries.into_iter().partition(is_mask);
    (pictures, masks)
}

/// The name without its ending, as it is stored.
fn stem(path: &Path) -> &[u8] {
    path.file_stem().map(OsStr::as_bytes).unwrap_or_default()
}

//! Which masks belong to which picture, by the names that data sets and labelling programs give them.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::files::{self, is_picture, stem};
use crate::source::image_file::EXTENSIONS;

/// What follows the picture's name in that of its mask, the more usual first. MVTec-AD and its followers have `_mask`, the
/// released conversion nothing, KolektorSDD2 `_GT`, KolektorSDD and DAGM `_label`.
const SUFFIXES: [&str; 11] =
    ["_mask", "", "_gt", "_label", "-mask", "_masks", "_seg", "_ground_truth", "_groundtruth", ".mask", "-gt"];
/// Those that may lie beside the picture and be told from it.
const BESIDE: [&str; 9] =
    ["_mask", "_gt", "_label", "-mask", "_masks", "_ground_truth", "_groundtruth", ".mask", "-gt"];

/// What stands between a picture's name and what a mask's name says besides.
const SEPARATORS: &[u8] = b"_-. ";

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
        let mut found: Vec<PathBuf> =
            [stem, whole].into_iter().find_map(|name| self.file(name, image)).into_iter().collect();
        found.extend(self.numbered(stem));
        if found.is_empty() {
            found = self.folder(stem);
        }
        self.used.extend(found.iter().cloned());
        found
    }

    /// Masks that belong to no picture by their whole names: those that begin with one of these pictures' and say more behind
    /// it, as `000_scratch_mask` or `000_1`, with the picture's place. `known` are the names of all pictures, in lower case:
    /// the longest one counts.
    pub(super) fn of_beginnings(&mut self, images: &[PathBuf], known: &BTreeSet<Vec<u8>>) -> Vec<(usize, PathBuf)> {
        let places: BTreeMap<Vec<u8>, usize> =
            images.iter().enumerate().map(|(place, image)| (stem(image).to_ascii_lowercase(), place)).collect();
        let of = |path: &PathBuf| {
            let own = stem(path).to_ascii_lowercase();
            if known.contains(&own) {
                return None;
            }
            let ends = own.iter().enumerate().rev().filter(|(_, byte)| SEPARATORS.contains(byte)).map(|(end, _)| end);
            let longest = ends.map(|end| &own[..end]).find(|beginning| known.contains(*beginning))?;
            places.get(longest).map(|place| (*place, path.clone()))
        };
        let unused = self.files.iter().filter(|path| !self.used.contains(*path) && is_picture(path));
        let found: Vec<(usize, PathBuf)> = unused.filter_map(of).collect();
        self.used.extend(found.iter().map(|(_, path)| path.clone()));
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

    fn numbered(&self, name: &[u8]) -> Vec<PathBuf> {
        let name = name.to_ascii_lowercase();
        let is_part = |path: &&PathBuf| {
            let lower = stem(path).to_ascii_lowercase();
            lower.strip_prefix(name.as_slice()).is_some_and(is_numbered_mask) && is_picture(path)
        };
        self.files.iter().filter(is_part).cloned().collect()
    }

    fn folder(&self, name: &[u8]) -> Vec<PathBuf> {
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
            .or_else(|| self.folders.iter().find(|path| called(path, false)));
        folder.map(|folder| files::pictures(folder)).unwrap_or_default()
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
        let suffixed = |suffix: &&str| own.strip_suffix(suffix.as_bytes()).is_some_and(|name| stems.contains(name));
        let numbered = |end: usize| stems.contains(&own[..end]) && is_numbered_mask(&own[end..]);
        BESIDE.iter().any(suffixed) || (0..own.len()).any(|end| own[end] == b'_' && numbered(end))
    };
    let (masks, pictures) = entries.into_iter().partition(is_mask);
    (pictures, masks)
}

/// `_mask_0`, `_mask1`, `_gt-2`, `_mask (3)`: what follows the name of a picture in that of one of its masks, in lower case.
fn is_numbered_mask(rest: &[u8]) -> bool {
    let number = rest.strip_prefix(b"_mask").or_else(|| rest.strip_prefix(b"_gt")).unwrap_or_default();
    let number = [&b"_"[..], b"-", b" "].iter().find_map(|between| number.strip_prefix(*between)).unwrap_or(number);
    let number = number.strip_prefix(b"(").and_then(|rest| rest.strip_suffix(b")")).unwrap_or(number);
    !number.is_empty() && number.iter().all(u8::is_ascii_digit)
}

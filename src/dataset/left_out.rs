//! Pictures that cannot be used: which, why, and how many are too many.

use std::path::{Path, PathBuf};

use super::DatasetError;

/// Of so many pictures one may be left out.
const ONE_OF: usize = 10;
/// Reasons that an error spells out.
const NAMED: usize = 3;

/// Pictures of a class that are not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The file or folder.
    pub path: PathBuf,
    /// How many pictures that is.
    pub pictures: usize,
    /// Why, as a sentence about the file or folder.
    pub reason: String,
}

impl LeftOut {
    /// A picture of a kind that is not read.
    pub(super) fn foreign(path: &Path) -> Self {
        let reason = "is no PNG, JPEG, BMP, TIFF or WebP".to_owned();
        Self { path: path.to_owned(), pictures: 1, reason }
    }
}

/// How many pictures may be left out of `total` before it is an error.
pub fn most_left_out(total: usize) -> usize {
    total / ONE_OF
}

impl DatasetError {
    /// More than a tenth of the pictures cannot be used, for these reasons.
    pub fn too_many_left_out(left_out: usize, total: usize, reasons: impl IntoIterator<Item = String>) -> Self {
        let reasons: Vec<String> = reasons.into_iter().collect();
        let mut text = reasons.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
        if reasons.len() > NAMED {
            text.push_str(&format!("; and {} more", reasons.len() - NAMED));
        }
        Self::TooManyLeftOut { left_out, total, reasons: text }
    }
}

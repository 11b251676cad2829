//! What can be wrong with a data set, said with the file and the next step.

use std::path::PathBuf;

use crate::source::image_file::ImageFileError;

/// A data set cannot be listed, or one of its pictures not be read.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A folder or file that the layout needs.
    #[error("{}: {source}; the layout '{layout}' needs it (see --help for the layouts)", path.display())]
    Missing {
        /// What was looked for.
        path: PathBuf,
        /// Name of the layout.
        layout: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// No folder below the root looks like a class.
    #[error("{}: no folder here holds {needed}; is it the root of a data set in the layout '{layout}'? --layout auto finds out", root.display())]
    NoClass {
        /// The root.
        root: PathBuf,
        /// Name of the layout.
        layout: &'static str,
        /// What a class would have.
        needed: &'static str,
    },
    /// Nothing to look at.
    #[error("{}: the split '{split}' holds no picture{reasons}", root.display())]
    Empty {
        /// The root.
        root: PathBuf,
        /// Name of the split.
        split: &'static str,
        /// Why those that are there cannot be used, if there are any.
        reasons: String,
    },
    /// A class was asked for that is not there.
    #[error("no class '{name}' in this split; there are: {there}")]
    NoSuchClass {
        /// As asked for.
        name: String,
        /// What there is.
        there: String,
    },
    /// Too much of the data set would not be looked at.
    #[error(
        "{left_out} of {total} pictures are left out, more than a tenth: {reasons}. Mend the data set, or go on with the rest \
         by --allow-missing"
    )]
    TooManyLeftOut {
        /// Pictures that are not used.
        left_out: usize,
        /// All of them.
        total: usize,
        /// The first reasons.
        reasons: String,
    },
    /// No layout fits.
    #[error(
        "{}: no layout of data sets fits what is here; expected one of: CLASS/test/good and CLASS/test/KIND (mvtec), CLASS/good \
         and CLASS/defect (folders), pictures with their masks beside (beside), split_csv/1cls.csv (visa), meta.json (meta), \
         CLASS.json (realiad)", root.display()
    )]
    NoLayout {
        /// The root.
        root: PathBuf,
    },
    /// The mask belongs to another picture.
    #[error(
        "mask {} has {}x{} pixels, its image {} has {}x{}: they must be equal{}",
        mask.display(), found.0, found.1, image.display(), expected.0, expected.1, lying(*found, *expected)
    )]
    MaskSize {
        /// The mask.
        mask: PathBuf,
        /// Its columns and rows.
        found: (u32, u32),
        /// The picture.
        image: PathBuf,
        /// Its columns and rows.
        expected: (u32, u32),
    },
    /// A line or an entry of the list cannot be understood.
    #[error("{}, {place}: {reason}", list.display())]
    Entry {
        /// The CSV or JSON file.
        list: PathBuf,
        /// Line, or class and number of the entry.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The list as a whole cannot be understood, or it is not clear which one is meant.
    #[error("{}: {reason}", list.display())]
    List {
        /// The CSV or JSON file, or the folder.
        list: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A picture or mask that cannot be read.
    #[error(transparent)]
    Image(#[from] ImageFileError),
}

/// A hint for sides that are swapped.
fn lying(found: (u32, u32), expected: (u32, u32)) -> &'static str {
    if found.0 != found.1 && found == (expected.1, expected.0) { "; one of the two lies on its side" } else { "" }
}

/// The first of some reasons, after a colon.
pub(super) fn reasons(all: &[String]) -> String {
    if all.is_empty() { String::new() } else { format!(" that can be used: {}", all[..all.len().min(3)].join("; ")) }
}

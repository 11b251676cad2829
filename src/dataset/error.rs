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
    #[error("{}: no folder here holds {needed}; is it the root of a data set in the layout '{layout}'?", root.display())]
    NoClass {
        /// The root.
        root: PathBuf,
        /// Name of the layout.
        layout: &'static str,
        /// What a class would have.
        needed: &'static str,
    },
    /// Nothing to look at.
    #[error("{}: the split '{split}' holds no picture", root.display())]
    Empty {
        /// The root.
        root: PathBuf,
        /// Name of the split.
        split: &'static str,
    },
    /// A class was asked for that is not there.
    #[error("no class '{name}' in this split; there are: {there}")]
    NoSuchClass {
        /// As asked for.
        name: String,
        /// What there is.
        there: String,
    },
    /// An anomalous picture without a mask.
    #[error("{}: is anomalous but has no mask; there is no {}", image.display(), looked_for.display())]
    NoMask {
        /// The picture.
        image: PathBuf,
        /// The file that would do.
        looked_for: PathBuf,
    },
    /// The mask belongs to another picture.
    #[error(
        "mask {} has {}x{} pixels, its image {} has {}x{}: they must be equal",
        mask.display(), found.0, found.1, image.display(), expected.0, expected.1
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

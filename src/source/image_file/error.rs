//! Why an image file gives no picture, and how large a picture may be.

use std::path::PathBuf;

/// Pixels of the largest picture that is decoded. A small file can claim a size that fills the memory.
pub const MAX_PIXELS: u64 = 200_000_000;

/// An image file that gives no picture.
#[derive(Debug, thiserror::Error)]
pub enum ImageFileError {
    /// The file cannot be opened or read.
    #[error("image {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The content is damaged, or of a kind that is not read.
    #[error("image {}: {reason}", path.display())]
    Undecodable {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
    },
    /// The picture is larger than [`MAX_PIXELS`].
    #[error("image {}: {width}x{height} is more than {MAX_PIXELS} pixels: scale it down first", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Columns it claims.
        width: u32,
        /// Rows it claims.
        height: u32,
    },
}

/// Why there is no picture; the path joins it where the file's name is known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Undecodable(String),
    TooLarge(u32, u32),
}

impl Refusal {
    pub fn because(reason: impl ToString) -> Self {
        Self::Undecodable(reason.to_string())
    }

    /// The content ends, or breaks off inside, before the picture is complete.
    pub fn damaged(what: impl std::fmt::Display) -> Self {
        Self::Undecodable(format!("is damaged: {what}; copy or save it again"))
    }

    pub fn at(self, path: PathBuf) -> ImageFileError {
        match self {
            Self::Undecodable(reason) => ImageFileError::Undecodable { path, reason },
            Self::TooLarge(width, height) => ImageFileError::TooLarge { path, width, height },
        }
    }
}

/// Refuses what is larger than [`MAX_PIXELS`].
pub(crate) fn check_size(width: u32, height: u32) -> Result<(), Refusal> {
    if width == 0 || height == 0 {
        return Err(Refusal::damaged(format!("it says that it has {width}x{height} pixels")));
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS { Err(Refusal::TooLarge(width, height)) } else { Ok(()) }
}

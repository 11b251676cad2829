//! What the archive cannot do, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Something about the archive has failed.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A file or folder.
    #[error("{what} {path}")]
    File {
        /// What was being done.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The index.
    #[error("the index of the archive: {what}")]
    Index {
        /// What was being done.
        what: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A newer program has written it.
    #[error(
        "{path} has layout {found}, this program knows {known}; use the program that wrote it, or another directory"
    )]
    Newer {
        /// The index.
        path: PathBuf,
        /// What it has.
        found: i64,
        /// What is known here.
        known: i64,
    },
    /// There is none.
    #[error("no archive in {path}; name the directory of [archive]")]
    Absent {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A picture.
    #[error("the picture {path} cannot be {done}: {reason}")]
    Picture {
        /// Which.
        path: PathBuf,
        /// `read` or `written`.
        done: &'static str,
        /// Why.
        reason: String,
    },
    /// No thread to be had.
    #[error("starting the thread of the archive")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
    /// Another process writes it.
    #[error("{path} is written by another process; one line has one archive")]
    Taken {
        /// The directory.
        path: PathBuf,
    },
    /// A review of a part that is not there, or one without a name.
    #[error("{0}")]
    Review(&'static str),
    /// An export that cannot be made.
    #[error("{0}")]
    Export(String),
}

impl ArchiveError {
    pub(super) fn index(what: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Index { what, source }
    }

    pub(super) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { what, path: path.into(), source }
    }

    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        match self {
            Self::File { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Self::Index { source, .. } => source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            _ => false,
        }
    }
}

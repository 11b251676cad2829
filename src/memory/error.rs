//! Why a memory cannot be made, read or used.

use std::io;
use std::path::PathBuf;

/// A memory cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The engine cannot say what it compares.
    #[error("engine '{engine}' hands out no patch tokens, which a memory compares; take openvino or reference")]
    NoTokens {
        /// Its name.
        engine: String,
    },
    /// They were on a graphics card that does not answer any more.
    #[error("the picture's patch tokens could not be fetched from the graphics card; the log says why")]
    TokensLost,
    /// It was made for something else.
    #[error("the memory {id} was made with {what} {made}, here it is {here}; make a new one with `vcp-line learn`")]
    Unfit {
        /// Which memory.
        id: String,
        /// What differs.
        what: &'static str,
        /// As it was.
        made: String,
        /// As it is.
        here: String,
    },
    /// It cannot be read, and what it was to help with is not judged without it.
    #[error("{reason}")]
    Lost {
        /// What ails it, and the next step.
        reason: String,
    },
    /// There are no good pictures to learn from.
    #[error("a memory needs at least one good picture")]
    NoParts,
    /// The model's answer for a good picture is no answer.
    #[error("the model's answer for a good picture has numbers that are not finite; nothing can be learnt of it")]
    NotFinite,
    /// Too few tokens are left to compare the parts with each other.
    #[error(
        "the good pictures are so much alike that all tokens kept are those of one of them; a memory needs pictures of different \
         parts"
    )]
    Alike,
    /// The good pictures differ in a way that no memory can hold.
    #[error("good pictures of {first} and of {other}: a memory is made of pictures of one shape; leave out the others")]
    Shapes {
        /// Width × height of the first.
        first: String,
        /// Width × height of one that differs.
        other: String,
    },
    /// Nothing to read.
    #[error("no memory at {path}; make one with `vcp-line learn`", path = path.display())]
    Absent {
        /// Where it should be.
        path: PathBuf,
    },
    /// No memory, or one that has changed since it was written.
    #[error("{path} is no memory, or damaged: {reason}; make a new one with `vcp-line learn`", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// Written by another version of this program.
    #[error("the memory {path} has format {found}, this program reads {known}; make a new one with `vcp-line learn`", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// What is read here.
        known: u32,
    },
    /// The disk, or the rights on it.
    #[error("cannot {action} the memory {path}", path = path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

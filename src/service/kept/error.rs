//! Why a recipe cannot be kept.

use std::io;
use std::path::PathBuf;

use crate::memory::MemoryError;

/// A recipe cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// Nothing is known of this camera.
    #[error("no camera '{camera}'")]
    NoCamera {
        /// Its name.
        camera: String,
    },
    /// There is no way back.
    #[error(
        "camera '{camera}': recipe '{recipe}' version {version} is in use, and none was before it; nothing to go back to"
    )]
    NothingBefore {
        /// Its name.
        camera: String,
        /// In use.
        recipe: String,
        /// Its version.
        version: u32,
    },
    /// It would be forgotten with the end of the service.
    #[error("no folder to keep a memory in; set directory in [commands], or STATE_DIRECTORY as systemd does")]
    NoFolder,
    /// The memory that goes with it is gone, or the new one finds no place.
    #[error("{0}; recipe and memory in use stay")]
    Memory(#[from] MemoryError),
    /// The disk, or the rights on it.
    #[error("the recipe in use stays, the new one cannot be kept: writing {file}")]
    Write {
        /// Where.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It came too late.
    #[error("the service is stopping; nothing was changed, begin again")]
    Stopping,
}

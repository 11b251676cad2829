//! Which folder is a camera, and how it is gone through.

use std::path::PathBuf;

use super::memory::MemorySpec;

/// Which folder, and how to go through it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DirectorySpec {
    /// The folder.
    pub path: PathBuf,
    /// File name endings to take, in any letter case; empty takes all that can be read.
    pub extensions: Vec<String>,
    /// Its subfolders, too.
    pub recursive: bool,
    /// Starts over after the last image.
    pub repeat: bool,
    /// Frames per second at most; `None` delivers as fast as frames are taken.
    pub fps: Option<f64>,
    /// Waits for new files instead of ending after the last image.
    pub watch: bool,
    /// What is remembered of a watched folder; `None` forgets it with the source.
    pub memory: Option<MemorySpec>,
}

//! Where frames come from: directories of images, synthetic products, and whatever GStreamer can open.

mod bayer;
pub mod directory;
pub mod image_file;
pub mod levels;
pub mod sensor_format;
pub mod synthetic;
mod synthetic_format;

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::clock::Clock;
use crate::frame::Frame;

// The absent variant answers every call with `SourceError::NotBuilt`.
#[cfg_attr(not(feature = "gstreamer"), path = "gstreamer_absent.rs")]
pub mod gstreamer;
pub mod gstreamer_spec;

// The absent variant answers every call with an error that names the feature.
#[cfg_attr(not(feature = "opencv"), path = "demosaic_absent.rs")]
mod demosaic;

/// Delivers frames. Implemented by the sources of directories, synthetic products and GStreamer.
pub trait Source: Send {
    /// Waits up to `timeout` for the next frame. `Ok(None)` is idle by right (no trigger, nothing new yet);
    /// [`SourceError::Ended`] is the orderly end of a finite source.
    /// [`SourceError::Damaged`] is a frame that shows nothing; the source goes on.
    fn next(&mut self, timeout: Duration) -> Result<Option<Frame>, SourceError>;
    /// What came last is about to become this frame of the line, by the line's own count. Sources that outlast a start
    /// remember it before the line does.
    fn hand_over(&mut self, _session: Uuid, _frame: u64) {}
    /// Every frame up to this one, by the line's own count, has its event.
    fn answered(&mut self, _to: u64) {}
    /// Ends the delivery and gives the camera back. Calling it twice is allowed.
    fn stop(&mut self);
}

/// Who a source speaks for: the same three things for every kind of source.
#[derive(Clone)]
pub struct SourceContext {
    /// Configured name of the camera.
    pub camera: Arc<str>,
    /// Stamps the frames.
    pub clock: Arc<dyn Clock>,
}

/// A source could not be opened, or stopped delivering.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The orderly end of a finite source.
    #[error("camera '{camera}': no more frames")]
    Ended {
        /// Configured name.
        camera: String,
    },
    /// This binary was built without GStreamer.
    #[error(
        "camera '{camera}' needs GStreamer, which is not in this build: rebuild with `cargo build --features gstreamer`"
    )]
    NotBuilt {
        /// Configured name.
        camera: String,
    },
    /// A GStreamer element is not installed.
    #[error("camera '{camera}' needs the GStreamer element '{element}': install the Debian package {package}")]
    ElementMissing {
        /// Configured name.
        camera: String,
        /// The element's factory name.
        element: String,
        /// Where it comes from.
        package: &'static str,
    },
    /// The settings cannot describe a pipeline.
    #[error("camera '{camera}': {reason}")]
    Pipeline {
        /// Configured name.
        camera: String,
        /// What is wrong with it and what to change.
        reason: String,
    },
    /// The camera is not there, or went away.
    #[error("camera '{camera}' ({address}) is not reachable: {reason}")]
    Lost {
        /// Configured name.
        camera: String,
        /// Device, URL or serial number.
        address: String,
        /// What the driver said.
        reason: String,
    },
    /// A frame came that shows no whole picture. The source goes on.
    #[error("camera '{camera}': {file}: no picture: {reason}")]
    Damaged {
        /// Configured name.
        camera: String,
        /// The number that it has among the frames.
        seq: u64,
        /// The file, relative to the camera's folder.
        file: Arc<str>,
        /// Columns and rows, as far as the file says so.
        size: Option<(u32, u32)>,
        /// What is wrong with it.
        reason: String,
    },
    /// A file or folder cannot be read.
    #[error("camera '{camera}': {path}: {reason}")]
    File {
        /// Configured name.
        camera: String,
        /// The file or folder.
        path: std::path::PathBuf,
        /// Why.
        reason: String,
    },
}

impl SourceError {
    /// True when trying again later can help; asked only by the supervisor of the camera.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }
}

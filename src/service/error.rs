//! What keeps a line from serving, or makes its end a failure.

use std::io;

use crate::archive::ArchiveError;
use crate::config::SecretError;
use crate::line::LineError;
use crate::line::locating::LocatePlanError;
use crate::memory::MemoryError;
use crate::publish::{PublishError, TraceError};
use crate::systemd::NotifyError;
use crate::web::WebError;

/// The service did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Nothing would hear of a stop.
    #[error("installing signal handlers")]
    Signals(#[source] io::Error),
    /// No thread to be had.
    #[error("starting {thread}")]
    Thread {
        /// Which.
        thread: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The broker's password.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A secret of something else.
    #[error("{of}")]
    SecretOf {
        /// Whose.
        of: String,
        /// Why it cannot be read.
        source: SecretError,
    },
    /// The memory that the settings name.
    #[error("camera '{camera}'")]
    Memory {
        /// Whose.
        camera: String,
        /// Why it cannot be read.
        source: MemoryError,
    },
    /// The template by which its parts are found.
    #[error("camera '{camera}'")]
    Locate {
        /// Whose.
        camera: String,
        /// Why it cannot be used.
        source: LocatePlanError,
    },
    /// `NOTIFY_SOCKET` is wrong, or the watchdog has no thread.
    #[error(transparent)]
    Systemd(#[from] NotifyError),
    /// Verdicts cannot leave, or commands cannot come in.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Traces cannot be told.
    #[error(transparent)]
    Traces(#[from] TraceError),
    /// Nothing can be archived.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The API cannot be offered.
    #[error(transparent)]
    Web(#[from] WebError),
    /// The line did not start, or ended by itself.
    #[error(transparent)]
    Line(#[from] LineError),
    /// Threads that did not end in time.
    #[error("still busy at the stop deadline: {}", .threads.join(", "))]
    Late {
        /// Their names.
        threads: Vec<String>,
    },
    /// Threads that panicked.
    #[error("broke off: thread {}", .threads.join(", "))]
    BrokeOff {
        /// Their names.
        threads: Vec<String>,
    },
    /// Every source has ended, and the broker does not have every verdict.
    #[error("{unsent} verdicts could not be delivered and {rest}: is the broker running?")]
    Undelivered {
        /// How many.
        unsent: usize,
        /// What has become of them.
        rest: &'static str,
    },
}

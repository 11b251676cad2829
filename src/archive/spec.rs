//! What the archive keeps, where, and how much.

use std::path::PathBuf;
use std::time::Duration;

/// An archive, described.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchiveSpec {
    /// One directory for each line.
    pub directory: PathBuf,
    /// Share of the parts that pass whose pictures are kept, 0 … 1.
    pub sample: f64,
    /// Largest size on disk, bytes; the oldest good parts' pictures go first, then the oldest others'.
    pub max_bytes: u64,
    /// Parts that are older go.
    pub max_age: Duration,
    /// Bytes of the disk that stay free; the archive stops before it takes them.
    pub reserve_bytes: u64,
    /// Pictures and events that may wait to be written, bytes of memory.
    pub max_queue_bytes: usize,
}

const GIB: u64 = 1 << 30;

impl ArchiveSpec {
    /// The usual archive, there.
    pub fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            sample: 0.01,
            max_bytes: 50 * GIB,
            max_age: Duration::from_secs(90 * 24 * 3600),
            reserve_bytes: 2 * GIB,
            max_queue_bytes: 256 << 20,
        }
    }
}

/// Why a part's pictures are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It fails.
    Failed,
    /// It got no verdict.
    NoVerdict,
    /// It is one of the sample.
    Sampled,
    /// Somebody has asked for it.
    Requested,
}

impl Why {
    /// As it stands in the index.
    pub(super) const fn code(self) -> i64 {
        match self {
            Self::Failed => 1,
            Self::NoVerdict => 2,
            Self::Sampled => 3,
            Self::Requested => 4,
        }
    }

    pub(super) const fn of(code: i64) -> Option<Self> {
        match code {
            1 => Some(Self::Failed),
            2 => Some(Self::NoVerdict),
            3 => Some(Self::Sampled),
            4 => Some(Self::Requested),
            _ => None,
        }
    }
}

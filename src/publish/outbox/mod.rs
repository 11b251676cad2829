//! The outbox: every accepted part and every verdict is on disk before it counts, and leaves only when the broker has
//! acknowledged it. Killed at any moment, the next start goes on where this one ended.
//!
//! ```text
//! Door::owe, Door::verdict ─▶ Ledger (decides, pure) ◀─▶ Keeper (one thread) ─▶ Store (segments of the log)
//!                               │      ▲ acked
//!                               └──────┴─▶ mqtt ─▶ broker
//! ```
//! # For whoever takes triggers
//! 1. [`Door::owe`](super::Door::owe)`(camera, part)` when a trigger is accepted. It never waits. `Err`: nothing is owed, tell the
//!    sender. `Ok(debt)`: exactly one event with this camera and part is owed from now on.
//! 2. [`Door::recorded`](super::Door::recorded)`(debt, patience)` when the sender waits for an answer that shall hold across a crash:
//!    [`Safety::OnDisk`] is such an answer.
//! 3. [`Door::verdict`](super::Door::verdict) with the same `camera` and `part` in the event: room for it is reserved, so it is never
//!    refused while the program runs.
//!
//! A part that was owed when the process ended is found by the next start in [`Door::owed`](super::Door::owed), which answers it with
//! `no_verdict`, reason `restarted`, in its own session, before anything new. Events that were stored and not
//! acknowledged are sent with their old session, number and `event_id`, and `historical: true`.
//!
//! # When it is full, or the disk is
//! - `max_bytes` with [`WhenLogFull::Refuse`]: new parts and free-running frames are refused, answers to accepted parts
//!   are still stored, as is what memory holds at that moment. With [`WhenLogFull::DropOldest`] the oldest segment is
//!   deleted, counted and said.
//! - `max_age`: segments whose newest record is older are deleted, counted and said. The age follows the monotonic
//!   clock while the program runs, and that of the computer's uptime from one start to the next. Time for which the
//!   computer was off is not counted, because nobody knows it: a system clock that jumps deletes nothing.
//! - The disk takes nothing (full, failing): events go on to the broker from memory, up to `max_queue` of them, except
//!   answers whose debts are on disk: those wait for the disk, or use the space that every segment keeps back for
//!   them; after 5 s they go on as well. Writing is tried again once a second. When memory is full, new parts are
//!   refused.
//! - The broker does not take a verdict, because it is too large for it: it is kept in a file beside the log, the others
//!   go on. The next start sends it once more. A thousand are kept, then the oldest go.
//! - A slow disk delays verdicts; camera and inference threads never wait for it until `max_queue` events do.

mod aside;
mod bounds;
mod debts;
mod keeper;
mod ledger;
mod lock;
pub mod record;
mod segment;
mod store;
pub mod survey;
mod terms;
mod time;
pub mod trace;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use aside::{Aside, SetAside};
pub use bounds::OutboxBounds;
pub use debts::OwedPart;
pub(super) use keeper::Keeper;
pub use ledger::Ledger;
pub use record::RecordId;
pub use store::{Deleted, Found, Loaded, Store, StoreRecord};
pub use survey::Damage;
pub use terms::{Content, Inherited, Leaving, Limits, Next, Refusal, Refused, Safety, ToStore};

/// Events read back from disk ahead of sending.
pub(super) const WINDOW: usize = 1024;

/// When a record counts as being on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// After an fsync of its own, or one shared with what came meanwhile.
    Always,
    /// After an fsync; there is at most one in this time.
    Batch(Duration),
    /// When the operating system has it: survives a killed process, not a power cut.
    Never,
}

/// What happens when the log has reached its largest size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenLogFull {
    /// New parts are refused.
    Refuse,
    /// The oldest events are deleted.
    DropOldest,
}

/// What a trigger by command is answered while the disk takes nothing. Parts that no command triggers cannot be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenUnkept {
    /// It is refused: whoever is answered `ok` can rely on the part surviving a crash.
    Refuse,
    /// It is accepted, and the answer says that only memory holds the part.
    Memory,
}

/// Where the outbox is and how far it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxSpec {
    /// Its directory, used by one process at a time; made when it is not there.
    pub directory: PathBuf,
    /// Largest size on disk, bytes, at least 1 MiB.
    pub max_bytes: u64,
    /// Events older than this are deleted.
    pub max_age: Duration,
    /// When a record counts as being on disk.
    pub fsync: Fsync,
    /// What happens at `max_bytes`.
    pub when_full: WhenLogFull,
    /// What a trigger is answered whose part the disk does not take.
    pub when_unkept: WhenUnkept,
    /// Size of one file of the log, bytes. Deleted as a whole, so that a small part of `max_bytes` is right.
    pub segment_bytes: u64,
}

impl OutboxSpec {
    /// The defaults: 2 GiB, 30 days, an fsync at most every 20 ms, new parts refused when full.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            max_bytes: 2 << 30,
            max_age: Duration::from_secs(30 * 24 * 3600),
            fsync: Fsync::Batch(Duration::from_millis(20)),
            when_full: WhenLogFull::Refuse,
            when_unkept: WhenUnkept::Refuse,
            segment_bytes: 8 << 20,
        }
    }

    /// The size of a segment that fits into `max_bytes` at least eight times.
    pub(super) fn segment(&self) -> u64 {
        self.segment_bytes.min(self.max_bytes / 8).max(64 << 10)
    }
}

/// How the outbox is doing, for alarms and the state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutboxStatus {
    /// Bytes on disk.
    pub bytes: u64,
    /// Share of `max_bytes` that is used.
    pub fill: f64,
    /// Age of the oldest event that waits, as a share of `max_age`.
    pub age: f64,
    /// Why the disk takes nothing at the moment.
    pub failing: Option<String>,
    /// Events deleted unacknowledged because of size or age, since everything was last delivered.
    pub deleted: u64,
    /// Stretches of the log that could not be read, since and including the start.
    pub damaged: u64,
}

impl OutboxStatus {
    /// From here on a person is told.
    const ALARM: f64 = 0.8;

    /// Whether parts are in danger or refused, and not merely somebody should look.
    pub fn is_degraded(&self) -> bool {
        self.failing.is_some() || self.fill >= 1.0
    }

    /// What a person should know and do, if anything.
    pub fn alarm(&self) -> Option<String> {
        let percent = |share: f64| (share * 100.0).floor();
        if let Some(reason) = &self.failing {
            return Some(format!("{reason}; until then verdicts are kept in memory alone"));
        }
        if self.deleted > 0 {
            return Some(format!(
                "{} verdicts were deleted undelivered, the outbox had reached its largest size or age; bring the broker back",
                self.deleted
            ));
        }
        if self.fill >= Self::ALARM {
            return Some(format!(
                "the outbox is {} % full; bring the broker back, or raise max_bytes in [outbox]",
                percent(self.fill)
            ));
        }
        if self.age >= Self::ALARM {
            return Some(format!(
                "the oldest verdict has waited {} % of max_age; bring the broker back, or raise max_age_h in [outbox]",
                percent(self.age)
            ));
        }
        (self.damaged > 0).then(|| {
            format!(
                "{} stretches of the outbox were unreadable and skipped; check the disk, and the parts of that time",
                self.damaged
            )
        })
    }
}

/// The outbox cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The directory cannot be made or written.
    #[error("outbox {path}: {source}; let the service's user write there, or name another directory in [outbox]")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Two lines, or one line twice.
    #[error(
        "outbox {path} is in use by process {owner}; stop that one, or give this line its own directory in [outbox]"
    )]
    Locked {
        /// Which.
        path: PathBuf,
        /// Its process id, as far as it is known.
        owner: String,
    },
    /// Written by a later version.
    #[error("outbox {path} has format {found}, this version knows 1; let the version that wrote it empty it first")]
    Version {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u16,
    },
    /// A file name that no log of ours reaches; the one after it has none.
    #[error("outbox {0}: no segment can follow this number; move the file out of the outbox")]
    Number(PathBuf),
    /// The folder was deleted, or another file system lies over it.
    #[error("outbox {path} is not there any more; mount or make it again, and check what it held")]
    Gone {
        /// Which.
        path: PathBuf,
    },
    /// The disk is full.
    #[error("outbox {path}: the disk is full; make room")]
    DiskFull {
        /// Which file.
        path: PathBuf,
    },
    /// Anything else.
    #[error("outbox {path}: {action}: {source}; check the disk")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was attempted.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl OutboxError {
    fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::DiskFull { path }
            }
            _ => Self::Io { path, action, source },
        }
    }
}

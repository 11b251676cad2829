//! The archive: what became of every part, and the pictures of those that are worth looking at again; off the critical path.
//!
//! ```text
//! inference ─▶ Archive::look: is this part kept, is there room? ─▶ Seen (frame, map; room in the queue)
//! event writer ─▶ images in the event ─▶ Archive::keep ─▶ queue (bounded in bytes, drops counted)
//!    ─▶ thread "archive": files first, row last; then the oldest go                 writer, bounds, sweep
//! page, `vcp-line archive` ─▶ Reader: filters, pictures, totals, reviews, export      reader, totals, reviews, export
//! ```
//! On disk:
//! ```text
//! DIRECTORY/index.sqlite             rows, totals, reviews (WAL)
//! DIRECTORY/pictures/000123/ID.png      frame of one of parts 123000 … 123999, lossless, full depth
//! DIRECTORY/pictures/000123/ID-map.png  its anomaly map, 16 bit: 0 is 0.0, 65535 is 1.0
//! ```
//! A row is written after its files are on disk, and taken back before they are removed: whatever moment a process is killed
//! at, every row has its files. Files without a row can only be in the last folder or on the list of what is leaving; the
//! next start removes them.

mod bounds;
mod error;
mod export;
mod filter;
mod outlines;
mod picture;
mod queue;
mod reader;
mod reviews;
mod schema;
mod spec;
mod store;
mod sweep;
mod totals;
mod writer;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use uuid::Uuid;

use crate::anomaly::AnomalyMap;
use crate::clock::Clock;
use crate::event::{Images, InspectionEvent};
use crate::frame::Image;
use crate::verdict::Verdict;
use queue::Shared;

pub use error::ArchiveError;
pub use export::{Exported, Layout};
pub use filter::{Count, Cursor, Filter};
pub use queue::{ArchiveCounters, Seen, is_sampled};
pub use reader::{Page, PartSummary, Reader, StoredPart};
pub use reviews::{Agreement, NewReview, Opinion, Review};
pub use spec::{ArchiveSpec, Why};
pub use totals::{Period, Scores};

/// Where pictures are asked for: `/api/archive/EVENT_ID/frame.png`, `/map.png` and `/overlay.png`.
pub const PATH: &str = "/api/archive";

/// A line's archive at work; a clone is the same archive.
#[derive(Clone)]
pub struct Archive {
    shared: Arc<Shared>,
    reader: Reader,
}

/// The thread that writes; told to stop, it writes what waits.
pub struct ArchiveThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Archive {
    /// Starts the thread that writes; it opens the archive, removes what a killed process has left half done, and tries again
    /// later when the disk will not have it. Errors only when there is no thread to be had.
    pub fn start(spec: ArchiveSpec, clock: Arc<dyn Clock>) -> Result<(Self, ArchiveThread), ArchiveError> {
        let reader = Reader::new(&spec.directory);
        let (shared, items) = Shared::new(spec, clock);
        let shared = Arc::new(shared);
        let writer = writer::WriterThread::new(Arc::clone(&shared), items);
        let thread = std::thread::Builder::new()
            .name("archive".into())
            .spawn(move || writer.run())
            .map_err(|source| ArchiveError::Thread { source })?;
        let thread = ArchiveThread { shared: Arc::clone(&shared), thread: Some(thread) };
        Ok((Self { shared, reader }, thread))
    }

    /// Whether the pictures of this part are kept, and if so, with room for them in the queue. Never waits for the disk; a
    /// map that is on a graphics card is fetched when, and only when, it is kept. `None` also when the archive has no room:
    /// that is counted.
    pub fn look(
        &self,
        event_id: Uuid,
        camera: &str,
        verdict: Verdict,
        image: &Image,
        map: Option<&AnomalyMap>,
    ) -> Option<Arc<Seen>> {
        let why = self.shared.wants(event_id, camera, verdict)?;
        let room = self.shared.reserve_pictures(image, map)?;
        if let Some(map) = map {
            map.values();
        }
        Some(Arc::new(Seen::new(why, image.clone(), map.cloned(), room)))
    }

    /// Hands over what became of a part: never waits, and drops it (counted) when the queue has no room.
    pub fn keep(&self, event: InspectionEvent, seen: Option<Arc<Seen>>) {
        self.shared.keep(event, seen);
    }

    /// Keeps the pictures of the next `parts` parts of a camera, whatever their verdict.
    pub fn request(&self, camera: &str, parts: u32) {
        self.shared.request(camera, parts);
    }

    /// How it is doing.
    pub fn counters(&self) -> ArchiveCounters {
        self.shared.counters()
    }

    /// What is wrong or soon will be, and what to do; the text of alarm `archive`.
    pub fn alarm(&self) -> Option<String> {
        self.shared.alarm()
    }

    /// Everything that can be asked of it.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }
}

impl ArchiveThread {
    /// Writes what waits, for at most so long; whether it was done with it.
    pub fn stop(mut self, patience: Duration) -> bool {
        self.shared.stop(patience);
        let Some(thread) = self.thread.take() else { return true };
        let until = std::time::Instant::now() + patience;
        while !thread.is_finished() && std::time::Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        let done = thread.is_finished();
        if done && thread.join().is_err() {
            tracing::error!("the thread of the archive panicked");
        }
        done
    }

    /// Whether the thread has ended though nobody asked it to.
    pub fn is_broken(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }
}

impl Drop for ArchiveThread {
    fn drop(&mut self) {
        self.shared.stop(Duration::ZERO);
    }
}

/// Where the pictures of an event are asked for.
pub fn images(event_id: Uuid, with_map: bool) -> Images {
    Images {
        frame: format!("{PATH}/{event_id}/frame.png"),
        overlay: with_map.then(|| format!("{PATH}/{event_id}/overlay.png")),
    }
}

//! What waits to be written: bounded in bytes, with the room for pictures reserved before an event names them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use uuid::Uuid;

use super::spec::{ArchiveSpec, Why};
use crate::anomaly::AnomalyMap;
use crate::clock::Clock;
use crate::event::InspectionEvent;
use crate::frame::Image;
use crate::verdict::Verdict;

/// Events that may wait, whatever their size; those with pictures have places of their own.
const EVENTS: usize = 8192;
/// Pictures that may wait, whatever their size.
const PICTURES: usize = 1024;
/// What an event takes in memory besides its polygons, bytes.
const EVENT: usize = 2048;
/// After pictures were dropped for want of room, the alarm stands so long.
const REMEMBERED: Duration = Duration::from_secs(60);

/// How the archive is doing.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct ArchiveCounters {
    /// Parts written since the start.
    pub written: u64,
    /// Those among them with pictures.
    pub pictures_written: u64,
    /// Parts whose pictures were to be kept and for which there was no room in the queue.
    pub dropped_queue: u64,
    /// Parts whose pictures were to be kept while the archive takes none: the disk is nearly full, or writing fails.
    pub dropped_disk: u64,
    /// Parts that are not even in the index.
    pub dropped_parts: u64,
    /// Parts whose pictures, or which altogether, were removed to make room or for their age.
    pub removed: u64,
    /// Bytes that wait to be written.
    pub queue_bytes: u64,
    /// Parts that wait to be written.
    pub queue_parts: u64,
    /// Bytes on disk, as far as they are known.
    pub bytes: u64,
    /// Bytes allowed.
    pub max_bytes: u64,
    /// Parts in the index.
    pub parts: u64,
    /// Parts with pictures.
    pub parts_with_pictures: u64,
    /// Capture of the oldest part, seconds since 1970.
    pub oldest_s: Option<f64>,
    /// Bytes free on the disk.
    pub free_bytes: Option<u64>,
    /// Whether pictures are taken.
    pub taking: bool,
}

/// Bytes of the queue that are taken; given back when it is dropped.
pub struct Room {
    bytes: usize,
    pictures: usize,
    taken: Arc<Taken>,
}

#[derive(Default)]
struct Taken {
    bytes: AtomicUsize,
    pictures: AtomicUsize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.taken.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.taken.pictures.fetch_sub(self.pictures, Ordering::AcqRel);
    }
}

/// What the line has seen of a part whose pictures are kept.
pub struct Seen {
    /// Why they are.
    pub why: Why,
    /// The frame.
    pub image: Image,
    /// Its anomaly map; `None` where the engine has not looked.
    pub map: Option<AnomalyMap>,
    _room: Room,
}

impl Seen {
    pub(super) fn new(why: Why, image: Image, map: Option<AnomalyMap>, room: Room) -> Self {
        Self { why, image, map, _room: room }
    }
}

/// One part on its way to the disk.
pub(super) struct Item {
    pub event: InspectionEvent,
    pub seen: Option<Arc<Seen>>,
    _room: Option<Room>,
}

/// What the thread that writes knows and others ask.
#[derive(Default)]
struct Known {
    counters: ArchiveCounters,
    /// What keeps the archive from writing, or soon will.
    trouble: Option<String>,
    dropped_at: Option<Instant>,
}

/// What the line and the thread that writes share.
pub(super) struct Shared {
    pub spec: ArchiveSpec,
    pub clock: Arc<dyn Clock>,
    items: Sender<Item>,
    taken: Arc<Taken>,
    /// Pictures are taken.
    taking: AtomicBool,
    stop: Mutex<Option<Instant>>,
    known: Mutex<Known>,
    requests: Mutex<HashMap<String, u32>>,
}

impl Shared {
    pub fn new(spec: ArchiveSpec, clock: Arc<dyn Clock>) -> (Self, Receiver<Item>) {
        let (items, waiting) = bounded(EVENTS + PICTURES);
        let known = Known {
            counters: ArchiveCounters { max_bytes: spec.max_bytes, ..Default::default() },
            ..Default::default()
        };
        let shared = Self {
            spec,
            clock,
            items,
            taken: Arc::default(),
            taking: AtomicBool::new(true),
            stop: Mutex::new(None),
            known: Mutex::new(known),
            requests: Mutex::default(),
        };
        (shared, waiting)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn requests(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether pictures of this part are kept, and why.
    pub fn wants(&self, event_id: Uuid, camera: &str, verdict: Verdict) -> Option<Why> {
        let requested = {
            let mut requests = self.requests();
            match requests.get_mut(camera) {
                Some(left) => {
                    *left -= 1;
                    if *left == 0 {
                        requests.remove(camera);
                    }
                    true
                }
                None => false,
            }
        };
        match verdict {
            Verdict::Fail => Some(Why::Failed),
            Verdict::NoVerdict(_) => Some(Why::NoVerdict),
            Verdict::Pass if requested => Some(Why::Requested),
            Verdict::Pass => is_sampled(event_id, self.spec.sample).then_some(Why::Sampled),
        }
    }

    pub fn request(&self, camera: &str, parts: u32) {
        if parts > 0 {
            self.requests().insert(camera.to_owned(), parts);
        }
    }

    /// Room for a part's pictures; `None`, counted, when there is none.
    pub fn reserve_pictures(&self, image: &Image, map: Option<&AnomalyMap>) -> Option<Room> {
        if !self.taking.load(Ordering::Acquire) {
            self.known().counters.dropped_disk += 1;
            return None;
        }
        let map = map.map_or(0, |map| map.width() * map.height() * size_of::<f32>());
        let room = self.reserve(image.data().len() + map, 1);
        if room.is_none() {
            let mut known = self.known();
            known.counters.dropped_queue += 1;
            known.dropped_at = Some(self.clock.now().monotonic);
        }
        room
    }

    fn reserve(&self, bytes: usize, pictures: usize) -> Option<Room> {
        let fits = |counter: &AtomicUsize, more: usize, most: usize| {
            counter
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| (now + more <= most).then_some(now + more))
                .is_ok()
        };
        if !fits(&self.taken.bytes, bytes, self.spec.max_queue_bytes) {
            return None;
        }
        if !fits(&self.taken.pictures, pictures, PICTURES) {
            self.taken.bytes.fetch_sub(bytes, Ordering::AcqRel);
            return None;
        }
        Some(Room { bytes, pictures, taken: Arc::clone(&self.taken) })
    }

    /// Never waits.
    pub fn keep(&self, event: InspectionEvent, seen: Option<Arc<Seen>>) {
        let polygons: usize = event.defects.iter().map(|defect| defect.polygon.len()).sum();
        // One with pictures has its room: the event that names them is on its way already.
        let room = self.reserve(EVENT + polygons * 2 * size_of::<u32>(), 0);
        let fits = seen.is_some() || (room.is_some() && self.items.len() < EVENTS);
        let sent = if fits { self.items.try_send(Item { event, seen, _room: room }) } else { return self.dropped() };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = sent {
            self.dropped();
        }
    }

    fn dropped(&self) {
        let mut known = self.known();
        known.counters.dropped_parts += 1;
        known.dropped_at = Some(self.clock.now().monotonic);
    }

    pub fn counters(&self) -> ArchiveCounters {
        let counters = self.known().counters.clone();
        ArchiveCounters {
            queue_bytes: self.taken.bytes.load(Ordering::Acquire) as u64,
            queue_parts: self.items.len() as u64,
            taking: self.taking.load(Ordering::Acquire),
            ..counters
        }
    }

    pub fn alarm(&self) -> Option<String> {
        let known = self.known();
        if known.trouble.is_some() {
            return known.trouble.clone();
        }
        let recent = |at: Instant| self.clock.now().monotonic.saturating_duration_since(at) < REMEMBERED;
        known.dropped_at.is_some_and(recent).then(|| {
            format!(
                "the disk of {} is slower than parts come: some go without pictures, or are not in the index; take a faster \
                 disk, or lower sample in [archive]",
                self.spec.directory.display(),
            )
        })
    }

    /// The thread that writes tells what it has done.
    pub fn count(&self, change: impl FnOnce(&mut ArchiveCounters)) {
        change(&mut self.known().counters);
    }

    /// Whether pictures are taken from now on, and what is wrong.
    pub fn tell(&self, taking: bool, trouble: Option<String>) {
        self.taking.store(taking, Ordering::Release);
        self.known().trouble = trouble;
    }

    pub fn stop(&self, patience: Duration) {
        let until = Instant::now() + patience;
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    /// Until when the thread may go on writing, once it is to end.
    pub fn stops_at(&self) -> Option<Instant> {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same for the same event, whoever asks, by the last four bytes of its id: what lies before them counts up within a
/// millisecond (uuid 1, `ContextV7`), so that events of one millisecond would all be in the sample or none.
pub fn is_sampled(event_id: Uuid, share: f64) -> bool {
    let (_, low) = event_id.as_u64_pair();
    f64::from(low as u32) < share * (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_a_share_and_the_same_for_the_same_event() {
        let ids: Vec<Uuid> = (0..20_000).map(|_| Uuid::now_v7()).collect();
        let sampled = ids.iter().filter(|id| is_sampled(**id, 0.01)).count();
        assert!((100..320).contains(&sampled), "{sampled} of 20000");
        assert!(ids.iter().all(|id| is_sampled(*id, 1.0) && !is_sampled(*id, 0.0)));
        assert!(ids.iter().all(|id| is_sampled(*id, 0.3) == is_sampled(*id, 0.3)));
    }
}

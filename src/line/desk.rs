//! One desk per camera writes its events: the sequence without gaps, and the skipped frames that belong to each.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::recipe::{RecipeSpec, no_verdict};
use super::stats::LineStats;
use super::{EventSink, Unanswered};
use crate::anomaly::StageTimes;
use crate::clock::{Clock, ClockSource};
use crate::event::{EventTime, FrameInfo, InspectionEvent, Latency, ModelInfo, SCHEMA, VerdictWord};
use crate::frame::{Frame, Part};
use crate::verdict::{Inspection, NoVerdictReason, Verdict};

/// What all desks of a line share.
pub(super) struct Office {
    pub line: String,
    pub session: Uuid,
    pub model: ModelInfo,
    pub clock: Arc<dyn Clock>,
    pub sink: Arc<dyn EventSink>,
    pub stats: Mutex<LineStats>,
}

/// Writes the events of one camera. The lock is held while the sink takes the event, so that events leave in the order
/// of their numbers whichever thread writes them.
pub(super) struct Desk {
    office: Arc<Office>,
    camera: Arc<str>,
    recipe: RecipeSpec,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    seq: u64,
    /// Last frame of each stretch of skipped frames, and how many; not yet told. Stretches are kept apart by frames
    /// that are still with the engine, so there are never more of them than such frames.
    skipped: VecDeque<(u64, u64)>,
}

impl Office {
    pub fn stats(&self) -> MutexGuard<'_, LineStats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    pub fn new(office: Arc<Office>, camera: Arc<str>, recipe: RecipeSpec) -> Self {
        Self { office, camera, recipe, book: Mutex::default() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `count` frames up to number `last` will never be seen.
    pub fn skipped(&self, last: u64, count: u64) {
        if count > 0 {
            self.book().skip(last, count);
        }
    }

    /// The queue gave this frame up: a part is owed an event, a frame of a free-running camera is counted.
    pub fn overrun(&self, frame: &Frame) {
        if frame.part.is_some() {
            self.give_up(frame, NoVerdictReason::Overrun);
        } else {
            self.skipped(frame.seq, 1);
        }
    }

    /// A part has come. False when nobody can be asked to remember it: it is counted, and owed nothing.
    pub fn owe(&self, part: &Part) -> bool {
        let taken = self.office.sink.owe(&self.camera, part);
        if let Err(refused) = &taken {
            tracing::debug!(camera = %self.camera, part = part.id, %refused, "part refused");
            self.office.stats().refused += 1;
        }
        taken.is_ok()
    }

    /// An event without a verdict.
    pub fn give_up(&self, frame: &Frame, reason: NoVerdictReason) {
        let waited = self.office.clock.now().monotonic.saturating_duration_since(frame.captured.monotonic);
        self.event(frame, no_verdict(reason), waited, StageTimes::default());
    }

    /// Whose desk it is.
    pub fn camera(&self) -> &str {
        &self.camera
    }

    /// A desk for a camera that the line has no more, with this desk's recipe. Its numbers start at 1.
    pub fn for_camera(&self, camera: &str) -> Self {
        Self::new(Arc::clone(&self.office), camera.into(), self.recipe.clone())
    }

    /// An event. `waited` is the time from capture until the engine took the frame; `times.postprocess` includes the
    /// recipe.
    pub fn event(&self, frame: &Frame, inspection: Inspection, waited: Duration, times: StageTimes) {
        let mut book = self.book();
        let skipped_before = book.told_before(frame.seq);
        let now = self.office.clock.now();
        let latency = Latency {
            queue: ms(waited),
            preprocess: ms(times.preprocess),
            inference: ms(times.inference),
            postprocess: ms(times.postprocess),
            total: ms(now.monotonic.saturating_duration_since(frame.captured.monotonic)),
        };
        let time = EventTime { captured: frame.captured.wall, clock: frame.clock, published: now.wall };
        let mut event = self.draft(frame.part.clone(), inspection, time);
        event.latency_ms = latency;
        event.frame =
            Some(FrameInfo { seq: frame.seq, width: frame.image.width, height: frame.image.height, skipped_before });
        if !self.give(&mut book, event, frame.captured.monotonic) {
            // What was to be told with it is told with the next one, and so is this frame.
            book.skip(frame.seq, skipped_before + 1);
        }
    }

    /// The event of a part that an earlier start has accepted and left without one.
    pub fn restarted(&self, owed: &Unanswered) {
        let now = self.office.clock.now();
        let time = EventTime { captured: owed.accepted, clock: ClockSource::System, published: now.wall };
        let mut event = self.draft(Some(owed.part.clone()), no_verdict(NoVerdictReason::Restarted), time);
        event.historical = true;
        if !self.give(&mut self.book(), event, now.monotonic) {
            tracing::error!(camera = %self.camera, part = owed.part.id, "no room for the event of an earlier start's part");
        }
    }

    /// An event without its number, its frame and its times.
    fn draft(&self, part: Option<Part>, inspection: Inspection, time: EventTime) -> InspectionEvent {
        let reason = match inspection.verdict {
            Verdict::NoVerdict(reason) => Some(reason),
            Verdict::Pass | Verdict::Fail => None,
        };
        InspectionEvent {
            schema: SCHEMA,
            event_id: Uuid::now_v7(),
            session: self.office.session,
            seq: 0,
            line: self.office.line.clone(),
            camera: self.camera.to_string(),
            part,
            verdict: inspection.verdict.into(),
            reason,
            score: inspection.score,
            threshold: self.recipe.threshold,
            defect_threshold: self.recipe.defect_threshold,
            defects: inspection.defects,
            frame: None,
            time,
            latency_ms: Latency::default(),
            recipe: self.recipe.info.clone(),
            model: self.office.model.clone(),
            historical: false,
        }
    }

    /// Numbers the event and hands it on. False when it was refused: then its number goes to the next one.
    fn give(&self, book: &mut Book, mut event: InspectionEvent, captured: Instant) -> bool {
        event.seq = book.seq + 1;
        let (verdict, scored, latency) = (event.verdict, event.score.is_some(), event.latency_ms);
        // The sink may wait; the numbers of the other cameras do not wait with it.
        let taken = self.office.sink.verdict(event, captured);
        let mut stats = self.office.stats();
        match taken {
            Ok(()) => book.seq += 1,
            Err(refused) => {
                stats.refused += 1;
                tracing::debug!(camera = %self.camera, %refused, "event refused");
                return false;
            }
        }
        match verdict {
            VerdictWord::Pass => stats.pass += 1,
            VerdictWord::Fail => stats.fail += 1,
            VerdictWord::NoVerdict => stats.no_verdict += 1,
        }
        if scored {
            stats.record(&latency);
        }
        true
    }
}

impl Book {
    fn skip(&mut self, last: u64, count: u64) {
        // A gap before a new frame is noted before the queue gives up an older one, so stretches may come out of order.
        let at = self.skipped.partition_point(|stretch| stretch.0 < last);
        match at.checked_sub(1).and_then(|before| self.skipped.get_mut(before)) {
            Some(stretch) if stretch.0 + count == last => *stretch = (last, stretch.1 + count),
            _ => self.skipped.insert(at, (last, count)),
        }
    }

    fn told_before(&mut self, frame: u64) -> u64 {
        let mut told = 0;
        while let Some(&(last, count)) = self.skipped.front()
            && last < frame
        {
            told += count;
            self.skipped.pop_front();
        }
        told
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_frames_are_told_once_and_in_their_place() {
        let mut book = Book::default();
        book.skip(4, 2);
        book.skip(5, 1);
        book.skip(9, 1);
        assert_eq!(book.skipped.len(), 2, "3 to 5 are one stretch");
        assert_eq!(book.told_before(2), 0, "frame 2 was taken before they were skipped");
        assert_eq!(book.told_before(8), 3);
        assert_eq!(book.told_before(8), 0);
        assert_eq!(book.told_before(10), 1);
        book.skip(19, 2);
        book.skip(14, 1);
        assert_eq!(book.told_before(15), 1, "noted later, but older");
        assert_eq!(book.told_before(20), 2);
    }
}

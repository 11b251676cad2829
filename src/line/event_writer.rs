//! One event writer per camera: numbers without gaps, and the skipped frames that belong to each event.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::parts::Shot;
use super::plan::Unanswered;
use super::recipe::{RecipeSpec, no_verdict};
use super::sink::{Debt, EventSink, Refused};
use super::stats::{LineStats, reason_word};
use crate::anomaly::{AnomalyMap, StageTimes};
use crate::archive::{self, Archive, Seen};
use crate::clock::{Clock, ClockSource, Moment};
use crate::engine::EngineInfo;
use crate::event::{
    EventTime, FrameInfo, InspectionEvent, LOG_TARGET, Latency, MemoryInfo, ModelInfo, SCHEMA, VerdictWord,
};
use crate::frame::{Frame, Image, Part};
use crate::verdict::{Inspection, NoVerdictReason, Suspect, Verdict};

/// What the event writers of a line share.
pub(super) struct LineContext {
    pub line: String,
    pub session: Uuid,
    pub model: ModelInfo,
    pub engine: EngineInfo,
    pub clock: Arc<dyn Clock>,
    pub sink: Arc<dyn EventSink>,
    pub stats: Mutex<LineStats>,
    /// What keeps what became of the parts, if anything does.
    pub archive: Option<Archive>,
}

/// How long events of a camera that can wait are offered again while the sink takes none: longer than a broker is merely slow.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes the events of one camera. The lock is held while the sink takes the event, so that events leave in the order
/// of their numbers whichever thread writes them; the sink never waits.
pub(super) struct EventWriter {
    context: Arc<LineContext>,
    camera: Arc<str>,
    /// The camera's source can wait: what the sink has no room for is offered again, and no frame comes meanwhile.
    can_wait: AtomicBool,
    sequence: Mutex<Sequence>,
    /// What has changed about the camera's pictures.
    suspect: Mutex<Option<Suspect>>,
}

/// What an event is made of.
pub(super) struct Entry<'a> {
    pub part: Option<Part>,
    /// The frame, when it came.
    pub shot: Option<Shot>,
    /// When it was captured; when it never was, the trigger.
    pub begun: Moment,
    /// Its deadline, where parts have one.
    pub due: Option<Instant>,
    pub inspection: Inspection,
    /// From capture until the engine took the frame.
    pub waited: Duration,
    /// `postprocess` includes the recipe.
    pub times: StageTimes,
    /// What it was, or would have been, judged by.
    pub recipe: &'a RecipeSpec,
    /// What helped the model.
    pub memory: Option<MemoryInfo>,
    /// Its event's id, and what the archive keeps of its pictures.
    pub kept: Kept,
}

/// The id of an event that is to come, and the pictures that it names: their room in the archive's queue is reserved.
#[derive(Clone)]
pub(super) struct Kept {
    pub event_id: Uuid,
    pub seen: Option<Arc<Seen>>,
}

/// An event without its number.
#[derive(Clone)]
struct Unsaid {
    event: InspectionEvent,
    captured: Instant,
    due: Option<Instant>,
    seen: Option<Arc<Seen>>,
}

/// How far a camera's events have come.
#[derive(Default)]
struct Sequence {
    /// Number of the last event.
    seq: u64,
    /// Last frame of each stretch of skipped frames, and how many; not yet told. A camera whose frames nobody asks for
    /// has gaps and no events, so the oldest stretches are joined when there are many.
    skipped: VecDeque<(u64, u64)>,
    /// Events that the sink had no room for; not more than the frames between a camera that waits and its verdicts.
    unsaid: VecDeque<Unsaid>,
    /// Since when the sink has taken nothing.
    refused_since: Option<Instant>,
    /// The last frame that has an event or was told to be skipped.
    answered_to: Option<u64>,
    /// Frames of a free-running camera that have neither yet: a later one may be skipped while they wait for the engine.
    awaited: BTreeSet<u64>,
    /// Waiting has not helped: events are refused at once until the sink takes one again.
    hopeless: bool,
}

impl LineContext {
    pub fn stats(&self) -> MutexGuard<'_, LineStats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws the id of an event, and reserves room for its pictures where the archive is to keep them.
    pub fn look(&self, camera: &str, verdict: Verdict, seen: Option<(&Image, Option<&AnomalyMap>)>) -> Kept {
        let event_id = Uuid::now_v7();
        let look = |archive: &Archive| {
            let (image, map) = seen?;
            archive.look(event_id, camera, verdict, image, map)
        };
        Kept { event_id, seen: self.archive.as_ref().and_then(look) }
    }
}

impl EventWriter {
    pub fn new(context: Arc<LineContext>, camera: Arc<str>, can_wait: bool) -> Self {
        let can_wait = AtomicBool::new(can_wait);
        Self { context, camera, can_wait, sequence: Mutex::default(), suspect: Mutex::default() }
    }

    fn sequence(&self) -> MutexGuard<'_, Sequence> {
        self.sequence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the camera's source can wait from now on.
    pub fn can_wait(&self, can_wait: bool) {
        self.can_wait.store(can_wait, Ordering::Relaxed);
    }

    /// Whether an alarm of the picture stands.
    pub fn is_suspected(&self) -> bool {
        self.suspect.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// From now on parts that fail are told with this.
    pub fn suspect(&self, suspect: Option<Suspect>) {
        *self.suspect.lock().unwrap_or_else(PoisonError::into_inner) = suspect;
    }

    /// `count` frames up to number `last` will never be seen.
    pub fn skipped(&self, last: u64, count: u64) {
        if count > 0 {
            self.sequence().skip(last, count);
        }
    }

    /// A part has come. Refused when nobody can be asked to remember it: it is counted, and owed nothing.
    pub fn owe(&self, part: &Part) -> Result<Debt, Refused> {
        self.context.sink.owe(&self.camera, part).inspect_err(|refused| {
            tracing::debug!(camera = %self.camera, part = part.id, %refused, "part refused");
            self.context.stats().refused += 1;
        })
    }

    /// A frame of a free-running camera that is not inspected: a part is owed an event all the same, another frame is
    /// counted.
    pub fn leave_out(&self, frame: &Frame, reason: NoVerdictReason, recipe: &RecipeSpec) {
        if frame.part.is_some() {
            self.give_up(frame, reason, recipe);
        } else {
            self.skipped(frame.seq, 1);
        }
    }

    /// An event without a verdict.
    pub fn give_up(&self, frame: &Frame, reason: NoVerdictReason, recipe: &RecipeSpec) {
        let waited = self.context.clock.now().monotonic.saturating_duration_since(frame.captured.monotonic);
        let (part, shot) = (frame.part.clone(), Shot::from(frame));
        let (inspection, times) = (no_verdict(reason), StageTimes::default());
        let kept = self.look(inspection.verdict, Some((&frame.image, None)));
        self.write(Entry {
            part,
            begun: shot.captured,
            shot: Some(shot),
            due: None,
            inspection,
            waited,
            times,
            recipe,
            memory: None,
            kept,
        });
    }

    /// See [`LineContext::look`].
    pub fn look(&self, verdict: Verdict, seen: Option<(&Image, Option<&AnomalyMap>)>) -> Kept {
        self.context.look(&self.camera, verdict, seen)
    }

    /// The frame up to which all have an event, or were skipped; a camera's frames are answered in their order.
    pub fn answered_to(&self) -> Option<u64> {
        self.sequence().answered_to()
    }

    /// This frame goes to the engine, and will have an event or be skipped. Told before it is there: that may be at once.
    pub fn awaits(&self, frame: u64) {
        self.sequence().awaited.insert(frame);
    }

    /// Whose events it writes.
    pub fn camera(&self) -> &str {
        &self.camera
    }

    /// This service start.
    pub fn session(&self) -> Uuid {
        self.context.session
    }

    /// A writer for a camera that the line has no more. Its numbers start at 1.
    pub fn for_camera(&self, camera: &str) -> Self {
        Self::new(Arc::clone(&self.context), camera.into(), false)
    }

    /// An event.
    pub fn write(&self, entry: Entry<'_>) {
        let Entry { part, shot, begun, due, inspection, waited, times, recipe, memory, kept } = entry;
        let mut sequence = self.sequence();
        let skipped_before = shot.as_ref().map_or(0, |shot| sequence.told_before(shot.seq));
        let now = self.context.clock.now();
        let latency = Latency {
            queue: ms(waited),
            preprocess: ms(times.preprocess),
            inference: ms(times.inference),
            postprocess: ms(times.postprocess),
            total: ms(now.monotonic.saturating_duration_since(begun.monotonic)),
        };
        let clock = shot.as_ref().map_or(ClockSource::System, |shot| shot.clock);
        let time = EventTime { captured: begun.wall, clock, published: now.wall };
        let mut event = self.draft(part, inspection, time, recipe);
        event.event_id = kept.event_id;
        event.images = kept.seen.as_ref().map(|seen| archive::images(kept.event_id, seen.map.is_some()));
        event.latency_ms = latency;
        event.model.memory = memory;
        event.frame =
            shot.map(|Shot { seq, width, height, file, .. }| FrameInfo { seq, width, height, skipped_before, file });
        self.give(&mut sequence, Unsaid { event, captured: begun.monotonic, due, seen: kept.seen });
    }

    /// The event of a part that an earlier start has accepted and left without one.
    pub fn restarted(&self, owed: &Unanswered, recipe: &RecipeSpec) {
        let now = self.context.clock.now();
        let time = EventTime { captured: owed.accepted, clock: ClockSource::System, published: now.wall };
        let mut event = self.draft(Some(owed.part.clone()), no_verdict(NoVerdictReason::Restarted), time, recipe);
        event.historical = true;
        event.frame.clone_from(&owed.frame);
        if !self.give(&mut self.sequence(), Unsaid { event, captured: now.monotonic, due: None, seen: None }) {
            tracing::error!(camera = %self.camera, part = owed.part.id, "no room for the event of an earlier start's part");
        }
    }

    /// An event without its number, its frame and its times.
    fn draft(
        &self,
        part: Option<Part>,
        inspection: Inspection,
        time: EventTime,
        recipe: &RecipeSpec,
    ) -> InspectionEvent {
        let reason = match inspection.verdict {
            Verdict::NoVerdict(reason) => Some(reason),
            Verdict::Pass | Verdict::Fail => None,
        };
        let suspect = match inspection.verdict {
            Verdict::Fail => *self.suspect.lock().unwrap_or_else(PoisonError::into_inner),
            Verdict::Pass | Verdict::NoVerdict(_) => None,
        };
        InspectionEvent {
            schema: SCHEMA,
            event_id: Uuid::now_v7(),
            session: self.context.session,
            seq: 0,
            line: self.context.line.clone(),
            camera: self.camera.to_string(),
            part,
            verdict: inspection.verdict.into(),
            reason,
            score: inspection.score,
            threshold: recipe.threshold,
            defect_threshold: recipe.defect_threshold,
            defects: inspection.defects,
            frame: None,
            time,
            latency_ms: Latency::default(),
            recipe: recipe.info.clone(),
            model: self.context.model.clone(),
            historical: false,
            suspect,
            location: inspection.location,
            images: None,
            tiles: inspection.tiles,
        }
    }

    /// Hands the event on, after those that wait. False when it is lost.
    fn give(&self, sequence: &mut Sequence, unsaid: Unsaid) -> bool {
        if self.can_wait.load(Ordering::Relaxed) && !sequence.hopeless {
            sequence.unsaid.push_back(unsaid);
            self.hand_on(sequence);
            return true;
        }
        let frame = own_frame(&unsaid.event);
        let taken = self.offer(sequence, unsaid);
        if !taken {
            self.lose(sequence, frame);
        }
        taken
    }

    fn hand_on(&self, sequence: &mut Sequence) {
        while let Some(mut next) = sequence.unsaid.front().cloned() {
            next.event.time.published = self.context.clock.now().wall;
            if !self.offer(sequence, next) {
                return;
            }
            sequence.unsaid.pop_front();
        }
    }

    /// Offers again what waits; true when nothing does any more.
    pub fn offer_again(&self) -> bool {
        let mut sequence = self.sequence();
        self.hand_on(&mut sequence);
        let now = self.context.clock.now().monotonic;
        if !sequence.unsaid.is_empty() && sequence.refused_since.is_some_and(|since| since + PATIENCE <= now) {
            sequence.hopeless = true;
            self.lose_unsaid(&mut sequence);
        }
        sequence.unsaid.is_empty()
    }

    /// Nothing waits any longer: the line ends.
    pub fn finish(&self) {
        let mut sequence = self.sequence();
        self.hand_on(&mut sequence);
        sequence.hopeless = true;
        self.lose_unsaid(&mut sequence);
    }

    fn lose_unsaid(&self, sequence: &mut Sequence) {
        for lost in std::mem::take(&mut sequence.unsaid) {
            self.lose(sequence, own_frame(&lost.event));
        }
    }

    /// What was to be told with it is told with the next one, and so is its frame.
    fn lose(&self, sequence: &mut Sequence, frame: Option<FrameInfo>) {
        self.context.stats().refused += 1;
        if let Some(frame) = frame {
            sequence.skip(frame.seq, frame.skipped_before + 1);
        }
    }

    /// Numbers the event and offers it. False when it was refused: then its number goes to the next one.
    fn offer(&self, sequence: &mut Sequence, Unsaid { mut event, captured, due, seen }: Unsaid) -> bool {
        event.seq = sequence.seq + 1;
        let (verdict, reason, scored, latency) = (event.verdict, event.reason, event.score.is_some(), event.latency_ms);
        let frame = own_frame(&event).map(|frame| frame.seq);
        let (id, part) = (event.event_id, event.part.clone());
        let archived = self.context.archive.as_ref().map(|archive| (archive, event.clone()));
        if let Err(refused) = self.context.sink.verdict(event, captured, due) {
            sequence.refused_since.get_or_insert_with(|| self.context.clock.now().monotonic);
            tracing::debug!(camera = %self.camera, %refused, "event refused");
            return false;
        }
        sequence.seq += 1;
        (sequence.refused_since, sequence.hopeless) = (None, false);
        sequence.answered_to = sequence.answered_to.max(frame);
        if let Some(frame) = frame {
            sequence.awaited.remove(&frame);
        }
        if let Some((archive, event)) = archived {
            archive.keep(event, seen);
        }
        self.log(id, part.as_ref(), verdict, reason);
        let mut stats = self.context.stats();
        *stats.verdicts.entry((Arc::clone(&self.camera), verdict, reason)).or_default() += 1;
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

impl EventWriter {
    fn log(&self, event_id: Uuid, part: Option<&Part>, verdict: VerdictWord, reason: Option<NoVerdictReason>) {
        let (camera, part) = (&*self.camera, part.map(|part| part.id.as_str()));
        let (word, reason) = (verdict.word(), reason.map(reason_word));
        match verdict {
            VerdictWord::Pass => tracing::debug!(target: LOG_TARGET, camera, part, verdict = word, %event_id, "a part"),
            VerdictWord::Fail => tracing::info!(target: LOG_TARGET, camera, part, verdict = word, %event_id, "a part"),
            VerdictWord::NoVerdict => {
                tracing::info!(target: LOG_TARGET, camera, part, verdict = word, reason, %event_id, "a part");
            }
        }
    }
}

/// The frame of an event, unless an earlier start has counted it.
fn own_frame(event: &InspectionEvent) -> Option<FrameInfo> {
    event.frame.clone().filter(|_| event.reason != Some(NoVerdictReason::Restarted))
}

/// Stretches of skipped frames kept apart.
const MOST_STRETCHES: usize = 1024;

impl Sequence {
    fn answered_to(&self) -> Option<u64> {
        match self.awaited.first() {
            Some(first) => self.answered_to.min(first.checked_sub(1)),
            None => self.answered_to,
        }
    }

    fn skip(&mut self, last: u64, count: u64) {
        self.answered_to = self.answered_to.max(Some(last));
        let first = last.saturating_sub(count.saturating_sub(1));
        self.awaited.retain(|frame| !(first..=last).contains(frame));
        // A gap before a new frame is noted before the queue gives up an older one, so stretches may come out of order.
        let at = self.skipped.partition_point(|stretch| stretch.0 < last);
        match at.checked_sub(1).and_then(|before| self.skipped.get_mut(before)) {
            Some(stretch) if stretch.0 + count == last => *stretch = (last, stretch.1 + count),
            _ => self.skipped.insert(at, (last, count)),
        }
        if self.skipped.len() > MOST_STRETCHES
            && let Some((_, oldest)) = self.skipped.pop_front()
            && let Some(next) = self.skipped.front_mut()
        {
            next.1 += oldest;
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
        let mut sequence = Sequence::default();
        sequence.skip(4, 2);
        sequence.skip(5, 1);
        sequence.skip(9, 1);
        assert_eq!(sequence.skipped.len(), 2, "3 to 5 are one stretch");
        assert_eq!(sequence.told_before(2), 0, "frame 2 was taken before they were skipped");
        assert_eq!(sequence.told_before(8), 3);
        assert_eq!(sequence.told_before(8), 0);
        assert_eq!(sequence.told_before(10), 1);
        sequence.skip(19, 2);
        sequence.skip(14, 1);
        assert_eq!(sequence.told_before(15), 1, "noted later, but older");
        assert_eq!(sequence.told_before(20), 2);
    }

    #[test]
    fn frames_that_still_wait_are_not_answered_by_a_later_one_that_is_skipped() {
        let mut sequence = Sequence::default();
        sequence.awaited.extend([0, 1, 4]);
        sequence.skip(3, 2);
        assert_eq!(sequence.answered_to(), None, "0 and 1 wait for the engine");
        sequence.awaited.remove(&0);
        assert_eq!(sequence.answered_to(), Some(0));
        sequence.skip(1, 1);
        assert_eq!(sequence.answered_to(), Some(3));
        sequence.skip(9, 6);
        assert_eq!((sequence.answered_to(), sequence.awaited.len()), (Some(9), 0));
    }
}

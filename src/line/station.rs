//! One station per camera: frames, triggers and answers come in, and what the matcher decides is carried out.
//!
//! Outcomes are told while the matcher is locked, so that they leave in its order: the sink never waits. Whatever may wait
//! does so outside the lock: frames are pushed after it, because a queue that waits for the engine would otherwise keep the
//! engine's answers waiting; and a camera that can wait offers again, in its own thread, what the sink had no room for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crossbeam_channel::Sender;

use super::camera_settings::CameraSettings;
use super::damaged::DamagedFrames;
use super::event_writer::{Entry, EventWriter, LineContext};
use super::golden::Golden;
use super::handover::HandOver;
use super::judged::Judged;
use super::last_picture::LastPicture;
use super::parts::{Matcher, Outcome, Output, Pairing, PartCounters, Shot, TriggerMode, TriggerPlan};
use super::plan::{Arrangement, CameraPlan};
use super::queue::{FrameQueue, Pushed, WhenFull};
use super::recipe::{RecipeSpec, no_verdict};
use super::reopening::Reopen;
use super::shown::Shown;
use super::sink::{Debt, Refused};
use crate::anomaly::StageTimes;
use crate::clock::{Clock, ClockSource, Moment};
use crate::frame::{Frame, Part};
use crate::source::SourceError;
use crate::verdict::NoVerdictReason;

struct Book {
    plan: TriggerPlan,
    matcher: Matcher<Frame, Judged>,
    /// What the deadline thread knows to wait for.
    due: Option<Instant>,
}

/// One camera's triggers, frames and answers.
pub(super) struct Station {
    camera: Arc<str>,
    writer: EventWriter,
    clock: Arc<dyn Clock>,
    /// Wakes the deadline thread.
    bell: Sender<()>,
    /// Frames that their source calls damaged.
    pub damaged_frames: DamagedFrames,
    queue: Mutex<Option<Arc<FrameQueue>>>,
    book: Mutex<Book>,
    /// What its frames are looked at and judged by.
    pub settings: CameraSettings,
    /// The picture that was inspected last.
    pub picture: LastPicture,
    /// Whoever learns from the parts.
    pub hand_over: HandOver,
    /// How the camera is to be opened anew, for its thread.
    pub reopen: Reopen,
    /// A stored part that is to be judged.
    pub golden: Golden,
    /// For the archive, where there is one.
    shown: Option<Shown>,
    /// Frames that got their part and are not in the queue yet.
    served: AtomicUsize,
}

/// A command could not name a part here.
pub(super) enum TriggerRefused {
    /// Nothing is triggered by commands here.
    Mode(TriggerMode),
    /// The controller's own counter is needed.
    NoNumber,
    /// A part of this name has no outcome yet.
    Open,
    /// Nobody can be asked to remember it.
    Refused(Refused),
    /// The line ends.
    Stopping,
}

impl Station {
    pub fn new(plan: &CameraPlan, queue: FrameQueue, context: &Arc<LineContext>, bell: Sender<()>) -> Self {
        Self {
            camera: Arc::clone(&plan.name),
            writer: EventWriter::new(Arc::clone(context), Arc::clone(&plan.name), plan.when_full == WhenFull::Wait),
            clock: Arc::clone(&context.clock),
            bell,
            damaged_frames: DamagedFrames::default(),
            queue: Mutex::new(Some(Arc::new(queue))),
            book: Mutex::new(Book { plan: plan.trigger, matcher: Matcher::new(plan.trigger), due: None }),
            settings: CameraSettings::new(Arc::clone(&plan.name), plan.configured(), plan.used(), plan.way()),
            picture: LastPicture::default(),
            hand_over: HandOver::default(),
            reopen: Reopen::default(),
            golden: Golden::default(),
            shown: context.archive.as_ref().map(|_| Shown::default()),
            served: AtomicUsize::new(0),
        }
    }

    pub fn camera(&self) -> &Arc<str> {
        &self.camera
    }

    pub fn writer(&self) -> &EventWriter {
        &self.writer
    }

    pub fn plan(&self) -> TriggerPlan {
        self.book().plan
    }

    pub fn counters(&self) -> PartCounters {
        self.book().matcher.counters()
    }

    pub fn is_paused(&self) -> bool {
        self.book().matcher.is_paused()
    }

    pub fn pause(&self, paused: bool) {
        self.book().matcher.pause(paused);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn runs_free(&self) -> bool {
        self.plan().mode == TriggerMode::Free
    }

    /// The camera's driver has counted `count` frames up to number `last` that never came.
    pub fn lost(&self, last: u64, count: u64) {
        // Where every frame is a part, each of them has its own event.
        if self.plan().mode != TriggerMode::Hardware || count > Matcher::<Frame, Judged>::MOST_LOST {
            self.writer.skipped(last, count);
        }
    }

    /// Takes a frame from the camera. False when nobody takes frames any more.
    pub fn frame(&self, mut frame: Frame) -> bool {
        self.damaged_frames.look_at(&frame);
        if self.runs_free() {
            return self.free(frame);
        }
        let (shot, own) = (Shot::from(&frame), frame.part.take());
        let mut book = self.book();
        if book.plan.mode == TriggerMode::Hardware {
            // One that is refused is counted, and its event is tried nevertheless.
            book.matcher.parts_until(shot.seq, own.clone()).iter().for_each(|part| {
                self.writer.owe(part).ok();
            });
        }
        let output = book.matcher.frame(shot, frame, own);
        self.carry_out(book, output)
    }

    /// Frame `seq` is no whole picture: where every frame is a part, it is owed an event all the same.
    pub fn damaged(&self, seq: u64, how: SourceError) {
        if self.plan().mode != TriggerMode::Hardware {
            return self.writer.skipped(seq, 1);
        }
        let captured = self.clock.now();
        let shot = match how {
            SourceError::Damaged { file, size: Some((width, height)), .. } => {
                Some(Shot { seq, width, height, captured, clock: ClockSource::System, file: Some(file) })
            }
            _ => None,
        };
        let mut book = self.book();
        book.matcher.parts_until(seq, None).iter().for_each(|part| {
            self.writer.owe(part).ok();
        });
        let output = book.matcher.frame_in_vain(seq, captured, shot, NoVerdictReason::FrameDamaged);
        self.carry_out(book, output);
    }

    /// A frame of a camera that runs free; its source may know a part all the same.
    fn free(&self, frame: Frame) -> bool {
        if frame.part.as_ref().is_some_and(|part| self.writer.owe(part).is_err()) {
            self.writer.skipped(frame.seq, 1);
            return true;
        }
        if self.is_paused() {
            self.writer.leave_out(&frame, NoVerdictReason::Paused, &self.recipe());
            return true;
        }
        self.push(frame)
    }

    fn push(&self, frame: Frame) -> bool {
        // Of a camera that runs free it goes the way of all frames, so that the events keep their order.
        if frame.image.damaged && !self.runs_free() {
            self.failed(&frame, NoVerdictReason::FrameDamaged);
            return true;
        }
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(queue) = queue else {
            self.failed(&frame, NoVerdictReason::CameraLost);
            return false;
        };
        self.runs_free().then(|| self.writer.awaits(frame.seq));
        match queue.push(frame) {
            Pushed::Taken => true,
            Pushed::Dropped(frame) => {
                tracing::debug!(camera = %self.camera, frame = frame.seq, "queue full, frame dropped");
                if self.runs_free() {
                    self.writer.leave_out(&frame, NoVerdictReason::Overrun, &self.recipe());
                } else {
                    self.failed(&frame, NoVerdictReason::Overrun);
                }
                true
            }
            Pushed::Closed(frame) => {
                self.failed(&frame, NoVerdictReason::EngineError);
                false
            }
        }
    }

    /// A command names a part. Accepted, it is owed exactly one event. An `early` one came before the line was ready.
    pub fn trigger(
        &self,
        id: &str,
        number: Option<u64>,
        at: Moment,
        early: bool,
    ) -> Result<(Part, Debt), TriggerRefused> {
        let mut book = self.book();
        match book.plan.mode {
            TriggerMode::Software | TriggerMode::Matched => {}
            mode @ (TriggerMode::Free | TriggerMode::Hardware) => return Err(TriggerRefused::Mode(mode)),
        }
        if book.plan.pairing == Pairing::Counter && number.is_none() {
            return Err(TriggerRefused::NoNumber);
        }
        if book.matcher.is_finished() {
            return Err(TriggerRefused::Stopping);
        }
        if book.matcher.is_open(id) {
            return Err(TriggerRefused::Open);
        }
        let part = book.matcher.announce(id.to_owned(), number);
        let debt = self.writer.owe(&part).map_err(TriggerRefused::Refused)?;
        let output = match early {
            true => book.matcher.trigger_in_vain(part.clone(), at, NoVerdictReason::WarmingUp),
            false => book.matcher.trigger(part.clone(), at),
        };
        self.carry_out(book, output);
        Ok((part, debt))
    }

    /// Whether an answer for this frame is still worth having.
    pub fn wants(&self, frame: &Frame) -> bool {
        self.runs_free() || self.book().matcher.wants(frame.seq)
    }

    /// The engine has answered. False when the answer comes too late to be anybody's verdict.
    pub fn judged(&self, frame: &Frame, judged: Judged) -> bool {
        if self.runs_free() {
            let shot = Shot::from(frame);
            self.writer.write(judged.entry(frame.part.clone(), shot));
            return true;
        }
        let now = self.clock.now().monotonic;
        let mut book = self.book();
        // An answer that comes a moment before the deadline thread does is late all the same.
        let mut output = book.matcher.tick(now);
        let counts = book.matcher.wants(frame.seq);
        output.extend(book.matcher.judged(frame.seq, judged));
        self.carry_out(book, output);
        counts
    }

    /// No answer will come for this frame.
    pub fn failed(&self, frame: &Frame, reason: NoVerdictReason) {
        if self.runs_free() {
            return self.writer.give_up(frame, reason, &self.recipe());
        }
        let mut book = self.book();
        let output = book.matcher.failed(frame.seq, reason);
        self.carry_out(book, output);
    }

    /// Gives up what is past its deadline; says when to look again.
    pub fn tick(&self, now: Instant) -> Option<Instant> {
        let mut book = self.book();
        let output = book.matcher.tick(now);
        let due = book.matcher.next_due();
        // The deadline thread knows already.
        book.due = due;
        self.carry_out(book, output);
        due
    }

    /// The camera is gone, for now.
    pub fn camera_lost(&self) {
        let mut book = self.book();
        let output = book.matcher.camera_lost();
        self.carry_out(book, output);
    }

    pub fn camera_back(&self) {
        self.book().matcher.camera_back();
    }

    /// The camera has ended for good: its lane closes when everything in it was taken.
    pub fn close(&self) {
        self.camera_lost();
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Whether the camera's thread is there.
    pub fn is_open(&self) -> bool {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The line ends: nothing is accepted any more, and what has no outcome gets one.
    pub fn finish(&self) {
        let mut book = self.book();
        let output = book.matcher.finish();
        self.carry_out(book, output);
        self.writer.finish();
    }

    fn carry_out(&self, mut book: MutexGuard<'_, Book>, output: Vec<Output<Frame, Judged>>) -> bool {
        let mut served = Vec::new();
        for output in output {
            match output {
                Output::Serve { part, mut frame } => {
                    frame.part = Some(part);
                    self.shown.iter().for_each(|shown| shown.put(&frame));
                    served.push(frame);
                }
                Output::Forget { seq } => {
                    tracing::trace!(camera = %self.camera, frame = seq, "nobody asked for this frame");
                }
                Output::Tell { part, triggered, shot, outcome } => {
                    let due = book.plan.deadline.map(|deadline| triggered.monotonic + deadline);
                    self.tell(part, (triggered, due), shot, outcome);
                }
            }
        }
        // Told while the book is held: see `arrange`.
        self.served.fetch_add(served.len(), Ordering::AcqRel);
        let due = book.matcher.next_due();
        let sooner = due.is_some_and(|due| book.due.is_none_or(|known| due < known));
        book.due = due;
        drop(book);
        if sooner && self.bell.try_send(()).is_err() {
            tracing::trace!("the deadline thread has been woken already");
        }
        let mut taken = true;
        for frame in served {
            taken &= self.push(frame);
            self.served.fetch_sub(1, Ordering::AcqRel);
        }
        taken
    }

    fn tell(
        &self,
        part: Part,
        (triggered, due): (Moment, Option<Instant>),
        shot: Option<Shot>,
        outcome: Outcome<Judged>,
    ) {
        let image = shot.as_ref().and_then(|shot| self.shown.as_ref()?.take(shot.seq));
        match (outcome, shot) {
            (Outcome::Verdict(judged), Some(shot)) => {
                self.writer.write(Entry { due, ..judged.entry(Some(part), shot) });
            }
            // A verdict without a frame cannot be: the matcher decides by frames.
            (Outcome::Verdict(_), None) => {}
            (Outcome::NoVerdict(reason), shot) => {
                let begun = shot.as_ref().map_or(triggered, |shot| shot.captured);
                let waited = self.clock.now().monotonic.saturating_duration_since(begun.monotonic);
                let inspection = no_verdict(reason);
                let kept = self.writer.look(inspection.verdict, image.as_ref().map(|image| (image, None)));
                self.writer.write(Entry {
                    kept,
                    part: Some(part),
                    shot,
                    begun,
                    due,
                    inspection,
                    waited,
                    times: StageTimes::default(),
                    recipe: &self.recipe(),
                    memory: None,
                });
            }
        }
    }

    /// What frames are judged by from now on.
    pub fn recipe(&self) -> Arc<RecipeSpec> {
        self.settings.recipe()
    }

    /// The camera is to go on in another way: what it has in hand is finished first, and nothing new is begun.
    pub fn settle(&self) {
        let mut book = self.book();
        let mut output = book.matcher.forget_all();
        output.extend(book.matcher.camera_lost());
        self.carry_out(book, output);
    }

    /// Goes on in this way with frame `next_seq` and by the settings up to change `number`, as soon as all that was in hand is answered and told. False before.
    pub fn arrange(&self, Arrangement { queue, when_full, trigger }: Arrangement, number: u64, next_seq: u64) -> bool {
        let mut book = self.book();
        let lane = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let idle = lane.as_ref().is_none_or(|lane| lane.is_idle())
            && book.matcher.counters().open == 0
            && self.served.load(Ordering::Acquire) == 0;
        if !idle || !self.writer.offer_again() {
            return false;
        }
        lane.iter().for_each(|lane| lane.arrange(queue, when_full));
        self.writer.can_wait(when_full == WhenFull::Wait);
        book.matcher.go_on(trigger, next_seq);
        book.plan = trigger;
        self.settings.arrive(number);
        true
    }
}

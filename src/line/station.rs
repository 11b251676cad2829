//! One station per camera: frames, triggers and answers come in, and what the matcher decides is carried out.
//!
//! Outcomes are told while the matcher is locked, so that they leave in its order: the sink never waits. Whatever may wait
//! does so outside the lock: frames are pushed after it, because a queue that waits for the engine would otherwise keep the
//! engine's answers waiting; and a camera that can wait offers again, in its own thread, what the sink had no room for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crossbeam_channel::Sender;

use super::damaged::DamagedFrames;
use super::event_writer::{Entry, EventWriter, LineContext};
use super::handover::HandOver;
use super::judged::Judged;
use super::last_picture::LastPicture;
use super::locating::LocatePlan;
use super::parts::{Matcher, Outcome, Output, Pairing, PartCounters, Shot, TriggerMode, TriggerPlan};
use super::plan::CameraPlan;
use super::queue::{FrameQueue, Pushed, WhenFull};
use super::recipe::{RecipeError, RecipeSpec, no_verdict};
use super::shown::Shown;
use super::sink::{Debt, Refused};
use super::used::{RECIPES, THRESHOLDS, Trouble, Used};
use crate::anomaly::StageTimes;
use crate::clock::{Clock, ClockSource, Moment};
use crate::drift::Baseline;
use crate::event::ModelInfo;
use crate::frame::{Frame, Part};
use crate::memory::{Memory, MemoryError};
use crate::source::SourceError;
use crate::verdict::NoVerdictReason;
use crate::view::{Transform, ViewSpec};

struct Recipes {
    configured: Used,
    current: Used,
    /// Columns and rows of the last frame.
    size: Option<(u32, u32)>,
    /// Why what came by command has given way to what is configured.
    gave_way: Option<String>,
}

struct Book {
    matcher: Matcher<Frame, Judged>,
    /// What the deadline thread knows to wait for.
    due: Option<Instant>,
}

/// One camera's triggers, frames and answers.
pub(super) struct Station {
    camera: Arc<str>,
    plan: TriggerPlan,
    view: ViewSpec,
    writer: EventWriter,
    clock: Arc<dyn Clock>,
    /// Wakes the deadline thread.
    bell: Sender<()>,
    /// Frames that their source calls damaged.
    pub damaged_frames: DamagedFrames,
    queue: Mutex<Option<Arc<FrameQueue>>>,
    book: Mutex<Book>,
    recipes: Mutex<Recipes>,
    /// How its parts are found.
    pub locate: Option<LocatePlan>,
    /// The picture that was inspected last.
    pub picture: LastPicture,
    /// Whoever learns from the parts.
    pub hand_over: HandOver,
    /// For the archive, where there is one.
    shown: Option<Shown>,
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
        let (configured, current) = (plan.configured(), plan.used());
        Self {
            camera: Arc::clone(&plan.name),
            plan: plan.trigger,
            view: plan.view.clone(),
            writer: EventWriter::new(Arc::clone(context), Arc::clone(&plan.name), plan.when_full == WhenFull::Wait),
            clock: Arc::clone(&context.clock),
            bell,
            damaged_frames: DamagedFrames::default(),
            queue: Mutex::new(Some(Arc::new(queue))),
            book: Mutex::new(Book { matcher: Matcher::new(plan.trigger), due: None }),
            recipes: Mutex::new(Recipes { configured, current, size: None, gave_way: None }),
            locate: plan.locate.clone(),
            picture: LastPicture::default(),
            hand_over: HandOver::default(),
            shown: context.archive.as_ref().map(|_| Shown::default()),
        }
    }

    pub fn camera(&self) -> &Arc<str> {
        &self.camera
    }

    pub fn writer(&self) -> &EventWriter {
        &self.writer
    }

    /// What of its frames is looked at.
    pub fn view(&self) -> &ViewSpec {
        &self.view
    }

    pub fn plan(&self) -> &TriggerPlan {
        &self.plan
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

    fn recipes(&self) -> MutexGuard<'_, Recipes> {
        self.recipes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn runs_free(&self) -> bool {
        self.plan.mode == TriggerMode::Free
    }

    /// The camera's driver has counted `count` frames up to number `last` that never came.
    pub fn lost(&self, last: u64, count: u64) {
        // Where every frame is a part, each of them has its own event.
        if self.plan.mode != TriggerMode::Hardware || count > Matcher::<Frame, Judged>::MOST_LOST {
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
        if self.plan.mode == TriggerMode::Hardware {
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
        if self.plan.mode != TriggerMode::Hardware {
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
        match self.plan.mode {
            TriggerMode::Software | TriggerMode::Matched => {}
            mode @ (TriggerMode::Free | TriggerMode::Hardware) => return Err(TriggerRefused::Mode(mode)),
        }
        if self.plan.pairing == Pairing::Counter && number.is_none() {
            return Err(TriggerRefused::NoNumber);
        }
        let mut book = self.book();
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
                Output::Tell { part, triggered, shot, outcome } => self.tell(part, triggered, shot, outcome),
            }
        }
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
        }
        taken
    }

    fn tell(&self, part: Part, triggered: Moment, shot: Option<Shot>, outcome: Outcome<Judged>) {
        let due = self.plan.deadline.map(|deadline| triggered.monotonic + deadline);
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
        Arc::clone(&self.recipes().current.recipe)
    }

    /// What joins the model's maps from the next frame on.
    pub fn memory(&self) -> Option<Arc<Memory>> {
        self.recipes().current.memory.clone()
    }

    /// What pictures are compared with, if with anything.
    pub fn baseline(&self) -> Option<Arc<Baseline>> {
        self.recipes().current.picture.clone()
    }

    /// All that belongs to the recipe in use.
    pub fn used(&self) -> Used {
        self.recipes().current.clone()
    }

    /// Columns and rows of the last frame, once there was one.
    pub fn frame_size(&self) -> Option<(u32, u32)> {
        self.recipes().size
    }

    /// All of it at once: no frame is judged by one of them and the other's predecessor.
    pub fn change(&self, used: Used) {
        let mut recipes = self.recipes();
        (recipes.current, recipes.gave_way) = (used, None);
    }

    /// What frames are judged by that the engine looks at now.
    pub fn in_use(&self) -> (Arc<RecipeSpec>, Option<Arc<Memory>>) {
        let recipes = self.recipes();
        (Arc::clone(&recipes.current.recipe), recipes.current.memory.clone())
    }

    /// Whether what came by command has given way to what is configured.
    pub fn gave_way(&self) -> bool {
        self.recipes().gave_way.is_some()
    }

    /// Errors where the memory does not fit the model or the frames, so that there are no verdicts.
    pub fn judges(&self, model: &ModelInfo) -> Result<(), MemoryError> {
        let recipes = self.recipes();
        recipes.current.judges(model, recipes.size)
    }

    /// What ails what frames are judged by.
    pub fn troubles(&self, model: &ModelInfo) -> Vec<Trouble> {
        let recipes = self.recipes();
        let Recipes { current, size, gave_way, .. } = &*recipes;
        let unfit = current.judges(model, *size).err();
        let unfit = unfit.map(|error| format!("camera '{}' gets no verdicts without its memory: {error}", self.camera));
        let doubt = current.doubt(model).filter(|_| unfit.is_none());
        let all = [(RECIPES, unfit), (RECIPES, gave_way.clone()), (THRESHOLDS, doubt)];
        let named = |(kind, message): (_, Option<_>)| {
            message.map(|message| Trouble { camera: Arc::clone(&self.camera), kind, message })
        };
        all.into_iter().filter_map(named).collect()
    }

    /// Frames of this size come now. A recipe that came by command and does not fit them gives way to the configured one, with
    /// all that belongs to it.
    pub fn frames_have(&self, width: u32, height: u32) -> Result<(), RecipeError> {
        Transform::new(&self.view, (width, height))?;
        self.locate.as_ref().map_or(Ok(()), |plan| plan.locator.fits((width, height)))?;
        let mut recipes = self.recipes();
        recipes.size = Some((width, height));
        let Recipes { configured, current, .. } = &*recipes;
        let Err(error) = current.recipe.fits(width, height) else { return Ok(()) };
        if current.recipe == configured.recipe || configured.recipe.fits(width, height).is_err() {
            return Err(error);
        }
        let text = format!("{error}; the recipe of the settings is used again");
        tracing::error!(camera = %self.camera, "{text}");
        (recipes.current, recipes.gave_way) = (recipes.configured.clone(), Some(text));
        Ok(())
    }
}

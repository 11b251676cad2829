//! The state machine of one camera's parts: exactly one outcome for every trigger, in the order of the triggers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::pairing::{Fit, Offset};
use super::{Outcome, Output, Pairing, PartCounters, Shot, TriggerMode, TriggerPlan};
use crate::clock::Moment;
use crate::frame::Part;
use crate::verdict::NoVerdictReason;

/// Parts without an outcome at most. Beyond, the oldest is given up: whatever holds it up must not cost the memory.
pub(super) const MOST_OPEN: usize = 1024;
/// What a command or a frame may take from its stamp to this place. A frame is kept for its command that long, and a
/// part whose frame could not be stamped any more waits that much longer for one that was.
const GRACE: Duration = Duration::from_millis(250);

/// How far a part has come.
enum Stage<V> {
    AwaitsFrame,
    WithEngine,
    Decided(Outcome<V>),
}

struct Open<V> {
    part: Part,
    triggered: Moment,
    shot: Option<Shot>,
    stage: Stage<V>,
}

struct Spare<F> {
    shot: Shot,
    frame: F,
}

/// What a command finds among the frames that have come.
enum Claim<F> {
    /// Its own.
    Frame(Spare<F>),
    /// Its own may still come.
    NotYet,
    /// Its own will never come.
    Gone(NoVerdictReason),
}

/// Decides what becomes of a camera's triggers and frames. `F` is a frame with its pixels, `V` the engine's answer.
pub struct Matcher<F, V> {
    plan: TriggerPlan,
    /// In the order of the triggers; the first one is undecided.
    open: VecDeque<Open<V>>,
    /// Frames that wait for their command, oldest first. With [`TriggerMode::Matched`] either this is empty or no part
    /// awaits its frame; with [`TriggerMode::Software`] all of them are older than the parts that do.
    spare: VecDeque<Spare<F>>,
    /// The last frame that was let go without a part; all that were let go before it are older.
    forgotten: Option<Shot>,
    /// The last frame that has come.
    newest: Option<Shot>,
    offset: Offset,
    /// Number of the next frame, when every frame is a part.
    next_seq: u64,
    lost: bool,
    paused: bool,
    finished: bool,
    counters: PartCounters,
}

impl<F, V> Matcher<F, V> {
    /// A larger gap in a camera's frame counter is a counter that was set anew, not that many parts.
    pub const MOST_LOST: u64 = 1024;

    /// A camera before its first frame.
    pub fn new(plan: TriggerPlan) -> Self {
        Self {
            plan,
            open: VecDeque::new(),
            spare: VecDeque::new(),
            forgotten: None,
            newest: None,
            offset: Offset::default(),
            next_seq: 0,
            lost: false,
            paused: false,
            finished: false,
            counters: PartCounters::default(),
        }
    }

    /// The part that a command would name: with [`Pairing::Counter`] its own number counts, else ours.
    pub fn announce(&self, id: String, number: Option<u64>) -> Part {
        let counted = self.counters.triggers + 1;
        let trigger = if self.plan.pairing == Pairing::Counter { number.unwrap_or(counted) } else { counted };
        Part { id, trigger }
    }

    /// Whether a part of this name has no outcome yet.
    pub fn is_open(&self, id: &str) -> bool {
        self.open.iter().any(|open| open.part.id == id)
    }

    /// Parts that the frame `seq` would add: those missing before it, and itself. Only where every frame is a part.
    pub fn parts_until(&self, seq: u64, own: Option<Part>) -> Vec<Part> {
        let missing = seq.saturating_sub(self.next_seq);
        let from = if missing <= Self::MOST_LOST { self.next_seq } else { seq };
        (from..seq).map(counted).chain([own.unwrap_or_else(|| counted(seq))]).collect()
    }

    /// A command has named a part.
    pub fn trigger(&mut self, part: Part, at: Moment) -> Vec<Output<F, V>> {
        let mut out = Vec::new();
        self.offset.trigger(part.trigger);
        let without = |reason| Stage::Decided(Outcome::NoVerdict(reason));
        if self.paused {
            self.push(part, at, None, without(NoVerdictReason::Paused));
        } else {
            match self.claim(part.trigger, at, &mut out) {
                Claim::Frame(spare) => {
                    self.push(part.clone(), at, Some(spare.shot), Stage::WithEngine);
                    out.push(Output::Serve { part, frame: spare.frame });
                }
                Claim::Gone(reason) => self.push(part, at, None, without(reason)),
                Claim::NotYet if self.lost => self.push(part, at, None, without(NoVerdictReason::CameraLost)),
                Claim::NotYet => self.push(part, at, None, Stage::AwaitsFrame),
            }
        }
        self.settle(&mut out);
        out
    }

    /// A command has named a part that cannot be inspected.
    pub fn trigger_in_vain(&mut self, part: Part, at: Moment, reason: NoVerdictReason) -> Vec<Output<F, V>> {
        let mut out = Vec::new();
        self.offset.trigger(part.trigger);
        self.push(part, at, None, Stage::Decided(Outcome::NoVerdict(reason)));
        self.settle(&mut out);
        out
    }

    /// A frame has come. Its own part, where its source knows it, replaces the counted one.
    pub fn frame(&mut self, shot: Shot, frame: F, own: Option<Part>) -> Vec<Output<F, V>> {
        let mut out = Vec::new();
        match self.plan.mode {
            TriggerMode::Free | TriggerMode::Hardware => self.every_frame_is_a_part(shot, frame, own, &mut out),
            TriggerMode::Software | TriggerMode::Matched => self.find_part(shot, frame, &mut out),
        }
        self.settle(&mut out);
        out
    }

    /// Frame `seq` has come and shows nothing: its part, where every frame is one, has no verdict; another mode's parts go
    /// on waiting.
    pub fn frame_in_vain(
        &mut self,
        seq: u64,
        at: Moment,
        shot: Option<Shot>,
        reason: NoVerdictReason,
    ) -> Vec<Output<F, V>> {
        let mut out = Vec::new();
        if self.plan.mode == TriggerMode::Hardware {
            let mut parts = self.parts_until(seq, None);
            self.next_seq = seq + 1;
            let own = parts.pop();
            for missing in parts {
                let lost = Outcome::NoVerdict(NoVerdictReason::CameraLost);
                self.push(missing, at, None, Stage::Decided(lost));
            }
            if let Some(part) = own {
                self.push(part, at, shot, Stage::Decided(Outcome::NoVerdict(reason)));
            }
        }
        self.settle(&mut out);
        out
    }

    fn every_frame_is_a_part(&mut self, shot: Shot, frame: F, own: Option<Part>, out: &mut Vec<Output<F, V>>) {
        let mut parts = self.parts_until(shot.seq, own);
        self.next_seq = shot.seq + 1;
        let Some(part) = parts.pop() else { return };
        for missing in parts {
            let lost = Outcome::NoVerdict(NoVerdictReason::CameraLost);
            self.push(missing, shot.captured, None, Stage::Decided(lost));
        }
        if self.paused {
            let paused = Outcome::NoVerdict(NoVerdictReason::Paused);
            self.push(part, shot.captured, Some(shot), Stage::Decided(paused));
        } else {
            self.push(part.clone(), shot.captured, Some(shot), Stage::WithEngine);
            out.push(Output::Serve { part, frame });
        }
    }

    fn fit(&self, command: (u64, Moment), shot: &Shot) -> Fit {
        self.offset.fit(&self.plan, command, (shot.seq, shot.captured))
    }

    /// A frame goes to the first part that awaits it, else it waits for its command; while paused none is to be expected.
    fn find_part(&mut self, shot: Shot, frame: F, out: &mut Vec<Output<F, V>>) {
        self.newest = Some(shot.clone());
        for at in 0..self.open.len() {
            if !matches!(self.open[at].stage, Stage::AwaitsFrame) {
                continue;
            }
            let command = (self.open[at].part.trigger, self.open[at].triggered);
            match self.fit(command, &shot) {
                Fit::Pair => {
                    self.offset.learn(command.0, shot.seq);
                    return self.serve(at, shot, frame, out);
                }
                // A command that was stamped earlier may still be on its way.
                Fit::FrameIsOlder if self.plan.mode == TriggerMode::Software => {}
                Fit::FrameIsOlder => return self.forget(shot, out),
                Fit::FrameIsNewer => self.decide(at, NoVerdictReason::CameraLost),
            }
        }
        self.spare.push_back(Spare { shot, frame });
        let most = if self.paused { 0 } else { self.plan.held.max(1) };
        while self.spare.len() > most {
            self.forget_spare(out);
        }
    }

    /// The frame that a command means: the oldest that fits and no earlier command has. When a frame that fits, or a
    /// newer one, was let go, nobody can say any more which one it meant.
    fn claim(&mut self, number: u64, at: Moment, out: &mut Vec<Output<F, V>>) -> Claim<F> {
        let command = (number, at);
        if self.forgotten.as_ref().is_some_and(|shot| self.fit(command, shot) != Fit::FrameIsOlder) {
            return Claim::Gone(NoVerdictReason::Overrun);
        }
        if self.plan.mode == TriggerMode::Matched {
            // Commands come in the parts' order: frames before this one's are nobody's.
            while self.spare.front().is_some_and(|spare| self.fit(command, &spare.shot) == Fit::FrameIsOlder) {
                self.forget_spare(out);
            }
        }
        let own = self.spare.iter().position(|spare| self.fit(command, &spare.shot) == Fit::Pair);
        if let Some(spare) = own.and_then(|own| self.spare.remove(own)) {
            self.offset.learn(number, spare.shot.seq);
            return Claim::Frame(spare);
        }
        // Frames come in order: after a newer one this command's own will not come.
        match self.newest.as_ref().is_some_and(|shot| self.fit(command, shot) == Fit::FrameIsNewer) {
            true => Claim::Gone(NoVerdictReason::CameraLost),
            false => Claim::NotYet,
        }
    }

    /// The queue gave the frame up.
    pub fn dropped(&mut self, seq: u64) -> Vec<Output<F, V>> {
        self.failed(seq, NoVerdictReason::Overrun)
    }

    /// No answer will come for this frame.
    pub fn failed(&mut self, seq: u64, reason: NoVerdictReason) -> Vec<Output<F, V>> {
        self.answer(seq, Outcome::NoVerdict(reason))
    }

    /// The engine's answer. One that comes after its part was given up is counted and goes nowhere.
    pub fn judged(&mut self, seq: u64, verdict: V) -> Vec<Output<F, V>> {
        self.answer(seq, Outcome::Verdict(verdict))
    }

    fn answer(&mut self, seq: u64, outcome: Outcome<V>) -> Vec<Output<F, V>> {
        let mut out = Vec::new();
        match self.with_engine(seq) {
            Some(at) => self.open[at].stage = Stage::Decided(outcome),
            None => self.counters.late += u64::from(matches!(outcome, Outcome::Verdict(_))),
        }
        self.settle(&mut out);
        out
    }

    /// Whether an answer for this frame is still worth having.
    pub fn wants(&self, seq: u64) -> bool {
        self.with_engine(seq).is_some()
    }

    /// Time has come this far: parts past their deadline are given up, frames that wait for a command too long are too.
    pub fn tick(&mut self, now: Instant) -> Vec<Output<F, V>> {
        let mut out = Vec::new();
        for at in 0..self.open.len() {
            if self.due(&self.open[at]).is_none_or(|due| due > now) {
                continue;
            }
            match self.open[at].stage {
                Stage::AwaitsFrame => self.decide(at, NoVerdictReason::CameraLost),
                Stage::WithEngine => self.decide(at, NoVerdictReason::Deadline),
                Stage::Decided(_) => {}
            }
        }
        while self.spare.front().is_some_and(|spare| self.stale(spare) <= now) {
            self.forget_spare(&mut out);
        }
        self.settle(&mut out);
        out
    }

    /// When [`Matcher::tick`] has something to do next.
    pub fn next_due(&self) -> Option<Instant> {
        let undecided = self.open.iter().filter(|open| !matches!(open.stage, Stage::Decided(_)));
        let parts = undecided.filter_map(|open| self.due(open)).min();
        parts.into_iter().chain(self.spare.front().map(|spare| self.stale(spare))).min()
    }

    /// The camera is gone, or has ended: parts that await a frame are owed none, and neither are those to come.
    pub fn camera_lost(&mut self) -> Vec<Output<F, V>> {
        let mut out = Vec::new();
        self.lost = true;
        self.offset.forget();
        while let Some(at) = self.first_awaiting() {
            self.decide(at, NoVerdictReason::CameraLost);
        }
        self.settle(&mut out);
        out
    }

    /// The line ends: whatever is undecided is given up, for want of a frame or of an answer.
    pub fn finish(&mut self) -> Vec<Output<F, V>> {
        let mut out = self.camera_lost();
        self.finished = true;
        for at in 0..self.open.len() {
            if matches!(self.open[at].stage, Stage::WithEngine) {
                self.decide(at, NoVerdictReason::EngineError);
            }
        }
        self.settle(&mut out);
        out
    }

    /// Frames that wait for their command are nobody's.
    pub fn forget_all(&mut self) -> Vec<Output<F, V>> {
        let mut out = Vec::new();
        while !self.spare.is_empty() {
            self.forget_spare(&mut out);
        }
        out
    }

    /// Parts come in another way from frame `next_seq` on; none is open. What is counted goes on.
    pub fn go_on(&mut self, plan: TriggerPlan, next_seq: u64) {
        let Self { lost, paused, finished, counters, .. } = *self;
        *self = Self { next_seq, lost, paused, finished, counters, ..Self::new(plan) };
    }

    /// The camera delivers again.
    pub fn camera_back(&mut self) {
        self.lost = false;
    }

    /// While paused, parts get [`NoVerdictReason::Paused`]; those that were triggered before are finished.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Whether the line has ended here.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Whether inspection is paused.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// How parts are doing.
    pub fn counters(&self) -> PartCounters {
        PartCounters { open: self.open.len(), ..self.counters }
    }

    fn push(&mut self, part: Part, triggered: Moment, shot: Option<Shot>, stage: Stage<V>) {
        self.counters.triggers += 1;
        self.open.push_back(Open { part, triggered, shot, stage });
    }

    fn serve(&mut self, at: usize, shot: Shot, frame: F, out: &mut Vec<Output<F, V>>) {
        let open = &mut self.open[at];
        (open.shot, open.stage) = (Some(shot), Stage::WithEngine);
        out.push(Output::Serve { part: open.part.clone(), frame });
    }

    fn decide(&mut self, at: usize, reason: NoVerdictReason) {
        self.open[at].stage = Stage::Decided(Outcome::NoVerdict(reason));
    }

    fn forget(&mut self, shot: Shot, out: &mut Vec<Output<F, V>>) {
        self.counters.unclaimed += 1;
        out.push(Output::Forget { seq: shot.seq });
        self.forgotten = Some(shot);
    }

    fn forget_spare(&mut self, out: &mut Vec<Output<F, V>>) {
        if let Some(spare) = self.spare.pop_front() {
            self.forget(spare.shot, out);
        }
    }

    fn first_awaiting(&self) -> Option<usize> {
        self.open.iter().position(|open| matches!(open.stage, Stage::AwaitsFrame))
    }

    fn with_engine(&self, seq: u64) -> Option<usize> {
        let is = |open: &Open<V>| {
            matches!(open.stage, Stage::WithEngine) && open.shot.as_ref().is_some_and(|shot| shot.seq == seq)
        };
        self.open.iter().position(is)
    }

    /// When this part is given up unless something comes for it.
    fn due(&self, open: &Open<V>) -> Option<Instant> {
        let at = open.triggered.monotonic;
        let by_time = self.plan.mode == TriggerMode::Matched && self.plan.pairing == Pairing::Time;
        // Its frame would have been stamped by then, and be here. A counter finds its frame however late that is.
        let frame = matches!(open.stage, Stage::AwaitsFrame) && by_time;
        let frame = frame.then(|| at + self.plan.window + GRACE);
        frame.into_iter().chain(self.plan.deadline.map(|deadline| at + deadline)).min()
    }

    /// From when on no command for this frame is to be expected.
    fn stale(&self, spare: &Spare<F>) -> Instant {
        let patience = match self.plan.pairing {
            Pairing::Time if self.plan.mode == TriggerMode::Software => GRACE,
            Pairing::Time => self.plan.window + GRACE,
            // Counters find each other however late the command is, as long as somebody still waits for the verdict.
            Pairing::Counter => self.plan.deadline.unwrap_or(TriggerPlan::DEADLINE),
        };
        spare.shot.captured.monotonic + patience
    }

    /// Keeps the bound, then tells what is decided, in order.
    fn settle(&mut self, out: &mut Vec<Output<F, V>>) {
        loop {
            while let Some(Open { stage: Stage::Decided(_), .. }) = self.open.front() {
                if let Some(Open { part, triggered, shot, stage: Stage::Decided(outcome) }) = self.open.pop_front() {
                    out.push(Output::Tell { part, triggered, shot, outcome });
                }
            }
            if self.open.len() <= MOST_OPEN {
                return;
            }
            self.decide(0, NoVerdictReason::Overrun);
        }
    }
}

/// The part that frame `seq` is, where nobody else names it.
fn counted(seq: u64) -> Part {
    let trigger = seq + 1;
    Part { id: trigger.to_string(), trigger }
}

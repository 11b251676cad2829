//! What becomes of parts and frames, stated over everything that ever happened.

use std::ops::Range;

use crate::line::parts::{Pairing, TriggerMode, TriggerPlan};

pub const WINDOW: u64 = 40;
pub const DEADLINE: u64 = 320;
pub const GRACE: u64 = 250;
pub const HELD: usize = 3;

#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    Awaits,
    Engine(u64),
    Done(String),
}

pub struct Known {
    pub id: String,
    pub number: u64,
    pub at: u64,
    pub fate: Fate,
}

/// A frame that once came; whether a part has it, and whether it was let go.
pub struct Seen {
    pub seq: u64,
    pub captured: u64,
    pub taken: bool,
    pub gone: bool,
}

/// Everything that ever happened; what was told is a prefix of `parts`.
pub struct Model {
    pub plan: TriggerPlan,
    pub parts: Vec<Known>,
    pub told: usize,
    pub frames: Vec<Seen>,
    pub difference: Option<i64>,
    pub last: Option<u64>,
    pub expected: u64,
    pub lost: bool,
    pub paused: bool,
    pub late: u64,
}

impl Model {
    pub fn new(plan: TriggerPlan) -> Self {
        Self {
            plan,
            parts: vec![],
            told: 0,
            frames: vec![],
            difference: None,
            last: None,
            expected: 0,
            lost: false,
            paused: false,
            late: 0,
        }
    }

    pub fn by_counter(&self) -> bool {
        self.plan.pairing == Pairing::Counter
    }

    /// Negative: the frame is too old for the command; positive: too new.
    fn fit(&self, part: usize, frame: usize) -> i64 {
        let (part, frame) = (&self.parts[part], &self.frames[frame]);
        match self.difference {
            _ if self.plan.mode == TriggerMode::Software => -i64::from(frame.captured < part.at),
            Some(difference) if self.by_counter() => frame.seq as i64 + difference - part.number as i64,
            _ if frame.captured > part.at + WINDOW => 1,
            _ if frame.captured + WINDOW < part.at => -1,
            _ => 0,
        }
    }

    fn add(&mut self, id: String, number: u64, at: u64, fate: Fate) {
        self.parts.push(Known { id, number, at, fate });
    }

    /// What becomes of a part by these frames, of all that ever came:
    /// - one that fits or is newer was let go: nobody knows any more which one was meant;
    /// - else the first that fits and no part has is its own;
    /// - else one that is newer says that its own is lost.
    fn find(&mut self, part: usize, frames: Range<usize>, said: &mut Vec<String>) {
        let free = |model: &Self, frame: usize| !model.frames[frame].taken && !model.frames[frame].gone;
        let mut known = frames.clone();
        if known.any(|frame| self.frames[frame].gone && self.fit(part, frame) >= 0) {
            self.parts[part].fate = Fate::Done("overrun".into());
        } else if let Some(own) = frames.clone().find(|&frame| free(self, frame) && self.fit(part, frame) == 0) {
            self.forget_older(part, frames, said);
            let seq = self.frames[own].seq;
            self.frames[own].taken = true;
            self.difference = Some(self.parts[part].number as i64 - seq as i64);
            said.push(format!("serve {} {seq}", self.parts[part].id));
            self.parts[part].fate = Fate::Engine(seq);
        } else {
            self.forget_older(part, frames.clone(), said);
            let mut known = frames;
            if known.any(|frame| self.fit(part, frame) > 0) {
                self.parts[part].fate = Fate::Done("camera_lost".into());
            }
        }
    }

    /// Commands of matched parts come in the parts' order: nobody will name a frame that is too old for one of them.
    fn forget_older(&mut self, part: usize, frames: Range<usize>, said: &mut Vec<String>) {
        if self.plan.mode == TriggerMode::Matched {
            self.forget(said, frames, |model, frame| model.fit(part, frame) < 0);
        }
    }

    fn forget(&mut self, said: &mut Vec<String>, frames: Range<usize>, which: impl Fn(&Self, usize) -> bool) {
        for frame in frames {
            let free = !self.frames[frame].taken && !self.frames[frame].gone;
            if free && which(self, frame) {
                self.frames[frame].gone = true;
                said.push(format!("forget {}", self.frames[frame].seq));
            }
        }
    }

    /// Only so many frames wait for their commands, and none while paused.
    fn forget_most(&mut self, said: &mut Vec<String>) {
        let free: Vec<usize> =
            (0..self.frames.len()).filter(|&frame| !self.frames[frame].taken && !self.frames[frame].gone).collect();
        let most = if self.paused { 0 } else { HELD };
        let kept = free.len().saturating_sub(most);
        free[..kept].iter().for_each(|&frame| self.forget(said, frame..frame + 1, |_, _| true));
    }

    pub fn trigger(&mut self, id: String, number: u64, at: u64) -> Vec<String> {
        let mut said = vec![];
        if self.last.is_some_and(|last| last >= number) {
            self.difference = None;
        }
        self.last = Some(number);
        self.add(id, number, at, Fate::Awaits);
        let part = self.parts.len() - 1;
        if self.paused {
            self.parts[part].fate = Fate::Done("paused".into());
        } else {
            self.find(part, 0..self.frames.len(), &mut said);
            if self.lost && self.parts[part].fate == Fate::Awaits {
                self.parts[part].fate = Fate::Done("camera_lost".into());
            }
        }
        said.extend(self.tell());
        said
    }

    pub fn frame(&mut self, seq: u64, now: u64) -> Vec<String> {
        let mut said = vec![];
        match self.plan.mode {
            TriggerMode::Free | TriggerMode::Hardware => {
                for missing in self.expected..seq {
                    self.add((missing + 1).to_string(), 0, now, Fate::Done("camera_lost".into()));
                }
                self.expected = seq + 1;
                let id = (seq + 1).to_string();
                if self.paused {
                    self.add(id, 0, now, Fate::Done("paused".into()));
                } else {
                    said.push(format!("serve {id} {seq}"));
                    self.add(id, 0, now, Fate::Engine(seq));
                }
            }
            TriggerMode::Software | TriggerMode::Matched => {
                self.frames.push(Seen { seq, captured: now, taken: false, gone: false });
                let new = self.frames.len() - 1;
                for part in 0..self.parts.len() {
                    let Seen { taken, gone, .. } = self.frames[new];
                    if self.parts[part].fate == Fate::Awaits && !taken && !gone {
                        self.find(part, new..new + 1, &mut said);
                    }
                }
                if !self.frames[new].taken {
                    self.forget_most(&mut said);
                }
            }
        }
        said.extend(self.tell());
        said
    }

    pub fn answer(&mut self, seq: u64, what: &str, verdict: bool) -> Vec<String> {
        match self.parts.iter_mut().find(|part| part.fate == Fate::Engine(seq)) {
            Some(part) => part.fate = Fate::Done(what.into()),
            None => self.late += u64::from(verdict),
        }
        self.tell()
    }

    pub fn tick(&mut self, now: u64) -> Vec<String> {
        let mut said = vec![];
        let by_time = self.plan.mode == TriggerMode::Matched && !self.by_counter();
        for part in &mut self.parts {
            match part.fate {
                Fate::Awaits if by_time && part.at + WINDOW + GRACE <= now => {
                    part.fate = Fate::Done("camera_lost".into());
                }
                Fate::Awaits if part.at + DEADLINE <= now => part.fate = Fate::Done("camera_lost".into()),
                Fate::Engine(_) if part.at + DEADLINE <= now => part.fate = Fate::Done("deadline".into()),
                _ => {}
            }
        }
        let patience = match self.plan.mode {
            TriggerMode::Software => GRACE,
            _ if self.by_counter() => DEADLINE,
            _ => WINDOW + GRACE,
        };
        let old = |model: &Self, frame: usize| model.frames[frame].captured + patience <= now;
        self.forget(&mut said, 0..self.frames.len(), old);
        said.extend(self.tell());
        said
    }

    pub fn lost(&mut self) -> Vec<String> {
        self.lost = true;
        self.difference = None;
        for part in self.parts.iter_mut().filter(|part| part.fate == Fate::Awaits) {
            part.fate = Fate::Done("camera_lost".into());
        }
        self.tell()
    }

    fn tell(&mut self) -> Vec<String> {
        let mut said = vec![];
        while let Some(Known { id, fate: Fate::Done(what), .. }) = self.parts.get(self.told) {
            said.push(format!("tell {id} {what}"));
            self.told += 1;
        }
        said
    }
}

//! Parts and their triggers: which frame shows which part, and the one outcome that each part is owed.
//!
//! ```text
//! trigger ─┐                                   ┌─▶ Serve: this frame goes to the engine, for this part
//! frame   ─┤                                   │
//! tick    ─┼─▶ Matcher (pure, one per camera) ─┼─▶ Forget: nobody asked for this frame
//! dropped ─┤                                   │
//! judged  ─┘                                   └─▶ Tell: the outcome of a part, in the order of the triggers
//! ```
//! [`Matcher`] holds no clock, no thread and no channel; `line::station` brings the inputs and carries out the outputs.

mod matcher;
mod pairing;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{ClockSource, Moment};
use crate::frame::{Frame, Part};
use crate::verdict::NoVerdictReason;

pub use matcher::Matcher;

/// Where a camera's parts come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TriggerMode {
    /// The camera runs free: every frame is inspected, no frame is a part unless its source says so.
    #[default]
    Free,
    /// A signal at the camera triggers it: every frame is a part, and so is every gap in the camera's frame counter.
    Hardware,
    /// A command triggers: the first frame captured after it shows the part, also when the command is carried out late;
    /// when that frame was let go by then, there is no verdict. Frames nobody asked for are not inspected.
    Software,
    /// A signal triggers the camera and a command names the part, before or after its frame.
    Matched,
}

/// How a frame finds the command that names its part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pairing {
    /// In order, and no further apart than the window. Sound as long as parts come at more than twice the window.
    #[default]
    Time,
    /// By the commands' own counter and the camera's frame counter. The first pair after a start, a lost camera or a
    /// counter that ran backwards is found by time and fixes the difference of the counters; from then on it decides.
    Counter,
}

/// How a camera is triggered, resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TriggerPlan {
    /// Where parts come from.
    pub mode: TriggerMode,
    /// Only with [`TriggerMode::Matched`].
    pub pairing: Pairing,
    /// Longest time between a frame and the command that names it.
    pub window: Duration,
    /// From trigger (or capture, with [`TriggerMode::Hardware`]) to the moment when the part is given up; `None` waits
    /// for the engine however long it takes.
    pub deadline: Option<Duration>,
    /// Frames that may wait for their command, at least 1; with their pixels.
    pub held: usize,
}

impl TriggerPlan {
    /// The window when none is given.
    pub const WINDOW: Duration = Duration::from_millis(50);
    /// The deadline of parts that commands name, when none is given.
    pub const DEADLINE: Duration = Duration::from_secs(10);

    /// A camera that nothing triggers.
    pub const fn free() -> Self {
        Self { mode: TriggerMode::Free, pairing: Pairing::Time, window: Self::WINDOW, deadline: None, held: 4 }
    }

    /// A camera whose every frame is a part.
    pub const fn hardware(deadline: Option<Duration>) -> Self {
        Self { mode: TriggerMode::Hardware, deadline, ..Self::free() }
    }
}

/// What is remembered of a frame after its pixels have moved on.
#[derive(Clone, Debug)]
pub struct Shot {
    /// The camera's frame counter.
    pub seq: u64,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// When it was captured.
    pub captured: Moment,
    /// Which clock said so.
    pub clock: ClockSource,
    /// The file it came from, if any.
    pub file: Option<Arc<str>>,
}

impl From<&Frame> for Shot {
    fn from(frame: &Frame) -> Self {
        Self {
            seq: frame.seq,
            width: frame.image.width,
            height: frame.image.height,
            captured: frame.captured,
            clock: frame.clock,
            file: frame.file.clone(),
        }
    }
}

/// How a part ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<V> {
    /// The engine's answer.
    Verdict(V),
    /// There is none.
    NoVerdict(NoVerdictReason),
}

/// What is to be done.
#[derive(Debug)]
pub enum Output<F, V> {
    /// The frame goes to the engine.
    Serve {
        /// The part it shows.
        part: Part,
        /// The frame.
        frame: F,
    },
    /// The frame shows no part; it is not inspected.
    Forget {
        /// Its number.
        seq: u64,
    },
    /// The one outcome of a part; in the order of the triggers.
    Tell {
        /// The part.
        part: Part,
        /// When it was triggered.
        triggered: Moment,
        /// Its frame, when it came.
        shot: Option<Shot>,
        /// How it ended.
        outcome: Outcome<V>,
    },
}

/// How parts are doing, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PartCounters {
    /// Parts accepted.
    pub triggers: u64,
    /// Parts without an outcome yet.
    pub open: usize,
    /// Answers of the engine that came after their part had been given up.
    pub late: u64,
    /// Frames that no command asked for.
    pub unclaimed: u64,
}

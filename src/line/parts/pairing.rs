//! The rule by which a frame and the command that names its part find each other.

use super::{Pairing, TriggerMode, TriggerPlan};
use crate::clock::Moment;

/// Where a frame lies, seen from a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// They belong together.
    Pair,
    /// The frame came too early to be the one that the command means.
    FrameIsOlder,
    /// The frame came too late: the one that the command means never came.
    FrameIsNewer,
}

/// Remembers how the two counters differ.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offset {
    /// Trigger number minus frame number.
    difference: Option<i128>,
    last_trigger: Option<u64>,
}

impl Offset {
    /// The counters start anew; the next pair is found by time.
    pub fn forget(&mut self) {
        self.difference = None;
    }

    /// A command with this number has come. Numbers that do not grow are those of a controller that was restarted.
    pub fn trigger(&mut self, number: u64) {
        if self.last_trigger.is_some_and(|last| number <= last) {
            self.forget();
        }
        self.last_trigger = Some(number);
    }

    /// These two belong together.
    pub fn learn(&mut self, number: u64, seq: u64) {
        self.difference = Some(i128::from(number) - i128::from(seq));
    }

    /// Where frame `seq` lies, seen from the command `number`.
    pub fn fit(&self, plan: &TriggerPlan, (number, at): (u64, Moment), (seq, captured): (u64, Moment)) -> Fit {
        if plan.mode == TriggerMode::Software {
            return if captured.monotonic < at.monotonic { Fit::FrameIsOlder } else { Fit::Pair };
        }
        match (plan.pairing, self.difference) {
            (Pairing::Counter, Some(difference)) => match (i128::from(seq) + difference).cmp(&i128::from(number)) {
                std::cmp::Ordering::Equal => Fit::Pair,
                std::cmp::Ordering::Less => Fit::FrameIsOlder,
                std::cmp::Ordering::Greater => Fit::FrameIsNewer,
            },
            _ if captured.monotonic > at.monotonic + plan.window => Fit::FrameIsNewer,
            _ if captured.monotonic + plan.window < at.monotonic => Fit::FrameIsOlder,
            _ => Fit::Pair,
        }
    }
}

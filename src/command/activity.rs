//! Commands that look at many parts before they are done: a calibration, a memory to be learnt.

use serde::Deserialize;

use super::{CommandError, payload};

/// Parts that one command may look at; a promise of 0.1 % needs 2,995, and comparing all of them with each other takes longer
/// with every one.
pub const MOST_PARTS: u32 = 10_000;

/// Find thresholds from the next good parts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibrate {
    /// Which camera; may be left out on a line with one.
    #[serde(default, deserialize_with = "payload::name_or_none")]
    pub camera: Option<String>,
    /// How many parts; absent: as many as the promise needs.
    #[serde(default, deserialize_with = "payload::number_or_none")]
    pub parts: Option<u32>,
    /// Share of good parts that may be rejected, above 0 and below 1; absent: 0.05.
    #[serde(default, deserialize_with = "payload::number_or_none")]
    pub false_rejects: Option<f64>,
    /// Confidence in that, above 0 and below 1; absent: 0.95.
    #[serde(default, deserialize_with = "payload::number_or_none")]
    pub confidence: Option<f64>,
    /// The new thresholds are taken into use, as a new version of the recipe.
    #[serde(default, deserialize_with = "payload::flag")]
    pub apply: bool,
    /// Ends the calibration that is running; nothing is changed.
    #[serde(default, deserialize_with = "payload::flag")]
    pub stop: bool,
}

/// Make a memory of the next good parts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Learn {
    /// Which camera; may be left out on a line with one.
    #[serde(default, deserialize_with = "payload::name_or_none")]
    pub camera: Option<String>,
    /// How many parts.
    #[serde(default, deserialize_with = "payload::number_or_none")]
    pub parts: Option<u32>,
    /// Ends the learning that is going on; nothing is changed.
    #[serde(default, deserialize_with = "payload::flag")]
    pub stop: bool,
}

/// Go back to the recipe and the memory before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// Which camera; may be left out on a line with one.
    #[serde(default, deserialize_with = "payload::name_or_none")]
    pub camera: Option<String>,
}

impl Calibrate {
    /// The share of false rejects when none is given.
    pub const FALSE_REJECTS: f64 = 0.05;
    /// The confidence when none is given.
    pub const CONFIDENCE: f64 = 0.95;

    pub(super) fn checked(&self) -> Result<(), CommandError> {
        let command = "calibrate";
        for (key, value) in [("false_rejects", self.false_rejects), ("confidence", self.confidence)] {
            if let Some(value) = value.filter(|value| !(*value > 0.0 && *value < 1.0)) {
                let reason = format!("{key} {value} is out of range; allowed: above 0 and below 1");
                return Err(CommandError::Field { command, reason });
            }
        }
        number_of_parts(command, self.parts, self.stop)
    }
}

impl Learn {
    pub(super) fn checked(&self) -> Result<(), CommandError> {
        let command = "learn";
        if self.parts.is_none() && !self.stop {
            return Err(CommandError::Field {
                command,
                reason: "write parts, the number of good parts to come".into(),
            });
        }
        number_of_parts(command, self.parts, self.stop)
    }
}

fn number_of_parts(command: &'static str, parts: Option<u32>, stop: bool) -> Result<(), CommandError> {
    let reason = match parts {
        Some(_) if stop => "write parts to begin or stop to end, not both".to_owned(),
        Some(parts) if !(1..=MOST_PARTS).contains(&parts) => {
            format!("parts {parts} is out of range; allowed: 1 to {MOST_PARTS}")
        }
        _ => return Ok(()),
    };
    Err(CommandError::Field { command, reason })
}

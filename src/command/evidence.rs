//! Commands about evidence, parts that are to be kept and parts whose right verdict is known; and the one about the settings.

use serde::Deserialize;

use super::{CommandError, payload};

/// Parts that one command may have kept.
pub const MOST_KEPT: u32 = 10_000;

/// Keep the pictures of the next parts in the archive, whatever their verdict.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// Which camera; absent: all of the line.
    #[serde(default, deserialize_with = "payload::name_or_none")]
    pub camera: Option<String>,
    /// How many parts of each camera; absent: one.
    #[serde(default = "one", deserialize_with = "payload::number")]
    pub parts: u32,
}

/// Read the settings file again: all of the line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reload {}

/// Judge the stored golden parts, and say which are judged wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfTest {
    /// Which camera; may be left out on a line with one.
    #[serde(default, deserialize_with = "payload::name_or_none")]
    pub camera: Option<String>,
}

fn one() -> u32 {
    1
}

impl Keep {
    pub(super) fn checked(&self) -> Result<(), CommandError> {
        if (1..=MOST_KEPT).contains(&self.parts) {
            return Ok(());
        }
        let reason = format!("parts {} is out of range; allowed: 1 to {MOST_KEPT}", self.parts);
        Err(CommandError::Field { command: "keep", reason })
    }
}

//! What the line says about itself: retained state and alarms, as JSON. `tests/schema/state.schema.json` judges it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::ModelInfo;

pub use crate::camera::CameraState;

/// The line in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateWord {
    /// Inspecting with every camera.
    Online,
    /// Inspecting, and something is missing; alarms say what.
    Degraded,
    /// Not inspecting: stopped, or the broker lost it (last will).
    Offline,
}

/// What takes many parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActivityKind {
    /// A memory is made of good parts.
    Learn,
    /// Thresholds are found from good parts.
    Calibrate,
}

impl ActivityKind {
    /// The command that begins it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Learn => "learn",
            Self::Calibrate => "calibrate",
        }
    }
}

/// How far something is that a command has begun and that takes many parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Activity {
    /// What.
    pub kind: ActivityKind,
    /// The camera whose parts are taken.
    pub camera: String,
    /// Parts that count so far.
    pub parts: u32,
    /// Parts that are wanted.
    pub wanted: u32,
    /// Since when.
    pub since: Timestamp,
    /// Why no parts come; absent while they may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
}

/// What the line reports; the publisher adds session and version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LineState {
    /// One word.
    pub state: StateWord,
    /// Since when; `None` only in the last will, whose moment nobody can know in advance.
    pub since: Option<Timestamp>,
    /// Every configured camera.
    pub cameras: BTreeMap<String, CameraState>,
    /// The model in use, `None` before it is loaded.
    pub model: Option<ModelInfo>,
    /// What takes long at the moment, such as "building engine"; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<String>,
    /// Calibrations and learning under way, at most one of each camera; absent without any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub activities: Vec<Activity>,
}

impl LineState {
    /// The same line, not inspecting any more.
    pub fn offline(&self, since: Option<Timestamp>) -> Self {
        let cameras = self.cameras.keys().map(|name| (name.clone(), CameraState::Stopped)).collect();
        let (model, activities) = (self.model.clone(), Vec::new());
        Self { state: StateWord::Offline, since, cameras, model, activity: None, activities }
    }
}

/// The message on `PREFIX/LINE/state`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateMessage {
    /// One service start.
    pub session: Uuid,
    /// Version of the program.
    pub version: String,
    /// The rest.
    #[serde(flatten)]
    pub line: LineState,
}

impl StateMessage {
    /// Adds who is speaking.
    pub fn new(session: Uuid, line: LineState) -> Self {
        Self { session, version: env!("CARGO_PKG_VERSION").into(), line }
    }
}

/// Something a person should look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// `camera_lost`, `drops`, `engine`, …
    pub kind: String,
    /// What is wrong and what to do.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

/// The message on `PREFIX/LINE/CAMERA/alarm` while there is something to say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlarmMessage {
    /// One service start.
    pub session: Uuid,
    /// At least one.
    pub alarms: Vec<Alarm>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_will_keeps_the_session_and_names_the_cameras() {
        let state = LineState {
            state: StateWord::Online,
            since: Some(Timestamp::UNIX_EPOCH),
            cameras: [("top".to_string(), CameraState::Online)].into(),
            model: None,
            activity: None,
            activities: Vec::new(),
        };
        let session = Uuid::from_u128(7);
        let json = serde_json::to_value(StateMessage::new(session, state.offline(None))).expect("JSON");
        assert_eq!(
            json,
            serde_json::json!({
                "session": session.to_string(), "version": env!("CARGO_PKG_VERSION"), "state": "offline",
                "since": null, "cameras": {"top": "stopped"}, "model": null,
            })
        );
    }
}

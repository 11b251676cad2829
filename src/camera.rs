//! A camera in one word: the line changes it, the retained state on MQTT says it.

use serde::{Deserialize, Serialize};

/// How a camera is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CameraState {
    /// Being opened, or waiting for the engine.
    Starting,
    /// Delivering, or waiting for its trigger.
    Online,
    /// Lost; it is being opened again unless the line has failed.
    Lost,
    /// Closed by an orderly stop or at the end of its pictures.
    Stopped,
}

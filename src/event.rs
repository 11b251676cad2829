//! The public contract, schema 1: one event per inspected part, as JSON. `tests/schema/verdict.schema.json` judges it.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::ClockSource;
use crate::frame::Part;
use crate::verdict::{Defect, Location, NoVerdictReason, Suspect, TileCount, Verdict};

/// Version of this contract. A field changes its meaning only together with this number.
pub const SCHEMA: u32 = 1;
/// Target of the log's records of events, one for each part that failed or has no verdict, and for those that passed at debug.
pub const LOG_TARGET: &str = "vcp_line::verdict";

/// The verdict as one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictWord {
    /// The part is good.
    Pass,
    /// The part is to be rejected.
    Fail,
    /// See `reason`.
    NoVerdict,
}

/// The frame an event speaks of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameInfo {
    /// The camera's frame counter.
    pub seq: u64,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Frames of this camera that were skipped since the event before this one.
    pub skipped_before: u64,
    /// The file it came from, relative to the camera's folder; only with folders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Arc<str>>,
}

/// When things happened, UTC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventTime {
    /// When the frame was captured.
    pub captured: Timestamp,
    /// Which clock stamped it.
    pub clock: ClockSource,
    /// When the event was handed to the broker connection.
    pub published: Timestamp,
}

/// Milliseconds per stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Waiting for the inference thread, also when the network has begun with the frame before.
    pub queue: f64,
    /// Resize and normalisation.
    pub preprocess: f64,
    /// The network, and waiting for others that it computes at the same time.
    pub inference: f64,
    /// Maps, regions, recipe.
    pub postprocess: f64,
    /// Capture to publish.
    pub total: f64,
}

/// The recipe that judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipeInfo {
    /// Configured name.
    pub id: String,
    /// Configured version.
    pub version: u32,
}

/// The model that looked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Name in the bundle's manifest.
    pub name: String,
    /// Hash of the bundle's weights.
    pub sha256: String,
    /// `openvino`, `tensorrt` or `reference`.
    pub engine: String,
    /// `fp32`, `bf16` or `fp16`.
    pub precision: String,
    /// The memory that helped; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryInfo>,
}

impl ModelInfo {
    /// Whether it sees as `other` does: the same weights, engine, precision and memory. Maps and scores of another one are
    /// other numbers.
    pub fn sees_as(&self, other: &Self) -> bool {
        let which = |memory: &Option<MemoryInfo>| memory.as_ref().map(|memory| memory.id.clone());
        (&self.sha256, &self.engine, &self.precision) == (&other.sha256, &other.engine, &other.precision)
            && which(&self.memory) == which(&other.memory)
    }
}

/// A memory of good parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryInfo {
    /// Which.
    pub id: String,
    /// Good parts it was made of.
    pub parts: usize,
}

/// Where the pictures of a part are asked for: paths at the API of its line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Images {
    /// The frame, lossless.
    pub frame: String,
    /// The frame with its anomaly map over it; absent where the engine has not looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay: Option<String>,
}

/// One event per inspected or owed part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InspectionEvent {
    /// [`SCHEMA`].
    pub schema: u32,
    /// UUIDv7; the key for removing duplicates.
    pub event_id: Uuid,
    /// One service start.
    pub session: Uuid,
    /// +1 per event and camera within a session.
    pub seq: u64,
    /// Configured name of the line.
    pub line: String,
    /// Configured name of the camera.
    pub camera: String,
    /// `None` when the camera runs free.
    pub part: Option<Part>,
    /// The verdict.
    pub verdict: VerdictWord,
    /// Only with `no_verdict`.
    pub reason: Option<NoVerdictReason>,
    /// Image score, raw model units; `None` with `no_verdict`.
    pub score: Option<f32>,
    /// Image scores from here on fail; `None` when the recipe decides by defects alone.
    pub threshold: Option<f32>,
    /// Map values from here on belong to a defect.
    pub defect_threshold: f32,
    /// Largest peak first.
    pub defects: Vec<Defect>,
    /// The frame, `None` when it never came.
    pub frame: Option<FrameInfo>,
    /// When.
    pub time: EventTime,
    /// Milliseconds.
    pub latency_ms: Latency,
    /// Who judged.
    pub recipe: RecipeInfo,
    /// Who looked.
    pub model: ModelInfo,
    /// True when it comes too late for the gate: it waited while the broker was away or slow, or for a new start.
    pub historical: bool,
    /// The pictures have changed in this way, so that it may not be the part; only with `fail`, while the alarm of this name
    /// stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspect: Option<Suspect>,
    /// Its pictures; absent where the archive does not keep them, or had no room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Images>,
    /// Only where the frame was looked at in tiles: `score` is that of those that were looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiles: Option<TileCount>,
    /// How the part lies in the frame; only with `[camera.locate]` and a verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
}

impl VerdictWord {
    /// As events say it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::NoVerdict => "no_verdict",
        }
    }
}

impl From<Verdict> for VerdictWord {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Pass,
            Verdict::Fail => Self::Fail,
            Verdict::NoVerdict(_) => Self::NoVerdict,
        }
    }
}

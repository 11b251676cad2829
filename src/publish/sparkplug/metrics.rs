//! What the edge node and its devices say: names and types of the metrics, made from verdicts and the line's state.

use uuid::Uuid;

use super::proto::{DataType, Metric, Value};
use crate::event::{InspectionEvent, VerdictWord};
use crate::publish::state::{CameraState, LineState};

/// Number of the connection: the same in a birth and in the death that belongs to it.
pub const BD_SEQ: &str = "bdSeq";
/// Written by a host that wants all births again.
pub const REBIRTH: &str = "Node Control/Rebirth";

/// Events of one camera since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    passed: u64,
    failed: u64,
    without: u64,
}

/// A verdict, reduced to what the host is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub camera: String,
    /// When the frame was captured, milliseconds since 1970.
    pub at: u64,
    /// It could not be sent when it was given.
    pub late: bool,
    word: &'static str,
    reason: Option<String>,
    score: Option<f32>,
    threshold: Option<f32>,
    defects: u32,
    part: Option<String>,
    event_id: Uuid,
    seq: u64,
    latency_ms: f64,
    recipe: String,
    recipe_version: u32,
    counts: Counts,
}

impl Sample {
    /// Counts the event and takes from it what is told.
    pub fn of(event: &InspectionEvent, counts: &mut Counts) -> Self {
        let word = event.verdict.word();
        match event.verdict {
            VerdictWord::Pass => counts.passed += 1,
            VerdictWord::Fail => counts.failed += 1,
            VerdictWord::NoVerdict => counts.without += 1,
        }
        // The reason's word is that of the JSON event.
        let reason = event.reason.and_then(|reason| serde_json::to_value(reason).ok());
        Self {
            camera: event.camera.clone(),
            at: u64::try_from(event.time.captured.as_millisecond()).unwrap_or(0),
            late: false,
            word,
            reason: reason.as_ref().and_then(|reason| reason.as_str()).map(str::to_owned),
            score: event.score,
            threshold: event.threshold,
            defects: u32::try_from(event.defects.len()).unwrap_or(u32::MAX),
            part: event.part.as_ref().map(|part| part.id.clone()),
            event_id: event.event_id,
            seq: event.seq,
            latency_ms: event.latency_ms.total,
            recipe: event.recipe.id.clone(),
            recipe_version: event.recipe.version,
            counts: *counts,
        }
    }
}

fn text(word: impl Into<String>) -> Option<Value> {
    Some(Value::Text(word.into()))
}

/// A device's metrics: those of its last verdict, nulls before the first one.
pub fn device(sample: Option<&Sample>, camera: CameraState, now: u64) -> Vec<Metric> {
    let mut metrics = verdict(sample, sample.map_or(now, |sample| sample.at));
    metrics.push(camera_state(camera, now));
    metrics
}

/// What the camera does.
pub fn camera_state(camera: CameraState, now: u64) -> Metric {
    let word = match camera {
        CameraState::Starting => "starting",
        CameraState::Online => "online",
        CameraState::Lost => "lost",
        CameraState::Stopped => "stopped",
    };
    Metric::new("Camera/State", DataType::String, text(word), now)
}

/// The metrics of one verdict; `at` in milliseconds since 1970.
pub fn verdict(sample: Option<&Sample>, at: u64) -> Vec<Metric> {
    // Whole numbers are all of 64 bits: widely used decoders look for UInt32 in another field than others write it to.
    use DataType::{Double, Float, String, UInt64};
    let counts = sample.map_or_else(Counts::default, |sample| sample.counts);
    let metric = |name, datatype, value: Option<Value>| Metric::new(name, datatype, value, at);
    let mut metrics = vec![
        metric("Verdict/Word", String, sample.and_then(|s| text(s.word))),
        metric("Verdict/Reason", String, sample.and_then(|s| s.reason.clone()).and_then(text)),
        metric("Verdict/Score", Float, sample.and_then(|s| s.score).map(Value::Float)),
        metric("Verdict/Threshold", Float, sample.and_then(|s| s.threshold).map(Value::Float)),
        metric("Verdict/Defects", UInt64, sample.map(|s| Value::Long(u64::from(s.defects)))),
        metric("Verdict/Part", String, sample.and_then(|s| s.part.clone()).and_then(text)),
        metric("Verdict/Event", String, sample.and_then(|s| text(s.event_id.to_string()))),
        metric("Verdict/Seq", UInt64, sample.map(|s| Value::Long(s.seq))),
        metric("Verdict/Latency ms", Double, sample.map(|s| Value::Double(s.latency_ms))),
        metric("Recipe/Id", String, sample.and_then(|s| text(s.recipe.clone()))),
        metric("Recipe/Version", UInt64, sample.map(|s| Value::Long(u64::from(s.recipe_version)))),
        metric("Counters/Pass", UInt64, Some(Value::Long(counts.passed))),
        metric("Counters/Fail", UInt64, Some(Value::Long(counts.failed))),
        metric("Counters/No verdict", UInt64, Some(Value::Long(counts.without))),
    ];
    if sample.is_some_and(|sample| sample.late) {
        metrics.iter_mut().for_each(|metric| metric.is_historical = Some(true));
    }
    metrics
}

/// What the node says of the whole line, without its connection.
pub fn line(state: &LineState, stored: usize, lost: u64, now: u64) -> Vec<Metric> {
    use DataType::{String, UInt64};
    let metric = |name, datatype, value: Option<Value>| Metric::new(name, datatype, value, now);
    let word = serde_json::to_value(state.state).ok();
    let model = state.model.as_ref();
    vec![
        metric("Line/State", String, word.as_ref().and_then(|word| word.as_str()).and_then(text)),
        metric("Line/Version", String, text(env!("CARGO_PKG_VERSION"))),
        metric("Model/Name", String, model.and_then(|model| text(model.name.clone()))),
        metric("Model/Sha256", String, model.and_then(|model| text(model.sha256.clone()))),
        metric("Model/Engine", String, model.and_then(|model| text(model.engine.clone()))),
        metric("Store/Waiting", UInt64, Some(Value::Long(stored as u64))),
        metric("Store/Lost", UInt64, Some(Value::Long(lost))),
    ]
}

/// The number of the connection.
pub fn bd_seq(number: u8, now: u64) -> Metric {
    Metric::new(BD_SEQ, DataType::Int64, Some(Value::Long(u64::from(number))), now)
}

/// The place where a host asks for all births.
pub fn rebirth(now: u64) -> Metric {
    Metric::new(REBIRTH, DataType::Boolean, Some(Value::Boolean(false)), now)
}

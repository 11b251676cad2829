//! Verdicts as the line gives them, and a publisher that a test drives by itself.
#![allow(dead_code, reason = "each test program uses its part")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;
use vcp_line::clock::{Clock, ClockSource, SystemClock};
use vcp_line::event::*;
use vcp_line::publish::*;
use vcp_line::verdict::Defect;

/// Longer than anything a publisher does on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn model() -> ModelInfo {
    ModelInfo {
        name: "tiny".into(),
        sha256: "0f".repeat(32),
        engine: "reference".into(),
        precision: "fp32".into(),
        memory: None,
    }
}

/// A failed part of a camera that runs free, with one defect.
pub fn event(session: Uuid, seq: u64) -> Outgoing {
    let now = SystemClock.now();
    let event = InspectionEvent {
        schema: SCHEMA,
        event_id: Uuid::now_v7(),
        session,
        seq,
        line: "caps".into(),
        camera: "top".into(),
        part: None,
        verdict: VerdictWord::Fail,
        reason: None,
        score: Some(0.8312),
        threshold: Some(0.62),
        defect_threshold: 0.5,
        defects: vec![Defect {
            bounds: [412, 96, 58, 31],
            area_px: 1203,
            centroid: [440.2, 110.9],
            peak: 0.97,
            mean: 0.81,
            polygon: vec![[412, 100], [430, 96], [469, 126]],
        }],
        frame: Some(FrameInfo { seq, width: 640, height: 480, skipped_before: 0, file: None }),
        time: EventTime { captured: now.wall, clock: ClockSource::System, published: now.wall },
        latency_ms: Latency::default(),
        recipe: RecipeInfo { id: "cap-38mm".into(), version: 3 },
        model: model(),
        historical: false,
        suspect: None,
        location: None,
        images: None,
        tiles: None,
    };
    Outgoing { event, captured: now.monotonic, due: None }
}

/// A line that works.
pub fn online() -> LineState {
    LineState {
        state: StateWord::Online,
        since: Some(SystemClock.now().wall),
        cameras: [("top".to_string(), CameraState::Online)].into(),
        model: Some(model()),
        activity: None,
        activities: Vec::new(),
    }
}

/// The line `caps`, which does not wait long before it connects again.
pub fn spec(host: &str, port: u16) -> PublisherSpec {
    let mut spec = PublisherSpec::new(host, port, "caps");
    spec.backoff_min = Duration::from_millis(50);
    spec.backoff_max = Duration::from_millis(200);
    spec
}

pub fn start(spec: PublisherSpec, session: Uuid) -> Publisher {
    Publisher::start(spec, session, online(), Arc::new(SystemClock), None).expect("starts")
}

pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what} in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

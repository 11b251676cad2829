//! A verdict becomes bytes at the moment it is handed to the broker connection, because only then its last times are
//! known; and never more bytes than a packet may have.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::clock::Moment;
use crate::event::InspectionEvent;

/// A verdict on its way out.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The event; `time.published`, `latency_ms.total` and `historical` are filled in when it is sent.
    pub event: InspectionEvent,
    /// When its frame was captured, or when the missing frame was noticed.
    pub captured: Instant,
    /// From then on nobody waits for it at the gate; `None` where parts have no deadline.
    pub due: Option<Instant>,
}

/// A verdict on its way out: given by this process, or read back from the outbox.
#[derive(Clone, Debug)]
pub enum Parcel {
    /// As it was given.
    Live(Arc<Outgoing>),
    /// As an earlier moment has written it.
    Stored(Arc<StoredVerdict>),
}

/// A verdict as JSON, of this or an earlier version of the program: fields that this one does not know are kept.
#[derive(Clone, Debug)]
pub struct StoredVerdict {
    camera: String,
    json: Vec<u8>,
}

impl StoredVerdict {
    /// The error says why these bytes are no event.
    pub fn new(json: Vec<u8>) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Address {
            camera: String,
        }
        let Address { camera } = serde_json::from_slice(&json)?;
        Ok(Self { camera, json })
    }

    /// The same event, sent at `now`. It has waited behind more than memory holds, or for a new start: it is historical.
    fn renewed(&self, now: Moment) -> Result<Vec<u8>, serde_json::Error> {
        let mut event: Map<String, Value> = serde_json::from_slice(&self.json)?;
        let captured = event.get("time").and_then(|time| time.get("captured")).and_then(Value::as_str);
        let captured: Option<Timestamp> = captured.and_then(|text| text.parse().ok());
        if let Some(time) = event.get_mut("time").and_then(Value::as_object_mut) {
            time.insert("published".into(), now.wall.to_string().into());
        }
        if let Some(latency) = event.get_mut("latency_ms").and_then(Value::as_object_mut) {
            // Only the wall clock outlives a restart; when it was set back, what was known before is the better guess.
            let waited = captured.map_or(0.0, |captured| now.wall.duration_since(captured).as_secs_f64() * 1e3);
            let before = latency.get("total").and_then(Value::as_f64).unwrap_or(0.0);
            latency.insert("total".into(), waited.max(before).into());
        }
        event.insert("historical".into(), true.into());
        serde_json::to_vec(&event)
    }
}

impl Parcel {
    /// The camera's configured name, which is part of the topic.
    pub fn camera(&self) -> &str {
        match self {
            Self::Live(outgoing) => &outgoing.event.camera,
            Self::Stored(stored) => &stored.camera,
        }
    }

    /// As [`encode`].
    pub fn encode(&self, late: bool, now: Moment, max_packet: usize) -> Result<Vec<u8>, serde_json::Error> {
        match self {
            Self::Live(outgoing) => encode(outgoing, late, now, max_packet),
            Self::Stored(stored) => stored.renewed(now),
        }
    }
}

/// What the way through the outbox to the connection may add to a deadline, with an fsync every 20 ms as by default.
const LEEWAY: Duration = Duration::from_millis(100);

/// Bytes kept free for topic and packet header, whose names have at most a few hundred bytes.
const HEADROOM: usize = 4 * 1024;

/// The event as JSON of at most `max_packet` bytes minus headroom, as sent at `now`.
///
/// An event that is too large first loses its polygons (boxes and areas stay), then its smallest defects: the verdict
/// itself is never lost. One that leaves after its deadline is `historical`, like a `late` one. Fails only when the event cannot be written as JSON at all.
pub fn encode(outgoing: &Outgoing, late: bool, now: Moment, max_packet: usize) -> Result<Vec<u8>, serde_json::Error> {
    let mut event = outgoing.event.clone();
    event.time.published = now.wall;
    event.latency_ms.total = now.monotonic.saturating_duration_since(outgoing.captured).as_secs_f64() * 1e3;
    event.historical |= late || outgoing.due.is_some_and(|due| now.monotonic > due + LEEWAY);
    let limit = max_packet.saturating_sub(HEADROOM);
    let bytes = serde_json::to_vec(&event)?;
    if bytes.len() <= limit {
        return Ok(bytes);
    }
    tracing::warn!(
        event_id = %event.event_id, bytes = bytes.len(), limit, defects = event.defects.len(),
        "verdict too large for one MQTT packet: polygons left out; raise the smallest defect area of the recipe"
    );
    for defect in &mut event.defects {
        defect.polygon = Vec::new();
    }
    let mut bytes = serde_json::to_vec(&event)?;
    while bytes.len() > limit && !event.defects.is_empty() {
        event.defects.truncate(event.defects.len() / 2);
        bytes = serde_json::to_vec(&event)?;
    }
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::clock::ClockSource;
    use crate::event::*;
    use crate::verdict::Defect;

    pub(crate) fn event(seq: u64) -> InspectionEvent {
        InspectionEvent {
            schema: SCHEMA,
            event_id: Uuid::now_v7(),
            session: Uuid::nil(),
            seq,
            line: "caps".into(),
            camera: "top".into(),
            part: None,
            verdict: VerdictWord::Fail,
            reason: None,
            score: Some(0.8),
            threshold: Some(0.6),
            defect_threshold: 0.5,
            defects: vec![],
            frame: None,
            time: EventTime {
                captured: Timestamp::UNIX_EPOCH,
                clock: ClockSource::System,
                published: Timestamp::UNIX_EPOCH,
            },
            latency_ms: Latency::default(),
            recipe: RecipeInfo { id: "cap".into(), version: 1 },
            model: ModelInfo {
                name: "tiny".into(),
                sha256: "00".into(),
                engine: "reference".into(),
                precision: "fp32".into(),
            },
            historical: false,
        }
    }

    fn defect(peak: f32) -> Defect {
        let polygon = (0..50).map(|i| [i, i]).collect();
        Defect { bounds: [0, 0, 9, 9], area_px: 81, centroid: [4.5, 4.5], peak, mean: 0.5, polygon }
    }

    #[test]
    fn the_last_times_are_those_of_sending() {
        let captured = Instant::now();
        let now = Moment {
            wall: Timestamp::from_second(1_700_000_000).expect("valid"),
            monotonic: captured + Duration::from_micros(2_500),
        };
        let bytes = encode(&Outgoing { event: event(3), captured, due: None }, true, now, 1 << 18).expect("JSON");
        let sent: InspectionEvent = serde_json::from_slice(&bytes).expect("our own event");
        assert_eq!((sent.time.published, sent.latency_ms.total, sent.historical), (now.wall, 2.5, true));
    }

    #[test]
    fn a_verdict_that_leaves_after_its_deadline_is_historical() {
        let captured = Instant::now();
        let outgoing = Outgoing { event: event(3), captured, due: Some(captured + Duration::from_millis(500)) };
        for (after, historical) in [(500, false), (600, false), (601, true)] {
            let now = Moment { wall: Timestamp::UNIX_EPOCH, monotonic: captured + Duration::from_millis(after) };
            let bytes = encode(&outgoing, false, now, 1 << 18).expect("JSON");
            let sent: InspectionEvent = serde_json::from_slice(&bytes).expect("our own event");
            assert_eq!(sent.historical, historical, "after {after} ms");
        }
    }

    #[test]
    fn a_large_verdict_loses_polygons_then_small_defects_never_itself() {
        let captured = Instant::now();
        let now = Moment { wall: Timestamp::UNIX_EPOCH, monotonic: captured };
        let mut event = event(0);
        event.defects = (0..40).map(|i| defect(1.0 - i as f32 / 100.0)).collect();
        let outgoing = Outgoing { event, captured, due: None };
        let whole: InspectionEvent =
            serde_json::from_slice(&encode(&outgoing, false, now, 1 << 18).expect("JSON")).expect("event");
        assert_eq!(whole.defects[39].polygon.len(), 50);
        let bytes = encode(&outgoing, false, now, HEADROOM + 8_000).expect("JSON");
        let bare: InspectionEvent = serde_json::from_slice(&bytes).expect("event");
        assert_eq!((bare.defects.len(), bare.defects[0].polygon.len()), (40, 0));
        let bytes = encode(&outgoing, false, now, HEADROOM + 2_000).expect("JSON");
        let few: InspectionEvent = serde_json::from_slice(&bytes).expect("event");
        assert!(bytes.len() <= 2_000 && !few.defects.is_empty() && few.defects.len() < 40);
        assert_eq!((few.verdict, few.defects[0].peak), (VerdictWord::Fail, 1.0));
    }
}

//! A verdict becomes bytes at the moment it is handed to the broker connection, because only then its last times are
//! known; and never more bytes than the broker takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::MAX_PACKET;
use super::attributes::About;
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
    about: Option<About>,
    json: Vec<u8>,
}

impl StoredVerdict {
    /// The error says why these bytes are no event.
    pub fn new(json: Vec<u8>) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Address {
            camera: String,
            event_id: Option<String>,
            time: Option<Times>,
        }
        #[derive(Deserialize)]
        struct Times {
            captured: Option<String>,
        }
        let Address { camera, event_id, time } = serde_json::from_slice(&json)?;
        let about = event_id.zip(time.and_then(|time| time.captured)).map(|(id, time)| About { id, time });
        Ok(Self { camera, about, json })
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

    /// Which event it is, for those who read no JSON. `None` where a stored event does not say.
    pub(super) fn about(&self) -> Option<About> {
        match self {
            Self::Live(outgoing) => {
                let event = &outgoing.event;
                Some(About { id: event.event_id.to_string(), time: event.time.captured.to_string() })
            }
            Self::Stored(stored) => stored.about.clone(),
        }
    }

    /// The event as JSON of at most `limit` bytes, as sent at `now`.
    ///
    /// An event that is too large first loses corners of its polygons, then its smallest defects, then the polygons of
    /// what is left: the verdict itself is never lost. It says so: `truncated` is true. One that leaves after its deadline
    /// is `historical`, like a `late` one. Fails only when the event cannot be written as JSON at all.
    pub fn encode(&self, late: bool, now: Moment, limit: usize) -> Result<Encoded, serde_json::Error> {
        let whole = match self {
            Self::Live(outgoing) => written(outgoing, late, now)?,
            Self::Stored(stored) => stored.renewed(now)?,
        };
        if whole.len() <= limit {
            return Ok(Encoded { bytes: whole, whole: None });
        }
        let shorter = shorten(serde_json::from_slice(&whole)?, limit)?;
        Ok(Encoded { whole: Some(whole.len()), bytes: shorter })
    }
}

/// A verdict as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// JSON. May be longer than the limit where even a verdict without defects is.
    pub bytes: Vec<u8>,
    /// Bytes of all that there was to say, where something was left out.
    pub whole: Option<usize>,
}

/// Largest event that is stored, bytes: it fits into a packet with any topic of a usual length.
pub(super) const MAX_EVENT: usize = MAX_PACKET - 4 * 1024;

/// What the way through the outbox to the connection may add to a deadline, with an fsync every 20 ms as by default.
const LEEWAY: Duration = Duration::from_millis(100);

/// Corners of a polygon that is shortened as far as possible.
const LEAST_CORNERS: usize = 4;

fn written(outgoing: &Outgoing, late: bool, now: Moment) -> Result<Vec<u8>, serde_json::Error> {
    let mut event = outgoing.event.clone();
    event.time.published = now.wall;
    event.latency_ms.total = now.monotonic.saturating_duration_since(outgoing.captured).as_secs_f64() * 1e3;
    event.historical |= late || outgoing.due.is_some_and(|due| now.monotonic > due + LEEWAY);
    serde_json::to_vec(&event)
}

/// See [`Parcel::encode`]. Works on JSON, because a stored event may have fields that this version does not know.
fn shorten(mut event: Map<String, Value>, limit: usize) -> Result<Vec<u8>, serde_json::Error> {
    event.insert("truncated".into(), true.into());
    let Some(Value::Array(mut defects)) = event.insert("defects".into(), Value::Array(Vec::new())) else {
        return serde_json::to_vec(&event);
    };
    let room = limit.saturating_sub(serde_json::to_vec(&event)?.len());
    while size(&defects)? > room && halve_corners(&mut defects) {}
    // The largest come first.
    let fits = |defects: &[Value]| -> Result<usize, serde_json::Error> {
        let mut left = room;
        for (count, defect) in defects.iter().enumerate() {
            let needed = serde_json::to_vec(defect)?.len() + usize::from(count > 0);
            if needed > left {
                return Ok(count);
            }
            left -= needed;
        }
        Ok(defects.len())
    };
    let mut count = fits(&defects)?;
    if count == 0 {
        for polygon in defects.iter_mut().filter_map(|defect| defect.get_mut("polygon")) {
            *polygon = Value::Array(Vec::new());
        }
        count = fits(&defects)?;
    }
    defects.truncate(count);
    event.insert("defects".into(), Value::Array(defects));
    serde_json::to_vec(&event)
}

/// Bytes of the defects as a list, its brackets apart.
fn size(defects: &[Value]) -> Result<usize, serde_json::Error> {
    Ok(serde_json::to_vec(defects)?.len() - "[]".len())
}

/// Leaves half the corners of the polygons that have more than the least. False when none has.
fn halve_corners(defects: &mut [Value]) -> bool {
    let mut changed = false;
    for corners in defects.iter_mut().filter_map(|defect| defect.get_mut("polygon")?.as_array_mut()) {
        if corners.len() > LEAST_CORNERS {
            // Five to seven corners become four, spread over the outline.
            let (all, left) = (corners.len(), (corners.len() / 2).max(LEAST_CORNERS));
            *corners = (0..left).map(|corner| corners[corner * all / left].clone()).collect();
            changed = true;
        }
    }
    changed
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
                memory: None,
            },
            historical: false,
            suspect: None,
            location: None,
            images: None,
            tiles: None,
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
        let bytes = written(&Outgoing { event: event(3), captured, due: None }, true, now).expect("JSON");
        let sent: InspectionEvent = serde_json::from_slice(&bytes).expect("our own event");
        assert_eq!((sent.time.published, sent.latency_ms.total, sent.historical), (now.wall, 2.5, true));
    }

    #[test]
    fn a_verdict_that_leaves_after_its_deadline_is_historical() {
        let captured = Instant::now();
        let outgoing = Outgoing { event: event(3), captured, due: Some(captured + Duration::from_millis(500)) };
        for (after, historical) in [(500, false), (600, false), (601, true)] {
            let now = Moment { wall: Timestamp::UNIX_EPOCH, monotonic: captured + Duration::from_millis(after) };
            let bytes = written(&outgoing, false, now).expect("JSON");
            let sent: InspectionEvent = serde_json::from_slice(&bytes).expect("our own event");
            assert_eq!(sent.historical, historical, "after {after} ms");
        }
    }

    fn sent(parcel: &Parcel, limit: usize) -> (InspectionEvent, Encoded) {
        let now = Moment { wall: Timestamp::UNIX_EPOCH, monotonic: Instant::now() };
        let encoded = parcel.encode(false, now, limit).expect("JSON");
        assert!(encoded.bytes.len() <= limit);
        (serde_json::from_slice(&encoded.bytes).expect("event"), encoded)
    }

    #[test]
    fn a_large_verdict_loses_corners_then_small_defects_then_polygons_never_itself() {
        let mut event = event(0);
        event.defects = (0..40).map(|i| defect(1.0 - i as f32 / 100.0)).collect();
        let live = Parcel::Live(Arc::new(Outgoing { event, captured: Instant::now(), due: None }));
        let (whole, encoded) = sent(&live, 1 << 18);
        assert_eq!((whole.defects[39].polygon.len(), encoded.whole), (50, None));
        let stored = Parcel::Stored(Arc::new(StoredVerdict::new(encoded.bytes.clone()).expect("event")));
        for parcel in [live, stored] {
            // Each time a little less than what the form before needs; times have more digits or fewer.
            let mut limit = encoded.bytes.len() - 20;
            for corners in [25, 12, 6, 4] {
                let (event, encoded) = sent(&parcel, limit);
                assert_eq!((event.defects.len(), event.defects[0].polygon.len()), (40, corners), "{limit}");
                assert!(encoded.whole.is_some_and(|whole| whole > limit));
                let json: Value = serde_json::from_slice(&encoded.bytes).expect("JSON");
                assert_eq!(json["truncated"], true);
                limit = encoded.bytes.len() - 20;
            }
            let (few, _) = sent(&parcel, 2_000);
            assert!((2..40).contains(&few.defects.len()) && few.defects[0].polygon.len() == 4, "{few:?}");
            assert_eq!((few.verdict, few.defects[0].peak), (VerdictWord::Fail, 1.0));
            let (bare, encoded) = sent(&parcel, 800);
            assert!(bare.defects.len() <= 1 && encoded.bytes.len() > 600, "{bare:?}");
        }
    }

    #[test]
    fn corners_are_left_out_evenly() {
        for (all, left) in
            [(3, vec![3]), (4, vec![4]), (5, vec![4]), (7, vec![4]), (8, vec![4]), (50, vec![25, 12, 6, 4])]
        {
            let polygon: Vec<[usize; 2]> = (0..all).map(|i| [i, i]).collect();
            let mut defects = vec![serde_json::json!({ "polygon": polygon })];
            let mut found = Vec::new();
            while halve_corners(&mut defects) {
                found.push(defects[0]["polygon"].as_array().expect("corners").len());
                assert_eq!(defects[0]["polygon"][0], serde_json::json!([0, 0]));
            }
            assert_eq!(found, if all <= 4 { vec![] } else { left }, "{all}");
        }
    }

    #[test]
    fn an_event_with_other_fields_is_shortened_too() {
        for defects in [r#""none""#, r#"[1,{"polygon":7},{"polygon":[1,2,3,4,5,6]}]"#, "[[]]"] {
            let json = format!(r#"{{"camera":"top","defects":{defects},"later":"{}"}}"#, "x".repeat(50));
            let parcel = Parcel::Stored(Arc::new(StoredVerdict::new(json.into_bytes()).expect("event")));
            let now = Moment { wall: Timestamp::UNIX_EPOCH, monotonic: Instant::now() };
            let encoded = parcel.encode(false, now, 10).expect("JSON");
            assert!(String::from_utf8_lossy(&encoded.bytes).contains("later") && encoded.whole.is_some());
        }
    }
}

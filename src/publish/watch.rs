//! Verdicts as they come, readable: the reading side of the contract.

use std::time::Duration;

use jiff::tz::TimeZone;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::client::{self, Signal, Wish};
use super::state::{Activity, ActivityKind, AlarmMessage, CameraState, LineState, StateMessage};
use super::{PublishError, PublisherSpec};
use crate::event::{InspectionEvent, VerdictWord};
use crate::printable::printable;

/// Characters of a line at most: ids and messages of others have no bound of their own.
const LONGEST: usize = 2000;
/// Characters of what is not ours.
const SHOWN: usize = 120;

/// What a reader hears.
pub enum Heard<'a> {
    /// A message of the line, or of somebody else on the same topics.
    Message {
        /// Its topic.
        topic: &'a str,
        /// Its bytes.
        payload: &'a [u8],
    },
    /// Why nothing is heard at the moment.
    Trouble(String),
}

impl Heard<'_> {
    /// One line that a person can read, whoever has sent what it tells.
    pub fn readable(&self) -> String {
        match self {
            Self::Message { topic, payload } => readable(topic, payload),
            Self::Trouble(reason) => printable(reason).into_owned(),
        }
    }

    /// The line's state, if it is one.
    pub fn state(&self) -> Option<LineState> {
        match self {
            Self::Message { topic, payload } if topic.ends_with("/state") => {
                serde_json::from_slice(payload).ok().map(|message: StateMessage| message.line)
            }
            _ => None,
        }
    }

    /// The verdict, if it is one.
    pub fn event(&self) -> Option<InspectionEvent> {
        match self {
            Self::Message { topic, payload } if topic.ends_with("/verdict") => serde_json::from_slice(payload).ok(),
            _ => None,
        }
    }
}

/// Calls `hear` with every verdict, state and alarm below `filter`, until `stop`.
///
/// `spec` says where the broker is and who asks; its client id must be the reader's own. A lost connection is reported
/// as trouble and tried again; only a broker that never accepts this reader, or wrong credentials, are errors.
pub fn watch(
    spec: &PublisherSpec,
    filter: &str,
    stop: &CancellationToken,
    mut hear: impl FnMut(Heard<'_>),
) -> Result<(), PublishError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(PublishError::Thread)?;
    let read = runtime.block_on(async {
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            read = read(spec, filter, &mut hear) => read,
        }
    });
    runtime.shutdown_background();
    read
}

async fn read(spec: &PublisherSpec, filter: &str, hear: &mut impl FnMut(Heard<'_>)) -> Result<(), PublishError> {
    let mut backoff = Backoff::new(spec.backoff_min, spec.backoff_max.min(Duration::from_secs(5)));
    let mut accepted = false;
    let mut told = false;
    loop {
        let wish = Wish { client_id: spec.client_id.clone(), clean: true, will: None, requests: 4, packet_ids: None };
        let (client, mut events) = client::open_now(spec, wish, &mut None)?;
        let error = loop {
            match events.next().await {
                Ok(Signal::Connected(_)) => {
                    (accepted, told) = (true, false);
                    backoff.reset();
                    // The channel is empty; a refused request would mean that the filter is no filter.
                    if let Err(error) = client.try_subscribe(filter) {
                        hear(Heard::Trouble(format!("cannot subscribe to \"{filter}\": {error}")));
                        return Ok(());
                    }
                }
                Ok(Signal::Subscribed { refused: 1.. }) => {
                    hear(Heard::Trouble(format!("the broker does not let this reader subscribe to \"{filter}\"")));
                }
                Ok(Signal::Message { topic, payload, .. }) => {
                    hear(Heard::Message { topic: &topic, payload: &payload });
                }
                Ok(_) => {}
                Err(failure) => break events.error(spec, failure).await,
            }
        };
        if error.is_refusal() || !accepted {
            return Err(error);
        }
        if !std::mem::replace(&mut told, true) {
            hear(Heard::Trouble(error.to_string()));
        }
        tokio::time::sleep(backoff.pause(u64::MAX)).await;
    }
}

/// One line for a message; what is not ours is shown as it is, shortened.
pub fn readable(topic: &str, payload: &[u8]) -> String {
    let shown = match topic.rsplit('/').next() {
        Some("verdict") => serde_json::from_slice(payload).ok().map(|event| verdict(&event, &TimeZone::system())),
        Some("state") => serde_json::from_slice(payload).ok().map(|message| state(topic, &message)),
        Some("alarm") if payload.is_empty() => Some(format!("{topic}: alarm cleared")),
        Some("alarm") => serde_json::from_slice(payload).ok().map(|message| alarm(topic, &message)),
        _ => None,
    };
    let text = shown.unwrap_or_else(|| {
        let text: String = String::from_utf8_lossy(payload).chars().take(SHOWN).collect();
        format!("{topic}: {text}")
    });
    match text.char_indices().nth(LONGEST) {
        None => printable(&text).into_owned(),
        Some((end, _)) => format!("{} …", printable(&text[..end])),
    }
}

/// Columns of a verdict: time, word, camera, number and part, what decided, milliseconds.
fn verdict(event: &InspectionEvent, zone: &TimeZone) -> String {
    let time = event.time.captured.to_zoned_datetime(zone.clone()).strftime("%H:%M:%S%.3f");
    let word = word(event.verdict);
    let camera = format!("{}/{}", event.line, event.camera);
    let part = event.part.as_ref().map_or("-", |part| &part.id);
    let late = if event.historical { "  late" } else { "" };
    let decided = decided(event);
    let took = event.latency_ms.total;
    format!("{time} {word} {camera:<16} #{:<6} {part:<14} {decided:<32} {took:7.1} ms{late}", event.seq)
}

/// The verdict in four letters.
pub const fn word(verdict: VerdictWord) -> &'static str {
    match verdict {
        VerdictWord::Pass => "pass",
        VerdictWord::Fail => "FAIL",
        VerdictWord::NoVerdict => "none",
    }
}

/// The value that decided, beside the one it was compared with; without a verdict, the reason.
fn decided(event: &InspectionEvent) -> String {
    if event.verdict == VerdictWord::NoVerdict {
        let reason = serde_json::to_value(event.reason).ok();
        return reason.as_ref().and_then(|reason| reason.as_str()).unwrap_or("unknown reason").to_owned();
    }
    let suspect = event.suspect.and_then(|suspect| serde_json::to_value(suspect).ok());
    let suspect = suspect.as_ref().and_then(|word| word.as_str()).map_or(String::new(), |word| format!(", {word}?"));
    // The first defect has the largest peak.
    if let Some(defect) = event.defects.first() {
        let others = if event.defects.len() == 1 { "" } else { "s" };
        let count = format!("{} defect{others}", event.defects.len());
        return format!("map {:.3} ≥ {:.3}, {count}{suspect}", defect.peak, event.defect_threshold);
    }
    match (event.score, event.threshold) {
        (Some(score), Some(threshold)) if score >= threshold => format!("score {score:.3} ≥ {threshold:.3}{suspect}"),
        (Some(score), Some(threshold)) => format!("score {score:.3} < {threshold:.3}"),
        (Some(score), None) => format!("score {score:.3}"),
        (None, _) => String::new(),
    }
}

fn state(topic: &str, message: &StateMessage) -> String {
    let word = serde_json::to_value(message.line.state).ok();
    let since = message.line.since.map(|since| format!(" since {since}")).unwrap_or_default();
    let mut text = format!("{topic}: {}{since}", word.as_ref().and_then(|word| word.as_str()).unwrap_or("unknown"));
    if let Some(model) = &message.line.model {
        text += &format!(", model {}", model.name);
    }
    // Cameras that deliver are what a line is expected to have.
    for (name, state) in message.line.cameras.iter().filter(|(_, state)| **state != CameraState::Online) {
        let word = serde_json::to_value(state).ok();
        text += &format!(", camera {name} {}", word.as_ref().and_then(|word| word.as_str()).unwrap_or("unknown"));
    }
    if let Some(activity) = &message.line.activity {
        text += &format!(", {activity}");
    }
    for Activity { kind, camera, parts, wanted, waits, .. } in &message.line.activities {
        let kind = match kind {
            ActivityKind::Learn => "learns",
            ActivityKind::Calibrate => "is calibrated",
        };
        let waits = waits.as_ref().map_or(String::new(), |waits| format!(", waits: {waits}"));
        text += &format!(", {camera} {kind}: {parts} of {wanted} parts{waits}");
    }
    text
}

fn alarm(topic: &str, message: &AlarmMessage) -> String {
    let alarms: Vec<String> = message.alarms.iter().map(|alarm| format!("{}: {}", alarm.kind, alarm.message)).collect();
    format!("{topic}: {}", alarms.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Part;
    use crate::publish::payload::tests::event;

    #[test]
    fn a_verdict_is_one_readable_line() {
        let said = |event: &InspectionEvent| verdict(event, &TimeZone::UTC);
        let mut event = event(7);
        event.score = Some(0.8);
        (event.threshold, event.defect_threshold) = (Some(0.62), 0.6);
        let by_score =
            "00:00:00.000 FAIL caps/top         #7      -              score 0.800 ≥ 0.620                  0.0 ms";
        assert_eq!(said(&event), by_score);
        event.part = Some(Part { id: "A-001734".into(), trigger: 1 });
        (event.score, event.verdict, event.historical) = (Some(0.5), VerdictWord::Pass, true);
        let passed = "00:00:00.000 pass caps/top         #7      A-001734       score 0.500 < 0.620                  0.0 ms  late";
        assert_eq!(said(&event), passed);
        (event.verdict, event.reason) = (VerdictWord::NoVerdict, Some(crate::verdict::NoVerdictReason::CameraLost));
        let none = "00:00:00.000 none caps/top         #7      A-001734       camera_lost                          0.0 ms  late";
        assert_eq!(said(&event), none);
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        assert!(verdict(&event, &zone).starts_with("01:00:00.000 "));
    }

    /// The value that decided is that of the map where a defect was found, whatever the score says.
    #[test]
    fn a_defect_decides_before_the_score() {
        let mut event = event(7);
        event.defect_threshold = 0.6;
        event.suspect = Some(crate::verdict::Suspect::Light);
        let defect = crate::verdict::Defect {
            bounds: [0, 0, 2, 2],
            area_px: 4,
            centroid: [1.0, 1.0],
            peak: 0.97,
            mean: 0.9,
            polygon: vec![],
        };
        event.defects = vec![defect.clone()];
        assert_eq!(decided(&event), "map 0.970 ≥ 0.600, 1 defect, light?");
        event.defects.push(defect);
        assert_eq!(decided(&event), "map 0.970 ≥ 0.600, 2 defects, light?");
    }

    #[test]
    fn a_state_says_what_is_missing() {
        let said = |state: &str| {
            let json = format!(r#"{{"session":"00000000-0000-0000-0000-000000000007","version":"1",{state}}}"#);
            readable("a/b/state", json.as_bytes())
        };
        let starting = r#""state":"offline","since":"1970-01-01T00:00:00Z","cameras":{"top":"starting"},"model":null"#;
        assert_eq!(said(starting), "a/b/state: offline since 1970-01-01T00:00:00Z, camera top starting");
        let degraded = r#""state":"degraded","since":null,"cameras":{"side":"online","top":"lost"},"activity":"x",
            "model":{"name":"m","sha256":"","engine":"reference","precision":"fp32"}"#;
        assert_eq!(said(degraded), "a/b/state: degraded, model m, camera top lost, x");
        let many = r#""state":"online","since":null,"cameras":{},"model":null,"activities":[{"kind":"calibrate",
            "camera":"top","parts":7,"wanted":59,"since":"1970-01-01T00:00:00Z","waits":"paused"}]"#;
        let told = "a/b/state: online, top is calibrated: 7 of 59 parts, waits: paused";
        assert_eq!(said(many), told);
    }

    #[test]
    fn nobody_moves_the_cursor_or_adds_a_line() {
        assert_eq!(readable("a/b/verdict", b"no\x1b[2J json\n"), "a/b/verdict: no\\u{1b}[2J json\\n");
        assert_eq!(readable("a/b/alarm", b""), "a/b/alarm: alarm cleared");
        assert_eq!(readable("a\n/b", b"\x9b"), "a\\n/b: \u{fffd}");
        // In every field that is text.
        let mut event = event(7);
        event.line = "caps\x1b]0;x\x07".into();
        event.camera = "top\u{9b}1m".into();
        event.part = Some(Part { id: "A\n2026-01-01T00:00:00Z caps/top #8 pass".into(), trigger: 1 });
        let said = readable("a/b/verdict", &serde_json::to_vec(&event).expect("JSON"));
        let camera = "FAIL caps\\u{1b}]0;x\\u{7}/top\\u{9b}1m #7 ";
        assert!(said.contains(camera) && said.contains("A\\n2026-01-01T00:00:00Z caps/top #8 pass"), "{said}");
        let alarm = r#"{"session":"00000000-0000-0000-0000-000000000007","alarms":[{"kind":"k\u001b","since":"1970-01-01T00:00:00Z","message":"m\nn"}]}"#;
        assert_eq!(readable("a/top/alarm", alarm.as_bytes()), "a/top/alarm: k\\u{1b}: m\\nn");
        assert_eq!(Heard::Trouble("a\x1bb".into()).readable(), "a\\u{1b}b");
        let long = readable("a/b/c", "x".repeat(5000).as_bytes());
        assert_eq!(long.len(), "a/b/c: ".len() + SHOWN);
    }
}

//! What the line `caps` with the camera `top` has said, read out of the broker's messages.

use std::collections::HashSet;

use serde_json::Value;

use super::mosquitto::Message;
use super::schema;

/// Topic of the camera's verdicts.
pub const VERDICTS: &str = "vcp-line/caps/top/verdict";
/// Topic of the camera's alarms.
pub const ALARM: &str = "vcp-line/caps/top/alarm";
/// Topic of the line's state.
pub const STATE: &str = "vcp-line/caps/state";

pub fn is_state(message: &Message, state: &str) -> bool {
    message.topic == STATE && message.json()["state"] == state
}

pub fn is_verdict(message: &Message) -> bool {
    message.topic == VERDICTS
}

/// Sequence number of a verdict; 0 for other messages.
pub fn number(message: &Message) -> u64 {
    if is_verdict(message) { message.json()["seq"].as_u64().unwrap() } else { 0 }
}

/// The events without the doubles that at-least-once delivery allows, each judged by the schema.
pub fn events(messages: &[Message]) -> Vec<Value> {
    let judge = schema::verdict();
    let mut seen = HashSet::new();
    let all = messages.iter().filter(|message| is_verdict(message)).map(Message::json);
    let once: Vec<Value> = all.filter(|event| seen.insert(event["event_id"].as_str().unwrap().to_owned())).collect();
    once.iter().for_each(|event| schema::assert_valid(&judge, event));
    once
}

/// Panics unless the events are numbered 1, 2, 3 … and belong to one start of the service.
pub fn assert_no_gap(events: &[Value]) {
    let numbers: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    assert!(events.iter().all(|event| event["session"] == events[0]["session"]));
}

/// Panics unless every latency is a time that this machine can have needed.
pub fn assert_plausible_latency(events: &[Value]) {
    for event in events {
        let part = |name: &str| event["latency_ms"][name].as_f64().unwrap();
        let parts = ["queue", "preprocess", "inference", "postprocess"].map(part);
        let total = part("total");
        assert!(parts.iter().all(|part| *part >= 0.0), "{event}");
        // Each is rounded by itself.
        assert!(total > 0.0 && total < 20_000.0 && parts.iter().sum::<f64>() <= total + 0.01, "{event}");
        assert!(event["time"]["published"].as_str() >= event["time"]["captured"].as_str(), "{event}");
    }
}

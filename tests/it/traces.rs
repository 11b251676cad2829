//! Traces of parts, taken by a collector that shares no code with the program (opentelemetry-proto and grpcio for Python).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::remote_peers::python;
use crate::support::events::{assert_no_gap, events, is_state, number};
use crate::support::line::{CAROUSEL, Line, Running, finished, settings};
use crate::support::mosquitto::{Mosquitto, Rules, Subscriber, free_port};

fn collector(port: u16) -> Running {
    let mut command = python("collector.py");
    command.arg(port.to_string());
    let collector = Running::start(command);
    collector.printed(1);
    collector
}

fn told(port: u16) -> String {
    format!("[traces]\nendpoint = \"http://127.0.0.1:{port}\"\n{CAROUSEL}")
}

/// What the collector has taken, by trace: span's name to span.
fn traces(collector: &Running) -> BTreeMap<String, BTreeMap<String, Value>> {
    let mut traces: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    for span in collector.stdout().lines().skip(1).map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let text = |key: &str| span[key].as_str().unwrap().to_owned();
        traces.entry(text("trace")).or_default().insert(text("name"), span.clone());
    }
    traces
}

fn trace_of(event: &Value) -> String {
    event["event_id"].as_str().unwrap().replace('-', "")
}

#[test]
fn every_part_is_a_trace_of_its_stages() {
    let port = free_port();
    let mut collector = collector(port);
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let mut line = Line::with_pictures(&settings(broker.port, &told(port)));
    let mut messages = reader.until(|message| number(message) >= 10);
    line.service.signal("TERM");
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
    messages.extend(reader.until(|message| is_state(message, "offline")));
    let events = events(&messages);
    assert_no_gap(&events);
    let traces = traces(&collector);
    let wanted: BTreeSet<String> = events.iter().map(trace_of).collect();
    assert_eq!(traces.keys().cloned().collect::<BTreeSet<_>>(), wanted, "the last parts are told before the end");
    for event in &events {
        let spans = &traces[&trace_of(event)];
        let part = &spans["part"];
        assert_eq!(part["resource"]["service.name"], "vcp-line");
        assert_eq!(part["resource"]["service.instance.id"], event["session"]);
        assert_eq!(part["attributes"]["vcp_line.verdict"], event["verdict"]);
        assert_eq!(part["attributes"]["vcp_line.seq"], event["seq"]);
        let time = |span: &Value, at: &str| span[at].as_i64().unwrap();
        let captured: Timestamp = event["time"]["captured"].as_str().unwrap().parse().unwrap();
        let apart = time(part, "start") - i64::try_from(captured.as_nanosecond()).unwrap();
        assert!(apart.abs() < 5_000_000, "the trace begins {apart} ns from the capture");
        let stages = ["queue", "preprocess", "inference", "postprocess", "publish"];
        assert_eq!(spans.len(), stages.len() + 1, "{spans:?}");
        let mut at = time(part, "start");
        for stage in stages {
            let span = &spans[stage];
            assert_eq!((span["parent"].clone(), time(span, "start")), (part["id"].clone(), at), "{stage}");
            at = time(span, "end");
            let took = event["latency_ms"][stage].as_f64().unwrap_or_default();
            assert!(stage == "publish" || ((at - time(span, "start")) as f64 / 1e6 - took).abs() < 1e-3, "{stage}");
        }
        assert_eq!(at, time(part, "end"));
    }
    collector.signal("TERM");
    collector.end();
}

#[test]
fn a_collector_that_is_away_costs_no_verdict_and_is_found_again() {
    let port = free_port();
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let mut line = Line::with_pictures(&settings(broker.port, &told(port)));
    line.service.logged("the collector does not take traces");
    let mut messages = reader.until(|message| number(message) >= 10);
    let mut collector = collector(port);
    line.service.logged("the collector takes traces");
    messages.extend(reader.until(|message| number(message) >= 60));
    line.service.signal("TERM");
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
    messages.extend(reader.until(|message| is_state(message, "offline")));
    let events = events(&messages);
    assert_no_gap(&events);
    assert_eq!(line.service.times_logged("the collector does not take traces"), 1, "it is said once");
    let traces = traces(&collector);
    assert!(traces.contains_key(&trace_of(events.last().unwrap())));
    collector.signal("TERM");
    collector.end();
}

#[test]
fn an_address_that_is_no_collectors_is_refused_before_the_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("parts")).unwrap();
    let file = folder.path().join("line.toml");
    for address in ["https://collector:4317", "collector:4317", "http://collector", "http://collector:4317/v1/traces"] {
        let traces = format!("[traces]\nendpoint = \"{address}\"\n{CAROUSEL}");
        std::fs::write(&file, settings(1883, &traces)).unwrap();
        let done = finished(&["check", file.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success() && said.contains(&format!("\"{address}\" is no collector's address")), "{said}");
    }
}

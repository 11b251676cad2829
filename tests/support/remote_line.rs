//! A line on a conveyor whose engine are servers, and what it tells while they break.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::consumer::Consumer;
use super::conveyor::{Bench, PATIENCE, stage};
use super::events::{VERDICTS, events};
use super::line::Running;
use super::mosquitto::{Mosquitto, Subscriber};

/// Parts in a second.
pub const FPS: f64 = 20.0;
/// Until parts are judged again, on a machine with much else to do; `deploy/remote.md` has what was measured.
pub const MOST: Duration = Duration::from_secs(6);
/// When a part's outcome is due, after its trigger.
pub const DEADLINE: Duration = Duration::from_millis(600);

/// A line on a conveyor whose engine is these servers.
pub struct Remote {
    broker: Mosquitto,
    consumer: Consumer,
    bench: Bench,
    pub service: Running,
    verdicts: Subscriber,
}

impl Remote {
    /// `more` are further lines of `[model.remote]`.
    pub fn start(addresses: &[String], more: &str) -> Self {
        let (broker, consumer, mut bench) = stage();
        let trigger = format!("[camera.trigger]\nmode = \"hardware\"\ndeadline_ms = {}\n", DEADLINE.as_millis());
        bench.camera.push_str(&trigger);
        let remote = format!("[model.remote]\nendpoints = {addresses:?}\n{more}");
        let command = bench.command(broker.port, "127.0.0.1", None, FPS, &remote);
        let file = bench.folder.path().join("line.toml");
        let text = fs::read_to_string(&file).unwrap().replace("engine = \"reference\"", "engine = \"remote\"");
        // Addresses are those of servers, not of the broker.
        fs::write(&file, text).unwrap();
        let verdicts = Subscriber::start(broker.port, VERDICTS, &[]);
        let service = Running::start(command);
        let mut line = Self { broker, consumer, bench, service, verdicts };
        line.consumer.until_parts(20, PATIENCE);
        line
    }

    pub fn more(&mut self, parts: u64) {
        self.consumer.until_parts(self.bench.delivered() + parts, PATIENCE);
    }

    /// Verdicts until now.
    pub fn told(&mut self) -> Vec<Value> {
        let mut messages = Vec::new();
        while let Some(message) = self.verdicts.next(Duration::from_millis(5)) {
            messages.push(message);
        }
        let events = events(&messages);
        for event in &events {
            assert_eq!(event["model"]["engine"], "remote");
            match event["verdict"].as_str() {
                Some("no_verdict") => {
                    let reason = event["reason"].as_str().unwrap();
                    assert!(["engine_error", "deadline", "overrun"].contains(&reason), "{event}");
                }
                _ => assert!(event["score"].is_number(), "{event}"),
            }
        }
        events
    }

    /// Once the parts that were looked at before have been told, nobody looks.
    pub fn nobody_looks(&mut self) {
        std::thread::sleep(DEADLINE);
        self.told();
        self.more(20);
        assert_eq!(judged(&self.told()), 0, "nobody has looked");
    }

    /// Parts are judged again soon after now.
    pub fn recovers(&mut self, what: &str) {
        let since = Instant::now();
        while judged(&self.told()) == 0 {
            assert!(since.elapsed() < PATIENCE, "{what}: no part is judged any more");
        }
        let took = since.elapsed();
        println!("{what}: judged again after {took:?}");
        assert!(took < MOST, "{what}: {took:?}");
    }

    /// Every part has one event, in order, at its deadline at the latest.
    pub fn end(mut self, fault: &str) {
        self.bench.end(&mut self.service, &mut self.consumer, fault);
        let times = self.consumer.times();
        println!(
            "capture to verdict: p50 {} ms, p99 {} ms, max {} ms",
            times.text("p50"),
            times.text("p99"),
            times.text("max")
        );
        let p99: f64 = times.text("p99").parse().unwrap();
        assert!(p99 < 2.0 * DEADLINE.as_millis() as f64, "{fault}: p99 {p99} ms");
        drop(self.broker);
    }
}

/// Events of parts that somebody has looked at.
pub fn judged(events: &[Value]) -> usize {
    events.iter().filter(|event| event["verdict"] != "no_verdict").count()
}

/// Half of the parts at least were looked at.
pub fn most_judged(events: &[Value]) {
    let (judged, all) = (judged(events), events.len());
    println!("{judged} of {all} judged");
    assert!(2 * judged >= all, "{judged} of {all}");
}

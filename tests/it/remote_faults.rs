//! What becomes of the servers that look for a line: killed, hung, slow, most of them gone. Every part has one event, in order,
//! and none passes that nobody has looked at.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::consumer::Consumer;
use crate::support::conveyor::{Bench, PATIENCE, soak, stage};
use crate::support::events::{VERDICTS, events};
use crate::support::line::Running;
use crate::support::mosquitto::{Mosquitto, Subscriber};
use crate::support::serve::Server;

/// Parts in a second.
const FPS: f64 = 20.0;
/// Until parts are judged again, on a machine with much else to do; alone it takes less than 2 s.
const MOST: Duration = Duration::from_secs(10);
/// When a part's outcome is due, after its trigger.
const DEADLINE: Duration = Duration::from_millis(600);

/// A line on a conveyor whose engine is these servers.
struct Remote {
    broker: Mosquitto,
    consumer: Consumer,
    bench: Bench,
    service: Running,
    verdicts: Subscriber,
}

impl Remote {
    fn start(servers: &[&Server], more: &str) -> Self {
        let (broker, consumer, mut bench) = stage();
        let trigger = format!("[camera.trigger]\nmode = \"hardware\"\ndeadline_ms = {}\n", DEADLINE.as_millis());
        bench.camera.push_str(&trigger);
        let endpoints: Vec<String> = servers.iter().map(|server| format!("\"{}\"", server.address())).collect();
        let remote = format!("[model.remote]\nendpoints = [{}]\n{more}", endpoints.join(", "));
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

    fn more(&mut self, parts: u64) {
        self.consumer.until_parts(self.bench.delivered() + parts, PATIENCE);
    }

    /// Verdicts until now.
    fn told(&mut self) -> Vec<Value> {
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

    fn end(mut self, fault: &str) {
        self.bench.end(&mut self.service, &mut self.consumer, fault);
        let times = self.consumer.times();
        println!("capture to verdict: p50 {} ms, p99 {} ms", times.text("p50"), times.text("p99"));
        drop(self.broker);
    }
}

fn judged(events: &[Value]) -> usize {
    events.iter().filter(|event| event["verdict"] != "no_verdict").count()
}

/// Time from `since` until parts are judged again.
fn until_judged(line: &mut Remote, since: Instant) -> Duration {
    loop {
        if judged(&line.told()) > 0 {
            return since.elapsed();
        }
        assert!(since.elapsed() < PATIENCE, "no part is judged any more");
    }
}

#[test]
fn server_killed_and_started_again() {
    let mut server = Server::start(&[]);
    let mut line = Remote::start(&[&server], "");
    let rounds = if soak().is_some() { 20 } else { 2 };
    for _ in 0..rounds {
        line.more(20);
        line.told();
        server.kill();
        std::thread::sleep(Duration::from_millis(100));
        line.told();
        line.more(20);
        let meanwhile = line.told();
        assert_eq!(judged(&meanwhile), 0, "nobody has looked");
        server.restart();
        let recovered = until_judged(&mut line, Instant::now());
        println!("judged again after {recovered:?}");
        assert!(recovered < MOST, "{recovered:?}");
    }
    line.end("server of the model killed and started again");
}

#[test]
fn server_hung() {
    let (hung, other) = (Server::start(&[]), Server::start(&[]));
    let mut line = Remote::start(&[&hung, &other], "");
    line.more(30);
    line.told();
    hung.running.signal("STOP");
    line.more(60);
    let meanwhile = line.told();
    let (judged, all) = (judged(&meanwhile), meanwhile.len());
    // The other one answers for all but those that were on their way.
    println!("{judged} of {all} judged");
    assert!(2 * judged >= all, "{judged} of {all}");
    hung.running.signal("CONT");
    line.more(20);
    line.end("one of two servers hung (SIGSTOP)");
}

#[test]
fn only_server_hung() {
    let server = Server::start(&[]);
    let mut line = Remote::start(&[&server], "");
    line.more(10);
    server.running.signal("STOP");
    line.more(40);
    line.told();
    server.running.signal("CONT");
    let recovered = until_judged(&mut line, Instant::now());
    println!("judged again after {recovered:?}");
    assert!(recovered < MOST, "{recovered:?}");
    line.more(20);
    line.end("the only server hung (SIGSTOP) and back");
}

#[test]
fn server_slow() {
    let (slow, other) = (Server::start(&[]), Server::start(&[]));
    let mut line = Remote::start(&[&slow, &other], "");
    line.more(20);
    line.told();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                slow.running.signal("STOP");
                std::thread::sleep(Duration::from_millis(90));
                slow.running.signal("CONT");
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        line.more(60);
        over.store(true, Ordering::Relaxed);
    });
    let meanwhile = line.told();
    let (judged, all) = (judged(&meanwhile), meanwhile.len());
    println!("{judged} of {all} judged");
    assert!(2 * judged >= all, "{judged} of {all}");
    line.end("one of two servers ten times as slow");
}

#[test]
fn two_of_three_servers_die() {
    let mut servers = [Server::start(&[]), Server::start(&[]), Server::start(&[])];
    let mut line = Remote::start(&servers.each_ref(), "map = \"uint16\"\n");
    line.more(20);
    line.told();
    for server in servers.iter_mut().take(2) {
        server.kill();
        line.more(20);
    }
    let meanwhile = line.told();
    let (judged, all) = (judged(&meanwhile), meanwhile.len());
    println!("{judged} of {all} judged");
    assert!(2 * judged >= all, "{judged} of {all}");
    line.end("two of three servers killed");
}

//! Cameras that fail, and an engine that cannot follow, while a controller triggers parts: every accepted part gets one
//! event, in order, in time, with the reason. Rows of the table as in `outbox_faults.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use crate::support::commands::{ACK, Sender, http, part, publish};
use crate::support::consumer::Consumer;
use crate::support::conveyor::{PATIENCE, soak};
use crate::support::line::{Line, settings, write_token};
use crate::support::mosquitto::{Mosquitto, Rules, Subscriber, free_port};
use crate::support::netns::{FakeCamera, Network, or_skip};
use crate::support::rtsp_server::{Codec, RtspServer};
use serde_json::Value;

/// A part without a verdict after this time gets `no_verdict`.
const DEADLINE_MS: f64 = 2000.0;
/// What a busy machine may add to it until the event is out.
const SLACK_MS: f64 = 2000.0;
const TOKEN: &str = "open-sesame-please";
/// Between two triggers.
const BEAT: Duration = Duration::from_millis(100);

fn outage() -> Duration {
    Duration::from_secs(if soak().is_some() { 30 } else { 6 })
}

/// How the controller speaks to the line.
enum Mouth {
    Mqtt(Sender),
    Http(u16),
}

/// A line with one camera, and a controller that triggers parts and keeps what was acknowledged.
struct Controller {
    broker: Mosquitto,
    consumer: Consumer,
    events: Subscriber,
    acks: Subscriber,
    line: Line,
    mouth: Mouth,
    sent: u64,
    /// Parts whose triggers were acknowledged, in this order.
    accepted: Vec<String>,
    seen: Vec<Value>,
}

impl Controller {
    /// `camera` are the lines of the `[[camera]]` table without its name.
    fn start(camera: &str, over_http: bool) -> Self {
        let broker = Mosquitto::start(Rules::default());
        let consumer = Consumer::start(broker.port);
        let events = Subscriber::start(broker.port, "vcp-line/caps/top/verdict", &[]);
        let acks = Subscriber::start(broker.port, ACK, &[]);
        let port = free_port();
        let http = format!("[http]\nlisten = \"127.0.0.1:{port}\"\ntoken_file = \"token\"\n");
        let tables = format!(
            "{}[[camera]]\nname = \"top\"\nreopen_min_ms = 200\nreopen_max_ms = 1000\n{camera}\
             [camera.trigger]\nmode = \"software\"\ndeadline_ms = {DEADLINE_MS}\n",
            if over_http { &http } else { "" }
        );
        let folder = tempfile::tempdir().unwrap();
        write_token(folder.path(), TOKEN);
        let line = Line::run_in(folder, &settings(broker.port, &tables), |_| {});
        line.service.logged("commands can come in");
        line.service.logged("1 camera, engine reference");
        let mouth = if over_http { Mouth::Http(port) } else { Mouth::Mqtt(Sender::start(broker.port, "trigger")) };
        Self { broker, consumer, events, acks, line, mouth, sent: 0, accepted: Vec::new(), seen: Vec::new() }
    }

    fn trigger(&mut self) {
        self.sent += 1;
        let id = format!("F-{:05}", self.sent);
        match &mut self.mouth {
            Mouth::Mqtt(sender) => sender.send(&part(&id)),
            Mouth::Http(port) => {
                let (status, said) = http(*port, "POST", "/api/trigger", Some(TOKEN), &part(&id).to_string());
                assert_eq!((status, &said["ok"]), (200, &Value::Bool(true)), "{said}");
                self.accepted.push(id);
            }
        }
        std::thread::sleep(BEAT);
        while let Some(event) = self.events.next(Duration::ZERO) {
            self.seen.push(event.json());
        }
    }

    fn triggers_for(&mut self, length: Duration) {
        let began = Instant::now();
        while began.elapsed() < length {
            self.trigger();
        }
    }

    /// Triggers until so many more parts have got a verdict from a frame for which `fits`.
    fn until_judged(&mut self, count: usize, fits: impl Fn(&Value) -> bool) {
        let began = Instant::now();
        let from = self.seen.len();
        while self.seen[from..].iter().filter(|event| event["reason"].is_null() && fits(event)).count() < count {
            assert!(began.elapsed() < PATIENCE, "no verdicts\n{}", self.line.service.stderr());
            self.trigger();
        }
    }

    /// Judges everything; the reasons that were given, with their numbers.
    fn end(mut self, fault: &str) -> BTreeMap<String, usize> {
        drop(self.mouth);
        self.consumer.until_parts(self.sent, PATIENCE);
        self.line.service.signal("TERM");
        assert_eq!(self.line.service.end().code(), Some(0), "{}", self.line.service.stderr());
        self.consumer.until_quiet();
        // Every trigger was acknowledged: none was refused, none was lost on its way in.
        while (self.accepted.len() as u64) < self.sent {
            let ack = self.acks.next(PATIENCE).expect("an acknowledgement for every trigger").json();
            assert_eq!(ack["ok"], true, "{ack}");
            self.accepted.push(ack["applied"]["part"]["id"].as_str().unwrap().to_owned());
        }
        let parts = self.line.folder.path().join("parts.jsonl");
        let lines: String = self.accepted.iter().map(|id| format!("{{\"part\":\"{id}\"}}\n")).collect();
        fs::write(&parts, lines).unwrap();
        let report = self.consumer.judge(&[parts]);
        report.row(fault);
        assert_eq!((report.unaccepted(), report.number("parts")), (vec![0], self.sent));
        while let Some(event) = self.events.next(Duration::ZERO) {
            self.seen.push(event.json());
        }
        let mut reasons = BTreeMap::new();
        for event in &self.seen {
            let latency = event["latency_ms"]["total"].as_f64().unwrap();
            assert!(latency <= DEADLINE_MS + SLACK_MS, "too late for the gate: {event}");
            let reason = event["reason"].as_str().unwrap_or("judged").to_owned();
            *reasons.entry(reason).or_default() += 1;
        }
        println!("  {fault}: {reasons:?}");
        drop(self.broker);
        reasons
    }
}

/// Only these reasons are a camera's.
fn assert_camera_failed(reasons: &BTreeMap<String, usize>, at_least: usize) {
    let failed: usize = ["camera_lost", "deadline"].iter().filter_map(|reason| reasons.get(*reason)).sum();
    let judged = reasons.get("judged").copied().unwrap_or(0);
    assert!(failed >= at_least, "{reasons:?}");
    assert_eq!(failed + judged, reasons.values().sum::<usize>(), "{reasons:?}");
}

/// The cable of a GigE Vision camera is pulled and plugged in again.
#[test]
fn unplugged() {
    let Some(network) = or_skip(Network::from_host()) else { return };
    let Some(_camera) = or_skip(FakeCamera::start(&network)) else { return };
    let table = format!(
        "source = \"aravis\"\ncamera = \"{}\"\npixel_format = \"Mono8\"\npacket_size = 8000\n",
        network.far_address()
    );
    let mut controller = Controller::start(&table, false);
    controller.until_judged(10, |_| true);
    network.unplug();
    controller.triggers_for(outage());
    network.plug();
    controller.until_judged(10, |_| true);
    let reasons = controller.end("camera unplugged");
    assert_camera_failed(&reasons, 20);
}

/// A camera stops sending without closing anything; the controller triggers over HTTP.
#[test]
fn stalled() {
    let camera = RtspServer::start(Codec::Jpeg, 160, 120, 25);
    let mut controller = Controller::start(&format!("source = \"rtsp\"\nurl = \"{}\"\n", camera.url()), true);
    controller.until_judged(10, |_| true);
    camera.freeze();
    controller.triggers_for(outage());
    camera.thaw();
    controller.until_judged(10, |_| true);
    let reasons = controller.end("camera stalled");
    assert_camera_failed(&reasons, 20);
}

/// A camera ends and comes back with another size, codec and rate.
#[test]
fn restarted_with_another_format() {
    let camera = RtspServer::start(Codec::Jpeg, 160, 120, 25);
    let url = camera.url();
    let port = url.rsplit_once(':').and_then(|(_, rest)| rest.split('/').next()?.parse().ok()).expect("a port");
    let mut controller = Controller::start(&format!("source = \"rtsp\"\nurl = \"{url}\"\n"), false);
    controller.until_judged(10, |event| event["frame"]["width"] == 160);
    drop(camera);
    controller.triggers_for(outage() / 2);
    let _camera = RtspServer::start_at(port, Codec::H264, 320, 240, 15);
    controller.until_judged(10, |event| event["frame"]["width"] == 320);
    let reasons = controller.end("camera restarted with another format");
    assert_camera_failed(&reasons, 10);
}

/// Somebody pauses the camera and the controller goes on: its parts are told at once why they have no verdict.
#[test]
fn paused_while_triggered() {
    let mut controller =
        Controller::start("source = \"synthetic\"\nclasses = [\"ring\"]\nsize = 64\npool = 4\nfps = 20.0\n", false);
    controller.until_judged(10, |_| true);
    publish(controller.broker.port, "pause", b"{}", &[]);
    controller.triggers_for(outage());
    publish(controller.broker.port, "resume", b"{}", &[]);
    controller.until_judged(10, |_| true);
    let reasons = controller.end(&format!("camera paused for {} s while triggered", outage().as_secs()));
    assert!(reasons["paused"] >= outage().as_secs() as usize * 5 && reasons["judged"] >= 20, "{reasons:?}");
}

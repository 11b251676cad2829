//! Parts through the real program and a real broker: one event for every trigger, in order, whatever happens.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::commands::{ACK, Sender, part};
use crate::support::events::{assert_no_gap, events, is_state, is_verdict};
use crate::support::line::{Line, PATIENCE, settings};
use crate::support::mosquitto::{Message, Mosquitto, Rules, Subscriber};
#[cfg(feature = "gstreamer")]
use crate::support::rtsp_server;
use serde_json::Value;

/// Synthetic products at this pace, triggered as these lines say.
fn products(fps: f64, trigger: &str) -> String {
    format!(
        "[[camera]]\nname = \"top\"\nsource = \"synthetic\"\nclasses = [\"pill\"]\nsize = 64\npool = 4\nqueue = 600\n\
         fps = {fps:.1}\ntruth_file = \"truth.jsonl\"\n[camera.trigger]\n{trigger}\n"
    )
}

fn part_of(event: &Value) -> &str {
    event["part"]["id"].as_str().unwrap()
}

fn reason_of(event: &Value) -> Option<&str> {
    event["reason"].as_str()
}

/// The line listens to commands.
fn listening(line: &Line) {
    line.service.logged("commands can come in");
    line.service.logged("1 camera, engine reference");
}

fn stop(line: &mut Line, reader: &Subscriber) -> Vec<Message> {
    line.service.signal("TERM");
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
    reader.until(|message| is_state(message, "offline"))
}

#[test]
fn five_hundred_triggers_give_five_hundred_events_in_order() {
    const PARTS: usize = 500;
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let camera = products(100.0, "mode = \"software\"\ndeadline_ms = 60000");
    let mut line = Line::run(&settings(broker.port, &camera));
    listening(&line);
    let mut sender = Sender::start(broker.port, "trigger");
    (1..=PARTS).for_each(|number| sender.send(&part(&format!("P-{number:04}"))));
    drop(sender);
    let mut seen = 0;
    let mut messages = Vec::new();
    let began = Instant::now();
    while seen < PARTS {
        assert!(began.elapsed() < Duration::from_secs(90), "{seen} events\n{}", line.service.stderr());
        let Some(message) = reader.next(Duration::from_millis(200)) else { continue };
        seen += usize::from(is_verdict(&message));
        messages.push(message);
    }
    messages.extend(stop(&mut line, &reader));
    let events = events(&messages);
    assert_eq!(events.len(), PARTS);
    assert_no_gap(&events);
    let mut frames = 0;
    for (event, number) in events.iter().zip(1_u64..) {
        assert_eq!((part_of(event), event["part"]["trigger"].as_u64()), (&*format!("P-{number:04}"), Some(number)));
        assert_eq!(reason_of(event), None, "{event}");
        let frame = event["frame"]["seq"].as_u64().unwrap() + 1;
        assert!(frame > frames, "a frame served two parts: {event}");
        frames = frame;
    }
    let acks: Vec<Value> = messages.iter().filter(|message| message.topic == ACK).map(Message::json).collect();
    assert_eq!(acks.len(), PARTS);
    assert!(acks.iter().all(|ack| ack["ok"] == true && ack["applied"]["part"]["id"] == ack["correlation_id"]));
}

/// A picture a second; commands come 200 ms before and after, with 400 ms of window.
#[test]
fn commands_before_and_after_their_frames_find_them() {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/caps/top/verdict", &[]);
    let camera = products(1.0, "mode = \"matched\"\nwindow_ms = 400\ndeadline_ms = 5000");
    let line = Line::run(&settings(broker.port, &camera));
    listening(&line);
    let mut sender = Sender::start(broker.port, "trigger");
    let truth = line.folder.path().join("truth.jsonl");
    let frames = || fs::read_to_string(&truth).unwrap_or_default().lines().count();
    let next_frame = || {
        let (before, began) = (frames(), Instant::now());
        while frames() == before {
            assert!(began.elapsed() < PATIENCE, "no frame");
            std::thread::sleep(Duration::from_millis(5));
        }
        // Frames count from 0.
        frames() - 1
    };
    let mut expected = Vec::new();
    for turn in 0..3 {
        let frame = next_frame();
        sender.send(&part(&format!("after-{turn}")));
        expected.push((format!("after-{turn}"), Some(frame as u64), None));
        std::thread::sleep(Duration::from_millis(800));
        sender.send(&part(&format!("before-{turn}")));
        expected.push((format!("before-{turn}"), Some(frame as u64 + 1), None));
        // The frame of the latter, then one that nobody asks for.
        next_frame();
    }
    next_frame();
    // Half way between two frames there is none to be found.
    std::thread::sleep(Duration::from_millis(500));
    sender.send(&part("nowhere"));
    expected.push(("nowhere".into(), None, Some("camera_lost".to_owned())));
    let mut seen = 0;
    let messages = reader.until(|_| {
        seen += 1;
        seen == expected.len()
    });
    let found: Vec<_> = events(&messages)
        .iter()
        .map(|event| (part_of(event).to_owned(), event["frame"]["seq"].as_u64(), reason_of(event).map(str::to_owned)))
        .collect();
    assert_eq!(found, expected);
}

/// No engine answers within a millisecond: every part is given up in time, none waits for the engine.
#[test]
fn an_engine_slower_than_the_deadline_costs_verdicts_and_no_events() {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let camera = products(50.0, "deadline_ms = 1").replace("queue = 600", "queue = 2");
    let mut line = Line::run(&settings(broker.port, &camera));
    let mut seen = 0;
    let mut messages = reader.until(|message| {
        seen += usize::from(is_verdict(message));
        seen == 100
    });
    messages.extend(stop(&mut line, &reader));
    let events = events(&messages);
    assert_no_gap(&events);
    let triggers: Vec<u64> = events.iter().map(|event| event["part"]["trigger"].as_u64().unwrap()).collect();
    assert_eq!(triggers, (1..=events.len() as u64).collect::<Vec<_>>(), "every part once, in order");
    let reasons: Vec<_> = events.iter().filter_map(reason_of).collect();
    let known = ["deadline", "overrun", "camera_lost"];
    assert!(reasons.iter().all(|reason| known.contains(reason)), "{reasons:?}");
    assert!(reasons.iter().filter(|reason| **reason == "deadline").count() * 10 >= events.len() * 9, "{reasons:?}");
}

/// Parts that were acknowledged are answered across a crash: by their verdict, or by the next start.
#[test]
fn a_killed_line_answers_every_part_that_it_has_acknowledged() {
    const PARTS: usize = 40;
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let camera = products(5.0, "mode = \"software\"\ndeadline_ms = 60000");
    let text = settings(broker.port, &camera);
    let line = Line::run(&text);
    listening(&line);
    let mut sender = Sender::start(broker.port, "trigger");
    let id = |number: usize| format!("K-{number:02}");
    (0..PARTS).for_each(|number| sender.send(&part(&id(number))));
    drop(sender);
    let (mut acks, mut judged) = (0, 0);
    let mut messages = reader.until(|message| {
        acks += usize::from(message.topic == ACK && message.json()["ok"] == true);
        judged += usize::from(is_verdict(message));
        acks == PARTS && judged >= 2
    });
    // At once: an acknowledged part is on disk.
    line.service.signal("KILL");
    let Line { folder, mut service } = line;
    assert_eq!(service.end().code(), None);
    let mut line = Line::run_in(folder, &text, |_| {});
    let last = id(PARTS - 1);
    messages.extend(reader.until(|message| is_verdict(message) && message.json()["part"]["id"] == *last));
    messages.extend(stop(&mut line, &reader));
    let events = events(&messages);
    let told: Vec<&str> = events.iter().map(part_of).collect();
    assert_eq!(told, (0..PARTS).map(id).collect::<Vec<_>>(), "each once, in order");
    let restarted = events.iter().filter(|event| reason_of(event) == Some("restarted")).count();
    assert!(restarted > 0 && restarted <= PARTS - 2, "{restarted}");
}

#[cfg(feature = "gstreamer")]
#[test]
fn a_camera_that_is_unplugged_owes_its_parts_an_answer_at_once() {
    let camera = rtsp_server::RtspServer::start(rtsp_server::Codec::Jpeg, 160, 120, 20);
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let table = format!(
        "[[camera]]\nname = \"top\"\nsource = \"rtsp\"\nurl = \"{}\"\n[camera.trigger]\nmode = \"software\"\n\
         deadline_ms = 60000\n",
        camera.url()
    );
    let mut line = Line::run(&settings(broker.port, &table));
    listening(&line);
    let mut sender = Sender::start(broker.port, "trigger");
    sender.send(&part("seen"));
    let mut messages = reader.until(is_verdict);
    drop(camera);
    messages.extend(reader.until(|message| is_state(message, "degraded")));
    let began = Instant::now();
    sender.send(&part("unseen"));
    messages.extend(reader.until(is_verdict));
    assert!(began.elapsed() < Duration::from_secs(10), "far from its deadline: {:?}", began.elapsed());
    messages.extend(stop(&mut line, &reader));
    let events = events(&messages);
    assert_no_gap(&events);
    let told: Vec<_> = events.iter().map(|event| (part_of(event), reason_of(event))).collect();
    assert_eq!(told, [("seen", None), ("unseen", Some("camera_lost"))]);
    assert!(events[1]["frame"].is_null() && events[1]["score"].is_null());
}

//! The real program with real sources and a real broker, read by an independent client.

use std::time::{Duration, Instant};

use crate::support::events::{self, assert_no_gap, assert_plausible_latency, events, is_state, is_verdict};
use crate::support::line::{self, CAROUSEL, FOLDER, Line, PICTURES, settings};
use crate::support::mosquitto::{Message, Mosquitto, Rules, Subscriber};
use crate::support::schema;
#[cfg(feature = "gstreamer")]
use crate::support::{netns, rtsp_server};
use serde_json::Value;

/// Default of `[stop] deadline_s`, and time for the process itself.
const STOP: Duration = Duration::from_secs(12);

/// Reads verdicts up to this many, stops the service, reads to its last word, and judges the whole.
fn judged_run(mut line: Line, reader: &Subscriber, count: usize) -> Vec<Value> {
    let mut seen = 0;
    let mut messages = reader.until(|message| {
        seen += usize::from(is_verdict(message));
        seen == count
    });
    let began = Instant::now();
    line.service.signal("TERM");
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
    assert!(began.elapsed() < STOP, "{:?}", began.elapsed());
    messages.extend(reader.until(|message| is_state(message, "offline")));
    let events = events(&messages);
    assert!(events.len() >= count);
    assert_no_gap(&events);
    assert_plausible_latency(&events);
    // Everything that was inspected has reached the client.
    let told = ["events", "acked", "unsent"].map(|name| line.at_the_end(name));
    assert_eq!(told, [events.len() as u64, events.len() as u64, 0]);
    events
}

#[test]
fn a_folder_of_twelve_images_gives_twelve_events_and_the_line_ends_by_itself() {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let mut line = Line::with_pictures(&settings(broker.port, FOLDER));
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
    let messages = reader.until(|message| is_state(message, "offline") && !message.json()["model"].is_null());

    let events = events(&messages);
    assert_eq!(events.len(), PICTURES.len());
    assert_no_gap(&events);
    assert_plausible_latency(&events);
    for (event, (width, height)) in events.iter().zip(PICTURES) {
        assert_eq!((&event["frame"]["width"], &event["frame"]["height"]), (&width.into(), &height.into()));
        assert!(event["verdict"] != "no_verdict" && event["score"].as_f64().unwrap() > 0.0, "{event}");
    }
    let states: Vec<Value> =
        messages.iter().filter(|message| message.topic == events::STATE).map(Message::json).collect();
    let words: Vec<&str> = states.iter().map(|state| state["state"].as_str().unwrap()).collect();
    let online = words.iter().position(|&word| word == "online").expect("online");
    assert!(words[..online].iter().all(|&word| word == "offline"), "{words:?}");
    assert!(words[online..words.len() - 1].iter().all(|&word| word == "online"), "{words:?}");
    states.iter().for_each(|state| schema::assert_valid(&schema::state(), state));
    assert_eq!(["events", "acked", "unsent"].map(|name| line.at_the_end(name)), [12, 12, 0]);
    let last = Subscriber::start(broker.port, events::STATE, &[]).next(line::PATIENCE).expect("retained");
    assert!(last.retained && is_state(&last, "offline"), "{last:?}");
}

#[test]
fn sigterm_drains_a_line_that_would_go_on_for_ever() {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    judged_run(Line::with_pictures(&settings(broker.port, CAROUSEL)), &reader, 40);
}

#[cfg(feature = "gstreamer")]
#[test]
fn a_network_cameras_pictures_become_events_until_sigterm() {
    let camera = rtsp_server::RtspServer::start(rtsp_server::Codec::Jpeg, 160, 120, 20);
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let table = format!("[[camera]]\nname = \"top\"\nsource = \"rtsp\"\nurl = \"{}\"\n", camera.url());
    for event in judged_run(Line::run(&settings(broker.port, &table)), &reader, 25) {
        assert_eq!((&event["frame"]["width"], &event["frame"]["height"]), (&160.into(), &120.into()));
    }
}

#[cfg(feature = "gstreamer")]
#[test]
fn a_gige_vision_cameras_pictures_become_events_until_sigterm() {
    let Some(network) = netns::or_skip(netns::Network::from_host()) else { return };
    let Some(_camera) = netns::or_skip(netns::FakeCamera::start(&network)) else { return };
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let table = format!(
        "[[camera]]\nname = \"top\"\nsource = \"aravis\"\ncamera = \"{}\"\npixel_format = \"Mono8\"\npacket_size = 8000\n",
        network.far_address()
    );
    for event in judged_run(Line::run(&settings(broker.port, &table)), &reader, 25) {
        assert_eq!((&event["frame"]["width"], &event["frame"]["height"]), (&512.into(), &512.into()));
    }
}

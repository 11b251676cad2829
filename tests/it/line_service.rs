//! The real program as others meet it: systemd, a camera that is away, people in front of a terminal.

use std::os::unix::net::UnixDatagram;

use crate::support::line::{CAROUSEL, FOLDER, Line, PATIENCE, Running, finished, pictures, program, settings};
use crate::support::mosquitto::{Mosquitto, Rules};
use crate::support::schema;
#[cfg(feature = "gstreamer")]
use crate::support::{events, mosquitto, mosquitto::Subscriber, rtsp_server};

#[test]
fn systemd_hears_ready_then_signs_of_life_then_stopping() {
    let broker = Mosquitto::start(Rules::default());
    let folder = tempfile::tempdir().unwrap();
    pictures(&folder.path().join("parts"));
    let socket = folder.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let next = || {
        let mut bytes = [0; 4096];
        let length = manager.recv(&mut bytes).expect("the service speaks in time");
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    let mut line = Line::run_in(folder, &settings(broker.port, CAROUSEL), |command| {
        command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "400000");
    });
    assert_eq!(next(), "STATUS=loading the model");
    assert_eq!(next(), "READY=1\nSTATUS=1 camera, engine reference fp32");
    // Ready means warmed up and looking.
    line.service.logged("engine ready");
    line.service.logged("camera open");
    for _ in 0..4 {
        assert_eq!(next(), "WATCHDOG=1");
    }
    line.service.signal("TERM");
    let after = std::iter::repeat_with(next).find(|message| message != "WATCHDOG=1");
    assert_eq!(after.as_deref(), Some("STOPPING=1"));
    assert_eq!(line.service.end().code(), Some(0));
    line.service.logged("stopped events=");
}

#[test]
fn a_line_that_ends_by_itself_says_stopping_and_feeds_no_watchdog_unasked() {
    let broker = Mosquitto::start(Rules::default());
    let folder = tempfile::tempdir().unwrap();
    pictures(&folder.path().join("parts"));
    let socket = folder.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut line = Line::run_in(folder, &settings(broker.port, FOLDER), |command| {
        command.env("NOTIFY_SOCKET", &socket);
    });
    let mut said = Vec::new();
    while said.last().is_none_or(|last| last != "STOPPING=1") {
        let mut bytes = [0; 4096];
        let length = manager.recv(&mut bytes).expect("the service speaks in time");
        said.push(String::from_utf8(bytes[..length].to_vec()).unwrap());
    }
    assert_eq!(said.len(), 3, "{said:?}");
    assert_eq!(line.service.end().code(), Some(0));
}

#[cfg(feature = "gstreamer")]
#[test]
fn a_camera_that_comes_later_is_awaited_with_an_alarm() {
    use crate::support::events::{ALARM, is_state, number};

    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let port = mosquitto::free_port();
    let table = format!(
        "[[camera]]\nname = \"top\"\nsource = \"rtsp\"\nurl = \"rtsp://127.0.0.1:{port}/line\"\n\
         reopen_min_ms = 100\nreopen_max_ms = 500\n"
    );
    let mut line = Line::run(&settings(broker.port, &table));
    let messages = reader.until(|message| is_state(message, "degraded"));
    let state = messages.last().unwrap().json();
    schema::assert_valid(&schema::state(), &state);
    assert_eq!(state["cameras"]["top"], "lost");
    let alarm = Subscriber::start(broker.port, ALARM, &[]).next(PATIENCE).expect("the alarm is retained");
    assert!(alarm.retained);
    let told = &alarm.json()["alarms"][0];
    assert_eq!(told["kind"], "camera_lost");
    let expected = format!("camera 'top' (rtsp://127.0.0.1:{port}/line) is not reachable: ");
    assert!(told["message"].as_str().unwrap().starts_with(&expected), "{told}");
    assert!(line.service.is_running());

    let _camera = rtsp_server::RtspServer::start_at(port, rtsp_server::Codec::Jpeg, 160, 120, 20);
    let messages = reader.until(|message| number(message) >= 5);
    assert!(messages.iter().any(|message| message.topic == ALARM && message.payload.is_empty()), "{messages:?}");
    assert!(messages.iter().any(|message| is_state(message, "online")), "{messages:?}");
    events::assert_no_gap(&events::events(&messages));
    line.service.signal("TERM");
    assert_eq!(line.service.end().code(), Some(0));
}

#[cfg(feature = "gstreamer")]
#[test]
fn frames_that_come_too_fast_raise_one_alarm_and_are_counted_in_the_events() {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let table = "[[camera]]\nname = \"top\"\nsource = \"launch\"\nqueue = 1\n\
                 description = \"videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=1000/1\"\n";
    let mut line = Line::run(&settings(broker.port, table));
    let mut messages = reader.until(|message| message.topic == events::ALARM && !message.payload.is_empty());
    let alarm = messages.last().unwrap().json();
    assert_eq!(alarm["alarms"][0]["kind"], "drops");
    let told = alarm["alarms"][0]["message"].as_str().unwrap();
    assert!(told.starts_with("camera 'top' drops frames: they come faster than they are inspected; "), "{told}");
    line.service.signal("TERM");
    assert_eq!(line.service.end().code(), Some(0));
    messages.extend(reader.until(|message| events::is_state(message, "offline")));
    let events = events::events(&messages);
    events::assert_no_gap(&events);
    assert!(events.iter().any(|event| event["frame"]["skipped_before"].as_u64().unwrap() > 0));
    assert_eq!(line.service.times_logged("drops frames"), 1);
}

#[test]
fn watch_prints_the_verdicts_as_they_come() {
    let broker = Mosquitto::start(Rules::default());
    let url = format!("mqtt://127.0.0.1:{}", broker.port);
    let mut watch = Running::start(program(&["watch", "--text", &url]));
    // Nobody looks: JSON.
    let mut piped = Running::start(program(&["watch", &url]));
    let mut fails = Running::start(program(&["watch", "--fails", &url]));
    let text = settings(broker.port, CAROUSEL);
    let _line = Line::with_pictures(&text);
    let said = watch.printed(12);
    assert!(said.contains("vcp-line/caps/state: online since ") && said.contains(", local time"), "{said}");
    let verdict = said.lines().find(|line| line.contains(" caps/top ")).expect("a verdict");
    assert!(verdict.ends_with(" ms") && verdict.get(2..3) == Some(":"), "{verdict}");
    let messages = piped.printed(12);
    let messages: Vec<serde_json::Value> =
        messages.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let verdict = messages.iter().find(|message| message["topic"] == "vcp-line/caps/top/verdict").expect("a verdict");
    schema::assert_valid(&schema::verdict(), &verdict["message"]);
    for message in fails.printed(3).lines() {
        let message: serde_json::Value = serde_json::from_str(message).expect("JSON");
        assert!(message["message"]["verdict"].is_string() && message["message"]["verdict"] != "pass", "{message}");
    }
    for reader in [&mut watch, &mut piped, &mut fails] {
        reader.signal("INT");
        assert_eq!(reader.end().code(), Some(0));
    }
}

#[test]
fn the_demo_shows_three_verdicts_beside_the_truth_and_ends() {
    let done = finished(&["demo", "--random-model", "--parts", "3", "--rate", "5", "--engine", "reference"]);
    let said = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&done.stderr));
    let verdicts: Vec<&str> = said.lines().filter(|line| line.contains(" (truth: ")).collect();
    assert_eq!(verdicts.len(), 3, "{said}");
    for number in 1..=3 {
        let part = format!("  A-{number:06}  ");
        assert!(verdicts.iter().any(|line| line.contains(&part)), "{said}");
    }
    for (line, product) in verdicts.iter().zip(["leather", "ring", "printed board"]) {
        assert!(line.contains(&format!("  {product} ")) && line.ends_with(['✓', '✗', '-']), "{line}");
    }
    // Broker, page, input, model; then the line is at work, which is said once.
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[4].starts_with("vcp-line/demo/state: online since "), "{said}");
    assert_eq!(said.matches("/state: online").count(), 1, "{said}");
    assert!(!said.contains("alarm cleared"), "{said}");
    assert!(said.contains("random weights: the line is real, its verdicts mean nothing"), "{said}");
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("caught ") && last.contains(" good ones"), "{last}");
    assert!(!said.contains('\x1b') && !String::from_utf8_lossy(&done.stderr).contains('\x1b'), "colours in a file");
}

#[test]
fn a_demo_whose_model_is_missing_takes_no_other() {
    let mut command = program(&["demo", "--parts", "1"]);
    command.env("VCP_LINE_DEMO_MODEL", "/absent/model");
    let mut named = Running::start(command);
    // A model that was named and is not there is never replaced by another.
    assert_eq!(named.end().code(), Some(2), "{}", named.stderr());
    assert!(named.stderr().contains("/absent/model"), "{}", named.stderr());
}

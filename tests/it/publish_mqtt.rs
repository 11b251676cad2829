//! The publisher against a real broker and an independent client: nothing is lost, order holds, and the state is true.

use std::collections::{HashMap, HashSet};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::mosquitto::{Message, Mosquitto, PATIENCE, Rules, Subscriber, free_port};
use crate::support::schema;
use crate::support::verdicts::{event, online, spec, start, wait_for};
use serde_json::{Value, json};
use uuid::Uuid;
use vcp_line::clock::{Clock, SystemClock};
use vcp_line::event::Images;
use vcp_line::publish::*;
use vcp_line::verdict::{Location, TileCount};

/// Set in the child process that is to be killed: the port of the broker.
const VICTIM: &str = "VCP_LINE_TEST_VICTIM_PORT";

fn is_state(message: &Message, state: &str) -> bool {
    message.topic == "vcp-line/caps/state" && message.json()["state"] == state
}

fn verdicts(messages: &[Message]) -> Vec<Value> {
    messages.iter().filter(|message| message.topic == "vcp-line/caps/top/verdict").map(Message::json).collect()
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// Each event at least once, first deliveries in order.
fn assert_complete(messages: &[Message], sent: &[Uuid]) {
    let mut seen = HashSet::new();
    let first: Vec<String> = verdicts(messages)
        .iter()
        .map(|event| event["event_id"].as_str().expect("text").to_string())
        .filter(|id| seen.insert(id.clone()))
        .collect();
    let sent: Vec<String> = sent.iter().map(Uuid::to_string).collect();
    assert_eq!(first, sent);
}

#[test]
fn verdicts_arrive_valid_and_in_order_between_online_and_offline() {
    let broker = Mosquitto::start(Rules::default());
    let subscriber = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let session = Uuid::now_v7();
    let publisher = start(spec("127.0.0.1", broker.port), session);
    let door = publisher.door();
    wait_for("a connection", || door.counters().connected);
    let sent: Vec<Uuid> = (0..200)
        .map(|seq| {
            let outgoing = event(session, seq);
            let id = outgoing.event.event_id;
            door.verdict(outgoing).expect("room");
            id
        })
        .collect();
    assert_eq!(publisher.stop(PATIENCE), StopReport { unsent: 0 });
    assert_eq!((door.counters().acked, door.counters().queued, door.counters().dropped), (200, 0, 0));
    assert_eq!(door.verdict(event(session, 200)), Err(DoorError::Closed));

    let messages = subscriber.until(|message| is_state(message, "offline"));
    assert!(is_state(&messages[0], "online"), "{:?}", messages[0]);
    assert_complete(&messages, &sent);
    let (verdict, state) = (schema::verdict(), schema::state());
    for event in verdicts(&messages) {
        schema::assert_valid(&verdict, &event);
        assert_eq!(event["historical"], false);
        assert!(event["latency_ms"]["total"].as_f64().expect("number") > 0.0);
        assert!(event["time"]["published"].as_str() >= event["time"]["captured"].as_str());
    }
    for message in messages.iter().filter(|message| message.topic.ends_with("/state")) {
        schema::assert_valid(&state, &message.json());
        assert_eq!(message.json()["session"], session.to_string());
    }
    let last = Subscriber::start(broker.port, "vcp-line/caps/state", &[]).next(PATIENCE).expect("retained");
    assert!(last.retained && is_state(&last, "offline") && !last.json()["since"].is_null());
}

/// The schema lets readers meet unknown fields; our own event has exactly the documented ones.
#[test]
fn an_event_has_exactly_the_documented_fields() {
    let schema: Value = serde_json::from_str(include_str!("../schema/verdict.schema.json")).expect("JSON");
    let mut outgoing = event(Uuid::now_v7(), 0);
    outgoing.event.part = Some(vcp_line::frame::Part { id: "A-001734".into(), trigger: 4711 });
    outgoing.event.frame.as_mut().expect("a frame").file = Some("A-001734.png".into());
    outgoing.event.suspect = Some(vcp_line::verdict::Suspect::Light);
    outgoing.event.model.memory = Some(vcp_line::event::MemoryInfo { id: "7e0cca9a7a95c019".into(), parts: 64 });
    let at = |name: &str| format!("/api/archive/{}/{name}.png", outgoing.event.event_id);
    outgoing.event.images = Some(Images { frame: at("frame"), overlay: Some(at("overlay")) });
    outgoing.event.tiles = Some(TileCount { looked_at: 4, of: 49 });
    let (dx_px, dy_px, turn_degrees, score) = (Some(-3.25), Some(12.0), Some(1.5), Some(0.97));
    outgoing.event.location = Some(Location { found: true, dx_px, dy_px, turn_degrees, score });
    let event = serde_json::to_value(&outgoing.event).expect("JSON");
    // Said only where it is true.
    let documented: Vec<&str> = keys(&schema["properties"]).into_iter().filter(|key| *key != "truncated").collect();
    assert_eq!(keys(&event), documented);
    for part in ["part", "frame", "time", "latency_ms", "recipe", "images", "tiles", "location"] {
        assert_eq!(keys(&event[part]), keys(&schema["properties"][part]["properties"]), "{part}");
    }
    assert_eq!(keys(&event["model"]), keys(&schema["$defs"]["model"]["properties"]));
    assert_eq!(keys(&event["defects"][0]), keys(&schema["$defs"]["defect"]["properties"]));
    let judge = schema::verdict();
    schema::assert_valid(&judge, &event);
    for (pointer, wrong) in [
        ("/verdict", json!("maybe")),
        ("/reason", json!("overrun")),
        ("/event_id", json!("0192f6c1-0000-4000-8000-000000000000")),
        ("/time/captured", json!("2026-11-23 10:15:30")),
        ("/score", json!(null)),
        ("/defects/0/box", json!([1, 2, 3])),
        ("/model/engine", json!("auto")),
        ("/line", json!("a/b")),
    ] {
        let mut bad = event.clone();
        *bad.pointer_mut(pointer).expect("documented") = wrong;
        assert!(!judge.is_valid(&bad), "{pointer} is not judged");
    }
}

#[test]
fn a_broker_restarted_in_the_middle_loses_nothing() {
    let mut broker = Mosquitto::start(Rules { persistence: true, ..Rules::default() });
    let subscriber = Subscriber::start(broker.port, "vcp-line/#", &["-c", "-i", "reader"]);
    let session = Uuid::now_v7();
    let publisher = start(spec("127.0.0.1", broker.port), session);
    let door = publisher.door();
    let mut sent = Vec::new();
    for seq in 0..500 {
        if seq == 150 {
            wait_for("the first acknowledgement", || door.counters().acked > 0);
            broker.stop();
        }
        if seq == 350 {
            broker.restart();
        }
        let outgoing = event(session, seq);
        sent.push(outgoing.event.event_id);
        door.verdict(outgoing).expect("room for 500");
        std::thread::sleep(Duration::from_millis(1));
    }
    wait_for("all acknowledgements", || door.counters().acked == 500);
    assert!(door.counters().reconnects >= 1);
    let last = sent[499].to_string();
    let messages = subscriber.until(|message| message.payload.contains(&last));
    assert_complete(&messages, &sent);
    let events = verdicts(&messages);
    assert!(events.iter().any(|event| event["seq"] == 200 && event["historical"] == true));
    let state = Subscriber::start(broker.port, "vcp-line/caps/state", &[]).next(PATIENCE).expect("retained");
    assert!(state.retained && is_state(&state, "online"), "{state:?}");
    assert_eq!(publisher.stop(PATIENCE), StopReport { unsent: 0 });
}

/// The restarted broker knows nothing any more, and lets the line in only when the reader listens again.
#[test]
fn a_broker_killed_without_memory_gets_everything_that_it_had_not_acknowledged() {
    let mut broker = Mosquitto::start(Rules { passwords: true, ..Rules::default() });
    broker.add_user("reader", "r");
    let session = Uuid::now_v7();
    let mut spec = spec("127.0.0.1", broker.port);
    spec.credentials = Some(Credentials { user: "line".into(), password: Some(Secret::new("s3cret")) });
    let publisher = start(spec, session);
    let door = publisher.door();
    broker.kill();
    let mut sent = Vec::new();
    for seq in 0..500 {
        let outgoing = event(session, seq);
        sent.push(outgoing.event.event_id);
        door.verdict(outgoing).expect("room for 500");
    }
    assert_eq!(door.counters().acked, 0);
    broker.restart();
    let subscriber = Subscriber::start(broker.port, "vcp-line/#", &["-u", "reader", "-P", "r"]);
    broker.add_user("line", "s3cret");
    let last = sent[499].to_string();
    let messages = subscriber.until(|message| message.payload.contains(&last));
    assert_complete(&messages, &sent);
    assert!(verdicts(&messages).iter().all(|event| event["historical"] == true));
    assert_eq!(publisher.stop(PATIENCE), StopReport { unsent: 0 });
}

#[test]
fn a_stop_without_a_broker_keeps_its_deadline_and_says_what_is_left() {
    let publisher = start(spec("127.0.0.1", free_port()), Uuid::now_v7());
    for seq in 0..3 {
        publisher.door().verdict(event(Uuid::nil(), seq)).expect("room");
    }
    let start = Instant::now();
    assert_eq!(publisher.stop(Duration::from_millis(400)), StopReport { unsent: 3 });
    assert!(start.elapsed() >= Duration::from_millis(400) && start.elapsed() < Duration::from_secs(5));
}

#[test]
fn alarms_are_retained_until_cleared() {
    let broker = Mosquitto::start(Rules::default());
    let publisher = start(spec("127.0.0.1", broker.port), Uuid::now_v7());
    let door = publisher.door();
    let alarm = Alarm { kind: "camera_lost".into(), message: "check the cable".into(), since: SystemClock.now().wall };
    door.set_alarms("top", &[alarm]);
    let subscriber = Subscriber::start(broker.port, "vcp-line/caps/top/alarm", &[]);
    let message = subscriber.next(PATIENCE).expect("an alarm");
    assert_eq!(message.json()["alarms"][0]["kind"], "camera_lost");
    door.set_alarms("top", &[]);
    assert_eq!(subscriber.next(PATIENCE).expect("cleared").payload, "");
    let late = Subscriber::start(broker.port, "vcp-line/caps/top/alarm", &[]);
    assert!(late.next(Duration::from_millis(300)).is_none(), "nothing is retained");
    assert_eq!(publisher.stop(PATIENCE), StopReport { unsent: 0 });
}

/// As [`Subscriber`], over MQTT 5: each payload with its media type, lifetime and user properties in front.
fn with_properties(port: u16, filter: &str) -> Subscriber {
    Subscriber::start(port, filter, &["-V", "mqttv5", "-F", "MESSAGE %r\t%t\t%C|%P|%p"])
}

fn over_5(port: u16) -> PublisherSpec {
    PublisherSpec { version: Version::V5, ..spec("127.0.0.1", port) }
}

/// Media type, attributes and payload.
fn told(message: &Message) -> (String, HashMap<String, String>, String) {
    let [kind, properties, payload] = message.payload.splitn(3, '|').collect::<Vec<_>>().try_into().expect("three");
    let pairs = properties.split(' ').filter_map(|pair| pair.split_once(':'));
    (kind.into(), pairs.map(|(name, value)| (name.into(), value.into())).collect(), payload.into())
}

/// CloudEvents 1.0.2 over MQTT 5 in binary mode: the attributes that it requires, and the time.
fn assert_told(message: &Message, source: &str, kind: &str) -> HashMap<String, String> {
    let (media, about, _) = told(message);
    assert_eq!(media, "application/json", "{message:?}");
    let named = |name: &str| about.get(name).map(String::as_str);
    assert_eq!((named("specversion"), named("source"), named("type")), (Some("1.0"), Some(source), Some(kind)));
    assert!(named("id").is_some_and(|id| id.parse::<Uuid>().is_ok()), "{about:?}");
    assert!(named("time").is_some_and(|time| time.parse::<jiff::Timestamp>().is_ok()), "{about:?}");
    about
}

#[test]
fn over_mqtt_5_a_message_says_what_it_is_without_being_read() {
    let broker = Mosquitto::start(Rules::default());
    let subscriber = with_properties(broker.port, "vcp-line/#");
    let session = Uuid::now_v7();
    let publisher = start(over_5(broker.port), session);
    let door = publisher.door();
    let state = subscriber.next(PATIENCE).expect("a state");
    assert_told(&state, "vcp-line/caps", "vcp-line.state");
    let sent = event(session, 0);
    let (id, captured) = (sent.event.event_id, sent.event.time.captured);
    door.verdict(sent).expect("room");
    let about = assert_told(&subscriber.next(PATIENCE).expect("a verdict"), "vcp-line/caps/top", "vcp-line.verdict");
    assert_eq!((&about["id"], &about["time"]), (&id.to_string(), &captured.to_string()));
    let alarm = Alarm { kind: "camera_lost".into(), message: "check the cable".into(), since: SystemClock.now().wall };
    door.set_alarms("top", &[alarm]);
    assert_told(&subscriber.next(PATIENCE).expect("an alarm"), "vcp-line/caps/top", "vcp-line.alarm");
    door.set_alarms("top", &[]);
    let cleared = told(&subscriber.next(PATIENCE).expect("cleared"));
    assert_eq!(cleared, (String::new(), HashMap::new(), String::new()), "what is empty is of no media type");
    assert_eq!(publisher.stop(PATIENCE), StopReport { unsent: 0 });
}

#[test]
fn a_verdict_is_told_without_attributes_where_only_they_are_too_much() {
    let measure = |limit: &str| {
        let port = free_port();
        let config = format!("user root\nlistener {port} 127.0.0.1\nallow_anonymous true\n{limit}");
        let broker = Mosquitto::with_config(tempfile::tempdir().expect("a folder"), port, &config);
        let subscriber = with_properties(broker.port, "vcp-line/caps/top/verdict");
        let publisher = start(over_5(broker.port), Uuid::nil());
        publisher.door().verdict(event(Uuid::nil(), 0)).expect("room");
        let message = subscriber.next(PATIENCE).expect("a verdict");
        assert_eq!(publisher.stop(PATIENCE), StopReport { unsent: 0 });
        told(&message)
    };
    let (_, about, payload) = measure("");
    assert_eq!(about.len(), 5);
    let (media, about, whole) = measure(&format!("max_packet_size {}", payload.len() + 100));
    assert_eq!((media, about.len()), (String::new(), 0));
    let event: Value = serde_json::from_str(&whole).expect("JSON");
    assert_eq!((event.get("truncated"), event["defects"].as_array().map(Vec::is_empty)), (None, Some(false)));
}

#[test]
fn a_probe_names_what_is_wrong() {
    let broker = Mosquitto::start(Rules { passwords: true, ..Rules::default() });
    broker.add_user("line", "s3cret");
    let mut spec = spec("127.0.0.1", broker.port);
    let address = format!("127.0.0.1:{}", broker.port);
    let error = |spec: &PublisherSpec| probe(spec).expect_err("must fail").to_string();

    assert_eq!(
        error(&spec),
        format!(
            "broker {address} does not accept a connection without user; \
             check username and password_file in [mqtt] and the broker's user list"
        )
    );
    spec.credentials = Some(Credentials { user: "line".into(), password: Some(Secret::new("wrong")) });
    assert_eq!(
        error(&spec),
        format!(
            "broker {address} does not accept user \"line\"; \
             check username and password_file in [mqtt] and the broker's user list"
        )
    );
    spec.credentials = Some(Credentials { user: "line".into(), password: Some(Secret::new("s3cret")) });
    probe(&spec).expect("the right password");

    spec.port = free_port();
    assert_eq!(
        error(&spec),
        format!("broker 127.0.0.1:{} refuses connections; is it running, and is the port right?", spec.port)
    );
    spec.host = "no-such-broker.invalid".into();
    assert_eq!(
        error(&spec),
        format!(
            "broker no-such-broker.invalid:{}: the name cannot be resolved; \
             check the host in [mqtt] and the DNS of this computer",
            spec.port
        )
    );
    // Accepts connections and never speaks.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    spec.host = "127.0.0.1".into();
    spec.port = mute.local_addr().expect("bound").port();
    spec.connect_timeout = Duration::from_secs(1);
    assert_eq!(
        error(&spec),
        format!("broker 127.0.0.1:{} does not answer; check cable, firewall and address", spec.port)
    );
}

/// Not a test of its own: the process that the next test kills.
#[test]
fn victim() {
    let Ok(port) = std::env::var(VICTIM) else { return };
    let publisher = start(over_5(port.parse().expect("a port")), Uuid::nil());
    std::thread::sleep(PATIENCE * 3);
    drop(publisher);
}

#[test]
fn a_killed_process_goes_offline_by_its_last_will() {
    let broker = Mosquitto::start(Rules::default());
    let subscriber = Subscriber::start(broker.port, "vcp-line/caps/state", &[]);
    let other = with_properties(broker.port, "vcp-line/caps/state");
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "publish_mqtt::victim"])
        .env(VICTIM, broker.port.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("this test again");
    subscriber.until(|message| is_state(message, "online"));
    child.kill().expect("our own child");
    child.wait().expect("our own child");
    let will = subscriber.next(PATIENCE).expect("the last will");
    assert!(is_state(&will, "offline"), "{will:?}");
    assert_eq!((will.json()["session"].clone(), will.json()["since"].clone()), (json!(Uuid::nil()), Value::Null));
    schema::assert_valid(&schema::state(), &will.json());
    let messages = other.until(|message| told(message).2 == will.payload);
    assert_told(messages.last().expect("the last will"), "vcp-line/caps", "vcp-line.state");
    let kept = Subscriber::start(broker.port, "vcp-line/caps/state", &[]).next(PATIENCE).expect("retained");
    assert!(kept.retained && is_state(&kept, "offline"));
}

/// 60 verdicts a second for two seconds; generous because test machines are busy, `bench` measures for real.
#[test]
fn a_verdict_leaves_at_once() {
    let broker = Mosquitto::start(Rules::default());
    let (send, published) = crossbeam_channel::bounded(1000);
    let publisher =
        Publisher::start(spec("127.0.0.1", broker.port), Uuid::nil(), online(), Arc::new(SystemClock), Some(send))
            .expect("starts");
    let door = publisher.door();
    wait_for("a connection", || door.counters().connected);
    for seq in 0..120 {
        door.verdict(event(Uuid::nil(), seq)).expect("room");
        std::thread::sleep(Duration::from_micros(16_667));
    }
    assert_eq!(publisher.stop(PATIENCE), StopReport { unsent: 0 });
    let mut latencies: Vec<Duration> = published.iter().map(|report| report.latency).collect();
    assert_eq!(latencies.len(), 120);
    latencies.sort();
    println!("door to connection: median {:?}, slowest {:?}", latencies[60], latencies[119]);
    assert!(latencies[60] < Duration::from_millis(2), "median {:?}", latencies[60]);
}

/// What `demo` relies on: order, retained messages, last will and QoS 1 of the embedded broker.
#[test]
fn the_embedded_broker_keeps_the_contract() {
    let broker = vcp_line::publish::broker::EmbeddedBroker::start(0).expect("starts");
    let port = broker.address().port();
    let subscriber = Subscriber::start(port, "vcp-line/#", &[]);
    let session = Uuid::now_v7();
    let publisher = start(spec("127.0.0.1", port), session);
    let mut sent = Vec::new();
    for seq in 0..300 {
        let outgoing = event(session, seq);
        sent.push(outgoing.event.event_id);
        publisher.door().verdict(outgoing).expect("room");
    }
    let last = sent[299].to_string();
    let messages = subscriber.until(|message| message.payload.contains(&last));
    assert_complete(&messages, &sent);
    let state = Subscriber::start(port, "vcp-line/caps/state", &[]).next(PATIENCE).expect("retained");
    assert!(is_state(&state, "online"), "{state:?}");
    drop(publisher);
    let will = subscriber.until(|message| is_state(message, "offline"));
    assert_eq!(will.last().map(|message| message.json()["since"].clone()), Some(Value::Null));
}

#[test]
fn a_watcher_sees_readable_lines_until_it_is_stopped() {
    let broker = Mosquitto::start(Rules::default());
    let publisher = start(spec("127.0.0.1", broker.port), Uuid::now_v7());
    let mut reader = spec("127.0.0.1", broker.port);
    reader.client_id = "watcher".into();
    let stop = tokio_util::sync::CancellationToken::new();
    let mut lines = Vec::new();
    watch::watch(&reader, "vcp-line/#", &stop, |heard| {
        // The retained state comes first and proves that the subscription stands.
        match lines.len() {
            0 => publisher.door().verdict(event(Uuid::nil(), 7)).expect("room"),
            _ => stop.cancel(),
        }
        lines.push(heard.readable());
    })
    .expect("the broker is there");
    assert!(lines[0].starts_with("vcp-line/caps/state: online since "), "{lines:?}");
    assert!(lines[1].contains(" FAIL caps/top         #7 ") && lines[1].contains(", 1 defect "), "{lines:?}");
    reader.port = free_port();
    let error = watch::watch(&reader, "#", &stop, |_| ()).map_err(|error| error.to_string());
    assert_eq!(error, Ok(()), "a stopped watcher does not even try");
    let fresh = tokio_util::sync::CancellationToken::new();
    let error = watch::watch(&reader, "#", &fresh, |_| ()).expect_err("nobody there").to_string();
    assert!(error.contains("refuses connections"), "{error}");
    assert_eq!(publisher.stop(PATIENCE), StopReport { unsent: 0 });
}

/// A broker that accepts connections and messages, and never acknowledges one.
#[test]
fn a_broker_that_never_acknowledges_is_left_and_told() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut spec = spec("127.0.0.1", listener.local_addr().unwrap().port());
    (spec.keep_alive, spec.ack_patience) = (Duration::from_secs(1), Duration::ZERO);
    (spec.backoff_min, spec.backoff_max) = (Duration::from_millis(50), Duration::from_secs(1));
    let (count, connections) = std::sync::mpsc::channel();
    let serve = move || {
        while let Ok((mut stream, _)) = listener.accept() {
            // CONNACK, then an answer to each PINGREQ, until the line goes.
            stream.write_all(&[0x20, 2, 0, 0]).unwrap();
            if count.send(()).is_err() {
                return;
            }
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut bytes) {
                if bytes[..length].ends_with(&[0xc0, 0]) && stream.write_all(&[0xd0, 0]).is_err() {
                    break;
                }
            }
        }
    };
    std::thread::Builder::new().name("mute-broker".into()).spawn(serve).unwrap();
    let publisher = start(spec, Uuid::nil());
    let door = publisher.door();
    door.verdict(event(Uuid::nil(), 1)).unwrap();
    let patience = Duration::from_secs(20);
    connections.recv_timeout(patience).unwrap();
    let began = std::time::Instant::now();
    wait_for("the alarm", || door.troubles().contains_key("broker_silent"));
    assert!(began.elapsed() > Duration::from_millis(2900), "three times keep_alive");
    let message = &door.troubles()["broker_silent"];
    assert!(message.contains("has acknowledged nothing for 3 s"), "{message}");
    connections.recv_timeout(patience).expect("it connects again");
    assert_eq!(door.counters().queued, 1);
    drop(publisher);
}

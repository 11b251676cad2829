//! Commands through the real program: over a real broker and over HTTP, from friends and from strangers.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::commands::{ACK, Sender, http, part, publish, raw};
use crate::support::events::{self, assert_no_gap, events, is_state, is_verdict};
use crate::support::line::{Line, PATIENCE, Running, finished, program, settings, write_token};
use crate::support::mosquitto::{Message, Mosquitto, Rules, Subscriber, free_port};
use crate::support::schema;
use serde_json::{Value, json};

const TOKEN: &str = "correct-horse-battery";

/// Products twenty times a second, inspected when a command asks.
const CAMERA: &str = "[[camera]]\nname = \"top\"\nsource = \"synthetic\"\nclasses = [\"pill\"]\nsize = 64\npool = 4\n\
                      fps = 20.0\n[camera.trigger]\nmode = \"software\"\ndeadline_ms = 30000\n";

/// Settings with pictures and the API on this port.
fn with_api(broker: u16, port: u16) -> String {
    let extra = format!(
        "[commands]\nsnapshots = \"pictures\"\n[http]\nlisten = \"127.0.0.1:{port}\"\ntoken_file = \"token\"\n{CAMERA}"
    );
    settings(broker, &extra)
}

fn start_in(folder: tempfile::TempDir, broker: u16, port: u16) -> Line {
    write_token(folder.path(), TOKEN);
    let line = Line::run_in(folder, &with_api(broker, port), |command| {
        command.env("VCP_LINE_LOG", "debug");
    });
    line.service.logged("commands can come in");
    line.service.logged("1 camera, engine reference");
    line
}

fn start(broker: u16, port: u16) -> Line {
    start_in(tempfile::tempdir().unwrap(), broker, port)
}

/// The answer to this command over MQTT.
fn asked(broker: u16, reader: &Subscriber, name: &str, id: &str, mut command: Value) -> Value {
    command["correlation_id"] = id.into();
    publish(broker, name, command.to_string().as_bytes(), &[]);
    let is_answer = |message: &Message| message.topic == ACK && message.json()["correlation_id"] == id;
    let answer = reader.until(is_answer).last().unwrap().json();
    schema::assert_valid(&schema::ack(), &answer);
    answer
}

/// The event of a part that is triggered now.
fn triggered(broker: u16, reader: &Subscriber, id: &str) -> Value {
    publish(broker, "trigger", part(id).to_string().as_bytes(), &[]);
    reader.until(|message| is_verdict(message) && message.json()["part"]["id"] == id).last().unwrap().json()
}

#[test]
fn commands_make_the_round_trip_and_a_bad_recipe_changes_nothing() {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let api = free_port();
    let mut line = start(broker.port, api);
    let event = triggered(broker.port, &reader, "A-1");
    assert_eq!(event["recipe"], json!({ "id": "cap", "version": 1 }));

    let ack = asked(broker.port, &reader, "threshold", "t-1", json!({ "threshold": 1.5 }));
    assert_eq!(ack["applied"], json!([{ "camera": "top", "recipe": { "id": "cap", "version": 2 } }]));
    let event = triggered(broker.port, &reader, "A-2");
    assert_eq!((&event["recipe"]["version"], &event["threshold"]), (&2.into(), &1.5.into()));

    let recipe = json!({ "id": "lid", "defect_threshold": 0.75, "regions": [[[1, 1], [60, 1], [60, 60]]] });
    let ack = asked(broker.port, &reader, "recipe", "r-1", recipe.clone());
    assert_eq!(ack["ok"], true, "{ack}");
    let event = triggered(broker.port, &reader, "A-3");
    assert_eq!(event["recipe"], json!({ "id": "lid", "version": 1 }));
    assert_eq!((&event["threshold"], &event["defect_threshold"]), (&Value::Null, &0.75.into()));

    for (id, wrong, reason) in [
        ("r-2", json!({ "id": "lid", "defect_threshold": 7 }), "defect_threshold 7 is out of range"),
        (
            "r-3",
            json!({ "id": "lid", "defect_threshold": 0.5, "regions": [[[0, 0], [65, 0], [0, 9]]] }),
            "[65, 0] outside",
        ),
        (
            "r-4",
            json!({ "id": "lid", "version": 0, "defect_threshold": 0.5 }),
            "version 0 of recipe 'lid' is not newer than 1",
        ),
        ("r-5", json!({ "id": "lid" }), "missing field `defect_threshold`"),
        ("r-6", json!({ "id": "../../etc", "defect_threshold": 0.5 }), "is no name of a recipe"),
        ("r-7", json!({ "camera": "side", "id": "lid", "defect_threshold": 0.5 }), "there is no camera 'side'"),
    ] {
        let ack = asked(broker.port, &reader, "recipe", id, wrong);
        assert!(ack["ok"] == false && ack["error"].as_str().unwrap().contains(reason), "{ack}");
    }
    let event = triggered(broker.port, &reader, "A-4");
    assert_eq!(event["recipe"], json!({ "id": "lid", "version": 1 }));

    let ack = asked(broker.port, &reader, "snapshot", "s-1", json!({}));
    for key in ["path", "overlay"] {
        let picture = image::open(ack["applied"][key].as_str().unwrap()).unwrap();
        assert_eq!((picture.width(), picture.height()), (64, 64));
    }

    assert_eq!(asked(broker.port, &reader, "pause", "p-1", json!({}))["applied"], json!({ "paused": ["top"] }));
    let event = triggered(broker.port, &reader, "A-5");
    assert_eq!((&event["verdict"], &event["reason"]), (&"no_verdict".into(), &"paused".into()));
    let (status, state) = http(api, "GET", "/api/state", None, "");
    assert_eq!((status, &state["cameras"][0]["paused"]), (200, &true.into()), "{state}");
    assert_eq!(asked(broker.port, &reader, "resume", "p-2", json!({}))["ok"], true);
    assert_eq!(triggered(broker.port, &reader, "A-6")["reason"], Value::Null);

    // The same message again, as QoS 1 may bring it, is answered again and done once.
    let again = asked(broker.port, &reader, "threshold", "t-2", json!({ "defect_threshold": 0.6 }));
    let mut repeated = again.clone();
    repeated["repeated"] = true.into();
    assert_eq!(asked(broker.port, &reader, "threshold", "t-2", json!({ "defect_threshold": 0.6 })), repeated);
    assert_eq!(again["applied"][0]["recipe"]["version"], 2);

    // The next start goes on with what is in use.
    line.service.signal("TERM");
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
    let Line { folder, .. } = line;
    let _line = start_in(folder, broker.port, api);
    let event = triggered(broker.port, &reader, "B-1");
    assert_eq!((&event["recipe"], &event["defect_threshold"]), (&json!({ "id": "lid", "version": 2 }), &0.6.into()));
}

#[test]
fn hostile_commands_are_refused_counted_and_survived() {
    let broker = Mosquitto::start(Rules::default());
    // Not what the test itself sends: it is no text.
    let reader = Subscriber::start(broker.port, events::VERDICTS, &["-t", ACK]);
    let api = free_port();
    let mut line = start(broker.port, api);
    let deep = "[".repeat(60_000);
    let many = format!("{{\"part_id\":\"x\",\"camera\":[{}1]}}", "1,".repeat(20_000));
    let long = format!("{{\"correlation_id\":\"{}\",\"part_id\":\"x\"}}", "c".repeat(5_000));
    let polygons = format!("{{\"id\":\"a\",\"defect_threshold\":0.5,\"regions\":[{}[]]}}", "[],".repeat(5_000));
    let hostile: [(&str, &[u8]); 16] = [
        ("trigger", b""),
        ("trigger", b"null"),
        ("trigger", b"{"),
        ("trigger", b"\xff\xfe\x00\x01"),
        ("trigger", deep.as_bytes()),
        ("trigger", many.as_bytes()),
        ("trigger", long.as_bytes()),
        ("trigger", b"{\"part_id\":\"a\\u0000b\"}"),
        ("trigger", b"{\"part_id\":\"a\",\"trigger\":-1}"),
        ("trigger", b"{\"part_id\":\"a\",\"sent_at\":\"yesterday\"}"),
        ("recipe", polygons.as_bytes()),
        ("recipe", b"{\"id\":\"a\",\"defect_threshold\":1e999}"),
        ("threshold", b"{\"threshold\":\"high\"}"),
        ("reboot", b"{}"),
        ("pause", b"{\"camera\":\"top\",\"shell\":\"rm -rf /\"}"),
        ("snapshot", b"{\"camera\":\"../../etc/passwd\"}"),
    ];
    for (name, payload) in hostile {
        publish(broker.port, name, payload, &[]);
    }
    let huge = vec![b'x'; 600 * 1024];
    publish(broker.port, "trigger", &huge, &[]);
    let unknown = asked(broker.port, &reader, "reboot", "u-1", json!({}));
    assert!(unknown["error"].as_str().unwrap().starts_with("there is no command \"reboot\""), "{unknown}");
    let old =
        asked(broker.port, &reader, "trigger", "o-1", json!({ "part_id": "old", "sent_at": "2020-01-01T00:00:00Z" }));
    assert!(old["error"].as_str().unwrap().contains("after 10.0 s it is not carried out"), "{old}");
    let (_, state) = http(api, "GET", "/api/state", None, "");
    assert_eq!(state["commands"]["refused"], 16 + 1 + 2, "{state}");
    assert_eq!(triggered(broker.port, &reader, "A-1")["reason"], Value::Null);

    // A packet that is too large to be read closes the connection for commands, and verdicts go on.
    let monster = vec![b'x'; 3 * 1024 * 1024];
    publish(broker.port, "trigger", &monster, &[]);
    line.service.logged("no commands come in from vcp-line/caps/cmd/+");
    let (status, ack) = http(api, "POST", "/api/trigger", Some(TOKEN), &part("A-2").to_string());
    assert_eq!(status, 200, "{ack}");
    reader.until(|message| is_verdict(message) && message.json()["part"]["id"] == "A-2");
    // Commands come in again: sent until one is heard.
    let began = Instant::now();
    loop {
        publish(broker.port, "trigger", part("A-3").to_string().as_bytes(), &[]);
        let heard = reader.next(Duration::from_millis(500));
        if heard.is_some_and(|message| message.topic == ACK && message.json()["correlation_id"] == "A-3") {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{}", line.service.stderr());
    }
    assert!(line.service.is_running());
    line.service.signal("TERM");
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
}

#[test]
fn retained_commands_and_those_for_a_line_that_was_away_are_not_carried_out() {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let api = free_port();
    let mut line = start(broker.port, api);
    assert_eq!(triggered(broker.port, &reader, "A-1")["reason"], Value::Null);
    line.service.signal("TERM");
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
    reader.until(|message| is_state(message, "offline") && !message.json()["model"].is_null());

    publish(broker.port, "trigger", part("away").to_string().as_bytes(), &[]);
    publish(broker.port, "pause", json!({ "correlation_id": "kept" }).to_string().as_bytes(), &["-r"]);
    let Line { folder, .. } = line;
    let mut line = start_in(folder, broker.port, api);
    let ack = reader.until(|message| message.topic == ACK).last().unwrap().json();
    assert_eq!((&ack["correlation_id"], &ack["ok"]), (&"kept".into(), &false.into()));
    assert!(ack["error"].as_str().unwrap().starts_with("retained commands are not carried out"), "{ack}");
    let event = triggered(broker.port, &reader, "A-2");
    assert_eq!((&event["seq"], &event["reason"]), (&1.into(), &Value::Null), "neither paused nor triggered");
    line.service.signal("TERM");
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
}

#[test]
fn the_api_asks_for_a_token_and_keeps_it_to_itself() {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let api = free_port();
    let mut line = start(broker.port, api);
    assert_eq!(http(api, "GET", "/health", None, ""), (200, json!({ "status": "ok" })));
    let body = part("H-1").to_string();
    for wrong in [None, Some(""), Some("correct-horse-batterx"), Some("CORRECT-HORSE-BATTERY")] {
        assert_eq!(http(api, "POST", "/api/trigger", wrong, &body).0, 401, "{wrong:?}");
    }
    assert_eq!(http(api, "GET", "/api/trigger", Some(TOKEN), "").0, 405);
    assert_eq!(http(api, "GET", "/no-such-page", None, "").0, 404);
    assert_eq!(http(api, "POST", "/api/reboot", Some(TOKEN), "{}").0, 409);
    let large = format!("{{\"part_id\":\"{}\"}}", "x".repeat(70_000));
    assert_eq!(http(api, "POST", "/api/trigger", Some(TOKEN), &large).0, 413);
    assert_eq!(raw(api, b"POST /api/trigger HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n").0, 400);

    let (status, ack) = http(api, "POST", "/api/trigger", Some(TOKEN), &body);
    assert_eq!((status, &ack["applied"]["part"]["id"]), (200, &"H-1".into()), "{ack}");
    let messages = reader.until(is_verdict);
    assert_eq!(messages.last().unwrap().json()["part"], json!({ "id": "H-1", "trigger": 1 }));
    assert!(messages.iter().all(|message| message.topic != ACK), "answered where it was asked");
    for (name, body) in [("pause", "{}"), ("resume", "{\"camera\":\"top\"}"), ("threshold", "{\"threshold\":1.25}")] {
        assert_eq!(http(api, "POST", &format!("/api/{name}"), Some(TOKEN), body).0, 200, "{name}");
    }
    assert_eq!(http(api, "POST", "/api/snapshot", Some(TOKEN), "{}").0, 200);

    // Connections that are held open do not keep others out for ever, and cost nothing.
    let mut idle: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(("127.0.0.1", api)).unwrap()).collect();
    idle.iter_mut().for_each(|stream| stream.write_all(b"POST /api/tri").unwrap());
    assert_eq!(http(api, "GET", "/health", None, "").0, 200);
    let (_, state) = http(api, "GET", "/api/state", None, "");
    assert_eq!((&state["commands"]["done"], &state["mqtt"]["connected"]), (&5.into(), &true.into()), "{state}");
    line.service.signal("TERM");
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
    assert!(!line.service.stderr().contains(TOKEN));
}

#[test]
fn a_part_can_be_triggered_by_hand() {
    let broker = Mosquitto::start(Rules::default());
    let _line = start(broker.port, free_port());
    let url = format!("mqtt://127.0.0.1:{}/vcp-line/caps", broker.port);
    let done = finished(&["trigger", &url, "--camera", "top", "--part", "by-hand"]);
    let said = String::from_utf8(done.stdout).unwrap();
    assert_eq!(said, "accepted  {\"camera\":\"top\",\"part\":{\"id\":\"by-hand\",\"trigger\":1}}\n");
    let done = finished(&["trigger", &url, "--camera", "side", "--part", "by-hand"]);
    assert_eq!(done.status.code(), Some(1));
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(said.lines().last(), Some("vcp-line: there is no camera 'side'; this line has: top"));
    let done = finished(&["trigger", &format!("{url}x"), "--part", "p", "--patience", "1"]);
    assert!(String::from_utf8(done.stderr).unwrap().contains("line 'capsx' does not answer; is it running"));
}

#[test]
fn without_a_token_nothing_can_be_changed_over_http() {
    let broker = Mosquitto::start(Rules::default());
    let api = free_port();
    let text = settings(broker.port, &format!("[http]\nlisten = \"127.0.0.1:{api}\"\n{CAMERA}"));
    let line = Line::run(&text);
    line.service.logged("1 camera, engine reference");
    let (status, said) = http(api, "POST", "/api/pause", Some("x"), "{}");
    assert_eq!(
        (status, &said["error"]),
        (403, &"nothing can be changed without a token; set token_file in [http]".into())
    );
    assert_eq!(http(api, "GET", "/api/state", None, "").0, 200);
}

/// A flood of triggers: each is acknowledged and gets its event, or is refused and gets none; the order is kept.
#[test]
fn a_flood_of_triggers_is_answered_whole() {
    const PARTS: usize = 3000;
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let camera = CAMERA.replace("deadline_ms = 30000", "deadline_ms = 500");
    let mut line = Line::run(&settings(broker.port, &camera));
    line.service.logged("commands can come in");
    line.service.logged("1 camera, engine reference");
    let mut sender = Sender::start(broker.port, "trigger");
    (0..PARTS).for_each(|number| sender.send(&part(&format!("F-{number:05}"))));
    drop(sender);
    let judge = schema::ack();
    let (mut acks, mut verdicts) = (Vec::new(), 0);
    let mut messages = Vec::new();
    let began = Instant::now();
    let accepted = |acks: &[Value]| acks.iter().filter(|ack| ack["ok"] == true).count();
    while acks.len() < PARTS || verdicts < accepted(&acks) {
        assert!(began.elapsed() < Duration::from_secs(90), "{} acks, {verdicts} verdicts", acks.len());
        let Some(message) = reader.next(Duration::from_millis(500)) else { continue };
        if message.topic == ACK {
            acks.push(message.json());
            schema::assert_valid(&judge, acks.last().unwrap());
        }
        verdicts += usize::from(is_verdict(&message));
        messages.push(message);
    }
    line.service.signal("TERM");
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
    messages.extend(reader.until(|message| is_state(message, "offline")));
    let events = events(&messages);
    assert_no_gap(&events);
    let taken: Vec<&Value> = acks.iter().filter(|ack| ack["ok"] == true).map(|ack| &ack["correlation_id"]).collect();
    let told: Vec<&Value> = events.iter().map(|event| &event["part"]["id"]).collect();
    assert_eq!(told, taken);
    assert!(events.iter().any(|event| event["verdict"] == "no_verdict"), "3000 parts in half a second each?");
}

/// `check` tells a port that the line itself has from one that somebody else has.
#[test]
fn check_looks_at_the_api_and_at_the_pictures() {
    let broker = Mosquitto::start(Rules::default());
    let api = free_port();
    let mut line = start(broker.port, api);
    let settings = line.folder.path().join("line.toml");
    let check = || {
        let mut check = program(&["check", settings.to_str().unwrap()]);
        check.env("STATE_DIRECTORY", settings.with_file_name("state"));
        let mut check = Running::start(check);
        (check.end().code(), check.stdout())
    };
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("ok    API          127.0.0.1:{api} in use by a running line\n")), "{said}");
    let pictures = line.folder.path().join("state/pictures");
    let found = format!("ok    snapshots    {}, made when it is needed, at most 100 pictures", pictures.display());
    assert!(said.contains(&found) && !pictures.exists(), "{said}");
    line.service.signal("TERM");
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
    assert!(check().1.contains(&format!("ok    API          127.0.0.1:{api} is free\n")));

    let _stranger = TcpListener::bind(("127.0.0.1", api)).unwrap();
    fs::write(&pictures, "a file in the way").unwrap();
    let (code, said) = check();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains(&format!("FAIL  API          cannot listen on 127.0.0.1:{api}: Address already in use")),
        "{said}"
    );
    assert!(said.contains("FAIL  snapshots    writing in "), "{said}");
}

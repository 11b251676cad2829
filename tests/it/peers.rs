//! The real program with the brokers that stand in plants beside mosquitto: what is promised holds at each of them, and
//! where one does otherwise than mosquitto, it is what `deploy/brokers.md` says.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::brokers::{Kind, Peer};
use crate::support::commands::{ACK, part, publish};
use crate::support::events::{STATE, VERDICTS, assert_no_gap, events, is_state, is_verdict, number};
use crate::support::line::{CAROUSEL, Line, finished, pictures, settings};
use crate::support::mosquitto::{Message, Subscriber};
use crate::support::schema;

/// Products twenty times a second, inspected when a command asks.
const TRIGGERED: &str = "[[camera]]\nname = \"top\"\nsource = \"synthetic\"\nclasses = [\"pill\"]\nsize = 64\npool = 4\n\
                         fps = 20.0\n[camera.trigger]\nmode = \"software\"\ndeadline_ms = 30000\n";

/// Where a line that is not let in would publish.
const LIDS: &str = "vcp-line/lids/top/verdict";

/// How a broker differs from mosquitto, as in the table of `deploy/brokers.md`.
struct Habits {
    /// A new subscription with a wildcard brings the messages that are retained.
    wildcards_bring_retained: bool,
    /// A retained message comes this often to a new subscriber.
    retained_copies: usize,
    /// A connection ends when a client with the same name comes.
    takeover_ends_the_old: bool,
    /// The will is published when a client with the same name takes the connection over.
    will_at_takeover: bool,
}

#[test]
fn rabbitmq_keeps_the_contract() {
    let habits = Habits {
        wildcards_bring_retained: false,
        retained_copies: 1,
        takeover_ends_the_old: true,
        will_at_takeover: false,
    };
    let mut peer = Peer::start(Kind::RabbitMq);
    a_wrong_password_is_named(&peer);
    keeps_the_contract(&peer, &habits);
    let shut_out = a_line_that_rabbitmq_hangs_up_on(&peer);
    peer.allow_lids(true);
    a_killed_broker_costs_no_verdict(&mut peer);
    is_let_in(shut_out);
}

#[test]
fn aedes_keeps_the_contract() {
    let habits = Habits {
        wildcards_bring_retained: true,
        retained_copies: 1,
        takeover_ends_the_old: true,
        will_at_takeover: true,
    };
    let mut peer = Peer::start(Kind::Aedes);
    keeps_the_contract(&peer, &habits);
    a_killed_broker_costs_no_verdict(&mut peer);
}

#[test]
fn amqtt_keeps_the_contract() {
    let habits = Habits {
        wildcards_bring_retained: true,
        retained_copies: 2,
        takeover_ends_the_old: false,
        will_at_takeover: false,
    };
    let mut peer = Peer::start(Kind::Amqtt);
    keeps_the_contract(&peer, &habits);
    a_killed_broker_costs_no_verdict(&mut peer);
}

/// Each step with a line of its own; the broker is started once, because one of them takes long.
fn keeps_the_contract(peer: &Peer, habits: &Habits) {
    commands_make_the_round_trip(peer, habits);
    a_killed_line_is_offline_by_its_last_will(peer);
    a_takeover_costs_nothing(peer, habits);
    a_reader_that_was_away_gets_what_it_missed(peer);
    commands_by_hand(peer);
    version_5_is_refused_by_name(peer);
}

/// Listens like any client of this plant.
fn listen(peer: &Peer, filter: &str, extra: &[&str]) -> Subscriber {
    Subscriber::start(peer.port, filter, &[peer.arguments(), extra].concat())
}

fn send(peer: &Peer, command: &str, payload: &[u8], extra: &[&str]) {
    publish(peer.port, command, payload, &[peer.arguments(), extra].concat());
}

fn trigger(peer: &Peer, id: &str) {
    send(peer, "trigger", part(id).to_string().as_bytes(), &[]);
}

/// The settings of the line `caps`, with a user where the broker asks for one.
fn settings_for(peer: &Peer, more: &str) -> String {
    let user = if peer.arguments().is_empty() { "" } else { "username = \"plant\"\npassword_file = \"password\"\n" };
    settings(peer.port, &format!("{user}{more}"))
}

fn started(peer: &Peer, cameras: &str) -> Line {
    let folder = tempfile::tempdir().unwrap();
    pictures(&folder.path().join("parts"));
    fs::write(folder.path().join("password"), "any").unwrap();
    let line = Line::run_in(folder, &settings_for(peer, cameras), |_| {});
    line.service.logged("commands can come in");
    line.service.logged("connected to the broker");
    line.service.logged("1 camera, engine reference");
    line
}

fn stopped(mut line: Line) -> Line {
    line.service.signal("TERM");
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
    line
}

/// What a new subscriber gets at once.
fn retained(peer: &Peer, filter: &str) -> Vec<Message> {
    let reader = listen(peer, filter, &[]);
    std::iter::from_fn(|| reader.next(Duration::from_millis(700))).collect()
}

fn version_5_is_refused_by_name(peer: &Peer) {
    let folder = tempfile::tempdir().unwrap();
    pictures(&folder.path().join("parts"));
    fs::write(folder.path().join("password"), "any").unwrap();
    let file = folder.path().join("line.toml");
    fs::write(&file, settings_for(peer, &format!("version = 5\n{CAROUSEL}"))).unwrap();
    let check = finished(&["check", file.to_str().unwrap()]);
    let said = String::from_utf8(check.stdout).unwrap();
    let wrong: Vec<&str> = said.lines().filter(|line| line.starts_with("FAIL")).collect();
    // RabbitMQ hangs up without a word, so that there this can only be guessed.
    let is_hint = |line: &str| line.contains("  broker ") && line.contains("3.1.1") && line.contains("version = 4");
    assert!(wrong.len() == 1 && is_hint(wrong[0]), "{said}");
}

fn asked(peer: &Peer, reader: &Subscriber, name: &str, id: &str, mut command: Value) -> Value {
    command["correlation_id"] = id.into();
    send(peer, name, command.to_string().as_bytes(), &[]);
    let is_answer = |message: &Message| message.topic == ACK && message.json()["correlation_id"] == id;
    let answer = reader.until(is_answer).last().unwrap().json();
    schema::assert_valid(&schema::ack(), &answer);
    answer
}

fn commands_make_the_round_trip(peer: &Peer, habits: &Habits) {
    let reader = listen(peer, "vcp-line/#", &[]);
    let line = started(peer, TRIGGERED);
    let online = reader.until(|message| is_state(message, "online"));
    schema::assert_valid(&schema::state(), &online.last().unwrap().json());
    let ack = asked(peer, &reader, "threshold", "t-1", json!({ "threshold": 1.5 }));
    assert_eq!(ack["applied"], json!([{ "camera": "top", "recipe": { "id": "cap", "version": 2 } }]));
    let mut messages = Vec::new();
    for id in ["A-1", "A-2", "A-3"] {
        trigger(peer, id);
        let is_its = |message: &Message| is_verdict(message) && message.json()["part"]["id"] == id;
        messages.extend(reader.until(is_its));
    }
    assert_no_gap(&events(&messages));
    let refused = asked(peer, &reader, "threshold", "t-2", json!({ "threshold": "high" }));
    assert_eq!(refused["ok"], false);

    let line = stopped(line);
    assert_eq!(["events", "unsent"].map(|name| line.at_the_end(name)), [3, 0]);
    reader.until(|message| is_state(message, "offline"));
    let kept = retained(peer, STATE);
    assert_eq!(kept.len(), habits.retained_copies, "{kept:?}");
    assert!(kept.iter().all(|message| message.retained && is_state(message, "offline")), "{kept:?}");
    assert!(!kept[0].json()["since"].is_null(), "said by the line itself: {kept:?}");
    let kept = retained(peer, "vcp-line/+/state");
    assert_eq!(!kept.is_empty(), habits.wildcards_bring_retained, "{kept:?}");

    // A command that was retained while the line was away is never carried out.
    send(peer, "pause", json!({ "correlation_id": "kept" }).to_string().as_bytes(), &["-r"]);
    let line = started(peer, TRIGGERED);
    trigger(peer, "A-4");
    let messages = reader.until(|message| is_verdict(message) && message.json()["part"]["id"] == "A-4");
    assert_eq!(messages.last().unwrap().json()["reason"], Value::Null, "not paused");
    stopped(line);
    send(peer, "pause", b"", &["-r"]);
}

fn a_killed_line_is_offline_by_its_last_will(peer: &Peer) {
    let reader = listen(peer, "vcp-line/#", &[]);
    let mut line = started(peer, CAROUSEL);
    let messages = reader.until(|message| number(message) >= 3);
    let session = events(&messages)[0]["session"].clone();
    line.service.signal("KILL");
    assert_eq!(line.service.end().code(), None);
    let messages = reader.until(|message| is_state(message, "offline") && message.json()["session"] == session);
    let will = messages.last().unwrap().json();
    schema::assert_valid(&schema::state(), &will);
    assert_eq!(will["since"], Value::Null);
    let kept = retained(peer, STATE);
    assert!(kept.iter().all(|message| message.retained && message.json() == will) && !kept.is_empty(), "{kept:?}");
}

fn a_takeover_costs_nothing(peer: &Peer, habits: &Habits) {
    let reader = listen(peer, "vcp-line/#", &[]);
    let line = started(peer, CAROUSEL);
    let mut messages = reader.until(|message| number(message) >= 5);
    let session = events(&messages)[0]["session"].clone();
    drop(listen(peer, "elsewhere", &["-i", "vcp-line-caps"]));
    if habits.takeover_ends_the_old {
        line.service.logged("connection lost: ");
    }
    // What comes from now on comes by the next connection.
    messages.extend(std::iter::from_fn(|| reader.next(Duration::ZERO)));
    let from = messages.iter().map(number).max().unwrap();
    messages.extend(reader.until(|message| number(message) >= from + 12));
    let kept = retained(peer, STATE);
    assert!(!kept.is_empty() && kept.iter().all(|message| is_state(message, "online")), "{kept:?}");
    stopped(line);
    let is_last = |message: &Message| is_state(message, "offline") && !message.json()["since"].is_null();
    messages.extend(reader.until(is_last));
    assert_no_gap(&events(&messages).into_iter().filter(|event| event["session"] == session).collect::<Vec<_>>());
    let is_will = |message: &Message| is_state(message, "offline") && message.json()["since"].is_null();
    let wills = messages.iter().filter(|message| is_will(message) && message.json()["session"] == session).count();
    assert_eq!(wills > 0, habits.will_at_takeover, "{wills} wills");
}

fn a_reader_that_was_away_gets_what_it_missed(peer: &Peer) {
    let persistent = ["-c", "-i", "reader"];
    let reader = listen(peer, VERDICTS, &persistent);
    let line = started(peer, TRIGGERED);
    trigger(peer, "here");
    let mut messages = reader.until(|message| number(message) == 1);
    // Nothing is under way when it goes, so that nothing is acknowledged unread.
    drop(reader);
    let witness = listen(peer, VERDICTS, &[]);
    for (id, seq) in [("away-1", 2), ("away-2", 3), ("away-3", 4)] {
        trigger(peer, id);
        witness.until(|message| number(message) == seq);
    }
    let reader = listen(peer, VERDICTS, &persistent);
    messages.extend(reader.until(|message| number(message) == 4));
    assert_no_gap(&events(&messages));
    stopped(line);
}

fn commands_by_hand(peer: &Peer) {
    let user = if peer.arguments().is_empty() { "" } else { "plant@" };
    // RabbitMQ makes a slash of the dot, on the way to the line and back.
    for (prefix, path) in [("vcp-line", "vcp-line"), ("plant.a/Prüfung 1", "plant.a/Pr%C3%BCfung%201")] {
        let line = started(peer, &format!("prefix = \"{prefix}\"\n{TRIGGERED}"));
        let url = format!("mqtt://{user}127.0.0.1:{}/{path}/caps", peer.port);
        let password = line.folder.path().join("password");
        let mut arguments = vec!["trigger", &url, "--camera", "top", "--part", "by-hand"];
        if !user.is_empty() {
            arguments.extend(["--password-file", password.to_str().unwrap()]);
        }
        let done = finished(&arguments);
        let said = String::from_utf8(done.stdout).unwrap();
        assert_eq!(said, "accepted  {\"camera\":\"top\",\"part\":{\"id\":\"by-hand\",\"trigger\":1}}\n", "{prefix}");
        let line = stopped(line);
        assert_eq!(["events", "unsent"].map(|name| line.at_the_end(name)), [1, 0]);
    }
}

/// The service is held still while the broker goes, because one without a disk takes what it has acknowledged and not
/// yet handed on with it, and while it comes back, until the reader listens again.
fn a_killed_broker_costs_no_verdict(peer: &mut Peer) {
    let persistent = ["-c", "-i", "durable"];
    let reader = listen(peer, VERDICTS, &persistent);
    let line = started(peer, CAROUSEL);
    let mut messages = reader.until(|message| number(message) >= 10);
    line.service.signal("STOP");
    messages.extend(std::iter::from_fn(|| reader.next(Duration::from_millis(300))));
    peer.kill();
    drop(reader);
    line.service.signal("CONT");
    line.service.logged("refuses connections; is it running, and is the port right?");
    // How long the broker is away.
    std::thread::sleep(Duration::from_millis(500));
    line.service.signal("STOP");
    peer.restart();
    let reader = listen(peer, VERDICTS, &persistent);
    line.service.signal("CONT");
    messages.extend(reader.until(|message| is_verdict(message) && message.json()["historical"] == false));
    let kept = retained(peer, STATE);
    assert!(!kept.is_empty() && kept.iter().all(|message| is_state(message, "online")), "{kept:?}");
    let line = stopped(line);
    let last = line.at_the_end("events");
    messages.extend(reader.until(|message| number(message) == last));
    let events = events(&messages);
    assert_no_gap(&events);
    assert_eq!(line.at_the_end("unsent"), 0);
    assert!(events.iter().any(|event| event["historical"] == true), "nothing had to wait");
}

/// Settings of the line `lids`, which has a user of its own.
fn lids(peer: &Peer, password: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    pictures(&folder.path().join("parts"));
    fs::write(folder.path().join("password"), password).unwrap();
    let text = settings(peer.port, &format!("username = \"lids\"\npassword_file = \"password\"\n{CAROUSEL}"));
    (folder, text.replace("line = \"caps\"", "line = \"lids\""))
}

fn a_wrong_password_is_named(peer: &Peer) {
    let (folder, text) = lids(peer, "wrong");
    let line = Line::run_in(folder, &text, |_| {});
    line.service.logged("does not accept user \"lids\"; check username and password_file in [mqtt]");
}

/// RabbitMQ has no other answer to what its topic permissions refuse than to end the connection.
fn a_line_that_rabbitmq_hangs_up_on(peer: &Peer) -> (Subscriber, Line) {
    let reader = listen(peer, LIDS, &["-c", "-i", "lids-reader"]);
    let (folder, text) = lids(peer, "s3cret");
    let line = Line::run_in(folder, &text, |_| {});
    line.service.logged("the broker does not let this line listen to vcp-line/lids/cmd/+; ");
    line.service.logged("connection lost: ");
    assert!(reader.next(Duration::from_secs(1)).is_none());
    (reader, line)
}

/// The broker has come again with other permissions: what waited arrives, from the first verdict on.
fn is_let_in((reader, line): (Subscriber, Line)) {
    line.service.logged("commands can come in");
    let line = stopped(line);
    let last = line.at_the_end("events");
    let messages = reader.until(|message| message.json()["seq"] == last);
    let mut seen = BTreeSet::new();
    let numbers = messages.iter().map(|message| message.json()["seq"].as_u64().unwrap());
    let numbers: Vec<u64> = numbers.filter(|number| seen.insert(*number)).collect();
    assert_eq!(numbers, (1..=last).collect::<Vec<_>>());
    assert_eq!(line.at_the_end("unsent"), 0);
}

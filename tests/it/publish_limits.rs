//! Brokers that take less than others: smaller packets, no QoS 1, no retained messages, no MQTT 5.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::mosquitto::{Message, Mosquitto, PATIENCE, Subscriber, free_port};
use crate::support::schema;
use crate::support::verdicts::{event, spec, start, wait_for};
use serde_json::Value;
use uuid::Uuid;
use vcp_line::publish::outbox::Aside;
use vcp_line::publish::*;

/// mosquitto with further lines in its configuration.
fn broker(port: u16, extra: &str) -> Mosquitto {
    let config = format!("user root\nlistener {port} 127.0.0.1\nallow_anonymous true\n{extra}");
    Mosquitto::with_config(tempfile::tempdir().unwrap(), port, &config)
}

fn connection(port: u16, version: Version, outbox: &Path) -> PublisherSpec {
    let outbox = Some(OutboxSpec::new(outbox));
    PublisherSpec { version, outbox, ..spec("127.0.0.1", port) }
}

/// The sixth as large as many defects make it, the others as always.
fn with_a_large_one(seq: u64) -> Outgoing {
    let mut outgoing = event(Uuid::nil(), seq);
    if seq == 6 {
        let mut defect = outgoing.event.defects[0].clone();
        defect.polygon = (0..100).map(|at| [at, at * 3]).collect();
        outgoing.event.defects = vec![defect; 40];
    }
    outgoing
}

/// A verdict that no defect makes large.
fn all_large(seq: u64) -> Outgoing {
    let mut outgoing = event(Uuid::nil(), seq);
    if seq == 6 {
        outgoing.event.recipe.id = "r".repeat(4000);
    }
    outgoing
}

fn verdicts(messages: &[Message]) -> BTreeMap<u64, Value> {
    let ours = messages.iter().filter(|message| message.topic.ends_with("/verdict")).map(Message::json);
    ours.map(|event| (event["seq"].as_u64().unwrap(), event)).collect()
}

/// Ten verdicts, until the broker has the last one and nothing is owed.
fn deliver(reader: &Subscriber, door: &Door, make: impl Fn(u64) -> Outgoing) -> BTreeMap<u64, Value> {
    (1..=10).for_each(|seq| door.verdict(make(seq)).unwrap());
    let mut messages = reader.until(|message| message.topic.ends_with("/verdict") && message.json()["seq"] == 10);
    wait_for("all acknowledgements", || door.counters().queued == 0);
    // Where the broker answers and does not hang up, those behind the large one are there before it.
    while let Some(message) = reader.next(Duration::from_millis(300)) {
        messages.push(message);
    }
    verdicts(&messages)
}

fn files(outbox: &Path) -> Vec<PathBuf> {
    Aside::new(outbox).list().into_iter().map(|one| one.path).collect()
}

#[test]
fn a_verdict_larger_than_the_broker_takes_is_shortened_and_holds_up_nobody() {
    // mosquitto says max_packet_size over MQTT 5, hangs up on larger packets otherwise, and answers message_size_limit
    // with a reason that no acknowledgement may have.
    for (version, limit) in [
        (Version::V5, "max_packet_size 1200"),
        (Version::V4, "max_packet_size 1200"),
        (Version::V5, "message_size_limit 1200"),
    ] {
        let broker = broker(free_port(), limit);
        let reader = Subscriber::start(broker.port, "vcp-line/#", &["-V", "311"]);
        let outbox = tempfile::tempdir().unwrap();
        let publisher = start(connection(broker.port, version, outbox.path()), Uuid::now_v7());
        let door = publisher.door();
        let found = deliver(&reader, &door, with_a_large_one);
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>(), "{version:?} {limit}");
        let judge = schema::verdict();
        for (seq, event) in &found {
            schema::assert_valid(&judge, event);
            assert_eq!(event.get("truncated"), (*seq == 6).then_some(&Value::Bool(true)), "{seq} {version:?}");
        }
        let known = version == Version::V5 && limit.starts_with("max");
        assert_eq!(found[&6]["defects"].as_array().unwrap().is_empty(), !known, "{version:?} {limit}");
        let troubles = door.troubles();
        assert_eq!(
            troubles.keys().copied().collect::<Vec<_>>(),
            if known { vec![] } else { vec!["verdict_too_large"] }
        );
        assert_eq!(publisher.stop(PATIENCE), StopReport { unsent: 0 });
        // Where the broker could not say how much it takes, what was left out is kept.
        let kept = files(outbox.path());
        assert_eq!(kept.len(), usize::from(!known), "{kept:?}");
        for file in kept {
            let whole: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            assert_eq!((&whole["seq"], whole["defects"].as_array().unwrap().len()), (&6.into(), 40));
        }
    }
}

#[test]
fn a_verdict_that_fits_in_no_form_is_set_aside_and_sent_when_the_broker_takes_more() {
    for version in [Version::V5, Version::V4] {
        let port = free_port();
        let outbox = tempfile::tempdir().unwrap();
        let small = broker(port, "max_packet_size 1500");
        let reader = Subscriber::start(port, "vcp-line/#", &["-V", "311"]);
        let publisher = start(connection(port, version, outbox.path()), Uuid::now_v7());
        let door = publisher.door();
        let found = deliver(&reader, &door, all_large);
        assert_eq!(found.len(), 9, "{version:?}: {:?}", found.keys());
        let message = &door.troubles()["verdict_too_large"];
        assert!(message.contains("kept in the outbox") && !door.troubles().contains_key("client_id"), "{message}");
        assert_eq!(publisher.stop(PATIENCE), StopReport { unsent: 0 });
        assert_eq!(files(outbox.path()).len(), 1);
        let said = crate::support::line::finished(&["outbox", outbox.path().to_str().unwrap()]);
        let said = String::from_utf8(said.stdout).unwrap();
        assert!(said.contains("events that wait    0") && said.contains("top #6 fail, "), "{said}");

        // The limit has not changed: the next start finds the same.
        let publisher = start(connection(port, version, outbox.path()), Uuid::now_v7());
        wait_for("the alarm", || publisher.door().troubles().contains_key("verdict_too_large"));
        wait_for("its place", || publisher.door().counters().queued == 0);
        assert_eq!(publisher.stop(PATIENCE), StopReport { unsent: 0 });
        assert_eq!(files(outbox.path()).len(), 1);
        drop(reader);
        drop(small);

        let large = broker(port, "");
        let reader = Subscriber::start(port, "vcp-line/+/+/verdict", &[]);
        let publisher = start(connection(port, version, outbox.path()), Uuid::now_v7());
        let late = reader.next(PATIENCE).expect("what was set aside").json();
        assert_eq!((&late["seq"], &late["historical"]), (&6.into(), &true.into()));
        assert_eq!(publisher.stop(PATIENCE), StopReport { unsent: 0 });
        assert!(files(outbox.path()).is_empty());
        drop(large);
    }
}

#[test]
fn a_broker_without_qos_1_or_retained_messages_is_named() {
    let port = free_port();
    let poor = broker(port, "max_qos 0");
    let mut spec = PublisherSpec { version: Version::V5, ..spec("127.0.0.1", port) };
    let error = probe(&spec).expect_err("no QoS 1").to_string();
    assert!(error.contains("takes no messages with QoS 1 (its Maximum QoS is 0)"), "{error}");
    drop(poor);

    let forgetful = broker(port, "retain_available false");
    probe(&spec).expect("usable");
    spec.keep_alive = Duration::from_secs(5);
    let reader = Subscriber::start(port, "vcp-line/#", &[]);
    let publisher = start(spec, Uuid::nil());
    let messages = reader.until(|message| message.topic.ends_with("/state"));
    assert!(!messages[0].retained);
    publisher.door().verdict(event(Uuid::nil(), 1)).unwrap();
    reader.until(|message| message.topic.ends_with("/verdict"));
    let troubles = publisher.door().troubles();
    assert!(troubles["broker_retains_nothing"].contains("keeps no retained messages"), "{troubles:?}");
    assert_eq!(publisher.stop(PATIENCE), StopReport { unsent: 0 });
    drop(forgetful);
}

/// Serves each connection with `serve` in turn, until the test ends.
fn scripted(serve: impl Fn(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let accept = move || listener.incoming().map_while(Result::ok).for_each(&serve);
    std::thread::Builder::new().name("scripted-broker".into()).spawn(accept).unwrap();
    port
}

/// The first packet of a client, and the version that it names.
fn connect(stream: &mut TcpStream) -> u8 {
    let mut bytes = [0; 512];
    let read = stream.read(&mut bytes).unwrap();
    assert!(read > 8 && &bytes[4..8] == b"MQTT" || &bytes[5..9] == b"MQTT", "{:?}", &bytes[..read]);
    if &bytes[4..8] == b"MQTT" { bytes[8] } else { bytes[9] }
}

#[test]
fn a_broker_that_speaks_3_1_1_only_is_named() {
    // aedes answers with the words of 3.1.1, RabbitMQ 3.10 hangs up, amqtt answers and holds the connection.
    for answer in ["code", "nothing", "hold"] {
        let port = scripted(move |mut stream| {
            if connect(&mut stream) == 4 {
                stream.write_all(&[0x20, 2, 0, 0]).unwrap();
                std::thread::sleep(Duration::from_millis(200));
                return;
            }
            if answer != "nothing" {
                stream.write_all(&[0x20, 2, 0, 1]).unwrap();
            }
            if answer == "hold" {
                std::thread::Builder::new()
                    .name("held".into())
                    .spawn(move || {
                        std::thread::sleep(Duration::from_secs(5));
                        drop(stream);
                    })
                    .unwrap();
            }
        });
        let mut spec = PublisherSpec { version: Version::V5, ..spec("127.0.0.1", port) };
        spec.connect_timeout = Duration::from_secs(1);
        let error = probe(&spec).expect_err("no MQTT 5").to_string();
        let expected = format!("broker 127.0.0.1:{port} speaks MQTT 3.1.1 only; set version = 4 in [mqtt]");
        assert_eq!(error, expected, "{answer}");
    }
    let port = scripted(|mut stream| {
        connect(&mut stream);
        stream.write_all(&[0x20, 2, 0, 1]).unwrap();
    });
    let error = probe(&spec("127.0.0.1", port)).expect_err("no 3.1.1").to_string();
    assert!(error.contains("does not speak MQTT 3.1.1; set version = 5 in [mqtt]"), "{error}");
}

/// Server Keep Alive 0: the broker wants no sign of life, and gets no flood of them.
#[test]
fn a_broker_that_wants_no_sign_of_life_gets_none() {
    let (send, seen) = std::sync::mpsc::channel();
    let port = scripted(move |mut stream| {
        connect(&mut stream);
        stream.write_all(&[0x20, 6, 0, 0, 3, 0x13, 0, 0]).unwrap();
        let began = Instant::now();
        let (mut pings, mut bytes) = (0, [0; 4096]);
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        while began.elapsed() < Duration::from_secs(1) {
            match stream.read(&mut bytes) {
                Ok(0) => break,
                Ok(read) if bytes[..read].ends_with(&[0xc0, 0]) => {
                    pings += 1;
                    if stream.write_all(&[0xd0, 0]).is_err() {
                        break;
                    }
                }
                _ => {}
            }
        }
        send.send((pings, began.elapsed())).ok();
    });
    let publisher = start(PublisherSpec { version: Version::V5, ..spec("127.0.0.1", port) }, Uuid::nil());
    let (pings, lasted) = seen.recv_timeout(PATIENCE).unwrap();
    assert!(pings <= 1 && lasted >= Duration::from_secs(1), "{pings} signs of life in {lasted:?}");
    drop(publisher);
}

//! The publisher and a broker that is careful: TLS, certificates that are renewed or wrong, MQTT 5 and its refusals, a
//! second client of the same name, packets that are too large.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::certs::{Authority, Signed};
use crate::support::mosquitto::{Message, Mosquitto, PATIENCE, Subscriber, free_port};
use crate::support::verdicts::{self, wait_for};
use uuid::Uuid;
use vcp_line::publish::*;

fn event(seq: u64) -> Outgoing {
    verdicts::event(Uuid::nil(), seq)
}

fn spec(port: u16) -> PublisherSpec {
    let mut spec = verdicts::spec("localhost", port);
    spec.backoff_max = Duration::from_millis(400);
    spec.tls_look = Duration::from_millis(50);
    spec
}

fn start(spec: PublisherSpec) -> Publisher {
    verdicts::start(spec, Uuid::nil())
}

fn numbers(messages: &[Message]) -> Vec<u64> {
    let verdicts = messages.iter().filter(|message| message.topic.ends_with("/verdict"));
    verdicts.map(|message| message.json()["seq"].as_u64().expect("a number")).collect()
}

fn is_number(message: &Message, number: u64) -> bool {
    message.topic.ends_with("/verdict") && message.json()["seq"] == number
}

/// A broker with an open port for readers and TLS ports, each `(server certificate, further lines)`.
struct Careful {
    broker: Mosquitto,
    ports: Vec<u16>,
}

fn careful(ca: &Path, listeners: &[(&Signed, &str)]) -> Careful {
    let port = free_port();
    let mut config = format!("user root\nlog_type all\nallow_anonymous true\nlistener {port} 127.0.0.1\n");
    let mut ports = Vec::new();
    for (server, more) in listeners {
        let port = free_port();
        config += &format!(
            "listener {port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\n{more}\n",
            ca.display(),
            server.certificate.display(),
            server.key.display(),
        );
        ports.push(port);
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    Careful { broker: Mosquitto::with_config(folder, port, &config), ports }
}

fn files(ca: PathBuf, client: Option<&Signed>) -> TlsFiles {
    let client = client.map(|client| ClientFiles { certificate: client.certificate.clone(), key: client.key.clone() });
    TlsFiles { ca: Some(ca), client }
}

const ASK: &str = "require_certificate true";

#[test]
fn verdicts_travel_encrypted_in_both_versions_of_mqtt() {
    let folder = tempfile::tempdir().expect("a folder");
    let ca = Authority::new(folder.path(), "plant");
    let (server, client) = (ca.sign("broker", "localhost"), ca.sign("caps", "caps"));
    let Careful { broker, ports } = careful(&ca.pem(), &[(&server, ASK)]);
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    for version in [Version::V4, Version::V5] {
        let mut spec = spec(ports[0]);
        (spec.tls, spec.version) = (Some(files(ca.pem(), Some(&client))), version);
        probe(&spec).expect("the broker takes us");
        let publisher = start(spec);
        (0..100).for_each(|seq| publisher.door().verdict(event(seq)).expect("room"));
        let messages = reader.until(|message| is_number(message, 99));
        assert_eq!(numbers(&messages), (0..100).collect::<Vec<_>>(), "{version:?}");
        assert_eq!(publisher.stop(PATIENCE), StopReport { unsent: 0 });
        let last = reader.until(|message| message.topic.ends_with("/state")).pop().expect("a state");
        assert_eq!(last.json()["state"], "offline", "{version:?}");
        let protocol = if version == Version::V4 { "(p2," } else { "(p5," };
        assert!(broker.log().contains(&format!("as vcp-line-caps {protocol}")), "{}", broker.log());
    }
}

#[test]
fn a_probe_says_what_is_wrong_with_a_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ca, foreign) = (Authority::new(folder.path(), "plant"), Authority::new(folder.path(), "foreign"));
    let (good, late) = (ca.sign("broker", "localhost"), ca.sign_expired("broker", "localhost"));
    let elsewhere = ca.sign("broker", "other.plant");
    let (client, old) = (ca.sign("caps", "caps"), ca.sign_expired("caps", "caps"));
    let (stranger, other) = (foreign.sign("caps", "caps"), ca.sign("other", "other"));
    let Careful { broker, ports } = careful(&ca.pem(), &[(&good, ASK), (&late, ""), (&elsewhere, "")]);
    let said = |port: u16, tls: TlsFiles, version: Version| {
        let mut spec = spec(port);
        (spec.tls, spec.version) = (Some(tls), version);
        match probe(&spec) {
            Ok(()) => "nothing is wrong".to_owned(),
            Err(error) => error.to_string().replace(&folder.path().display().to_string(), "DIR"),
        }
    };
    let mixed = Signed { certificate: client.certificate.clone(), key: other.key.clone() };
    for version in [Version::V4, Version::V5] {
        let cases = [
            (ports[0], files(ca.pem(), Some(&client)), "nothing is wrong"),
            (ports[0], files(foreign.pem(), Some(&client)), "not trusted: none of the authorities in ca has signed it"),
            (ports[1], files(ca.pem(), None), "not trusted: it has expired"),
            (ports[2], files(ca.pem(), None), "not for \"localhost\" but for other.plant;"),
            (ports[0], files(ca.pem(), None), "does not accept this line's certificate (CertificateRequired)"),
            (ports[0], files(ca.pem(), Some(&stranger)), "does not accept this line's certificate (UnknownCA)"),
            (ports[0], files(ca.pem(), Some(&old)), "does not accept this line's certificate (CertificateExpired)"),
            (ports[0], files(ca.pem(), Some(&mixed)), "does not fit client_certificate DIR/plant-caps-caps-"),
            (ports[0], files(folder.path().join("none"), None), "ca DIR/none: No such file"),
            (broker.port, files(ca.pem(), None), "does not speak TLS on this port"),
        ];
        for (port, tls, expected) in cases {
            let said = said(port, tls, version);
            assert!(said.contains(expected), "{version:?}: {said}\nin place of: {expected}");
        }
    }
    // The other way round there is no TLS to complain about, and it still is an error with the address.
    let error = probe(&spec(ports[0])).expect_err("not encrypted").to_string();
    assert!(error.contains(&format!("localhost:{}", ports[0])), "{error}");
}

#[test]
fn a_key_that_everybody_may_read_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let ca = Authority::new(folder.path(), "plant");
    let client = ca.sign("caps", "caps");
    let warnings = |mode: u32| {
        fs::set_permissions(&client.key, fs::Permissions::from_mode(mode)).expect("ours");
        files(ca.pem(), Some(&client)).load().expect("good files").warnings
    };
    assert_eq!(warnings(0o640), [""; 0]);
    let told = warnings(0o644);
    assert!(told.len() == 1 && told[0].contains("mode 644"), "{told:?}");
}

/// A file in the place of another at once, as renewal programs do it: nobody sees half of it.
fn renew(new: &Path, place: &Path) {
    let beside = place.with_extension("new");
    fs::copy(new, &beside).expect("copied");
    fs::rename(&beside, place).expect("renamed");
}

/// Nobody who carries out commands.
struct Deaf;

impl CommandPort for Deaf {
    fn command(&self, _: &str, _: &[u8], _: bool, _: &AckSender) {}
}

/// Two steps, as renewal programs do it: for a moment certificate and key do not fit.
#[test]
fn renewed_certificates_are_taken_without_a_restart_and_without_a_duplicate() {
    let folder = tempfile::tempdir().expect("a folder");
    let ca = Authority::new(folder.path(), "plant");
    let server = ca.sign("broker", "localhost");
    let (old, new) = (ca.sign("old-name", "caps"), ca.sign("new-name", "caps"));
    let place = Signed { certificate: folder.path().join("line.pem"), key: folder.path().join("line.key") };
    fs::copy(&old.certificate, &place.certificate).expect("copied");
    fs::copy(&old.key, &place.key).expect("copied");
    let more = format!("{ASK}\nuse_identity_as_username true");
    let Careful { broker, ports } = careful(&ca.pem(), &[(&server, &more)]);
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let mut spec = spec(ports[0]);
    spec.tls = Some(files(ca.pem(), Some(&place)));
    let commands = spec.clone();
    let publisher = start(spec);
    let door = publisher.door();
    let seen = |name: &str, commands: bool| {
        let user = format!("u'{name}'");
        broker.log().lines().any(|line| line.contains(&user) && line.contains("-commands (") == commands)
    };
    let (connected_as, command_link) = (|name: &str| seen(name, false), |name: &str| seen(name, true));
    wait_for("the old certificate", || connected_as("old-name") && door.counters().connected);
    let link = CommandLink::start(commands, Arc::new(Deaf)).expect("started");
    wait_for("the old certificate for commands", || command_link("old-name"));

    let mut seq = 0;
    let mut give = |until: &mut dyn FnMut() -> bool| {
        let start = Instant::now();
        while !until() {
            assert!(start.elapsed() < PATIENCE, "in vain after {seq} verdicts: {}", broker.log());
            door.verdict(event(seq)).expect("room");
            seq += 1;
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    renew(&new.certificate, &place.certificate);
    give(&mut || door.troubles().contains_key("certificate"));
    assert!(door.troubles()["certificate"].contains("does not fit"), "{:?}", door.troubles());
    assert!(door.counters().connected && !connected_as("new-name"));
    renew(&new.key, &place.key);
    give(&mut || connected_as("new-name") && door.counters().connected);
    wait_for("the new certificate for commands", || command_link("new-name"));
    drop(link);
    assert!(!door.troubles().contains_key("certificate"), "{:?}", door.troubles());
    assert_eq!(publisher.stop(PATIENCE), StopReport { unsent: 0 });
    let messages = reader.until(|message| message.topic.ends_with("/state") && message.json()["state"] == "offline");
    assert_eq!(numbers(&messages), (0..seq).collect::<Vec<_>>(), "each once, in order");
    let states = messages.iter().filter(|message| message.topic.ends_with("/state"));
    assert_eq!(states.filter(|message| message.json()["state"] == "offline").count(), 1, "no last will on the way");
}

/// The authority itself is replaced: the line's file first holds both, as one does it.
#[test]
fn a_new_authority_counts_at_the_next_connection() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (Authority::new(folder.path(), "old"), Authority::new(folder.path(), "new"));
    let mut first = careful(&old.pem(), &[(&old.sign("broker", "localhost"), "")]);
    let trusted = folder.path().join("ca.pem");
    fs::copy(old.pem(), &trusted).expect("copied");
    let mut spec = spec(first.ports[0]);
    spec.tls = Some(files(trusted.clone(), None));
    let publisher = start(spec);
    let door = publisher.door();
    wait_for("the first broker", || door.counters().connected);
    let signed = new.sign("broker", "localhost");
    let config = format!(
        "user root\nallow_anonymous true\nlistener {} 127.0.0.1\ncertfile {}\nkeyfile {}\n",
        first.ports[0],
        signed.certificate.display(),
        signed.key.display()
    );
    first.broker.stop();
    let _second = Mosquitto::with_config(tempfile::tempdir().expect("a folder"), first.ports[0], &config);
    std::thread::sleep(Duration::from_millis(500));
    assert!(!door.counters().connected, "a broker of an unknown authority");
    let both = [fs::read(old.pem()).expect("read"), fs::read(new.pem()).expect("read")].concat();
    fs::write(&trusted, both).expect("written");
    wait_for("the second broker", || door.counters().connected);
    assert_eq!(publisher.stop(PATIENCE), StopReport { unsent: 0 });
}

const MUTE: &str = "topic write vcp-line/caps/state\ntopic write vcp-line/caps/+/alarm\n";

/// A broker whose access list everybody shares.
fn listed(acl: &str) -> (Mosquitto, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (port, list) = (free_port(), folder.path().join("acl"));
    fs::write(&list, format!("{acl}topic read #\n")).expect("writable");
    let config = format!(
        "user root\nlog_type all\nallow_anonymous true\nacl_file {}\nlistener {port} 127.0.0.1\n",
        list.display()
    );
    (Mosquitto::with_config(folder, port, &config), list)
}

#[test]
fn over_mqtt_5_a_refused_verdict_is_told_and_arrives_when_the_list_allows_it() {
    let (broker, list) = listed(MUTE);
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let mut spec = spec(broker.port);
    spec.version = Version::V5;
    let publisher = start(spec);
    let door = publisher.door();
    (0..20).for_each(|seq| door.verdict(event(seq)).expect("room"));
    wait_for("the refusal", || door.troubles().contains_key("broker_refuses"));
    let message = &door.troubles()["broker_refuses"];
    assert!(
        message.contains("does not let this line publish to vcp-line/caps/top/verdict (NotAuthorized)"),
        "{message}"
    );
    assert_eq!((door.counters().acked, door.counters().queued), (0, 20));
    fs::write(&list, format!("{MUTE}topic write vcp-line/caps/+/verdict\ntopic read #\n")).expect("writable");
    broker.reload();
    let messages = reader.until(|message| is_number(message, 19));
    assert_eq!(numbers(&messages), (0..20).collect::<Vec<_>>());
    // A goodbye each time: nobody is told that the line is offline while it only waits for permission.
    assert!(messages.iter().filter(|m| m.topic.ends_with("/state")).all(|m| m.json()["state"] == "online"));
    wait_for("the end of the trouble", || door.troubles().is_empty());
    assert_eq!(publisher.stop(PATIENCE), StopReport { unsent: 0 });
}

#[test]
fn a_stop_under_refusal_keeps_its_deadline_and_says_offline() {
    let (broker, _list) = listed(MUTE);
    let reader = Subscriber::start(broker.port, "vcp-line/caps/state", &[]);
    let mut spec = spec(broker.port);
    spec.version = Version::V5;
    let publisher = start(spec);
    let door = publisher.door();
    door.verdict(event(0)).expect("room");
    wait_for("the refusal", || door.troubles().contains_key("broker_refuses"));
    wait_for("a connection", || door.counters().connected);
    assert_eq!(publisher.stop(Duration::from_secs(1)), StopReport { unsent: 1 });
    let said = reader.until(|message| message.json()["state"] == "offline").pop().expect("offline");
    assert!(!said.json()["since"].is_null(), "said by the line, not by its last will");
}

/// 3.1.1 has no word for it: the broker acknowledges and throws away.
#[test]
fn over_mqtt_3_a_refused_verdict_looks_accepted() {
    let (broker, _list) = listed(MUTE);
    let publisher = start(spec(broker.port));
    let door = publisher.door();
    door.verdict(event(0)).expect("room");
    wait_for("the acknowledgement", || door.counters().acked == 1);
    assert!(door.troubles().is_empty());
    assert_eq!(publisher.stop(PATIENCE), StopReport { unsent: 0 });
}

#[test]
fn verdicts_expire_for_absent_readers_only_when_asked() {
    for (expiry, expected) in [(None, 3), (Some(Duration::from_secs(1)), 0)] {
        let config_port = free_port();
        let folder = tempfile::tempdir().expect("a folder");
        let config = format!("user root\nallow_anonymous true\nlistener {config_port} 127.0.0.1\n");
        let broker = Mosquitto::with_config(folder, config_port, &config);
        let stay = ["-V", "5", "-c", "-i", "reader", "-x", "600"];
        drop(Subscriber::start(broker.port, "vcp-line/+/+/verdict", &stay));
        let mut spec = spec(broker.port);
        (spec.version, spec.verdict_expiry) = (Version::V5, expiry);
        let publisher = start(spec);
        (0..3).for_each(|seq| publisher.door().verdict(event(seq)).expect("room"));
        wait_for("acknowledgements", || publisher.door().counters().acked == 3);
        std::thread::sleep(Duration::from_millis(2500));
        // With a kept session messages may come before the subscription is confirmed: any client shows what is queued.
        let output = Command::new("mosquitto_sub")
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &broker.port.to_string(),
                "-t",
                "vcp-line/+/+/verdict",
                "-q",
                "1",
                "-W",
                "2",
            ])
            .args(stay)
            .output()
            .expect("mosquitto_sub runs");
        let lines = String::from_utf8_lossy(&output.stdout).lines().count();
        assert_eq!(lines, expected, "{expiry:?}");
        assert_eq!(publisher.stop(PATIENCE), StopReport { unsent: 0 });
    }
}

/// Two services with one client id take the connection from each other: told by both, and ever more slowly.
#[test]
fn two_lines_with_one_client_id_are_told_and_do_not_storm() {
    for version in [Version::V4, Version::V5] {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let config = format!("user root\nlog_type all\nallow_anonymous true\nlistener {port} 127.0.0.1\n");
        let broker = Mosquitto::with_config(folder, port, &config);
        let mut spec = spec(port);
        spec.version = version;
        let (one, two) = (start(spec.clone()), start(spec));
        wait_for("both to notice", || [&one, &two].iter().all(|line| line.door().troubles().contains_key("client_id")));
        let begun = broker.log().matches("New client connected").count();
        std::thread::sleep(Duration::from_secs(3));
        let more = broker.log().matches("New client connected").count() - begun;
        // Each pauses 200 to 400 ms by now.
        assert!(more <= 36, "{version:?}: {more} connections in 3 s");
        println!("{version:?}: {more} connections in 3 s, {:?}", one.door().troubles());
        // Alone again, the other one comes to rest.
        drop(one);
        wait_for("rest", || two.door().troubles().is_empty() && two.door().counters().connected);
        assert_eq!(two.stop(PATIENCE), StopReport { unsent: 0 });
    }
}

#[test]
fn a_packet_that_is_too_large_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let config = format!("user root\nallow_anonymous true\nlistener {port} 127.0.0.1\n");
    let huge = folder.path().join("huge");
    fs::write(&huge, vec![b'x'; 2 * 1024 * 1024]).expect("written");
    let broker = Mosquitto::with_config(tempfile::tempdir().expect("a folder"), port, &config);
    let publish = |topic: &str, arguments: &[&str]| {
        let done = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &broker.port.to_string(), "-q", "1", "-t", topic])
            .args(arguments)
            .status();
        assert!(done.expect("mosquitto_pub runs").success());
    };
    for version in [Version::V4, Version::V5] {
        let mut spec = spec(port);
        (spec.version, spec.client_id) = (version, "watcher".into());
        let stop = tokio_util::sync::CancellationToken::new();
        let mut heard = Vec::new();
        publish("vcp-line/first", &["-m", "1", "-r"]);
        watch::watch(&spec, "vcp-line/#", &stop, |message| {
            heard.push(message.readable());
            match heard.len() {
                1 => {
                    publish("vcp-line/huge", &["-f", huge.to_str().expect("text")]);
                    // The broker keeps the large one to itself over MQTT 5.
                    publish("vcp-line/last", &["-m", "2"]);
                }
                _ => stop.cancel(),
            }
        })
        .expect("a broker");
        let expected =
            if version == Version::V4 { "sent a packet of more than 1048576 bytes" } else { "vcp-line/last: 2" };
        assert!(heard[1].contains(expected), "{version:?}: {heard:?}");
    }
}

//! The real program and its broker in trouble: restarted, gone, or with other passwords than ours.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::events::{STATE, assert_no_gap, events, is_state, is_verdict, number};
use crate::support::line::{CAROUSEL, FOLDER, Line, PATIENCE, finished, pictures, settings};
use crate::support::mosquitto::{Mosquitto, Rules, Subscriber, free_port};
use crate::support::schema;

/// The broker forgets everything, also the state that it had retained. While it comes back, the service is held
/// still until the reader listens again, so that what the reader misses is what the service has lost.
#[test]
fn a_broker_restarted_in_the_middle_costs_no_event() {
    let mut broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let mut line = Line::with_pictures(&settings(broker.port, CAROUSEL));
    let mut messages = reader.until(|message| number(message) >= 10);
    broker.stop();
    line.service.logged("connection lost: ");
    line.service.logged("refuses connections; is it running, and is the port right?");
    // How long the broker is away.
    std::thread::sleep(Duration::from_millis(500));
    messages.extend(std::iter::from_fn(|| reader.next(Duration::from_millis(100))));
    drop(reader);

    line.service.signal("STOP");
    broker.restart();
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    line.service.signal("CONT");
    messages.extend(reader.until(|message| is_verdict(message) && message.json()["historical"] == false));
    let again = Subscriber::start(broker.port, STATE, &[]).next(PATIENCE).expect("the state is retained again");
    assert!(again.retained && is_state(&again, "online"), "{again:?}");

    line.service.signal("TERM");
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
    messages.extend(reader.until(|message| is_state(message, "offline")));
    let events = events(&messages);
    assert_no_gap(&events);
    assert!(events.iter().any(|event| event["historical"] == true), "nothing had to wait");
    assert_eq!([line.at_the_end("events"), line.at_the_end("unsent")], [events.len() as u64, 0]);
}

#[test]
fn a_killed_service_is_offline_by_its_last_will() {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let mut line = Line::with_pictures(&settings(broker.port, CAROUSEL));
    let messages = reader.until(|message| number(message) >= 3);
    let session = events(&messages)[0]["session"].clone();
    line.service.signal("KILL");
    assert_eq!(line.service.end().code(), None);
    let messages = reader.until(|message| is_state(message, "offline"));
    let will = messages.last().unwrap().json();
    schema::assert_valid(&schema::state(), &will);
    assert_eq!((&will["session"], &will["since"]), (&session, &serde_json::Value::Null));
    let kept = Subscriber::start(broker.port, STATE, &[]).next(PATIENCE).expect("retained");
    assert!(kept.retained && kept.json() == will, "{kept:?}");
}

/// Without a broker the events wait for the whole stop deadline, unless somebody insists.
#[test]
fn a_second_sigterm_ends_the_process_at_once() {
    let text = settings(free_port(), &format!("[stop]\ndeadline_s = 600\n{FOLDER}"));
    let mut line = Line::with_pictures(&text);
    line.service.logged("stop: publisher");
    line.service.signal("TERM");
    line.service.logged("a second signal leaves at once");
    assert!(line.service.is_running());
    let began = Instant::now();
    line.service.signal("TERM");
    assert_eq!(line.service.end().code(), Some(1));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    line.service.logged("second signal: leaving at once");
}

#[test]
fn a_stop_without_a_broker_keeps_its_deadline_and_counts_what_is_lost() {
    let text = settings(free_port(), &format!("[stop]\ndeadline_s = 1.0\n{FOLDER}"));
    let mut line = Line::with_pictures(&text);
    let status = line.service.end();
    assert_eq!(["events", "acked", "unsent"].map(|name| line.at_the_end(name)), [12, 0, 12]);
    let log = line.service.stderr();
    assert_eq!(
        log.lines().last(),
        Some("vcp-line: 12 verdicts could not be delivered and wait in the outbox: is the broker running?")
    );
    assert_eq!(status.code(), Some(1));
}

#[test]
fn user_and_password_are_read_from_the_settings_and_a_file() {
    let broker = Mosquitto::start(Rules { passwords: true, ..Rules::default() });
    broker.add_user("line", "s3cret");
    let text = settings(broker.port, &format!("username = \"line\"\npassword_file = \"password\"\n{CAROUSEL}"));
    let folder = tempfile::tempdir().unwrap();
    pictures(&folder.path().join("parts"));
    let password = folder.path().join("password");
    fs::write(&password, "wrong\n").unwrap();
    let mut line = Line::run_in(folder, &text, |_| {});
    let complaint = format!(
        "broker 127.0.0.1:{} does not accept user \"line\"; \
         check username and password_file in [mqtt] and the broker's user list",
        broker.port
    );
    line.service.logged(&complaint);

    let file = line.folder.path().join("line.toml");
    let check = finished(&["check", file.to_str().unwrap()]);
    let said = String::from_utf8(check.stdout).unwrap();
    assert_eq!(check.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("FAIL  broker       {complaint}\n")), "{said}");
    assert_eq!(said.matches("FAIL").count(), 1, "{said}");
    assert_eq!(String::from_utf8(check.stderr).unwrap().lines().last(), Some("vcp-line: 1 of the checks above failed"));

    // Refused again and again, said once; the line goes on inspecting.
    let began = Instant::now();
    while broker.log().matches("not authorised").count() < 5 {
        assert!(began.elapsed() < PATIENCE, "{}", broker.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(line.service.is_running());
    assert_eq!(line.service.times_logged(&complaint), 1, "{}", line.service.stderr());

    // The broker learns this password: what has been inspected meanwhile arrives, from the first event on.
    broker.add_user("reader", "r");
    let reader = Subscriber::start(broker.port, "vcp-line/#", &["-u", "reader", "-P", "r"]);
    broker.add_user("line", "wrong");
    let messages = reader.until(|message| number(message) >= 20);
    assert_no_gap(&events(&messages));
    assert!(!line.service.stderr().contains("s3cret"));
}

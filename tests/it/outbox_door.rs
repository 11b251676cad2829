//! The outbox behind the door, with nobody at the broker's port: full, bounded, stopped and opened again.

use std::path::Path;
use std::time::Duration;

use crate::support::mosquitto::{Mosquitto, Rules, Subscriber, free_port};
use crate::support::schema;
use crate::support::verdicts::{self, wait_for};
use uuid::Uuid;
use vcp_line::frame::Part;
use vcp_line::publish::outbox::{Fsync, OutboxSpec, Safety, WhenLogFull};
use vcp_line::publish::{Door, DoorError, Outgoing, Publisher, StopReport};

const PATIENCE: Duration = Duration::from_secs(30);

fn part(trigger: u64) -> Part {
    Part { id: format!("A-{trigger:06}"), trigger }
}

fn event(session: Uuid, seq: u64, part: Option<Part>) -> Outgoing {
    let mut outgoing = verdicts::event(session, seq);
    outgoing.event.part = part;
    outgoing
}

fn start(port: u16, session: Uuid, outbox: OutboxSpec) -> Publisher {
    let mut spec = verdicts::spec("127.0.0.1", port);
    spec.outbox = Some(outbox);
    verdicts::start(spec, session)
}

fn small(directory: &Path) -> OutboxSpec {
    OutboxSpec { max_bytes: 1 << 20, fsync: Fsync::Never, ..OutboxSpec::new(directory) }
}

/// Gives events of a free-running camera, a little slower than the outbox thread looks at its size.
fn give_until(door: &Door, mut stop: impl FnMut(&Result<(), DoorError>) -> bool) -> u64 {
    for seq in 1..20_000 {
        let taken = door.verdict(event(Uuid::nil(), seq, None));
        if stop(&taken) {
            return seq;
        }
        if seq % 10 == 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    panic!("20,000 events and still not there");
}

#[test]
fn a_full_log_refuses_what_is_new_and_keeps_the_room_of_what_is_owed() {
    let folder = tempfile::tempdir().unwrap();
    let publisher = start(free_port(), Uuid::nil(), small(folder.path()));
    let door = publisher.door();
    door.owe("top", &part(1)).unwrap();
    let alarmed = |door: &Door| door.outbox().unwrap().alarm();
    give_until(&door, |taken| {
        taken.as_ref().unwrap();
        alarmed(&door).is_some_and(|alarm| alarm.starts_with("the outbox is 8") || alarm.starts_with("the outbox is 9"))
    });
    assert!(!door.outbox().unwrap().is_degraded());
    give_until(&door, |taken| *taken == Err(DoorError::LogFull));
    assert_eq!(door.owe("top", &part(2)), Err(DoorError::LogFull));
    // It is said when the thread of the outbox looks the next time.
    wait_for("degraded", || door.outbox().unwrap().is_degraded());
    door.verdict(event(Uuid::nil(), 9, Some(part(1)))).expect("it is owed");
    let waiting = door.counters().queued;
    assert_eq!(publisher.stop(Duration::ZERO), StopReport { unsent: waiting });
    let bytes: u64 =
        std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < (1 << 20) + (128 << 10), "{bytes} bytes on disk");
}

#[test]
fn the_oldest_are_deleted_and_counted_when_the_line_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let spec = OutboxSpec { when_full: WhenLogFull::DropOldest, ..small(folder.path()) };
    let publisher = start(free_port(), Uuid::nil(), spec.clone());
    let door = publisher.door();
    door.owe("top", &part(1)).unwrap();
    let given = give_until(&door, |taken| {
        taken.as_ref().unwrap();
        door.outbox().unwrap().deleted > 500
    });
    wait_for("everything written", || door.counters().queued as u64 + door.outbox().unwrap().deleted == given);
    let alarm = door.outbox().unwrap().alarm().unwrap();
    assert!(alarm.contains("verdicts were deleted undelivered"), "{alarm}");
    let waiting = door.counters().queued;
    assert_eq!(publisher.stop(Duration::ZERO), StopReport { unsent: waiting });
    // The part's record went with the oldest segment, and was written again.
    let publisher = start(free_port(), Uuid::nil(), spec);
    assert_eq!(publisher.door().owed().iter().map(|owed| owed.part.trigger).collect::<Vec<_>>(), [1]);
    assert_eq!(publisher.door().counters().queued, waiting);
}

#[test]
fn the_next_start_owes_and_sends_what_the_first_has_left() {
    let folder = tempfile::tempdir().unwrap();
    let spec = OutboxSpec { fsync: Fsync::Always, ..OutboxSpec::new(folder.path()) };
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    let publisher = start(free_port(), first, spec.clone());
    let door = publisher.door();
    let mut ids = Vec::new();
    for trigger in 1..=3 {
        let debt = door.owe("top", &part(trigger)).unwrap();
        assert_eq!(door.recorded(debt, PATIENCE), Safety::OnDisk);
        if trigger < 3 {
            let outgoing = event(first, trigger, Some(part(trigger)));
            ids.push(outgoing.event.event_id.to_string());
            door.verdict(outgoing).unwrap();
        }
    }
    // Like a killed process.
    drop(publisher);

    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/caps/top/verdict", &[]);
    let publisher = start(broker.port, second, spec);
    let door = publisher.door();
    assert_eq!(door.owed().iter().map(|owed| owed.part.clone()).collect::<Vec<_>>(), [part(3)]);
    let mut answer = event(second, 1, Some(part(3)));
    answer.event.historical = true;
    ids.push(answer.event.event_id.to_string());
    door.verdict(answer).unwrap();
    assert!(door.owed().is_empty());
    let judge = schema::verdict();
    for (index, id) in ids.iter().enumerate() {
        let message = reader.next(PATIENCE).expect("an event").json();
        schema::assert_valid(&judge, &message);
        let session = if index < 2 { first } else { second };
        let seq = if index < 2 { index as u64 + 1 } else { 1 };
        assert_eq!((message["event_id"].as_str(), &message["historical"]), (Some(id.as_str()), &true.into()));
        assert_eq!((&message["session"], &message["seq"]), (&session.to_string().into(), &seq.into()));
        assert!(message["time"]["published"].as_str() > message["time"]["captured"].as_str());
    }
    wait_for("acknowledgements", || door.counters().acked == 3);
    assert_eq!(publisher.stop(PATIENCE), StopReport { unsent: 0 });
    let third = start(free_port(), Uuid::now_v7(), OutboxSpec::new(folder.path()));
    assert_eq!((third.door().counters().queued, third.door().owed().len()), (0, 0));
}

/// More events than are read back at once, of a line whose broker was away for long.
#[test]
fn what_waits_on_disk_is_sent_in_order_without_being_held_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let spec = OutboxSpec { fsync: Fsync::Never, segment_bytes: 256 << 10, ..OutboxSpec::new(folder.path()) };
    let session = Uuid::now_v7();
    let publisher = start(free_port(), session, spec.clone());
    for seq in 1..=6_000 {
        publisher.door().verdict(event(session, seq, None)).unwrap();
    }
    let unsent = publisher.stop(Duration::from_millis(300)).unsent;
    assert_eq!(unsent, 6_000);
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/caps/top/verdict", &[]);
    let publisher = start(broker.port, Uuid::now_v7(), spec);
    for seq in 1..=6_000 {
        let message = reader.next(PATIENCE).expect("an event").json();
        assert_eq!((&message["seq"], &message["historical"]), (&seq.into(), &true.into()));
    }
    wait_for("acknowledgements", || publisher.door().counters().acked == 6_000);
    assert_eq!(publisher.stop(PATIENCE), StopReport { unsent: 0 });
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert!(left <= 3, "{left} files are left of an empty outbox");
}

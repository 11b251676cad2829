//! The door in memory: full, waiting, retained, closed.

use super::*;
use crate::clock::SystemClock;
use crate::publish::payload::tests::event;
use crate::publish::state::StateWord;

fn door(max_queue: usize) -> Door {
    let mut spec = PublisherSpec::new("nowhere", 1, "caps");
    spec.max_queue = max_queue;
    let state = LineState {
        state: StateWord::Online,
        since: None,
        cameras: BTreeMap::new(),
        model: None,
        activity: None,
        activities: Vec::new(),
    };
    Door(Arc::new(PublisherState::new(&spec, Uuid::nil(), state, Arc::new(SystemClock), None)))
}

fn verdict(seq: u64) -> Outgoing {
    Outgoing { event: event(seq), captured: Instant::now(), due: None }
}

#[test]
fn a_full_queue_refuses_and_counts() {
    let door = door(2);
    assert_eq!(door.verdict(verdict(0)), Ok(()));
    assert_eq!(door.verdict(verdict(1)), Ok(()));
    assert_eq!(door.verdict(verdict(2)), Err(DoorError::Full { capacity: 2 }));
    assert_eq!((door.counters().queued, door.counters().dropped), (2, 1));
}

#[test]
fn an_acknowledgement_makes_room() {
    let door = door(1);
    door.verdict(verdict(0)).expect("room");
    door.0.connected();
    let Some(Load::Retained { .. }) = door.0.next() else { panic!("the state goes first") };
    let Some(Load::Verdict { id, .. }) = door.0.next() else { panic!("then the verdict") };
    door.0.acked(&Cargo::Verdict(id));
    assert_eq!(door.verdict(verdict(1)), Ok(()));
    assert_eq!((door.counters().queued, door.counters().acked, door.counters().dropped), (1, 1, 0));
}

#[test]
fn retained_messages_merge_and_are_repeated_after_a_reconnect() {
    let door = door(1);
    door.0.connected();
    let Some(Load::Retained { topic, version, .. }) = door.0.next() else { panic!("state") };
    door.0.say_offline(jiff::Timestamp::UNIX_EPOCH);
    assert!(door.0.next().is_none(), "one at a time per topic");
    door.0.acked(&Cargo::Retained { topic, version });
    assert!(!door.0.all_acked());
    let Some(Load::Retained { topic, version, .. }) = door.0.next() else { panic!("newer state") };
    door.0.acked(&Cargo::Retained { topic, version });
    assert!(door.0.all_acked() && door.0.next().is_none());
    door.0.connected();
    let Some(Load::Retained { payload, .. }) = door.0.next() else { panic!("again") };
    assert!(String::from_utf8(payload).expect("JSON").contains("\"offline\""));
}

#[test]
fn a_closed_door_says_so() {
    let door = door(1);
    door.0.set_mode(Mode::Closed);
    assert_eq!(door.verdict(verdict(0)), Err(DoorError::Closed));
    assert_eq!(door.counters().dropped, 1);
}

#[test]
fn nothing_is_said_after_offline() {
    let door = door(1);
    door.0.connected();
    door.0.set_mode(Mode::Draining(Instant::now()));
    door.0.say_offline(jiff::Timestamp::UNIX_EPOCH);
    let cameras = BTreeMap::new();
    door.set_state(LineState {
        state: StateWord::Online,
        since: None,
        cameras,
        model: None,
        activity: None,
        activities: Vec::new(),
    });
    door.set_alarms("top", &[]);
    let Some(Load::Retained { payload, .. }) = door.0.next() else { panic!("the state") };
    assert!(String::from_utf8(payload).expect("JSON").contains("\"offline\""));
    assert!(door.0.next().is_none());
}

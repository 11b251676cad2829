//! Single cases of the outbox's state machine, told one by one.

use jiff::Timestamp;
use vcp_line::frame::Part;
use vcp_line::publish::outbox::{Content, Inherited, Ledger, Limits, OwedPart, RecordId, Safety};

const CAMERA: &str = "top";

fn part(trigger: u64) -> Part {
    Part { id: format!("A-{trigger}"), trigger }
}

fn owed(trigger: u64) -> OwedPart {
    OwedPart { camera: CAMERA.into(), part: part(trigger), accepted: Timestamp::UNIX_EPOCH }
}

#[test]
fn a_part_owed_twice_is_answered_twice() {
    let mut ledger = Ledger::on_disk(Limits { memory: 8, window: 8, in_flight: 8 }, Inherited::default());
    let first = ledger.owe(owed(1)).expect("room");
    let second = ledger.owe(owed(1)).expect("room");
    assert_eq!(ledger.safety(first), Safety::BeingWritten);
    for number in 0..2 {
        ledger.push(CAMERA, Some(&part(1)), number).expect("owed");
    }
    let answers: Vec<_> = ledger.to_store(RecordId::default(), 9).into_iter().map(|record| record.content).collect();
    assert!(matches!(answers[2], Content::Event { answers: Some(debt), item: 0 } if debt == first));
    assert!(matches!(answers[3], Content::Event { answers: Some(debt), item: 1 } if debt == second));
    // The event before its record would be the event of a restart as well.
    ledger.connected();
    assert!(ledger.next_to_send().is_none());
    ledger.stored(RecordId(4));
    assert_eq!((ledger.safety(first), ledger.oldest_debt()), (Safety::OnDisk, None));
    assert_eq!(ledger.next_to_send().map(|next| *next.item), Some(0));
}

#[test]
fn deleted_events_are_counted_once_and_their_acknowledgements_ignored() {
    let inherited = Inherited { last: RecordId(9), acked_to: RecordId(1), waiting: 8, owed: Vec::new() };
    let mut ledger = Ledger::on_disk(Limits { memory: 8, window: 4, in_flight: 2 }, inherited);
    ledger.connected();
    assert_eq!(ledger.to_load(), Some((RecordId(1), 4)));
    ledger.loaded((2..6).map(|id| (RecordId(id), id)).collect(), false);
    let sent = ledger.next_to_send().expect("loaded").id;
    // Events 2 to 7 lie in segments that are deleted.
    assert_eq!(ledger.deleted(RecordId(7), 2), 6);
    assert_eq!((ledger.acked(sent), ledger.len(), ledger.in_flight()), (None, 2, 0));
    assert_eq!(ledger.to_load(), Some((RecordId(7), 4)));
    ledger.loaded(vec![(RecordId(8), 8), (RecordId(9), 9)], true);
    assert_eq!(ledger.next_to_send().map(|next| (*next.item, next.late)), Some((8, true)));
}

/// Answered in an instant while nothing of the part is on disk: a restart would know nothing of it.
#[test]
fn an_answered_part_is_safe_when_disk_or_broker_has_it_and_not_before() {
    let limits = Limits { memory: 8, window: 8, in_flight: 8 };
    let answered = || {
        let mut ledger = Ledger::on_disk(limits, Inherited::default());
        let debt = ledger.owe(owed(1)).unwrap();
        let event = ledger.push(CAMERA, Some(&part(1)), 1).unwrap();
        assert_eq!(ledger.safety(debt), Safety::BeingWritten);
        (ledger, debt, event)
    };
    let (mut ledger, debt, _) = answered();
    ledger.stored(debt);
    assert_eq!(ledger.safety(debt), Safety::OnDisk);
    let (mut ledger, debt, event) = answered();
    ledger.store_failed(RecordId::default(), false);
    assert_eq!(ledger.safety(debt), Safety::InMemory);
    ledger.connected();
    assert_eq!(ledger.next_to_send().map(|next| next.id), Some(event));
    assert_eq!(ledger.acked(event), Some(1));
    assert_eq!(ledger.safety(debt), Safety::OnDisk);
    // A disk that hangs has it or has it not.
    let (mut ledger, debt, event) = answered();
    ledger.set_hangs(true);
    assert_eq!(ledger.safety(debt), Safety::InMemory);
    ledger.set_hangs(false);
    assert_eq!(ledger.safety(debt), Safety::BeingWritten);
    ledger.stored(event);
    assert_eq!(ledger.safety(debt), Safety::OnDisk);
}

/// The folder was deleted: what memory has is written once more, the debt under a new number.
#[test]
fn a_lost_log_is_written_anew() {
    let mut ledger = Ledger::on_disk(Limits { memory: 8, window: 1, in_flight: 1 }, Inherited::default());
    let debt = ledger.owe(owed(1)).unwrap();
    for item in 1..=3 {
        ledger.push(CAMERA, None, item).unwrap();
    }
    ledger.stored(RecordId(4));
    assert_eq!((ledger.safety(debt), ledger.len()), (Safety::OnDisk, 3));
    assert_eq!(ledger.log_lost(), 2, "those that memory does not hold");
    let again = ledger.to_store(ledger.acked_to(), 9);
    assert!(matches!(again[0].content, Content::Event { answers: None, item: 1 }), "{again:?}");
    assert!(matches!(again[1].content, Content::Owed(_)) && again.len() == 2, "{again:?}");
    assert_eq!(ledger.safety(debt), Safety::BeingWritten);
    ledger.stored(again[1].id);
    assert_eq!((ledger.safety(debt), ledger.held()), (Safety::OnDisk, 1));
}

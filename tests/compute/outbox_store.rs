//! The log on disk against a model: cut at any byte, damaged anywhere, locked, too new, out of time, or without room.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use proptest::prelude::*;
use vcp_line::clock::Moment;
use vcp_line::frame::Part;
use vcp_line::publish::outbox::record::{Kind, SEGMENT_HEAD, Step, Walk};
use vcp_line::publish::outbox::{Fsync, OutboxSpec, OwedPart, RecordId, Store, StoreRecord, survey};

fn spec(directory: &Path) -> OutboxSpec {
    OutboxSpec { fsync: Fsync::Always, segment_bytes: 64 << 10, max_bytes: 1 << 20, ..OutboxSpec::new(directory) }
}

fn moment(seconds: i64) -> Moment {
    Moment { wall: Timestamp::from_second(1_790_000_000 + seconds).unwrap(), monotonic: Instant::now() }
}

/// Times that only the test moves on.
fn at(wall: i64, monotonic: Instant) -> Moment {
    Moment { wall: Timestamp::from_second(1_790_000_000 + wall).unwrap(), monotonic }
}

fn owed(id: u64) -> StoreRecord {
    let part = OwedPart {
        camera: "top".into(),
        part: Part { id: format!("A-{id}"), trigger: id },
        accepted: Timestamp::UNIX_EPOCH,
    };
    StoreRecord { id: RecordId(id), kind: Kind::Owed, payload: serde_json::to_vec(&part).unwrap(), reserved: false }
}

fn json(id: u64, size: usize) -> Vec<u8> {
    format!("{{\"camera\":\"top\",\"number\":{id},\"filler\":\"{}\"}}", "x".repeat(size)).into_bytes()
}

fn event(id: u64, debt: u64, size: usize) -> StoreRecord {
    let payload = [&debt.to_le_bytes()[..], &json(id, size)].concat();
    StoreRecord { id: RecordId(id), kind: Kind::Event, payload, reserved: debt != 0 }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
    files.sort();
    files
}

fn all_events(store: &mut Store, after: RecordId) -> Vec<u64> {
    let mut events: Vec<u64> = Vec::new();
    let mut last = after;
    loop {
        let loaded = store.read_after(last, 7).unwrap();
        for (id, json) in &loaded.events {
            let value: serde_json::Value = serde_json::from_slice(json).unwrap();
            assert_eq!(value["number"], id.0);
            events.push(id.0);
            last = *id;
        }
        if loaded.end {
            return events;
        }
    }
}

/// What a recovery must find of these records.
fn expected(records: &[Act]) -> (u64, Vec<u64>, Vec<u64>) {
    let (mut open, mut events, mut acked) = (BTreeMap::new(), Vec::new(), 0);
    for act in records {
        match act {
            Act::Owe(id) => drop(open.insert(*id, ())),
            Act::Give(id, debt, _) => {
                open.remove(debt);
                events.push(*id);
            }
            Act::Ack(to) => acked = acked.max(*to),
        }
    }
    events.retain(|event| *event > acked);
    (acked, events, open.into_keys().collect())
}

#[derive(Clone, Debug)]
enum Act {
    Owe(u64),
    Give(u64, u64, usize),
    Ack(u64),
}

/// Parts owed and answered, free events, acknowledgements, as a line would write them.
fn acts() -> impl Strategy<Value = Vec<Act>> {
    prop::collection::vec((0..8u8, 0..3000usize, any::<prop::sample::Index>()), 1..120).prop_map(|choices| {
        let (mut acts, mut open, mut events, mut id, mut acked) = (Vec::new(), Vec::new(), Vec::new(), 0, 0);
        for (choice, size, index) in choices {
            match choice {
                0..=2 => {
                    id += 1;
                    open.push(id);
                    acts.push(Act::Owe(id));
                }
                3..=4 if !open.is_empty() => {
                    id += 1;
                    let debt = open.remove(index.index(open.len()));
                    events.push(id);
                    acts.push(Act::Give(id, debt, size));
                }
                7 if !events.is_empty() => {
                    acked = acked.max(events[index.index(events.len())]);
                    acts.push(Act::Ack(acked));
                }
                _ => {
                    id += 1;
                    events.push(id);
                    acts.push(Act::Give(id, 0, size));
                }
            }
        }
        acts
    })
}

fn write(store: &mut Store, act: &Act) {
    let now = moment(0);
    match act {
        Act::Owe(id) => store.append(&[owed(*id)], now).unwrap(),
        Act::Give(id, debt, size) => store.append(&[event(*id, *debt, *size)], now).unwrap(),
        Act::Ack(to) => store.append_acked(RecordId(*to), now).unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// A power cut: what was synced is there, what was not may end at any byte, and nothing else is different.
    #[test]
    fn a_log_cut_at_any_byte_keeps_all_that_was_synced(
        acts in acts(), synced in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let spec = spec(folder.path());
        let synced = synced.index(acts.len() + 1);
        let (mut store, _) = Store::open(&spec, moment(0)).unwrap();
        acts[..synced].iter().for_each(|act| write(&mut store, act));
        store.sync().unwrap();
        // Full segments before the last one are synced when they are left.
        let (file, before) = match files(folder.path()).pop() {
            Some(file) => (file.clone(), used(&file)),
            None => (PathBuf::new(), 0),
        };
        acts[synced..].iter().for_each(|act| write(&mut store, act));
        drop(store);
        let files = files(folder.path());
        let kept = match files.last() {
            Some(last) => {
                let start = if *last == file { before } else { SEGMENT_HEAD };
                let bytes = fs::read(last).unwrap();
                let place = start + cut.index(used(last) - start + 1);
                fs::write(last, [&bytes[..place], &vec![0; bytes.len() - place]].concat()).unwrap();
                records_in(&files)
            }
            None => 0,
        };
        prop_assert!(kept >= synced);
        let (acked, events, open) = expected(&acts[..kept]);

        let (mut store, found) = Store::open(&spec, moment(1)).unwrap();
        prop_assert_eq!(found.damage.stretches, 0);
        prop_assert_eq!(found.inherited.acked_to, RecordId(acked));
        prop_assert_eq!(found.inherited.waiting, events.len() as u64);
        let owed: Vec<u64> = found.inherited.owed.iter().map(|(_, owed)| owed.part.trigger).collect();
        prop_assert_eq!(owed, open);
        prop_assert_eq!(all_events(&mut store, RecordId(acked)), events.clone());
        // It goes on, and the next start finds both.
        let next = found.inherited.last.0 + 1;
        store.append(&[event(next, 0, 10)], moment(2)).unwrap();
        store.sync().unwrap();
        drop(store);
        let (mut store, found) = Store::open(&spec, moment(3)).unwrap();
        prop_assert_eq!((found.torn, found.damage.stretches), (0, 0));
        prop_assert_eq!(all_events(&mut store, RecordId(acked)), [&events[..], &[next]].concat());
    }

    /// Damage anywhere costs the records it lies in, and is counted.
    #[test]
    fn damage_costs_only_what_it_lies_in(
        acts in acts(), place in any::<prop::sample::Index>(), length in 1..40usize,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let spec = spec(folder.path());
        let (mut store, _) = Store::open(&spec, moment(0)).unwrap();
        acts.iter().for_each(|act| write(&mut store, act));
        store.sync().unwrap();
        drop(store);
        let files = files(folder.path());
        let file = &files[place.index(files.len())];
        let mut bytes = fs::read(file).unwrap();
        let used = used(file);
        prop_assume!(used > SEGMENT_HEAD);
        let start = SEGMENT_HEAD + place.index(used - SEGMENT_HEAD);
        let end = (start + length).min(used);
        bytes[start..end].iter_mut().for_each(|byte| *byte ^= 0x55);
        fs::write(file, &bytes).unwrap();
        let hit = |record: &std::ops::Range<usize>| record.start < end && record.end > start;
        let clean = fs::read(file).map(|mut bytes| {
            bytes[start..end].iter_mut().for_each(|byte| *byte ^= 0x55);
            bytes
        });
        let clean = clean.unwrap();
        let mut lost = Vec::new();
        for step in Walk::new(&clean, SEGMENT_HEAD) {
            if let Step::Record(record, range) = step
                && hit(&range)
            {
                lost.push((record.kind, record.id.0));
            }
        }
        let (acked, events, _) = expected(&acts);
        let (mut store, found) = Store::open(&spec, moment(1)).unwrap();
        prop_assert_eq!(found.damage.stretches + u64::from(found.torn > 0), 1);
        let kept: Vec<u64> = events.into_iter().filter(|id| !lost.contains(&(Kind::Event, *id))).collect();
        let found: Vec<u64> = all_events(&mut store, RecordId(found.inherited.acked_to.0.min(acked)));
        // A lost acknowledgement repeats events; none that waits may be missing.
        prop_assert!(kept.iter().all(|id| found.contains(id)), "{found:?} lacks some of {kept:?}");
        prop_assert!(found.is_sorted() && !found.iter().any(|id| lost.contains(&(Kind::Event, *id))));
    }
}

/// Bytes up to the end of the last record.
fn used(file: &Path) -> usize {
    let bytes = fs::read(file).unwrap();
    Walk::new(&bytes, SEGMENT_HEAD).fold(SEGMENT_HEAD, |_, step| match step {
        Step::Record(_, range) | Step::Damage(range) | Step::Tail(range) => range.end,
    })
}

/// Whole records in all files.
fn records_in(files: &[PathBuf]) -> usize {
    let count = |file: &PathBuf| {
        let bytes = fs::read(file).unwrap();
        Walk::new(&bytes, SEGMENT_HEAD).filter(|step| matches!(step, Step::Record(..))).count()
    };
    files.iter().map(count).sum()
}

#[test]
fn a_second_process_is_refused_by_name_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, _) = Store::open(&spec(folder.path()), moment(0)).unwrap();
    let error = Store::open(&spec(folder.path()), moment(0)).unwrap_err().to_string();
    let expected = format!(
        "outbox {} is in use by process {}; stop that one, or give this line its own directory in [outbox]",
        folder.path().display(),
        std::process::id()
    );
    assert_eq!(error, expected);
    let look = survey::look(&spec(folder.path())).unwrap();
    assert_eq!(look.used_by, Some(std::process::id().to_string()));
    assert!(look.free > 0);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "in the way").unwrap();
    let error = Store::open(&spec(&file.join("outbox")), moment(0)).unwrap_err().to_string();
    assert!(error.starts_with(&format!("outbox {}/outbox: ", file.display())), "{error}");
    assert!(error.ends_with("let the service's user write there, or name another directory in [outbox]"), "{error}");
}

#[test]
fn a_log_of_a_later_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("0000000000000001.log");
    fs::write(&file, [&b"VCPLOB\x02\x00"[..], &[0; 100]].concat()).unwrap();
    let error = Store::open(&spec(folder.path()), moment(0)).unwrap_err().to_string();
    assert!(error.contains("has format 2, this version knows 1"), "{error}");
    assert_eq!(fs::read(&file).unwrap().len(), 108);
}

#[test]
fn segments_go_when_everything_in_them_is_answered_and_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(&spec(folder.path()), moment(0)).unwrap();
    store.append(&[owed(1)], moment(0)).unwrap();
    for id in 2..400 {
        store.append(&[event(id, 0, 1000)], moment(0)).unwrap();
    }
    store.sync().unwrap();
    let before = files(folder.path()).len();
    assert!(before >= 6, "{before}");
    store.delete_answered(RecordId(399), Some(RecordId(1)));
    assert_eq!(files(folder.path()).len(), before, "the debt's record is in the first one");
    store.delete_answered(RecordId(200), None);
    let (left, bytes) = (files(folder.path()).len(), store.bytes());
    assert!(left < before && left > 1);
    assert_eq!(all_events(&mut store, RecordId(200)), (201..400).collect::<Vec<_>>());
    drop(store);
    let (store, found) = Store::open(&spec(folder.path()), moment(0)).unwrap();
    // Nothing has said on disk that they were acknowledged.
    assert!(found.inherited.waiting >= 199 && store.bytes() <= bytes);
}

#[test]
fn age_and_size_delete_the_oldest_and_say_how_many_are_left() {
    let folder = tempfile::tempdir().unwrap();
    let spec = OutboxSpec { max_age: Duration::from_secs(3600), ..spec(folder.path()) };
    let start = Instant::now();
    let later = |minutes: u64| start + Duration::from_secs(60 * minutes);
    let (mut store, _) = Store::open(&spec, at(0, start)).unwrap();
    for id in 1..=100 {
        store.append(&[event(id, 0, 1000)], at(0, start)).unwrap();
    }
    for id in 101..=200 {
        store.append(&[event(id, 0, 1000)], at(1800, later(30))).unwrap();
    }
    store.sync().unwrap();
    // A clock that is set, in either direction, is not time that has passed.
    assert!(store.delete_older(at(500_000_000, later(31))).is_none());
    assert!(store.delete_older(at(-500_000_000, later(31))).is_none());
    assert!((store.age(RecordId(0), at(1860, later(31))) - 31.0 / 60.0).abs() < 0.01);
    let deleted = store.delete_older(at(3700, later(62))).expect("the first hour is over");
    assert!(deleted.through < RecordId(101) && deleted.left >= 100, "{deleted:?}");
    assert_eq!(all_events(&mut store, deleted.through).len() as u64, deleted.left);
    let deleted = store.delete_beyond(70_000).expect("more than that is there");
    assert!(store.bytes() <= 70_000 && deleted.left > 0, "{deleted:?}");
    store.delete_older(at(0, later(200))).expect("everything is old");
    assert!(all_events(&mut store, RecordId(0)).is_empty() && store.bytes() == 0);
}

/// The clock of the next start is an hour behind, or far ahead: order is the log's, and age goes on from there.
#[test]
fn a_clock_set_between_two_starts_changes_no_order_and_deletes_nothing() {
    // The last is a box that started in 2000 and then got the time from the network.
    for jump in [-3600, 3600, 800_000_000] {
        let folder = tempfile::tempdir().unwrap();
        let spec = OutboxSpec { max_age: Duration::from_secs(7200), ..spec(folder.path()) };
        let (mut store, _) = Store::open(&spec, moment(0)).unwrap();
        store.append(&[event(1, 0, 10), event(2, 0, 10)], moment(0)).unwrap();
        store.sync().unwrap();
        drop(store);
        let (mut store, found) = Store::open(&spec, moment(jump)).unwrap();
        assert_eq!(found.inherited.waiting, 2);
        store.append(&[event(3, 0, 10)], moment(jump)).unwrap();
        store.sync().unwrap();
        assert!(store.delete_older(moment(jump)).is_none());
        assert_eq!(all_events(&mut store, RecordId(0)), [1, 2, 3]);
        assert!(store.age(RecordId(0), moment(jump)) >= 0.0);
    }
}

#[test]
fn a_part_whose_answer_may_have_been_in_damage_is_answered_again_unless_that_was_acknowledged() {
    for acked in [0, 3] {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(&spec(folder.path()), moment(0)).unwrap();
        store.append(&[owed(1), event(2, 0, 10), event(3, 1, 10), event(4, 0, 10)], moment(0)).unwrap();
        if acked > 0 {
            store.append_acked(RecordId(acked), moment(0)).unwrap();
        }
        store.sync().unwrap();
        drop(store);
        let file = files(folder.path()).remove(0);
        let mut bytes = fs::read(&file).unwrap();
        let place = Walk::new(&bytes, SEGMENT_HEAD).find_map(|step| match step {
            Step::Record(record, range) if record.id == RecordId(3) => Some(range),
            _ => None,
        });
        bytes[place.unwrap().end - 1] ^= 1;
        fs::write(&file, bytes).unwrap();
        let (_store, found) = Store::open(&spec(folder.path()), moment(0)).unwrap();
        assert_eq!(found.damage.stretches, 1);
        assert_eq!(found.inherited.owed.len(), usize::from(acked == 0));
    }
}

#[test]
fn a_segment_that_is_gone_is_an_error_once_and_then_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(&spec(folder.path()), moment(0)).unwrap();
    for id in 1..=300 {
        store.append(&[event(id, 0, 1000)], moment(0)).unwrap();
    }
    store.sync().unwrap();
    let files = files(folder.path());
    fs::remove_file(&files[1]).unwrap();
    let first = store.read_after(RecordId(0), 20).unwrap();
    let last = first.events.last().unwrap().0;
    let error = store.read_after(last, 1000).unwrap_err().to_string();
    assert!(error.contains(files[1].to_str().unwrap()), "{error}");
    let rest = all_events(&mut store, last);
    assert!(rest.is_sorted() && rest.last() == Some(&300) && rest.len() > 150, "{rest:?}");
}

#[test]
fn many_segments_are_counted_and_read_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let spec = OutboxSpec { fsync: Fsync::Never, segment_bytes: 1 << 20, max_bytes: 1 << 30, ..spec(folder.path()) };
    let (mut store, _) = Store::open(&spec, moment(0)).unwrap();
    const COUNT: u64 = 50_000;
    for start in (1..=COUNT).step_by(500) {
        let batch: Vec<StoreRecord> = (start..start + 500).map(|id| event(id, 0, 100)).collect();
        store.append(&batch, moment(0)).unwrap();
    }
    store.sync().unwrap();
    store.append_acked(RecordId(1234), moment(0)).unwrap();
    drop(store);
    let (mut store, found) = Store::open(&spec, moment(0)).unwrap();
    assert_eq!((found.inherited.waiting, found.inherited.last), (COUNT - 1234, RecordId(COUNT)));
    assert_eq!(all_events(&mut store, RecordId(1234)).len() as u64, COUNT - 1234);
}

#[test]
fn a_file_that_no_segment_can_follow_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ffffffffffffffff.log"), [0; 16]).unwrap();
    let error = Store::open(&spec(folder.path()), moment(0)).unwrap_err().to_string();
    assert!(error.contains("ffffffffffffffff.log: no segment can follow"), "{error}");
}

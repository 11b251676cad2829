//! What the outbox does a second on this machine, and what a start after a long outage costs: one million stored events
//! found, counted and read back, with the largest memory.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/support/verdicts.rs"]
mod verdicts;

use std::path::Path;
use std::time::{Duration, Instant};

use uuid::Uuid;
use vcp_line::clock::{Clock, SystemClock};
use vcp_line::frame::Part;
use vcp_line::publish::PublisherSpec;
use vcp_line::publish::outbox::record::Kind;
use vcp_line::publish::outbox::{Fsync, OutboxSpec, RecordId, Safety, Store, StoreRecord};

/// A typical event with one defect.
const EVENT: usize = 900;
const MILLION: u64 = 1_000_000;

fn event(id: u64) -> StoreRecord {
    let mut json = format!("{{\"camera\":\"top\",\"number\":{id},\"filler\":\"");
    json.extend(std::iter::repeat_n('x', EVENT.saturating_sub(json.len() + 2)));
    json.push_str("\"}");
    let payload = [&0u64.to_le_bytes()[..], json.as_bytes()].concat();
    StoreRecord { id: RecordId(id), kind: Kind::Event, payload, reserved: false }
}

fn spec(folder: &Path, fsync: Fsync) -> OutboxSpec {
    OutboxSpec { fsync, ..OutboxSpec::new(folder) }
}

/// Writes for about two seconds; each event counts when its fsync has returned.
fn durable(name: &str, batch: u64) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (mut store, _) = Store::open(&spec(folder.path(), Fsync::Always), SystemClock.now()).unwrap();
    let start = Instant::now();
    let mut written = 0;
    while start.elapsed() < Duration::from_secs(2) {
        let records: Vec<StoreRecord> = (written + 1..=written + batch).map(event).collect();
        store.append(&records, SystemClock.now()).unwrap();
        store.sync().unwrap();
        written += batch;
    }
    let rate = written as f64 / start.elapsed().as_secs_f64();
    println!("{name}: {rate:.0} durable events/s ({batch} to an fsync)");
}

/// The whole way: events through the door, written as JSON by the outbox thread, until the last is on disk.
fn through_the_door() {
    const COUNT: u64 = 20_000;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    // Nobody listens there: everything stays in the outbox.
    let mut publisher = PublisherSpec::new("127.0.0.1", 1, "bench");
    publisher.max_queue = 2 * COUNT as usize;
    publisher.outbox = Some(OutboxSpec::new(folder.path()));
    let publisher = verdicts::start(publisher, Uuid::now_v7());
    let door = publisher.door();
    let start = Instant::now();
    for seq in 1..=COUNT {
        door.verdict(verdicts::event(Uuid::nil(), seq)).unwrap();
    }
    // Stored in order: when this one is on disk, all before it are.
    let last = door.owe("top", &Part { id: "last".into(), trigger: 1 }).unwrap();
    assert_eq!(door.recorded(last, Duration::from_secs(60)), Safety::OnDisk);
    println!(
        "through the door: {:.0} durable events/s (fsync at most every 20 ms)",
        COUNT as f64 / start.elapsed().as_secs_f64()
    );
    assert!(publisher.stop(Duration::ZERO).unsent >= COUNT as usize);
}

fn resident_mib(what: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn replay() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let spec = spec(folder.path(), Fsync::Never);
    let (mut store, _) = Store::open(&spec, SystemClock.now()).unwrap();
    let start = Instant::now();
    for first in (1..=MILLION).step_by(500) {
        let records: Vec<StoreRecord> = (first..first + 500).map(event).collect();
        store.append(&records, SystemClock.now()).unwrap();
    }
    println!("written: {MILLION} events, {} MiB, in {:.1} s", store.bytes() >> 20, start.elapsed().as_secs_f64());
    drop(store);
    println!("memory before: {:.0} MiB", resident_mib("VmRSS"));

    let start = Instant::now();
    let (mut store, found) = Store::open(&spec, SystemClock.now()).unwrap();
    assert_eq!(found.inherited.waiting, MILLION);
    println!("opened: all counted in {:.1} s", start.elapsed().as_secs_f64());

    let start = Instant::now();
    let (mut last, mut count) = (RecordId(0), 0);
    loop {
        let loaded = store.read_after(last, 1024).unwrap();
        for (id, _) in &loaded.events {
            assert_eq!(id.0, last.0 + 1, "order");
            last = *id;
        }
        count += loaded.events.len() as u64;
        if loaded.end {
            break;
        }
        store.delete_answered(last, None);
    }
    assert_eq!(count, MILLION);
    let rate = count as f64 / start.elapsed().as_secs_f64();
    println!("read back: {count} events in order, {rate:.0}/s; largest memory {:.0} MiB", resident_mib("VmHWM"));
}

fn main() {
    durable("one at a time", 1);
    durable("small groups", 8);
    durable("batched", 64);
    through_the_door();
    replay();
}

//! What the archive does on this machine: frames of 5 million pixels to disk, and questions to an index of a million parts.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/support/verdicts.rs"]
mod verdicts;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;
use vcp_line::anomaly::AnomalyMap;
use vcp_line::archive::{Archive, ArchiveSpec, Filter, Reader};
use vcp_line::clock::SystemClock;
use vcp_line::event::VerdictWord;
use vcp_line::frame::{Image, Part, PixelFormat};
use vcp_line::verdict::{NoVerdictReason, Verdict};

const MILLION: u64 = 1_000_000;
/// What any filter may take.
const LONGEST: Duration = Duration::from_millis(100);

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % below
    }
}

/// A part that shows something, with the noise of a camera.
fn part(format: PixelFormat, width: u32, height: u32) -> Image {
    let mut dice = Dice(1);
    let mut bytes = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let round = (x as f64 - 1200.0).hypot(y as f64 - 1000.0) < 900.0;
            let grey = 60.0 + if round { 100.0 } else { 0.0 } + 20.0 * (x as f64 / 300.0).sin();
            let noise = dice.next(7) as f64 + dice.next(7) as f64 - 6.0;
            match format {
                PixelFormat::Gray16 => {
                    bytes.extend((((grey + noise) * 256.0) as u16 + dice.next(256) as u16).to_le_bytes())
                }
                PixelFormat::Rgb8 => bytes.extend([(grey + noise) as u8, grey as u8, (grey - noise) as u8]),
                _ => bytes.push((grey + noise) as u8),
            }
        }
    }
    Image::new(width, height, format, bytes).unwrap()
}

/// From frames in memory to frames, maps and rows on disk.
fn pictures(folder: &Path) {
    const PARTS: u64 = 30;
    let map = AnomalyMap::new(518, (0..518 * 518).map(|i| (i % 997) as f32 / 1000.0).collect());
    for format in [PixelFormat::Gray8, PixelFormat::Gray16, PixelFormat::Rgb8] {
        let spec = ArchiveSpec {
            sample: 1.0,
            reserve_bytes: 1 << 20,
            max_queue_bytes: 1 << 30,
            ..ArchiveSpec::new(folder.join(format!("{format:?}")))
        };
        let image = part(format, 2448, 2048);
        let (archive, thread) = Archive::start(spec, Arc::new(SystemClock)).unwrap();
        let start = Instant::now();
        for number in 0..PARTS {
            let event = verdicts::event(Uuid::nil(), number).event;
            let seen = archive.look(event.event_id, "top", Verdict::Fail, &image, Some(&map));
            archive.keep(event, seen);
        }
        assert!(thread.stop(Duration::from_secs(120)));
        let each = start.elapsed().as_secs_f64() * 1e3 / PARTS as f64;
        let counters = archive.counters();
        let share = counters.bytes as f64 / (counters.pictures_written as usize * image.data().len()) as f64;
        println!(
            "2448x2048 {format:?} with its map: {each:.0} ms a part, {} of {PARTS} written, {share:.2} of the frame's bytes",
            counters.pictures_written
        );
    }
}

/// A million parts of four cameras in 30 days.
fn fill(folder: &Path) -> Timestamp {
    let spec = ArchiveSpec { sample: 0.0, reserve_bytes: 1 << 20, ..ArchiveSpec::new(folder.to_owned()) };
    let (archive, thread) = Archive::start(spec, Arc::new(SystemClock)).unwrap();
    let first = Timestamp::from_second(Timestamp::now().as_second() - 30 * 24 * 3600).unwrap();
    let mut dice = Dice(5);
    let start = Instant::now();
    for number in 0..MILLION {
        let mut event = verdicts::event(Uuid::nil(), number).event;
        event.camera = ["top", "side", "front", "rear"][dice.next(4) as usize].into();
        event.time.captured = first + SignedDuration::from_micros((number * 2_592_000) as i64);
        event.part = Some(Part { id: format!("A-{number:07}"), trigger: number });
        let passed = dice.next(100);
        let score = 0.3 + (dice.next(1000) + dice.next(1000) + dice.next(1000)) as f32 / 10_000.0;
        event.defects.clear();
        (event.verdict, event.score) = match passed {
            0..3 => (VerdictWord::Fail, Some(score + 0.4)),
            3 => (VerdictWord::NoVerdict, None),
            _ => (VerdictWord::Pass, Some(score)),
        };
        event.reason = event.score.is_none().then_some(NoVerdictReason::Deadline);
        while archive.counters().queue_parts > 4000 {
            std::thread::sleep(Duration::from_millis(1));
        }
        archive.keep(event, None);
    }
    assert!(thread.stop(Duration::from_secs(600)));
    let counters = archive.counters();
    assert_eq!(counters.written, MILLION, "{counters:?}");
    println!(
        "a million parts indexed in {:.0} s, {:.0} bytes each",
        start.elapsed().as_secs_f64(),
        counters.bytes as f64 / MILLION as f64
    );
    first
}

fn timed(reader: &Reader, name: &str, filter: &Filter, worst: &mut Duration) {
    // The first question reads from the disk what the others find in memory.
    let mut longest = Duration::ZERO;
    let mut found = 0;
    for _ in 0..5 {
        let start = Instant::now();
        found = reader.list(filter, None, 50).unwrap().parts.len();
        longest = longest.max(start.elapsed());
    }
    let start = Instant::now();
    let count = reader.count(filter).unwrap();
    let counting = start.elapsed();
    *worst = (*worst).max(longest).max(counting);
    let more = if count.more { "+" } else { "" };
    println!(
        "{name:44} {:6.1} ms for {found} parts, {:6.1} ms to count {}{more}",
        longest.as_secs_f64() * 1e3,
        counting.as_secs_f64() * 1e3,
        count.parts
    );
}

fn questions(folder: &Path, first: Timestamp) {
    let reader = Reader::new(folder);
    let all = Filter::default();
    let day = |day: i64| Some(first + SignedDuration::from_hours(24 * day));
    let some = |camera: &str| Some(camera.to_owned());
    let fail = Some(VerdictWord::Fail);
    let filters = [
        ("the newest", all.clone()),
        ("one day", Filter { from: day(10), until: day(11), ..all.clone() }),
        ("one camera", Filter { camera: some("rear"), ..all.clone() }),
        ("failed", Filter { verdict: fail, ..all.clone() }),
        (
            "failed of one camera on one day",
            Filter { verdict: fail, camera: some("top"), from: day(3), until: day(4), ..all.clone() },
        ),
        ("no verdict, deadline", Filter { reason: Some(NoVerdictReason::Deadline), ..all.clone() }),
        ("no verdict, paused (none)", Filter { reason: Some(NoVerdictReason::Paused), ..all.clone() }),
        (
            "passed, near the threshold",
            Filter { verdict: Some(VerdictWord::Pass), min_score: Some(0.59), ..all.clone() },
        ),
        ("score at least 0.9", Filter { min_score: Some(0.9), ..all.clone() }),
        ("score 0.40 to 0.50", Filter { min_score: Some(0.40), max_score: Some(0.50), ..all.clone() }),
        (
            "score 0.400 to 0.401 of one camera",
            Filter { min_score: Some(0.400), max_score: Some(0.401), camera: some("side"), ..all.clone() },
        ),
        (
            "score of failed ones, passed (none)",
            Filter { verdict: Some(VerdictWord::Pass), min_score: Some(0.7), ..all.clone() },
        ),
        ("failed with a low score (none)", Filter { verdict: fail, max_score: Some(0.5), ..all.clone() }),
        (
            "score 0.40 to 0.50 in the first hour",
            Filter {
                min_score: Some(0.40),
                max_score: Some(0.50),
                until: Some(first + SignedDuration::from_hours(1)),
                ..all.clone()
            },
        ),
        (
            "failed in the first hour",
            Filter { verdict: fail, until: Some(first + SignedDuration::from_hours(1)), ..all.clone() },
        ),
        ("one part", Filter { part: some("A-0123456"), ..all.clone() }),
        ("a part that is not there", Filter { part: some("B-0123456"), ..all.clone() }),
        ("with pictures (none)", Filter { pictures: true, ..all.clone() }),
        (
            "everything at once",
            Filter {
                camera: some("front"),
                verdict: fail,
                from: day(2),
                until: day(20),
                min_score: Some(0.8),
                max_score: Some(0.9),
                ..all.clone()
            },
        ),
    ];
    let mut worst = Duration::ZERO;
    for (name, filter) in &filters {
        timed(&reader, name, filter, &mut worst);
    }
    let mut measure = |name: &str, ask: &dyn Fn()| {
        let start = Instant::now();
        ask();
        worst = worst.max(start.elapsed());
        println!("{name:44} {:6.1} ms", start.elapsed().as_secs_f64() * 1e3);
    };
    measure("histogram of all scores", &|| drop(reader.scores(&all).unwrap()));
    measure("yield by hour, 30 days", &|| drop(reader.periods(&all, 4).unwrap()));
    let newest = reader.list(&all, None, 1).unwrap().parts.remove(0).event_id;
    measure("similar parts", &|| drop(reader.similar(newest, 12).unwrap()));
    let page = reader.list(&all, None, 1000).unwrap().next;
    measure("the next 1000", &|| drop(reader.list(&all, page, 1000).unwrap()));
    println!("slowest: {:.1} ms; allowed: {} ms", worst.as_secs_f64() * 1e3, LONGEST.as_millis());
}

fn main() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    pictures(folder.path());
    let index = folder.path().join("million");
    let first = fill(&index);
    questions(&index, first);
}

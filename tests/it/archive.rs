//! The archive by itself: whatever moment the process is killed at, rows and files belong together; filters answer what a plain
//! loop over all parts answers; what may not be more is not.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;
use vcp_line::anomaly::AnomalyMap;
use vcp_line::archive::*;
use vcp_line::clock::SystemClock;
use vcp_line::dataset::{self, Dataset};
use vcp_line::event::{InspectionEvent, VerdictWord};
use vcp_line::frame::{Image, Part, PixelFormat};
use vcp_line::verdict::{NoVerdictReason, Verdict};

use crate::support::line::PATIENCE;
use crate::support::verdicts;

/// Names the directory in which a child of this program writes until it is killed.
const CHILD: &str = "VCP_LINE_TEST_ARCHIVE_CHILD";

fn spec(folder: &Path) -> ArchiveSpec {
    ArchiveSpec { sample: 1.0, reserve_bytes: 1 << 20, ..ArchiveSpec::new(folder.join("archive")) }
}

fn open(spec: ArchiveSpec) -> (Archive, ArchiveThread) {
    Archive::start(spec, Arc::new(SystemClock)).unwrap()
}

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % below
    }
}

fn picture(format: PixelFormat, width: u32, height: u32, seed: u64) -> Image {
    let mut dice = Dice(seed);
    let bytes = width as usize * height as usize * format.bytes_per_pixel();
    Image::new(width, height, format, (0..bytes).map(|_| dice.next(256) as u8).collect()).unwrap()
}

fn map(seed: u64) -> AnomalyMap {
    let mut dice = Dice(seed);
    AnomalyMap::new(8, (0..64).map(|_| dice.next(65536) as f32 / 65535.0).collect())
}

fn word(verdict: Verdict) -> (VerdictWord, Option<NoVerdictReason>) {
    match verdict {
        Verdict::Pass => (VerdictWord::Pass, None),
        Verdict::Fail => (VerdictWord::Fail, None),
        Verdict::NoVerdict(reason) => (VerdictWord::NoVerdict, Some(reason)),
    }
}

/// An event that says this.
fn event(verdict: Verdict, score: f32, captured: Timestamp, camera: &str, part: u64) -> InspectionEvent {
    let mut event = verdicts::event(Uuid::nil(), part).event;
    (event.verdict, event.reason) = word(verdict);
    if verdict != Verdict::Fail {
        event.defects.clear();
    }
    event.score = event.reason.is_none().then_some(score);
    event.time.captured = captured;
    event.camera = camera.into();
    event.part = Some(Part { id: format!("A-{part}"), trigger: part });
    event
}

/// As the line does it; false when there was no room for the pictures.
fn put(
    archive: &Archive,
    mut event: InspectionEvent,
    verdict: Verdict,
    image: &Image,
    map: Option<&AnomalyMap>,
) -> bool {
    let seen = archive.look(event.event_id, &event.camera, verdict, image, map);
    event.images = seen.as_ref().map(|seen| images(event.event_id, seen.map.is_some()));
    let kept = seen.is_some();
    archive.keep(event, seen);
    kept
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Every row has its files, and they are whole; returns the rows with pictures.
fn rows_have_files(reader: &Reader) -> BTreeSet<Uuid> {
    let mut rows = BTreeSet::new();
    let mut after = None;
    loop {
        let page = reader.list(&Filter { pictures: true, ..Filter::default() }, after, 1000).unwrap();
        for part in &page.parts {
            let (frame, map) = reader.files(part);
            for path in [frame, map].into_iter().flatten() {
                let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                image::load_from_memory(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            }
            rows.insert(part.event_id);
        }
        after = page.next;
        if after.is_none() {
            return rows;
        }
    }
}

/// Names of all files of pictures, without their endings.
fn files(directory: &Path) -> BTreeSet<Uuid> {
    let mut found = BTreeSet::new();
    for folder in std::fs::read_dir(directory.join("pictures")).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            let stem = name.trim_end_matches(".png").trim_end_matches("-map");
            found.insert(stem.parse().unwrap_or_else(|_| panic!("a file called {name}")));
        }
    }
    found
}

/// Not a test of its own: what the child of `whatever_moment_it_is_killed_at` does.
#[test]
fn writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    // Small, so that parts leave all the time.
    let spec = ArchiveSpec { max_bytes: 3_000_000, ..spec(Path::new(&folder)) };
    let (archive, _thread) = open(spec);
    for number in 0.. {
        let verdict = if number % 3 == 0 { Verdict::Fail } else { Verdict::Pass };
        let image = picture(PixelFormat::Gray8, 64, 48, number);
        put(&archive, event(verdict, 0.3, Timestamp::now(), "top", number), verdict, &image, Some(&map(number)));
        if archive.counters().queue_parts > 100 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn whatever_moment_it_is_killed_at_rows_and_files_belong_together() {
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(7);
    let (mut most, mut orphans) = (0, 0);
    for round in 0..100 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "archive::writes_until_it_is_killed"])
            .env(CHILD, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(40 + dice.next(160)));
        child.kill().unwrap();
        child.wait().unwrap();
        let spec = ArchiveSpec { max_bytes: 3_000_000, ..spec(folder.path()) };
        let directory = spec.directory.clone();
        if !directory.join("index.sqlite").exists() {
            continue;
        }
        let reader = Reader::new(&directory);
        // Killed before it had tables: there is nothing yet.
        let rows = match reader.count(&Filter::default()) {
            Err(ArchiveError::Absent { .. }) => BTreeSet::new(),
            _ => rows_have_files(&reader),
        };
        orphans += files(&directory).difference(&rows).count();
        let (_, thread) = open(spec);
        assert!(thread.stop(PATIENCE), "round {round}");
        let rows = rows_have_files(&reader);
        let files = files(&directory);
        assert_eq!(files, rows, "round {round}");
        most = most.max(rows.len());
    }
    println!("100 kills: at most {most} parts with pictures, {orphans} files without a row were removed by the starts");
    assert!(most > 20, "{most}: the children wrote hardly anything");
}

#[test]
fn pictures_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, thread) = open(spec(folder.path()));
    let formats = [
        PixelFormat::Gray8,
        PixelFormat::GrayAlpha8,
        PixelFormat::Gray16,
        PixelFormat::Rgb8,
        PixelFormat::Bgr8,
        PixelFormat::Rgba8,
    ];
    let mut kept = Vec::new();
    for (number, format) in formats.into_iter().enumerate() {
        let (image, map) = (picture(format, 31, 17, number as u64), map(number as u64));
        let event = event(Verdict::Fail, 0.7, Timestamp::now(), "top", number as u64);
        kept.push((event.event_id, image.clone(), map.clone()));
        assert!(put(&archive, event, Verdict::Fail, &image, Some(&map)));
    }
    assert!(thread.stop(PATIENCE));
    let reader = archive.reader();
    for (id, image, map) in kept {
        let frame = image::load_from_memory(&reader.frame(id).unwrap().unwrap()).unwrap();
        let native = |pair: &[u8]| u16::from_le_bytes([pair[0], pair[1]]);
        match image.format {
            PixelFormat::Gray8 => assert_eq!(frame.as_luma8().unwrap().as_raw(), image.data()),
            PixelFormat::GrayAlpha8 => assert_eq!(frame.as_luma_alpha8().unwrap().as_raw(), image.data()),
            PixelFormat::Gray16 => {
                let expected: Vec<u16> = image.data().chunks(2).map(native).collect();
                assert_eq!(frame.as_luma16().unwrap().as_raw(), &expected);
            }
            PixelFormat::Rgba8 => assert_eq!(frame.as_rgba8().unwrap().as_raw(), image.data()),
            _ => {
                let rgb = frame.as_rgb8().unwrap();
                assert!(rgb.enumerate_pixels().all(|(x, y, pixel)| pixel.0 == image.rgb_at(x, y)));
            }
        }
        let stored = image::load_from_memory(&reader.map(id).unwrap().unwrap()).unwrap();
        let near = |(value, expected): (&u16, &f32)| (f32::from(*value) / 65535.0 - expected).abs() < 1e-5;
        assert!(stored.as_luma16().unwrap().as_raw().iter().zip(map.values()).all(near));
        let overlay = image::load_from_memory(&reader.overlay(id).unwrap().unwrap()).unwrap();
        assert_eq!((overlay.width(), overlay.height()), (31, 17));
        let part = reader.get(id).unwrap().unwrap();
        assert_eq!(part.event.unwrap()["images"]["frame"], format!("/api/archive/{id}/frame.png"));
    }
    assert!(reader.frame(Uuid::now_v7()).unwrap().is_none());
}

/// What tiles were stitched to is no square, and a view shows a part of the frame.
#[test]
fn a_map_of_a_part_of_the_frame_is_laid_where_that_part_is() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, thread) = open(spec(folder.path()));
    let image = picture(PixelFormat::Gray8, 60, 30, 1);
    let map = AnomalyMap::sized(6, 2, vec![0.0, 0.0, 0.0, 0.0, 0.9, 0.9, 0.0, 0.0, 0.0, 0.0, 0.9, 0.9]);
    let map = map.over(Some([30, 10, 24, 10]));
    let event = event(Verdict::Fail, 0.7, Timestamp::now(), "top", 1);
    let id = event.event_id;
    assert!(put(&archive, event, Verdict::Fail, &image, Some(&map)));
    assert!(thread.stop(PATIENCE));
    let reader = archive.reader();
    let stored = image::load_from_memory(&reader.map(id).unwrap().unwrap()).unwrap();
    assert_eq!((stored.width(), stored.height()), (6, 2));
    let overlay = image::load_from_memory(&reader.overlay(id).unwrap().unwrap()).unwrap().to_rgb8();
    let coloured = |x: u32, y: u32| overlay.get_pixel(x, y).0 != image.rgb_at(x, y);
    assert!(coloured(50, 15), "the right third of 24 columns from 30 on");
    assert!(![(35, 15), (57, 15), (50, 5), (50, 25), (10, 10)].into_iter().any(|(x, y)| coloured(x, y)));
}

/// What a part is, as the test knows it.
struct Known {
    id: Uuid,
    captured: Timestamp,
    camera: &'static str,
    verdict: VerdictWord,
    reason: Option<NoVerdictReason>,
    score: Option<f32>,
    part: String,
}

impl Known {
    fn is_meant(&self, filter: &Filter) -> bool {
        filter.from.is_none_or(|from| self.captured >= from)
            && filter.until.is_none_or(|until| self.captured < until)
            && filter.camera.as_deref().is_none_or(|camera| camera == self.camera)
            && filter.verdict.is_none_or(|verdict| verdict == self.verdict)
            && filter.reason.is_none_or(|reason| Some(reason) == self.reason)
            && filter.min_score.is_none_or(|least| self.score.is_some_and(|score| score >= least))
            && filter.max_score.is_none_or(|most| self.score.is_some_and(|score| score <= most))
            && filter.part.as_deref().is_none_or(|part| part == self.part)
    }
}

#[test]
fn filters_answer_what_a_loop_over_all_parts_answers() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, thread) = open(ArchiveSpec { sample: 0.0, ..spec(folder.path()) });
    let began = Timestamp::from_second(Timestamp::now().as_second() - 30 * 3600).unwrap();
    let mut dice = Dice(3);
    let mut known = Vec::new();
    for number in 0..2000 {
        let verdict = match dice.next(10) {
            0 => Verdict::Fail,
            1 => Verdict::NoVerdict([NoVerdictReason::Deadline, NoVerdictReason::Overrun][dice.next(2) as usize]),
            _ => Verdict::Pass,
        };
        let camera = ["top", "side", "<b>"][dice.next(3) as usize];
        let score = dice.next(200) as f32 / 100.0;
        // Many parts have the same time.
        let captured = began + SignedDuration::from_secs(dice.next(1000) as i64 * 60);
        let event = event(verdict, score, captured, camera, number);
        let (verdict, reason) = word(verdict);
        let (id, part) = (event.event_id, format!("A-{number}"));
        known.push(Known { id, captured, camera, verdict, reason, score: event.score, part });
        archive.keep(event, None);
    }
    assert!(thread.stop(PATIENCE));
    let reader = archive.reader();
    let some = |dice: &mut Dice| dice.next(3) == 0;
    for _ in 0..300 {
        let time = |dice: &mut Dice| began + SignedDuration::from_secs(dice.next(60_000) as i64);
        let filter = Filter {
            from: some(&mut dice).then(|| time(&mut dice)),
            until: some(&mut dice).then(|| time(&mut dice)),
            camera: some(&mut dice).then(|| ["top", "side", "<b>", "gone"][dice.next(4) as usize].into()),
            verdict: some(&mut dice)
                .then(|| [VerdictWord::Pass, VerdictWord::Fail, VerdictWord::NoVerdict][dice.next(3) as usize]),
            reason: (dice.next(6) == 0).then_some(NoVerdictReason::Deadline),
            min_score: some(&mut dice).then(|| dice.next(200) as f32 / 100.0),
            max_score: some(&mut dice).then(|| dice.next(200) as f32 / 100.0),
            part: (dice.next(20) == 0).then(|| format!("A-{}", dice.next(2200))),
            pictures: false,
        };
        let mut expected: Vec<&Known> = known.iter().filter(|part| part.is_meant(&filter)).collect();
        expected.sort_by_key(|part| std::cmp::Reverse(part.captured));
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = reader.list(&filter, after, 7 + dice.next(300) as usize).unwrap();
            found.extend(page.parts);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let times = |parts: &[PartSummary]| parts.iter().map(|part| part.captured).collect::<Vec<_>>();
        assert_eq!(times(&found), expected.iter().map(|part| part.captured).collect::<Vec<_>>(), "{filter:?}");
        let ids: BTreeSet<Uuid> = found.iter().map(|part| part.event_id).collect();
        assert_eq!(ids, expected.iter().map(|part| part.id).collect(), "{filter:?}");
        assert_eq!(reader.count(&filter).unwrap(), Count { parts: expected.len() as u64, more: false }, "{filter:?}");
    }
    // Totals and scores count every part.
    let scores = reader.scores(&Filter::default()).unwrap();
    let at_least = |verdict, least: f32| {
        known.iter().filter(|part| part.verdict == verdict && part.score.is_some_and(|score| score >= least)).count()
    };
    for least in [0.0, 0.29, 1.0, 1.57] {
        let (pass, fail) = scores.from(least);
        let expected = (at_least(VerdictWord::Pass, least) as u64, at_least(VerdictWord::Fail, least) as u64);
        assert_eq!((pass, fail), expected, "{least}");
    }
    let side = Filter { camera: Some("side".into()), ..Filter::default() };
    let periods = reader.periods(&side, 4).unwrap();
    let of = |verdict| known.iter().filter(|part| part.camera == "side" && part.verdict == verdict).count() as u64;
    assert_eq!(periods.iter().map(|period| period.pass).sum::<u64>(), of(VerdictWord::Pass));
    assert_eq!(periods.iter().map(|period| period.fail).sum::<u64>(), of(VerdictWord::Fail));
    assert_eq!(periods.iter().map(|period| period.no_verdict).sum::<u64>(), of(VerdictWord::NoVerdict));
    assert!(periods.len() > 10 && periods.iter().all(|period| period.seconds == 3600 && period.start_s % 3600 == 0));
    assert_eq!(reader.cameras().unwrap(), ["<b>", "side", "top"]);
    let failed = known.iter().find(|part| part.verdict == VerdictWord::Fail).unwrap();
    let similar = reader.similar(failed.id, 5).unwrap();
    assert!(
        similar.len() == 5 && similar.iter().all(|part| part.camera == failed.camera && part.event_id != failed.id)
    );
    let far = |part: &PartSummary| (part.score.unwrap() - f64::from(failed.score.unwrap())).abs();
    assert!(similar.iter().all(|part| far(part) < 0.05), "{similar:?}");
}

#[test]
fn the_oldest_good_parts_go_first_and_failed_ones_last() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, thread) = open(ArchiveSpec { max_bytes: 1_500_000, ..spec(folder.path()) });
    let image = picture(PixelFormat::Gray8, 192, 192, 1);
    let mut reviewed = None;
    for number in 0..100 {
        let verdict = if number % 10 == 0 { Verdict::Fail } else { Verdict::Pass };
        let event = event(verdict, 0.4, Timestamp::now(), "top", number);
        let id = event.event_id;
        assert!(put(&archive, event, verdict, &image, None));
        if number == 5 {
            until("written", || archive.counters().written > 5);
            let review = NewReview { event_id: id, opinion: Opinion::Bad, name: " Ida ".into(), reason: "<i>".into() };
            assert_eq!(archive.reader().review(&review, Timestamp::now()).unwrap().name, "Ida");
            reviewed = Some(id);
        }
    }
    until("written", || archive.counters().written == 100);
    until("room is made", || archive.counters().bytes <= 1_500_000);
    let reader = archive.reader();
    let list = |filter: Filter| reader.list(&filter, None, 1000).unwrap().parts;
    let pictured = list(Filter { pictures: true, ..Filter::default() });
    assert_eq!(list(Filter::default()).len(), 100, "rows stay");
    assert!((15..60).contains(&pictured.len()), "{}", pictured.len());
    let failed = pictured.iter().filter(|part| part.verdict == VerdictWord::Fail).count();
    assert_eq!(failed, 10, "failed ones are all here");
    assert!(pictured.iter().any(|part| Some(part.event_id) == reviewed), "what a person has looked at stays");
    let good: Vec<&PartSummary> = pictured.iter().filter(|part| part.verdict == VerdictWord::Pass).collect();
    let newest: BTreeSet<Uuid> = list(Filter { verdict: Some(VerdictWord::Pass), ..Filter::default() })
        .iter()
        .take(good.len() - 1)
        .map(|part| part.event_id)
        .collect();
    assert!(good.iter().filter(|part| newest.contains(&part.event_id)).count() == good.len() - 1, "the newest stay");
    assert!(archive.counters().removed >= 40 && archive.alarm().is_none());
    assert!(thread.stop(PATIENCE));
    assert_eq!(files(reader.directory()), rows_have_files(reader));
    // Another time: everything is too old.
    let (archive, thread) = open(ArchiveSpec { max_age: Duration::ZERO, ..spec(folder.path()) });
    until("what is too old goes", || archive.counters().removed == 100);
    assert!(thread.stop(PATIENCE));
    assert!(files(reader.directory()).is_empty());
    assert_eq!(reader.count(&Filter::default()).unwrap().parts, 0);
    assert_eq!(reader.scores(&Filter::default()).unwrap().from(0.0), (90, 10), "totals stay");
}

#[test]
fn what_finds_no_room_is_counted_and_has_no_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, thread) = open(ArchiveSpec { max_queue_bytes: 100_000, ..spec(folder.path()) });
    let image = picture(PixelFormat::Gray8, 200, 200, 1);
    let kept = (0..20)
        .filter(|number| {
            put(&archive, event(Verdict::Fail, 0.9, Timestamp::now(), "top", *number), Verdict::Fail, &image, None)
        })
        .count() as u64;
    let counters = archive.counters();
    assert!(kept >= 2 && kept + counters.dropped_queue == 20, "{kept} {counters:?}");
    assert!(counters.dropped_queue == 0 || archive.alarm().unwrap().contains("slower than parts come"));
    archive.request("side", 2);
    assert!(thread.stop(PATIENCE));
    assert_eq!(rows_have_files(archive.reader()).len() as u64, kept);
}

#[test]
fn a_selection_is_a_data_set() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, thread) = open(spec(folder.path()));
    let mut ids = Vec::new();
    for number in 0..12 {
        let verdict = if number % 4 == 0 { Verdict::Fail } else { Verdict::Pass };
        let event = event(verdict, 0.4, Timestamp::now(), "top", number);
        ids.push(event.event_id);
        put(&archive, event, verdict, &picture(PixelFormat::Gray8, 640, 480, number), Some(&map(number)));
    }
    until("written", || archive.counters().written == 12);
    let reader = archive.reader();
    let says = |id: Uuid, opinion| NewReview { event_id: id, opinion, name: "Ida".into(), reason: "seen".into() };
    reader.review(&says(ids[0], Opinion::Good), Timestamp::now()).unwrap();
    reader.review(&says(ids[1], Opinion::Good), Timestamp::now()).unwrap();
    reader.review(&says(ids[1], Opinion::Bad), Timestamp::now()).unwrap();
    assert!(matches!(
        reader.review(&says(Uuid::now_v7(), Opinion::Good), Timestamp::now()),
        Err(ArchiveError::Review(_))
    ));
    let agreement = reader.agreement(&Filter::default()).unwrap();
    assert_eq!(agreement, Agreement { fail_good: 1, pass_bad: 1, ..Agreement::default() });
    assert_eq!((agreement.rate(), reader.reviews(10).unwrap().len()), (Some(0.0), 3));
    let target = folder.path().join("set");
    let exported = reader.export(&Filter::default(), 100, &target, Layout::Folder).unwrap();
    assert_eq!((exported.good, exported.bad, exported.left_out), (9, 3, 0));
    assert!(reader.export(&Filter::default(), 100, &target, Layout::Folder).is_err(), "it is there already");
    let set = Dataset::open(&target, dataset::Layout::Auto, dataset::Split::Test).unwrap();
    let items = &set.classes[0].items;
    assert_eq!((items.len(), items.iter().filter(|item| item.anomalous).count()), (12, 3));
    // The two that the line has failed have its outlines; the one that only a person calls bad has none.
    assert_eq!(items.iter().filter(|item| !item.masks.is_empty()).count(), 2);
    assert!(items.iter().all(|item| item.load().is_ok()));
    let lines = std::fs::read_to_string(target.join("parts.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 12);
    assert!(lines.contains("\"by\":\"review\"") && lines.contains("\"name\":\"Ida\""));
    let zip = folder.path().join("set.zip");
    reader.export(&Filter { verdict: Some(VerdictWord::Fail), ..Filter::default() }, 2, &zip, Layout::Zip).unwrap();
    let listed = Command::new("python3").args(["-m", "zipfile", "-l"]).arg(&zip).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("top/test/bad/") && listed.contains("parts.jsonl"), "{listed}");
    assert!(thread.stop(PATIENCE));
}

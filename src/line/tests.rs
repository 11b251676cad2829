//! The line with a camera and an engine that tests wind by hand.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::parts::TriggerPlan;
use super::queue::WhenFull;
use super::recipe::RecipeSpec;
use super::*;
use crate::anomaly::{AnomalyMap, Prediction, StageTimes};
use crate::clock::{Clock, ClockSource, SystemClock};
use crate::engine::{Engine, EngineChoice, EngineError, Precision};
use crate::event::{FrameInfo, InspectionEvent, RecipeInfo, VerdictWord};
use crate::frame::{Frame, Image, Part, PixelFormat};
use crate::source::{Source, SourceError};
use crate::verdict::{NoVerdictReason, Suspect};

const LONG: Duration = Duration::from_secs(20);

/// A camera that delivers what the test gives it; the channel's end is the end of the pictures.
struct Wound {
    camera: String,
    frames: Receiver<Result<Frame, SourceError>>,
}

impl Source for Wound {
    fn next(&mut self, timeout: Duration) -> Result<Option<Frame>, SourceError> {
        match self.frames.recv_timeout(timeout) {
            Ok(frame) => frame.map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(SourceError::Ended { camera: self.camera.clone() }),
        }
    }
    fn stop(&mut self) {}
}

/// Fails frames with a bright first pixel, breaks on a first pixel of 1, waits for the gate when there is one.
struct Engineer {
    info: EngineInfo,
    gate: Option<Gate>,
    warm: bool,
}

impl Engine for Engineer {
    fn infer(&mut self, frames: &[&Frame]) -> Result<Vec<Prediction>, EngineError> {
        if std::mem::replace(&mut self.warm, true)
            && let Some((entered, go_on)) = &self.gate
        {
            entered.send(frames.len()).expect("the test listens");
            go_on.recv_timeout(LONG).expect("the test opens the gate");
        }
        let reason = "a pixel of 1".to_owned();
        let engine = EngineChoice::Reference;
        if frames.iter().any(|frame| frame.image.data()[0] == 1) {
            return Err(EngineError::Runtime { engine, step: "inference", reason });
        }
        let predict = |frame: &&Frame| {
            let value = f32::from(frame.image.data()[0]) / 255.0;
            Prediction {
                map: AnomalyMap::new(4, vec![value; 16]),
                score: value,
                times: StageTimes::default(),
                tokens: None,
            }
        };
        Ok(frames.iter().map(predict).collect())
    }
    fn info(&self) -> &EngineInfo {
        &self.info
    }
}

#[derive(Default)]
struct Notebook {
    events: Mutex<Vec<InspectionEvent>>,
    cameras: Mutex<Vec<(String, CameraState)>>,
    engine: Mutex<Vec<bool>>,
    steps: AtomicU64,
    owed: Mutex<Vec<(String, Part)>>,
    full: AtomicBool,
    /// Parts are accepted though it is full.
    owes_all: AtomicBool,
    /// Whoever hands over an event dies of it.
    panics: AtomicBool,
    /// Whoever tells that pictures have changed dies of it.
    picture_panics: AtomicBool,
    /// What has changed about pictures.
    pictures: Mutex<Vec<Suspect>>,
}

impl EventSink for Notebook {
    fn owe(&self, camera: &str, part: &Part) -> Result<Debt, Refused> {
        if self.full.load(Ordering::Relaxed) && !self.owes_all.load(Ordering::Relaxed) {
            return Err(Refused("full".into()));
        }
        let mut owed = self.owed.lock().expect("lock");
        owed.push((camera.to_owned(), part.clone()));
        Ok(Debt(owed.len() as u64))
    }
    fn verdict(&self, event: InspectionEvent, _: Instant, _: Option<Instant>) -> Result<(), Refused> {
        assert!(!self.panics.load(Ordering::Relaxed), "on purpose");
        if event.part.is_none() && self.full.load(Ordering::Relaxed) {
            return Err(Refused("full".into()));
        }
        self.events.lock().expect("lock").push(event);
        Ok(())
    }
    fn camera(&self, camera: &str, state: CameraState, _: Option<&str>) {
        self.cameras.lock().expect("lock").push((camera.to_owned(), state));
    }
    fn engine(&self, error: Option<&str>) {
        self.engine.lock().expect("lock").push(error.is_some());
    }
    fn picture(&self, _: &str, suspect: Suspect, _: Option<&str>) {
        assert!(!self.picture_panics.load(Ordering::Relaxed), "on purpose");
        self.pictures.lock().expect("lock").push(suspect);
    }
}

impl Heartbeat for Notebook {
    fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }
}

impl Notebook {
    fn events(&self) -> Vec<InspectionEvent> {
        self.events.lock().expect("lock").clone()
    }
}

fn frame(camera: &str, seq: u64, pixel: u8) -> Frame {
    Frame {
        camera: camera.into(),
        seq,
        part: None,
        captured: SystemClock.now(),
        clock: ClockSource::System,
        file: None,
        image: Image::new(8, 6, PixelFormat::Gray8, vec![pixel; 48]).expect("valid"),
    }
}

fn part(mut frame: Frame) -> Frame {
    frame.part = Some(Part { id: format!("part-{}", frame.seq), trigger: frame.seq });
    frame
}

type Feed = Sender<Result<Frame, SourceError>>;

fn camera(name: &str, queue: usize, when_full: WhenFull) -> (Feed, (CameraPlan, SourceOpener)) {
    let (feed, frames) = bounded(256);
    let recipe = RecipeSpec {
        info: RecipeInfo { id: "caps".into(), version: 1 },
        threshold: None,
        defect_threshold: 0.5,
        min_area_px: 1,
        regions: Vec::new(),
    };
    let short = Duration::from_millis(1);
    let plan = CameraPlan {
        view: crate::view::ViewSpec::default(),
        name: name.into(),
        queue,
        when_full,
        trigger: TriggerPlan::free(),
        recipe,
        kept: None,
        memory: None,
        found_with: None,
        picture: None,
        locate: None,
        backoff_min: short,
        backoff_max: short,
    };
    let camera = name.to_owned();
    let open = move || -> Result<Box<dyn Source>, SourceError> {
        Ok(Box::new(Wound { camera: camera.clone(), frames: frames.clone() }))
    };
    (feed, (plan, Box::new(open)))
}

/// What engines of tests say of themselves.
fn info(max_batch: usize) -> EngineInfo {
    EngineInfo {
        model: "by-hand".into(),
        sha256: "00".into(),
        engine: EngineChoice::Reference,
        precision: Precision::Fp32,
        max_batch,
        image_size: 4,
        sigma: 0.0,
        top_k: 1,
    }
}

fn start(cameras: Vec<(CameraPlan, SourceOpener)>, gate: Option<Gate>) -> (Line, Arc<Notebook>) {
    start_with(cameras, Engineer { info: info(3), gate, warm: false }, Vec::new())
}

/// With parts that an earlier line owes.
fn start_with<E: Engine + Send + 'static>(
    cameras: Vec<(CameraPlan, SourceOpener)>,
    engine: E,
    unanswered: Vec<Unanswered>,
) -> (Line, Arc<Notebook>) {
    let notebook = Arc::new(Notebook::default());
    let line = Line::start(LineParts {
        name: "test".into(),
        session: Uuid::nil(),
        cameras,
        engine: Box::new(|| Ok(Box::new(engine))),
        unanswered,
        sink: Arc::clone(&notebook) as Arc<dyn EventSink>,
        archive: None,
        heartbeat: Arc::clone(&notebook) as Arc<dyn Heartbeat>,
        clock: Arc::new(SystemClock),
        cancelled: CancellationToken::new(),
    });
    (line.expect("started"), notebook)
}

/// The engine's side: how many frames it holds, and the word to go on.
type Gate = (Sender<usize>, Receiver<()>);

fn gate() -> ((Receiver<usize>, Sender<()>), Gate) {
    let (entered, seen) = bounded(64);
    let (open, go_on) = bounded(64);
    ((seen, open), (entered, go_on))
}

fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn finite_cameras_give_an_event_per_frame_in_order_and_end_the_line() {
    let cameras = ["a", "b"].map(|name| camera(name, 2, WhenFull::Wait));
    let (feeds, cameras): (Vec<_>, Vec<_>) = cameras.into_iter().unzip();
    for (feed, name) in feeds.iter().zip(["a", "b"]) {
        for seq in 0..50 {
            feed.send(Ok(frame(name, seq, if seq % 10 == 0 { 200 } else { 20 }))).expect("room");
        }
    }
    drop(feeds);
    let (mut line, notebook) = start(cameras, None);
    assert!(matches!(line.wait(LONG), Some(LineEnd::SourcesEnded)));
    let events = notebook.events();
    for name in ["a", "b"] {
        let of_camera: Vec<_> = events.iter().filter(|event| event.camera == name).collect();
        assert_eq!(of_camera.iter().map(|event| event.seq).collect::<Vec<_>>(), (1..=50).collect::<Vec<_>>());
        for (index, event) in of_camera.iter().enumerate() {
            let info = event.frame.as_ref().expect("a frame");
            assert_eq!((info.seq, info.skipped_before, info.width, info.height), (index as u64, 0, 8, 6));
            let (word, defects) = if index % 10 == 0 { (VerdictWord::Fail, 1) } else { (VerdictWord::Pass, 0) };
            assert_eq!((event.verdict, event.defects.len()), (word, defects));
        }
    }
    let report = line.stop(LONG);
    assert_eq!((report.stats.pass, report.stats.fail, report.late.len()), (90, 10, 0));
    assert!(notebook.steps.load(Ordering::Relaxed) >= 100 / 3);
    let states = notebook.cameras.lock().expect("lock");
    let of_a: Vec<_> = states.iter().filter(|(name, _)| name == "a").map(|(_, state)| *state).collect();
    assert_eq!(of_a, [CameraState::Starting, CameraState::Online, CameraState::Stopped]);
}

#[test]
fn a_slow_engine_drops_the_oldest_owes_parts_an_event_and_batches_what_waits() {
    let (feed, plan) = camera("a", 2, WhenFull::DropOldest);
    let ((seen, open), inner) = gate();
    let (line, notebook) = start(vec![plan], Some(inner));
    feed.send(Ok(frame("a", 0, 20))).expect("room");
    assert_eq!(seen.recv_timeout(LONG).expect("the engine is busy with frame 0"), 1);
    for seq in 1..=5 {
        let frame = frame("a", seq, 20);
        feed.send(Ok(if seq == 3 { part(frame) } else { frame })).expect("room");
    }
    // Frames 1, 2 and 3 give way to 4 and 5; only 3 is a part, its event comes at once and tells of 1 and 2.
    until("three drops", || line.queues()[0].1.dropped == 3 && !notebook.events().is_empty());
    open.send(()).expect("open");
    assert_eq!(seen.recv_timeout(LONG).expect("second batch"), 2);
    open.send(()).expect("open");
    let report = line.stop(LONG);
    assert_eq!(report.stats.batches, 2);
    let told: Vec<_> = notebook
        .events()
        .iter()
        .map(|event| (event.seq, event.reason, event.frame.as_ref().map(|frame| (frame.seq, frame.skipped_before))))
        .collect();
    assert_eq!(
        told,
        [
            (1, Some(NoVerdictReason::Overrun), Some((3, 2))),
            (2, None, Some((0, 0))),
            (3, None, Some((4, 0))),
            (4, None, Some((5, 0))),
        ]
    );
}

#[test]
fn the_stop_drains_what_waits() {
    let (feed, plan) = camera("a", 8, WhenFull::Reject);
    let ((seen, open), inner) = gate();
    let (line, notebook) = start(vec![plan], Some(inner));
    feed.send(Ok(frame("a", 0, 20))).expect("room");
    seen.recv_timeout(LONG).expect("busy");
    for seq in 1..=6 {
        feed.send(Ok(frame("a", seq, 20))).expect("room");
    }
    until("six wait", || line.queues()[0].1.waiting == 6);
    for _ in 0..3 {
        open.send(()).expect("open");
    }
    let report = line.stop(LONG);
    assert!(report.late.is_empty() && report.panicked.is_empty());
    assert_eq!(report.queues[0].1.waiting, 0);
    assert_eq!(notebook.events().len(), 7);
}

#[test]
fn who_is_late_is_named() {
    let (feed, plan) = camera("a", 8, WhenFull::Reject);
    let ((seen, open), inner) = gate();
    let (line, _notebook) = start(vec![plan], Some(inner));
    feed.send(Ok(frame("a", 0, 20))).expect("room");
    seen.recv_timeout(LONG).expect("busy");
    assert_eq!(line.stop(Duration::from_millis(300)).late, ["inference"]);
    open.send(()).expect("open");
}

#[test]
fn frames_of_a_failed_batch_get_no_verdict() {
    let (feed, plan) = camera("a", 8, WhenFull::Wait);
    let (mut line, notebook) = start(vec![plan], None);
    for (seq, pixel) in [20, 1, 20].into_iter().enumerate() {
        feed.send(Ok(frame("a", seq as u64, pixel))).expect("room");
        until("its event", || notebook.events().len() > seq);
    }
    drop(feed);
    assert!(matches!(line.wait(LONG), Some(LineEnd::SourcesEnded)));
    let reasons: Vec<_> = notebook.events().iter().map(|event| (event.reason, event.score.is_some())).collect();
    assert_eq!(reasons, [(None, true), (Some(NoVerdictReason::EngineError), false), (None, true)]);
    assert_eq!(*notebook.engine.lock().expect("lock"), [true, false], "told when it changes");
    assert_eq!(line.stop(LONG).stats.failed_batches, 1);
}

#[test]
fn a_lost_camera_comes_back_and_keeps_counting() {
    let (feed, plan) = camera("a", 8, WhenFull::Wait);
    let lost = || SourceError::Lost { camera: "a".into(), address: "usb".into(), reason: "unplugged".into() };
    feed.send(Ok(frame("a", 0, 20))).expect("room");
    feed.send(Ok(frame("a", 3, 20))).expect("room");
    feed.send(Err(lost())).expect("room");
    feed.send(Ok(frame("a", 0, 20))).expect("room");
    drop(feed);
    let (mut line, notebook) = start(vec![plan], None);
    assert!(matches!(line.wait(LONG), Some(LineEnd::SourcesEnded)));
    let frames: Vec<_> =
        notebook.events().iter().filter_map(|event| event.frame.as_ref().map(|f| (f.seq, f.skipped_before))).collect();
    assert_eq!(frames, [(0, 0), (3, 2), (4, 0)]);
    let states: Vec<_> = notebook.cameras.lock().expect("lock").iter().map(|(_, state)| *state).collect();
    use CameraState::{Lost, Online, Starting, Stopped};
    assert_eq!(states, [Starting, Online, Lost, Online, Stopped]);
}

#[test]
fn a_polygon_outside_the_first_frame_ends_the_line() {
    let (feed, mut plan) = camera("a", 8, WhenFull::Reject);
    plan.0.recipe.regions = vec![vec![[0.0, 0.0], [9.0, 0.0], [0.0, 6.0]]];
    let (mut line, notebook) = start(vec![plan], None);
    feed.send(Ok(frame("a", 0, 20))).expect("room");
    let Some(LineEnd::Failed(error)) = line.wait(LONG) else { panic!("the line goes on") };
    assert_eq!(
        error.to_string(),
        "camera 'a': recipe 'caps': regions[0] has the corner [9, 0] outside the frame of 8x6 pixels; draw the polygon \
         inside it"
    );
    line.stop(LONG);
    assert!(notebook.events().is_empty());
}

#[test]
fn a_start_that_cannot_succeed_says_why() {
    let attempt = |cameras, engine: EngineOpener, cancelled: CancellationToken| {
        let notebook = Arc::new(Notebook::default());
        let parts = LineParts {
            name: "test".into(),
            session: Uuid::nil(),
            cameras,
            engine,
            unanswered: Vec::new(),
            sink: Arc::clone(&notebook) as Arc<dyn EventSink>,
            archive: None,
            heartbeat: notebook,
            clock: Arc::new(SystemClock),
            cancelled,
        };
        Line::start(parts).err().expect("must not start").to_string()
    };
    let broken: EngineOpener =
        Box::new(|| Err(EngineError::NotBuilt { engine: EngineChoice::Tensorrt, feature: "tensorrt" }));
    let (_feed, plan) = camera("a", 1, WhenFull::Reject);
    assert!(attempt(vec![plan], broken, CancellationToken::new()).contains("--features tensorrt"));

    let (release, held) = bounded::<()>(0);
    let slow: EngineOpener = Box::new(move || {
        assert!(held.recv_timeout(LONG).is_err(), "released by the end of the channel");
        Err(EngineError::Batch { got: 0, max: 0 })
    });
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    assert_eq!(attempt(Vec::new(), slow, cancelled), "stopped on request before the line was ready");
    drop(release);
}

#[test]
fn parts_of_an_earlier_start_are_answered_first_and_refused_ones_are_owed_nothing() {
    let owed = |camera: &str, trigger: u64| Unanswered {
        camera: camera.into(),
        part: Part { id: format!("old-{trigger}"), trigger },
        accepted: Timestamp::UNIX_EPOCH,
        // Remembered of an earlier start: no frame of this one.
        frame: (trigger == 7).then(|| FrameInfo {
            seq: 6,
            width: 4,
            height: 3,
            skipped_before: 0,
            file: Some("6.png".into()),
        }),
    };
    let (feed, plan) = camera("a", 4, WhenFull::Reject);
    feed.send(Ok(part(frame("a", 0, 20)))).expect("room");
    let owed_before = vec![owed("a", 7), owed("gone", 1), owed("gone", 2), owed("a", 8)];
    let (line, notebook) = start_with(vec![plan], Engineer { info: info(3), gate: None, warm: false }, owed_before);
    until("the new part", || notebook.events().len() == 5);
    // Full: a part and a free-running frame are refused, and the next event tells of both without a gap of its own.
    notebook.full.store(true, Ordering::Relaxed);
    feed.send(Ok(part(frame("a", 1, 20)))).expect("room");
    feed.send(Ok(frame("a", 2, 20))).expect("room");
    until("two refusals", || line.stats().refused == 2);
    notebook.full.store(false, Ordering::Relaxed);
    feed.send(Ok(part(frame("a", 3, 20)))).expect("room");
    until("the part after", || notebook.events().len() == 6);
    line.stop(LONG);

    let told = |event: &InspectionEvent| {
        let part = event.part.as_ref().map(|part| part.id.clone()).unwrap_or_default();
        let skipped = event.frame.as_ref().map(|frame| frame.skipped_before);
        (event.camera.clone(), event.seq, part, event.reason, event.historical, skipped)
    };
    let restarted = Some(NoVerdictReason::Restarted);
    let a = || "a".to_owned();
    let gone = || "gone".to_owned();
    assert_eq!(
        notebook.events().iter().map(told).collect::<Vec<_>>(),
        [
            (a(), 1, "old-7".into(), restarted, true, Some(0)),
            (gone(), 1, "old-1".into(), restarted, true, None),
            (gone(), 2, "old-2".into(), restarted, true, None),
            (a(), 2, "old-8".into(), restarted, true, None),
            (a(), 3, "part-0".into(), None, false, Some(0)),
            (a(), 4, "part-3".into(), None, false, Some(2)),
        ]
    );
    let owed: Vec<String> = notebook.owed.lock().expect("lock").iter().map(|(_, part)| part.id.clone()).collect();
    assert_eq!(owed, ["part-0", "part-3"]);
}

mod ahead;
mod changes;
mod damaged;
mod full;
mod judging;
mod kept;
mod parts;

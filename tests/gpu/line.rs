//! A line with the TensorRT engine: what crosses the bus for each part, and what does not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use vcp_line::camera::CameraState;
use vcp_line::clock::SystemClock;
use vcp_line::cuda::{Gpu, Machine};
use vcp_line::engine::tensorrt::{self, BuildRequest, TensorrtEngine};
use vcp_line::engine::{Engine, EngineChoice, EngineSpec, Precision, self_test};
use vcp_line::event::{InspectionEvent, RecipeInfo};
use vcp_line::frame::{Frame, Part};
use vcp_line::line::parts::TriggerPlan;
use vcp_line::line::queue::WhenFull;
use vcp_line::line::recipe::RecipeSpec;
use vcp_line::line::{CameraPlan, Debt, EventSink, Heartbeat, Line, LineParts, Refused, SourceOpener};
use vcp_line::memory::Memory;
use vcp_line::source::{Source, SourceError};

use crate::{remembered, tiny};

/// Frames of the busy camera.
const MANY: u64 = 100;
const LONG: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Events(Mutex<Vec<InspectionEvent>>);

impl EventSink for Events {
    fn owe(&self, _: &str, _: &Part) -> Result<Debt, Refused> {
        Ok(Debt(0))
    }
    fn verdict(&self, event: InspectionEvent, _: Instant, _: Option<Instant>) -> Result<(), Refused> {
        self.0.lock().unwrap().push(event);
        Ok(())
    }
    fn camera(&self, _: &str, _: CameraState, _: Option<&str>) {}
    fn engine(&self, error: Option<&str>) {
        assert_eq!(error, None);
    }
}

impl Heartbeat for Events {
    fn step(&self) {}
}

/// Delivers what the test sends.
struct Sent(String, mpsc::Receiver<Frame>);

impl Source for Sent {
    fn next(&mut self, timeout: Duration) -> Result<Option<Frame>, SourceError> {
        match self.1.recv_timeout(timeout) {
            Ok(frame) => Ok(Some(frame)),
            Err(mpsc::RecvTimeoutError::Timeout) => Ok(None),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(SourceError::Ended { camera: self.0.clone() }),
        }
    }
    fn stop(&mut self) {}
}

/// A camera whose parts always pass: no map reaches its threshold.
fn camera(name: &str, memory: Option<Arc<Memory>>) -> (mpsc::Sender<Frame>, (CameraPlan, SourceOpener)) {
    let (send, frames) = mpsc::channel();
    let recipe = RecipeSpec {
        info: RecipeInfo { id: "all".into(), version: 1 },
        threshold: None,
        defect_threshold: 1.0,
        min_area_px: 1,
        regions: Vec::new(),
    };
    let plan = CameraPlan {
        view: vcp_line::view::ViewSpec::default(),
        name: name.into(),
        queue: 4,
        when_full: WhenFull::Wait,
        trigger: TriggerPlan::free(),
        recipe,
        kept: None,
        memory,
        found_with: None,
        picture: None,
        locate: None,
        backoff_min: LONG,
        backoff_max: LONG,
    };
    let mut source = Some(Sent(name.to_owned(), frames));
    let open = move || -> Result<Box<dyn Source>, SourceError> { Ok(Box::new(source.take().unwrap())) };
    (send, (plan, Box::new(open)))
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < LONG, "waited for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The pictures shown last are kept with their maps on the card, one a camera; none of them is brought over the bus
/// before somebody asks, and then it is the right one, also long after its batch was overwritten.
#[test]
fn maps_stay_on_the_card_until_somebody_asks() {
    check("", |_, _| None);
}

/// The same with a memory that is asked about every part: neither tokens nor maps come over the bus for it.
#[test]
fn with_a_memory_they_stay_there_too() {
    check("_with_a_memory", |engine, good| Some(Arc::new(remembered::of(engine, good, remembered::size(&good[0])))));
}

fn check(how: &str, memory: impl Fn(&mut dyn Engine, &[Frame]) -> Option<Arc<Memory>>) {
    let (_folder, bundle) = tiny::bundle();
    let sm = Machine::properties(&*Gpu::open(0).unwrap()).sm;
    let request = BuildRequest {
        bundle: bundle.clone(),
        sms: vec![sm],
        precision: Precision::Fp16,
        max_batch: 2,
        output: None,
        scales: None,
    };
    tensorrt::build(&request, tensorrt::unwatched()).unwrap();
    let spec = EngineSpec {
        engine: EngineChoice::Tensorrt,
        precision: Precision::Fp16,
        max_batch: 2,
        ..EngineSpec::new(&bundle)
    };
    // All of one shape, as a camera's are.
    let picture = |at: usize| tiny::frame(self_test::picture(tiny::SIZE, at as u64));
    let (wanted, memory) = {
        let mut engine = TensorrtEngine::open(&spec, &|_| {}).unwrap();
        let memory = memory(&mut engine, &[picture(3), picture(4)]);
        engine.hand_out_tokens(true);
        let answer = engine.infer(&[&picture(0)]).unwrap().remove(0);
        let answer = match &memory {
            Some(memory) => memory.look(answer, remembered::size(&picture(0))).unwrap(),
            None => answer,
        };
        (answer.map.values().to_vec(), memory)
    };

    let (tell, fetches) = mpsc::channel::<Arc<AtomicU64>>();
    let engine = move || -> Result<Box<dyn Engine>, vcp_line::engine::EngineError> {
        let engine = TensorrtEngine::open(&spec, &|_| {})?;
        tell.send(engine.fetches()).unwrap();
        Ok(Box::new(engine))
    };
    let events = Arc::new(Events::default());
    let (busy, first) = camera("busy", memory.clone());
    let (rare, second) = camera("rare", memory);
    let line = Line::start(LineParts {
        name: "test".into(),
        session: Uuid::nil(),
        cameras: vec![first, second],
        engine: Box::new(engine),
        unanswered: Vec::new(),
        sink: Arc::clone(&events) as Arc<dyn EventSink>,
        archive: None,
        heartbeat: Arc::clone(&events) as Arc<dyn Heartbeat>,
        clock: Arc::new(SystemClock),
        cancelled: CancellationToken::new(),
    })
    .unwrap();
    let fetches = fetches.recv().unwrap();
    let inspected = || events.0.lock().unwrap().len() as u64;
    let before = fetches.load(Ordering::Relaxed);
    rare.send(Frame { camera: "rare".into(), ..picture(0) }).unwrap();
    until("the rare one", || inspected() == 1);
    for seq in 0..MANY {
        busy.send(Frame { camera: "busy".into(), seq, ..picture(1 + seq as usize % 4) }).unwrap();
    }
    until("all", || inspected() == 1 + MANY);
    let passing = fetches.load(Ordering::Relaxed) - before;
    println!("measured: maps_fetched_for_passing_parts{how} = {passing}");
    assert_eq!(passing, 0, "nobody has asked");
    let shown = line.control().latest(Some("rare")).unwrap();
    tiny::assert_near(
        "the rare one's map",
        shown.map.values(),
        &wanted.iter().map(|&v| v.into()).collect::<Vec<f64>>(),
        2e-2,
    );
    assert_eq!(fetches.load(Ordering::Relaxed) - before, 1);
    assert_eq!(line.stop(LONG).stats.events(), 1 + MANY);
}

//! Changes on a running line whose camera and engine are made up: what belongs together stays together, or nothing changes.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::*;
use crate::anomaly::{AnomalyMap, Prediction, StageTimes};
use crate::camera::CameraState;
use crate::clock::{Clock, ClockSource, SystemClock};
use crate::engine::{Engine, EngineChoice, EngineError, EngineInfo, Precision};
use crate::event::InspectionEvent;
use crate::frame::{Frame, Image, Part, PixelFormat};
use crate::line::parts::TriggerPlan;
use crate::line::queue::WhenFull;
use crate::line::{CameraPlan, Debt, EventSink, Heartbeat, Line, LineParts, Refused, SourceOpener};
use crate::memory::{Learner, Settings};
use crate::service::kept::Via;
use crate::source::{Source, SourceError};
use crate::tokens::PatchTokens;

struct Camera(Receiver<(u32, u32)>);

impl Source for Camera {
    fn next(&mut self, timeout: Duration) -> Result<Option<Frame>, SourceError> {
        match self.0.recv_timeout(timeout) {
            Ok((width, height)) => {
                let pixels = vec![20; (width * height) as usize];
                let image = Image::new(width, height, PixelFormat::Gray8, pixels).expect("valid");
                let clock = ClockSource::System;
                Ok(Some(Frame { clock, ..Frame::alone("top", SystemClock.now(), image) }))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(SourceError::Ended { camera: "top".into() }),
        }
    }
    fn stop(&mut self) {}
}

struct Eye(EngineInfo);

impl Engine for Eye {
    fn infer(&mut self, frames: &[&Frame]) -> Result<Vec<Prediction>, EngineError> {
        let map = || AnomalyMap::new(4, vec![0.1; 16]);
        let times = StageTimes::default();
        Ok(frames.iter().map(|_| Prediction { map: map(), score: 0.1, times, tokens: None }).collect())
    }
    fn info(&self) -> &EngineInfo {
        &self.0
    }
}

struct Nobody;

impl EventSink for Nobody {
    fn owe(&self, _: &str, _: &Part) -> Result<Debt, Refused> {
        Ok(Debt(0))
    }
    fn verdict(&self, _: InspectionEvent, _: Instant, _: Option<Instant>) -> Result<(), Refused> {
        Ok(())
    }
    fn camera(&self, _: &str, _: CameraState, _: Option<&str>) {}
    fn engine(&self, _: Option<&str>) {}
}

impl Heartbeat for Nobody {
    fn step(&self) {}
}

fn caps(version: u32, defect_threshold: f32) -> RecipeSpec {
    RecipeSpec {
        info: RecipeInfo { id: "caps".into(), version },
        threshold: None,
        defect_threshold,
        min_area_px: 1,
        regions: Vec::new(),
    }
}

fn plan() -> CameraPlan {
    let short = Duration::from_millis(1);
    CameraPlan {
        view: crate::view::ViewSpec::default(),
        name: "top".into(),
        queue: 4,
        when_full: WhenFull::Wait,
        trigger: TriggerPlan::free(),
        recipe: caps(1, 0.5),
        kept: None,
        memory: None,
        found_with: None,
        picture: None,
        locate: None,
        backoff_min: short,
        backoff_max: short,
    }
}

/// A running line and what changes its recipes.
struct Stage {
    line: Line,
    control: Control,
    frames: Sender<(u32, u32)>,
    recipes: Recipes,
    state: tempfile::TempDir,
}

impl Stage {
    fn start(state: tempfile::TempDir, mut plan: CameraPlan) -> Self {
        let kept = KeptRecipes::open(Some(state.path()), &mut [&mut plan]);
        let (frames, inside) = bounded(4);
        let open: SourceOpener = Box::new(move || Ok(Box::new(Camera(inside.clone()))));
        let info = EngineInfo {
            model: "eye".into(),
            sha256: "00".into(),
            engine: EngineChoice::Reference,
            precision: Precision::Fp32,
            max_batch: 1,
            image_size: 4,
            sigma: 0.0,
            top_k: 1,
        };
        let line = Line::start(LineParts {
            name: "test".into(),
            session: Uuid::nil(),
            cameras: vec![(plan, open)],
            engine: Box::new(|| Ok(Box::new(Eye(info)))),
            unanswered: Vec::new(),
            sink: Arc::new(Nobody),
            heartbeat: Arc::new(Nobody),
            clock: Arc::new(SystemClock),
            cancelled: CancellationToken::new(),
            archive: None,
        });
        let line = line.expect("started");
        let control = line.control();
        Self { line, control, frames, recipes: Recipes::new(kept), state }
    }

    fn shows(&self, width: u32, height: u32) {
        let before = self.line.stats().events();
        self.frames.send((width, height)).expect("room");
        let end = Instant::now() + Duration::from_secs(20);
        while self.line.stats().events() == before {
            assert!(Instant::now() < end, "no event");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn used(&self) -> Used {
        self.control.used(None).expect("one camera").1
    }

    /// Which recipe is in use, and which memory.
    fn says(&self) -> (String, u32, Option<String>) {
        let Used { recipe, memory, .. } = self.used();
        (recipe.info.id.clone(), recipe.info.version, memory.map(|memory| memory.about().id.clone()))
    }

    fn memory(&self, size: (u32, u32), seed: u8) -> Memory {
        let (model, now, by) = (self.control.model().clone(), Timestamp::UNIX_EPOCH, "test".to_owned());
        let settings = Settings { model, size: 4, sigma: 1.0, pictures_of_tokens: 1, by, now };
        let mut learner = Learner::new(settings);
        for i in 0..3 {
            let tokens = PatchTokens::new(2, 2, vec![[1.0, f32::from(i + seed) / 10.0].repeat(4)]);
            learner.take(&tokens, 0.1 + f32::from(i) / 100.0, size).expect("a good part");
        }
        learner.finish().expect("a memory")
    }

    fn remember(&self, size: (u32, u32), seed: u8) -> String {
        let memory = self.memory(size, seed);
        let id = memory.about().id.clone();
        let (_, used) = self.control.used(Some("top")).expect("a camera");
        let way = self.control.way("top").expect("a camera");
        let begun = Begun { recipe: &used.recipe, memory: used.memory.clone(), way };
        self.recipes.remember(&self.control, &"top".into(), &begun, memory, &|| true).expect("remembered");
        id
    }

    fn set(&self, defect_threshold: f32, regions: &[Vec<[f32; 2]>]) -> Result<Value, ChangeError> {
        let wish = |used: &RecipeSpec| Wish {
            recipe: RecipeSpec { defect_threshold, regions: regions.to_vec(), ..used.clone() },
            version: false,
            by_hand: true,
            without_memory: false,
        };
        self.recipes.change(&self.control, None, &somebody(), wish)
    }

    fn calibrated(&self, version: u32, apply: bool) -> Calibrated {
        Calibrated {
            recipe: caps(version, 0.3),
            model: self.used().model(self.control.model()),
            picture: None,
            sheets: vec![("top-caps.json".into(), "{}".into()), ("top-caps.svg".into(), "<svg/>".into())],
            apply,
        }
    }

    fn way(&self) -> Arc<Way> {
        self.control.way("top").expect("a camera")
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.state.path().join("calibrations/top/caps")).map_or(0, Iterator::count)
    }
}

fn somebody() -> Who {
    Who { via: Via::Mqtt, command: None, user: None }
}

#[test]
fn a_calibration_of_another_memory_is_not_applied_and_leaves_nothing() {
    let stage = Stage::start(tempfile::tempdir().expect("temp dir"), plan());
    stage.remember((8, 6), 1);
    let used = stage.used();
    let begun = Begun { recipe: &used.recipe, memory: used.memory.clone(), way: stage.way() };
    let found = stage.calibrated(2, true);
    stage.recipes.roll_back(&stage.control, None, &somebody()).expect("only the memory was another");
    assert_eq!(stage.used().recipe, used.recipe);
    let camera = "top".into();
    let put = |found, commits| stage.recipes.calibrated(&stage.control, &camera, &begun, found, &move || commits);
    let refused = put(found, true).expect_err("the memory has changed").to_string();
    assert!(refused.starts_with("the memory of camera 'top' was changed meanwhile"), "{refused}");
    assert_eq!(stage.files(), 0);

    let begun = Begun { recipe: &used.recipe, memory: None, way: stage.way() };
    let put = |found, commits| stage.recipes.calibrated(&stage.control, &camera, &begun, found, &move || commits);
    assert!(put(stage.calibrated(2, true), false).is_err(), "the service is stopping");
    assert_eq!((stage.files(), stage.used().recipe), (0, used.recipe.clone()));
    let (files, recipe) = put(stage.calibrated(2, false), true).expect("written down");
    assert!(recipe.is_none() && files[0].ends_with("v2-proposed.json"), "{files:?}");
    let (files, recipe) = put(stage.calibrated(2, true), true).expect("applied");
    assert_eq!(recipe.expect("applied")["recipe"]["version"], 2);
    assert!(files[1].ends_with("calibrations/top/caps/v2.svg") && stage.files() == 4, "{files:?}");
    assert_eq!(stage.used().found_with, Some(stage.control.model().clone()));
    assert!(put(stage.calibrated(3, true), true).is_err(), "the recipe has changed");
}

#[test]
fn what_cannot_be_written_is_not_applied() {
    let stage = Stage::start(tempfile::tempdir().expect("temp dir"), plan());
    std::fs::write(stage.state.path().join("calibrations"), "a file").expect("written");
    let used = stage.used();
    let begun = Begun { recipe: &used.recipe, memory: None, way: stage.way() };
    let found = stage.calibrated(2, true);
    let refused =
        stage.recipes.calibrated(&stage.control, &"top".into(), &begun, found, &|| true).expect_err("no folder");
    assert!(refused.to_string().ends_with("v2.json: nothing was changed"), "{refused}");
    assert_eq!(stage.used().recipe, used.recipe);
}

#[test]
fn a_recipe_that_gave_way_is_known_to_have_and_its_version_is_not_used_again() {
    let stage = Stage::start(tempfile::tempdir().expect("temp dir"), plan());
    stage.shows(80, 60);
    let memory = stage.remember((80, 60), 1);
    stage.set(0.6, &[vec![[0.0, 0.0], [70.0, 0.0], [0.0, 50.0]]]).expect("it fits");
    assert_eq!(stage.says(), ("caps".into(), 2, Some(memory)));
    stage.shows(8, 6);
    assert_eq!(stage.says(), ("caps".into(), 1, None), "recipe and memory of the settings");
    stage.set(0.7, &[]).expect("good");
    assert_eq!(stage.says(), ("caps".into(), 3, None));

    // The next start is told the same.
    let Stage { line, state, .. } = stage;
    line.stop(Duration::from_secs(5));
    let stage = Stage::start(state, plan());
    assert_eq!(stage.says(), ("caps".into(), 3, None));
    stage.recipes.roll_back(&stage.control, None, &somebody()).expect("to that of the settings");
    assert_eq!((stage.says(), stage.used().recipe.defect_threshold), (("caps".into(), 4, None), 0.5));
}

#[test]
fn a_way_back_leaves_out_what_cannot_be_used_and_says_so() {
    let stage = Stage::start(tempfile::tempdir().expect("temp dir"), plan());
    stage.remember((80, 60), 1);
    let fits = stage.remember((48, 48), 2);
    stage.set(0.6, &[]).expect("good");
    let square = stage.remember((480, 480), 3);
    stage.shows(80, 60);
    assert_eq!(stage.says(), ("caps".into(), 2, Some(square)));
    let told = stage.line.troubles();
    assert!(told.len() == 1 && told[0].kind == "recipes", "{told:?}");
    let ack = stage.recipes.roll_back(&stage.control, None, &somebody()).expect("there is one that fits");
    assert_eq!(ack[0]["left_out"].as_array().map(Vec::len), Some(2), "{ack}");
    assert!(ack[0]["left_out"][0].as_str().expect("a text").contains(&fits), "{ack}");
    assert_eq!(ack[0]["memory"]["parts"], 3, "{ack}");
    let kinds: Vec<_> = stage.line.troubles().into_iter().map(|trouble| trouble.kind).collect();
    assert_eq!(kinds, ["thresholds"], "they were set before it was learnt");
    stage.shows(48, 48);
    let ack = stage.recipes.roll_back(&stage.control, None, &somebody()).expect("without a memory");
    assert_eq!((&ack[0]["memory"], stage.says().2), (&Value::Null, None), "{ack}");
    let error = stage.recipes.roll_back(&stage.control, None, &somebody()).expect_err("nothing before").to_string();
    assert!(error.contains("none was before it"), "{error}");
}

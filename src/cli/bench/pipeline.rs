//! `vcp-line bench pipeline`: what the line itself costs. Without a model an engine that replays one map stands in for
//! it; with one, synthetic products run past it. Everything else is what `run` uses.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{machine, print_table};
use crate::anomaly::{AnomalyMap, Prediction, StageTimes};
use crate::cli::EngineArguments;
use crate::cli::plan::{self, SourceSpec};
use crate::clock::{Clock, SystemClock};
use crate::engine::{Engine, EngineChoice, EngineError, EngineInfo, Precision};
use crate::event::{InspectionEvent, RecipeInfo};
use crate::frame::{Frame, Part};
use crate::line::parts::TriggerPlan;
use crate::line::queue::WhenFull;
use crate::line::recipe::RecipeSpec;
use crate::line::stats::Histogram;
use crate::line::{CameraPlan, CameraState, EventSink, Heartbeat, Line, LineParts, Refused};
use crate::publish::broker::EmbeddedBroker;
use crate::publish::{Door, LineState, Outgoing, Published, Publisher, PublisherSpec, StateWord};
use crate::source::SourceContext;
use crate::source::gstreamer_spec::{GStreamerInput, GStreamerSpec};
use crate::source::synthetic::SyntheticSpec;
use crate::synth::{Class, Conveyor, DefectKind};

/// Side of the replayed map, that of the published models.
const MAP: usize = 518;
/// Side of a synthetic product's picture.
const SIDE: u32 = 256;
/// Longer than any engine takes to open and to look at a first frame.
const PATIENCE: Duration = Duration::from_secs(120);
/// Reports of published verdicts that may wait to be counted.
const REPORTS: usize = 4096;

#[derive(Args)]
pub struct PipelineArguments {
    /// Model bundle to look at 256x256 synthetic products with [default: one map is replayed]
    #[arg(long, value_name = "BUNDLE", conflicts_with_all = ["width", "height", "defects"])]
    model: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArguments,
    /// Frames per second and camera.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1000))]
    fps: u32,
    /// Cameras.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    cameras: u32,
    /// Columns of a frame.
    #[arg(long, default_value_t = 640, value_parser = clap::value_parser!(u32).range(1..=16384))]
    width: u32,
    /// Rows of a frame.
    #[arg(long, default_value_t = 480, value_parser = clap::value_parser!(u32).range(1..=16384))]
    height: u32,
    /// Measured time, after one second to settle.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Defects in every frame's map (0 measures parts that pass).
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=64))]
    defects: u32,
}

/// Answers every frame with the same map.
struct Replay {
    map: AnomalyMap,
    info: EngineInfo,
}

impl Replay {
    fn new(defects: u32) -> Self {
        let mut values = vec![0.1; MAP * MAP];
        for defect in 0..defects as usize {
            let (row, column) = (20 + 60 * (defect / 8), 20 + 60 * (defect % 8));
            for y in row..row + 30 {
                values[y * MAP + column..y * MAP + column + 30].fill(0.9);
            }
        }
        let info = EngineInfo {
            model: "replay".into(),
            sha256: "0".repeat(64),
            engine: EngineChoice::Reference,
            precision: Precision::Fp32,
            max_batch: 4,
            image_size: MAP,
        };
        Self { map: AnomalyMap::new(MAP, values), info }
    }
}

impl Engine for Replay {
    fn infer(&mut self, frames: &[&Frame]) -> Result<Vec<Prediction>, EngineError> {
        self.info.check_batch(frames.len())?;
        let answer = || Prediction { map: self.map.clone(), score: 1.0, times: StageTimes::default() };
        Ok(frames.iter().map(|_| answer()).collect())
    }

    fn info(&self) -> &EngineInfo {
        &self.info
    }
}

struct Voice(Door);

impl EventSink for Voice {
    fn owe(&self, camera: &str, part: &Part) -> Result<(), Refused> {
        self.0.owe(camera, part).map(drop).map_err(|error| Refused(error.to_string()))
    }

    fn verdict(&self, event: InspectionEvent, captured: Instant, due: Option<Instant>) -> Result<(), Refused> {
        self.0.verdict(Outgoing { event, captured, due }).map_err(|error| Refused(error.to_string()))
    }

    fn camera(&self, camera: &str, state: CameraState, detail: Option<&str>) {
        tracing::debug!(camera, ?state, detail, "camera");
    }

    fn engine(&self, error: Option<&str>) {
        tracing::debug!(error, "engine");
    }
}

struct Deaf;

impl Heartbeat for Deaf {
    fn step(&self) {}
}

/// A conveyor with a defect in every third part.
fn products(fps: u32, camera: u32) -> SyntheticSpec {
    let conveyor = Conveyor {
        classes: Class::ALL.to_vec(),
        kinds: DefectKind::ALL.to_vec(),
        defective: 0.3,
        difficulty: (0.0, 0.6),
        size: SIDE,
        pool: 2 * Class::ALL.len() as u32,
        seed: u64::from(camera),
    };
    SyntheticSpec { conveyor, fps: f64::from(fps), first: 1, count: None, truth_file: None }
}

pub fn run(arguments: &PipelineArguments) -> anyhow::Result<()> {
    let &PipelineArguments { fps, cameras, width, height, seconds, defects, .. } = arguments;
    let broker = EmbeddedBroker::start(0)?;
    let spec = PublisherSpec::new(broker.address().ip().to_string(), broker.address().port(), "bench");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let session = Uuid::now_v7();
    let state = LineState { state: StateWord::Online, since: None, cameras: [].into(), model: None, activity: None };
    let (reports, published) = crossbeam_channel::bounded::<Published>(REPORTS);
    let publisher = Publisher::start(spec, session, state, Arc::clone(&clock), Some(reports))?;

    let description = format!(
        "videotestsrc is-live=true pattern=ball ! \
         video/x-raw,format=GRAY8,width={width},height={height},framerate={fps}/1"
    );
    let camera = |number: u32| {
        let plan = CameraPlan {
            name: format!("camera-{number}").into(),
            queue: 4,
            when_full: WhenFull::DropOldest,
            trigger: if arguments.model.is_some() { TriggerPlan::hardware(None) } else { TriggerPlan::free() },
            kept: None,
            recipe: RecipeSpec {
                info: RecipeInfo { id: "bench".into(), version: 1 },
                threshold: None,
                defect_threshold: 0.5,
                min_area_px: 25,
                regions: vec![],
            },
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(5),
        };
        let source = match arguments.model {
            None => {
                let input = GStreamerInput::Launch { description: description.clone() };
                SourceSpec::GStreamer(GStreamerSpec::new(input))
            }
            Some(_) => SourceSpec::Synthetic(products(fps, number)),
        };
        let context = SourceContext { camera: Arc::clone(&plan.name), clock: Arc::clone(&clock) };
        (plan, plan::opener(source, context))
    };
    let line = Line::start(LineParts {
        name: "bench".into(),
        session,
        cameras: (1..=cameras).map(camera).collect(),
        engine: match &arguments.model {
            None => Box::new(move || Ok(Box::new(Replay::new(defects)) as Box<dyn Engine>)),
            Some(model) => plan::engine(arguments.engine.spec(model, 4))(Box::new(|_| {})),
        },
        unanswered: Vec::new(),
        sink: Arc::new(Voice(publisher.door())),
        heartbeat: Arc::new(Deaf),
        clock,
        cancelled: CancellationToken::new(),
    })?;

    // A model takes seconds to open.
    published.recv_timeout(PATIENCE).context("no verdict was published")?;
    let settled = Instant::now() + Duration::from_secs(1);
    let end = settled + Duration::from_secs(u64::from(seconds));
    let mut latency = Histogram::default();
    while Instant::now() < end {
        match published.recv_timeout(Duration::from_millis(100)) {
            Ok(report) if report.at >= settled => latency.record(report.latency),
            Ok(_) | Err(crossbeam_channel::RecvTimeoutError::Timeout) => {}
            Err(error) => return Err(error).context("the publisher ended"),
        }
    }
    let report = line.stop(Duration::from_secs(5));
    let unsent = publisher.stop(Duration::from_secs(5)).unsent;
    let dropped: u64 = report.queues.iter().map(|(_, lane)| lane.dropped).sum();
    println!("{}\n", machine());
    let input = match &arguments.model {
        None => format!("{width}x{height} grey, {defects} defects a frame, no model"),
        Some(model) => {
            let precision = arguments.engine.precision;
            format!("{SIDE}x{SIDE} synthetic products, {} {} {precision}", model.display(), arguments.engine.engine)
        }
    };
    let rate = latency.count() as f64 / f64::from(seconds);
    println!(
        "{cameras} camera(s), {input}, at {fps} frames/s for {seconds} s: {rate:.1} verdicts/s, dropped {dropped}, \
         not acknowledged {unsent}\n"
    );
    let stats = &report.stats;
    print_table(&[
        ("queue", &stats.queue),
        ("inference", &stats.inference),
        ("post-processing, regions, recipe", &stats.postprocess),
        ("capture to publish", &latency),
    ]);
    Ok(())
}

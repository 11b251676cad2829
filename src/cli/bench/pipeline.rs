//! `vcp-line bench pipeline`: what the line itself costs. Without a model an engine that replays one map stands in for
//! it; with one, synthetic products run past it. Everything else is what `run` uses.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::replay::Replay;
use super::{machine, table};
use crate::archive::{Archive, ArchiveCounters, ArchiveSpec};
use crate::cli::engine_arguments::EngineArguments;
use crate::cli::failure;
use crate::cli::terminal::say;
use crate::clock::{Clock, SystemClock};
use crate::engine::Engine;
use crate::event::{InspectionEvent, RecipeInfo, VerdictWord};
use crate::frame::Part;
use crate::line::parts::TriggerPlan;
use crate::line::queue::WhenFull;
use crate::line::recipe::RecipeSpec;
use crate::line::stats::Histogram;
use crate::line::{
    CameraPlan, CameraState, Debt, EngineOpener, EventSink, Heartbeat, Line, LineParts, Refused, SourceOpener,
    StopReport,
};
use crate::output::Temporary;
use crate::publish::broker::EmbeddedBroker;
use crate::publish::{Door, LineState, Outgoing, Published, Publisher, PublisherSpec, StateWord};
use crate::service::plan::{self, SourceSpec};
use crate::source::gstreamer_spec::{GStreamerInput, GStreamerSpec};
use crate::source::levels::LevelsSpec;
use crate::source::synthetic::{SyntheticFormat, SyntheticSpec};
use crate::synth::{Class, Conveyor, ConveyorFrames, DefectKind, FRAME_SIDES, Motion};

const LINE: &str = "bench";
/// Side of a synthetic product's picture.
const SIDE: u32 = 256;
/// Columns and rows of a frame unless another size is asked for.
const FRAME: (u32, u32) = (640, 480);
/// What the large frames of one camera take of the memory, bytes, where they are not fewer than [`LEAST`].
const POOL: u32 = 64 << 20;
/// Different frames at least: more than are looked at at the same time.
const LEAST: u32 = 8;
/// Diameters of the defects in large frames, pixels.
const DEFECT_PX: (f32, f32) = (8.0, 60.0);
/// Longer than any engine takes to open and to look at a first frame.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longest time for the line to stop, and for the publisher.
const STOP: Duration = Duration::from_secs(5);
/// Longest time for the archive to write what waits.
const ARCHIVE_STOP: Duration = Duration::from_secs(30);
/// What the archive leaves of the disk here.
const RESERVE: u64 = 1 << 30;
/// Reports of published verdicts that may wait to be counted.
const REPORTS: usize = 4096;

#[derive(Args)]
pub struct PipelineArguments {
    /// Model bundle to look at synthetic products with [default: one map is replayed]
    #[arg(long, value_name = "BUNDLE", conflicts_with = "defects")]
    model: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArguments,
    /// Frames per second and camera.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1000))]
    fps: u32,
    /// Cameras.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    cameras: u32,
    /// Columns of a frame [default: 640; with a model 256x256 pictures that a product fills]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=16384))]
    width: Option<u32>,
    /// Rows of a frame [default: 480; with a model as --width]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=16384))]
    height: Option<u32>,
    /// Measured time, after one second to settle.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Defects in every frame's map (0 measures parts that pass).
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=64))]
    defects: u32,
    /// Measure again with every part archived in a new folder inside this one, and say what that costs.
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
}

/// What one run of the line has shown.
struct Measured {
    published: PublishedParts,
    report: StopReport,
    unsent: usize,
    archive: Option<ArchiveCounters>,
}

/// What was published once the line had settled.
#[derive(Default)]
struct PublishedParts {
    /// From capture to publish, of every verdict.
    latency: Histogram,
    /// Parts that were looked at: verdicts without those that say why there is none.
    judged: u64,
}

/// Publishes verdicts; what else the line says goes into the log.
struct PublishingSink(Door);

impl EventSink for PublishingSink {
    fn owe(&self, camera: &str, part: &Part) -> Result<Debt, Refused> {
        self.0.owe(camera, part).map(|debt| Debt(debt.0)).map_err(|error| Refused(error.to_string()))
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

pub fn run(arguments: &PipelineArguments) -> anyhow::Result<()> {
    arguments.model.as_deref().map_or(Ok(()), failure::bundle_there)?;
    arguments.sides_of_products()?;
    if let Some(place) = &arguments.archive {
        std::fs::create_dir_all(place).with_context(|| format!("making the folder {}", place.display()))?;
    }
    say!("{}", machine::describe());
    say!("");
    let without = arguments.measure(None)?;
    arguments.show(&without);
    let Some(place) = &arguments.archive else { return Ok(()) };
    let folder = Temporary::new(place, "vcp-line-bench-", "").context("making a folder for the archive")?;
    let spec = ArchiveSpec { sample: 1.0, reserve_bytes: RESERVE, ..ArchiveSpec::new(folder.path().join("archive")) };
    let with = arguments.measure(Some(spec))?;
    say!("");
    arguments.show(&with);
    say!("");
    let p99 = |measured: &Measured| measured.published.latency.percentile(0.99).as_secs_f64() * 1e3;
    let (before, after) = (p99(&without), p99(&with));
    say!(
        "archive of every part: p99 capture to publish {after:.2} ms against {before:.2} ms without, {:.2} x, {:+.2} ms",
        after / before,
        after - before
    );
    let ArchiveCounters { pictures_written, dropped_queue, bytes, .. } = with.archive.unwrap_or_default();
    say!("archived {pictures_written} parts with pictures, {} MB; dropped {dropped_queue}", bytes / 1_000_000);
    Ok(())
}

impl PipelineArguments {
    /// Runs the line once.
    fn measure(&self, archive: Option<ArchiveSpec>) -> anyhow::Result<Measured> {
        let archive = archive.map(|spec| Archive::start(spec, Arc::new(SystemClock))).transpose()?;
        let (archive, thread) = archive.unzip();
        let broker = EmbeddedBroker::start(0)?;
        let spec = PublisherSpec::new(broker.address().ip().to_string(), broker.address().port(), LINE);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let session = Uuid::now_v7();
        let state = LineState {
            state: StateWord::Online,
            since: None,
            cameras: [].into(),
            model: None,
            activity: None,
            activities: Vec::new(),
        };
        let (reports, published) = crossbeam_channel::bounded::<Published>(REPORTS);
        let publisher = Publisher::start(spec, session, state, Arc::clone(&clock), Some(reports))?;
        let line = Line::start(LineParts {
            name: LINE.into(),
            session,
            cameras: (1..=self.cameras).map(|number| self.camera(number)).collect(),
            engine: self.engine(),
            unanswered: Vec::new(),
            sink: Arc::new(PublishingSink(publisher.door())),
            archive: archive.clone(),
            heartbeat: Arc::new(Deaf),
            clock,
            cancelled: CancellationToken::new(),
        })?;
        let published = measure(&published, self.seconds)?;
        let report = line.stop(STOP);
        let unsent = publisher.stop(STOP).unsent;
        if let Some(thread) = thread {
            thread.stop(ARCHIVE_STOP);
        }
        Ok(Measured { published, report, unsent, archive: archive.as_ref().map(Archive::counters) })
    }

    fn show(&self, Measured { published, report, unsent, archive }: &Measured) {
        let dropped: u64 = report.queues.iter().map(|(_, lane)| lane.dropped).sum();
        let &PipelineArguments { cameras, fps, seconds, .. } = self;
        let [rate, judged] =
            [published.latency.count(), published.judged].map(|parts| parts as f64 / f64::from(seconds));
        say!(
            "{cameras} camera(s), {}, {}at {fps} frames/s for {seconds} s: {rate:.1} verdicts/s, {judged:.1} parts/s looked at, \
         dropped {dropped}, not acknowledged {unsent}",
            self.input(),
            if archive.is_some() { "every part archived, " } else { "" }
        );
        say!("");
        let stats = &report.stats;
        table::print(&[
            ("queue", &stats.queue),
            ("inference", &stats.inference),
            ("post-processing, regions, recipe", &stats.postprocess),
            ("capture to publish", &published.latency),
        ]);
    }
}

/// Counts what is published once the line has settled.
fn measure(published: &Receiver<Published>, seconds: u32) -> anyhow::Result<PublishedParts> {
    // A model takes seconds to open.
    published.recv_timeout(PATIENCE).context("no verdict was published")?;
    let settled = Instant::now() + Duration::from_secs(1);
    let end = settled + Duration::from_secs(u64::from(seconds));
    let mut parts = PublishedParts::default();
    while Instant::now() < end {
        match published.recv_timeout(Duration::from_millis(100)) {
            Ok(report) if report.at >= settled => {
                parts.latency.record(report.latency);
                parts.judged += u64::from(report.outgoing.event.verdict != VerdictWord::NoVerdict);
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(error) => return Err(error).context("the publisher ended"),
        }
    }
    Ok(parts)
}

impl PipelineArguments {
    fn camera(&self, number: u32) -> (CameraPlan, SourceOpener) {
        let plan = CameraPlan {
            view: crate::view::ViewSpec::default(),
            name: format!("camera-{number}").into(),
            queue: 4,
            when_full: WhenFull::DropOldest,
            trigger: if self.model.is_some() { TriggerPlan::hardware(None) } else { TriggerPlan::free() },
            kept: None,
            memory: None,
            found_with: None,
            picture: None,
            locate: None,
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
        let source = match self.model {
            None => SourceSpec::GStreamer(self.test_pictures()),
            Some(_) => SourceSpec::Synthetic(self.products(number)),
        };
        let opener = plan::opener(source, plan::context(&plan), LevelsSpec::default());
        (plan, opener)
    }

    /// A live camera without hardware.
    fn test_pictures(&self) -> GStreamerSpec {
        let ((width, height), fps) = (self.size(), self.fps);
        let description = format!(
            "videotestsrc is-live=true pattern=ball ! \
             video/x-raw,format=GRAY8,width={width},height={height},framerate={fps}/1"
        );
        GStreamerSpec::new(GStreamerInput::Launch { description })
    }

    fn engine(&self) -> EngineOpener {
        let defects = self.defects;
        match &self.model {
            None => Box::new(move || Ok(Box::new(Replay::new(defects)) as Box<dyn Engine>)),
            Some(model) => plan::engine(self.engine.spec(model, 4))(Box::new(|_| {})),
        }
    }

    /// What the line looks at, and with what, in words.
    fn input(&self) -> String {
        let ((width, height), defects) = (self.size(), self.defects);
        match &self.model {
            None => format!("{width}x{height} grey, {defects} defects a frame, no model"),
            Some(model) => {
                let EngineArguments { engine, precision, .. } = self.engine;
                format!("{width}x{height} synthetic products, {} {engine} {precision}", model.display())
            }
        }
    }

    /// Columns and rows of a frame.
    fn size(&self) -> (u32, u32) {
        let usual = if self.model.is_some() && !self.large() { (SIDE, SIDE) } else { FRAME };
        (self.width.unwrap_or(usual.0), self.height.unwrap_or(usual.1))
    }

    /// Whether a size was asked for, so that products lie in frames instead of filling a picture.
    fn large(&self) -> bool {
        self.width.is_some() || self.height.is_some()
    }

    /// Products lie in frames of some sizes only.
    fn sides_of_products(&self) -> anyhow::Result<()> {
        let (width, height) = self.size();
        let (least, most) = (FRAME_SIDES.start(), FRAME_SIDES.end());
        if self.model.is_some() && ![width, height].iter().all(|side| FRAME_SIDES.contains(side)) {
            anyhow::bail!(
                "{width}x{height} is no size of a frame with products: give --width and --height from {least} to {most}"
            );
        }
        Ok(())
    }

    /// A conveyor on which three of ten parts have a defect.
    fn products(&self, camera: u32) -> SyntheticSpec {
        let (width, height) = self.size();
        let classes = Class::ALL.len() as u32;
        let frames = self.large().then(|| ConveyorFrames {
            width,
            height,
            defect_px: (DEFECT_PX.0, DEFECT_PX.1.min(0.1 * width.min(height) as f32)),
            motion: Motion { shift_px: 10.0, turn_degrees: 5.0 },
            one_product: false,
        });
        let pool = if frames.is_some() { (POOL / (3 * width * height)).clamp(LEAST, 2 * classes) } else { 2 * classes };
        let conveyor = Conveyor {
            frames,
            classes: Class::ALL.to_vec(),
            kinds: DefectKind::ALL.to_vec(),
            defective: 0.3,
            difficulty: (0.0, 0.6),
            size: SIDE,
            pool,
            seed: u64::from(camera),
        };
        SyntheticSpec {
            conveyor,
            fps: f64::from(self.fps),
            first: 1,
            count: None,
            pixel_format: SyntheticFormat::default(),
            truth_file: None,
        }
    }
}

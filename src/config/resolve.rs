//! The line and its cameras with nothing left to interpret: rules and defaults of their keys; other sections have their own
//! files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::control::{self, CommandsConfig, HttpConfig};
use super::mqtt::MqttConfig;
use super::problem::Report;
use super::raw::{Key, RawCamera, RawKind, RawLevels, RawLine, RawRecipe};
use super::read::KINDS;
use super::rules::{Rules, password_place, value};
use super::secret;
use super::self_test::SelfTestConfig;
use super::sparkplug::SparkplugConfig;
use crate::archive::ArchiveSpec;
use crate::drift::Baseline;
use crate::engine::{EngineSpec, PlanSpec};
use crate::error_chain;
use crate::event::RecipeInfo;
use crate::levels::{GAMMAS, Levels};
use crate::line::CameraPlan;
use crate::line::locating::LocateSettings;
use crate::line::parts::TriggerMode;
use crate::line::queue::WhenFull;
use crate::line::recipe::{RecipeError, RecipeSpec, RegionsMistake, regions_mistakes};
use crate::memory::Memory;
use crate::publish::topic::OWN_WORDS;
use crate::publish::{OutboxSpec, TraceSpec};
use crate::source::directory::DirectorySpec;
use crate::source::gstreamer_spec::{AravisSpec, FileSpec, RtspSpec, RtspTransport, V4l2Spec};
use crate::source::synthetic::SyntheticSpec;

/// A line, resolved.
#[derive(Clone, Debug)]
pub struct LineConfig {
    /// Name of the line.
    pub name: String,
    /// What looks.
    pub engine: EngineSpec,
    /// Where events go.
    pub mqtt: MqttConfig,
    /// What others may ask of the line.
    pub commands: CommandsConfig,
    /// The API on this computer, when it is wanted.
    pub http: Option<HttpConfig>,
    /// Where they go as Sparkplug B besides, if anywhere.
    pub sparkplug: Option<SparkplugConfig>,
    /// Where traces go, if anywhere.
    pub traces: Option<TraceSpec>,
    /// Where events are kept until the broker has them.
    pub outbox: OutboxSpec,
    /// What is kept of every part, if anything.
    pub archive: Option<ArchiveSpec>,
    /// Parts whose right verdict is known, if any.
    pub self_test: Option<SelfTestConfig>,
    /// Longest time for the ordered stop.
    pub stop_deadline: Duration,
    /// At least one.
    pub cameras: Vec<CameraConfig>,
}

/// One camera, resolved.
#[derive(Clone, Debug)]
pub struct CameraConfig {
    /// Queue, recipe and how to come back.
    pub plan: CameraPlan,
    /// Where its frames come from.
    pub source: SourceConfig,
    /// Memory of good parts, which joins the model's maps.
    pub memory: Option<PathBuf>,
    /// Calibration file whose good parts later pictures are compared with.
    pub calibration: Option<PathBuf>,
    /// How its parts are found.
    pub locate: Option<LocateSettings>,
    /// What the values of the sensor mean; `None` takes it from its format, or from the first pictures.
    pub levels: Option<Levels>,
}

/// Where frames come from, resolved: what the adapters need, but for the password of a network camera.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceConfig {
    /// A folder of images.
    Directory(DirectorySpec),
    /// Video4Linux.
    V4l2(V4l2Spec),
    /// RTSP, without its password; the password's file is read when the camera is opened.
    Rtsp(RtspSpec, Option<PathBuf>),
    /// GigE Vision or USB3 Vision.
    Aravis(AravisSpec),
    /// A video file.
    File(FileSpec),
    /// A GStreamer pipeline, in the language of `gst-launch-1.0`.
    Launch(String),
    /// Synthetic products on a conveyor.
    Synthetic(SyntheticSpec),
}

/// More than this many frames waiting is memory, not patience: 1024 frames of 1920×1080 RGB are 6 GiB.
const MAX_LANE: usize = 1024;

/// `None` after a mistake; all mistakes are in the report. Paths are relative to the folder of `file`.
pub fn resolve(raw: &RawLine, file: &Path, report: &mut Report) -> Option<LineConfig> {
    let base = file.parent().unwrap_or(Path::new(""));
    let mut top = Rules { section: String::new(), report };
    let name = top.name(&raw.line, "line", "write line = \"NAME\", the line's name in topics and events");
    if name.as_deref() == Some("cmd") {
        // PREFIX/cmd/state of this line would be a command to a line whose name ends the prefix.
        let message = "\"cmd\" is the word that topics of commands have; choose another name".into();
        top.wrong(raw.line.as_ref(), "line", message);
    }
    if raw.cameras.is_empty() {
        top.wrong::<()>(None, "camera", "missing; a line needs at least one [[camera]]".into());
    }
    let engine = engine(raw, base, report);
    let mqtt = super::mqtt::resolve(&raw.mqtt, name.as_deref().unwrap_or_default(), base, report);
    let sparkplug = super::sparkplug::resolve(&raw.sparkplug, name.as_deref().unwrap_or_default(), report);
    let cameras: Vec<_> = raw.cameras.iter().map(|camera| resolve_camera(camera, &raw.recipe, base, report)).collect();
    let deadline = cameras.iter().flatten().filter_map(|camera| camera.plan.trigger.deadline).min();
    let mut rules = Rules { section: "outbox".into(), report };
    let outbox = super::outbox::resolve(&raw.outbox, name.as_deref().unwrap_or_default(), base, deadline, &mut rules);
    rules.section = "archive".into();
    let archive = super::archive::resolve(raw.archive.as_ref(), name.as_deref().unwrap_or_default(), base, &mut rules);
    rules.section = "self_test".into();
    let self_test = super::self_test::resolve(raw.self_test.as_ref(), base, &mut rules);
    rules.section = "traces".into();
    let traces = super::traces::resolve(raw.traces.as_ref(), &mut rules);
    rules.section = "commands".into();
    let commands = control::commands(&raw.commands, name.as_deref().unwrap_or_default(), base, &mut rules);
    rules.section = "http".into();
    let http = control::http(&raw.http, base, &mut rules);
    let mut stop = Rules { section: "stop".into(), report };
    let stop_deadline = stop.bounded(&raw.stop.deadline_s, "deadline_s", 10.0, 0.1..=600.0, " seconds");
    names_apart(&raw.cameras, report);
    let cameras = cameras.into_iter().collect::<Option<Vec<_>>>()?;
    let stop_deadline = Duration::from_secs_f64(stop_deadline);
    let (name, engine, mqtt, outbox, sparkplug) = (name?, engine?, mqtt?, outbox?, sparkplug?);
    Some(LineConfig {
        name,
        engine,
        mqtt,
        outbox,
        archive,
        self_test,
        sparkplug,
        traces,
        commands,
        http,
        stop_deadline,
        cameras,
    })
}

/// Each camera has its own topics, Sparkplug device and files; not every host and disk tells capitals from small letters.
fn names_apart(cameras: &[RawCamera], report: &mut Report) {
    let mut seen: Vec<&str> = Vec::new();
    for camera in cameras.iter().filter_map(|camera| camera.name.as_ref()) {
        let name = camera.get_ref().as_str();
        let message = match seen.iter().find(|other| other.eq_ignore_ascii_case(name)) {
            Some(other) if *other == name => format!("\"{name}\" is the name of two cameras; give each its own"),
            Some(other) => format!(
                "\"{name}\" and \"{other}\" differ only in capitals, which not every disk and host tells apart; give \
                 each its own name"
            ),
            None => {
                seen.push(name);
                continue;
            }
        };
        report.add(Some(camera.span().start), "camera.name", message);
    }
}

fn engine(raw: &RawLine, base: &Path, report: &mut Report) -> Option<EngineSpec> {
    let mut rules = Rules { section: "model".into(), report };
    let raw = &raw.model;
    let bundle = rules.required(&raw.bundle, "bundle", "name the folder that `vcp-line model import` wrote");
    let max_batch = rules.bounded(&raw.max_batch, "max_batch", 4, 1..=64, " frames");
    let threads = rules.bounded_option(&raw.threads, "threads", 1..=1024, "");
    let engine = value(&raw.engine).unwrap_or_default();
    let remote = super::remote::resolve(raw, engine, base, report);
    Some(EngineSpec {
        bundle: base.join(bundle?),
        engine,
        precision: value(&raw.precision).unwrap_or_default(),
        max_batch,
        threads,
        plan: PlanSpec {
            file: value(&raw.plan).map(|plan| base.join(plan)),
            rebuild: value(&raw.rebuild_plan).unwrap_or(false),
        },
        remote,
        scales: value(&raw.scales).map(|scales| base.join(scales)),
    })
}

fn resolve_camera(raw: &RawCamera, line: &RawRecipe, base: &Path, report: &mut Report) -> Option<CameraConfig> {
    let section = raw.name.as_ref().map_or("camera".to_owned(), |name| format!("camera '{}'", name.get_ref()));
    let mut rules = Rules { section: section.clone(), report };
    if raw.name.is_none() {
        rules.report.add(Some(raw.at), "camera.name", "missing; write name = \"NAME\"".into());
    }
    let name = raw.name.as_ref().and_then(|_| rules.name(&raw.name, "name", ""));
    if let Some(word) = name.as_deref().filter(|name| OWN_WORDS.contains(name)) {
        let message = format!("\"{word}\" is a topic of the line itself (PREFIX/LINE/{word}); choose another name");
        rules.wrong(raw.name.as_ref(), "name", message);
    }
    if raw.kind.is_none() {
        let allowed = KINDS.join(", ");
        match &raw.source {
            Some(kind) => {
                let message = format!("\"{}\" is no kind of camera; allowed: {allowed}", kind.get_ref());
                rules.wrong(Some(kind), "source", message);
            }
            None => rules.report.add(
                Some(raw.at),
                &format!("{section}.source"),
                format!("missing; write the kind of camera: {allowed}"),
            ),
        }
    }
    let queue = rules.bounded(&raw.queue, "queue", 4, 1..=MAX_LANE, " frames");
    let can_wait = match &raw.kind {
        Some(RawKind::Directory(_)) => true,
        Some(RawKind::File(file)) => !value(&file.realtime).unwrap_or(true),
        _ => false,
    };
    let each_frame = matches!(raw.kind, Some(RawKind::Synthetic(_)));
    let camera = std::mem::replace(&mut rules.section, format!("{section}.trigger"));
    let trigger = control::trigger(&raw.trigger, each_frame, queue, &mut rules);
    rules.section = format!("{section}.locate");
    let locate = raw.locate.as_ref().map(|raw| super::locate::resolve(raw, base, &mut rules));
    rules.section = format!("{section}.levels");
    let levels = raw.levels.as_ref().and_then(|raw| levels(raw, &mut rules));
    rules.section = camera;
    // A command must not wait for the engine on behalf of its frame.
    let commanded = trigger.is_some_and(|trigger| matches!(trigger.mode, TriggerMode::Software | TriggerMode::Matched));
    let can_wait = can_wait && !commanded;
    let when_full = value(&raw.when_full).unwrap_or(if can_wait { WhenFull::Wait } else { WhenFull::DropOldest });
    if when_full == WhenFull::Wait && !can_wait && raw.kind.is_some() {
        let message = if commanded {
            "\"wait\" is not for parts that commands trigger; allowed here: drop-oldest, reject"
        } else {
            "\"wait\" is for a directory, or a file with realtime = false; allowed here: drop-oldest, reject"
        };
        rules.wrong(raw.when_full.as_ref(), "when_full", message.into());
    }
    let keys = ["reopen_min_ms", "reopen_max_ms"];
    let (backoff_min, backoff_max) = rules.pauses(keys, &raw.reopen_min_ms, &raw.reopen_max_ms, 500);
    let source = raw.kind.as_ref().and_then(|kind| source(kind, value(&raw.frame_size), base, &mut rules));
    rules.section = format!("{section}.view");
    let view = super::view::resolve(&raw.view, base, &mut rules);
    let recipe = recipe(raw, line, &section, report);
    if let (Some(view), Some(recipe), Some([width, height])) = (&view, &recipe, value(&raw.frame_size)) {
        let mut rules = Rules { section: format!("{section}.view"), report };
        super::view::fits(&raw.view, view, recipe, (width, height), &mut rules);
    }
    let calibration = value(&raw.recipe.calibration).or(value(&line.calibration)).map(|file| base.join(file));
    let memory_file = value(&raw.recipe.memory).or(value(&line.memory)).map(|file| base.join(file));
    let locate = match locate {
        Some(locate) => Some(locate?),
        None => None,
    };
    let (trigger, recipe, kept) = (trigger?, recipe?, None);
    let (name, view, memory, found_with, picture) = (name?.into(), view?, None, None, None);
    let plan = CameraPlan {
        name,
        queue,
        when_full,
        trigger,
        view,
        recipe,
        memory,
        found_with,
        picture,
        locate: None,
        kept,
        backoff_min,
        backoff_max,
    };
    Some(CameraConfig { plan, source: source?, memory: memory_file, calibration, locate, levels })
}

/// `None` after a mistake.
fn levels(raw: &RawLevels, rules: &mut Rules<'_>) -> Option<Levels> {
    let what = "write the sensor's largest value: 255 for 8 bits, 1023 for 10, 4095 for 12, 16383 for 14, 65535 for 16";
    let black = value(&raw.black).unwrap_or(0);
    let white = rules.required(&raw.white, "white", what);
    let gamma = rules.bounded(&raw.gamma, "gamma", 1.0, GAMMAS, "");
    match Levels::new(black, white?, gamma) {
        Ok(levels) => Some(levels),
        Err(error) => {
            let key = if raw.black.is_some() { "black" } else { "white" };
            rules.wrong(raw.black.as_ref().or(raw.white.as_ref()), key, error.to_string());
            None
        }
    }
}

/// Each key of `[camera.recipe]` replaces the one of `[recipe]`; a mistake is told where the key is.
pub(super) fn recipe(raw: &RawCamera, line: &RawRecipe, section: &str, report: &mut Report) -> Option<RecipeSpec> {
    let own = &raw.recipe;
    let mut rules = Rules { section: String::new(), report };
    fn chosen<'a, T>(rules: &mut Rules<'_>, camera: &str, own: &'a Key<T>, line: &'a Key<T>) -> &'a Key<T> {
        rules.section = if own.is_some() { format!("{camera}.recipe") } else { "recipe".into() };
        if own.is_some() { own } else { line }
    }
    let key = chosen(&mut rules, section, &own.id, &line.id);
    let id = rules.name(key, "id", "write id = \"NAME\", the product's name in events");
    let key = chosen(&mut rules, section, &own.threshold, &line.threshold);
    let threshold = rules.bounded_option(key, "threshold", 0.0..=2.0, " (image score, raw model units)");
    let key = chosen(&mut rules, section, &own.defect_threshold, &line.defect_threshold);
    let what = "write defect_threshold = 0 … 1, the map value from which on a pixel is defective";
    let required = rules.required(key, "defect_threshold", what);
    let defect_threshold = rules.bounded_option(key, "defect_threshold", 0.0..=1.0, " (anomaly map value)");
    let key = chosen(&mut rules, section, &own.min_area_px, &line.min_area_px);
    let min_area_px = rules.bounded(key, "min_area_px", 25, 1..=u32::MAX, " pixels");
    let key = chosen(&mut rules, section, &own.regions, &line.regions);
    let regions = value(key).unwrap_or_default();
    let version = value(&own.version).or(value(&line.version)).unwrap_or(1);
    // With a stand-in for what is missing or wrong, which has been said.
    let info = RecipeInfo { id: id.clone().unwrap_or_else(|| "recipe".into()), version };
    let recipe =
        RecipeSpec { info, threshold, defect_threshold: defect_threshold.unwrap_or(0.5), min_area_px, regions };
    // The rule of recipes that come by command and of those that were kept: what starts can be kept and changed.
    match recipe.check() {
        Ok(()) => {}
        // Each polygon that is wrong has its own mistake.
        Err(error @ RecipeError::Polygons { .. }) => {
            for RegionsMistake { region, text } in regions_mistakes(&recipe.regions) {
                match region {
                    Some(region) => rules.wrong(key.as_ref(), &format!("regions[{region}]"), text),
                    None => rules.wrong(key.as_ref(), "regions", error.to_string()),
                }
            }
        }
        Err(error) => rules.wrong(key.as_ref(), "regions", error.to_string()),
    }
    required?;
    id?;
    defect_threshold?;
    if let Some([width, height]) = value(&raw.frame_size)
        && let Err(error) = recipe.fits(width, height)
    {
        rules.wrong(key.as_ref(), "regions", error.to_string());
    }
    Some(recipe)
}

fn source(kind: &RawKind, frame_size: Option<[u32; 2]>, base: &Path, rules: &mut Rules<'_>) -> Option<SourceConfig> {
    const SIDE: std::ops::RangeInclusive<u32> = 16..=32_768;
    Some(match kind {
        RawKind::Directory(raw) => SourceConfig::Directory(DirectorySpec {
            path: base.join(rules.required(&raw.path, "path", "name a folder of images")?),
            extensions: value(&raw.extensions).unwrap_or_default(),
            recursive: value(&raw.recursive).unwrap_or(false),
            repeat: value(&raw.repeat).unwrap_or(false),
            fps: rules.bounded_option(&raw.fps, "fps", 0.001..=1000.0, " frames per second"),
            watch: value(&raw.watch).unwrap_or(false),
            memory: None,
        }),
        RawKind::V4l2(raw) => SourceConfig::V4l2(V4l2Spec {
            device: rules.required(&raw.device, "device", "name a device such as /dev/video0")?,
            width: rules.bounded_option(&raw.width, "width", SIDE, " pixels"),
            height: rules.bounded_option(&raw.height, "height", SIDE, " pixels"),
            fps: rules.bounded_option(&raw.fps, "fps", 1..=1000, " frames per second"),
            format: value(&raw.format),
        }),
        RawKind::Rtsp(raw) => {
            let url = rules.required(&raw.url, "url", "write url = \"rtsp://HOST/PATH\"")?;
            let scheme = ["rtsp://", "rtsps://"].iter().find_map(|scheme| url.strip_prefix(scheme));
            match scheme {
                None => rules.wrong(raw.url.as_ref(), "url", "the scheme must be rtsp:// or rtsps://".into()),
                Some(rest) if rest.split('/').next().unwrap_or_default().contains('@') => {
                    let message = "a user does not belong into the URL; use username and password_file";
                    rules.wrong(raw.url.as_ref(), "url", message.into());
                }
                Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                    rules.wrong(raw.url.as_ref(), "url", "names no host; allowed: rtsp://HOST[:PORT]/PATH".into());
                }
                Some(_) => {}
            }
            let transport = value(&raw.transport).unwrap_or_else(|| "tcp".into());
            if !["tcp", "udp"].contains(&transport.as_str()) {
                let message = format!("\"{transport}\" is no transport; allowed: tcp, udp");
                rules.wrong(raw.transport.as_ref(), "transport", message);
            }
            let spec = RtspSpec {
                url,
                latency_ms: rules.bounded(&raw.latency_ms, "latency_ms", 100, 0..=60_000, " milliseconds"),
                transport: if transport == "udp" { RtspTransport::Udp } else { RtspTransport::Tcp },
                user: value(&raw.username),
                password: None,
            };
            SourceConfig::Rtsp(spec, value(&raw.password_file).map(|file| password_place(&file, base)))
        }
        RawKind::Aravis(raw) => SourceConfig::Aravis(super::aravis::resolve(raw, SIDE, rules)?),
        RawKind::File(raw) => SourceConfig::File(FileSpec {
            path: base.join(rules.required(&raw.path, "path", "name a video file")?),
            repeat: value(&raw.repeat).unwrap_or(false),
            realtime: value(&raw.realtime).unwrap_or(true),
        }),
        RawKind::Launch(raw) => {
            SourceConfig::Launch(rules.required(&raw.description, "description", "write a gst-launch-1.0 pipeline")?)
        }
        RawKind::Synthetic(raw) => SourceConfig::Synthetic(super::synthetic::resolve(raw, frame_size, base, rules)?),
    })
}

/// Adds a mistake for every file or folder that is named and not there. Memories are kept as they were read: each file once,
/// however many cameras name it.
pub fn look_for_files(raw: &RawLine, config: &mut LineConfig, report: &mut Report) {
    let at = |key: &Key<PathBuf>| key.as_ref().map(|key| key.span().start);
    let bundle = &config.engine.bundle;
    if !bundle.is_dir() {
        let message = format!("no folder at {}; make it with `vcp-line model import`", bundle.display());
        report.add(at(&raw.model.bundle), "model.bundle", message);
    }
    super::mqtt::look_for_files(&raw.mqtt, &config.mqtt, report);
    if let Some(HttpConfig { token_file: Some(file), .. }) = &config.http
        && let Err(error) = secret::read_token(file)
    {
        report.add(at(&raw.http.token_file), "http.token_file", error.to_string());
    }
    if let Some(file) = config.http.as_ref().and_then(|http| http.texts.as_ref()).filter(|file| !file.is_file()) {
        let message = format!("no file at {}; write one, or leave it out for English and German", file.display());
        report.add(at(&raw.http.texts), "http.texts", message);
    }
    if let Some(folder) = config.self_test.as_ref().map(|test| &test.directory).filter(|folder| !folder.is_dir()) {
        let message = format!("no folder at {}; make it with `vcp-line archive DIR export`", folder.display());
        report.add(raw.self_test.as_ref().and_then(|test| at(&test.directory)), "self_test.directory", message);
    }
    let mut memories: BTreeMap<PathBuf, Result<Arc<Memory>, String>> = BTreeMap::new();
    for (raw_camera, camera) in raw.cameras.iter().zip(&mut config.cameras) {
        if let (Some(raw), Some(settings)) = (&raw_camera.locate, &camera.locate) {
            camera.plan.locate = super::locate::look_for_file(raw, settings, &camera.plan.name, report);
        }
        let mut add = |own: &Key<PathBuf>, shared: &Key<PathBuf>, key: &str, message: String| match own.is_some() {
            true => report.add(at(own), &format!("camera '{}'.{key}", camera.plan.name), message),
            false => report.add(at(shared), key, message),
        };
        let (own, shared) = (&raw_camera.recipe, &raw.recipe);
        if let Some(Err(error)) = camera.calibration.as_deref().map(Baseline::read) {
            add(&own.calibration, &shared.calibration, "recipe.calibration", error.to_string());
        }
        let Some(file) = &camera.memory else { continue };
        let read = || Memory::read(file).map(Arc::new).map_err(|error| error_chain::one_line(&error));
        match memories.entry(file.clone()).or_insert_with(read) {
            Ok(memory) => camera.plan.memory = Some(Arc::clone(memory)),
            Err(error) => add(&own.memory, &shared.memory, "recipe.memory", error.clone()),
        }
    }
    for (raw, camera) in raw.cameras.iter().zip(&config.cameras) {
        let key = |key: &str| format!("camera '{}'.{key}", camera.plan.name);
        match (&raw.kind, &camera.source) {
            // A watched one may be mounted later.
            (Some(RawKind::Directory(raw)), SourceConfig::Directory(DirectorySpec { path, watch: false, .. }))
                if !path.is_dir() =>
            {
                report.add(
                    at(&raw.path),
                    &key("path"),
                    format!("no folder at {}; name one with images", path.display()),
                );
            }
            (Some(RawKind::File(raw)), SourceConfig::File(FileSpec { path, .. })) if !path.is_file() => {
                report.add(at(&raw.path), &key("path"), format!("no file at {}; name a video file", path.display()));
            }
            (Some(RawKind::Rtsp(raw)), SourceConfig::Rtsp(_, Some(file))) => {
                if let Err(error) = secret::read(file) {
                    report.add(at(&raw.password_file), &key("password_file"), error.to_string());
                }
            }
            _ => {}
        }
    }
}

//! From resolved settings to the parts that run: every adapter's spec is filled in here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::activity::Pupils;
use super::commands::CommandSpec;
use super::error::ServiceError;
use super::folders;
use super::kept::KeptRecipes;
use super::pictures;
use super::self_test::SelfTestSpec;
use super::snapshot::Snapshots;
use super::spec::{EngineMaker, OwedFile, Service};
use super::ways_in::Ask;
use crate::clock::{Clock, SystemClock};
use crate::config::{self, CameraConfig, LineConfig, SecretError, SourceConfig};
use crate::engine;
use crate::line::{CameraPlan, SourceOpener};
use crate::memory::Memory;
use crate::publish::sparkplug::SparkplugSpec;
use crate::publish::{Credentials, PublisherSpec};
use crate::source::directory::{DirectorySource, DirectorySpec};
use crate::source::gstreamer_spec::{GStreamerInput, GStreamerSpec, RtspSpec};
use crate::source::levels::{First, Levelled, LevelsSpec};
use crate::source::synthetic::{SyntheticSource, SyntheticSpec};
use crate::source::{self, Source, SourceContext};
use crate::web::{Texts, WebSpec};

/// A source of any adapter, described.
#[derive(Clone)]
pub enum SourceSpec {
    /// Image files in a folder.
    Directory(DirectorySpec),
    /// Whatever GStreamer opens.
    GStreamer(GStreamerSpec),
    /// Products that the program paints.
    Synthetic(SyntheticSpec),
}

/// Everything a start needs. Reads passwords, and gives every camera the recipe that came by command in an earlier start.
pub fn service(config: &mut LineConfig) -> Result<Service, ServiceError> {
    // First, because it gives recipes to the cameras.
    let ask = ask(config)?;
    let mut files = Vec::new();
    let publisher = publisher(config)?;
    // One for all connections.
    let sparkplug = sparkplug(config)?.map(|mut sparkplug| {
        sparkplug.connection.live = publisher.live.clone();
        sparkplug
    });
    Ok(Service {
        line: config.name.clone(),
        cameras: cameras(config, &mut files)?,
        engine: engine(config.engine.clone()),
        publisher,
        ask,
        sparkplug,
        traces: config.traces.clone(),
        archive: config.archive.clone(),
        stop_deadline: config.stop_deadline,
        files,
        reread: None,
        watched: None,
    })
}

/// Where a camera's frames come from; reads the password of a network camera.
pub fn source(camera: &CameraConfig) -> Result<SourceSpec, SecretError> {
    let input = match camera.source.clone() {
        SourceConfig::Directory(spec) => return Ok(SourceSpec::Directory(spec)),
        SourceConfig::Synthetic(spec) => return Ok(SourceSpec::Synthetic(spec)),
        SourceConfig::V4l2(spec) => GStreamerInput::V4l2(spec),
        SourceConfig::Rtsp(spec, file) => {
            GStreamerInput::Rtsp(RtspSpec { password: file.as_deref().map(config::secret::read).transpose()?, ..spec })
        }
        SourceConfig::Aravis(spec) => GStreamerInput::Aravis(spec),
        SourceConfig::File(spec) => GStreamerInput::File(spec),
        SourceConfig::Launch(description) => GStreamerInput::Launch { description },
    };
    Ok(SourceSpec::GStreamer(GStreamerSpec::new(input)))
}

/// Who a source speaks for.
pub fn context(camera: &CameraPlan) -> SourceContext {
    SourceContext { camera: Arc::clone(&camera.name), clock: Arc::new(SystemClock) as Arc<dyn Clock> }
}

/// Folder of levels that were taken, in the line's state directory.
const LEVELS: &str = "levels";

/// What is known of a camera's levels before it is opened; `state` is where the line keeps what must outlast it.
pub fn levels(camera: &CameraConfig, state: Option<&Path>) -> LevelsSpec {
    let file = state.map(|state| state.join(LEVELS).join(format!("{}.json", camera.plan.name)));
    LevelsSpec { set: camera.levels.clone().map(Arc::new), file, ..LevelsSpec::default() }
}

/// How to open (and later reopen) a source.
pub fn opener(spec: SourceSpec, context: SourceContext, levels: LevelsSpec) -> SourceOpener {
    Box::new(move || {
        let (inner, first): (Box<dyn Source>, First) = match spec.clone() {
            SourceSpec::Directory(spec) => {
                // What a folder shows is remembered file by file: nothing of it may wait.
                let first = DirectorySpec { memory: None, watch: false, repeat: false, fps: None, ..spec.clone() };
                let first = DirectorySource::open(first, context.clone()).ok().map(|first| Box::new(first) as _);
                (Box::new(DirectorySource::open(spec, context.clone())?), First::Beforehand(first))
            }
            SourceSpec::GStreamer(spec) => (source::gstreamer::open(spec, context.clone())?, First::AsTheyCome),
            SourceSpec::Synthetic(spec) => (Box::new(SyntheticSource::open(spec, context.clone())?), First::AsTheyCome),
        };
        Ok(Box::new(Levelled::over(inner, levels.clone(), &context, first)?) as Box<dyn Source>)
    })
}

/// Who may ask what; gives every camera the recipe that came by command in an earlier start. Reads the API's token.
fn ask(config: &mut LineConfig) -> Result<Ask, ServiceError> {
    let commands = &config.commands;
    for camera in &mut config.cameras {
        if let (Some(file), None) = (&camera.memory, &camera.plan.memory) {
            let named = |source| ServiceError::Memory { camera: camera.plan.name.to_string(), source };
            camera.plan.memory = Some(Arc::new(Memory::read(file).map_err(named)?));
        }
        if let Some(about) = camera.plan.memory.as_ref().map(|memory| memory.about()) {
            tracing::info!(camera = %camera.plan.name, memory = about.id, parts = about.parts, "memory of good parts");
        }
        pictures::configure(camera, commands.directory.as_deref());
    }
    for camera in &mut config.cameras {
        if let (Some(settings), None) = (&camera.locate, &camera.plan.locate) {
            let named = |source| ServiceError::Locate { camera: camera.plan.name.to_string(), source };
            camera.plan.locate = Some(settings.plan().map_err(named)?);
        }
    }
    let mut plans: Vec<&mut CameraPlan> = config.cameras.iter_mut().map(|camera| &mut camera.plan).collect();
    let kept = KeptRecipes::open(commands.directory.as_deref(), &mut plans);
    let http = config.http.as_ref().map(|http| {
        let token = http.token_file.as_deref().map(config::secret::read_token).transpose();
        let token = token.map_err(|source| ServiceError::SecretOf { of: "http.token_file".into(), source })?;
        let texts = http.texts.as_deref().map(Texts::read).transpose()?.unwrap_or_default();
        Ok::<_, ServiceError>(WebSpec { listen: http.listen, token, hosts: http.hosts.clone(), texts })
    });
    let snapshots = commands.snapshots.clone().map(Snapshots::new);
    let max_age = commands.max_age;
    let pupils = Pupils::new(commands.directory.clone());
    let self_test = config.self_test.as_ref();
    let self_test = self_test.map(|test| SelfTestSpec { directory: test.directory.clone(), every: test.every });
    let spec = CommandSpec {
        max_age,
        snapshots,
        kept,
        pupils,
        reread: None,
        library: Some(commands.recipes.clone()),
        self_test,
    };
    Ok(Ask { commands: spec, mqtt: commands.mqtt, http: http.transpose()? })
}

/// The line's cameras with their openers; the files of those that watch folders are added.
fn cameras(config: &LineConfig, files: &mut Vec<OwedFile>) -> Result<Vec<(CameraPlan, SourceOpener)>, ServiceError> {
    let camera = |camera: &CameraConfig| {
        let (open, owed) = opening(config, camera)?;
        files.extend(owed);
        Ok((camera.plan.clone(), open))
    };
    config.cameras.iter().map(camera).collect()
}

/// How to open this camera, and the files that it may owe from an earlier start.
pub fn opening(config: &LineConfig, camera: &CameraConfig) -> Result<(SourceOpener, Vec<OwedFile>), ServiceError> {
    let mut files = Vec::new();
    let of = || format!("camera '{}'", camera.plan.name);
    let mut spec = source(camera).map_err(|source| ServiceError::SecretOf { of: of(), source })?;
    if let SourceSpec::Directory(spec) = &mut spec {
        let (state, outbox) = (config.commands.directory.as_deref(), &config.outbox.directory);
        files.extend(folders::remember(spec, &camera.plan.name, camera.plan.trigger.mode, state, outbox));
    }
    let levels = levels(camera, config.commands.directory.as_deref());
    Ok((opener(spec, context(&camera.plan), levels), files))
}

/// How to open the engine.
pub fn engine(spec: engine::EngineSpec) -> EngineMaker {
    Box::new(move |tell| Box::new(move || engine::open_telling(&spec, &*tell)))
}

/// Where verdicts go; reads the broker's password.
pub fn publisher(config: &LineConfig) -> Result<PublisherSpec, SecretError> {
    let mqtt = &config.mqtt;
    let mut spec = PublisherSpec::new(&mqtt.host, mqtt.port, &config.name);
    spec.tls.clone_from(&mqtt.tls);
    spec.version = mqtt.version;
    spec.session_expiry = mqtt.session_expiry;
    spec.verdict_expiry = mqtt.verdict_expiry;
    spec.prefix.clone_from(&mqtt.prefix);
    spec.client_id.clone_from(&mqtt.client_id);
    spec.keep_alive = mqtt.keep_alive;
    spec.backoff_min = mqtt.reconnect_min;
    spec.backoff_max = mqtt.reconnect_max;
    spec.max_queue = mqtt.max_queue;
    spec.outbox = Some(config.outbox.clone());
    if let Some((user, file)) = &mqtt.user {
        let password = file.as_deref().map(config::secret::read).transpose()?;
        spec.credentials = Some(Credentials { user: user.clone(), password });
    }
    Ok(spec)
}

/// Where verdicts go as Sparkplug B besides: the same broker, on a connection of its own.
fn sparkplug(config: &LineConfig) -> Result<Option<SparkplugSpec>, SecretError> {
    let Some(sparkplug) = &config.sparkplug else { return Ok(None) };
    let mut connection = publisher(config)?;
    connection.client_id.push_str("-sparkplug");
    // systemd's folder for this line; without one every start counts its connections from 0.
    let folder = std::env::var_os("STATE_DIRECTORY").map(PathBuf::from);
    Ok(Some(SparkplugSpec {
        connection,
        group: sparkplug.group.clone(),
        node: sparkplug.node.clone(),
        primary_host: sparkplug.primary_host.clone(),
        max_stored: sparkplug.max_stored,
        bd_seq_file: folder.map(|folder| folder.join("sparkplug-bdseq")),
    }))
}

//! From resolved settings to the parts that run: every adapter's spec is filled in here.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use crate::clock::{Clock, SystemClock};
use crate::config::{self, CameraConfig, LineConfig, SourceConfig};
use crate::engine;
use crate::line::{CameraPlan, EngineOpener, SourceOpener};
use crate::publish::{Credentials, PublisherSpec};
use crate::secret::Secret;
use crate::source::directory::{DirectorySource, DirectorySpec};
use crate::source::gstreamer_spec::{GStreamerInput, GStreamerSpec, RtspSpec};
use crate::source::synthetic::{SyntheticSource, SyntheticSpec};
use crate::source::{self, Source, SourceContext};

/// A source of any adapter, described.
#[derive(Clone)]
pub enum SourceSpec {
    Directory(DirectorySpec),
    GStreamer(GStreamerSpec),
    Synthetic(SyntheticSpec),
}

fn password(path: &Path) -> anyhow::Result<Secret> {
    Ok(config::secret::read(path)?)
}

/// Where a camera's frames come from; reads the password of a network camera.
pub fn source(camera: &CameraConfig) -> anyhow::Result<SourceSpec> {
    let input = match camera.source.clone() {
        SourceConfig::Directory(spec) => return Ok(SourceSpec::Directory(spec)),
        SourceConfig::Synthetic(spec) => return Ok(SourceSpec::Synthetic(spec)),
        SourceConfig::V4l2(spec) => GStreamerInput::V4l2(spec),
        SourceConfig::Rtsp(spec, file) => {
            GStreamerInput::Rtsp(RtspSpec { password: file.as_deref().map(password).transpose()?, ..spec })
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

/// How to open (and later reopen) a source.
pub fn opener(spec: SourceSpec, context: SourceContext) -> SourceOpener {
    Box::new(move || match spec.clone() {
        SourceSpec::Directory(spec) => Ok(Box::new(DirectorySource::open(spec, context.clone())?) as Box<dyn Source>),
        SourceSpec::GStreamer(spec) => source::gstreamer::open(spec, context.clone()),
        SourceSpec::Synthetic(spec) => Ok(Box::new(SyntheticSource::open(spec, context.clone())?) as Box<dyn Source>),
    })
}

/// The line's cameras with their openers.
pub fn cameras(config: &LineConfig) -> anyhow::Result<Vec<(CameraPlan, SourceOpener)>> {
    let camera = |camera: &CameraConfig| {
        let spec = source(camera).with_context(|| format!("camera '{}'", camera.plan.name))?;
        Ok((camera.plan.clone(), opener(spec, context(&camera.plan))))
    };
    config.cameras.iter().map(camera).collect()
}

/// How to open the engine, given whom to tell of work that takes minutes and of its end (an empty text).
pub type EngineMaker = Box<dyn FnOnce(Box<dyn Fn(&str) + Send>) -> EngineOpener>;

/// How to open the engine.
pub fn engine(spec: engine::EngineSpec) -> EngineMaker {
    Box::new(move |tell| Box::new(move || engine::open_telling(&spec, &*tell)))
}

/// Where verdicts go; reads the broker's password.
pub fn publisher(config: &LineConfig) -> anyhow::Result<PublisherSpec> {
    let mqtt = &config.mqtt;
    let mut spec = PublisherSpec::new(&mqtt.host, mqtt.port, &config.name);
    spec.prefix.clone_from(&mqtt.prefix);
    spec.client_id.clone_from(&mqtt.client_id);
    spec.keep_alive = mqtt.keep_alive;
    spec.backoff_min = mqtt.reconnect_min;
    spec.backoff_max = mqtt.reconnect_max;
    spec.max_queue = mqtt.max_queue;
    if let Some((user, file)) = &mqtt.user {
        spec.credentials = Some(Credentials { user: user.clone(), password: password(file)? });
    }
    Ok(spec)
}

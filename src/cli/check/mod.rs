//! `vcp-line check`: everything a line needs, tried one after the other; what is wrong and what to do.

pub mod as_service;
mod findings;
mod pace;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use super::failure::Said;
use super::terminal::say;
use super::{archive, outbox};
use crate::config::{self, LineConfig, SecretError};
use crate::engine::{self, Engine, EngineError};
use crate::frame::Image;
use crate::line::locating::{LocateSettings, Missing};
use crate::output;
use crate::publish::{self, PublisherSpec};
use crate::service::Snapshots;
use crate::service::plan::{self, SourceSpec};
use crate::source::directory::DirectorySource;
use crate::source::levels::{Glance, LevelsSpec};
use crate::source::synthetic::SyntheticSource;
use crate::source::{self, Source};
use crate::synth::Conveyor;
use crate::view::locate::Pose;
use crate::web;
use crate::weights::bundle::Bundle;
use as_service::Difference;
use findings::Findings;

#[derive(Args)]
pub struct CheckArguments {
    /// The line's settings.
    #[arg(value_name = "LINE.toml")]
    line: PathBuf,
    /// Only what cannot mend itself: settings and model. A camera or broker that is away is no reason not to start, and
    /// the engine is opened by the start itself. What the systemd unit runs before the service.
    #[arg(long)]
    before_start: bool,
    /// One JSON object: `checks`, each with `name`, `ok` and `detail`, and `ready`.
    #[arg(long, conflicts_with = "before_start")]
    json: bool,
}

pub fn run(arguments: &CheckArguments) -> anyhow::Result<()> {
    if arguments.before_start {
        let mut found = Findings::new(false);
        let opened = Opened::open(arguments, &mut found).map_err(|(_, error)| error);
        return opened.map(drop);
    }
    let other = as_service::difference(&arguments.line);
    if let Some(other) = other.as_ref().filter(|other| other.can_be_closed()) {
        if !arguments.json {
            say!("note  checked as the service runs, with its {}", other.missing.join(", "));
        }
        return match other.check_as_service(arguments.json).context("systemd-run could not be started")? {
            0 => Ok(()),
            code => Err(Said { code }.into()),
        };
    }
    if let Some(other) = other.as_ref().filter(|_| !arguments.json) {
        let Difference { missing, command, .. } = other;
        say!("note  not checked as the service runs, which has another {}; as the service:", missing.join(", "));
        if other.needs_the_bus() {
            // Debian 12 installs one without starting it before the next boot.
            say!("      (which needs a system bus: apt-get install dbus && systemctl start dbus.socket)");
        }
        say!("      {command}");
    }
    let mut found = Findings::new(arguments.json);
    match Opened::open(arguments, &mut found) {
        Err((check, error)) => {
            found.stopped_by(check, &error);
            found.end(other.as_ref())?;
            Err(error)
        }
        Ok(opened) => {
            opened.try_each(&mut found);
            found.end(other.as_ref())?;
            found.result()
        }
    }
}

/// What the settings name, readable and whole.
struct Opened {
    config: LineConfig,
    publisher: PublisherSpec,
    sources: Vec<SourceSpec>,
}

impl Opened {
    /// What cannot mend itself; an error with the check that it ends.
    fn open(arguments: &CheckArguments, found: &mut Findings) -> Result<Self, (&'static str, anyhow::Error)> {
        let settings = |error: anyhow::Error| ("settings", error);
        let config = config::load(&arguments.line).map_err(|error| settings(error.into()))?;
        found.tell("settings", Ok(format!("line '{}', cameras: {}", config.name, config.cameras.len())));
        let publisher = plan::publisher(&config).map_err(|error| settings(error.into()))?;
        let sources: Result<_, SecretError> = config.cameras.iter().map(plan::source).collect();
        let sources = sources.map_err(|error| settings(error.into()))?;
        let bundle = Bundle::open(&config.engine.bundle).map_err(|error| ("model", EngineError::from(error).into()))?;
        found.tell("model", Ok(format!("{} ({})", bundle.manifest().name, config.engine.bundle.display())));
        Ok(Self { config, publisher, sources })
    }

    /// Tries everything that the line would open, and leaves nothing behind.
    fn try_each(self, found: &mut Findings) {
        let Self { config, publisher, sources } = self;
        let mut sizes = Vec::new();
        for (camera, spec) in config.cameras.iter().zip(sources) {
            let levels = plan::levels(camera, config.commands.directory.as_deref());
            let looked = look(camera, spec, &levels).map(|(said, size)| {
                sizes.extend(size.map(|size| (&camera.plan, size)));
                said
            });
            found.tell(&format!("camera {}", camera.plan.name), looked);
        }
        let broker = publish::probe(&publisher).map(|()| publisher.address());
        found.tell("broker", broker.map_err(Into::into));
        found.tell("outbox", outbox::look(&config.outbox));
        if let Some(archive) = &config.archive {
            found.tell("archive", archive::look(archive));
        }
        if let Some(http) = &config.http {
            let texts = http.texts.as_deref().map(web::Texts::read).transpose();
            found.tell("API", texts.and_then(|_| web::probe(http.listen)).map_err(Into::into));
        }
        if let Some(folder) = &config.commands.snapshots {
            found.tell("snapshots", Snapshots::look(folder).map_err(Into::into));
        }
        match try_engine(&config) {
            Ok((said, engine)) => {
                found.tell("engine", Ok(said));
                let Some(mut engine) = engine else { return };
                for (plan, size) in sizes {
                    found.tell(&format!("time {}", plan.name), pace::told(engine.as_mut(), plan, size));
                }
            }
            Err(error) => found.tell("engine", Err(error)),
        }
    }
}

/// One frame from the camera, whether the regions of interest fit it, and its size where that is known.
fn look(
    camera: &config::CameraConfig,
    spec: SourceSpec,
    levels: &LevelsSpec,
) -> anyhow::Result<(String, Option<(u32, u32)>)> {
    let context = plan::context(&camera.plan);
    match spec {
        SourceSpec::Directory(spec) => {
            let path = spec.path.clone();
            let mut source = DirectorySource::open(spec, context)?;
            let frame = source
                .next(Duration::from_secs(1))?
                .context("the folder holds no image yet; put one there, so that it can be tried")?;
            let mut glance = Glance::default();
            glance.add(&frame.image);
            glance.look(&mut source, Duration::from_secs(1));
            source.stop();
            let (width, height) = (frame.image.width, frame.image.height);
            camera.plan.recipe.fits(width, height)?;
            let told = glance.told(levels).map_err(anyhow::Error::msg)?;
            let found = finds(camera, (width, height), Some(&frame.image))?;
            let said = format!("{}: {width}x{height} {:?}{told}{found}", path.display(), frame.image.format);
            Ok((said, Some((width, height))))
        }
        SourceSpec::GStreamer(spec) => {
            let probe = source::gstreamer::probe(spec, context)?;
            let mut found = String::new();
            if let Some((width, height)) = probe.size {
                camera.plan.recipe.fits(width, height)?;
                found = finds(camera, (width, height), None)?;
            }
            let told = probe.glance.told(levels).map_err(anyhow::Error::msg)?;
            Ok((format!("{}{told}{found}", probe.description), probe.size))
        }
        SourceSpec::Synthetic(mut spec) => {
            if spec.truth_file.as_ref().is_some_and(|file| !file.exists() && output::check_file(file).is_ok()) {
                // It can be made, and the line makes it.
                spec.truth_file = None;
            }
            let Conveyor { classes, size, frames, .. } = &spec.conveyor;
            let (width, height) = frames.map_or((*size, *size), |frames| (frames.width, frames.height));
            let kinds = classes.len();
            let said = format!("synthetic: {width}x{height} {}, {kinds} kinds of products", spec.pixel_format);
            camera.plan.recipe.fits(width, height)?;
            let found = finds(camera, (width, height), None)?;
            SyntheticSource::probe(&spec, &context)?;
            Ok((said + &found, Some((width, height))))
        }
    }
}

/// What is said of how the camera finds its parts, and where the one in this frame lies. Errors where frames of this size are not
/// those that it was taught with; that a frame shows no part is none.
fn finds(camera: &config::CameraConfig, size: (u32, u32), image: Option<&Image>) -> anyhow::Result<String> {
    let (Some(plan), Some(settings)) = (&camera.plan.locate, &camera.locate) else { return Ok(String::new()) };
    plan.locator.fits(size).context("[camera.locate]")?;
    let LocateSettings { rectangle: [_, _, width, height], shift_px, turn_degrees, missing, .. } = settings;
    let otherwise = match missing {
        Missing::NoVerdict => "no_verdict (part_not_found)",
        Missing::Fail => "fail",
    };
    let mut said = format!(
        "; looks for a part of {width}x{height} pixels within {shift_px} px and {turn_degrees} degrees, else {otherwise}"
    );
    let Some(image) = image else { return Ok(said) };
    let begin = Instant::now();
    match plan.locator.find(image).context("[camera.locate]")? {
        Some(Pose { dx, dy, degrees, score }) => {
            let took = begin.elapsed().as_secs_f64() * 1e3;
            said.push_str(&format!(
                "; here it is {dx:+.1}, {dy:+.1} px and {degrees:+.2} degrees off, score {score:.2}, found in {took:.1} ms"
            ));
        }
        None => said.push_str("; this frame does not show it"),
    }
    Ok(said)
}

/// Opens the engine; none where the start builds its plan.
fn try_engine(config: &LineConfig) -> anyhow::Result<(String, Option<Box<dyn Engine>>)> {
    let start = Instant::now();
    let mut spec = config.engine.clone();
    // A plan is built by the start; here nothing is written.
    let builds = std::mem::replace(&mut spec.plan.rebuild, false);
    let engine = match engine::open(&spec) {
        Err(EngineError::Plan(error)) if builds => return Ok((format!("{error}: the start builds a plan"), None)),
        opened => opened?,
    };
    let info = engine.info();
    let said = format!(
        "{} {}, {2}x{2}, opened in {3:.1} s",
        info.engine,
        info.precision,
        info.image_size,
        start.elapsed().as_secs_f64()
    );
    Ok((said, Some(engine)))
}

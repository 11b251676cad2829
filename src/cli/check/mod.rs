//! `vcp-line check`: everything a line needs, tried one after the other; what is wrong and what to do.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::Args;

use super::failure::{self, ChecksFailed};
use super::outbox;
use crate::cli::terminal::say;
use crate::config::{self, LineConfig};
use crate::engine::{self, EngineError};
use crate::error_chain;
use crate::publish;
use crate::service::Snapshots;
use crate::service::plan::{self, SourceSpec};
use crate::source::directory::DirectorySource;
use crate::source::synthetic::SyntheticSource;
use crate::source::{self, Source};
use crate::synth::Conveyor;
use crate::web;
use crate::weights::bundle::Bundle;

#[derive(Args)]
pub struct CheckArguments {
    /// The line's settings.
    #[arg(value_name = "LINE.toml")]
    line: PathBuf,
    /// Only what cannot mend itself: settings and model. A camera or broker that is away is no reason not to start, and
    /// the engine is opened by the start itself. What the systemd unit runs before the service.
    #[arg(long)]
    before_start: bool,
}

pub fn run(arguments: &CheckArguments) -> anyhow::Result<()> {
    let config = config::load(&arguments.line)?;
    say!("ok    settings     line '{}', cameras: {}", config.name, config.cameras.len());
    let publisher = plan::publisher(&config)?;
    let sources: Vec<SourceSpec> = config.cameras.iter().map(plan::source).collect::<Result<_, _>>()?;
    let bundle = Bundle::open(&config.engine.bundle).map_err(EngineError::from)?;
    say!("ok    model        {} ({})", bundle.manifest().name, config.engine.bundle.display());
    drop(bundle);
    if arguments.before_start {
        return Ok(());
    }

    let mut found = ChecksFailed { failed: 0, configuration: false };
    let mut tell = |what: &str, result: anyhow::Result<String>| match result {
        Ok(found) => say!("ok    {what:12} {found}"),
        Err(error) => {
            found.failed += 1;
            found.configuration |= failure::exit_code(&error) == failure::EXIT_CONFIG;
            say!("FAIL  {what:12} {}", error_chain::one_line(error.as_ref()));
        }
    };
    for (camera, spec) in config.cameras.iter().zip(sources) {
        tell(&format!("camera {}", camera.plan.name), look(camera, spec));
    }
    let broker = publish::probe(&publisher).map(|()| publisher.address());
    tell("broker", broker.map_err(Into::into));
    tell("outbox", outbox::look(&config.outbox));
    if let Some(http) = &config.http {
        tell("API", web::probe(http.listen).map_err(Into::into));
    }
    if let Some(folder) = &config.commands.snapshots {
        tell("snapshots", Snapshots::look(folder).map_err(Into::into));
    }
    tell("engine", try_engine(&config));
    if found.failed > 0 {
        return Err(found.into());
    }
    Ok(())
}

/// One frame from the camera, and whether the regions of interest fit it.
fn look(camera: &config::CameraConfig, spec: SourceSpec) -> anyhow::Result<String> {
    let context = plan::context(&camera.plan);
    match spec {
        SourceSpec::Directory(spec) => {
            let path = spec.path.clone();
            let mut source = DirectorySource::open(spec, context)?;
            let frame = source
                .next(std::time::Duration::from_secs(1))?
                .context("the folder holds no image yet; put one there, so that it can be tried")?;
            source.stop();
            let (width, height) = (frame.image.width, frame.image.height);
            camera.plan.recipe.fits(width, height)?;
            Ok(format!("{}: {width}x{height} {:?}", path.display(), frame.image.format))
        }
        SourceSpec::GStreamer(spec) => {
            let probe = source::gstreamer::probe(spec, context)?;
            if let Some((width, height)) = probe.size {
                camera.plan.recipe.fits(width, height)?;
            }
            Ok(probe.description)
        }
        SourceSpec::Synthetic(spec) => {
            let Conveyor { classes, size, .. } = &spec.conveyor;
            let said = format!("synthetic: {size}x{size} Rgb8, {} kinds of products", classes.len());
            camera.plan.recipe.fits(*size, *size)?;
            SyntheticSource::probe(&spec, &context)?;
            Ok(said)
        }
    }
}

/// Opens the engine and lets it look once.
fn try_engine(config: &LineConfig) -> anyhow::Result<String> {
    let start = Instant::now();
    let engine = engine::open(&config.engine)?;
    let info = engine.info();
    Ok(format!(
        "{} {}, {2}x{2}, opened in {3:.1} s",
        info.engine,
        info.precision,
        info.image_size,
        start.elapsed().as_secs_f64()
    ))
}

//! `vcp-line run`: the service.

use std::path::PathBuf;

use clap::Args;

use crate::config;
use crate::logging::Log;
use crate::service::{self, Reload, SettingsFile, plan};

#[derive(Args)]
pub struct RunArguments {
    /// The line's settings; `/usr/share/vcp-line/pipelines/reference.toml` explains every key.
    #[arg(value_name = "LINE.toml")]
    line: PathBuf,
}

pub fn run(arguments: &RunArguments, log: &Log) -> anyhow::Result<()> {
    let (mut config, text) = config::load_with_text(&arguments.line)?;
    let (stop, reread) = service::signals()?;
    let watched = config.commands.watch.then(|| SettingsFile::new(arguments.line.clone()));
    let mut service = plan::service(&mut config)?;
    let reload = Reload::new(arguments.line.clone(), text, config, &service.publisher);
    service.ask.commands.reread = Some(Box::new(reload));
    service.reread = Some(reread);
    service.watched = watched;
    service::serve(service, log, &stop)?;
    Ok(())
}

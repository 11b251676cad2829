//! `vcp-line run`: the service.

use std::path::PathBuf;

use clap::Args;

use crate::config;
use crate::logging::Log;
use crate::service::{self, plan};

#[derive(Args)]
pub struct RunArguments {
    /// The line's settings; `/usr/share/vcp-line/pipelines/reference.toml` explains every key.
    #[arg(value_name = "LINE.toml")]
    line: PathBuf,
}

pub fn run(arguments: &RunArguments, log: &Log) -> anyhow::Result<()> {
    let mut config = config::load(&arguments.line)?;
    let stop = service::stop_on_signal()?;
    service::serve(plan::service(&mut config)?, log, &stop)?;
    Ok(())
}

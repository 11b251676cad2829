//! `vcp-line train`: learn a CLIP from captions, and the VCP modules on a frozen CLIP.

mod clip;
mod vcp;
mod vcp_settings;

use std::path::Path;

use clap::Subcommand;
use tokio_util::sync::CancellationToken;

use super::interrupt::Interrupts;
use crate::learn::LearnError;
use crate::learn::vcp_run::CheckpointRequest;

#[derive(Subcommand)]
pub enum TrainCommand {
    /// Train a small CLIP from scratch on pictures with captions, such as `vcp-line synth` writes.
    Clip(Box<clip::ClipArguments>),
    /// Train the VCP modules on a frozen CLIP, from pictures with masks, and write a bundle.
    Vcp(Box<vcp::VcpArguments>),
}

/// Tells of a training that was stopped and kept, and ends the process as the signal would have.
pub(super) fn ended<T>(result: Result<T, LearnError>, interrupts: &Interrupts) -> anyhow::Result<T> {
    if let Err(stopped @ LearnError::Stopped { .. }) = &result {
        eprintln!("vcp-line: {stopped}");
        interrupts.end();
    }
    Ok(result?)
}

/// Where a training is kept, and who is asked to keep it before an interruption.
pub(super) fn checkpoint(
    folder: Option<&Path>,
    every: u64,
    resume: bool,
    interrupts: &Interrupts,
) -> Option<CheckpointRequest> {
    let folder = folder?.to_owned();
    interrupts
        .advise(format!("what was last kept in {} stands: go on with the same command and --resume", folder.display()));
    Some(CheckpointRequest { folder, every, resume, stop: CancellationToken::new() })
}

/// While steps are taken there is something to keep.
pub(super) fn stepping(kept: Option<&CheckpointRequest>, interrupts: &Interrupts) {
    interrupts.ask_first(kept.map(|kept| &kept.stop));
}

pub fn run(command: &TrainCommand, interrupts: &Interrupts) -> anyhow::Result<()> {
    match command {
        TrainCommand::Clip(arguments) => clip::run(arguments, interrupts),
        TrainCommand::Vcp(arguments) => vcp::run(arguments, interrupts),
    }
}

//! `vcp-line train`: learn a CLIP from captions, and the VCP modules on a frozen CLIP.

use clap::Subcommand;

use super::train_clip;

#[derive(Subcommand)]
pub enum TrainCommand {
    /// Train a small CLIP from scratch on pictures with captions, such as `vcp-line synth` writes.
    Clip(train_clip::ClipArguments),
}

pub fn run(command: &TrainCommand) -> anyhow::Result<()> {
    match command {
        TrainCommand::Clip(arguments) => train_clip::run(arguments),
    }
}

//! `vcp-line train`: learn a CLIP from captions, and the VCP modules on a frozen CLIP.

use clap::Subcommand;

use super::{train_clip, train_vcp};

#[derive(Subcommand)]
pub enum TrainCommand {
    /// Train a small CLIP from scratch on pictures with captions, such as `vcp-line synth` writes.
    Clip(Box<train_clip::ClipArguments>),
    /// Train the VCP modules on a frozen CLIP, from pictures with masks, and write a bundle.
    Vcp(Box<train_vcp::VcpArguments>),
}

pub fn run(command: &TrainCommand) -> anyhow::Result<()> {
    match command {
        TrainCommand::Clip(arguments) => train_clip::run(arguments),
        TrainCommand::Vcp(arguments) => train_vcp::run(arguments),
    }
}

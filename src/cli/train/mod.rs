//! `vcp-line train`: learn a CLIP from captions, and the VCP modules on a frozen CLIP.

mod checkpoint;
mod clip;
mod vcp;
mod vcp_settings;

use clap::Subcommand;

use super::interrupt::Interrupts;

#[derive(Subcommand)]
pub enum TrainCommand {
    /// Train a small CLIP from scratch on pictures with captions, such as `vcp-line synth` writes.
    Clip(Box<clip::ClipArguments>),
    /// Train the VCP modules on a frozen CLIP, from pictures with masks, and write a bundle.
    Vcp(Box<vcp::VcpArguments>),
}

pub fn run(command: &TrainCommand, interrupts: &Interrupts) -> anyhow::Result<()> {
    match command {
        TrainCommand::Clip(arguments) => clip::run(arguments, interrupts),
        TrainCommand::Vcp(arguments) => vcp::run(arguments, interrupts),
    }
}

//! `vcp-line manual`, for whoever makes a package: man pages and completions, from the same arguments that the program reads.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

#[derive(Args)]
pub struct ManualArguments {
    /// Folder for `man` and `completions`.
    #[arg(value_name = "FOLDER")]
    output: PathBuf,
}

pub fn run<A: CommandFactory>(arguments: &ManualArguments) -> anyhow::Result<()> {
    let (pages, completions) = (arguments.output.join("man"), arguments.output.join("completions"));
    for folder in [&pages, &completions] {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    clap_mangen::generate_to(A::command(), &pages).with_context(|| pages.display().to_string())?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut A::command(), "vcp-line", &completions)
            .with_context(|| completions.display().to_string())?;
    }
    Ok(())
}

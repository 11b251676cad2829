//! Starts `vcp-line`: parse the arguments, run one command, print what went wrong once, say so in the exit code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    vcp_line::cli::main(vcp_line::cli::Arguments::parse())
}

//! Starts `vcp-line`: the command line does the rest.

use std::process::ExitCode;

fn main() -> ExitCode {
    vcp_line::cli::main()
}

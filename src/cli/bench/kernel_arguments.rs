//! Options of `vcp-line bench kernels`, the same in a build without CUDA.

use std::path::PathBuf;

use clap::Args;

#[derive(Args)]
pub struct KernelArguments {
    /// Launches of which the medians are taken, each of 20 runs or more.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub launches: u32,
    /// Also write the figures as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

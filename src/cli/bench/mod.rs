//! `vcp-line bench`: latency per stage on this machine, as a Markdown table to paste where it is needed.

mod engine;
mod fleet;
mod kernel_arguments;
#[cfg_attr(not(feature = "cuda"), path = "kernels_absent.rs")]
mod kernels;
mod machine;
mod pipeline;
mod replay;
mod table;

use clap::{Args, Subcommand};

#[derive(Args)]
pub struct BenchArguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Capture to publish without a model: a live camera, the queue, regions, events, a broker inside.
    Pipeline(pipeline::PipelineArguments),
    /// A model on an engine: pre-processing, network, post-processing.
    Engine(engine::EngineBench),
    /// How many servers (`vcp-line serve`) a number of boxes needs: a formula and a simulation from measured times.
    Fleet(fleet::FleetBench),
    /// The CUDA kernels alone, at the published size on an NVIDIA GPU: time, share of the copy bandwidth, targets.
    Kernels(kernel_arguments::KernelArguments),
}

pub fn run(arguments: &BenchArguments) -> anyhow::Result<()> {
    match &arguments.what {
        What::Pipeline(arguments) => pipeline::run(arguments),
        What::Engine(arguments) => engine::run(arguments),
        What::Fleet(arguments) => fleet::run(arguments),
        What::Kernels(arguments) => kernels::run(arguments),
    }
}

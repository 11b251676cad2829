//! `vcp-line bench`: latency per stage on this machine, as a Markdown table to paste where it is needed.

#[cfg_attr(not(feature = "cuda"), path = "kernels_absent.rs")]
mod kernels;
mod pipeline;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, Subcommand};

use crate::cli::{EngineArguments, json_file};
use crate::clock::{Clock, ClockSource, SystemClock};
use crate::engine;
use crate::frame::{Frame, Image, PixelFormat};
use crate::line::stats::Histogram;
use pipeline::PipelineArguments;

/// Batches before the clock counts: TensorRT captures the second as a graph.
const WARM: usize = 3;

#[derive(Args)]
pub struct BenchArguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Capture to publish without a model: a live camera, the queue, regions, events, a broker inside.
    Pipeline(PipelineArguments),
    /// A model on an engine: pre-processing, network, post-processing.
    Engine(EngineBench),
    /// The CUDA kernels alone, at the published size on an NVIDIA GPU: time, share of the copy bandwidth, targets.
    Kernels(KernelArguments),
}

#[derive(Args)]
pub struct KernelArguments {
    /// Launches of which the medians are taken, each of 20 runs or more.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub launches: u32,
    /// Also write the figures as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

#[derive(Args)]
pub struct EngineBench {
    /// Model bundle.
    #[arg(long, value_name = "BUNDLE")]
    model: PathBuf,
    #[command(flatten)]
    engine: EngineArguments,
    /// Batches to measure, after three to warm up.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    frames: u32,
    /// Columns of the frames.
    #[arg(long, default_value_t = 1920, value_parser = clap::value_parser!(u32).range(1..=16384))]
    width: u32,
    /// Rows of the frames.
    #[arg(long, default_value_t = 1080, value_parser = clap::value_parser!(u32).range(1..=16384))]
    height: u32,
    /// Frames that the engine is given at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    batch: u16,
    /// Also write the medians as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub fn run(arguments: &BenchArguments) -> anyhow::Result<()> {
    match &arguments.what {
        What::Pipeline(arguments) => pipeline::run(arguments),
        What::Engine(arguments) => engine(arguments),
        What::Kernels(arguments) => kernels::run(arguments),
    }
}

fn engine(arguments: &EngineBench) -> anyhow::Result<()> {
    let batch = usize::from(arguments.batch);
    let spec = arguments.engine.spec(&arguments.model, batch);
    let start = Instant::now();
    let mut engine = engine::open(&spec)?;
    let opened = start.elapsed();
    let most = engine.info().max_batch;
    anyhow::ensure!(batch <= most, "the engine takes {most} frames at once; build a plan with --max-batch {batch}");
    let (width, height) = (arguments.width, arguments.height);
    let pixels = (0..width as usize * height as usize * 3).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8);
    let frame = Frame {
        camera: Arc::from("bench"),
        seq: 0,
        part: None,
        captured: SystemClock.now(),
        clock: ClockSource::System,
        image: Image::new(width, height, PixelFormat::Rgb8, pixels.collect())?,
    };
    let frames = vec![&frame; batch];
    for _ in 0..WARM {
        engine.infer(&frames).context("the first frames")?;
    }
    let mut stages = [Histogram::default(), Histogram::default(), Histogram::default(), Histogram::default()];
    for _ in 0..arguments.frames {
        let start = Instant::now();
        let predictions = engine.infer(&frames)?;
        let times = predictions.first().context("the engine gave no answer")?.times;
        for (stage, time) in
            stages.iter_mut().zip([times.preprocess, times.inference, times.postprocess, start.elapsed()])
        {
            stage.record(time);
        }
    }
    let info = engine.info();
    println!("{}\n", machine());
    println!(
        "model {} at {2}x{2}, engine {3} {4}, frames {width}x{height} RGB, opened in {1:.1} s, peak memory {5} MiB\n",
        info.model,
        opened.as_secs_f64(),
        info.image_size,
        info.engine,
        info.precision,
        peak_memory_mib().map_or_else(|| "unknown".to_owned(), |m| m.to_string())
    );
    let whole = if batch == 1 { "frame".to_owned() } else { format!("batch of {batch}; the rows above per frame") };
    let names = ["pre-processing", "network", "post-processing", whole.as_str()];
    print_table(&names.into_iter().zip(&stages).collect::<Vec<_>>());
    if let Some(path) = &arguments.json {
        let [preprocess, network, postprocess, whole] = stages.each_ref().map(|stage| ms(stage.percentile(0.5)));
        let report = serde_json::json!({
            "machine": machine(),
            "model": info.model,
            "image_size": info.image_size,
            "engine": info.engine.to_string(),
            "precision": info.precision.to_string(),
            "frame": [width, height],
            "batch": batch,
            "batches": arguments.frames,
            "opened_ms": ms(opened),
            "median_ms": {
                "preprocess_per_frame": preprocess,
                "network_per_frame": network,
                "postprocess_per_frame": postprocess,
                "batch": whole,
            },
        });
        json_file::write(path, &report)?;
    }
    let taken = engine::EngineSpec { engine: info.engine, ..spec };
    // Two models at once would not fit everywhere.
    drop(engine);
    if let Some(tail) = engine::network_tail(&taken, arguments.frames)? {
        println!("\nof the network, text tower and Pre-VCP (all but the vision tower): median {:.1} ms", ms(tail));
    }
    Ok(())
}

/// Milliseconds.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A Markdown table of medians and tails.
pub fn print_table(rows: &[(&str, &Histogram)]) {
    println!("| stage | p50 ms | p99 ms | max ms | n |\n|---|---|---|---|---|");
    for (name, stage) in rows {
        println!(
            "| {name} | {:.2} | {:.2} | {:.2} | {} |",
            ms(stage.percentile(0.5)),
            ms(stage.percentile(0.99)),
            ms(stage.max()),
            stage.count()
        );
    }
}

/// What the numbers were measured on, and when.
pub fn machine() -> String {
    let processor = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let date = SystemClock.now().wall.to_string();
    format!(
        "{} {}, {}, {cores} cores, {}",
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_VERSION"),
        processor.as_deref().unwrap_or("unknown processor"),
        date.split('T').next().unwrap_or_default()
    )
}

/// The largest resident size of this process so far.
fn peak_memory_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

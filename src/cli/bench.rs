//! `vcp-line bench`: latency per stage on this machine, as a Markdown table to paste where it is needed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, Subcommand};

use super::EngineArguments;
use super::bench_pipeline::{self, PipelineArguments};
use crate::clock::{Clock, ClockSource, SystemClock};
use crate::engine;
use crate::frame::{Frame, Image, PixelFormat};
use crate::line::stats::Histogram;

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
}

#[derive(Args)]
pub struct EngineBench {
    /// Model bundle.
    #[arg(long, value_name = "BUNDLE")]
    model: PathBuf,
    #[command(flatten)]
    engine: EngineArguments,
    /// Frames to measure, after one to warm up.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    frames: u32,
    /// Columns of the frames.
    #[arg(long, default_value_t = 1920, value_parser = clap::value_parser!(u32).range(1..=16384))]
    width: u32,
    /// Rows of the frames.
    #[arg(long, default_value_t = 1080, value_parser = clap::value_parser!(u32).range(1..=16384))]
    height: u32,
}

pub fn run(arguments: &BenchArguments) -> anyhow::Result<()> {
    match &arguments.what {
        What::Pipeline(arguments) => bench_pipeline::run(arguments),
        What::Engine(arguments) => engine(arguments),
    }
}

fn engine(arguments: &EngineBench) -> anyhow::Result<()> {
    let spec = arguments.engine.spec(&arguments.model, 1);
    let start = Instant::now();
    let mut engine = engine::open(&spec)?;
    let opened = start.elapsed();
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
    engine.infer(&[&frame]).context("the first frame")?;
    let mut stages = [Histogram::default(), Histogram::default(), Histogram::default(), Histogram::default()];
    for _ in 0..arguments.frames {
        let start = Instant::now();
        let predictions = engine.infer(&[&frame])?;
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
    print_table(
        &["pre-processing", "network", "post-processing", "frame"].into_iter().zip(&stages).collect::<Vec<_>>(),
    );
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

//! `vcp-line bench engine`: a model on an engine, stage by stage.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::machine;
use super::table::{self, ms};
use crate::cli::engine_arguments::EngineArguments;
use crate::cli::failure;
use crate::cli::json_file;
use crate::cli::terminal::say;
use crate::clock::{Clock, SystemClock};
use crate::engine::{self, Engine, EngineInfo, EngineSpec};
use crate::frame::{Frame, Image, PixelFormat};
use crate::line::stats::Histogram;

/// Batches before the clock counts: TensorRT captures the second as a graph.
const WARM: usize = 3;

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

/// Pre-processing, network and post-processing for each frame, then the whole batch.
type Stages = [Histogram; 4];

pub fn run(arguments: &EngineBench) -> anyhow::Result<()> {
    let batch = usize::from(arguments.batch);
    failure::bundle_there(&arguments.model)?;
    let spec = arguments.engine.spec(&arguments.model, batch);
    let start = Instant::now();
    let mut engine = engine::open(&spec)?;
    let opened = start.elapsed();
    let most = engine.info().max_batch;
    anyhow::ensure!(batch <= most, "the engine takes {most} frames at once; build a plan with --max-batch {batch}");
    let frame = frame(arguments.width, arguments.height)?;
    let stages = measure(engine.as_mut(), &vec![&frame; batch], arguments.frames)?;
    print(arguments, engine.info(), opened, &stages);
    if let Some(path) = &arguments.json {
        json_file::write(path, &report(arguments, engine.info(), opened, &stages))?;
    }
    let taken = EngineSpec { engine: engine.info().engine, ..spec };
    // Two models at once would not fit everywhere.
    drop(engine);
    if let Some(tail) = engine::network_tail(&taken, arguments.frames)? {
        say!("");
        say!("of the network, text tower and Pre-VCP (all but the vision tower): median {:.1} ms", ms(tail));
    }
    Ok(())
}

/// A picture without a pattern.
fn frame(width: u32, height: u32) -> anyhow::Result<Frame> {
    let pixels = (0..width as usize * height as usize * 3).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8);
    Ok(Frame::alone("bench", SystemClock.now(), Image::new(width, height, PixelFormat::Rgb8, pixels.collect())?))
}

fn measure(engine: &mut dyn Engine, frames: &[&Frame], batches: u32) -> anyhow::Result<Stages> {
    for _ in 0..WARM {
        engine.infer(frames).context("the first frames")?;
    }
    let mut stages = Stages::default();
    for _ in 0..batches {
        let start = Instant::now();
        let predictions = engine.infer(frames)?;
        let times = predictions.first().context("the engine gave no answer")?.times;
        let taken = [times.preprocess, times.inference, times.postprocess, start.elapsed()];
        stages.iter_mut().zip(taken).for_each(|(stage, time)| stage.record(time));
    }
    Ok(stages)
}

fn print(arguments: &EngineBench, info: &EngineInfo, opened: Duration, stages: &Stages) {
    let EngineBench { width, height, batch, .. } = arguments;
    say!("{}", machine::describe());
    say!("");
    say!(
        "model {} at {2}x{2}, engine {3} {4}, frames {width}x{height} RGB, opened in {1:.1} s, peak memory {5} MiB",
        info.model,
        opened.as_secs_f64(),
        info.image_size,
        info.engine,
        info.precision,
        machine::peak_memory_mib().map_or_else(|| "unknown".to_owned(), |m| m.to_string())
    );
    say!("");
    let whole = if *batch == 1 { "frame".to_owned() } else { format!("batch of {batch}; the rows above per frame") };
    let names = ["pre-processing", "network", "post-processing", whole.as_str()];
    table::print(&names.into_iter().zip(stages).collect::<Vec<_>>());
}

fn report(arguments: &EngineBench, info: &EngineInfo, opened: Duration, stages: &Stages) -> serde_json::Value {
    let [preprocess, network, postprocess, whole] = stages.each_ref().map(|stage| ms(stage.percentile(0.5)));
    json!({
        "machine": machine::describe(),
        "model": info.model,
        "image_size": info.image_size,
        "engine": info.engine.to_string(),
        "precision": info.precision.to_string(),
        "frame": [arguments.width, arguments.height],
        "batch": arguments.batch,
        "batches": arguments.frames,
        "opened_ms": ms(opened),
        "median_ms": {
            "preprocess_per_frame": preprocess,
            "network_per_frame": network,
            "postprocess_per_frame": postprocess,
            "batch": whole,
        },
    })
}

//! `vcp-line model quantize`: scales for 8 bits from good pictures, behind a gate.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::inspect::images;
use super::terminal::{note, say};
use super::{failure, json_file};
use crate::dataset::{Dataset, Layout, Split};
use crate::engine::scales;
use crate::output;
use crate::quantize::{self, Outcome, Request};

#[derive(Args)]
pub struct QuantizeArguments {
    /// Folder of the bundle.
    bundle: PathBuf,
    /// Pictures of good parts as the line sees them, at least eight: files, or folders of them with their subfolders. Every fourth
    /// is held out and compared on.
    #[arg(long, required = true, num_args = 1.., value_name = "DIR|IMAGE")]
    data: Vec<PathBuf>,
    /// Pictures that are used, spread over all that are there.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(quantize::LEAST as i64..=10_000))]
    pictures: u16,
    /// Root of a labelled data set whose AUPRO, AP and image AUROC may not fall either.
    #[arg(long, value_name = "ROOT")]
    eval: Option<PathBuf>,
    /// How the files lie below that root.
    #[arg(long, value_enum, default_value_t = Layout::Auto, requires = "eval")]
    layout: Layout,
    /// Points, hundredths, that maps may be off by on average, scores (which go to 2) by twice that, and that each figure may lose.
    #[arg(long, value_name = "POINTS", default_value = "0.5", value_parser = points)]
    gate: f32,
    /// CPU threads for the network [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Write what was found, and what each layer costs where that was measured, as JSON into this file; `-` prints it.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// File to write [default: int8.json in the bundle's folder, where engines look for it]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn points(text: &str) -> Result<f32, String> {
    let points: f32 = text.parse().map_err(|_| "not a number".to_owned())?;
    if points > 0.0 && points <= 100.0 { Ok(points) } else { Err("above 0, at most 100".to_owned()) }
}

pub fn run(arguments: &QuantizeArguments) -> anyhow::Result<()> {
    failure::bundle_there(&arguments.bundle)?;
    let output = arguments.output.clone().unwrap_or_else(|| scales::default_path(&arguments.bundle));
    // Tried before the minutes of work, not after them.
    output::check_file(&output).with_context(|| format!("writing {}", output.display()))?;
    let (found, unreadable) = images::find(&arguments.data)?;
    if unreadable > 0 {
        bail!("{unreadable} folders could not be read");
    }
    let most = usize::from(arguments.pictures).min(found.len()).max(1);
    let pictures = (0..most).map(|at| found[at * found.len() / most].path.clone()).collect();
    let labelled =
        arguments.eval.as_deref().map(|root| Dataset::open(root, arguments.layout, Split::Test)).transpose()?;
    let request = Request {
        bundle: &arguments.bundle,
        pictures,
        labelled: labelled.as_ref(),
        allowed: arguments.gate / 100.0,
        threads: arguments.threads.map(usize::from),
    };
    let mut progress = progress();
    let outcome = quantize::run(&request, &mut progress)?;
    drop(progress);
    if let Some(file) = &arguments.json {
        json_file::write(file, &json(&outcome))?;
    }
    report(&outcome);
    if !outcome.holds {
        bail!(
            "the gate of {} points does not hold with any layer in 8 bits: nothing was written; give more and more varied \
             pictures, or allow more with --gate",
            arguments.gate
        );
    }
    outcome.scales.write(&output).with_context(|| format!("writing {}", output.display()))?;
    note!("{} written; `precision = \"auto\"` uses it", output.display());
    Ok(())
}

fn report(outcome: &Outcome) {
    let (scales, gate) = (&outcome.scales, &outcome.scales.gate);
    let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    let all = scales.layers.len() + scales.kept.len();
    say!("pictures      {} for the ranges, {} to compare on", scales.pictures.calibrated, scales.pictures.held_out);
    say!("in 8 bits     {} of {all} layers of the vision tower", scales.layers.len());
    let (without, whole) = (outcome.without, outcome.whole);
    say!(
        "map           off by {:.5} on average, {:.4} at most (without scales {:.5})",
        gate.map,
        gate.worst,
        without.map
    );
    say!("score         off by {:.5} on average (without scales {:.5})", gate.score, without.score);
    if !scales.kept.is_empty() || !outcome.holds {
        say!(
            "all in 8 bits map off by {:.5} on average, {:.4} at most, score by {:.5}",
            whole.map,
            whole.worst,
            whole.score
        );
    }
    for figure in &gate.figures {
        say!("{:<13} {:.2} %, {:.2} % in 8 bits", figure.name, 100.0 * figure.fp32, 100.0 * figure.int8);
    }
    if let Some(fp8) = &scales.fp8 {
        let word = if fp8.holds() { "holds the gate" } else { "does not hold the gate: take int8" };
        let (map, worst, score) = (fp8.map, fp8.worst, fp8.score);
        say!("fp8           map off by {map:.5} on average, {worst:.4} at most, score by {score:.5}: {word}");
        for figure in &fp8.figures {
            say!("{:<13} {:.2} %, {:.2} % in fp8", figure.name, 100.0 * figure.fp32, 100.0 * figure.int8);
        }
    }
    let times = outcome.times;
    say!(
        "network       {:.1} ms a frame in fp32, {:.1} ms without scales, {:.1} ms with them, on this machine",
        milliseconds(times.fp32),
        milliseconds(times.without),
        milliseconds(times.int8)
    );
    for kept in outcome.costs.iter().take(5) {
        let left = if scales.kept.contains(kept) { "left as it was" } else { "in 8 bits" };
        say!("layer         {} alone: map off by {:.5}, score by {:.5}, {left}", kept.layer, kept.map, kept.score);
    }
}

fn json(outcome: &Outcome) -> serde_json::Value {
    let scales = &outcome.scales;
    let seconds = |time: std::time::Duration| time.as_secs_f64();
    let layers: serde_json::Map<String, serde_json::Value> = scales
        .layers
        .iter()
        .map(|(name, layer)| (name.clone(), serde_json::json!({ "alpha": layer.alpha, "error": layer.error })))
        .collect();
    serde_json::json!({
        "schema": 1,
        "model_sha256": scales.model_sha256,
        "holds": outcome.holds,
        "pictures": scales.pictures,
        "gate": scales.gate,
        "fp8": scales.fp8,
        "layers": layers,
        "kept": scales.kept,
        "costs": outcome.costs,
        "without": outcome.without,
        "whole": outcome.whole,
        "network_s": {
            "fp32": seconds(outcome.times.fp32),
            "without": seconds(outcome.times.without),
            "int8": seconds(outcome.times.int8),
        },
    })
}

/// A bar on a terminal, a plain line per stage otherwise.
fn progress() -> impl FnMut(&str, usize, usize) {
    let bar = std::io::stderr().is_terminal().then(|| {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{msg:32} {bar:32} {percent:>3} % {eta}") {
            bar.set_style(style);
        }
        bar
    });
    let mut last = String::new();
    move |stage, done, total| match &bar {
        Some(bar) => {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            bar.set_message(stage.to_owned());
        }
        None if last != stage => {
            note!("{stage} …");
            stage.clone_into(&mut last);
        }
        None => {}
    }
}

//! `vcp-line inspect`: image files through the model, one line each.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use super::engine_arguments::EngineArguments;
use super::failure::{self, wrong_arguments};
use super::terminal::{self, note, say};
use crate::anomaly::{AnomalyMap, Prediction};
use crate::clock::{Clock, ClockSource, SystemClock};
use crate::engine;
use crate::frame::{Frame, Image};
use crate::overlay;
use crate::source::image_file::{self, ImageFileError};

#[derive(Args)]
pub struct InspectArguments {
    /// Model bundle.
    #[arg(long, value_name = "BUNDLE")]
    model: PathBuf,
    #[command(flatten)]
    engine: EngineArguments,
    /// Write each anomaly map as NAME.npy into this folder: float32, S×S, blended and smoothed.
    #[arg(long, value_name = "DIR")]
    maps: Option<PathBuf>,
    /// Write each image with its anomaly map over it as NAME.png into this folder.
    #[arg(long, value_name = "DIR")]
    overlays: Option<PathBuf>,
    /// Map value (0 … 1) from which the overlay outlines a region.
    #[arg(long, value_name = "VALUE", default_value_t = 0.5, value_parser = map_value)]
    outline: f32,
    /// One JSON object per line; also the default when the output is not a terminal.
    #[arg(long)]
    json: bool,
    /// PNG, JPEG, BMP, TIFF or WebP files.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
}

fn map_value(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|value| (0.0..=1.0).contains(value)).ok_or_else(|| "a number from 0 to 1".to_owned())
}

pub fn run(arguments: &InspectArguments) -> anyhow::Result<()> {
    failure::bundle_there(&arguments.model)?;
    let names = match (&arguments.maps, &arguments.overlays) {
        // Without outputs no two of them can have the same name.
        (None, None) => vec![String::new(); arguments.images.len()],
        _ => {
            terminal::goes_on_without();
            output_names(&arguments.images)?
        }
    };
    for folder in [&arguments.maps, &arguments.overlays].into_iter().flatten() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("no folder at {}, and none can be made; name another", folder.display()))?;
    }
    let mut engine = engine::open(&arguments.engine.spec(&arguments.model, 1))?;
    let json = arguments.json || !std::io::stdout().is_terminal();
    let (mut failed, mut absent) = (0, 0);
    for (path, name) in arguments.images.iter().zip(&names) {
        let image = match image_file::load(path) {
            Ok(image) => image,
            Err(error) => {
                // The other images are still worth looking at; the exit code tells.
                note!("vcp-line: {error}");
                failed += 1;
                let no_such_file = |source| failure::is_absent(source);
                absent +=
                    usize::from(matches!(&error, ImageFileError::Unreadable { source, .. } if no_such_file(source)));
                continue;
            }
        };
        let frame = Frame {
            camera: "inspect".into(),
            seq: 0,
            part: None,
            captured: SystemClock.now(),
            clock: ClockSource::System,
            file: None,
            image,
        };
        let predictions = engine.infer(&[&frame]).with_context(|| format!("{}", path.display()))?;
        let Some(prediction) = predictions.into_iter().next() else { bail!("the engine gave no answer") };
        if let Some(folder) = &arguments.maps {
            let file = folder.join(format!("{name}.npy"));
            write_npy(&file, &prediction.map).with_context(|| format!("writing {}", file.display()))?;
        }
        if let Some(folder) = &arguments.overlays {
            let file = folder.join(format!("{name}.png"));
            overlay::draw(&frame.image, &prediction.map, arguments.outline)
                .save(&file)
                .with_context(|| format!("writing {}", file.display()))?;
        }
        report(path, &frame.image, &prediction, engine.info(), json)?;
    }
    if failed > 0 {
        let message = format!("{failed} of {} images could not be read", names.len());
        return Err(if failed == absent { wrong_arguments(message) } else { anyhow::Error::msg(message) });
    }
    Ok(())
}

/// File name without its last ending, checked to be unique, since it names the outputs.
fn output_names(images: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut seen = HashMap::new();
    images
        .iter()
        .map(|path| {
            let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
            if let Some(other) = seen.insert(name.clone(), path) {
                return Err(wrong_arguments(format!(
                    "{} and {} would both be written as '{name}': inspect them in two calls",
                    other.display(),
                    path.display()
                )));
            }
            Ok(name)
        })
        .collect()
}

fn report(
    path: &Path,
    image: &Image,
    prediction: &Prediction,
    info: &engine::EngineInfo,
    json: bool,
) -> anyhow::Result<()> {
    let peak = prediction.map.values().iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let ms = |d: std::time::Duration| (d.as_secs_f64() * 1e6).round() / 1e3;
    if json {
        // A name that is no UTF-8 has no other form in JSON.
        let found = json!({
            "image": path.to_string_lossy(),
            "score": prediction.score,
            "peak": peak,
            "width": image.width,
            "height": image.height,
            "latency_ms": {
                "preprocess": ms(prediction.times.preprocess),
                "inference": ms(prediction.times.inference),
                "postprocess": ms(prediction.times.postprocess),
            },
            "model": {
                "name": info.model, "sha256": info.sha256,
                "engine": info.engine.to_string(), "precision": info.precision.to_string(),
            },
        });
        terminal::json(&found, false)?;
    } else {
        say!(
            "{}  score {:.4}  peak {peak:.3}  {:.1} ms",
            path.display(),
            prediction.score,
            ms(prediction.times.preprocess + prediction.times.inference + prediction.times.postprocess)
        );
    }
    Ok(())
}

/// NumPy's format, version 1.0: a header padded to 64 bytes, then the values, little endian, row by row.
fn write_npy(path: &Path, map: &AnomalyMap) -> std::io::Result<()> {
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({0}, {0}), }}", map.size()).into_bytes();
    const PREFIX: usize = 10;
    let padded = (PREFIX + header.len() + 1).next_multiple_of(64);
    header.resize(padded - PREFIX - 1, b' ');
    header.push(b'\n');
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(b"\x93NUMPY\x01\x00")?;
    file.write_all(&(header.len() as u16).to_le_bytes())?;
    file.write_all(&header)?;
    file.write_all(bytemuck::cast_slice(map.values()))?;
    file.flush()
}

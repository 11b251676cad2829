//! `vcp-line inspect`: image files through the model, one line each, and with a line's recipe its verdict.

pub mod images;
pub mod judge;
mod npy;
mod report;

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;

use super::engine_arguments::EngineArguments;
use super::failure::{self, wrong_arguments};
use super::levels_argument;
use super::shipped_model;
use super::terminal::{self, note};
use crate::clock::{Clock, SystemClock};
use crate::engine;
use crate::frame::{Frame, Levels};
use crate::line::locating::{NotPlaced, Placed};
use crate::line::recipe::no_verdict;
use crate::look::{Asked, LookError, Looker};
use crate::memory::Memory;
use crate::overlay::{self, Caption};
use crate::source::image_file::{self, ImageFileError};
use report::{Found, report};

#[derive(Args)]
pub struct InspectArguments {
    /// Model bundle [default: that of --recipe, with its engine and precision; without one vcp-demo, which ships with the program
    /// and knows synthetic products alone]
    #[arg(long, value_name = "BUNDLE")]
    model: Option<PathBuf>,
    /// Judge by the recipe in this line's settings: verdict, defects and their area, as the line gives them. A recipe that
    /// came to the line by command is not in its settings.
    #[arg(long, value_name = "LINE.toml")]
    recipe: Option<PathBuf>,
    /// Whose recipe, when the line has several cameras.
    #[arg(long, value_name = "NAME", requires = "recipe")]
    camera: Option<String>,
    /// Look with this memory of good parts, made by `vcp-line learn` [default: that of --recipe]
    #[arg(long, value_name = "FILE.memory")]
    memory: Option<PathBuf>,
    /// What the values of the pictures mean, for those of 10 to 16 bits [default: those of --recipe, else 16 bits as they are]
    #[arg(long, value_name = "BLACK,WHITE[,GAMMA]", value_parser = levels_argument::levels)]
    levels: Option<Arc<Levels>>,
    #[command(flatten)]
    engine: EngineArguments,
    /// Write each anomaly map as NAME.npy into this folder: float32, S×S, blended and smoothed.
    #[arg(long, value_name = "DIR")]
    maps: Option<PathBuf>,
    /// Write each image with its anomaly map over it as NAME.png into this folder.
    #[arg(long, value_name = "DIR")]
    overlays: Option<PathBuf>,
    /// Map value (0 … 1) from which the overlay outlines a region [default: that of --recipe, else 0.5]
    #[arg(long, value_name = "VALUE", value_parser = map_value)]
    outline: Option<f32>,
    /// One JSON object per line; also the default when the output is not a terminal.
    #[arg(long)]
    json: bool,
    /// PNG, JPEG, BMP, TIFF or WebP files, or folders of them: with their subfolders, without hidden files.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
}

fn map_value(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|value| (0.0..=1.0).contains(value)).ok_or_else(|| "a number from 0 to 1".to_owned())
}

pub fn run(arguments: &InspectArguments) -> anyhow::Result<()> {
    let recipe = arguments.recipe.as_deref().map(|file| judge::open(file, arguments.camera.as_deref())).transpose()?;
    let (config, mut judge) = recipe.unzip();
    let levels = arguments.levels.clone().or(judge.as_ref().and_then(|judge| judge.levels.clone()));
    let remembered = judge.as_ref().and_then(|judge| judge.memory.clone());
    let spec = match (&arguments.model, config) {
        (Some(bundle), _) => arguments.engine.spec(bundle, 1),
        (None, Some(config)) => arguments.engine.over(config.engine),
        (None, None) => {
            note!("model vcp-demo, which knows synthetic products alone; name yours with --model BUNDLE");
            arguments.engine.spec(&shipped_model::find()?, 1)
        }
    };
    failure::bundle_there(&spec.bundle)?;
    let (images, unreadable) = images::find(&arguments.images)?;
    let names = match (&arguments.maps, &arguments.overlays) {
        // Without outputs no two of them can have the same name.
        (None, None) => vec![OsString::new(); images.len()],
        _ => {
            terminal::goes_on_without();
            images::output_names(&images)?
        }
    };
    for folder in [&arguments.maps, &arguments.overlays].into_iter().flatten() {
        make_folder(folder)?;
    }
    let memory = arguments.memory.as_ref().or(remembered.as_ref()).map(|file| Memory::read(file)).transpose()?;
    let mut engine = engine::open(&spec)?;
    if let Some(memory) = &memory {
        memory.fits(&engine.info().model())?;
        engine.hand_out_tokens(true);
    }
    let mut looker = Looker::new(judge.as_ref().map(|judge| judge.view.clone()).unwrap_or_default());
    let json = arguments.json || !std::io::stdout().is_terminal();
    let outline = arguments.outline.or(judge.as_ref().map(|judge| judge.spec().defect_threshold)).unwrap_or(0.5);
    let (mut failed, mut absent) = (0, 0);
    for (images::Image { path, .. }, name) in images.iter().zip(&names) {
        let image = match image_file::load_with(path, levels.as_ref()) {
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
        let frame = Frame::alone("inspect", SystemClock.now(), image);
        let size = (frame.image.width, frame.image.height);
        let regions = judge.as_ref().map(|judge| judge.spec().regions.clone()).unwrap_or_default();
        let asked = Asked { regions: &regions, memory: memory.as_ref(), ..Asked::default() };
        let locate = judge.as_ref().and_then(|judge| judge.locate.as_ref());
        let placed = match Placed::new(&frame, locate) {
            Ok(placed) => placed,
            Err(error @ NotPlaced::Missing) => {
                let inspection = no_verdict(error.reason());
                let judged = judge.as_ref().zip(Some(inspection));
                report(&Found { path, image: &frame.image, prediction: None, judged }, engine.info(), json)?;
                continue;
            }
            Err(NotPlaced::Failed(error)) => {
                note!("vcp-line: image {}: {error}", path.display());
                failed += 1;
                continue;
            }
        };
        let prediction = match looker.look(engine.as_mut(), placed.seen(), asked, None) {
            Ok(prediction) => prediction,
            Err(LookError::Engine(error)) => return Err(error).with_context(|| format!("{}", path.display())),
            Err(error) => {
                note!("vcp-line: image {}: {error}", path.display());
                failed += 1;
                continue;
            }
        };
        let inspection = match judge.as_mut().map(|judge| judge.inspect(&prediction, size)).transpose() {
            Ok(inspection) => inspection.map(|inspection| placed.inspection(inspection)),
            Err(error) => {
                note!("vcp-line: image {}: {error}", path.display());
                failed += 1;
                continue;
            }
        };
        let map = placed.map(&prediction.map);
        if let Some(folder) = &arguments.maps {
            let file = output(folder, name, ".npy")?;
            npy::write(&file, &map).with_context(|| format!("writing {}", file.display()))?;
        }
        if let Some(folder) = &arguments.overlays {
            let file = output(folder, name, ".png")?;
            let verdict = inspection.as_ref().map(|inspection| inspection.verdict);
            let caption = Caption { verdict, score: prediction.score, peak: prediction.map.peak(), outline };
            overlay::captioned(&overlay::draw(&frame.image, &map, outline), &caption)
                .save(&file)
                .with_context(|| format!("writing {}", file.display()))?;
        }
        let judged = judge.as_ref().zip(inspection);
        report(&Found { path, image: &frame.image, prediction: Some(&prediction), judged }, engine.info(), json)?;
    }
    if failed > 0 {
        let message = format!(
            "{failed} of {} images could not be {}",
            names.len(),
            if judge.is_some() { "judged" } else { "read" }
        );
        let arguments_alone = failed == absent && unreadable == 0;
        return Err(if arguments_alone { wrong_arguments(message) } else { anyhow::Error::msg(message) });
    }
    if unreadable > 0 {
        bail!("{unreadable} folders could not be read");
    }
    Ok(())
}

fn make_folder(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("no folder at {}, and none can be made; name another", folder.display()))
}

/// The place of an output, whose folder is made.
fn output(folder: &Path, name: &OsStr, ending: &str) -> anyhow::Result<PathBuf> {
    let mut name = name.to_owned();
    name.push(ending);
    let file = folder.join(name);
    if let Some(inner) = file.parent().filter(|inner| *inner != folder) {
        make_folder(inner)?;
    }
    Ok(file)
}

//! Pictures through the line's engine, and what its recipe would compare with its thresholds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};

use crate::anomaly::Prediction;
use crate::calibrate::{Look, Part};
use crate::cli::inspect::images;
use crate::cli::terminal::note;
use crate::clock::{Clock, SystemClock};
use crate::drift::Features;
use crate::engine::Engine;
use crate::frame::{Frame, Image, Levels};
use crate::line::recipe::{Recipe, RecipeError, RecipeSpec};
use crate::look::{Asked, Looker};
use crate::memory::Memory;
use crate::source::image_file;
use crate::view::ViewSpec;

/// What came of some pictures.
pub struct Looked {
    /// One for each that could be judged.
    pub parts: Vec<Part>,
    /// Those that could not, and folders that could not be read; each has been said.
    pub unread: usize,
}

/// The picture of a part; `None`, and said why, when a line would give it no verdict.
pub fn open(path: &Path, levels: Option<&Arc<Levels>>) -> Option<Image> {
    match image_file::load_with(path, levels) {
        Ok(image) if !image.damaged => return Some(image),
        Ok(_) => note!("vcp-line: {}: damaged, so that a line gives it no verdict", path.display()),
        Err(error) => note!("vcp-line: {error}"),
    }
    None
}

/// What the model says of a picture.
pub fn infer(engine: &mut dyn Engine, image: &Image, path: &Path) -> anyhow::Result<Prediction> {
    let frame = Frame::alone("calibrate", SystemClock.now(), image.clone());
    let predictions = engine.infer(&[&frame]).with_context(|| format!("{}", path.display()))?;
    let Some(prediction) = predictions.into_iter().next() else { bail!("the engine gave no answer") };
    Ok(prediction)
}

/// Looks at files and folders. Errors when the recipe's regions do not fit a picture, as the line would end.
pub fn look(
    engine: &mut dyn Engine,
    memory: Option<&Memory>,
    (view, recipe): (&ViewSpec, &RecipeSpec),
    levels: Option<&Arc<Levels>>,
    paths: &[PathBuf],
) -> anyhow::Result<Looked> {
    let (images, mut unread) = images::find(paths)?;
    let mut looker = Looker::new(view.clone());
    let asked = Asked { regions: &recipe.regions, memory, ..Asked::default() };
    let mut recipe = Recipe::new(recipe.clone());
    let mut parts = Vec::with_capacity(images.len());
    for images::Image { path, .. } in images {
        let Some(image) = open(&path, levels) else {
            unread += 1;
            continue;
        };
        let size = (image.width, image.height);
        let frame = Frame::alone("calibrate", SystemClock.now(), image);
        let prediction =
            looker.look(engine, &frame, asked, None).with_context(|| format!("image {}", path.display()))?;
        let image = frame.image;
        match recipe.statistics(&prediction, size.0, size.1) {
            Ok(statistics) => {
                let (look, features) = (Look::of(&image), Some(Features::of(&image)));
                parts.push(Part { picture: path.to_string_lossy().into_owned(), statistics, look, features });
            }
            Err(error @ RecipeError::NotFinite) => {
                note!("vcp-line: image {}: {error}", path.display());
                unread += 1;
            }
            Err(error) => return Err(error).with_context(|| format!("image {}", path.display())),
        }
    }
    Ok(Looked { parts, unread })
}

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
use crate::line::locating::{LocatePlan, NotPlaced, Placed};
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

/// How a camera sees pictures that come as files.
#[derive(Clone, Copy, Default)]
pub struct Seeing<'a> {
    /// What their values mean.
    pub levels: Option<&'a Arc<Levels>>,
    /// How their parts are found.
    pub locate: Option<&'a LocatePlan>,
}

impl Seeing<'_> {
    /// The picture of a part, which lies as it was taught; `None`, and said why, when a line would not judge it.
    pub fn open(&self, path: &Path) -> Option<Image> {
        let image = match image_file::load_with(path, self.levels) {
            Ok(image) if !image.damaged => image,
            Ok(_) => {
                note!("vcp-line: {}: damaged, so that a line gives it no verdict", path.display());
                return None;
            }
            Err(error) => {
                note!("vcp-line: {error}");
                return None;
            }
        };
        let why = match Placed::new(&Frame::alone("calibrate", SystemClock.now(), image), self.locate) {
            Ok(placed) if !placed.is_missing() => return Some(placed.seen().image.clone()),
            Ok(_) => NotPlaced::Missing,
            Err(error) => error,
        };
        note!("vcp-line: {}: {why}", path.display());
        None
    }
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
    seeing: Seeing<'_>,
    paths: &[PathBuf],
) -> anyhow::Result<Looked> {
    let (images, mut unread) = images::find(paths)?;
    let mut looker = Looker::new(view.clone());
    let asked = Asked { regions: &recipe.regions, memory, ..Asked::default() };
    let mut recipe = Recipe::new(recipe.clone());
    let mut parts = Vec::with_capacity(images.len());
    for images::Image { path, .. } in images {
        let Some(image) = seeing.open(&path) else {
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

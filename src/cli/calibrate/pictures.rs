//! Pictures through the line's engine, and what its recipe would compare with its thresholds.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;

use crate::calibrate::{Look, Part};
use crate::cli::inspect::images;
use crate::cli::terminal::note;
use crate::clock::{Clock, SystemClock};
use crate::drift::Features;
use crate::engine::Engine;
use crate::frame::{Frame, Levels};
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
        let image = match image_file::load_with(&path, levels) {
            Ok(image) if !image.damaged => image,
            Ok(_) => {
                note!("vcp-line: {}: damaged, so that a line gives it no verdict", path.display());
                unread += 1;
                continue;
            }
            Err(error) => {
                note!("vcp-line: {error}");
                unread += 1;
                continue;
            }
        };
        let frame = Frame::alone("calibrate", SystemClock.now(), image);
        let prediction =
            looker.look(engine, &frame, asked, None).with_context(|| format!("image {}", path.display()))?;
        match recipe.statistics(&prediction, frame.image.width, frame.image.height) {
            Ok(statistics) => {
                let look = Look::of(&frame.image);
                let features = Some(Features::of(&frame.image));
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

//! `[camera.view]`: what of a camera's frames is looked at, and in how many tiles.

use std::path::Path;

use super::raw::{RawTiles, RawView};
use super::rules::{Rules, value};
use crate::line::recipe::RecipeSpec;
use crate::view::{Flip, Lens, Rotate, TileLayout, TileSpec, Transform, USUAL_OVERLAP, ViewError, ViewSpec};

/// The view; the lens is read from its file. `None` after a mistake.
pub fn resolve(raw: &RawView, base: &Path, rules: &mut Rules<'_>) -> Option<ViewSpec> {
    let mut fine = true;
    let degrees = value(&raw.rotate).unwrap_or(0);
    let rotate = Rotate::from_degrees(degrees).unwrap_or_else(|| {
        fine = false;
        rules.wrong(
            raw.rotate.as_ref(),
            "rotate",
            format!("{degrees} is out of range; allowed: 0, 90, 180, 270 degrees"),
        );
        Rotate::None
    });
    let undistort = value(&raw.undistort).and_then(|file| match Lens::read(&base.join(file)) {
        Ok(lens) => Some(lens),
        Err(error) => {
            fine = false;
            rules.wrong(raw.undistort.as_ref(), "undistort", error.to_string());
            None
        }
    });
    let tiles = value(&raw.tiles).and_then(|RawTiles { size_px, grid, overlap }| {
        let overlap = overlap.unwrap_or(USUAL_OVERLAP);
        match (size_px, grid) {
            (Some(size_px), None) => Some(TileSpec::Size { size_px, overlap }),
            (None, Some(grid)) => Some(TileSpec::Grid { grid, overlap }),
            _ => {
                fine = false;
                let message = "write either size_px = PIXELS or grid = [COLUMNS, ROWS]".into();
                rules.wrong(raw.tiles.as_ref(), "tiles", message);
                None
            }
        }
    });
    let spec =
        ViewSpec { crop: value(&raw.crop), rotate, flip: value(&raw.flip).unwrap_or(Flip::None), undistort, tiles };
    match spec.check() {
        Ok(()) => fine.then_some(spec),
        Err(error) => {
            wrong(raw, rules, &error);
            None
        }
    }
}

/// Tells a mistake at the key that it is about.
fn wrong(raw: &RawView, rules: &mut Rules<'_>, error: &ViewError) {
    match error {
        ViewError::CropOutside { .. } => rules.wrong(raw.crop.as_ref(), "crop", error.to_string()),
        ViewError::Tiles { .. } | ViewError::TooMany { .. } => {
            rules.wrong(raw.tiles.as_ref(), "tiles", error.to_string());
        }
        ViewError::Lens { .. } => rules.wrong(raw.undistort.as_ref(), "undistort", error.to_string()),
    }
}

/// Whether frames of this size have the view, as far as it does not depend on regions of interest.
pub fn fits(raw: &RawView, spec: &ViewSpec, recipe: &RecipeSpec, size: (u32, u32), rules: &mut Rules<'_>) {
    let tried =
        Transform::new(spec, size).and_then(|transform| match spec.tiles.filter(|_| recipe.regions.is_empty()) {
            Some(tiles) => TileLayout::new(&tiles, transform.view_size(), &[]).map(drop),
            None => Ok(()),
        });
    if let Err(error) = tried {
        wrong(raw, rules, &error);
    }
}

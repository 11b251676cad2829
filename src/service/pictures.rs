//! What pictures of a camera are compared with, and what thresholds were found with: read from calibration files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::calibrate::record::{Model, Setting};
use crate::config::CameraConfig;
use crate::drift::Baseline;
use crate::event::{ModelInfo, RecipeInfo};
use crate::line::recipe::RecipeSpec;

/// Folder of calibration files, in the one for what must outlast the line.
pub const CALIBRATIONS: &str = "calibrations";

/// Where a sheet of a calibration goes, below the folder for what must outlast the line: a folder for each camera and each
/// recipe, because both names may hold what others end with. `sheet` is its name as in `CAMERA-RECIPE.svg`. `proposed`: it is
/// not taken into use, so that nothing is read from it.
pub fn place(camera: &str, recipe: &RecipeInfo, sheet: &str, proposed: bool) -> PathBuf {
    let RecipeInfo { id, version } = recipe;
    let of = format!("{camera}-{id}");
    let kind = sheet.strip_prefix(&of).unwrap_or(sheet);
    let proposed = if proposed { "-proposed" } else { "" };
    Path::new(CALIBRATIONS).join(camera).join(id).join(format!("v{version}{proposed}{kind}"))
}

/// The calibration file of an earlier version of this program, one for each camera and recipe, if it is of both.
pub fn left(directory: &Path, camera: &str, recipe: &str) -> Option<PathBuf> {
    let file = directory.join(CALIBRATIONS).join(format!("{camera}-{recipe}.json"));
    let found: Calibration = serde_json::from_slice(&std::fs::read(&file).ok()?).unwrap_or_default();
    let other_camera = found.camera.is_some_and(|of| of != camera);
    let other_recipe = found.after.is_some_and(|after| after.recipe.id != recipe);
    (!other_camera && !other_recipe).then_some(file)
}

/// What is asked of a calibration file here.
#[derive(Default, Deserialize)]
struct Calibration {
    camera: Option<String>,
    after: Option<Setting>,
    model: Option<Model>,
}

/// Gives the camera what belongs to its configured recipe: from the file that the settings name, else from the one that an
/// earlier version of this program has left.
pub fn configure(camera: &mut CameraConfig, directory: Option<&Path>) {
    let plan = &mut camera.plan;
    let id = plan.recipe.info.id.clone();
    let left = || left(directory?, &plan.name, &id);
    let Some(file) = camera.calibration.clone().or_else(left) else { return };
    plan.picture = baseline(&plan.name, &id, &file);
    plan.found_with = found_with(&file, &plan.recipe);
}

/// What these thresholds were found with, when they are those of this file.
fn found_with(file: &Path, recipe: &RecipeSpec) -> Option<ModelInfo> {
    let found: Calibration = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let after = found.after?;
    let same = after.recipe.id == recipe.info.id
        && (after.threshold, after.defect_threshold, after.min_area_px)
            == (recipe.threshold, recipe.defect_threshold, recipe.min_area_px);
    found.model.filter(|_| same)
}

/// The good parts to compare with. Whatever ails the file keeps no part from being inspected: it is said.
pub fn baseline(camera: &str, recipe: &str, file: &Path) -> Option<Arc<Baseline>> {
    match Baseline::read(file) {
        Ok(Some(baseline)) => {
            let watched: Vec<_> = baseline.watched().iter().map(|watched| watched.measure).collect();
            tracing::info!(camera, recipe, parts = baseline.parts(), ?watched, "pictures are compared with good parts");
            for not in baseline.unwatched() {
                tracing::info!(camera, measure = ?not.measure, "not watched: {}", not.why);
            }
            Some(Arc::new(baseline))
        }
        Ok(None) => {
            let file = file.display();
            tracing::warn!(camera, %file, "the calibration file says nothing of pictures: changes of them are not told");
            None
        }
        Err(error) => {
            tracing::error!(camera, "{error}; changes of the picture are not told");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_camera_and_recipe_has_files_of_its_own() {
        let info = |id: &str| RecipeInfo { id: id.into(), version: 2 };
        let place = |camera: &str, id: &str, kind: &str| {
            super::place(camera, &info(id), &format!("{camera}-{id}{kind}"), false)
        };
        assert_eq!(place("top", "caps", ".json"), Path::new("calibrations/top/caps/v2.json"));
        assert_ne!(place("a", "b-c", ".json"), place("a-b", "c", ".json"));
        assert_ne!(place("a", "caps", "-score.svg"), place("a", "caps-score", ".svg"));
        assert!(super::place("a", &info("b"), "a-b.svg", true).ends_with("a/b/v2-proposed.svg"));
    }

    #[test]
    fn a_file_of_an_earlier_version_is_read_where_it_is_of_this_camera_and_recipe() {
        let folder = tempfile::tempdir().expect("temp dir");
        let place = folder.path().join(CALIBRATIONS);
        std::fs::create_dir(&place).expect("made");
        let setting = |id: &str, version: u32| {
            serde_json::json!({ "recipe": { "id": id, "version": version }, "threshold": null, "defect_threshold": 0.25,
                "min_area_px": 4 })
        };
        let model = serde_json::json!({ "name": "m", "sha256": "00", "engine": "openvino", "precision": "fp32" });
        let text = serde_json::json!({ "camera": "a", "after": setting("b-c", 2), "model": model }).to_string();
        std::fs::write(place.join("a-b-c.json"), text).expect("written");
        assert!(left(folder.path(), "a", "b-c").is_some());
        assert_eq!(left(folder.path(), "a-b", "c"), None, "the same name");
        assert_eq!(left(folder.path(), "a", "d"), None);
        let recipe = |defect_threshold| RecipeSpec {
            info: RecipeInfo { id: "b-c".into(), version: 1 },
            threshold: None,
            defect_threshold,
            min_area_px: 4,
            regions: Vec::new(),
        };
        let file = place.join("a-b-c.json");
        assert_eq!(found_with(&file, &recipe(0.25)).map(|model| model.engine).as_deref(), Some("openvino"));
        assert_eq!(found_with(&file, &recipe(0.3)), None, "somebody has set another threshold");
    }
}

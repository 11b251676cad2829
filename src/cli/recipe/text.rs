//! A recipe as the keys of its file.

use std::path::Path;

use crate::config::RecipeFile;

/// Keys and their values, as TOML writes them; what is absent is left out.
pub fn lines(file: &RecipeFile) -> Vec<(&'static str, String)> {
    let RecipeFile { recipe, memory, calibration } = file;
    let mut lines = vec![("id", text(&recipe.info.id)), ("version", recipe.info.version.to_string())];
    lines.extend(recipe.threshold.map(|threshold| ("threshold", format!("{threshold:?}"))));
    lines.push(("defect_threshold", format!("{:?}", recipe.defect_threshold)));
    lines.push(("min_area_px", recipe.min_area_px.to_string()));
    if !recipe.regions.is_empty() {
        let corner = |[x, y]: &[f32; 2]| format!("[{x:?}, {y:?}]");
        let polygon = |polygon: &Vec<[f32; 2]>| format!("[{}]", list(polygon.iter().map(corner)));
        lines.push(("regions", format!("[{}]", list(recipe.regions.iter().map(polygon)))));
    }
    let path = |path: &Path| text(&path.display().to_string());
    lines.extend(memory.as_deref().map(|memory| ("memory", path(memory))));
    lines.extend(calibration.as_deref().map(|calibration| ("calibration", path(calibration))));
    lines
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

fn text(text: &str) -> String {
    toml::Value::from(text).to_string()
}

//! A recipe in a file of its own: `ID.toml` in the folder of the line's recipes, with the keys of `[recipe]`.

use std::path::{Path, PathBuf};

use toml::Spanned;

use super::problem::{ConfigError, Report};
use super::raw::{RawCamera, RawRecipe};
use super::read;
use super::resolve;
use super::rules::value;
use crate::line::recipe::RecipeSpec;

/// A recipe that was prepared, with the files that belong to it.
#[derive(Clone, Debug, PartialEq)]
pub struct RecipeFile {
    /// Thresholds and regions.
    pub recipe: RecipeSpec,
    /// Memory of good parts.
    pub memory: Option<PathBuf>,
    /// Calibration file whose good parts later pictures are compared with.
    pub calibration: Option<PathBuf>,
}

/// Where the recipe of this name is.
pub fn recipe_place(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("{id}.toml"))
}

/// Names of the recipes in this folder, sorted; none where there is no folder.
pub fn recipe_names(folder: &Path) -> std::io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// Reads the recipe of this name; its paths are relative to the folder. Every mistake is told with its line.
pub fn read_recipe(folder: &Path, id: &str) -> Result<RecipeFile, ConfigError> {
    let path = recipe_place(folder, id);
    let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
    parse_recipe(&text, &path, id)
}

/// As [`read_recipe`], for a text that stands for the file at `path`.
pub fn parse_recipe(text: &str, path: &Path, id: &str) -> Result<RecipeFile, ConfigError> {
    let mut report = Report::new(path, text);
    let mut raw: RawRecipe = read::keys(text, &mut report);
    match &raw.id {
        None => raw.id = Some(Spanned::new(0..0, id.to_owned())),
        Some(other) if other.get_ref() != id => {
            let message =
                format!("\"{}\" in a file named {id}.toml; one name for both, or leave it out", other.get_ref());
            report.add(Some(other.span().start), "id", message);
        }
        Some(_) => {}
    }
    let recipe = resolve::recipe(&RawCamera::default(), &raw, "", &mut report);
    report.finish()?;
    let base = path.parent().unwrap_or(Path::new(""));
    let place = |file: PathBuf| std::path::absolute(base.join(&file)).unwrap_or(file);
    let (memory, calibration) = (value(&raw.memory).map(place), value(&raw.calibration).map(place));
    let recipe = recipe.ok_or_else(|| ConfigError::Read {
        path: path.to_owned(),
        source: std::io::Error::other("the recipe could not be resolved"),
    })?;
    Ok(RecipeFile { recipe, memory, calibration })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        parse_recipe(text, Path::new("/r/lids.toml"), "lids").expect_err("wrong").to_string()
    }

    #[test]
    fn a_recipe_is_named_by_its_file_and_its_mistakes_by_their_lines() {
        let text = "version = 3\ndefect_threshold = 0.25\nmemory = \"lids.memory\"\n";
        let RecipeFile { recipe, memory, calibration } =
            parse_recipe(text, Path::new("/r/lids.toml"), "lids").expect("a recipe");
        assert_eq!((recipe.info.id.as_str(), recipe.info.version, recipe.min_area_px), ("lids", 3, 25));
        assert_eq!((memory, calibration), (Some("/r/lids.memory".into()), None));
        let two = said("id = \"caps\"\ndefect_threshold = 2\n");
        assert!(two.contains("lids.toml:1: id: \"caps\" in a file named lids.toml"), "{two}");
        assert!(two.contains("lids.toml:2: recipe.defect_threshold"), "{two}");
        assert!(said("defect_treshold = 1\n").contains("did you mean 'defect_threshold'?"));
    }
}

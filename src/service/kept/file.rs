//! The file of recipes that came by command: what it says of each camera, read and written whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::origin::Origin;
use crate::event::ModelInfo;
use crate::line::recipe::RecipeSpec;
use crate::output;

/// Name of the file in the line's state directory.
pub const FILE: &str = "recipes.json";
/// Folder of the memories beside it.
pub const MEMORIES: &str = "memories";
/// Recipes of one camera that a way back leads to; the oldest go.
const MOST_BEFORE: usize = 20;
/// Entries of one camera's history; the oldest go.
const MOST_HISTORY: usize = 100;

/// What belongs to a recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct With {
    /// Name of the memory; absent: that of the settings, when it is for this product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Not that of the settings either.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_memory: bool,
    /// What the thresholds were calibrated with; absent: somebody has set them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found_with: Option<ModelInfo>,
    /// The calibration file whose good parts pictures are compared with, in the state directory or with its whole path;
    /// absent: that of the settings, when it is for this product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good_parts: Option<PathBuf>,
}

/// A recipe as its file says it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FromFile {
    pub recipe: RecipeSpec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<PathBuf>,
}

/// What was in use together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Before {
    /// Thresholds and regions.
    #[serde(flatten)]
    pub recipe: RecipeSpec,
    /// What belongs to it.
    #[serde(flatten)]
    pub with: With,
    /// Since when it was in use, and whose doing that was; absent: it is that of the settings, or nobody noted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Origin>,
}

impl Before {
    /// As the settings say it.
    pub fn of_settings(recipe: &RecipeSpec) -> Self {
        Self { recipe: recipe.clone(), with: With::default(), since: None }
    }
}

/// What belongs to a product whenever it comes back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Product {
    /// Thresholds come anew with their recipe, so that nothing is said of what they were found with.
    #[serde(flatten)]
    pub with: With,
    /// The highest version that was used.
    #[serde(default)]
    pub newest: u32,
    /// What the file of this name said when it was taken over, with its memory and calibration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FromFile>,
    /// What was used of it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Before>,
}

/// One camera's recipe, and what the settings said when it came: changed settings win over an older command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    pub configured: RecipeSpec,
    pub recipe: RecipeSpec,
    #[serde(flatten)]
    pub with: With,
    /// Since when it is in use, and whose doing that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Origin>,
    /// The settings have changed since, and somebody was told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub superseded: bool,
    /// All that was in use before, however it was left, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Before>,
    /// What was in use before and a way back leads to, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Before>,
    /// What belongs to each product, by the recipe's name: no way back is needed to find it again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub products: BTreeMap<String, Product>,
}

impl Kept {
    /// Of a camera of which nothing was kept, or only under other settings.
    pub fn new(configured: RecipeSpec, with: With, mut products: BTreeMap<String, Product>) -> Self {
        // The settings say what belongs to their own.
        products.remove(&configured.info.id);
        let recipe = configured.clone();
        Self {
            configured,
            recipe,
            with,
            since: None,
            superseded: false,
            history: Vec::new(),
            before: Vec::new(),
            products,
        }
    }

    pub fn is_used(&self) -> bool {
        !self.superseded && self.recipe.check().is_ok()
    }

    /// This in place of what is in use, which a way back leads to.
    pub fn put(&mut self, recipe: RecipeSpec, with: With) {
        self.before.push(self.now());
        self.before.drain(..self.before.len().saturating_sub(MOST_BEFORE));
        self.set(recipe, with);
    }

    /// This in place of what is in use.
    pub fn set(&mut self, recipe: RecipeSpec, with: With) {
        self.know(&recipe, &with);
        (self.recipe, self.with) = (recipe, with);
    }

    fn know(&mut self, recipe: &RecipeSpec, with: &With) {
        let product = self.products.entry(recipe.info.id.clone()).or_default();
        product.with = With { found_with: None, ..with.clone() };
        product.newest = product.newest.max(recipe.info.version);
        product.last = Some(Before { recipe: recipe.clone(), with: with.clone(), since: None });
    }

    /// What is in use.
    pub fn now(&self) -> Before {
        Before { recipe: self.recipe.clone(), with: self.with.clone(), since: self.since.clone() }
    }

    /// This was in use before; the oldest go.
    pub fn remember(&mut self, was: Before) {
        self.history.push(was);
        self.history.drain(..self.history.len().saturating_sub(MOST_HISTORY));
    }

    /// Names of all memories that may come back.
    pub fn memories(&self) -> impl Iterator<Item = &String> {
        let before = self.before.iter().map(|before| &before.with);
        let products = self.products.values().map(|product| &product.with);
        std::iter::once(&self.with).chain(before).chain(products).flat_map(|with| &with.memory)
    }
}

/// What is kept, or why it cannot be read. A damaged file is put aside, so that the next command does not replace it.
pub fn read(directory: &Path) -> (BTreeMap<String, Kept>, Option<String>) {
    let file = directory.join(FILE);
    let error = match parse(&file) {
        Ok(kept) => return (kept, None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Default::default(),
        Err(error) => error,
    };
    let aside = file.with_extension("json.damaged");
    let place = match fs::rename(&file, &aside) {
        Ok(()) => aside,
        Err(_) => file.clone(),
    };
    let trouble = format!(
        "{}: {error}; the recipes of the settings are used: send the recipes again, what is left of them is in {}",
        file.display(),
        place.display()
    );
    tracing::error!("{trouble}");
    (BTreeMap::new(), Some(trouble))
}

/// The file as it is.
pub fn parse(file: &Path) -> io::Result<BTreeMap<String, Kept>> {
    let mut kept: BTreeMap<String, Kept> = serde_json::from_slice(&fs::read(file)?)?;
    for kept in kept.values_mut().filter(|kept| kept.history.is_empty()) {
        kept.history = kept.before.clone();
    }
    // One that was written before products were told apart says it all the same.
    for kept in kept.values_mut().filter(|kept| kept.products.is_empty()) {
        for Before { recipe, with, .. } in kept.before.clone() {
            kept.know(&recipe, &with);
        }
        let (recipe, with) = (kept.recipe.clone(), kept.with.clone());
        kept.know(&recipe, &with);
    }
    Ok(kept)
}

/// The whole file or the old one, whenever the power goes.
pub fn write(directory: &Path, kept: &BTreeMap<String, Kept>) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    output::write(&directory.join(FILE), &serde_json::to_vec_pretty(kept)?)?;
    output::sync_folder(directory)
}

/// Takes away what a process that was killed has left half-written.
pub fn sweep(directory: &Path) {
    for (folder, of) in [(directory.to_owned(), FILE), (directory.join(MEMORIES), ".memory.")] {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let partial = name.starts_with('.') && name.ends_with(".partial") && name.contains(of);
            if partial && let Err(error) = fs::remove_file(entry.path()) {
                tracing::warn!("{}: {error}; what was left half-written stays", entry.path().display());
            }
        }
    }
}

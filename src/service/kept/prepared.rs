//! A recipe that is prepared in a file, changed over to with all that belongs to it.

use std::sync::Arc;

use super::file::FromFile;
use super::{Before, Kept, KeptError, KeptRecipes, With, pictures};
use crate::config::RecipeFile;
use crate::event::{ModelInfo, RecipeInfo};
use crate::line::Used;
use crate::line::recipe::RecipeSpec;
use crate::memory::{Memory, MemoryError};

/// Its files, read.
pub struct Prepared {
    file: FromFile,
    memory: Option<Arc<Memory>>,
    found_with: Option<ModelInfo>,
}

impl Prepared {
    /// Reads what the file names. Errors when the memory cannot be used.
    pub fn read(file: RecipeFile) -> Result<Self, MemoryError> {
        let RecipeFile { recipe, memory, calibration } = file;
        let read = memory.as_deref().map(|file| Memory::read(file).map(Arc::new)).transpose()?;
        let found_with = calibration.as_deref().and_then(|file| pictures::found_with(file, &recipe));
        Ok(Self { file: FromFile { recipe, memory, calibration }, memory: read, found_with })
    }
}

impl KeptRecipes {
    /// What changing over to this recipe leads to. Whoever spoke last of this product is heard: a file that has changed since it
    /// was taken over, else what came of it by command or calibration. Nothing is kept yet.
    pub fn over_to(&self, camera: &str, prepared: &Prepared) -> Result<(Used, Kept), KeptError> {
        let Prepared { file, memory, found_with } = prepared;
        let mut kept = self.of_camera(camera)?;
        let RecipeInfo { id, version } = &file.recipe.info;
        let known = kept.products.get(id).filter(|product| product.file.as_ref() == Some(file));
        if let Some(Before { recipe, with, .. }) = known.and_then(|product| product.last.clone()) {
            let used = self.read(camera, &recipe, &with)?;
            if kept.recipe != recipe {
                kept.put(recipe, with);
            }
            return Ok((used, kept));
        }
        let newest = self.newest(camera, id);
        let version = if *version > newest { *version } else { newest.saturating_add(1) };
        let recipe = RecipeSpec { info: RecipeInfo { id: id.clone(), version }, ..file.recipe.clone() };
        let with = With {
            memory: file.memory.as_ref().map(|memory| memory.display().to_string()),
            without_memory: memory.is_none(),
            found_with: found_with.clone(),
            good_parts: file.calibration.clone(),
        };
        let used = Used { memory: memory.clone(), ..self.belonging(camera, &recipe, &with) };
        kept.put(recipe, with);
        if let Some(product) = kept.products.get_mut(id) {
            product.file = Some(file.clone());
        }
        Ok((used, kept))
    }

    /// Keeps [`KeptRecipes::over_to`] of these cameras. After an error nothing has changed.
    pub fn keep_over(&mut self, cameras: Vec<(String, Kept)>) -> Result<(), KeptError> {
        let mut kept = self.kept.clone();
        kept.extend(cameras);
        self.replace(kept)
    }
}

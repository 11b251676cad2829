//! The recipes in use, changed by one hand at a time: kept for the next start first, then taken into use.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::kept::{KeptError, KeptRecipes};
use super::pictures::Pictures;
use crate::event::RecipeInfo;
use crate::line::control::{Control, ControlError, RecipeChange};
use crate::line::recipe::RecipeSpec;
use crate::memory::Memory;

/// A recipe cannot be changed; the one in use stays.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The line says so.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// It would not outlast this start.
    #[error(transparent)]
    Keep(#[from] KeptError),
    /// Somebody was faster.
    #[error("the recipe of camera '{camera}' was changed meanwhile; do it again")]
    Changed {
        /// Which camera.
        camera: Arc<str>,
    },
}

/// Changes recipes of a running line; shared by the threads that may.
pub struct Recipes {
    kept: Mutex<KeptRecipes>,
    pictures: Pictures,
}

impl Recipes {
    /// Those that an earlier start has kept.
    pub fn new(kept: KeptRecipes, pictures: Pictures) -> Self {
        Self { kept: Mutex::new(kept), pictures }
    }

    /// Changes those of one camera or of all.
    pub fn change(
        &self,
        control: &Control,
        camera: Option<&str>,
        change: impl Fn(&RecipeSpec) -> RecipeSpec,
    ) -> Result<Value, ChangeError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changes = control.change_recipes(camera, change)?;
        let others = self.other_products(control, &changes)?;
        for change in &mut changes {
            if let Some(memory) = kept.other_memory(change.camera(), &change.recipe.info.id)? {
                change.memory = fitting(control, memory)?;
            }
        }
        kept.keep(changes.iter().map(|change| (&**change.camera(), &change.recipe)))?;
        let changed = changes.into_iter().map(apply).collect();
        self.compare(control, others)?;
        Ok(Value::Array(changed))
    }

    /// Cameras that look at another product from now on, and which.
    fn other_products(
        &self,
        control: &Control,
        changes: &[RecipeChange],
    ) -> Result<Vec<(Arc<str>, String)>, ControlError> {
        let mut others = Vec::new();
        for change in changes {
            let (camera, used) = control.recipe(Some(change.camera()))?;
            if used.info.id != change.recipe.info.id {
                others.push((camera, change.recipe.info.id.clone()));
            }
        }
        Ok(others)
    }

    /// Another product looks otherwise: its pictures are compared with its own good parts, or with none.
    fn compare(&self, control: &Control, others: Vec<(Arc<str>, String)>) -> Result<(), ControlError> {
        others
            .iter()
            .try_for_each(|(camera, recipe)| control.compare_with(Some(camera), self.pictures.baseline(camera, recipe)))
    }

    /// Changes that of one camera, unless it is not `from` any more.
    pub fn replace(
        &self,
        control: &Control,
        camera: &Arc<str>,
        from: &RecipeSpec,
        to: RecipeSpec,
    ) -> Result<Value, ChangeError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if *control.recipe(Some(camera))?.1 != *from {
            return Err(ChangeError::Changed { camera: Arc::clone(camera) });
        }
        let changes = control.change_recipes(Some(camera), |_| to.clone())?;
        kept.keep(changes.iter().map(|change| (&**change.camera(), &change.recipe)))?;
        Ok(Value::Array(changes.into_iter().map(apply).collect()))
    }

    /// Back to the recipe before, as a new version where the name is the same: a version never means two recipes.
    pub fn roll_back(&self, control: &Control, camera: Option<&str>) -> Result<Value, ChangeError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (camera, used) = control.recipe(camera)?;
        let (to, memory) = (kept.previous(&camera)?, fitting(control, kept.previous_memory(&camera)?)?);
        // Checked before it is kept: the frames may have another size by now.
        let changes = match to == *used {
            true => Vec::new(),
            false => control.change_recipes(Some(&camera), |_| to.clone())?,
        };
        let others = self.other_products(control, &changes)?;
        kept.roll_back(&camera)?;
        match changes.is_empty() {
            true => control.change_memory(&camera, memory.clone())?,
            false => changes.into_iter().for_each(|mut change| {
                change.memory.clone_from(&memory);
                change.apply();
            }),
        }
        self.compare(control, others)?;
        let RecipeInfo { id, version } = to.info;
        let memory = memory.map(|memory| memory.info());
        Ok(json!([{ "camera": camera, "recipe": { "id": id, "version": version }, "memory": memory }]))
    }

    /// Takes a memory of this product into use; says where it is kept. Pictures are compared with good parts again once
    /// they were judged with it.
    pub fn remember(
        &self,
        control: &Control,
        camera: &Arc<str>,
        product: &str,
        memory: Memory,
    ) -> Result<PathBuf, ChangeError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if control.recipe(Some(camera))?.1.info.id != product {
            return Err(ChangeError::Changed { camera: Arc::clone(camera) });
        }
        let file = kept.keep_memory(camera, &memory)?;
        control.change_memory(camera, Some(Arc::new(memory)))?;
        control.compare_with(Some(camera), None)?;
        Ok(file)
    }
}

/// A memory that was made with another model, engine or precision is none.
fn fitting(control: &Control, memory: Option<Arc<Memory>>) -> Result<Option<Arc<Memory>>, KeptError> {
    memory.as_ref().map_or(Ok(()), |memory| memory.fits(control.model()))?;
    Ok(memory)
}

fn apply(change: RecipeChange) -> Value {
    let camera = Arc::clone(change.camera());
    let RecipeInfo { id, version } = change.apply();
    json!({ "camera": camera, "recipe": { "id": id, "version": version } })
}

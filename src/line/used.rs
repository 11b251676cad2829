//! What a camera's frames are judged by and its pictures are compared with: one recipe and what belongs to it, changed together.

use std::sync::Arc;

use super::recipe::RecipeSpec;
use crate::drift::Baseline;
use crate::event::ModelInfo;
use crate::memory::{Memory, MemoryError};
use crate::view::ViewSpec;

/// See the module.
#[derive(Clone, Debug)]
pub struct Used {
    /// Thresholds and regions.
    pub recipe: Arc<RecipeSpec>,
    /// What good parts look like, for the maps that the recipe sees.
    pub memory: Option<Arc<Memory>>,
    /// What its thresholds were calibrated with; `None` where somebody has set them by hand.
    pub found_with: Option<ModelInfo>,
    /// What pictures are compared with, if with anything.
    pub picture: Option<Arc<Baseline>>,
}

/// What ails a camera that is inspected all the same, for an alarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Which camera.
    pub camera: Arc<str>,
    /// The alarm.
    pub kind: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

/// Of a recipe or memory that cannot be used.
pub const RECIPES: &str = "recipes";
/// Of thresholds that were calibrated with something else.
pub const THRESHOLDS: &str = "thresholds";

impl Used {
    /// What looks, as thresholds and statistics depend on it.
    pub fn model(&self, model: &ModelInfo) -> ModelInfo {
        ModelInfo { memory: self.memory.as_ref().map(|memory| memory.info()), ..model.clone() }
    }

    /// Whether this very memory helps, or none.
    pub fn has_memory(&self, other: Option<&Arc<Memory>>) -> bool {
        self.memory.as_ref().map(Arc::as_ptr) == other.map(Arc::as_ptr)
    }

    /// Whether parts are judged in the same way.
    pub fn is_same(&self, other: &Self) -> bool {
        let memory = |used: &Self| used.memory.as_ref().map(|memory| memory.info());
        (&self.recipe, &self.found_with, &self.picture) == (&other.recipe, &other.found_with, &other.picture)
            && memory(self) == memory(other)
    }

    /// Errors where the memory cannot be used with this model, this view or frames of this size: thresholds mean nothing without
    /// it, so that there is no verdict.
    pub fn judges(&self, model: &ModelInfo, size: Option<(u32, u32)>, view: &ViewSpec) -> Result<(), MemoryError> {
        let Some(memory) = &self.memory else { return Ok(()) };
        memory.fits(model)?;
        memory.about().fits_view(view)?;
        size.map_or(Ok(()), |size| memory.about().fits_picture(size))
    }

    /// Why its thresholds may not hold, and what to do.
    pub fn doubt(&self, model: &ModelInfo) -> Option<String> {
        let (then, now) = (self.found_with.as_ref()?, self.model(model));
        let (id, version) = (&self.recipe.info.id, self.recipe.info.version);
        (!then.sees_as(&now)).then(|| {
            format!(
                "the thresholds of recipe '{id}' version {version} were found with {}, and parts are judged with {}: \
                 calibrate again, or set both by hand once known parts have shown that they hold",
                named(then),
                named(&now)
            )
        })
    }
}

fn named(model: &ModelInfo) -> String {
    let ModelInfo { name, sha256, engine, precision, memory } = model;
    let memory = memory.as_ref().map_or("no memory".to_owned(), |memory| format!("memory {}", memory.id));
    format!("'{name}' ({}…), {engine} {precision}, {memory}", sha256.get(..12).unwrap_or(sha256))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{MemoryInfo, RecipeInfo};

    #[test]
    fn thresholds_are_doubted_where_anything_else_looks_and_never_when_set_by_hand() {
        let text = |text: &str| text.to_owned();
        let model = ModelInfo {
            name: text("m"),
            sha256: "ab".repeat(32),
            engine: text("openvino"),
            precision: text("fp32"),
            memory: None,
        };
        let recipe = RecipeSpec {
            info: RecipeInfo { id: text("caps"), version: 3 },
            threshold: None,
            defect_threshold: 0.5,
            min_area_px: 1,
            regions: Vec::new(),
        };
        let used = |found_with| Used { recipe: Arc::new(recipe.clone()), memory: None, found_with, picture: None };
        assert_eq!(used(None).doubt(&model), None);
        assert_eq!(used(Some(ModelInfo { name: text("renamed"), ..model.clone() })).doubt(&model), None);
        let memory = Some(MemoryInfo { id: text("7e0c"), parts: 16 });
        for other in [
            ModelInfo { memory, ..model.clone() },
            ModelInfo { precision: text("bf16"), ..model.clone() },
            ModelInfo { engine: text("tensorrt"), ..model.clone() },
            ModelInfo { sha256: "cd".repeat(32), ..model.clone() },
        ] {
            let said = used(Some(other)).doubt(&model).expect("doubted");
            assert!(said.starts_with("the thresholds of recipe 'caps' version 3 were found with 'm' ("), "{said}");
            assert!(said.contains("judged with 'm' (abababababab…), openvino fp32, no memory: calibrate"), "{said}");
        }
    }
}

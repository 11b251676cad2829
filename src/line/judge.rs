//! Who judges a camera's parts, as far as their statistics depend on it.

use sha2::{Digest, Sha256};

use super::recipe::RecipeSpec;
use crate::drift::JudgedBy;
use crate::event::ModelInfo;

/// This recipe on the maps of this model, its memory included.
pub fn judged_by(recipe: &RecipeSpec, model: &ModelInfo) -> JudgedBy {
    JudgedBy { regions: regions(&recipe.regions), min_area_px: recipe.min_area_px, model: model.clone() }
}

/// The beginning of the hash over all corners, hexadecimal.
fn regions(regions: &[Vec<[f32; 2]>]) -> String {
    let mut hash = Sha256::new();
    for region in regions {
        hash.update((region.len() as u64).to_le_bytes());
        region.iter().flatten().for_each(|number| hash.update(number.to_le_bytes()));
    }
    hex::encode(&hash.finalize()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{MemoryInfo, RecipeInfo};

    #[test]
    fn statistics_of_other_regions_areas_or_eyes_are_not_compared_and_scores_only_of_other_eyes() {
        let text = |text: &str| text.to_owned();
        let (name, sha256, engine) = (text("m"), text("00"), text("reference"));
        let model = ModelInfo { name, sha256, engine, precision: text("fp32"), memory: None };
        let recipe = RecipeSpec {
            info: RecipeInfo { id: text("caps"), version: 1 },
            threshold: None,
            defect_threshold: 0.5,
            min_area_px: 4,
            regions: vec![vec![[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]]],
        };
        let then = judged_by(&recipe, &model);
        let same = judged_by(&RecipeSpec { defect_threshold: 0.9, threshold: Some(1.0), ..recipe.clone() }, &model);
        assert!(then.judges_as(&same), "thresholds change no statistic");
        let split = vec![recipe.regions[0][..2].to_vec(), recipe.regions[0][2..].to_vec()];
        for other in [
            RecipeSpec { min_area_px: 5, ..recipe.clone() },
            RecipeSpec { regions: Vec::new(), ..recipe.clone() },
            RecipeSpec { regions: split, ..recipe.clone() },
        ] {
            let now = judged_by(&other, &model);
            assert!(!then.judges_as(&now) && then.scores_as(&now), "{now:?}");
        }
        let memory = Some(MemoryInfo { id: text("7e0c"), parts: 4 });
        let now = judged_by(&recipe, &ModelInfo { memory, ..model });
        assert!(!then.judges_as(&now) && !then.scores_as(&now));
    }
}

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

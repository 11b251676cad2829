//! One of a product's pieces gone as a whole: a tooth, a stud, a leg, a stone of a mosaic.

use super::extent::Extent;
use super::place::{each, pixel};
use crate::dice::Dice;
use crate::synth::field::at;
use crate::synth::scene::Scene;

/// Places tried until one lies on a piece.
const TRIES: usize = 200;

/// Covers one of the pieces; whether there was any.
pub(super) fn gone(scene: &Scene, extent: &mut Extent, dice: &mut Dice) -> bool {
    let mut found = None;
    for _ in 0..TRIES {
        let p = at(dice.between(-0.92, 0.92), dice.between(-0.92, 0.92));
        if pixel(scene, p).is_some_and(|index| scene.body[index] > 0.5) {
            found = scene.product().piece(scene.on_product(p));
        }
        if found.is_some() {
            break;
        }
    }
    let Some(piece) = found else { return false };
    let quarter = 0.25 * scene.pixel();
    let corners = [at(-quarter, -quarter), at(quarter, -quarter), at(-quarter, quarter), at(quarter, quarter)];
    each(scene, at(-1.0, -1.0), at(1.0, 1.0), |index, p| {
        if scene.body[index] <= 0.0 {
            return;
        }
        let own = |&corner: &_| scene.product().piece(scene.on_product(p + corner)).is_some_and(|at| at.id == piece.id);
        let share = corners.iter().filter(|corner| own(corner)).count() as f32 * 0.25;
        let cover = share * scene.body[index];
        extent.cover[index] = cover;
        extent.core[index] = cover;
        extent.relief[index] = -0.035 * cover;
    });
    extent.piece = Some(piece);
    true
}

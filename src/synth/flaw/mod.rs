//! Defects: where they lie, what they cover, and what they do to the planes of the picture.

mod effect;
mod extent;
mod piece;
mod place;
mod shape;
pub(super) mod sized;

use super::colour::{Rgb, distance, luma};
use super::defect::{Defect, DefectKind};
use super::field::mix;
use super::scene::{Planes, Scene, Window};
use crate::dice::Dice;
use extent::{AREA, Extent};

const ATTEMPTS: usize = 12;
/// A mean change by this much is plain to see.
const PLAIN: f32 = 0.2;

/// A defect's change of the picture within a window, in display values before the lens.
#[derive(Clone)]
pub(super) struct Change {
    pub window: Window,
    /// Red, green, blue to add, and the coverage 0 … 1.
    pub values: Vec<[f32; 4]>,
}

/// Draws a defect on a scene; `good` is the scene as lit without it.
pub(super) fn draw(scene: &Scene, good: &[Rgb], defect: Defect, labels: [&str; 2], seed: u64) -> Option<Change> {
    let difficulty = defect.difficulty.clamp(0.0, 1.0);
    let mut grow = mix(1.0, 0.62, difficulty);
    let mut best: Option<(f32, Extent, Dice)> = None;
    for attempt in 0..ATTEMPTS {
        let mut dice = Dice::labelled(&["defect", labels[0], labels[1], &attempt.to_string()], seed);
        let mut extent = Extent::new(scene.size);
        shape::draw(defect.kind, grow, difficulty, scene, &mut extent, &mut dice);
        let area = extent.area();
        let miss = (AREA.0 - area).max(area - AREA.1).max(0.0);
        if best.as_ref().is_none_or(|(least, ..)| miss < *least) {
            best = Some((miss, extent, dice));
        }
        if miss == 0.0 {
            break;
        }
        grow *= if area < AREA.0 { 1.2 } else { 0.82 };
    }
    let (_, extent, mut dice) = best?;
    // Shading looks one pixel around; rims reach a little further.
    let window = extent.window()?.grown(2, scene.size);
    let mut planes = Planes { colour: scene.planes.colour.clone(), height: scene.planes.height.clone() };
    effect::apply(defect.kind, scene, &extent, window, &mut planes, &mut dice);
    let bad = scene.shade(&planes, window);

    let mut values = Vec::with_capacity(bad.len());
    for (index, bad) in bad.iter().enumerate() {
        let (x, y) = (window.x0 + index % window.width(), window.y0 + index / window.width());
        let pixel = y * scene.size + x;
        let old = good[pixel];
        let cover = extent.cover[pixel];
        // Shading next to the defect changes too; only what is covered, or borders on it, may.
        let near = if cover > 0.0 { 1.0 } else { 0.0 };
        values.push([near * (bad[0] - old[0]), near * (bad[1] - old[1]), near * (bad[2] - old[2]), cover]);
    }
    let strength = strength(&values, good, window, &extent, defect.kind, difficulty, &mut dice);
    for value in &mut values {
        for channel in &mut value[..3] {
            *channel *= strength;
        }
    }
    Some(Change { window, values })
}

/// Scales the change so that it stands out from the product's own texture as much as the difficulty says.
fn strength(
    values: &[[f32; 4]],
    good: &[Rgb],
    window: Window,
    extent: &Extent,
    kind: DefectKind,
    difficulty: f32,
    dice: &mut Dice,
) -> f32 {
    let (mut change, mut count) = (0.0, 0.0);
    let (mut sum, mut squares) = (0.0, 0.0);
    for (index, value) in values.iter().enumerate() {
        if value[3] > 0.5 {
            let (x, y) = (window.x0 + index % window.width(), window.y0 + index / window.width());
            let old = luma(good[y * extent.size + x]);
            change += distance([value[0], value[1], value[2]], [0.0; 3]);
            sum += old;
            squares += old * old;
            count += 1.0;
        }
    }
    if count == 0.0 || change == 0.0 {
        return 1.0;
    }
    let (change, mean) = (change / count, sum / count);
    let texture = (squares / count - mean * mean).max(0.0).sqrt();
    // Thin lines lose contrast in the lens, and the eye needs more of it there; light and dark sides give a dent away.
    let need = match kind {
        DefectKind::Scratch | DefectKind::Crack | DefectKind::Fibre | DefectKind::Misprint => 1.35,
        DefectKind::Dent => 0.6,
        _ => 1.0,
    };
    let obvious = 0.38 + 0.9 * texture;
    let faint = 0.05 + 0.2 * texture;
    let share = difficulty * (0.7 + 0.3 * difficulty);
    let wanted = need * mix(obvious, faint, share) * dice.between(0.85, 1.2);
    // A hole that is half transparent is none.
    let least = match kind {
        DefectKind::Hole | DefectKind::MissingPiece => mix(0.9, 0.45, difficulty),
        DefectKind::Fibre | DefectKind::Crack => mix(0.7, 0.25, difficulty),
        _ => 0.0,
    };
    let most = match kind {
        // Shading alone shows little on dark or flat places.
        DefectKind::Dent => 3.0,
        // What lies under a whole piece has its own colour; only one much like the piece's must be helped.
        _ if extent.piece.is_some() && change > PLAIN => 1.0,
        _ => 1.8,
    };
    (wanted / change).clamp(least, most)
}

//! Where on a product a defect may lie: pixels of its picture, room around a point, its rim.

use crate::dice::Dice;
use crate::synth::field::{Point, at};
use crate::synth::scene::{Scene, Window};

/// Share of the product's body around a point, 0 … 1.
fn held(scene: &Scene, p: Point, radius: f32) -> f32 {
    let ring = [
        (0.0, 0.0),
        (1.0, 0.0),
        (-1.0, 0.0),
        (0.0, 1.0),
        (0.0, -1.0),
        (0.7, 0.7),
        (0.7, -0.7),
        (-0.7, 0.7),
        (-0.7, -0.7),
    ];
    let sum: f32 = ring.iter().map(|&(x, y)| body(scene, p + at(x, y) * radius)).sum();
    sum / ring.len() as f32
}

/// The product's body at a point, 0 outside of the picture.
pub(super) fn body(scene: &Scene, p: Point) -> f32 {
    match pixel(scene, p) {
        Some(index) => scene.body[index],
        None => 0.0,
    }
}

/// Index of the pixel that holds a point of the picture.
pub(super) fn pixel(scene: &Scene, p: Point) -> Option<usize> {
    let to = |v: f32| (v + 1.0) / scene.pixel();
    let (x, y) = (to(p.x), to(p.y));
    let inside = |v: f32| (0.0..scene.size as f32).contains(&v);
    (inside(x) && inside(y)).then(|| y as usize * scene.size + x as usize)
}

/// A place on the product with room for a radius, or the best found.
pub(super) fn spot(scene: &Scene, radius: f32, dice: &mut Dice) -> Point {
    let mut best = (-1.0, at(0.0, 0.0));
    for _ in 0..60 {
        let p = at(dice.between(-0.92, 0.92), dice.between(-0.92, 0.92));
        let room = held(scene, p, radius);
        if room > best.0 {
            best = (room, p);
        }
        if room > 0.95 {
            break;
        }
    }
    best.1
}

/// A place where the silhouette ends.
pub(super) fn rim(scene: &Scene, dice: &mut Dice) -> Option<Point> {
    let mut best = None;
    for _ in 0..400 {
        let p = at(dice.between(-0.95, 0.95), dice.between(-0.95, 0.95));
        let here = pixel(scene, p).map_or(0.0, |index| scene.cover[index]);
        if here < 0.5 {
            continue;
        }
        let share = held(scene, p, 0.06);
        if share > 0.25 && share < 0.75 {
            return Some(p);
        }
        if share < 0.95 && best.is_none() {
            best = Some(p);
        }
    }
    best
}

/// Calls for every pixel within a box around a point.
pub(super) fn each(scene: &Scene, low: Point, high: Point, mut call: impl FnMut(usize, Point)) {
    let to = |v: f32, up: f32| ((v + 1.0) / scene.pixel() + up).clamp(0.0, scene.size as f32) as usize;
    let window = Window { x0: to(low.x, 0.0), y0: to(low.y, 0.0), x1: to(high.x, 1.0), y1: to(high.y, 1.0) };
    for y in window.y0..window.y1 {
        for x in window.x0..window.x1 {
            call(y * scene.size + x, scene.point(x, y));
        }
    }
}

//! Shapes of defects: lines that wander, blots, shards, and print in the wrong place.

use super::extent::{AREA, Extent};
use super::piece;
use super::place::{body, each, rim, spot};
use crate::dice::Dice;
use crate::synth::defect::DefectKind;
use crate::synth::field::{Point, along_segment, at, clouds, mix, noise, ramp};
use crate::synth::scene::Scene;
use crate::synth::text;

/// A pixel of a picture 256 wide, which sizes are thought in.
const PX: f32 = 2.0 / 256.0;

/// How often a whole piece is missing rather than a shard, where a product has pieces.
const WHOLE: f32 = 0.6;

pub(super) fn draw(kind: DefectKind, grow: f32, difficulty: f32, scene: &Scene, extent: &mut Extent, dice: &mut Dice) {
    let twice = dice.chance(0.25) && !matches!(kind, DefectKind::MissingPiece | DefectKind::Misprint);
    for _ in 0..if twice { 2 } else { 1 } {
        // Two are each smaller, so that the area stays in bounds.
        let grow = if twice { grow * 0.75 } else { grow };
        match kind {
            DefectKind::Scratch => scratch(grow, difficulty, scene, extent, dice),
            DefectKind::Crack => crack(grow, difficulty, scene, extent, dice),
            DefectKind::Fibre => fibre(grow, difficulty, scene, extent, dice),
            DefectKind::Dent => dent(grow, scene, extent, dice),
            DefectKind::Stain => stain(grow, scene, extent, dice),
            DefectKind::Discolouration => discolouration(grow, scene, extent, dice),
            DefectKind::Hole => hole(grow, scene, extent, dice),
            DefectKind::MissingPiece => missing_piece(grow, scene, extent, dice),
            DefectKind::Misprint => misprint(grow, scene, extent, dice),
        }
    }
}

/// Of several ways a line could run, the one that lies most on the product.
fn best_path(scene: &Scene, dice: &mut Dice, mut path: impl FnMut(&mut Dice, Point) -> Vec<Point>) -> Vec<Point> {
    let mut best = (-1.0, Vec::new());
    for _ in 0..14 {
        let start = spot(scene, 4.0 * PX, dice);
        let points = path(dice, start);
        let on = points.iter().map(|&p| body(scene, p)).sum::<f32>() / points.len() as f32;
        if on > best.0 {
            best = (on, points);
        }
        if on > 0.97 {
            break;
        }
    }
    best.1
}

/// Stamps a line whose half width changes from point to point.
fn stroke(scene: &Scene, extent: &mut Extent, points: &[Point], half: impl Fn(f32) -> f32, depth: f32, flat: bool) {
    let last = (points.len() - 1).max(1) as f32;
    // At small sizes a line still covers a pixel.
    let soft = (0.7 * PX).max(0.6 * scene.pixel());
    for (i, pair) in points.windows(2).enumerate() {
        let widest = half(i as f32 / last).max(half((i + 1) as f32 / last)).max(scene.pixel() * 0.6) + soft;
        let low = at(pair[0].x.min(pair[1].x) - widest, pair[0].y.min(pair[1].y) - widest);
        let high = at(pair[0].x.max(pair[1].x) + widest, pair[0].y.max(pair[1].y) + widest);
        each(scene, low, high, |index, p| {
            let (d, along) = along_segment(p, pair[0], pair[1]);
            let half = half((i as f32 + along) / last).max(scene.pixel() * 0.6);
            let on = if flat { scene.body[index] } else { scene.body[index] * scene.cover[index] };
            let cover = ramp(half + soft, half - soft, d) * on;
            if cover > extent.cover[index] {
                extent.cover[index] = cover;
                extent.relief[index] = depth * cover;
            }
        });
    }
}

/// Tapered at both ends.
fn tapered(width: f32) -> impl Fn(f32) -> f32 {
    move |t| width * (0.45 + 0.55 * ramp(0.0, 0.25, t) * ramp(1.0, 0.7, t))
}

fn scratch(grow: f32, difficulty: f32, scene: &Scene, extent: &mut Extent, dice: &mut Dice) {
    let length = dice.between(0.6, 1.3) * grow;
    let width = dice.between(1.1, 2.0) * PX * mix(1.0, 0.85, difficulty) * grow.max(1.0);
    let path = best_path(scene, dice, |dice, start| {
        let way = Point::angle(dice.unit());
        let bend = dice.between(-0.25, 0.25);
        let side = at(-way.y, way.x);
        (0..=16)
            .map(|i| {
                let t = i as f32 / 8.0 - 1.0;
                start + way * (t * length * 0.5) + side * (length * bend * (t * t - 0.4) * 0.5)
            })
            .collect()
    });
    let double = dice.chance(0.2);
    stroke(scene, extent, &path, tapered(width), -1.6 * width, false);
    if double {
        let shift = at(dice.between(-0.06, 0.06), dice.between(-0.06, 0.06));
        let second: Vec<Point> = path[3..13].iter().map(|&p| p + shift).collect();
        stroke(scene, extent, &second, tapered(width * 0.8), -1.3 * width, false);
    }
}

/// A jagged walk from a point.
fn jagged(dice: &mut Dice, start: Point, mut heading: f32, length: f32) -> Vec<Point> {
    let (mut points, mut gone, mut p) = (vec![start], 0.0, start);
    let home = heading;
    while gone < length {
        let step = dice.between(0.035, 0.10);
        heading = home + (heading - home) * 0.3 + dice.between(-0.13, 0.13);
        p = p + Point::angle(heading) * step;
        gone += step;
        points.push(p);
    }
    points
}

fn crack(grow: f32, difficulty: f32, scene: &Scene, extent: &mut Extent, dice: &mut Dice) {
    let length = dice.between(0.6, 1.2) * grow;
    let width = dice.between(1.1, 1.8) * PX * mix(1.0, 0.8, difficulty) * grow.max(1.0);
    let heading = dice.unit();
    let trunk = best_path(scene, dice, |dice, start| {
        let heading = heading + dice.between(0.0, 1.0);
        let back = start - Point::angle(heading) * (length * 0.5);
        jagged(dice, back, heading, length)
    });
    stroke(scene, extent, &trunk, |t| width * (1.1 - 0.7 * t), -1.8 * width, false);
    for _ in 0..dice.below(3) {
        let from = 1 + dice.below(trunk.len().saturating_sub(2).max(1));
        let ahead = trunk[from.min(trunk.len() - 1)] - trunk[from - 1];
        let heading = ahead.turns() + dice.sign() * dice.between(0.08, 0.19);
        let long = length * dice.between(0.2, 0.45);
        let branch = jagged(dice, trunk[from.min(trunk.len() - 1)], heading, long);
        stroke(scene, extent, &branch, |t| width * (0.8 - 0.45 * t), -1.4 * width, false);
    }
}

fn fibre(grow: f32, difficulty: f32, scene: &Scene, extent: &mut Extent, dice: &mut Dice) {
    let length = dice.between(0.7, 1.4) * grow;
    let width = dice.between(0.8, 1.3) * PX * mix(1.0, 0.9, difficulty) * grow.max(1.0);
    let path = best_path(scene, dice, |dice, start| {
        let (mut heading, mut curve) = (dice.unit(), dice.between(-0.03, 0.03));
        let mut p = start - Point::angle(heading) * (length * 0.25);
        let mut points = vec![p];
        for _ in 0..26 {
            curve = (curve + dice.between(-0.016, 0.016)).clamp(-0.06, 0.06);
            heading += curve;
            p = p + Point::angle(heading) * (length / 26.0);
            points.push(p);
        }
        points
    });
    stroke(scene, extent, &path, |_| width, 1.2 * width, true);
}

/// A round patch with an uneven border: 1 at the middle, 0 at the border, negative outside.
struct Blot {
    centre: Point,
    radius: f32,
    way: Point,
    stretch: f32,
    ragged: f32,
    seed: u32,
}

impl Blot {
    fn new(centre: Point, radius: f32, stretch: f32, ragged: f32, dice: &mut Dice) -> Self {
        Self { centre, radius, way: Point::angle(dice.unit()), stretch, ragged, seed: dice.seed() }
    }

    fn inside(&self, p: Point) -> f32 {
        let q = (p - self.centre).turned(self.way);
        let q = at(q.x * self.stretch, q.y / self.stretch) * (1.0 / self.radius);
        let r = q.length();
        let on_circle = if r > 1e-6 { q * (1.0 / r) } else { at(1.0, 0.0) };
        let waves = clouds(on_circle * 1.7 + at(40.0, 40.0), 3, self.seed) - 0.5;
        1.0 - r / (1.0 + 2.0 * self.ragged * waves)
    }

    fn each(&self, scene: &Scene, reach: f32, mut call: impl FnMut(usize, Point, f32)) {
        let far = self.radius * reach * self.stretch.max(1.0 / self.stretch) * (1.0 + self.ragged);
        let corner = at(far, far);
        each(scene, self.centre - corner, self.centre + corner, |index, p| call(index, p, self.inside(p)));
    }
}

fn dent(grow: f32, scene: &Scene, extent: &mut Extent, dice: &mut Dice) {
    let radius = dice.between(0.15, 0.26) * grow;
    let centre = spot(scene, radius * 0.9, dice);
    let stretch = dice.between(0.8, 1.25);
    let blot = Blot::new(centre, radius, stretch, 0.12, dice);
    let depth = dice.between(0.25, 0.4) * radius;
    blot.each(scene, 1.1, |index, _, inside| {
        let hollow = inside.clamp(0.0, 1.0);
        let bowl = hollow * (2.0 - hollow);
        let cover = ramp(0.0, 0.12, inside) * scene.body[index];
        extent.cover[index] = extent.cover[index].max(cover);
        extent.relief[index] -= depth * bowl * bowl * cover;
        extent.core[index] = extent.core[index].max(bowl * cover);
    });
}

fn stain(grow: f32, scene: &Scene, extent: &mut Extent, dice: &mut Dice) {
    let radius = dice.between(0.13, 0.25) * grow;
    let centre = spot(scene, radius * 0.9, dice);
    let mut blots = vec![Blot::new(centre, radius, dice.between(0.8, 1.25), dice.between(0.15, 0.4), dice)];
    for _ in 0..dice.below(4) {
        let away = Point::angle(dice.unit()) * (radius * dice.between(1.15, 1.6));
        blots.push(Blot::new(centre + away, radius * dice.between(0.12, 0.3), 1.0, 0.15, dice));
    }
    for blot in &blots {
        blot.each(scene, 1.2, |index, _, inside| {
            let cover = ramp(-0.05, 0.14, inside) * scene.body[index];
            extent.cover[index] = extent.cover[index].max(cover);
            // It dries from the inside: the border keeps most.
            let border = ramp(0.5, 0.05, inside) * cover;
            extent.core[index] = extent.core[index].max(border);
        });
    }
}

fn discolouration(grow: f32, scene: &Scene, extent: &mut Extent, dice: &mut Dice) {
    let radius = dice.between(0.18, 0.29) * grow;
    let centre = spot(scene, radius * 0.8, dice);
    let blot = Blot::new(centre, radius, dice.between(0.75, 1.3), 0.25, dice);
    let seed = dice.seed();
    blot.each(scene, 1.4, |index, p, inside| {
        let patchy = 0.16 * (noise(p.x * 14.0, p.y * 14.0, seed) - 0.5);
        let cover = ramp(-0.22, 0.28, inside + patchy) * scene.body[index];
        extent.cover[index] = extent.cover[index].max(cover);
    });
}

fn hole(grow: f32, scene: &Scene, extent: &mut Extent, dice: &mut Dice) {
    let radius = dice.between(0.085, 0.15) * grow;
    let centre = spot(scene, radius, dice);
    let blot = Blot::new(centre, radius, dice.between(0.85, 1.18), dice.between(0.08, 0.3), dice);
    let edge = (0.8 * PX).max(0.7 * scene.pixel()) / radius;
    blot.each(scene, 1.2, |index, _, inside| {
        let cover = ramp(-edge, edge, inside) * scene.body[index];
        let within = ramp(0.16 - edge, 0.16 + edge, inside) * scene.body[index];
        extent.cover[index] = extent.cover[index].max(cover);
        extent.core[index] = extent.core[index].max(within);
        extent.relief[index] = 0.05 * (cover - within) - 0.05 * within;
    });
}

fn missing_piece(grow: f32, scene: &Scene, extent: &mut Extent, dice: &mut Dice) {
    // In a close-up a whole piece would be cut off where the picture ends.
    if !scene.is_close_up() && scene.product().look().pieces && dice.chance(WHOLE) && piece::gone(scene, extent, dice) {
        return;
    }
    let part = scene.is_part();
    let radius = if part { dice.between(0.2, 0.32) } else { dice.between(0.15, 0.24) } * grow;
    let at_rim = if part { rim(scene, dice) } else { None };
    let centre = at_rim.unwrap_or_else(|| spot(scene, radius * 0.8, dice));
    // A convex shard: what several straight breaks have in common.
    let count = 5 + dice.below(3);
    let turn = dice.unit();
    let breaks: Vec<(Point, f32)> = (0..count)
        .map(|i| {
            let way = Point::angle(turn + (i as f32 + dice.between(-0.25, 0.25)) / count as f32);
            (way, radius * dice.between(0.65, 1.0))
        })
        .collect();
    let seed = dice.seed();
    let soft = (0.8 * PX).max(0.7 * scene.pixel());
    let reach = at(radius, radius) * 1.7;
    each(scene, centre - reach, centre + reach, |index, p| {
        let q = p - centre;
        let ragged = 0.12 * radius * (clouds(p * (5.0 / radius), 2, seed) - 0.5);
        let inside = breaks.iter().map(|(way, far)| far - q.dot(*way)).fold(9.0f32, f32::min) + ragged;
        let on = if scene.is_open() { scene.body[index] * scene.cover[index] } else { scene.body[index] };
        let cover = ramp(-soft, soft, inside) * on;
        extent.cover[index] = extent.cover[index].max(cover);
        let deep = ramp(0.02, 0.045, inside);
        extent.core[index] = extent.core[index].max(deep * cover);
        extent.relief[index] = -0.035 * cover;
    });
}

fn misprint(grow: f32, scene: &Scene, extent: &mut Extent, dice: &mut Dice) {
    if scene.product().ink(at(0.0, 0.0)).is_some() && doubled(grow, scene, extent, dice) {
        return;
    }
    // A code stamped where none belongs, at times smeared.
    let count = 3 + dice.below(4) as i32;
    let height = dice.between(0.15, 0.23) * grow;
    let half = text::half_width(height, count);
    let centre = spot(scene, half * 0.8, dice);
    let way = Point::angle(dice.unit());
    let (code, smeared) = (dice.seed(), dice.chance(0.35));
    let reach = at(half + height, half + height);
    each(scene, centre - reach, centre + reach, |index, p| {
        let q = (p - centre).turned(way);
        let mut ink = text::line(q, height, count, code);
        if smeared {
            for step in 1..4 {
                let trail = text::line(at(q.x, q.y + 0.06 * height * step as f32), height, count, code);
                ink = ink.max(trail * (1.0 - 0.25 * step as f32));
            }
        }
        extent.cover[index] = extent.cover[index].max(ink * scene.body[index]);
    });
}

/// The product's print once more beside itself; whether there was any.
fn doubled(grow: f32, scene: &Scene, extent: &mut Extent, dice: &mut Dice) -> bool {
    let shift = Point::angle(dice.unit()) * (dice.between(0.05, 0.1) * grow.max(0.8) / scene.scale());
    let blot = Blot::new(spot(scene, 0.3, dice), dice.between(0.5, 0.8) * grow, 1.0, 0.2, dice);
    let whole = scene.is_part();
    let full = at(1.0, 1.0);
    let (low, high) = if whole {
        (full * -1.0, full)
    } else {
        (blot.centre - full * (2.0 * blot.radius), blot.centre + full * (2.0 * blot.radius))
    };
    each(scene, low, high, |index, p| {
        if scene.body[index] <= 0.0 {
            return;
        }
        let within = if whole { 1.0 } else { ramp(0.0, 0.1, blot.inside(p)) };
        if within > 0.0 {
            let q = scene.on_product(p);
            let own = scene.product().ink(q).unwrap_or(0.0);
            let ghost = scene.product().ink(q - shift).unwrap_or(0.0);
            extent.cover[index] = (ghost * (1.0 - own)).max(0.0) * within * scene.body[index];
        }
    });
    let enough = extent.area() >= AREA.0;
    if !enough {
        extent.cover.fill(0.0);
    }
    enough
}

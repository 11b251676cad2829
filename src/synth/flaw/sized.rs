//! Defects of a size in pixels: drawn in a close-up of the part whose side is chosen so that the size comes out.

use super::super::colour::Rgb;
use super::super::defect::{Defect, DefectKind};
use super::super::lens;
use super::super::scene::{Scene, Window};
use super::{Change, place};
use crate::dice::Dice;

/// Places tried until one gives the size.
const PLACES: u64 = 5;
/// Places tried until one gives a defect that is no further off than by a factor of two, where that is possible: at the first ones
/// a faint misprint may not differ at all from what it lies on.
const MOST_PLACES: u64 = 64;
const FACTOR_OF_TWO: f32 = 1.0;
/// Sides of the close-up tried at one place.
const SIDES: usize = 4;
/// Sides of a close-up, pixels.
const SIDE: (f32, f32) = (16.0, 1400.0);
/// A size this near, as a share, is the one asked for.
const NEAR: f32 = 0.06;
/// A place that gives a size no nearer than this is given up if another can be tried.
const FAR: f32 = 0.2;

/// Diameter of the circle with that area.
pub(in crate::synth) fn diameter(area: u32) -> f32 {
    (area as f32 * (4.0 / std::f32::consts::PI)).sqrt()
}

/// Draws a defect of about `size_px` on the part that `region` shows; the change lies in the region's pixels.
pub(in crate::synth) fn draw(
    region: &Scene,
    defect: Defect,
    size_px: f32,
    sigma: f32,
    labels: [&str; 2],
    seed: u64,
) -> Option<Change> {
    let mut best: Option<(f32, Change)> = None;
    let out_of_reach = size_px / share(defect.kind) > SIDE.1;
    for attempt in 0..MOST_PLACES {
        if attempt >= PLACES && best.as_ref().is_some_and(|(miss, _)| *miss < FACTOR_OF_TWO || out_of_reach) {
            break;
        }
        let seed = seed.wrapping_add(attempt << 40);
        let mut dice = Dice::labelled(&["place", labels[0], labels[1]], seed);
        let room = 0.7 * size_px * region.pixel();
        let at_rim = if defect.kind == DefectKind::MissingPiece { place::rim(region, &mut dice) } else { None };
        let middle = at_rim.unwrap_or_else(|| place::spot(region, room, &mut dice));
        let Some(pixel) = place::pixel(region, middle) else { continue };
        let (x, y) = (pixel % region.size, pixel / region.size);
        let mut side = size_px / share(defect.kind);
        for _ in 0..SIDES {
            let side_px = 2 * ((0.5 * side.clamp(SIDE.0, SIDE.1)) as usize);
            let Some((change, area)) = close_up(region, (x, y), side_px, defect, sigma, labels, seed) else { break };
            let ratio = diameter(area) / size_px;
            let miss = (ratio - 1.0).abs().max((1.0 / ratio - 1.0).abs());
            if best.as_ref().is_none_or(|(least, _)| miss < *least) {
                best = Some((miss, change));
            }
            if miss < NEAR {
                break;
            }
            side = side_px as f32 * (1.0 / ratio).clamp(0.4, 2.5);
        }
        if best.as_ref().is_some_and(|(miss, _)| *miss < FAR) {
            break;
        }
    }
    best.map(|(_, change)| change)
}

/// About how large a defect is in sides of its picture.
fn share(kind: DefectKind) -> f32 {
    match kind {
        DefectKind::Scratch | DefectKind::Crack | DefectKind::Fibre | DefectKind::Misprint => 0.1,
        DefectKind::Hole => 0.13,
        _ => 0.2,
    }
}

/// The defect in a close-up around a pixel of the region, in the region's pixels, and how many its mask has.
fn close_up(
    region: &Scene,
    (x, y): (usize, usize),
    side: usize,
    defect: Defect,
    sigma: f32,
    labels: [&str; 2],
    seed: u64,
) -> Option<(Change, u32)> {
    let scene = region.close_up((x, y), side);
    let good: Vec<Rgb> = scene.shade(&scene.planes, scene.whole());
    let mut change = super::draw(&scene, &good, defect, labels, seed)?;
    keep_largest(&mut change);
    let whole = |kind| !matches!(kind, DefectKind::Scratch | DefectKind::Crack | DefectKind::Fibre);
    if whole(defect.kind) && cut_off(&change, side) {
        return None;
    }
    let mut picture = lens::blur(&good, side, side, sigma);
    let mut mask = vec![0; side * side];
    crate::synth::lay_on(&mut picture, &mut mask, side, sigma, change.clone());
    let area = mask.iter().filter(|&&pixel| pixel > 0).count() as u32;
    let moved = |at: usize, middle: usize| (at + middle).checked_sub(side / 2);
    let window = Window {
        x0: moved(change.window.x0, x)?,
        y0: moved(change.window.y0, y)?,
        x1: moved(change.window.x1, x)?,
        y1: moved(change.window.y1, y)?,
    };
    let fits = area > 0 && window.x1 <= region.size && window.y1 <= region.size;
    fits.then_some((Change { window, ..change }, area))
}

/// Whether the close-up ends within the defect.
fn cut_off(change: &Change, side: usize) -> bool {
    let Window { x0, y0, x1, .. } = change.window;
    change.values.iter().enumerate().any(|(index, value)| {
        let (x, y) = (x0 + index % (x1 - x0), y0 + index / (x1 - x0));
        value[3] > 0.1 && (x == 0 || y == 0 || x + 1 == side || y + 1 == side)
    })
}

/// Leaves of several pieces the one that covers most: a defect's size is the size of one.
fn keep_largest(change: &mut Change) {
    let width = change.window.width();
    let pieces = pieces(change.values.iter().map(|value| value[3] > 0.0), width);
    let weight = |piece: &Vec<usize>| piece.iter().map(|&index| change.values[index][3]).sum::<f32>();
    let heaviest = pieces.iter().enumerate().max_by(|a, b| weight(a.1).total_cmp(&weight(b.1))).map(|(index, _)| index);
    for (index, piece) in pieces.iter().enumerate() {
        if Some(index) != heaviest {
            piece.iter().for_each(|&index| change.values[index] = [0.0; 4]);
        }
    }
}

/// Indices of the pixels that are set, piece by piece; pixels that touch at a corner are connected.
fn pieces(set: impl Iterator<Item = bool>, width: usize) -> Vec<Vec<usize>> {
    let mut open: Vec<bool> = set.collect();
    let height = open.len() / width.max(1);
    let mut found = Vec::new();
    for first in 0..open.len() {
        if !std::mem::take(&mut open[first]) {
            continue;
        }
        let mut piece = vec![first];
        let mut next = 0;
        while next < piece.len() {
            let (x, y) = (piece[next] % width, piece[next] / width);
            next += 1;
            for ny in y.saturating_sub(1)..(y + 2).min(height) {
                for nx in x.saturating_sub(1)..(x + 2).min(width) {
                    if std::mem::take(&mut open[ny * width + nx]) {
                        piece.push(ny * width + nx);
                    }
                }
            }
        }
        found.push(piece);
    }
    found
}

/// A connected piece of a mask.
pub(in crate::synth) struct Spot {
    /// Left, top, width, height in pixels.
    pub bounds: [u32; 4],
    /// Pixels.
    pub area: u32,
}

/// The connected pieces of a mask, largest first.
pub(in crate::synth) fn spots(mask: &[u8], width: usize) -> Vec<Spot> {
    let mut spots: Vec<Spot> = pieces(mask.iter().map(|&pixel| pixel > 0), width)
        .into_iter()
        .map(|piece| {
            let places = piece.iter().map(|&index| (index % width, index / width));
            Spot { bounds: around(places), area: piece.len() as u32 }
        })
        .collect();
    spots.sort_by_key(|spot| std::cmp::Reverse(spot.area));
    spots
}

/// Box of the pixels that are set: left, top, width, height; all 0 for none.
pub(in crate::synth) fn bounds(set: impl Iterator<Item = bool>, width: usize) -> [u32; 4] {
    around(set.enumerate().filter(|(_, set)| *set).map(|(index, _)| (index % width, index / width)))
}

fn around(places: impl Iterator<Item = (usize, usize)>) -> [u32; 4] {
    let start = (usize::MAX, usize::MAX, 0, 0);
    let (left, top, right, bottom) = places.fold(start, |(left, top, right, bottom), (x, y)| {
        (left.min(x), top.min(y), right.max(x + 1), bottom.max(y + 1))
    });
    if right == 0 {
        return [0; 4];
    }
    [left as u32, top as u32, (right - left) as u32, (bottom - top) as u32]
}

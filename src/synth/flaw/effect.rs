//! What defects do to colour and height where they lie.

use super::extent::Extent;
use crate::dice::Dice;
use crate::synth::colour::{Rgb, blend, distance, gain, luma, times};
use crate::synth::defect::DefectKind;
use crate::synth::field::{at, mix, noise};
use crate::synth::scene::{Planes, Scene, Window};

/// Smallest difference from the product that a foreign colour must have.
const FOREIGN: f32 = 0.3;

/// Smallest difference of what lies under the face.
const BARE: f32 = 0.22;

const FIBRES: &[Rgb] = &[
    [0.07, 0.06, 0.06],
    [0.88, 0.87, 0.84],
    [0.70, 0.12, 0.12],
    [0.14, 0.24, 0.62],
    [0.32, 0.19, 0.10],
    [0.15, 0.45, 0.25],
    [0.85, 0.70, 0.25],
];

const LIQUIDS: &[Rgb] = &[
    [0.36, 0.23, 0.12],
    [0.13, 0.11, 0.09],
    [0.17, 0.20, 0.46],
    [0.55, 0.27, 0.10],
    [0.86, 0.86, 0.82],
    [0.50, 0.13, 0.14],
    [0.62, 0.60, 0.52],
    [0.20, 0.40, 0.22],
];

const INKS: &[Rgb] =
    &[[0.08, 0.08, 0.10], [0.12, 0.15, 0.45], [0.60, 0.10, 0.12], [0.90, 0.90, 0.88], [0.10, 0.36, 0.24]];

/// Scorched, tarnished, faded, bleached: what the colour is multiplied by, and what share of white is added.
const AGEING: &[(Rgb, f32)] = &[
    ([0.60, 0.47, 0.34], 0.0),
    ([0.72, 0.66, 0.92], 0.05),
    ([1.05, 0.82, 0.50], 0.0),
    ([0.62, 0.62, 0.64], 0.0),
    ([0.75, 0.75, 0.75], 0.30),
    ([0.62, 0.84, 0.66], 0.04),
    ([1.00, 0.66, 0.58], 0.03),
];

/// A random one of the colours that differ enough, or the one that differs most.
fn foreign(dice: &mut Dice, of: &[Rgb], from: Rgb) -> Rgb {
    let far: Vec<Rgb> = of.iter().copied().filter(|&colour| distance(colour, from) >= FOREIGN).collect();
    if !far.is_empty() {
        return dice.pick(&far);
    }
    of.iter().copied().max_by(|&a, &b| distance(a, from).total_cmp(&distance(b, from))).unwrap_or([0.0; 3])
}

/// Mean colour of the planes where the defect lies.
fn mean(planes: &Planes, extent: &Extent) -> Rgb {
    let (mut sum, mut weight) = ([0.0; 3], 1e-6);
    for (colour, &cover) in planes.colour.iter().zip(&extent.cover) {
        if cover > 0.0 {
            for c in 0..3 {
                sum[c] += colour[c] * cover;
            }
            weight += cover;
        }
    }
    gain(sum, 1.0 / weight)
}

pub(super) fn apply(
    kind: DefectKind,
    scene: &Scene,
    extent: &Extent,
    window: Window,
    planes: &mut Planes,
    dice: &mut Dice,
) {
    let look = scene.product().look();
    let local = mean(planes, extent);
    let bare = if distance(look.under, local) >= BARE {
        look.under
    } else if luma(local) > 0.4 {
        gain(local, 0.42)
    } else {
        blend(local, [0.85, 0.85, 0.83], 0.6)
    };
    let hair = foreign(dice, FIBRES, local);
    let liquid = foreign(dice, LIQUIDS, local);
    let printed = scene.product().ink(at(0.0, 0.0)).is_some();
    let ink = if printed && distance(look.ink, local) >= FOREIGN { look.ink } else { foreign(dice, INKS, local) };
    let aged = age(dice, local);
    let wet = dice.between(0.55, 0.8);
    let grain = dice.seed();
    let bed = extent.piece.and_then(|piece| piece.bed);
    for y in window.y0..window.y1 {
        for x in window.x0..window.x1 {
            let index = y * scene.size + x;
            let cover = extent.cover[index];
            if cover <= 0.0 {
                continue;
            }
            let core = extent.core[index];
            let old = planes.colour[index];
            let texture = (luma(old) / luma(local).max(0.05)).clamp(0.4, 1.6);
            let p = scene.point(x, y);
            let new = match kind {
                DefectKind::Scratch => blend(old, gain(bare, 0.8 + 0.2 * texture), 0.85 * cover),
                DefectKind::Crack => blend(old, gain(old, 0.18), cover),
                DefectKind::Dent => gain(old, 1.0 - 0.28 * core),
                DefectKind::Fibre => blend(old, hair, cover),
                DefectKind::Stain => {
                    let soaked = gain(liquid, 0.45 + 0.55 * texture);
                    blend(old, soaked, (wet * cover * (0.75 + 0.45 * core)).min(0.96))
                }
                DefectKind::Discolouration => {
                    let tinted = times(old, aged.0);
                    blend(old, blend(tinted, [1.0; 3], aged.1), cover)
                }
                DefectKind::Hole => {
                    let rim = blend(old, bare, 0.75);
                    let depth = [0.035, 0.033, 0.035];
                    blend(blend(old, rim, cover), depth, core)
                }
                DefectKind::MissingPiece => {
                    let rough = 0.8 + 0.35 * noise(p.x * 30.0, p.y * 30.0, grain);
                    let edge = gain(bare, 0.75 * rough);
                    let beyond = if let Some(bed) = bed {
                        gain(bed.colour, rough)
                    } else if scene.is_part() || scene.is_open() {
                        gain(scene.ground(p), 0.85)
                    } else {
                        gain(bare, rough)
                    };
                    blend(old, blend(edge, beyond, core), cover)
                }
                DefectKind::Misprint => blend(old, gain(ink, 0.9 + 0.1 * texture), 0.92 * cover),
            };
            planes.colour[index] = new;
            if let Some(bed) = bed {
                planes.height[index] = mix(planes.height[index], bed.height * scene.scale(), core);
            } else if kind == DefectKind::MissingPiece && (scene.is_part() || scene.is_open()) {
                planes.height[index] *= 1.0 - core;
            } else {
                planes.height[index] += extent.relief[index];
            }
            if kind == DefectKind::Hole {
                planes.height[index] *= 1.0 - core;
            }
        }
    }
}

/// An ageing that shows on a colour.
fn age(dice: &mut Dice, colour: Rgb) -> (Rgb, f32) {
    let change = |&(tint, white): &(Rgb, f32)| distance(blend(times(colour, tint), [1.0; 3], white), colour);
    let plain: Vec<(Rgb, f32)> = AGEING.iter().copied().filter(|way| change(way) >= 0.14).collect();
    if !plain.is_empty() {
        return dice.pick(&plain);
    }
    AGEING.iter().copied().max_by(|a, b| change(a).total_cmp(&change(b))).unwrap_or(AGEING[0])
}

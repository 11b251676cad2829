//! Baked goods: biscuits with docker holes and a browned edge.

use crate::dice::Dice;
use crate::synth::colour::{Rgb, Shade, blend, choose, gain, shade};
use crate::synth::field::{Point, at, cell, clouds, fraction, ramp, to_rectangle, wave};
use crate::synth::product::{Face, Look, Product};

const DOUGHS: &[Shade] = &[
    shade("golden", 0.80, 0.61, 0.36),
    shade("pale", 0.85, 0.73, 0.52),
    shade("brown", 0.58, 0.38, 0.21),
    shade("dark chocolate", 0.29, 0.19, 0.14),
];

/// Round, or rectangular with a wavy edge.
pub struct Biscuit {
    look: Look,
    base: Rgb,
    half: Point,
    corner: f32,
    lobes: f32,
    pitch: f32,
    chips: bool,
    seed: u32,
}

impl Biscuit {
    pub fn new(dice: &mut Dice) -> Self {
        let dough = choose(dice, DOUGHS);
        let round = dice.chance(0.5);
        let look = Look { gloss: 0.02, ..Look::new(dough.word, blend(gain(dough.rgb, 1.12), [0.9, 0.82, 0.66], 0.35)) };
        Self {
            look,
            base: dough.rgb,
            half: if round { at(0.74, 0.74) } else { at(0.78, dice.between(0.5, 0.66)) },
            corner: if round { 0.74 } else { 0.06 },
            lobes: if dice.chance(0.6) { 26.0 } else { 0.0 },
            pitch: dice.between(0.19, 0.27),
            chips: dice.chance(0.25),
            seed: dice.seed(),
        }
    }
}

impl Product for Biscuit {
    fn look(&self) -> &Look {
        &self.look
    }

    fn outline(&self, p: Point) -> f32 {
        let ragged = 0.015 * (clouds(p * 7.0, 2, self.seed) - 0.5);
        let wavy = if self.lobes == 0.0 {
            0.0
        } else if self.corner > 0.5 {
            0.018 * wave(p.turns() * self.lobes)
        } else {
            0.014 * (wave(p.x * 5.5 + 0.25) + wave(p.y * 5.5 + 0.25))
        };
        to_rectangle(p, self.half, self.corner) + ragged + wavy
    }

    fn face(&self, p: Point, depth: f32) -> Face {
        let crumb = clouds(p * 22.0, 3, self.seed ^ 1);
        let bake = clouds(p * 2.2, 2, self.seed ^ 2);
        let browned = ramp(0.26, 0.0, depth);
        let mut colour = gain(self.base, (0.82 + 0.26 * crumb) * (0.88 + 0.2 * bake));
        colour = blend(colour, [self.base[0] * 0.62, self.base[1] * 0.47, self.base[2] * 0.36], 0.75 * browned);
        let mut height = 0.09 * ramp(0.0, 0.12, depth) + 0.018 * crumb;
        if self.chips {
            let chip = cell(p * 4.2, self.seed ^ 3);
            let on = ramp(0.3, 0.24, chip.near) * f32::from(chip.id & 3 == 0) * ramp(0.05, 0.1, depth);
            colour = blend(colour, [0.21, 0.13, 0.09], on);
            height += 0.05 * on;
        } else if depth > 0.12 {
            let q = at(fraction(p.x / self.pitch + 0.5) - 0.5, fraction(p.y / self.pitch + 0.5) - 0.5) * self.pitch;
            let hole = ramp(0.032, 0.018, q.length());
            colour = gain(colour, 1.0 - 0.62 * hole);
            height -= 0.04 * hole;
        }
        Face { colour, height }
    }
}

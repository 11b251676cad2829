//! What grew: wood and leather.

use crate::synth::colour::{Rgb, Shade, blend, choose, gain, shade};
use crate::synth::dice::Dice;
use crate::synth::field::{Point, at, cell, clouds, fraction, noise, ramp, smooth};
use crate::synth::product::{Face, Look, Product};

const TIMBER: &[Shade] = &[
    shade("light", 0.80, 0.64, 0.43),
    shade("oak", 0.66, 0.49, 0.31),
    shade("dark brown", 0.40, 0.26, 0.17),
    shade("reddish", 0.58, 0.31, 0.20),
    shade("pale", 0.83, 0.73, 0.57),
];

/// Boards with year rings cut lengthwise, fibres and pores.
pub struct Wood {
    look: Look,
    base: Rgb,
    rings: f32,
    bend: f32,
    contrast: f32,
    seed: u32,
}

impl Wood {
    pub fn new(dice: &mut Dice) -> Self {
        let timber = choose(dice, TIMBER);
        let look = Look { gloss: dice.between(0.0, 0.2), ..Look::new(timber.word, gain(timber.rgb, 1.25)) };
        Self {
            look,
            base: timber.rgb,
            rings: dice.between(3.0, 7.5),
            bend: dice.between(0.8, 2.4),
            contrast: dice.between(0.3, 0.6),
            seed: dice.seed(),
        }
    }
}

impl Product for Wood {
    fn look(&self) -> &Look {
        &self.look
    }

    fn face(&self, p: Point, _depth: f32) -> Face {
        let bow =
            noise(p.x * 0.5, p.y * 0.9, self.seed) * self.bend + 0.25 * noise(p.x * 1.7, p.y * 4.0, self.seed ^ 1);
        let year = fraction(p.y * self.rings + bow * 2.0);
        // Late wood darkens slowly and ends at once.
        let late = year * year * ramp(1.0, 0.9, year);
        let fibre = noise(p.x * 4.0, p.y * 75.0, self.seed ^ 2);
        let pores = ramp(0.70, 0.92, noise(p.x * 7.0, p.y * 95.0, self.seed ^ 3)) * (0.35 + 0.65 * (1.0 - late));
        let colour = blend(self.base, gain(self.base, 0.5), self.contrast * late * 1.6);
        Face { colour: gain(colour, 0.88 + 0.2 * fibre - 0.28 * pores), height: -0.002 * pores + 0.001 * fibre }
    }
}

const HIDES: &[Shade] = &[
    shade("brown", 0.42, 0.27, 0.17),
    shade("black", 0.15, 0.15, 0.16),
    shade("dark red", 0.45, 0.13, 0.12),
    shade("tan", 0.66, 0.47, 0.29),
    shade("grey", 0.45, 0.45, 0.46),
    shade("dark green", 0.16, 0.29, 0.21),
    shade("navy blue", 0.15, 0.20, 0.35),
    shade("cream", 0.80, 0.74, 0.62),
];

/// Grain of irregular pebbles with creases between.
pub struct Leather {
    look: Look,
    base: Rgb,
    grain: f32,
    seed: u32,
}

impl Leather {
    pub fn new(dice: &mut Dice) -> Self {
        let hide = choose(dice, HIDES);
        let raw = blend(gain(hide.rgb, 1.1), [0.78, 0.66, 0.52], 0.7);
        let look = Look { gloss: dice.between(0.05, 0.3), ..Look::new(hide.word, raw) };
        Self { look, base: hide.rgb, grain: dice.between(9.0, 20.0), seed: dice.seed() }
    }
}

impl Product for Leather {
    fn look(&self) -> &Look {
        &self.look
    }

    fn face(&self, p: Point, _depth: f32) -> Face {
        let drift = noise(p.x * 4.0, p.y * 4.0, self.seed ^ 7) - 0.5;
        let pebble = cell(at(p.x + 0.12 * drift, p.y - 0.12 * drift) * self.grain, self.seed);
        let crease = smooth((pebble.next - pebble.near) * 3.2);
        let hair = noise(p.x * 90.0, p.y * 90.0, self.seed ^ 3);
        let wear = clouds(p * 1.6, 2, self.seed ^ 5);
        Face {
            colour: gain(self.base, (0.72 + 0.32 * crease) * (0.86 + 0.2 * wear) * (0.95 + 0.1 * hair)),
            height: (0.13 * crease + 0.02 * (hair + pebble.near)) / self.grain,
        }
    }
}

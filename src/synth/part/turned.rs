//! Round metal: turned rings, ball bearings, coins.

use std::f32::consts::TAU;

use crate::dice::Dice;
use crate::synth::colour::{METALS, Rgb, Shade, blend, choose, gain, shade};
use crate::synth::field::{Point, at, clouds, fraction, noise, ramp, smooth, wave};
use crate::synth::product::{Face, Look, Product};
use crate::synth::text;

/// Sheen of concentric tool marks: two bright fans, as on a turned face.
pub fn fans(p: Point) -> f32 {
    wave(p.turns() * 2.0)
}

/// A flat ring with chamfered edges.
pub struct Ring {
    look: Look,
    base: Rgb,
    outer: f32,
    inner: f32,
    chamfer: f32,
    step: f32,
    seed: u32,
}

impl Ring {
    pub fn new(dice: &mut Dice) -> Self {
        let metal = choose(dice, METALS);
        let look = Look { gloss: dice.between(0.2, 0.5), ..Look::new(metal.word, gain(metal.rgb, 0.5)) };
        let outer = dice.between(0.72, 0.82);
        Self {
            look,
            base: metal.rgb,
            outer,
            inner: outer * dice.between(0.38, 0.64),
            chamfer: dice.between(0.03, 0.07),
            step: if dice.chance(0.5) { dice.between(0.35, 0.65) } else { 0.0 },
            seed: dice.seed(),
        }
    }
}

impl Product for Ring {
    fn look(&self) -> &Look {
        &self.look
    }

    fn outline(&self, p: Point) -> f32 {
        let r = p.length();
        (r - self.outer).max(self.inner - r)
    }

    fn face(&self, p: Point, depth: f32) -> Face {
        let r = p.length();
        let marks = noise(r * 90.0, p.turns() * 3.0, self.seed);
        let mottle = clouds(p * 6.0, 2, self.seed ^ 1);
        let mut height = self.chamfer * 0.8 * ramp(0.0, self.chamfer, depth) + 0.0016 * marks;
        if self.step > 0.0 {
            let middle = self.inner + (self.outer - self.inner) * self.step;
            height -= 0.03 * ramp(middle - 0.015, middle + 0.015, r);
        }
        Face { colour: gain(self.base, 0.84 + 0.16 * marks + 0.07 * mottle + 0.13 * fans(p)), height }
    }
}

/// Two rings with balls between.
pub struct Bearing {
    look: Look,
    base: Rgb,
    cage: Rgb,
    bore: f32,
    count: f32,
    seed: u32,
}

const BEARING: f32 = 0.8;

impl Bearing {
    pub fn new(dice: &mut Dice) -> Self {
        let metal = choose(dice, &METALS[..2]);
        let cage = dice.pick(&[[0.62, 0.48, 0.24], [0.30, 0.31, 0.33], [0.16, 0.2, 0.3]]);
        let look = Look { gloss: dice.between(0.3, 0.6), ..Look::new(metal.word, gain(metal.rgb, 0.5)) };
        Self {
            look,
            base: metal.rgb,
            cage,
            bore: dice.between(0.26, 0.34),
            count: 7.0 + dice.below(5) as f32,
            seed: dice.seed(),
        }
    }
}

impl Product for Bearing {
    fn look(&self) -> &Look {
        &self.look
    }

    fn outline(&self, p: Point) -> f32 {
        let r = p.length();
        (r - BEARING).max(self.bore - r)
    }

    fn face(&self, p: Point, depth: f32) -> Face {
        let r = p.length();
        let turns = p.turns();
        let width = BEARING - self.bore;
        let (low, high) = (self.bore + 0.29 * width, BEARING - 0.27 * width);
        let marks = noise(r * 80.0, turns * 4.0, self.seed);
        let metal = gain(self.base, 0.82 + 0.14 * marks + 0.12 * fans(p));
        let edge = ramp(0.0, 0.04, depth).min(1.0);
        let race = ramp(low, low + 0.02, r) * ramp(high, high - 0.02, r);
        if race <= 0.0 {
            return Face { colour: metal, height: 0.04 * edge };
        }
        let middle = (low + high) * 0.5;
        let angle = (fraction(turns * self.count) - 0.5) / self.count * TAU;
        let q = at(r - middle, angle * middle);
        let ball = (high - low) * 0.46;
        let dome = 1.0 - q.dot(q) / (ball * ball);
        let cage = ramp(0.38, 0.34, (r - middle).abs() / (high - low));
        let mut colour = blend(gain(metal, 0.22), gain(self.cage, 0.85 + 0.2 * marks), cage);
        let mut height = -0.05 + 0.02 * cage;
        if dome > 0.0 {
            colour = blend(colour, gain(self.base, 1.1), smooth(dome * 6.0));
            height = -0.05 + 0.75 * ball * dome.sqrt();
        }
        Face { colour: blend(metal, colour, race), height: 0.04 * edge * (1.0 - race) + height * race }
    }
}

const COINS: &[Shade] = &[
    shade("silver", 0.68, 0.69, 0.70),
    shade("golden", 0.76, 0.60, 0.30),
    shade("copper", 0.68, 0.41, 0.28),
    shade("bronze", 0.54, 0.42, 0.28),
];

/// Struck relief within a raised rim: a wreath of beads, a figure, a value.
pub struct Coin {
    look: Look,
    base: Rgb,
    beads: f32,
    star: f32,
    value: u32,
    seed: u32,
}

const COIN: f32 = 0.78;

impl Coin {
    pub fn new(dice: &mut Dice) -> Self {
        let metal = choose(dice, COINS);
        let look = Look {
            gloss: dice.between(0.2, 0.5),
            ink: gain(metal.rgb, 0.35),
            ..Look::new(metal.word, gain(metal.rgb, 0.55))
        };
        Self {
            look,
            base: metal.rgb,
            beads: 30.0 + dice.below(30) as f32,
            star: if dice.chance(0.5) { 5.0 + dice.below(4) as f32 } else { 0.0 },
            value: dice.seed(),
            seed: dice.seed(),
        }
    }

    /// Height of the relief, 0 … 1.
    fn struck(&self, p: Point) -> f32 {
        let r = p.length();
        let turns = p.turns();
        let rim = ramp(0.88 * COIN, 0.91 * COIN, r);
        let bead = at((fraction(turns * self.beads) - 0.5) / self.beads * TAU * r, r - 0.80 * COIN).length();
        let beads = ramp(0.035, 0.012, bead);
        let figure = if self.star > 0.0 {
            let tip = (fraction(turns * self.star) - 0.5).abs() * 2.0;
            let star = ramp(0.03, -0.03, r - 0.5 * COIN * (0.42 + 0.58 * tip));
            let ring = ramp(0.02, 0.008, (r - 0.62 * COIN).abs());
            star.max(ring)
        } else {
            let low = text::line(at(p.x, p.y - 0.36), 0.16, 4, self.value ^ 1);
            text::line(at(p.x, p.y + 0.06), 0.56, 2, self.value).max(low)
        };
        rim.max(beads).max(figure)
    }
}

impl Product for Coin {
    fn look(&self) -> &Look {
        &self.look
    }

    fn outline(&self, p: Point) -> f32 {
        p.length() - COIN
    }

    fn face(&self, p: Point, depth: f32) -> Face {
        let struck = self.struck(p);
        let wear = clouds(p * 4.0, 3, self.seed);
        let fine = noise(p.x * 60.0, p.y * 60.0, self.seed ^ 1);
        let tone = 0.70 + 0.2 * struck + 0.2 * wear + 0.08 * fine + 0.06 * fans(p);
        Face { colour: gain(self.base, tone), height: 0.035 * struck + 0.03 * ramp(0.0, 0.03, depth) }
    }
}

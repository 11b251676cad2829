//! Pills and capsules.

use crate::dice::Dice;
use crate::synth::colour::{DYES, Rgb, Shade, blend, choose, gain, shade};
use crate::synth::field::{Point, at, clouds, noise, ramp, smooth, to_rectangle};
use crate::synth::product::{Face, Look, Product};
use crate::synth::text;

const COATINGS: &[Shade] = &[
    shade("white", 0.87, 0.86, 0.84),
    shade("yellow", 0.86, 0.77, 0.42),
    shade("pink", 0.84, 0.60, 0.60),
    shade("light blue", 0.56, 0.68, 0.80),
    shade("light green", 0.62, 0.76, 0.60),
    shade("orange", 0.85, 0.56, 0.32),
    shade("beige", 0.79, 0.72, 0.60),
];

/// A pressed tablet, round or long, with a printed code and perhaps a break line.
pub struct Pill {
    look: Look,
    base: Rgb,
    fleck: Rgb,
    half: Point,
    dome: f32,
    line: bool,
    letters: i32,
    code: u32,
    seed: u32,
}

impl Pill {
    pub fn new(dice: &mut Dice) -> Self {
        let coating = choose(dice, COATINGS);
        let long = dice.chance(0.45);
        let half = if long { at(0.82, dice.between(0.36, 0.46)) } else { at(0.7, 0.7) };
        let look = Look {
            gloss: dice.between(0.02, 0.25),
            ink: dice.pick(&[[0.15, 0.15, 0.18], [0.45, 0.12, 0.12], [0.12, 0.2, 0.45]]),
            ..Look::new(coating.word, gain(blend(coating.rgb, [0.9, 0.88, 0.82], 0.6), 0.72))
        };
        Self {
            look,
            base: coating.rgb,
            fleck: gain(coating.rgb, dice.between(0.75, 0.95)),
            half,
            dome: dice.between(0.10, 0.22),
            line: dice.chance(0.4),
            letters: if long { 3 + dice.below(3) as i32 } else { 2 + dice.below(2) as i32 },
            code: dice.seed(),
            seed: dice.seed(),
        }
    }
}

impl Product for Pill {
    fn look(&self) -> &Look {
        &self.look
    }

    fn outline(&self, p: Point) -> f32 {
        to_rectangle(p, self.half, self.half.y)
    }

    fn face(&self, p: Point, depth: f32) -> Face {
        let t = (depth / self.half.y).clamp(0.0, 1.0);
        let belly = (t * (2.0 - t)).sqrt();
        let powder = clouds(p * 30.0, 2, self.seed);
        let fleck = ramp(0.62, 0.75, noise(p.x * 26.0, p.y * 26.0, self.seed ^ 1));
        let mut colour = gain(blend(self.base, self.fleck, fleck), 0.93 + 0.1 * powder);
        let mut height = self.dome * belly + 0.03 * ramp(0.0, 0.04, depth) + 0.0015 * powder;
        if self.line {
            let cut = ramp(0.045, 0.0, (p.y - 0.0).abs());
            height -= 0.03 * cut;
            colour = gain(colour, 1.0 - 0.16 * cut);
        }
        Face { colour: blend(colour, self.look.ink, 0.85 * self.ink(p).unwrap_or(0.0)), height }
    }

    fn ink(&self, p: Point) -> Option<f32> {
        let place = if self.line { at(p.x, p.y - self.half.y * 0.46) } else { p };
        let size = if self.line { self.half.y * 0.42 } else { self.half.y * 0.58 };
        Some(text::line(place, size, self.letters, self.code))
    }
}

/// Two halves of gelatine slid over each other.
pub struct Capsule {
    look: Look,
    halves: [Rgb; 2],
    radius: f32,
    joint: f32,
    code: u32,
    seed: u32,
}

impl Capsule {
    pub fn new(dice: &mut Dice) -> Self {
        let first = choose(dice, DYES);
        let second = if dice.chance(0.7) { choose(dice, COATINGS) } else { first };
        let light = |c: Rgb| c[0] + c[1] + c[2] > 1.4;
        let word = if first.word == second.word { first.word } else { "" };
        let look = Look {
            gloss: dice.between(0.5, 0.9),
            ink: if light(second.rgb) { [0.16, 0.16, 0.18] } else { [0.88, 0.88, 0.86] },
            ..Look::new(word, gain(blend(second.rgb, [0.85, 0.8, 0.7], 0.6), 0.6))
        };
        Self {
            look,
            halves: [first.rgb, second.rgb],
            radius: dice.between(0.28, 0.36),
            joint: dice.between(-0.12, 0.12),
            code: dice.seed(),
            seed: dice.seed(),
        }
    }
}

impl Product for Capsule {
    fn look(&self) -> &Look {
        &self.look
    }

    fn outline(&self, p: Point) -> f32 {
        let slim = if p.x > self.joint { 0.015 } else { 0.0 };
        to_rectangle(p, at(0.84, self.radius), self.radius) + slim
    }

    fn face(&self, p: Point, depth: f32) -> Face {
        let t = (depth / self.radius).clamp(0.0, 1.0);
        let round = (t * (2.0 - t)).sqrt();
        let step = ramp(-0.006, 0.006, p.x - self.joint);
        let mut colour = blend(self.halves[0], self.halves[1], step);
        let milky = clouds(p * 5.0, 2, self.seed);
        colour = gain(colour, 0.8 + 0.22 * smooth(t * 1.6) + 0.06 * milky);
        colour = gain(colour, 1.0 - 0.35 * ramp(0.018, 0.0, (p.x - self.joint).abs()));
        colour = blend(colour, self.look.ink, 0.85 * self.ink(p).unwrap_or(0.0));
        Face { colour, height: self.radius * 0.75 * round }
    }

    fn ink(&self, p: Point) -> Option<f32> {
        Some(text::line(at(p.x - self.joint - 0.36, p.y), self.radius * 0.62, 3, self.code))
    }
}

//! Injection-moulded plastic: connectors and buttons.

use crate::dice::Dice;
use crate::synth::colour::{DYES, Rgb, blend, choose, gain};
use crate::synth::field::{Point, at, clouds, floor, fraction, noise, ramp, smooth, to_rectangle};
use crate::synth::product::{Face, Look, Product};
use crate::synth::text;

/// A housing with rows of contacts, a latch and a printed label.
pub struct Connector {
    look: Look,
    base: Rgb,
    metal: Rgb,
    columns: i32,
    rows: i32,
    pitch: f32,
    half: Point,
    code: u32,
    seed: u32,
}

impl Connector {
    pub fn new(dice: &mut Dice) -> Self {
        let plastic = choose(dice, DYES);
        let light = plastic.rgb[0] + plastic.rgb[1] + plastic.rgb[2] > 1.3;
        let look = Look {
            gloss: dice.between(0.05, 0.3),
            ink: if light { [0.14; 3] } else { [0.85; 3] },
            ..Look::new(plastic.word, blend(gain(plastic.rgb, 1.2), [0.7; 3], 0.4))
        };
        let rows = 1 + dice.below(3) as i32;
        let columns = 3 + dice.below(4) as i32;
        let pitch = (1.4 / columns as f32).min(0.34).min(0.9 / rows as f32);
        let half = at((0.5 * columns as f32 * pitch + 0.09).max(0.55), 0.5 * rows as f32 * pitch + 0.24);
        Self {
            look,
            base: plastic.rgb,
            metal: dice.pick(&[[0.80, 0.66, 0.36], [0.74, 0.75, 0.76]]),
            columns,
            rows,
            pitch,
            half,
            code: dice.seed(),
            seed: dice.seed(),
        }
    }

    /// Middle of the field of contacts.
    fn contacts(&self, p: Point) -> Point {
        at(p.x, p.y + 0.11)
    }
}

impl Product for Connector {
    fn look(&self) -> &Look {
        &self.look
    }

    fn outline(&self, p: Point) -> f32 {
        let housing = to_rectangle(p, self.half, 0.05);
        let latch = to_rectangle(at(p.x, p.y + self.half.y), at(0.2, 0.09), 0.03);
        let notch = to_rectangle(at(p.x.abs() - self.half.x, p.y - 0.05), at(0.05, 0.09), 0.01);
        housing.min(latch).max(-notch)
    }

    fn face(&self, p: Point, depth: f32) -> Face {
        let matt = clouds(p * 30.0, 2, self.seed);
        let mut colour = gain(self.base, 0.92 + 0.1 * matt);
        let mut height = 0.05 * ramp(0.0, 0.035, depth) + 0.0015 * matt;
        let q = self.contacts(p);
        let (u, v) = (q.x / self.pitch + 0.5 * self.columns as f32, q.y / self.pitch + 0.5 * self.rows as f32);
        if (0..self.columns).contains(&floor(u)) && (0..self.rows).contains(&floor(v)) {
            let c = at(fraction(u) - 0.5, fraction(v) - 0.5);
            let cavity = ramp(0.03, -0.03, to_rectangle(c, at(0.37, 0.37), 0.06));
            colour = blend(colour, gain(self.base, 0.28), cavity);
            height -= 0.05 * cavity;
            let pin = to_rectangle(c, at(0.17, 0.17), 0.04);
            colour = blend(colour, self.metal, ramp(0.03, -0.03, pin));
            height += 0.06 * ramp(0.02, -0.12, pin);
        }
        colour = blend(colour, self.look.ink, 0.88 * self.ink(p).unwrap_or(0.0));
        Face { colour, height }
    }

    fn ink(&self, p: Point) -> Option<f32> {
        Some(text::line(at(p.x, p.y - self.half.y + 0.12), 0.13, 6, self.code))
    }
}

/// A sewing button with a rim and two or four holes.
pub struct Button {
    look: Look,
    base: Rgb,
    swirl: Rgb,
    rim: f32,
    four: bool,
    spread: f32,
    seed: u32,
}

const BUTTON: f32 = 0.74;

impl Button {
    pub fn new(dice: &mut Dice) -> Self {
        let plastic = choose(dice, DYES);
        let look = Look {
            gloss: dice.between(0.2, 0.7),
            ..Look::new(plastic.word, blend(gain(plastic.rgb, 0.8), [0.8, 0.78, 0.74], 0.5))
        };
        Self {
            look,
            base: plastic.rgb,
            swirl: blend(plastic.rgb, dice.pick(&[[0.9, 0.88, 0.84], [0.1, 0.08, 0.07]]), dice.between(0.1, 0.35)),
            rim: dice.between(0.10, 0.2),
            four: dice.chance(0.65),
            spread: dice.between(0.14, 0.18),
            seed: dice.seed(),
        }
    }

    fn to_holes(&self, p: Point) -> f32 {
        let q = if self.four { at(p.x.abs(), p.y.abs()) } else { at(p.x.abs(), p.y) };
        let hole = if self.four { at(self.spread, self.spread) } else { at(self.spread * 1.3, 0.0) };
        (q - hole).length() - 0.075
    }
}

impl Product for Button {
    fn look(&self) -> &Look {
        &self.look
    }

    fn outline(&self, p: Point) -> f32 {
        (p.length() - BUTTON).max(-self.to_holes(p))
    }

    fn face(&self, p: Point, depth: f32) -> Face {
        let r = p.length();
        let warp = clouds(p * 2.0, 2, self.seed);
        let pearl = smooth(noise(p.x * 2.5 + warp * 4.0, p.y * 6.0 + warp * 3.0, self.seed ^ 1));
        let inner = BUTTON - self.rim;
        let rim = ramp(inner - 0.06, inner + 0.02, r) * ramp(0.0, self.rim * 0.7, BUTTON - r);
        Face {
            colour: gain(blend(self.base, self.swirl, pearl), 0.9 + 0.1 * rim),
            height: 0.08 * rim + 0.03 * ramp(0.0, 0.04, depth) + 0.03 * ramp(0.34, 0.2, r),
        }
    }
}

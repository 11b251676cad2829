//! A bottle's mouth seen from above, as a camera over a filling line sees it.

use crate::dice::Dice;
use crate::synth::colour::{Rgb, Shade, blend, choose, gain, shade};
use crate::synth::field::{Point, noise, ramp, wave};
use crate::synth::product::{Face, Look, Product};

const GLASSES: &[Shade] = &[
    shade("brown", 0.36, 0.20, 0.09),
    shade("green", 0.13, 0.33, 0.18),
    shade("clear", 0.62, 0.66, 0.66),
    shade("blue", 0.12, 0.22, 0.46),
];

/// Shoulder, thread and lip around the dark opening.
pub struct BottleMouth {
    look: Look,
    base: Rgb,
    outer: f32,
    opening: f32,
    lights: f32,
    phase: f32,
    thread: f32,
    seed: u32,
}

impl BottleMouth {
    pub fn new(dice: &mut Dice) -> Self {
        let glass = choose(dice, GLASSES);
        let look =
            Look { gloss: dice.between(0.3, 0.6), ..Look::new(glass.word, blend(glass.rgb, [0.85, 0.9, 0.9], 0.55)) };
        Self {
            look,
            base: glass.rgb,
            outer: dice.between(0.76, 0.84),
            opening: dice.between(0.30, 0.40),
            lights: 1.0 + dice.below(4) as f32,
            phase: dice.unit(),
            thread: dice.between(0.5, 0.62),
            seed: dice.seed(),
        }
    }
}

impl Product for BottleMouth {
    fn look(&self) -> &Look {
        &self.look
    }

    fn outline(&self, p: Point) -> f32 {
        p.length() - self.outer
    }

    fn face(&self, p: Point, depth: f32) -> Face {
        let r = p.length();
        let turns = p.turns();
        let ripple = 0.012 * (noise(turns * 7.0 + 9.0, r * 3.0, self.seed) - 0.5);
        let s = r + ripple;
        // Lamps mirror in the curved glass as arcs; rings of dark where it bends away.
        let lamps = wave(turns * self.lights + self.phase);
        let lip = self.opening + 0.11;
        let arc = |centre: f32, width: f32| ramp(width, 0.0, (s - centre).abs());
        let glow = 0.35 * arc(self.opening + 0.055, 0.05) * (0.55 + 0.45 * lamps)
            + 0.30 * arc(lip + 0.07, 0.02) * (0.5 - 0.5 * lamps)
            + 0.22 * arc(self.outer * self.thread + 0.27, 0.035) * (0.6 + 0.4 * lamps)
            + 0.18 * arc(self.outer - 0.03, 0.02);
        let dark = 0.75 * arc(lip, 0.03) + 0.6 * arc(lip + 0.11, 0.025) + 0.6 * arc(self.opening, 0.025);
        let body = 0.75 + 0.35 * ramp(lip, self.outer, r) + 0.14 * wave(turns * 3.0 + self.phase + r);
        let glass = gain(self.base, body * (1.0 - dark.min(0.9)));
        let lit = blend(glass, [0.93, 0.96, 0.94], glow.min(0.9));
        // Through the opening a little light returns from the bottom.
        let bottom = 0.25 + 0.5 * ramp(self.opening * 0.55, self.opening * 0.2, r) + 0.1 * wave(r * 9.0);
        let inside = blend([0.03, 0.03, 0.035], gain(self.base, 0.7), 0.5 * bottom);
        Face {
            colour: blend(inside, lit, ramp(self.opening - 0.012, self.opening + 0.012, r)),
            height: 0.05 * ramp(0.0, 0.08, depth)
                + 0.09 * ramp(0.12, 0.0, (r - self.opening - 0.05).abs())
                + 0.004 * ripple,
        }
    }

    fn solid(&self, p: Point) -> f32 {
        f32::from(p.length() > self.opening)
    }
}

//! Rock that is polished for its grain or its bands: granite and onyx.

use crate::dice::Dice;
use crate::synth::colour::{Rgb, Shade, blend, choose, gain, shade};
use crate::synth::field::{Point, at, cell, clouds, hash, noise, ramp, wave};
use crate::synth::product::{Face, Look, Product};

const FELDSPARS: &[Shade] = &[
    shade("grey", 0.62, 0.62, 0.61),
    shade("pink", 0.70, 0.50, 0.44),
    shade("white", 0.80, 0.79, 0.76),
    shade("dark grey", 0.30, 0.31, 0.32),
    shade("green", 0.36, 0.43, 0.36),
    shade("yellow", 0.74, 0.64, 0.46),
];

/// Grains of several minerals grown into each other.
pub struct Granite {
    look: Look,
    minerals: [Rgb; 4],
    grain: f32,
    mica: f32,
    seed: u32,
}

impl Granite {
    pub fn new(dice: &mut Dice) -> Self {
        let feldspar = choose(dice, FELDSPARS);
        let contrast = dice.between(0.3, 0.8);
        let quartz = [0.66, 0.65, 0.63];
        let look = Look {
            gloss: dice.between(0.1, 0.45),
            ..Look::new(feldspar.word, gain(feldspar.rgb, if feldspar.rgb[0] > 0.5 { 0.5 } else { 1.8 }))
        };
        Self {
            look,
            minerals: [
                feldspar.rgb,
                gain(feldspar.rgb, dice.between(0.75, 0.9)),
                blend(feldspar.rgb, quartz, contrast),
                blend(feldspar.rgb, [0.13, 0.13, 0.14], contrast),
            ],
            grain: dice.between(14.0, 27.0),
            mica: dice.between(0.66, 0.8),
            seed: dice.seed(),
        }
    }
}

impl Product for Granite {
    fn look(&self) -> &Look {
        &self.look
    }

    fn face(&self, p: Point, _depth: f32) -> Face {
        let warp = at(noise(p.x * 22.0, p.y * 22.0, self.seed ^ 4), noise(p.x * 22.0, p.y * 22.0, self.seed ^ 5));
        let q = (p + warp * 0.03) * self.grain;
        let grain = cell(q, self.seed);
        let own = hash(grain.id as i32, 3, self.seed);
        let tone = 0.88 + 0.2 * ((own >> 8 & 255) as f32 / 255.0);
        let seam = ramp(0.0, 0.12, grain.next - grain.near);
        let mut colour = gain(self.minerals[(own & 3) as usize], tone * (0.9 + 0.1 * seam));
        let mica = ramp(self.mica, self.mica + 0.08, noise(q.x * 1.7, q.y * 1.7, self.seed ^ 6));
        colour = blend(colour, self.minerals[3], 0.85 * mica);
        Face { colour: gain(colour, 0.95 + 0.1 * warp.x), height: 0.0 }
    }
}

const ONYXES: &[Shade] = &[
    shade("green", 0.44, 0.56, 0.42),
    shade("honey", 0.76, 0.58, 0.34),
    shade("red", 0.54, 0.26, 0.20),
    shade("blue", 0.34, 0.43, 0.55),
    shade("black", 0.17, 0.16, 0.17),
    shade("white", 0.82, 0.81, 0.77),
];

/// Translucent bands, laid down one over the other.
pub struct Onyx {
    look: Look,
    base: Rgb,
    pale: Rgb,
    deep: Rgb,
    bands: f32,
    bend: f32,
    eye: Option<Point>,
    seed: u32,
}

impl Onyx {
    pub fn new(dice: &mut Dice) -> Self {
        let stone = choose(dice, ONYXES);
        let contrast = dice.between(0.3, 0.75);
        let look = Look { gloss: dice.between(0.2, 0.6), ..Look::new(stone.word, gain(stone.rgb, 0.5)) };
        Self {
            look,
            base: stone.rgb,
            pale: blend(stone.rgb, [0.88, 0.85, 0.78], contrast),
            deep: gain(stone.rgb, 1.0 - 0.7 * contrast),
            bands: dice.between(1.5, 4.0),
            bend: dice.between(0.15, 0.6),
            eye: dice.chance(0.35).then(|| at(dice.between(-1.3, 1.3), dice.between(-1.3, 1.3))),
            seed: dice.seed(),
        }
    }
}

impl Product for Onyx {
    fn look(&self) -> &Look {
        &self.look
    }

    fn face(&self, p: Point, _depth: f32) -> Face {
        let swell = clouds(p * 1.4, 3, self.seed) - 0.5;
        let far = self.eye.map_or(p.y, |eye| (p - eye).length());
        let level = (far + self.bend * swell) * self.bands;
        let broad = noise(level * 1.6, 0.5, self.seed ^ 1);
        let fine = noise(level * 7.0, 0.5, self.seed ^ 2);
        let milk = clouds(p * 5.0, 2, self.seed ^ 3);
        let mut colour = blend(self.base, self.pale, ramp(0.45, 0.75, broad));
        colour = blend(colour, self.deep, ramp(0.45, 0.2, broad) * 0.8);
        colour = blend(colour, self.pale, 0.45 * ramp(0.66, 0.82, fine));
        Face { colour: gain(colour, 0.9 + 0.14 * milk + 0.04 * wave(level * 4.0)), height: 0.0 }
    }
}

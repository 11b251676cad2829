//! Stone and ceramics: glazed tile, marble, concrete, terrazzo.

use crate::dice::Dice;
use crate::synth::colour::{Rgb, Shade, blend, choose, gain, shade};
use crate::synth::field::{Point, at, cell, chance, clouds, floor, hash, noise, ramp, smooth, wave};
use crate::synth::product::{Face, Look, Product};

const GLAZES: &[Shade] = &[
    shade("white", 0.86, 0.86, 0.84),
    shade("grey", 0.56, 0.57, 0.58),
    shade("blue", 0.27, 0.42, 0.62),
    shade("green", 0.35, 0.55, 0.44),
    shade("terracotta", 0.66, 0.38, 0.26),
    shade("beige", 0.78, 0.70, 0.57),
    shade("black", 0.16, 0.16, 0.17),
];

/// Square tiles with grout between, plain, speckled or with a printed figure.
pub struct Tile {
    look: Look,
    base: Rgb,
    fleck: Rgb,
    grout: Rgb,
    joint: f32,
    side: f32,
    offset: Point,
    speckle: f32,
    figure: bool,
    seed: u32,
}

impl Tile {
    pub fn new(dice: &mut Dice) -> Self {
        let glaze = choose(dice, GLAZES);
        let clay = dice.pick(&[[0.64, 0.42, 0.31], [0.72, 0.66, 0.58], [0.5, 0.48, 0.46]]);
        let grey = dice.between(0.25, 0.72);
        let contrast = if glaze.rgb[0] + glaze.rgb[1] > 0.9 { 0.5 } else { 2.0 };
        let look = Look {
            gloss: dice.between(0.2, 0.7),
            turn: if dice.chance(0.6) { 0.04 } else { 0.5 },
            ink: gain(glaze.rgb, contrast),
            ..Look::new(glaze.word, clay)
        };
        Self {
            base: glaze.rgb,
            fleck: gain(glaze.rgb, contrast),
            grout: [grey, grey * 0.98, grey * 0.94],
            joint: dice.between(0.012, 0.03),
            side: dice.between(0.5, 1.3),
            offset: at(dice.unit() * 4.0, dice.unit() * 4.0),
            speckle: if dice.chance(0.5) { dice.between(0.3, 0.8) } else { 0.0 },
            figure: dice.chance(0.4),
            seed: dice.seed(),
            look,
        }
    }

    /// Which tile, and where on it from its middle, in tiles.
    fn place(&self, p: Point) -> ((i32, i32), Point) {
        let q = p * (1.0 / self.side) + self.offset;
        let (ix, iy) = (floor(q.x), floor(q.y));
        ((ix, iy), at(q.x - ix as f32 - 0.5, q.y - iy as f32 - 0.5))
    }
}

impl Product for Tile {
    fn look(&self) -> &Look {
        &self.look
    }

    fn face(&self, p: Point, _depth: f32) -> Face {
        let ((ix, iy), q) = self.place(p);
        let inside = (0.5 - q.x.abs().max(q.y.abs())) * self.side;
        let glaze = ramp(self.joint * 0.75, self.joint * 1.05, inside);
        let mottle = clouds(p * 5.0, 2, self.seed);
        let tone = 0.94 + 0.08 * chance(ix, iy, self.seed) + 0.06 * mottle;
        let fleck = self.speckle * ramp(0.66, 0.8, noise(p.x * 42.0, p.y * 42.0, self.seed ^ 1));
        let mut colour = blend(gain(self.base, tone), self.fleck, fleck);
        if self.figure {
            colour = blend(colour, self.look.ink, 0.8 * self.ink(p).unwrap_or(0.0));
        }
        let sand = noise(p.x * 70.0, p.y * 70.0, self.seed ^ 2);
        let colour = blend(gain(self.grout, 0.8 + 0.3 * sand), colour, glaze);
        let dome = ramp(self.joint * 0.7, self.joint * 2.4, inside);
        Face { colour, height: 0.018 * dome + 0.0012 * mottle + (1.0 - glaze) * 0.0015 * sand }
    }

    fn solid(&self, p: Point) -> f32 {
        let (_, q) = self.place(p);
        f32::from((0.5 - q.x.abs().max(q.y.abs())) * self.side > self.joint * 0.5)
    }

    fn ink(&self, p: Point) -> Option<f32> {
        if !self.figure {
            return None;
        }
        let (_, q) = self.place(p);
        let radius = q.length();
        let petals = 0.26 + 0.09 * wave(q.turns() * 8.0);
        let blossom = ramp(0.02, 0.0, (radius - petals).abs() - 0.022);
        let diamond = ramp(0.02, 0.0, (q.x.abs() + q.y.abs() - 0.44).abs() - 0.018);
        Some(blossom.max(diamond).max(ramp(0.09, 0.07, radius)))
    }
}

const MARBLES: &[Shade] = &[
    shade("white", 0.86, 0.86, 0.86),
    shade("grey", 0.58, 0.59, 0.61),
    shade("green", 0.25, 0.38, 0.31),
    shade("black", 0.14, 0.14, 0.15),
    shade("pink", 0.78, 0.62, 0.57),
    shade("cream", 0.83, 0.77, 0.66),
];

/// Polished, with cloudy veins.
pub struct Marble {
    look: Look,
    base: Rgb,
    vein: Rgb,
    scale: f32,
    strength: f32,
    seed: u32,
}

impl Marble {
    pub fn new(dice: &mut Dice) -> Self {
        let stone = choose(dice, MARBLES);
        let dark = stone.rgb[1] < 0.45;
        let vein = if dark { blend(stone.rgb, [0.8, 0.8, 0.76], 0.6) } else { gain(stone.rgb, 0.55) };
        let raw = blend(stone.rgb, [0.62, 0.6, 0.58], 0.7);
        let look = Look { gloss: dice.between(0.15, 0.5), ..Look::new(stone.word, raw) };
        Self {
            look,
            base: stone.rgb,
            vein,
            scale: dice.between(0.8, 1.7),
            strength: dice.between(0.45, 0.9),
            seed: dice.seed(),
        }
    }
}

impl Product for Marble {
    fn look(&self) -> &Look {
        &self.look
    }

    fn face(&self, p: Point, _depth: f32) -> Face {
        let q = p * self.scale;
        let warp = at(clouds(q * 1.3, 3, self.seed) - 0.5, clouds(q * 1.3, 2, self.seed ^ 77) - 0.5);
        let q = q + warp * 1.6;
        let ridge = |v: f32| {
            let r = 1.0 - (2.0 * v - 1.0).abs();
            r * r * r
        };
        let broad = ridge(noise(q.x * 1.1, q.y * 2.0, self.seed ^ 3));
        let thin = ridge(noise(q.x * 3.1 + 9.0, q.y * 4.6, self.seed ^ 4));
        let veins = self.strength * (0.65 * broad * broad + 0.5 * thin * thin * thin * smooth(broad * 2.0));
        let cloud = clouds(p * 3.0, 2, self.seed ^ 5);
        Face { colour: blend(gain(self.base, 0.92 + 0.13 * cloud), self.vein, veins.min(1.0)), height: 0.0 }
    }
}

/// Cast grey, with sand and small pores.
pub struct Concrete {
    look: Look,
    base: Rgb,
    pores: f32,
    seed: u32,
}

impl Concrete {
    pub fn new(dice: &mut Dice) -> Self {
        let level = dice.between(0.42, 0.68);
        let warmth = dice.between(-0.02, 0.05);
        let base = [level + warmth, level, level - warmth];
        let word = if level < 0.5 { "dark grey" } else { "grey" };
        let look = Look { gloss: 0.0, ..Look::new(word, gain(base, 0.6)) };
        Self { look, base, pores: dice.between(0.07, 0.16), seed: dice.seed() }
    }
}

impl Product for Concrete {
    fn look(&self) -> &Look {
        &self.look
    }

    fn face(&self, p: Point, _depth: f32) -> Face {
        let stain = clouds(p * 1.5, 3, self.seed);
        let sand = clouds(p * 42.0, 2, self.seed ^ 1);
        let grain = cell(p * 16.0, self.seed ^ 2);
        // Only some cells hold a pore, and those are small.
        let pore = f32::from(grain.id & 7 == 0) * ramp(self.pores * 2.0, self.pores, grain.near);
        Face {
            colour: gain(self.base, (0.78 + 0.28 * stain) * (0.8 + 0.36 * sand) * (1.0 - 0.45 * pore)),
            height: 0.006 * sand - 0.008 * pore,
        }
    }
}

/// Chips of stone in cement, ground flat.
pub struct Terrazzo {
    look: Look,
    cement: Rgb,
    chips: [Rgb; 4],
    scale: f32,
    seed: u32,
}

impl Terrazzo {
    pub fn new(dice: &mut Dice) -> Self {
        let cement = choose(dice, &[GLAZES[0], GLAZES[1], GLAZES[5], GLAZES[3]]);
        let variety = dice.between(0.3, 0.6);
        let chips = [0; 4].map(|_| blend(cement.rgb, choose(dice, MARBLES).rgb, variety));
        let look = Look { gloss: dice.between(0.05, 0.35), ..Look::new(cement.word, gain(cement.rgb, 0.55)) };
        Self { look, cement: cement.rgb, chips, scale: dice.between(4.0, 8.0), seed: dice.seed() }
    }
}

impl Product for Terrazzo {
    fn look(&self) -> &Look {
        &self.look
    }

    fn face(&self, p: Point, _depth: f32) -> Face {
        let dust = noise(p.x * 60.0, p.y * 60.0, self.seed ^ 9);
        let mut colour = gain(self.cement, 0.93 + 0.1 * dust);
        for (scale, least, seed) in [(2.7, 0.16, self.seed ^ 5), (1.0, 0.10, self.seed)] {
            let cell = cell(p * (self.scale * scale), seed);
            let own = hash(cell.id as i32, 3, self.seed);
            let chip = ramp(least, least + 0.07, cell.next - cell.near) * f32::from(own & 3 != 0);
            let tone = 0.9 + 0.2 * ((own >> 8 & 255) as f32 / 255.0);
            colour = blend(colour, gain(self.chips[(own >> 4 & 3) as usize], tone), chip);
        }
        Face { colour, height: 0.0 }
    }
}

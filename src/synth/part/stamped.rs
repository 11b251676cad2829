//! Punched and drawn from sheet: crown caps, sprockets, lock washers.

use std::f32::consts::TAU;

use crate::dice::Dice;
use crate::synth::colour::{DYES, METALS, Rgb, blend, choose, gain, luma};
use crate::synth::field::{Point, at, clouds, floor, fraction, mix, noise, ramp, wave};
use crate::synth::product::{Face, Look, Piece, Product};
use crate::synth::text;

#[derive(Clone, Copy)]
enum Logo {
    Letters(i32),
    Star(f32),
    Disc,
    Bars,
}

/// A bottle's cap with crimped skirt and a print: a band, words around, a mark in the middle.
pub struct CrownCap {
    look: Look,
    base: Rgb,
    band: Rgb,
    crimps: f32,
    wide: f32,
    words: i32,
    logo: Logo,
    code: u32,
    seed: u32,
}

const CAP: f32 = 0.8;
/// Where the face of a cap bends into its skirt.
const SHOULDER: f32 = 0.64;

impl CrownCap {
    pub fn new(dice: &mut Dice) -> Self {
        let paint = if dice.chance(0.3) { choose(dice, METALS) } else { choose(dice, DYES) };
        let light = luma(paint.rgb) > 0.45;
        let inks: &[Rgb] = if light {
            &[[0.12, 0.12, 0.14], [0.52, 0.10, 0.12], [0.12, 0.20, 0.45], [0.10, 0.32, 0.20]]
        } else {
            &[[0.90, 0.90, 0.88], [0.90, 0.90, 0.88], [0.88, 0.74, 0.34]]
        };
        let banded = dice.chance(0.5);
        let other = blend(paint.rgb, choose(dice, DYES).rgb, 0.45);
        Self {
            look: Look {
                gloss: dice.between(0.25, 0.7),
                ink: dice.pick(inks),
                ..Look::new(paint.word, if light { [0.36, 0.36, 0.38] } else { [0.70, 0.71, 0.72] })
            },
            base: paint.rgb,
            band: if banded { other } else { paint.rgb },
            crimps: 17.0 + dice.below(9) as f32,
            wide: dice.between(0.36, 0.42),
            words: if dice.chance(0.75) { 9 + dice.below(12) as i32 } else { 0 },
            logo: match dice.below(4) {
                0 => Logo::Letters(1 + dice.below(3) as i32),
                1 => Logo::Star(5.0 + dice.below(4) as f32),
                2 => Logo::Disc,
                _ => Logo::Bars,
            },
            code: dice.seed(),
            seed: dice.seed(),
        }
    }
}

impl Product for CrownCap {
    fn look(&self) -> &Look {
        &self.look
    }

    fn outline(&self, p: Point) -> f32 {
        p.length() - CAP - 0.03 * wave(p.turns() * self.crimps)
    }

    fn face(&self, p: Point, _depth: f32) -> Face {
        let r = p.length();
        let skirt = ramp(SHOULDER - 0.03, CAP + 0.03, r);
        let flute = wave(p.turns() * self.crimps);
        let mottle = clouds(p * 8.0, 2, self.seed);
        let fine = noise(p.x * 55.0, p.y * 55.0, self.seed ^ 1);
        let band = ramp(self.wide - 0.01, self.wide + 0.01, r);
        let paint = gain(blend(self.base, self.band, band), 0.93 + 0.07 * mottle + 0.04 * fine);
        let shaded = gain(paint, 1.0 - skirt * (0.22 - 0.16 * flute));
        Face {
            colour: blend(shaded, self.look.ink, 0.88 * self.ink(p).unwrap_or(0.0)),
            height: -0.22 * skirt + 0.05 * skirt * flute - 0.03 * r * r,
        }
    }

    fn ink(&self, p: Point) -> Option<f32> {
        let r = p.length();
        let words = if self.words > 0 { text::around(p, 0.5, 0.12, self.words, self.code) } else { 0.0 };
        let logo = match self.logo {
            Logo::Letters(count) => text::line(p, mix(0.5, 0.24, 0.5 * (count - 1) as f32), count, self.code ^ 1),
            Logo::Star(tips) => {
                let tip = (fraction(p.turns() * tips) - 0.5).abs() * 2.0;
                ramp(0.015, -0.015, r - 0.3 * (0.45 + 0.55 * tip))
            }
            Logo::Disc => ramp(0.015, -0.015, (r - 0.2).abs() - 0.05).max(ramp(0.1, 0.07, r)),
            Logo::Bars => ramp(0.06, 0.045, (fraction(p.y * 5.5) - 0.5).abs() * 0.3) * ramp(0.31, 0.29, r),
        };
        Some(words.max(logo))
    }
}

/// A chain wheel: round seats between the teeth, a bore, windows in its web.
pub struct Sprocket {
    look: Look,
    base: Rgb,
    teeth: f32,
    seat: f32,
    bore: f32,
    windows: f32,
    round: bool,
    seed: u32,
}

const SPROCKET: f32 = 0.84;

impl Sprocket {
    pub fn new(dice: &mut Dice) -> Self {
        let metal = if dice.chance(0.25) { choose(dice, DYES) } else { choose(dice, METALS) };
        let look = Look { gloss: dice.between(0.1, 0.5), pieces: true, ..Look::new(metal.word, gain(metal.rgb, 0.5)) };
        let teeth = 9.0 + dice.below(20) as f32;
        Self {
            look,
            base: metal.rgb,
            teeth,
            seat: TAU * SPROCKET / teeth * dice.between(0.28, 0.36),
            bore: dice.between(0.10, 0.26),
            windows: if dice.chance(0.6) { 3.0 + dice.below(4) as f32 } else { 0.0 },
            round: dice.chance(0.5),
            seed: dice.seed(),
        }
    }

    /// Where the teeth begin.
    fn root(&self) -> f32 {
        SPROCKET - 0.8 * self.seat
    }
}

/// A place turned into the sector around a direction, of `count`: how far out of a radius, how far aside.
fn sector(p: Point, count: f32, radius: f32) -> Point {
    let angle = (fraction(p.turns() * count) - 0.5) / count * TAU;
    at(p.length() - radius, angle * radius)
}

impl Product for Sprocket {
    fn look(&self) -> &Look {
        &self.look
    }

    fn outline(&self, p: Point) -> f32 {
        let r = p.length();
        let seat = sector(p, self.teeth, SPROCKET).length() - self.seat;
        let mut outline = (r - SPROCKET).max(-seat).max(self.bore - r);
        if self.windows > 0.0 {
            let (low, high) = (self.bore + 0.12, self.root() - self.seat * 0.2 - 0.1);
            let q = sector(p, self.windows, 0.5 * (low + high));
            let width = 0.5 * (high - low);
            let window = if self.round {
                q.length() - width.min(0.14)
            } else {
                (q.x.abs() - width).max(q.y.abs() - 0.32 * TAU * 0.5 * (low + high) / self.windows)
            };
            outline = outline.max(-window);
        }
        outline
    }

    fn face(&self, p: Point, depth: f32) -> Face {
        let r = p.length();
        let mottle = clouds(p * 7.0, 2, self.seed);
        let fine = noise(p.x * 48.0, p.y * 48.0, self.seed ^ 1);
        let hub = ramp(self.bore + 0.09, self.bore + 0.06, r);
        Face {
            colour: gain(self.base, 0.82 + 0.16 * mottle + 0.1 * fine),
            height: 0.035 * ramp(0.0, 0.045, depth) + 0.05 * hub + 0.001 * fine,
        }
    }

    fn piece(&self, p: Point) -> Option<Piece> {
        // A tooth stands between two seats.
        let id = floor(p.turns() * self.teeth + 0.5).rem_euclid(self.teeth as i32) as u32;
        (p.length() > self.root()).then_some(Piece { id, bed: None })
    }
}

/// A flat ring with twisted teeth, outside or inside.
pub struct LockWasher {
    look: Look,
    base: Rgb,
    teeth: f32,
    outside: bool,
    ring: f32,
    width: f32,
    share: f32,
    twist: f32,
    seed: u32,
}

impl LockWasher {
    pub fn new(dice: &mut Dice) -> Self {
        let metal = choose(dice, METALS);
        let look = Look { gloss: dice.between(0.15, 0.5), pieces: true, ..Look::new(metal.word, gain(metal.rgb, 0.5)) };
        let outside = dice.chance(0.6);
        Self {
            look,
            base: metal.rgb,
            teeth: 8.0 + dice.below(11) as f32,
            outside,
            ring: if outside { dice.between(0.46, 0.56) } else { dice.between(0.64, 0.74) },
            width: dice.between(0.07, 0.12),
            share: dice.between(0.26, 0.36),
            twist: dice.sign() * dice.between(0.04, 0.12),
            seed: dice.seed(),
        }
    }
}

impl Product for LockWasher {
    fn look(&self) -> &Look {
        &self.look
    }

    fn outline(&self, p: Point) -> f32 {
        let r = p.length();
        let ring = (r - self.ring).abs() - self.width;
        let (low, high) = if self.outside { (self.ring, 0.84) } else { (0.36, self.ring) };
        let aside = (fraction(p.turns() * self.teeth) - 0.5).abs() / self.teeth * TAU * r;
        let tooth = (aside - self.share * TAU * 0.5 * (low + high) / self.teeth).max(r - high).max(low - r);
        ring.min(tooth)
    }

    fn face(&self, p: Point, depth: f32) -> Face {
        let r = p.length();
        let mottle = clouds(p * 7.0, 2, self.seed);
        let fine = noise(p.x * 50.0, p.y * 50.0, self.seed ^ 1);
        let aside = (fraction(p.turns() * self.teeth) - 0.5) / self.teeth * TAU * r;
        let out = if self.outside { r - self.ring } else { self.ring - r };
        let tooth = ramp(self.width - 0.02, self.width + 0.1, out);
        Face {
            colour: gain(self.base, 0.82 + 0.16 * mottle + 0.1 * fine),
            height: 0.03 * ramp(0.0, 0.04, depth) + self.twist * 8.0 * aside * tooth + 0.001 * fine,
        }
    }

    fn piece(&self, p: Point) -> Option<Piece> {
        let id = floor(p.turns() * self.teeth).rem_euclid(self.teeth as i32) as u32;
        let out = if self.outside { p.length() - self.ring } else { self.ring - p.length() };
        (out > self.width).then_some(Piece { id, bed: None })
    }
}

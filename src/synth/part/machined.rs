//! Milled and stamped steel: gears, hexagon nuts, screw heads.

use std::f32::consts::TAU;

use crate::dice::Dice;
use crate::synth::colour::{METALS, Rgb, Shade, choose, gain, shade};
use crate::synth::field::{Point, at, clouds, fraction, noise, ramp, smooth, to_rectangle};
use crate::synth::product::{Face, Look, Product};

use super::turned::fans;

const FINISHES: &[Shade] = &[
    shade("steel", 0.58, 0.60, 0.62),
    shade("black", 0.20, 0.20, 0.21),
    shade("zinc-plated", 0.68, 0.70, 0.72),
    shade("brass", 0.74, 0.61, 0.34),
    shade("yellow-plated", 0.70, 0.62, 0.38),
];

/// A spur gear with a bore, a hub and perhaps holes in its web.
pub struct Gear {
    look: Look,
    base: Rgb,
    teeth: f32,
    root: f32,
    bore: f32,
    key: bool,
    holes: f32,
    seed: u32,
}

const GEAR: f32 = 0.82;

impl Gear {
    pub fn new(dice: &mut Dice) -> Self {
        let metal = choose(dice, METALS);
        let look = Look { gloss: dice.between(0.1, 0.4), ..Look::new(metal.word, gain(metal.rgb, 0.5)) };
        let teeth = 12.0 + dice.below(17) as f32;
        Self {
            look,
            base: metal.rgb,
            teeth,
            root: GEAR - 2.4 / teeth,
            bore: dice.between(0.13, 0.21),
            key: dice.chance(0.5),
            holes: if dice.chance(0.5) { 3.0 + dice.below(4) as f32 } else { 0.0 },
            seed: dice.seed(),
        }
    }
}

impl Product for Gear {
    fn look(&self) -> &Look {
        &self.look
    }

    fn outline(&self, p: Point) -> f32 {
        let r = p.length();
        let turns = p.turns();
        let centred = (fraction(turns * self.teeth) - 0.5).abs() / self.teeth * TAU * r;
        // A tooth narrows towards its tip.
        let share = ((r - self.root) / (GEAR - self.root)).clamp(0.0, 1.0);
        let pitch = TAU * GEAR / self.teeth;
        let flank = centred - pitch * (0.32 - 0.16 * share);
        let mut outline = (r - self.root).min(flank.max(r - GEAR));
        let mut bore = r - self.bore;
        if self.key {
            bore = bore.min(to_rectangle(p - at(0.0, -self.bore), at(0.055, 0.07), 0.0));
        }
        outline = outline.max(-bore);
        if self.holes > 0.0 {
            let middle = 0.5 * (self.root + self.bore) + 0.03;
            let angle = (fraction(turns * self.holes) - 0.5) / self.holes * TAU;
            let hole = at(r - middle, angle * middle).length() - 0.095;
            outline = outline.max(-hole);
        }
        outline
    }

    fn face(&self, p: Point, depth: f32) -> Face {
        let r = p.length();
        let marks = noise(r * 85.0, p.turns() * 3.0, self.seed);
        let mottle = clouds(p * 7.0, 2, self.seed ^ 1);
        let hub = ramp(self.bore + 0.15, self.bore + 0.12, r);
        let web = ramp(self.root - 0.1, self.root - 0.07, r);
        Face {
            colour: gain(self.base, 0.8 + 0.15 * marks + 0.12 * mottle + 0.08 * fans(p)),
            height: 0.025 * ramp(0.0, 0.03, depth) + 0.035 * hub.max(web) + 0.0012 * marks,
        }
    }
}

/// A nut: hexagon with a turned face and threads in its bore.
pub struct HexNut {
    look: Look,
    base: Rgb,
    bore: f32,
    seed: u32,
}

/// Centre to flat.
const NUT: f32 = 0.68;

fn to_hexagon(p: Point, flat: f32) -> f32 {
    let (x, y) = (p.x.abs(), p.y.abs());
    x.max(0.5 * x + 0.866_025_4 * y) - flat
}

impl HexNut {
    pub fn new(dice: &mut Dice) -> Self {
        let finish = choose(dice, FINISHES);
        let look = Look { gloss: dice.between(0.15, 0.45), ..Look::new(finish.word, [0.45, 0.45, 0.47]) };
        Self { look, base: finish.rgb, bore: dice.between(0.32, 0.42), seed: dice.seed() }
    }
}

impl Product for HexNut {
    fn look(&self) -> &Look {
        &self.look
    }

    fn outline(&self, p: Point) -> f32 {
        to_hexagon(p, NUT).max(self.bore - 0.07 - p.length())
    }

    fn face(&self, p: Point, depth: f32) -> Face {
        let r = p.length();
        let marks = noise(r * 70.0, p.turns() * 4.0, self.seed);
        let mottle = clouds(p * 6.0, 3, self.seed ^ 1);
        // Beyond the turned circle the corners fall away.
        let corner = ramp(NUT - 0.02, NUT + 0.12, r);
        let inside = ramp(self.bore, self.bore - 0.02, r);
        let thread = fraction((self.bore - r) * 42.0 + p.turns());
        let tone = 0.78 + 0.12 * marks + 0.18 * mottle + 0.07 * fans(p);
        Face {
            colour: gain(self.base, tone * (1.0 - inside * (0.35 + 0.4 * smooth(thread)))),
            height: 0.04 * ramp(0.0, 0.03, depth) - 0.05 * corner + 0.04 * ramp(self.bore, self.bore + 0.06, r),
        }
    }
}

#[derive(Clone, Copy)]
enum Drive {
    Slot,
    Cross,
    Hexagon,
    Star,
}

/// A round head with a recess for the driver.
pub struct ScrewHead {
    look: Look,
    base: Rgb,
    drive: Drive,
    domed: f32,
    seed: u32,
}

const HEAD: f32 = 0.74;

impl ScrewHead {
    pub fn new(dice: &mut Dice) -> Self {
        let finish = choose(dice, FINISHES);
        let look = Look { gloss: dice.between(0.2, 0.6), ..Look::new(finish.word, [0.45, 0.45, 0.47]) };
        Self {
            look,
            base: finish.rgb,
            drive: dice.pick(&[Drive::Slot, Drive::Cross, Drive::Hexagon, Drive::Star]),
            domed: dice.between(0.05, 0.3),
            seed: dice.seed(),
        }
    }

    /// Distance to the recess, negative inside.
    fn recess(&self, p: Point) -> f32 {
        match self.drive {
            Drive::Slot => to_rectangle(p, at(HEAD * 0.86, 0.085), 0.03),
            Drive::Cross => to_rectangle(p, at(0.36, 0.085), 0.03)
                .min(to_rectangle(p, at(0.085, 0.36), 0.03))
                .min(p.length() - 0.15),
            Drive::Hexagon => to_hexagon(p, 0.30),
            Drive::Star => {
                let lobe = (fraction(p.turns() * 6.0) - 0.5).abs() * 2.0;
                p.length() - 0.25 - 0.1 * smooth(lobe)
            }
        }
    }
}

impl Product for ScrewHead {
    fn look(&self) -> &Look {
        &self.look
    }

    fn outline(&self, p: Point) -> f32 {
        p.length() - HEAD
    }

    fn face(&self, p: Point, depth: f32) -> Face {
        let r = p.length();
        let marks = noise(r * 75.0, p.turns() * 3.0, self.seed);
        let mottle = clouds(p * 5.0, 3, self.seed ^ 1);
        let recess = self.recess(p);
        let deep = ramp(0.015, -0.035, recess);
        let t = (depth / HEAD).clamp(0.0, 1.0);
        let tone = 0.80 + 0.14 * marks + 0.12 * mottle + 0.08 * fans(p);
        Face {
            colour: gain(self.base, tone * (1.0 - 0.62 * deep)),
            height: self.domed * (t * (2.0 - t)).sqrt() + 0.03 * ramp(0.0, 0.05, depth) - 0.06 * deep + 0.001 * marks,
        }
    }
}

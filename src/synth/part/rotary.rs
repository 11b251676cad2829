//! What drives air or water: impellers.

use std::f32::consts::TAU;

use crate::dice::Dice;
use crate::synth::colour::{DYES, METALS, Rgb, choose, gain};
use crate::synth::field::{Point, clouds, floor, fraction, noise, ramp};
use crate::synth::product::{Face, Look, Piece, Product};

/// Curved blades around a hub, free or on a plate.
pub struct Impeller {
    look: Look,
    base: Rgb,
    blades: f32,
    share: f32,
    curve: f32,
    pitch: f32,
    hub: f32,
    bore: f32,
    plate: bool,
    rim: bool,
    seed: u32,
}

const IMPELLER: f32 = 0.84;

impl Impeller {
    pub fn new(dice: &mut Dice) -> Self {
        let material = if dice.chance(0.3) { choose(dice, METALS) } else { choose(dice, DYES) };
        let plate = dice.chance(0.45);
        let look = Look {
            gloss: dice.between(0.05, 0.4),
            pieces: true,
            ..Look::new(material.word, gain(material.rgb, if material.rgb[1] > 0.3 { 0.55 } else { 1.9 }))
        };
        let hub = dice.between(0.2, 0.32);
        Self {
            look,
            base: material.rgb,
            blades: if plate { 6.0 + dice.below(9) as f32 } else { 5.0 + dice.below(7) as f32 },
            share: if plate { dice.between(0.1, 0.2) } else { dice.between(0.42, 0.68) },
            curve: dice.sign() * dice.between(0.0, 0.28),
            pitch: dice.sign() * dice.between(0.1, 0.25),
            hub,
            bore: hub * dice.between(0.0, 0.5),
            plate,
            rim: dice.chance(0.3),
            seed: dice.seed(),
        }
    }

    /// Turns counted along the blades, one to a blade.
    fn swept(&self, p: Point) -> f32 {
        p.turns() * self.blades + self.curve * self.blades * p.length()
    }

    /// Distance to the nearest blade, negative inside, and how far across it, -0.5 … 0.5 of the spacing.
    fn to_blade(&self, p: Point) -> (f32, f32) {
        let across = fraction(self.swept(p)) - 0.5;
        let r = p.length();
        // Where blades lie aslant, they are nearer than along the circle.
        let slant = TAU * self.curve * r;
        let spacing = TAU * r / self.blades / (1.0 + slant * slant).sqrt();
        ((across.abs() - 0.5 * self.share) * spacing, across)
    }
}

impl Product for Impeller {
    fn look(&self) -> &Look {
        &self.look
    }

    fn outline(&self, p: Point) -> f32 {
        let r = p.length();
        let mut outline = r - IMPELLER;
        if !self.plate {
            outline = outline.max(self.to_blade(p).0).min(r - self.hub);
            if self.rim {
                outline = outline.min((r - IMPELLER).abs() - 0.035);
            }
        }
        outline.max(self.bore - r)
    }

    fn face(&self, p: Point, depth: f32) -> Face {
        let r = p.length();
        let (blade, across) = self.to_blade(p);
        let matt = clouds(p * 16.0, 2, self.seed);
        let fine = noise(p.x * 45.0, p.y * 45.0, self.seed ^ 1);
        let hub = ramp(self.hub + 0.01, self.hub - 0.03, r);
        let mut tone = 0.86 + 0.1 * matt + 0.06 * fine;
        let mut height = 0.03 * ramp(0.0, 0.04, depth) + 0.001 * fine;
        if self.plate {
            let raised = ramp(0.012, -0.02, blade) * ramp(IMPELLER, IMPELLER - 0.04, r);
            tone *= 0.8 + 0.2 * raised.max(hub);
            height += 0.09 * raised.max(hub);
        } else {
            height += self.pitch * across / self.blades * TAU * r * (1.0 - hub) + 0.06 * hub;
        }
        Face { colour: gain(self.base, tone), height }
    }

    fn piece(&self, p: Point) -> Option<Piece> {
        let r = p.length();
        let blade = self.to_blade(p).0 < 0.012 && r > self.hub + 0.01;
        let free = !self.rim || r < IMPELLER - 0.035;
        let bed = Face { colour: self.look.under, height: 0.03 };
        (blade && (free || self.plate)).then(|| Piece {
            id: floor(self.swept(p)).rem_euclid(self.blades as i32) as u32,
            bed: self.plate.then_some(bed),
        })
    }
}

//! Metal by the metre: brushed sheet, perforated sheet, wire mesh, chequer plate.

use crate::dice::Dice;
use crate::synth::colour::{METALS, Rgb, blend, choose, gain};
use crate::synth::field::{Point, at, chance, clouds, floor, fraction, noise, ramp, to_rectangle};
use crate::synth::product::{Face, Look, Product};

/// Fine parallel streaks.
pub struct Brushed {
    look: Look,
    base: Rgb,
    fine: f32,
    seed: u32,
}

impl Brushed {
    pub fn new(dice: &mut Dice) -> Self {
        let metal = choose(dice, METALS);
        let look = Look {
            gloss: dice.between(0.25, 0.55),
            zoom: (0.7, 1.3),
            ..Look::new(metal.word, gain(metal.rgb, dice.pick(&[0.45, 1.45])))
        };
        Self { look, base: metal.rgb, fine: dice.between(45.0, 95.0), seed: dice.seed() }
    }
}

impl Product for Brushed {
    fn look(&self) -> &Look {
        &self.look
    }

    fn face(&self, p: Point, _depth: f32) -> Face {
        let streak = 0.45 * noise(p.x * 2.2, p.y * self.fine, self.seed)
            + 0.35 * noise(p.x * 6.0, p.y * self.fine * 1.7, self.seed ^ 1)
            + 0.20 * noise(p.x * 0.6, p.y * 11.0, self.seed ^ 2);
        Face { colour: gain(self.base, 0.78 + 0.44 * streak), height: streak * 0.22 / self.fine }
    }
}

#[derive(Clone, Copy)]
enum Opening {
    Round,
    Square,
    Slot,
}

/// Sheet with rows of punched holes.
pub struct Perforated {
    look: Look,
    base: Rgb,
    pitch: f32,
    radius: f32,
    opening: Opening,
    staggered: bool,
    seed: u32,
}

impl Perforated {
    pub fn new(dice: &mut Dice) -> Self {
        let metal = choose(dice, METALS);
        let look = Look {
            gloss: dice.between(0.1, 0.4),
            open: true,
            zoom: (0.8, 1.25),
            ..Look::new(metal.word, gain(metal.rgb, 0.5))
        };
        Self {
            look,
            base: metal.rgb,
            pitch: dice.between(0.17, 0.34),
            radius: dice.between(0.24, 0.34),
            opening: dice.pick(&[Opening::Round, Opening::Round, Opening::Square, Opening::Slot]),
            staggered: dice.chance(0.6),
            seed: dice.seed(),
        }
    }
}

impl Product for Perforated {
    fn look(&self) -> &Look {
        &self.look
    }

    fn outline(&self, p: Point) -> f32 {
        let v = p.y / self.pitch * if self.staggered { 1.1547 } else { 1.0 };
        let shift = if self.staggered && floor(v) & 1 == 1 { 0.5 } else { 0.0 };
        let q = at(fraction(p.x / self.pitch + shift) - 0.5, fraction(v) - 0.5);
        let hole = match self.opening {
            Opening::Round => q.length() - self.radius,
            Opening::Square => to_rectangle(q, at(self.radius, self.radius), 0.05),
            Opening::Slot => to_rectangle(q, at(self.radius + 0.08, self.radius * 0.5), self.radius * 0.5),
        };
        -hole * self.pitch
    }

    fn face(&self, p: Point, depth: f32) -> Face {
        let grain = clouds(p * 22.0, 2, self.seed);
        let rolled = noise(p.x * 3.0, p.y * 40.0, self.seed ^ 1);
        // The punch rounds the edges.
        let edge = ramp(0.0, 0.16 * self.pitch, depth);
        Face {
            colour: gain(self.base, 0.86 + 0.14 * grain + 0.1 * rolled),
            height: 0.05 * self.pitch * edge + 0.001 * grain,
        }
    }
}

/// Wires over and under each other.
pub struct Mesh {
    look: Look,
    base: Rgb,
    pitch: f32,
    radius: f32,
    woven: bool,
    seed: u32,
}

impl Mesh {
    pub fn new(dice: &mut Dice) -> Self {
        let metal = choose(dice, METALS);
        let look = Look { gloss: 0.35, open: true, zoom: (0.8, 1.3), ..Look::new(metal.word, gain(metal.rgb, 0.55)) };
        Self {
            look,
            base: metal.rgb,
            pitch: dice.between(0.10, 0.21),
            radius: dice.between(0.14, 0.22),
            woven: dice.chance(0.7),
            seed: dice.seed(),
        }
    }

    /// Distances to the nearest wire either way, in pitches, and which of the two lies on top.
    fn wires(&self, p: Point) -> (f32, f32, bool) {
        let wobble = 0.07 * (noise(p.x * 3.0, p.y * 3.0, self.seed) - 0.5);
        let (u, v) = (p.x / self.pitch + wobble, p.y / self.pitch - wobble);
        let (iu, iv) = (floor(u + 0.5), floor(v + 0.5));
        ((u - iu as f32).abs(), (v - iv as f32).abs(), (iu ^ iv) & 1 == 0)
    }
}

impl Product for Mesh {
    fn look(&self) -> &Look {
        &self.look
    }

    fn outline(&self, p: Point) -> f32 {
        let (du, dv, _) = self.wires(p);
        (du.min(dv) - self.radius) * self.pitch
    }

    fn face(&self, p: Point, _depth: f32) -> Face {
        let (du, dv, first) = self.wires(p);
        let round = |d: f32| (1.0 - (d / self.radius) * (d / self.radius)).max(0.0).sqrt();
        let (a, b) = (round(du), round(dv));
        let lift = if self.woven { 0.8 } else { 0.0 };
        let (a, b) = if first { (a + lift * f32::from(a > 0.0), b) } else { (a, b + lift * f32::from(b > 0.0)) };
        let top = a.max(b);
        let dull = chance(floor(p.x * 40.0), floor(p.y * 40.0), self.seed) * 0.08;
        let colour = blend(gain(self.base, 0.4), self.base, (top / (1.0 + lift) + 0.15).min(1.0));
        Face { colour: gain(colour, 1.05 - dull), height: top * self.radius * self.pitch * 0.8 }
    }
}

/// Rolled floor plate with raised bars, each field's crosswise to its neighbours'.
pub struct ChequerPlate {
    look: Look,
    base: Rgb,
    pitch: f32,
    bars: f32,
    long: f32,
    worn: f32,
    seed: u32,
}

impl ChequerPlate {
    pub fn new(dice: &mut Dice) -> Self {
        let metal = choose(dice, METALS);
        let look =
            Look { gloss: dice.between(0.1, 0.45), zoom: (0.8, 1.3), ..Look::new(metal.word, gain(metal.rgb, 0.5)) };
        let bars = dice.pick(&[1.0, 1.0, 2.0, 3.0, 5.0]);
        Self {
            look,
            base: metal.rgb,
            pitch: if bars > 1.0 { dice.between(0.26, 0.44) } else { dice.between(0.14, 0.28) },
            bars,
            long: dice.between(0.36, 0.46),
            worn: dice.between(0.0, 0.3),
            seed: dice.seed(),
        }
    }

    /// How high on a bar, 0 … 1.
    fn raised(&self, p: Point) -> f32 {
        let (u, v) = (p.x / self.pitch, p.y / self.pitch);
        let (ix, iy) = (floor(u), floor(v));
        let q = at(u - ix as f32 - 0.5, v - iy as f32 - 0.5);
        let q = if (ix ^ iy) & 1 == 0 { q } else { at(q.y, q.x) };
        let share = 0.84 / self.bars;
        let index = (floor(q.y / share + 0.5 * self.bars) as f32).clamp(0.0, self.bars - 1.0);
        let across = q.y - (index + 0.5 - 0.5 * self.bars) * share;
        // A lens: pointed where the bar ends.
        let taper = 1.0 - (q.x / self.long) * (q.x / self.long);
        let half = (share * 0.36).min(0.16) * taper;
        ramp(0.02, -0.05, across.abs() - half)
    }
}

impl Product for ChequerPlate {
    fn look(&self) -> &Look {
        &self.look
    }

    fn face(&self, p: Point, _depth: f32) -> Face {
        let raised = self.raised(p);
        let mill = clouds(p * 14.0, 2, self.seed);
        let rolled = noise(p.x * 3.0, p.y * 30.0, self.seed ^ 1);
        let tone = 0.8 + 0.16 * mill + 0.08 * rolled + self.worn * raised;
        Face { colour: gain(self.base, tone), height: 0.16 * self.pitch * raised + 0.0015 * mill }
    }
}

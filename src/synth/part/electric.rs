//! Electrical parts with rows of openings, screws and legs: terminal blocks, chip packages.

use crate::dice::Dice;
use crate::synth::colour::{DYES, Rgb, Shade, blend, choose, gain, luma, shade};
use crate::synth::field::{Point, at, chance, clouds, floor, fraction, hash, noise, ramp, to_rectangle};
use crate::synth::product::{Face, Look, Piece, Product};
use crate::synth::text;

/// Poles side by side, each with a screw, an opening for the wire and perhaps a number.
pub struct TerminalBlock {
    look: Look,
    base: Rgb,
    metal: Rgb,
    poles: i32,
    pitch: f32,
    half: Point,
    screw: f32,
    round: bool,
    cross: bool,
    barrier: bool,
    mirrored: bool,
    numbered: bool,
    code: u32,
    seed: u32,
}

impl TerminalBlock {
    pub fn new(dice: &mut Dice) -> Self {
        let plastic = choose(dice, DYES);
        let ink = if luma(plastic.rgb) > 0.45 { [0.14; 3] } else { [0.86; 3] };
        let poles = 2 + dice.below(6) as i32;
        let mirrored = dice.chance(0.35);
        let pitch = (1.56 / poles as f32).min(0.44);
        let tall = if mirrored { dice.between(0.46, 0.6) } else { dice.between(0.34, 0.46) };
        Self {
            look: Look {
                gloss: dice.between(0.05, 0.35),
                ink,
                pieces: true,
                ..Look::new(plastic.word, blend(gain(plastic.rgb, 1.2), [0.7; 3], 0.4))
            },
            base: plastic.rgb,
            metal: dice.pick(&[[0.72, 0.73, 0.74], [0.76, 0.64, 0.38], [0.56, 0.57, 0.6]]),
            poles,
            pitch,
            half: at(0.5 * poles as f32 * pitch + 0.04, tall.min(2.2 * pitch)),
            screw: pitch * dice.between(0.28, 0.36),
            round: dice.chance(0.5),
            cross: dice.chance(0.4),
            barrier: dice.chance(0.5),
            mirrored,
            numbered: dice.chance(0.6),
            code: dice.seed(),
            seed: dice.seed(),
        }
    }

    /// Which pole, and where on it from its middle; the lower half of a mirrored block as its upper one.
    fn pole(&self, p: Point) -> (i32, Point) {
        let u = p.x / self.pitch + 0.5 * self.poles as f32;
        let index = floor(u).clamp(0, self.poles - 1);
        let y = if self.mirrored { -p.y.abs() } else { p.y };
        (index, at((u - index as f32 - 0.5) * self.pitch, y))
    }

    fn screw_at(&self) -> Point {
        at(0.0, if self.mirrored { -0.34 } else { -0.3 } * self.half.y)
    }

    fn opening_at(&self) -> Point {
        at(0.0, if self.mirrored { -0.82 } else { 0.5 } * self.half.y)
    }
}

impl Product for TerminalBlock {
    fn look(&self) -> &Look {
        &self.look
    }

    fn outline(&self, p: Point) -> f32 {
        let housing = to_rectangle(p, self.half, 0.03);
        let notch = at((fraction(p.x / self.pitch + 0.5 * self.poles as f32 + 0.5) - 0.5) * self.pitch, p.y.abs());
        let inner = p.x.abs() < self.half.x - 0.5 * self.pitch;
        if self.barrier && inner {
            housing.max(-to_rectangle(notch - at(0.0, self.half.y), at(0.022, 0.07), 0.01))
        } else {
            housing
        }
    }

    fn face(&self, p: Point, depth: f32) -> Face {
        let matt = clouds(p * 28.0, 2, self.seed);
        let mut colour = gain(self.base, 0.9 + 0.1 * matt);
        let mut height = 0.05 * ramp(0.0, 0.04, depth) + 0.0015 * matt;
        let (index, q) = self.pole(p);
        let wall = ramp(0.03, 0.015, 0.5 * self.pitch - q.x.abs()) * f32::from(self.poles > 1);
        height += if self.barrier { 0.05 * wall } else { -0.02 * wall };
        // The wire goes in here.
        let o = q - self.opening_at();
        let size = (0.3 * self.pitch).min(0.12);
        let flat = if self.mirrored { 0.08 * self.half.y } else { size };
        let opening = if self.round && !self.mirrored {
            o.length() - size
        } else {
            to_rectangle(o, at(size, flat.min(size)), 0.02)
        };
        let dark = ramp(0.008, -0.012, opening);
        colour = blend(colour, gain(self.base, 0.2), dark);
        height -= 0.06 * dark;
        let s = q - self.screw_at();
        let r = s.length();
        let well = ramp(0.025, 0.01, r - self.screw);
        colour = blend(colour, gain(self.base, 0.35), well);
        height -= 0.03 * well;
        let head = ramp(0.006, -0.008, r - self.screw);
        if head > 0.0 {
            let row = i32::from(self.mirrored && p.y > 0.0);
            let turned = s.turned(Point::angle(chance(index, row, self.seed)));
            let slot = if self.cross { turned.x.abs().min(turned.y.abs()) } else { turned.x.abs() };
            let cut = ramp(0.15, 0.09, slot / self.screw) * ramp(0.95, 0.85, r / self.screw);
            let brushed = noise(turned.x * 50.0, turned.y * 12.0, self.seed ^ 2);
            let steel = gain(self.metal, (0.86 + 0.2 * brushed) * (1.0 - 0.7 * cut));
            colour = blend(colour, steel, head);
            height += head * (0.05 * (1.0 - r * r / (self.screw * self.screw)) - 0.02 * cut);
        }
        Face { colour: blend(colour, self.look.ink, 0.88 * self.ink(p).unwrap_or(0.0)), height }
    }

    fn ink(&self, p: Point) -> Option<f32> {
        let (index, q) = self.pole(p);
        let size = (0.36 * self.pitch).min(0.11);
        let y = if self.mirrored { -0.02 } else { -0.8 * self.half.y };
        let room = (self.half.y * if self.mirrored { 0.34 } else { 0.7 } - self.screw).min(1.0) > 0.5 * size;
        let number = self.code ^ hash(index, 0, 5);
        self.numbered.then(|| if room { text::line(at(q.x, p.y - y), size, 1, number) } else { 0.0 })
    }

    fn piece(&self, p: Point) -> Option<Piece> {
        let (index, q) = self.pole(p);
        let row = u32::from(self.mirrored && p.y > 0.0);
        let bed = Face { colour: gain(self.base, 0.12), height: -0.05 };
        let screw = (q - self.screw_at()).length() < self.screw;
        screw.then_some(Piece { id: 2 * index as u32 + row, bed: Some(bed) })
    }
}

const BODIES: &[Shade] = &[
    shade("black", 0.12, 0.12, 0.13),
    shade("black", 0.17, 0.17, 0.18),
    shade("grey", 0.40, 0.40, 0.41),
    shade("white", 0.82, 0.81, 0.78),
    shade("brown", 0.34, 0.24, 0.18),
    shade("blue", 0.18, 0.26, 0.42),
];

/// A moulded body with legs on two or four sides, lines of print and a mark for the first leg.
pub struct ChipPackage {
    look: Look,
    base: Rgb,
    leg: Rgb,
    half: Point,
    pitch: f32,
    count: [i32; 2],
    long: f32,
    notch: bool,
    lines: i32,
    letters: i32,
    code: u32,
    seed: u32,
}

impl ChipPackage {
    pub fn new(dice: &mut Dice) -> Self {
        let body = choose(dice, BODIES);
        let four = dice.chance(0.4);
        let pitch = dice.between(0.11, 0.24);
        let most = (1.3 / pitch) as i32;
        let across = if four { (1.1 / pitch) as i32 } else { (most - dice.below(3) as i32).max(3) };
        let side = 0.5 * across as f32 * pitch + 0.05;
        let half = if four { at(side, side) } else { at(side, dice.between(0.26, 0.42)) };
        Self {
            look: Look {
                gloss: dice.between(0.02, 0.25),
                ink: if luma(body.rgb) > 0.5 { [0.16; 3] } else { dice.pick(&[[0.82; 3], [0.62, 0.6, 0.55]]) },
                pieces: true,
                ..Look::new(body.word, blend(body.rgb, [0.62, 0.58, 0.5], 0.5))
            },
            base: body.rgb,
            leg: dice.pick(&[[0.74, 0.75, 0.76], [0.62, 0.63, 0.64], [0.78, 0.68, 0.42]]),
            half,
            pitch,
            count: [across, if four { across } else { 0 }],
            long: dice.between(0.10, 0.18),
            notch: dice.chance(0.5),
            lines: 1 + dice.below(3) as i32,
            letters: 5 + dice.below(4) as i32,
            code: dice.seed(),
            seed: dice.seed(),
        }
    }

    /// Distance to the nearest leg, how far out along it, and which it is.
    fn to_leg(&self, p: Point) -> (f32, f32, u32) {
        let side = |along: f32, out: f32, half: f32, count: i32, id: i32| {
            let u = along / self.pitch + 0.5 * count as f32;
            let index = floor(u).clamp(0, count - 1);
            let aside = (u - index as f32 - 0.5) * self.pitch;
            let out = out.abs() - half;
            // The shoulder is wider than the foot.
            let width = self.pitch * if out < 0.4 * self.long { 0.3 } else { 0.2 };
            let leg = to_rectangle(at(aside, out - 0.5 * self.long + 0.02), at(width, 0.5 * self.long + 0.02), 0.01);
            (leg, out, (2 * index + id) as u32)
        };
        let first = side(p.x, p.y, self.half.y, self.count[0], i32::from(p.y > 0.0));
        if self.count[1] == 0 {
            return first;
        }
        let second = side(p.y, p.x, self.half.x, self.count[1], 1000 + i32::from(p.x > 0.0));
        if first.0 < second.0 { first } else { second }
    }
}

impl Product for ChipPackage {
    fn look(&self) -> &Look {
        &self.look
    }

    fn outline(&self, p: Point) -> f32 {
        to_rectangle(p, self.half, 0.03).min(self.to_leg(p).0)
    }

    fn face(&self, p: Point, _depth: f32) -> Face {
        let body = to_rectangle(p, self.half, 0.03);
        let epoxy = clouds(p * 30.0, 2, self.seed);
        let (leg, out, _) = self.to_leg(p);
        let foot = ramp(0.35, 0.6, out / self.long);
        let tin = gain(self.leg, 0.82 + 0.2 * epoxy - 0.14 * ramp(0.2, 0.35, out / self.long) * (1.0 - foot));
        let mut height = 0.02 * ramp(0.01, -0.02, leg) + 0.03 * (1.0 - foot);
        let on = ramp(0.008, -0.008, body);
        let mut colour = gain(self.base, 0.86 + 0.2 * epoxy);
        height = height * (1.0 - on) + on * (0.06 + 0.1 * ramp(0.0, 0.07, -body));
        let dot = (p - at(0.16 - self.half.x, self.half.y - 0.16)).length() - 0.05;
        let mark = if self.notch { (p - at(-self.half.x, 0.0)).length() - 0.09 } else { dot };
        let pressed = ramp(0.01, -0.01, mark) * on;
        colour = gain(colour, 1.0 - 0.35 * pressed);
        height -= 0.03 * pressed;
        colour = blend(colour, self.look.ink, 0.82 * self.ink(p).unwrap_or(0.0));
        Face { colour: blend(tin, colour, on), height }
    }

    fn ink(&self, p: Point) -> Option<f32> {
        let height = (1.5 * self.half.x / self.letters as f32).min(1.1 * self.half.y / self.lines as f32).min(0.2);
        let v = p.y / (1.35 * height) + 0.5 * self.lines as f32;
        let index = floor(v);
        if !(0..self.lines).contains(&index) {
            return Some(0.0);
        }
        let q = at(p.x - 0.04, (v - index as f32 - 0.5) * 1.35 * height);
        let letters = self.letters - (hash(index, 1, self.code) % 3) as i32;
        Some(text::line(q, height, letters, self.code ^ index as u32))
    }

    fn piece(&self, p: Point) -> Option<Piece> {
        let (leg, out, id) = self.to_leg(p);
        (leg < 0.012 && out > 0.0).then_some(Piece { id, bed: None })
    }
}

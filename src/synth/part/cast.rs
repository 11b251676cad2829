//! Cast in moulds with a field of like shapes: toy bricks, bars of chocolate.

use crate::dice::Dice;
use crate::synth::colour::{DYES, Rgb, Shade, blend, choose, gain, shade};
use crate::synth::field::{Point, at, clouds, floor, fraction, noise, ramp, to_rectangle};
use crate::synth::product::{Face, Look, Piece, Product};
use crate::synth::text;

/// Which field of a grid around the origin, and where in it from its middle, in fields.
fn field(p: Point, pitch: Point, columns: i32, rows: i32) -> (i32, i32, Point) {
    let (u, v) = (p.x / pitch.x + 0.5 * columns as f32, p.y / pitch.y + 0.5 * rows as f32);
    let (ix, iy) = (floor(u).clamp(0, columns - 1), floor(v).clamp(0, rows - 1));
    (ix, iy, at(u - ix as f32 - 0.5, v - iy as f32 - 0.5))
}

/// A plate with rows of studs, each with the maker's mark or a hollow.
pub struct ToyBrick {
    look: Look,
    base: Rgb,
    columns: i32,
    rows: i32,
    pitch: f32,
    stud: f32,
    hollow: bool,
    letters: i32,
    code: u32,
    seed: u32,
}

impl ToyBrick {
    pub fn new(dice: &mut Dice) -> Self {
        let plastic = choose(dice, DYES);
        let dark = plastic.rgb[0] + plastic.rgb[1] + plastic.rgb[2] < 0.9;
        let columns = 2 + dice.below(5) as i32;
        let rows = (1 + dice.below(4) as i32).min(columns);
        Self {
            look: Look {
                gloss: dice.between(0.2, 0.7),
                pieces: true,
                ..Look::new(plastic.word, blend(plastic.rgb, if dark { [0.8; 3] } else { [0.12; 3] }, 0.5))
            },
            base: plastic.rgb,
            columns,
            rows,
            pitch: (1.62 / columns as f32).min(2.1 / at(columns as f32, rows as f32).length()),
            stud: dice.between(0.27, 0.33),
            hollow: dice.chance(0.25),
            letters: if dice.chance(0.6) { 2 + dice.below(2) as i32 } else { 0 },
            code: dice.seed(),
            seed: dice.seed(),
        }
    }

    /// Studs' middles lie on this grid.
    fn stud_at(&self, p: Point) -> (i32, i32, Point) {
        field(p, at(self.pitch, self.pitch), self.columns, self.rows)
    }
}

impl Product for ToyBrick {
    fn look(&self) -> &Look {
        &self.look
    }

    fn outline(&self, p: Point) -> f32 {
        to_rectangle(p, at(self.columns as f32, self.rows as f32) * (0.5 * self.pitch), 0.015)
    }

    fn face(&self, p: Point, depth: f32) -> Face {
        let (_, _, q) = self.stud_at(p);
        let r = q.length();
        let soft = 0.012 / self.pitch;
        let raised = ramp(soft, -2.5 * soft, r - self.stud);
        let mould = clouds(p * 5.0, 2, self.seed);
        let mut tone = 0.93 + 0.06 * mould + 0.03 * noise(p.x * 40.0, p.y * 40.0, self.seed ^ 1);
        // Little light gets to the foot of a stud.
        tone -= 0.16 * ramp(0.13, 0.0, r - self.stud) * (1.0 - raised);
        let mut height = 0.03 * ramp(0.0, 0.025, depth) + 0.16 * self.pitch * raised;
        if self.hollow {
            let inside = ramp(0.55, 0.47, r / self.stud);
            tone -= 0.45 * inside;
            height -= 0.1 * self.pitch * inside;
        } else if self.letters > 0 {
            let mark = text::line(q, 1.0 / (self.letters as f32 + 2.5), self.letters, self.code);
            tone += 0.07 * mark;
            height += 0.02 * self.pitch * mark;
        }
        Face { colour: gain(self.base, tone), height }
    }

    fn piece(&self, p: Point) -> Option<Piece> {
        let (x, y, q) = self.stud_at(p);
        let bed = Face { colour: self.look.under, height: 0.03 };
        (q.length() < self.stud + 0.02).then_some(Piece { id: (64 * y + x) as u32, bed: Some(bed) })
    }
}

const CHOCOLATES: &[Shade] = &[
    shade("dark", 0.23, 0.14, 0.10),
    shade("milk", 0.42, 0.26, 0.17),
    shade("light", 0.58, 0.38, 0.24),
    shade("white", 0.84, 0.76, 0.60),
];

#[derive(Clone, Copy)]
enum Relief {
    Plain,
    Name,
    Ribs,
    Cushion,
}

/// Segments with sloping sides, all with the same relief.
pub struct ChocolateBar {
    look: Look,
    base: Rgb,
    columns: i32,
    rows: i32,
    pitch: Point,
    bevel: f32,
    relief: Relief,
    letters: i32,
    code: u32,
    seed: u32,
}

impl ChocolateBar {
    pub fn new(dice: &mut Dice) -> Self {
        let chocolate = choose(dice, CHOCOLATES);
        let columns = 3 + dice.below(5) as i32;
        let rows = (2 + dice.below(3) as i32).min(columns);
        let wide = (1.66 / columns as f32).min(0.42);
        let tall = (wide * dice.between(0.7, 1.5)).min(1.3 / rows as f32);
        let brown = blend(chocolate.rgb, [0.60, 0.47, 0.36], 0.45);
        let under = if chocolate.rgb[0] > 0.5 { gain(chocolate.rgb, 0.62) } else { brown };
        Self {
            look: Look { gloss: dice.between(0.1, 0.5), pieces: true, ..Look::new(chocolate.word, under) },
            base: chocolate.rgb,
            columns,
            rows,
            pitch: at(wide, tall),
            bevel: dice.between(0.1, 0.2),
            relief: dice.pick(&[Relief::Plain, Relief::Name, Relief::Name, Relief::Ribs, Relief::Cushion]),
            letters: 2 + dice.below(3) as i32,
            code: dice.seed(),
            seed: dice.seed(),
        }
    }

    fn half(&self) -> Point {
        at(0.5 * self.pitch.x * self.columns as f32, 0.5 * self.pitch.y * self.rows as f32)
    }
}

impl Product for ChocolateBar {
    fn look(&self) -> &Look {
        &self.look
    }

    fn outline(&self, p: Point) -> f32 {
        to_rectangle(p, self.half(), 0.025)
    }

    fn face(&self, p: Point, depth: f32) -> Face {
        let (_, _, q) = field(p, self.pitch, self.columns, self.rows);
        let small = self.pitch.x.min(self.pitch.y);
        let q = at(q.x * self.pitch.x, q.y * self.pitch.y);
        let edge = (0.5 * self.pitch.x - q.x.abs()).min(0.5 * self.pitch.y - q.y.abs()) / small;
        let slope = ramp(0.015, self.bevel, edge);
        let cocoa = clouds(p * 6.0, 3, self.seed);
        let fine = noise(p.x * 50.0, p.y * 50.0, self.seed ^ 1);
        let top = ramp(self.bevel, self.bevel + 0.05, edge);
        let shape = match self.relief {
            Relief::Plain => 0.0,
            Relief::Name => {
                let height = (0.66 * self.pitch.x / self.letters as f32 * 1.16).min(0.45 * self.pitch.y);
                text::line(q, height, self.letters, self.code)
            }
            Relief::Ribs => ramp(0.3, 0.1, (fraction((q.x + q.y) / small * 4.0) - 0.5).abs()),
            Relief::Cushion => 3.0 * (edge - self.bevel).max(0.0),
        } * top;
        let joint = ramp(0.05, 0.0, edge);
        Face {
            colour: gain(self.base, (0.88 + 0.14 * cocoa + 0.06 * fine + 0.05 * shape) * (1.0 - 0.25 * joint)),
            height: small * (0.13 * slope + 0.03 * shape) + 0.02 * ramp(0.0, 0.03, depth) + 0.001 * fine,
        }
    }

    fn piece(&self, p: Point) -> Option<Piece> {
        let (x, y, _) = field(p, self.pitch, self.columns, self.rows);
        // Only from the border does a segment break off.
        let inner = (1..self.columns - 1).contains(&x) && (1..self.rows - 1).contains(&y);
        (!inner && self.outline(p) < 0.0).then_some(Piece { id: (64 * y + x) as u32, bed: None })
    }
}

//! What is laid in mortar piece by piece: brick walls, mosaic.

use crate::dice::Dice;
use crate::synth::colour::{DYES, Rgb, Shade, blend, choose, gain, shade};
use crate::synth::field::{Point, at, chance, clouds, floor, fraction, hash, noise, number, ramp, to_rectangle, wave};
use crate::synth::product::{Face, Look, Piece, Product};

const CLAYS: &[Shade] = &[
    shade("red", 0.58, 0.27, 0.19),
    shade("brown", 0.42, 0.28, 0.21),
    shade("yellow", 0.74, 0.62, 0.40),
    shade("grey", 0.50, 0.49, 0.47),
    shade("white", 0.80, 0.79, 0.76),
    shade("dark", 0.24, 0.22, 0.22),
];

#[derive(Clone, Copy)]
enum Bond {
    /// Every course shifted by this share of a brick against the one below.
    Shifted(f32),
    /// Courses of long sides and of short ends take turns.
    English,
}

/// Courses of fired bricks in mortar.
pub struct BrickWall {
    look: Look,
    base: Rgb,
    burnt: Rgb,
    variety: f32,
    mortar: Rgb,
    joint: f32,
    brick: Point,
    bond: Bond,
    offset: Point,
    seed: u32,
}

impl BrickWall {
    pub fn new(dice: &mut Dice) -> Self {
        let clay = choose(dice, CLAYS);
        let grey = dice.between(0.28, 0.78);
        let look = Look {
            gloss: 0.0,
            turn: if dice.chance(0.7) { 0.03 } else { 0.5 },
            ..Look::new(clay.word, gain(clay.rgb, if clay.rgb[1] > 0.4 { 0.55 } else { 1.6 }))
        };
        let height = dice.between(0.17, 0.34);
        Self {
            look: Look { pieces: true, ..look },
            base: clay.rgb,
            burnt: blend(gain(clay.rgb, 0.62), [0.22, 0.17, 0.18], 0.3),
            variety: dice.between(0.1, 0.8),
            mortar: [grey, grey * 0.98, grey * 0.93],
            joint: dice.between(0.008, 0.022),
            brick: at(height * dice.between(2.2, 3.4), height),
            bond: dice.pick(&[
                Bond::Shifted(0.5),
                Bond::Shifted(0.5),
                Bond::Shifted(0.25),
                Bond::Shifted(0.0),
                Bond::English,
            ]),
            offset: at(dice.unit() * 9.0, dice.unit() * 9.0),
            seed: dice.seed(),
        }
    }

    /// Which brick, and how far inside it.
    fn place(&self, p: Point) -> (u32, f32) {
        let v = p.y / self.brick.y + self.offset.y;
        let course = floor(v);
        let (shift, width) = match self.bond {
            Bond::Shifted(share) => (share * (course.rem_euclid(4)) as f32, self.brick.x),
            Bond::English if course & 1 == 0 => (0.25, self.brick.x * 0.5),
            Bond::English => (0.0, self.brick.x),
        };
        let u = p.x / width + self.offset.x + shift;
        let column = floor(u);
        let q = at((u - column as f32 - 0.5) * width, (v - course as f32 - 0.5) * self.brick.y);
        let half = at(0.5 * width - self.joint, 0.5 * self.brick.y - self.joint);
        (number(column, course), -to_rectangle(q, half, 0.012))
    }
}

impl Product for BrickWall {
    fn look(&self) -> &Look {
        &self.look
    }

    fn face(&self, p: Point, _depth: f32) -> Face {
        let (brick, inside) = self.place(p);
        let sand = clouds(p * 34.0, 2, self.seed ^ 1);
        let ragged = inside + 0.014 * (noise(p.x * 20.0, p.y * 20.0, self.seed ^ 2) - 0.5);
        let fired = ramp(-0.004, 0.008, ragged);
        let own = chance(brick as i32, 0, self.seed);
        let smoke = clouds(p * 3.0, 2, self.seed ^ brick);
        let clay = blend(self.base, self.burnt, self.variety * (0.7 * own + 0.3 * smoke));
        let clay = gain(clay, (0.76 + 0.36 * sand) * (0.94 + 0.12 * chance(brick as i32, 1, self.seed)));
        let mortar = gain(self.mortar, 0.78 + 0.3 * sand);
        Face { colour: blend(mortar, clay, fired), height: 0.016 * ramp(-0.006, 0.014, ragged) + 0.005 * sand }
    }

    fn solid(&self, p: Point) -> f32 {
        f32::from(self.place(p).1 > -0.005)
    }

    fn piece(&self, p: Point) -> Option<Piece> {
        let (id, inside) = self.place(p);
        (inside > 0.0).then_some(Piece { id, bed: None })
    }
}

#[derive(Clone, Copy)]
enum Tessera {
    Square,
    Hexagon,
    Penny,
}

#[derive(Clone, Copy)]
enum Plan {
    Scattered,
    Chequered,
    Stripes,
    Rings,
}

/// Small glazed stones in grout: scattered colours or a plan.
pub struct Mosaic {
    look: Look,
    glazes: [Rgb; 3],
    grout: Rgb,
    pitch: f32,
    tessera: Tessera,
    plan: Plan,
    period: f32,
    offset: Point,
    seed: u32,
}

/// From one row of a hexagonal lattice to the next but one, in pitches.
const ROW: f32 = 1.732_050_8;

impl Mosaic {
    pub fn new(dice: &mut Dice) -> Self {
        let first = choose(dice, DYES);
        let variety = dice.between(0.2, 1.0);
        let glazes = [
            first.rgb,
            blend(first.rgb, choose(dice, DYES).rgb, variety),
            gain(first.rgb, if first.rgb[1] > 0.4 { 0.72 } else { 1.45 }),
        ];
        let grey = dice.between(0.2, 0.8);
        let look = Look {
            gloss: dice.between(0.1, 0.6),
            pieces: true,
            ..Look::new("", [grey * 0.7, grey * 0.66, grey * 0.6])
        };
        Self {
            look,
            glazes,
            grout: [grey, grey * 0.98, grey * 0.95],
            pitch: dice.between(0.13, 0.26),
            tessera: dice.pick(&[Tessera::Square, Tessera::Square, Tessera::Hexagon, Tessera::Penny]),
            plan: dice.pick(&[Plan::Scattered, Plan::Scattered, Plan::Chequered, Plan::Stripes, Plan::Rings]),
            period: dice.between(0.17, 0.45),
            offset: at(dice.between(-0.6, 0.6), dice.between(-0.6, 0.6)),
            seed: dice.seed(),
        }
    }

    /// Which stone, where its middle lies, and how far inside it a point is, in pitches.
    fn place(&self, p: Point) -> (u32, Point, f32) {
        let q = p * (1.0 / self.pitch) + self.offset;
        if let Tessera::Square = self.tessera {
            let (ix, iy) = (floor(q.x), floor(q.y));
            let c = at(q.x - ix as f32 - 0.5, q.y - iy as f32 - 0.5);
            return (number(ix, iy), q - c, -to_rectangle(c, at(0.46, 0.46), 0.05));
        }
        // The nearer of two rectangular lattices.
        let lattice = |shift: f32| {
            let (u, v) = (q.x + 0.5 - shift, q.y / ROW + 0.5 - shift);
            let (ix, iy) = (floor(u), floor(v));
            (ix, iy, at(u - ix as f32 - 0.5, (v - iy as f32 - 0.5) * ROW))
        };
        let ((ax, ay, a), (bx, by, b)) = (lattice(0.0), lattice(0.5));
        let (id, c) =
            if a.dot(a) < b.dot(b) { (number(2 * ax, 2 * ay), a) } else { (number(2 * bx + 1, 2 * by + 1), b) };
        let inside = match self.tessera {
            Tessera::Penny => 0.45 - c.length(),
            _ => 0.46 - c.x.abs().max(0.5 * c.x.abs() + 0.866_025_4 * c.y.abs()),
        };
        (id, q - c, inside)
    }

    /// Which of the glazes a stone has.
    fn glaze(&self, id: u32, middle: Point) -> Rgb {
        let which = match self.plan {
            Plan::Scattered => hash(id as i32, 0, self.seed) % 3,
            Plan::Chequered if matches!(self.tessera, Tessera::Square) => {
                ((floor(middle.x) ^ floor(middle.y)) & 1) as u32
            }
            // Between hexagons it takes three colours.
            Plan::Chequered => {
                let (x, y) = (floor(2.0 * middle.x + 0.5), floor(2.0 * middle.y / ROW + 0.5));
                ((x - 3 * y) / 2).rem_euclid(3) as u32
            }
            Plan::Stripes => u32::from(wave((middle.x + middle.y) * 0.5 * self.period) > 0.1),
            Plan::Rings => u32::from(wave(middle.length() * self.period) > 0.1),
        };
        self.glazes[which as usize]
    }
}

impl Product for Mosaic {
    fn look(&self) -> &Look {
        &self.look
    }

    fn face(&self, p: Point, _depth: f32) -> Face {
        let (id, middle, inside) = self.place(p);
        let sand = noise(p.x * 60.0, p.y * 60.0, self.seed ^ 2);
        let melt = clouds(p * 9.0, 2, self.seed ^ id);
        let tone = 0.86 + 0.16 * chance(id as i32, 1, self.seed) + 0.1 * melt;
        let glazed = ramp(-0.02, 0.03, inside);
        // No stone lies quite level.
        let tilt = at(chance(id as i32, 2, self.seed) - 0.5, chance(id as i32, 3, self.seed) - 0.5);
        Face {
            colour: blend(gain(self.grout, 0.8 + 0.3 * sand), gain(self.glaze(id, middle), tone), glazed),
            height: self.pitch * 0.09 * ramp(-0.03, 0.13, inside) + glazed * 0.02 * fraction(p.dot(tilt) + 0.5),
        }
    }

    fn solid(&self, p: Point) -> f32 {
        f32::from(self.place(p).2 > -0.02)
    }

    fn piece(&self, p: Point) -> Option<Piece> {
        let (id, _, inside) = self.place(p);
        (inside > 0.0).then_some(Piece { id, bed: None })
    }
}

//! What grew: wood by the board and in staves, leather.

use crate::dice::Dice;
use crate::synth::colour::{Rgb, Shade, blend, choose, gain, shade};
use crate::synth::field::{Point, at, cell, clouds, floor, fraction, hash, mix, noise, number, ramp, smooth};
use crate::synth::product::{Face, Look, Piece, Product};

const TIMBER: &[Shade] = &[
    shade("light", 0.80, 0.64, 0.43),
    shade("oak", 0.66, 0.49, 0.31),
    shade("dark brown", 0.40, 0.26, 0.17),
    shade("reddish", 0.58, 0.31, 0.20),
    shade("pale", 0.83, 0.73, 0.57),
];

/// Boards with year rings cut lengthwise, fibres and pores.
pub struct Wood {
    look: Look,
    base: Rgb,
    rings: f32,
    bend: f32,
    contrast: f32,
    seed: u32,
}

impl Wood {
    pub fn new(dice: &mut Dice) -> Self {
        let timber = choose(dice, TIMBER);
        let look = Look { gloss: dice.between(0.0, 0.2), ..Look::new(timber.word, gain(timber.rgb, 1.25)) };
        Self {
            look,
            base: timber.rgb,
            rings: dice.between(3.0, 7.5),
            bend: dice.between(0.8, 2.4),
            contrast: dice.between(0.3, 0.6),
            seed: dice.seed(),
        }
    }
}

impl Product for Wood {
    fn look(&self) -> &Look {
        &self.look
    }

    fn face(&self, p: Point, _depth: f32) -> Face {
        let bow =
            noise(p.x * 0.5, p.y * 0.9, self.seed) * self.bend + 0.25 * noise(p.x * 1.7, p.y * 4.0, self.seed ^ 1);
        let year = fraction(p.y * self.rings + bow * 2.0);
        // Late wood darkens slowly and ends at once.
        let late = year * year * ramp(1.0, 0.9, year);
        let fibre = noise(p.x * 4.0, p.y * 75.0, self.seed ^ 2);
        let pores = ramp(0.70, 0.92, noise(p.x * 7.0, p.y * 95.0, self.seed ^ 3)) * (0.35 + 0.65 * (1.0 - late));
        let colour = blend(self.base, gain(self.base, 0.5), self.contrast * late * 1.6);
        Face { colour: gain(colour, 0.88 + 0.2 * fibre - 0.28 * pores), height: -0.002 * pores + 0.001 * fibre }
    }
}

const STAVES: &[Shade] = &[
    shade("oak", 0.68, 0.51, 0.33),
    shade("light", 0.80, 0.66, 0.46),
    shade("dark", 0.38, 0.25, 0.17),
    shade("reddish", 0.56, 0.31, 0.21),
    shade("grey", 0.55, 0.51, 0.46),
];

#[derive(Clone, Copy)]
enum Lay {
    Deck,
    Basket,
    Herringbone,
}

/// Staves of wood side by side.
pub struct Parquet {
    look: Look,
    base: Rgb,
    width: f32,
    length: i32,
    lay: Lay,
    variety: f32,
    joint: f32,
    seed: u32,
}

/// A place on a stave, from its corner in widths.
struct Stave {
    id: u32,
    along: f32,
    across: f32,
    length: f32,
}

impl Parquet {
    pub fn new(dice: &mut Dice) -> Self {
        let wood = choose(dice, STAVES);
        let look = Look { gloss: dice.between(0.0, 0.35), ..Look::new(wood.word, gain(wood.rgb, 0.45)) };
        Self {
            look: Look { pieces: true, ..look },
            base: wood.rgb,
            width: dice.between(0.13, 0.26),
            length: 3 + dice.below(4) as i32,
            lay: dice.pick(&[Lay::Deck, Lay::Basket, Lay::Herringbone, Lay::Herringbone]),
            variety: dice.between(0.1, 0.45),
            joint: dice.between(0.02, 0.05),
            seed: dice.seed(),
        }
    }

    fn place(&self, p: Point) -> Stave {
        let (u, v) = (p.x / self.width, p.y / self.width);
        let (i, j, n) = (floor(u), floor(v), self.length);
        let (fu, fv) = (u - i as f32, v - j as f32);
        let stave = |x: i32, y: i32, way: i32, along: f32, across: f32, length: i32| Stave {
            id: number(2 * x + way, y),
            along,
            across,
            length: length as f32,
        };
        match self.lay {
            Lay::Deck => {
                let long = 2 * n;
                let start = u + (hash(0, j, self.seed) % 1000) as f32 * 0.001 * long as f32;
                let index = floor(start / long as f32);
                stave(index, j, 0, start - (index * long) as f32, fv, long)
            }
            Lay::Basket => {
                let (bx, by) = (i.div_euclid(n), j.div_euclid(n));
                if (bx ^ by) & 1 == 0 {
                    stave(bx, j, 0, u - (bx * n) as f32, fv, n)
                } else {
                    stave(i, by, 1, v - (by * n) as f32, fu, n)
                }
            }
            Lay::Herringbone => {
                let k = (i - j).rem_euclid(2 * n);
                if k < n {
                    stave(i - k, j, 0, k as f32 + fu, fv, n)
                } else {
                    let step = 2 * n - 1 - k;
                    stave(i, j - step, 1, step as f32 + fv, fu, n)
                }
            }
        }
    }
}

impl Product for Parquet {
    fn look(&self) -> &Look {
        &self.look
    }

    fn face(&self, p: Point, _depth: f32) -> Face {
        let stave = self.place(p);
        let own = (stave.id & 1023) as f32 / 1023.0;
        let seed = self.seed ^ stave.id;
        let bow = noise(stave.along * 0.4, stave.across * 1.2, seed);
        let year = fraction(stave.across * mix(0.8, 2.2, own) + bow * 2.0);
        let fibre = noise(stave.along * 1.2, stave.across * 16.0, seed ^ 1);
        let edge = stave.across.min(1.0 - stave.across).min(stave.along).min(stave.length - stave.along);
        let gap = ramp(self.joint, self.joint * 0.3, edge);
        let tone = 1.0 - self.variety * own - 0.18 * year * year + 0.2 * (fibre - 0.5);
        Face {
            colour: gain(self.base, tone * (1.0 - 0.7 * gap)),
            height: self.width * (0.03 * ramp(0.0, self.joint * 2.5, edge) + 0.004 * fibre),
        }
    }

    fn piece(&self, p: Point) -> Option<Piece> {
        Some(Piece { id: self.place(p).id, bed: None })
    }
}

const HIDES: &[Shade] = &[
    shade("brown", 0.42, 0.27, 0.17),
    shade("black", 0.15, 0.15, 0.16),
    shade("dark red", 0.45, 0.13, 0.12),
    shade("tan", 0.66, 0.47, 0.29),
    shade("grey", 0.45, 0.45, 0.46),
    shade("dark green", 0.16, 0.29, 0.21),
    shade("navy blue", 0.15, 0.20, 0.35),
    shade("cream", 0.80, 0.74, 0.62),
];

/// Grain of irregular pebbles with creases between.
pub struct Leather {
    look: Look,
    base: Rgb,
    grain: f32,
    seed: u32,
}

impl Leather {
    pub fn new(dice: &mut Dice) -> Self {
        let hide = choose(dice, HIDES);
        let raw = blend(gain(hide.rgb, 1.1), [0.78, 0.66, 0.52], 0.7);
        let look = Look { gloss: dice.between(0.05, 0.3), ..Look::new(hide.word, raw) };
        Self { look, base: hide.rgb, grain: dice.between(9.0, 20.0), seed: dice.seed() }
    }
}

impl Product for Leather {
    fn look(&self) -> &Look {
        &self.look
    }

    fn face(&self, p: Point, _depth: f32) -> Face {
        let drift = noise(p.x * 4.0, p.y * 4.0, self.seed ^ 7) - 0.5;
        let pebble = cell(at(p.x + 0.12 * drift, p.y - 0.12 * drift) * self.grain, self.seed);
        let crease = smooth((pebble.next - pebble.near) * 3.2);
        let hair = noise(p.x * 90.0, p.y * 90.0, self.seed ^ 3);
        let wear = clouds(p * 1.6, 2, self.seed ^ 5);
        Face {
            colour: gain(self.base, (0.72 + 0.32 * crease) * (0.86 + 0.2 * wear) * (0.95 + 0.1 * hair)),
            height: (0.13 * crease + 0.02 * (hair + pebble.near)) / self.grain,
        }
    }
}

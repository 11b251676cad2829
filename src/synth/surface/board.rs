//! Printed boards: traces, pads, chips and silkscreen on solder mask.

use crate::dice::Dice;
use crate::synth::colour::{Rgb, Shade, blend, choose, gain, shade};
use crate::synth::field::{Point, at, floor, fraction, hash, noise, ramp, to_rectangle};
use crate::synth::product::{Face, Look, Product};
use crate::synth::text;

const MASKS: &[Shade] = &[
    shade("green", 0.10, 0.36, 0.20),
    shade("green", 0.14, 0.42, 0.18),
    shade("blue", 0.10, 0.22, 0.48),
    shade("red", 0.52, 0.11, 0.11),
    shade("black", 0.10, 0.11, 0.12),
    shade("white", 0.80, 0.81, 0.80),
];

/// A maze of traces on a grid; some cells hold a component.
pub struct Board {
    look: Look,
    mask: Rgb,
    copper: Rgb,
    pad: Rgb,
    pitch: f32,
    seed: u32,
}

/// What stands on a square of four by four cells.
enum Part {
    None,
    Chip,
    Pair,
}

impl Board {
    pub fn new(dice: &mut Dice) -> Self {
        let mask = choose(dice, MASKS);
        let white = mask.rgb[0] + mask.rgb[1] > 1.2;
        let look = Look {
            gloss: dice.between(0.1, 0.35),
            turn: if dice.chance(0.7) { 0.03 } else { 0.5 },
            zoom: (0.8, 1.35),
            ink: if white { [0.12; 3] } else { [0.86, 0.87, 0.84] },
            ..Look::new(mask.word, [0.70, 0.60, 0.38])
        };
        Self {
            mask: mask.rgb,
            copper: if white { gain(mask.rgb, 0.82) } else { gain(blend(mask.rgb, [0.6, 0.55, 0.3], 0.16), 1.5) },
            pad: dice.pick(&[[0.80, 0.66, 0.36], [0.74, 0.75, 0.76]]),
            pitch: dice.between(0.11, 0.17),
            seed: dice.seed(),
            look,
        }
    }

    /// Whether a trace crosses the edge to the right of a cell (`way` 0) or below it (1).
    fn crosses(&self, x: i32, y: i32, way: u32) -> bool {
        hash(x, y, self.seed ^ (way + 1)) & 7 < 4
    }

    /// Component of the block and the place within it, from its middle, in cells.
    fn part(&self, u: f32, v: f32) -> (Part, Point, u32) {
        let (bx, by) = (floor(u * 0.25), floor(v * 0.25));
        let own = hash(bx, by, self.seed ^ 9);
        let q = at(u - bx as f32 * 4.0 - 2.0, v - by as f32 * 4.0 - 2.0);
        let part = match own & 7 {
            0 | 1 => Part::Chip,
            2..=4 => Part::Pair,
            _ => Part::None,
        };
        (part, if own & 8 == 0 { q } else { at(q.y, q.x) }, own)
    }

    /// Distance to the nearest trace, and to the nearest via, in cells.
    fn traces(&self, u: f32, v: f32) -> (f32, f32) {
        let (ix, iy) = (floor(u), floor(v));
        let q = at(u - ix as f32 - 0.5, v - iy as f32 - 0.5);
        let right = self.crosses(ix, iy, 0);
        let left = self.crosses(ix - 1, iy, 0);
        let down = self.crosses(ix, iy, 1);
        let up = self.crosses(ix, iy - 1, 1);
        let count = [right, left, down, up].iter().filter(|&&has| has).count();
        let mut near = 9.0f32;
        // A bend of two is cut across at 45 degrees.
        if count == 2 && right != left {
            let (sx, sy) = (if right { 1.0 } else { -1.0 }, if down { 1.0 } else { -1.0 });
            let cut = (q.x * sx + q.y * sy - 0.5).abs() * 0.707;
            near = if q.x * sx > -0.15 && q.y * sy > -0.15 { cut } else { 9.0 };
        } else {
            for (has, d) in [(right, at(0.5, 0.0)), (left, at(-0.5, 0.0)), (down, at(0.0, 0.5)), (up, at(0.0, -0.5))] {
                if has {
                    let along = (q.dot(d) * 4.0).clamp(0.0, 1.0);
                    near = near.min((q - d * along).length());
                }
            }
        }
        let via = if count == 1 || count == 4 { q.length() } else { 9.0 };
        (near, via)
    }
}

impl Product for Board {
    fn look(&self) -> &Look {
        &self.look
    }

    fn face(&self, p: Point, _depth: f32) -> Face {
        let (u, v) = (p.x / self.pitch, p.y / self.pitch);
        let weave = noise(u * 6.0, v * 6.0, self.seed ^ 21);
        let mut colour = gain(self.mask, 0.94 + 0.1 * weave);
        let mut height = 0.0;
        let (part, q, own) = self.part(u, v);
        let (trace, via) = self.traces(u, v);
        let free = match part {
            Part::None => 1.0,
            Part::Chip => ramp(1.35, 1.5, q.x.abs().max(q.y.abs())),
            Part::Pair => ramp(0.0, 0.12, to_rectangle(q, at(1.5, 0.75), 0.1)),
        };
        let line = ramp(0.17, 0.11, trace) * free;
        colour = blend(colour, self.copper, line);
        height += 0.02 * line;
        let ring = ramp(0.30, 0.25, via) * free;
        colour = blend(colour, self.pad, ring);
        colour = blend(colour, [0.05; 3], ramp(0.14, 0.10, via) * free);
        colour = blend(colour, self.look.ink, 0.92 * self.ink(p).unwrap_or(0.0));
        match part {
            Part::Chip => {
                // Legs on two sides, a body over them, a dot for the first leg.
                let leg = ramp(0.14, 0.20, (fraction(q.x * 2.0) - 0.5).abs() * 0.5 + 0.05);
                let legs = (1.0 - leg) * ramp(1.30, 1.22, q.y.abs()) * ramp(1.02, 0.98, q.x.abs());
                colour = blend(colour, self.pad, legs);
                let body = to_rectangle(q, at(1.1, 0.85), 0.06);
                let on = ramp(0.03, -0.03, body);
                let epoxy = 0.12 + 0.03 * noise(u * 9.0, v * 9.0, self.seed);
                colour = blend(colour, [epoxy, epoxy, epoxy * 1.04], on);
                colour = blend(colour, [0.28; 3], ramp(0.12, 0.08, (q - at(-0.85, 0.6)).length()));
                height = height * (1.0 - on) + 0.35 * ramp(0.0, -0.16, body);
            }
            Part::Pair => {
                let pads = ramp(0.03, -0.03, to_rectangle(at(q.x.abs() - 0.85, q.y), at(0.38, 0.5), 0.08));
                colour = blend(colour, self.pad, pads);
                let body = to_rectangle(q, at(0.85, 0.42), 0.04);
                let tones = [[0.15, 0.15, 0.16], [0.62, 0.48, 0.33], [0.2, 0.24, 0.38]];
                let on = ramp(0.03, -0.03, body);
                colour = blend(colour, tones[(own >> 5 & 3).min(2) as usize], on);
                colour = blend(colour, [0.72, 0.72, 0.73], on * ramp(0.58, 0.62, q.x.abs()));
                height = height * (1.0 - on) + 0.25 * ramp(0.0, -0.14, body);
            }
            Part::None => {}
        }
        Face { colour, height: height * self.pitch }
    }

    fn ink(&self, p: Point) -> Option<f32> {
        let (part, q, own) = self.part(p.x / self.pitch, p.y / self.pitch);
        let stroke = |d: f32| ramp(0.075, 0.045, d.abs());
        Some(match part {
            Part::Chip => stroke(to_rectangle(q, at(1.45, 1.45), 0.1)),
            Part::Pair => {
                stroke(to_rectangle(q, at(1.5, 0.75), 0.1)).max(text::line(at(q.x, q.y - 1.35), 0.62, 3, own))
            }
            Part::None if own & 16 == 0 => text::line(at(q.x, q.y - 0.5), 0.9, 4, own),
            Part::None => 0.0,
        })
    }
}

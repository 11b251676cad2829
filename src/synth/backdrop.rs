//! What parts lie on, and what shows through openings.

use super::colour::{DYES, Rgb, choose, gain};
use super::field::{Point, at, clouds, floor, noise, ramp, wave};
use crate::dice::Dice;

#[derive(Clone, Copy)]
enum Pattern {
    Plain,
    Belt,
    Speckled,
    Brushed,
    Cloth,
    Planks,
    Blotched,
}

/// A background under the product.
pub(super) struct Backdrop {
    base: Rgb,
    pattern: Pattern,
    scale: f32,
    way: Point,
    seed: u32,
}

impl Backdrop {
    pub fn new(dice: &mut Dice) -> Self {
        let level = dice.pick(&[0.07, 0.16, 0.28, 0.45, 0.62, 0.82]) * dice.between(0.85, 1.15);
        let grey = [level, level * dice.between(0.96, 1.03), level * dice.between(0.94, 1.06)];
        let base = if dice.chance(0.35) { gain(choose(dice, DYES).rgb, dice.between(0.5, 1.0)) } else { grey };
        let pattern = dice.pick(&[
            Pattern::Plain,
            Pattern::Plain,
            Pattern::Belt,
            Pattern::Speckled,
            Pattern::Brushed,
            Pattern::Cloth,
            Pattern::Planks,
            Pattern::Blotched,
        ]);
        Self { base, pattern, scale: dice.between(0.7, 1.4), way: Point::angle(dice.unit()), seed: dice.seed() }
    }

    pub fn colour(&self, p: Point) -> Rgb {
        let q = p.turned(self.way) * self.scale;
        let tone = match self.pattern {
            Pattern::Plain => 0.96 + 0.08 * noise(q.x * 1.5, q.y * 1.5, self.seed),
            Pattern::Belt => 0.9 + 0.1 * wave(q.y * 9.0) + 0.1 * noise(q.x * 40.0, q.y * 40.0, self.seed),
            Pattern::Speckled => 0.8 + 0.4 * noise(q.x * 55.0, q.y * 55.0, self.seed),
            Pattern::Brushed => 0.86 + 0.28 * noise(q.x * 3.0, q.y * 60.0, self.seed),
            Pattern::Cloth => {
                let cell = at(q.x * 22.0, q.y * 22.0);
                let over = (floor(cell.x) ^ floor(cell.y)) & 1 == 0;
                (if over { 0.92 } else { 1.06 }) * (0.9 + 0.2 * noise(q.x * 50.0, q.y * 50.0, self.seed))
            }
            Pattern::Planks => {
                let board = floor(q.y * 2.0);
                let joint = ramp(0.0, 0.03, (q.y * 2.0 - board as f32).min(board as f32 + 1.0 - q.y * 2.0));
                let grain = noise(q.x * 2.0 + board as f32 * 9.0, q.y * 34.0, self.seed);
                (0.8 + 0.3 * grain) * (0.5 + 0.5 * joint)
            }
            Pattern::Blotched => 0.75 + 0.5 * clouds(q * 3.0, 3, self.seed),
        };
        gain(self.base, tone)
    }
}

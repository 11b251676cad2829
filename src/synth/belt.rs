//! What products lie on: a background without end, or the belt under a large frame.

use rayon::prelude::*;

use super::backdrop::Backdrop;
use super::colour::{Rgb, blend};
use super::field::{Point, at};
use crate::dice::Dice;

/// The background under a product.
pub(super) enum Ground {
    Endless(Backdrop),
    Belt(Belt),
}

impl Ground {
    pub fn new(dice: &mut Dice) -> Self {
        Self::Endless(Backdrop::new(dice))
    }

    /// At a point of the stage.
    pub fn colour(&self, p: Point) -> Rgb {
        match self {
            Self::Endless(backdrop) => backdrop.colour(p),
            Self::Belt(belt) => belt.colour(p),
        }
    }
}

/// How a frame shows the stage: the stage's origin lies in the middle of the frame.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub width: usize,
    pub height: usize,
    /// Pixels in one unit of the stage.
    pub unit: f32,
}

impl Frame {
    /// The stage's point at a place of the frame, whose upper left corner is 0, 0.
    pub fn point(&self, x: f32, y: f32) -> Point {
        at(x - 0.5 * self.width as f32, y - 0.5 * self.height as f32) * (1.0 / self.unit)
    }
}

/// A belt painted once for a frame, at half the frame's size: it lies out of focus.
pub(super) struct Belt {
    frame: Frame,
    plane: Vec<Rgb>,
    columns: usize,
    rows: usize,
}

impl Belt {
    /// `moved` is how far it has run, in units of the stage.
    pub fn new(backdrop: &Backdrop, frame: Frame, moved: Point) -> Self {
        let (columns, rows) = (frame.width.div_ceil(2), frame.height.div_ceil(2));
        let mut plane = vec![[0.0; 3]; columns * rows];
        plane.par_chunks_mut(columns).enumerate().for_each(|(y, row)| {
            for (x, colour) in row.iter_mut().enumerate() {
                *colour = backdrop.colour(frame.point((2 * x + 1) as f32, (2 * y + 1) as f32) + moved);
            }
        });
        Self { frame, plane, columns, rows }
    }

    fn colour(&self, p: Point) -> Rgb {
        let x = 0.5 * (p.x * self.frame.unit + 0.5 * self.frame.width as f32) - 0.5;
        let y = 0.5 * (p.y * self.frame.unit + 0.5 * self.frame.height as f32) - 0.5;
        let (x, y) = (x.clamp(0.0, (self.columns - 1) as f32), y.clamp(0.0, (self.rows - 1) as f32));
        let (left, above) = (x as usize, y as usize);
        let (right, below) = ((left + 1).min(self.columns - 1), (above + 1).min(self.rows - 1));
        let (sx, sy) = (x - left as f32, y - above as f32);
        let row = |y: usize| blend(self.plane[y * self.columns + left], self.plane[y * self.columns + right], sx);
        blend(row(above), row(below), sy)
    }
}

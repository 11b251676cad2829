//! A surface cut to a plate, so that it can lie on a belt like any part.

use super::field::{Point, at, ramp, to_rectangle};
use super::product::{Face, Look, Piece, Product};
use crate::dice::Dice;

/// Width of the bevel, in the product's units.
const BEVEL: f32 = 0.025;

/// A rectangle of a surface with rounded corners.
pub(super) struct Blank {
    surface: Box<dyn Product>,
    half: Point,
    corner: f32,
}

impl Blank {
    pub fn new(surface: Box<dyn Product>, dice: &mut Dice) -> Self {
        let half = at(dice.between(0.75, 0.95), dice.between(0.55, 0.8));
        Self { surface, half, corner: dice.between(0.03, 0.15) }
    }

    fn cut(&self, p: Point) -> f32 {
        to_rectangle(p, self.half, self.corner)
    }
}

impl Product for Blank {
    fn look(&self) -> &Look {
        self.surface.look()
    }

    fn outline(&self, p: Point) -> f32 {
        self.surface.outline(p).max(self.cut(p))
    }

    fn face(&self, p: Point, _depth: f32) -> Face {
        let face = self.surface.face(p, (-self.surface.outline(p)).max(0.0));
        let edge = ramp(BEVEL, 0.0, -self.cut(p));
        Face { height: face.height - 0.5 * BEVEL * edge, ..face }
    }

    fn solid(&self, p: Point) -> f32 {
        self.surface.solid(p) * ramp(0.0, BEVEL, -self.cut(p))
    }

    fn ink(&self, p: Point) -> Option<f32> {
        self.surface.ink(p)
    }

    fn piece(&self, p: Point) -> Option<Piece> {
        self.surface.piece(p)
    }
}

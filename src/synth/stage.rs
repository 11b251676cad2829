//! A product lying before a camera: its pose, the light, the lens, and what it lies on.

use std::sync::Arc;

use super::belt::Ground;
use super::catalogue::make;
use super::class::Class;
use super::colour::{Rgb, gain};
use super::field::{Point, at, ramp};
use super::product::Product;
use crate::dice::Dice;

/// Where the product lies on the stage, whose unit is the half side of the picture that shows it whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pose {
    pub centre: Point,
    /// Unit vector at the angle by which it is turned.
    pub way: Point,
    /// Units of the stage in one of the product.
    pub scale: f32,
}

/// Directed light with a highlight, and how unevenly it falls.
#[derive(Clone, Copy)]
pub(super) struct Light {
    pub from: Point,
    pub up: f32,
    pub ambient: f32,
    pub spot: Point,
    pub slope: Point,
    pub vignette: f32,
    pub tint: Rgb,
}

impl Light {
    /// How much of it falls on a point of the stage.
    pub fn fall(&self, p: Point) -> f32 {
        1.0 + p.dot(self.slope) - self.vignette * p.dot(p)
    }
}

/// What the camera adds.
#[derive(Clone, Copy)]
pub(super) struct Camera {
    /// Standard deviation of the focus blur, in sides of the picture.
    pub blur: f32,
    /// Largest sensor noise either way, in levels of 255.
    pub noise: f32,
    pub seed: u32,
}

/// Everything about a picture but its pixels and its defect.
pub(super) struct Stage {
    pub product: Arc<dyn Product>,
    pub ground: Ground,
    pub camera: Camera,
    pub pose: Pose,
    pub light: Light,
    /// How dark the product's shadow is, 0 … 1.
    pub shadow: f32,
    pub surface: bool,
}

impl Stage {
    /// A product of the class as the dice fall, in a square picture.
    pub fn new(class: Class, dice: &mut Dice) -> Self {
        let product = make(class, dice);
        let look = product.look();
        let reach = if class.is_surface() { 1.0 } else { 0.16 };
        let turn = dice.between(-look.turn, look.turn);
        let pose = Pose {
            centre: at(dice.between(-reach, reach), dice.between(-reach, reach)),
            way: Point::angle(turn),
            scale: dice.between(look.zoom.0, look.zoom.1) * if class.is_surface() { 1.0 } else { 0.88 },
        };
        let from = Point::angle(dice.unit());
        let flat = dice.between(0.45, 0.8);
        let warm = dice.between(-0.05, 0.05);
        let exposure = dice.between(0.82, 1.14);
        let light = Light {
            from: from * flat,
            up: (1.0 - flat * flat).sqrt(),
            ambient: dice.between(0.35, 0.6),
            spot: at(dice.between(-1.0, 1.0), dice.between(-1.0, 1.0)),
            slope: Point::angle(dice.unit()) * dice.between(0.0, 0.2),
            vignette: dice.between(0.0, 0.12),
            tint: [exposure * (1.0 + warm), exposure, exposure * (1.0 - warm)],
        };
        let camera =
            Camera { blur: dice.between(0.25, 0.95) / 256.0, noise: dice.between(1.0, 9.0), seed: dice.seed() };
        let shadow = dice.between(0.3, 0.75);
        let ground = Ground::new(dice);
        Self { product: Arc::from(product), ground, camera, pose, light, shadow, surface: class.is_surface() }
    }

    /// A point of the stage in the product's coordinates.
    pub fn on_product(&self, p: Point) -> Point {
        (p - self.pose.centre).turned(self.pose.way.conjugate()) * (1.0 / self.pose.scale)
    }

    /// The background in the product's shadow.
    pub fn behind(&self, p: Point) -> Rgb {
        let towards = p + self.light.from * 0.09;
        let outline = self.product.outline(self.on_product(towards)) * self.pose.scale;
        gain(self.ground.colour(p), 1.0 - self.shadow * ramp(0.11, -0.07, outline))
    }
}

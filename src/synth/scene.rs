//! A product lying before a camera: pose, light and lens, and the picture's planes before any light falls on them.

use super::backdrop::Backdrop;
use super::catalogue::make;
use super::class::Class;
use super::colour::{Rgb, blend, gain};
use super::field::{Point, at, mix, ramp};
use super::product::{Face, Product};
use crate::dice::Dice;

/// Where the product lies in the picture.
struct Pose {
    centre: Point,
    way: Point,
    scale: f32,
}

/// Directed light with a highlight, and how unevenly it falls.
struct Light {
    from: Point,
    up: f32,
    ambient: f32,
    spot: Point,
    slope: Point,
    vignette: f32,
    tint: Rgb,
}

/// What the camera adds.
pub(super) struct Camera {
    /// Standard deviation of the focus blur, in sides of the picture.
    pub blur: f32,
    /// Largest sensor noise either way, in levels of 255.
    pub noise: f32,
    pub seed: u32,
}

/// Rectangle of pixels, ends excluded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Window {
    pub x0: usize,
    pub y0: usize,
    pub x1: usize,
    pub y1: usize,
}

impl Window {
    pub fn width(&self) -> usize {
        self.x1 - self.x0
    }

    pub fn height(&self) -> usize {
        self.y1 - self.y0
    }

    /// Larger on all sides, within the picture.
    pub fn grown(&self, by: usize, size: usize) -> Self {
        Self {
            x0: self.x0.saturating_sub(by),
            y0: self.y0.saturating_sub(by),
            x1: (self.x1 + by).min(size),
            y1: (self.y1 + by).min(size),
        }
    }
}

/// A value for every pixel of the picture, row by row.
pub(super) struct Planes {
    pub colour: Vec<Rgb>,
    /// In units of the picture's half side.
    pub height: Vec<f32>,
}

/// Everything about a picture but its defect.
pub(super) struct Scene {
    pub size: usize,
    pub product: Box<dyn Product>,
    pub backdrop: Backdrop,
    pub camera: Camera,
    pub planes: Planes,
    /// Coverage by the product's material.
    pub cover: Vec<f32>,
    /// Where a defect may lie.
    pub body: Vec<f32>,
    pose: Pose,
    light: Light,
    shadow: f32,
    surface: bool,
}

const HIGHLIGHT: f32 = 0.55;

impl Scene {
    pub fn new(class: Class, size: usize, dice: &mut Dice) -> Self {
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
        let backdrop = Backdrop::new(dice);
        let mut scene = Self {
            size,
            product,
            backdrop,
            camera,
            planes: Planes { colour: Vec::with_capacity(size * size), height: Vec::with_capacity(size * size) },
            cover: Vec::with_capacity(size * size),
            body: Vec::with_capacity(size * size),
            pose,
            light,
            shadow,
            surface: class.is_surface(),
        };
        scene.paint();
        scene
    }

    /// Side of a pixel, where the picture's half side is 1.
    pub fn pixel(&self) -> f32 {
        2.0 / self.size as f32
    }

    /// Middle of a pixel.
    pub fn point(&self, x: usize, y: usize) -> Point {
        at((x as f32 + 0.5) * self.pixel() - 1.0, (y as f32 + 0.5) * self.pixel() - 1.0)
    }

    /// The same place in the product's coordinates.
    pub fn on_product(&self, p: Point) -> Point {
        (p - self.pose.centre).turned(self.pose.way.conjugate()) * (1.0 / self.pose.scale)
    }

    pub fn is_part(&self) -> bool {
        !self.surface
    }

    /// Whether the background shows through a surface.
    pub fn is_open(&self) -> bool {
        self.surface && self.product.look().open
    }

    /// Units of the product in one of the picture.
    pub fn scale(&self) -> f32 {
        self.pose.scale
    }

    /// The background in the product's shadow.
    pub fn behind(&self, p: Point) -> Rgb {
        let towards = p + self.light.from * 0.09;
        let outline = self.product.outline(self.on_product(towards)) * self.pose.scale;
        gain(self.backdrop.colour(p), 1.0 - self.shadow * ramp(0.11, -0.07, outline))
    }

    fn paint(&mut self) {
        let full = self.surface && !self.product.look().open;
        let soft = 0.8 * self.pixel() / self.pose.scale;
        for y in 0..self.size {
            for x in 0..self.size {
                let p = self.point(x, y);
                let q = self.on_product(p);
                let outline = if full { -1.0 } else { self.product.outline(q) };
                let cover = if full { 1.0 } else { ramp(soft, -soft, outline) };
                let face = if cover > 0.0 {
                    self.product.face(q, (-outline).max(0.0))
                } else {
                    Face { colour: [0.0; 3], height: 0.0 }
                };
                let colour = if cover < 1.0 { blend(self.behind(p), face.colour, cover) } else { face.colour };
                self.planes.colour.push(colour);
                self.planes.height.push(face.height * self.pose.scale * cover);
                self.cover.push(cover);
                self.body.push(if self.surface { self.product.solid(q) } else { cover * self.product.solid(q) });
            }
        }
    }

    /// Light on a window of the planes.
    pub fn shade(&self, planes: &Planes, window: Window) -> Vec<Rgb> {
        let size = self.size;
        let per_unit = size as f32 / 4.0;
        let gloss = self.product.look().gloss * HIGHLIGHT;
        let light = &self.light;
        let mut shaded = Vec::with_capacity(window.width() * window.height());
        for y in window.y0..window.y1 {
            let (above, below) = (y.saturating_sub(1) * size, (y + 1).min(size - 1) * size);
            for x in window.x0..window.x1 {
                let index = y * size + x;
                let (left, right) = (y * size + x.saturating_sub(1), y * size + (x + 1).min(size - 1));
                let heights = &planes.height;
                let gx = ((heights[right] - heights[left]) * per_unit).clamp(-2.5, 2.5);
                let gy = ((heights[below + x] - heights[above + x]) * per_unit).clamp(-2.5, 2.5);
                let p = self.point(x, y);
                let square = 1.0 + gx * gx + gy * gy;
                let facing = (light.up - gx * light.from.x - gy * light.from.y).max(0.0) / (square.sqrt() * light.up);
                let fall = 1.0 + p.dot(light.slope) - light.vignette * p.dot(p);
                let lit = (light.ambient + (1.0 - light.ambient) * facing) * fall;
                let h = light.from * 0.6 + (light.spot - p) * 0.3;
                let towards = (1.0 - gx * h.x - gy * h.y).max(0.0);
                let t = towards * towards / (square * (1.0 + h.dot(h)));
                let (t2, t4) = (t * t, t * t * t * t);
                let shine = gloss * t4 * t4 * t2 * self.cover[index];
                let colour = planes.colour[index];
                let channel = |c: usize| (mix(colour[c] * lit, 1.0, shine)) * light.tint[c];
                shaded.push([channel(0), channel(1), channel(2)]);
            }
        }
        shaded
    }

    pub fn whole(&self) -> Window {
        Window { x0: 0, y0: 0, x1: self.size, y1: self.size }
    }
}

//! A square picture of a stage: its planes before any light falls on them, and the light.

use std::sync::Arc;

use rayon::prelude::*;

use super::colour::{Rgb, blend};
use super::field::{Point, at, mix, ramp};
use super::product::{Face, Product};
use super::stage::Stage;

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

/// Which square of the stage a picture shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct View {
    /// Middle of the picture, in the stage's units.
    pub middle: Point,
    /// Half side of the picture, in the stage's units.
    pub half: f32,
}

impl View {
    /// All of it.
    pub const WHOLE: Self = Self { middle: at(0.0, 0.0), half: 1.0 };
}

/// Everything about a picture but its defect. Points of the picture have its half side as their unit.
pub(super) struct Scene {
    pub size: usize,
    pub stage: Arc<Stage>,
    pub planes: Planes,
    /// Coverage by the product's material.
    pub cover: Vec<f32>,
    /// Where a defect may lie.
    pub body: Vec<f32>,
    view: View,
}

const HIGHLIGHT: f32 = 0.55;
/// Rows that make one task.
const ROWS: usize = 16;

impl Scene {
    pub fn new(stage: Arc<Stage>, size: usize, view: View) -> Self {
        let blank = || vec![0.0; size * size];
        let planes = Planes { colour: vec![[0.0; 3]; size * size], height: blank() };
        let mut scene = Self { size, stage, planes, cover: blank(), body: blank(), view };
        scene.paint();
        scene
    }

    /// A square of `side` pixels around a pixel of this picture, as a picture of its own.
    pub fn close_up(&self, (x, y): (usize, usize), side: usize) -> Self {
        let pixel = 2.0 * self.view.half / self.size as f32;
        let to = |at: usize| at as f32 - 0.5 * self.size as f32;
        let middle = self.view.middle + at(to(x), to(y)) * pixel;
        Self::new(self.stage.clone(), side, View { middle, half: 0.5 * side as f32 * pixel })
    }

    pub fn product(&self) -> &dyn Product {
        &*self.stage.product
    }

    /// Side of a pixel, where the picture's half side is 1.
    pub fn pixel(&self) -> f32 {
        2.0 / self.size as f32
    }

    /// Middle of a pixel.
    pub fn point(&self, x: usize, y: usize) -> Point {
        at((x as f32 + 0.5) * self.pixel() - 1.0, (y as f32 + 0.5) * self.pixel() - 1.0)
    }

    /// The same place in the stage's units.
    fn outer(&self, p: Point) -> Point {
        p * self.view.half + self.view.middle
    }

    /// The same place in the product's coordinates.
    pub fn on_product(&self, p: Point) -> Point {
        self.stage.on_product(self.outer(p))
    }

    pub fn is_part(&self) -> bool {
        !self.stage.surface
    }

    /// Whether the background shows through a surface.
    pub fn is_open(&self) -> bool {
        self.stage.surface && self.product().look().open
    }

    /// Whether the picture shows a piece of the product only.
    pub fn is_close_up(&self) -> bool {
        self.view != View::WHOLE
    }

    /// Units of the product in one of the picture.
    pub fn scale(&self) -> f32 {
        self.stage.pose.scale / self.view.half
    }

    /// The background, as it is without the product's shadow.
    pub fn ground(&self, p: Point) -> Rgb {
        self.stage.ground.colour(self.outer(p))
    }

    fn paint(&mut self) {
        let size = self.size;
        let mut planes = std::mem::replace(&mut self.planes, Planes { colour: Vec::new(), height: Vec::new() });
        let (mut cover, mut body) = (std::mem::take(&mut self.cover), std::mem::take(&mut self.body));
        let rows = size * ROWS;
        let colours = planes.colour.par_chunks_mut(rows).zip(planes.height.par_chunks_mut(rows));
        let masks = cover.par_chunks_mut(rows).zip(body.par_chunks_mut(rows));
        colours.zip(masks).enumerate().for_each(|(task, ((colours, heights), (covers, bodies)))| {
            for index in 0..colours.len() {
                let (x, y) = (index % size, task * ROWS + index / size);
                (colours[index], heights[index], covers[index], bodies[index]) = self.painted(self.point(x, y));
            }
        });
        (self.planes, self.cover, self.body) = (planes, cover, body);
    }

    /// Colour, height, coverage by the product, and by what a defect may lie on, at a point of the picture.
    fn painted(&self, p: Point) -> (Rgb, f32, f32, f32) {
        let stage = &*self.stage;
        let product = self.product();
        let full = stage.surface && !product.look().open;
        let soft = 0.8 * self.pixel() / self.scale();
        let o = self.outer(p);
        let q = stage.on_product(o);
        let outline = if full { -1.0 } else { product.outline(q) };
        let cover = if full { 1.0 } else { ramp(soft, -soft, outline) };
        let face =
            if cover > 0.0 { product.face(q, (-outline).max(0.0)) } else { Face { colour: [0.0; 3], height: 0.0 } };
        let colour = if cover < 1.0 { blend(stage.behind(o), face.colour, cover) } else { face.colour };
        let body = if stage.surface { product.solid(q) } else { cover * product.solid(q) };
        (colour, face.height * self.scale() * cover, cover, body)
    }

    /// Light on a window of the planes.
    pub fn shade(&self, planes: &Planes, window: Window) -> Vec<Rgb> {
        let size = self.size;
        let per_unit = size as f32 / 4.0;
        let gloss = self.product().look().gloss * HIGHLIGHT;
        let light = &self.stage.light;
        let width = window.width();
        let mut shaded = vec![[0.0; 3]; width * window.height()];
        let heights = &planes.height;
        let lit = |x: usize, y: usize| {
            let (above, below) = (y.saturating_sub(1) * size, (y + 1).min(size - 1) * size);
            let index = y * size + x;
            let (left, right) = (y * size + x.saturating_sub(1), y * size + (x + 1).min(size - 1));
            let gx = ((heights[right] - heights[left]) * per_unit).clamp(-2.5, 2.5);
            let gy = ((heights[below + x] - heights[above + x]) * per_unit).clamp(-2.5, 2.5);
            let p = self.outer(self.point(x, y));
            let square = 1.0 + gx * gx + gy * gy;
            let facing = (light.up - gx * light.from.x - gy * light.from.y).max(0.0) / (square.sqrt() * light.up);
            let lit = (light.ambient + (1.0 - light.ambient) * facing) * light.fall(p);
            let h = light.from * 0.6 + (light.spot - p) * 0.3;
            let towards = (1.0 - gx * h.x - gy * h.y).max(0.0);
            let t = towards * towards / (square * (1.0 + h.dot(h)));
            let (t2, t4) = (t * t, t * t * t * t);
            let shine = gloss * t4 * t4 * t2 * self.cover[index];
            let colour = planes.colour[index];
            let channel = |c: usize| (mix(colour[c] * lit, 1.0, shine)) * light.tint[c];
            [channel(0), channel(1), channel(2)]
        };
        shaded.par_chunks_mut(width * ROWS).enumerate().for_each(|(task, shaded)| {
            for (index, shaded) in shaded.iter_mut().enumerate() {
                *shaded = lit(window.x0 + index % width, window.y0 + task * ROWS + index / width);
            }
        });
        shaded
    }

    pub fn whole(&self) -> Window {
        Window { x0: 0, y0: 0, x1: self.size, y1: self.size }
    }
}

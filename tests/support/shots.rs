//! One product before one camera, again and again: what a line with a fixture sees, and what changes when its light, its
//! focus, its place or its lens does.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use vcp_line::dice::Dice;
use vcp_line::frame::{Image, PixelFormat};
use vcp_line::synth::{Class, Request, render};

/// What is different from the good parts.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Brightness.
    pub gain: f32,
    /// Defocus: deviation of a Gaussian blur in front of the sensor, pixels.
    pub blur: f32,
    /// To the right, share of the width.
    pub shift: f32,
    /// Of the lens.
    pub scale: f32,
}

/// As the good parts were.
pub const SAME: Setup = Setup { gain: 1.0, blur: 0.0, shift: 0.0, scale: 1.0 };

/// A product, sharp and evenly lit.
pub struct Product {
    side: usize,
    grey: Vec<f32>,
}

impl Product {
    /// The class's product of this seed.
    pub fn new(class: Class, side: u32, seed: u64) -> Self {
        let sample = render(&Request { class, size: side, defect: None, seed });
        let grey =
            |pixel: &[u8]| 0.299 * f32::from(pixel[0]) + 0.587 * f32::from(pixel[1]) + 0.114 * f32::from(pixel[2]);
        Self { side: side as usize, grey: sample.rgb.chunks_exact(3).map(grey).collect() }
    }

    /// One part of it: placed to 0.3 % of the width, lit to 2 %, with the noise of a sensor (2 levels).
    pub fn shot(&self, setup: Setup, dice: &mut Dice) -> Image {
        let side = self.side as f32;
        let mut jitter = |deviation: f32| deviation * dice.normal() as f32;
        let (dx, dy) = (jitter(0.003 * side) + setup.shift * side, jitter(0.003 * side));
        let gain = setup.gain * (1.0 + jitter(0.02));
        let middle = 0.5 * side;
        let moved = |index: usize| {
            let (x, y) = ((index % self.side) as f32, (index / self.side) as f32);
            gain * self.at((x - middle - dx) / setup.scale + middle, (y - middle - dy) / setup.scale + middle)
        };
        let mut values: Vec<f32> = (0..self.side * self.side).map(moved).collect();
        if setup.blur > 0.0 {
            values = blurred(&values, self.side, setup.blur);
        }
        let bytes = values.iter().map(|value| (value + 2.0 * dice.normal() as f32).round().clamp(0.0, 255.0) as u8);
        Image::new(self.side as u32, self.side as u32, PixelFormat::Gray8, bytes.collect()).unwrap()
    }

    /// Between pixels; beyond the border that of the border.
    fn at(&self, x: f32, y: f32) -> f32 {
        let most = self.side as f32 - 1.001;
        let (x, y) = (x.clamp(0.0, most), y.clamp(0.0, most));
        let (at, a, b) = (y as usize * self.side + x as usize, x.fract(), y.fract());
        let row = |at: usize| (1.0 - a) * self.grey[at] + a * self.grey[at + 1];
        (1.0 - b) * row(at) + b * row(at + self.side)
    }
}

/// A Gaussian blur, rows and then columns.
fn blurred(values: &[f32], side: usize, sigma: f32) -> Vec<f32> {
    let weights: Vec<f32> = (-4..=4).map(|i: i32| (-0.5 * (i as f32 / sigma).powi(2)).exp()).collect();
    let sum: f32 = weights.iter().sum();
    let place = |at: usize, step: usize| (at + step).saturating_sub(4).min(side - 1);
    let mixed = |pixel: &dyn Fn(usize) -> f32| -> f32 {
        weights.iter().enumerate().map(|(step, weight)| weight * pixel(step)).sum::<f32>() / sum
    };
    let (xy, all) = (|index: usize| (index % side, index / side), 0..side * side);
    let row = |index| mixed(&|step| values[xy(index).1 * side + place(xy(index).0, step)]);
    let rows: Vec<f32> = all.clone().map(row).collect();
    all.map(|index| mixed(&|step| rows[place(xy(index).1, step) * side + xy(index).0])).collect()
}

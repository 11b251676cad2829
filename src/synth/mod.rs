//! Synthetic products: procedural pictures of goods, sound or with one known defect and its pixel-exact mask.
//!
//! A picture depends on its [`Request`] alone, byte for byte on every machine: numbers come from ChaCha8 streams seeded
//! by SHA-256, transcendental functions from `libm`, everything else is IEEE 754 arithmetic. The product under a defect
//! is the very product that the same request shows without one, the sensor's noise included.

mod backdrop;
mod belt;
mod blank;
mod caption;
mod catalogue;
mod class;
mod colour;
mod conveyor;
mod defect;
mod field;
mod flaw;
mod frame;
#[cfg(test)]
mod frame_tests;
mod lens;
mod part;
mod product;
mod scene;
mod stage;
mod surface;
#[cfg(test)]
mod tests;
mod text;

pub use caption::plain_caption;
pub use class::{Class, UnknownName};
pub use conveyor::{Conveyor, ConveyorFrames};
pub use defect::{Defect, DefectKind};
pub use frame::{DefectPlace, FRAME_SIDES, FrameRequest, FrameSample, Motion, PartPlace, SizedDefect, render_frame};

use std::sync::Arc;

use crate::dice::Dice;
use colour::Rgb;
use scene::{Scene, View};
use stage::Stage;

/// Smallest and largest side of a picture, pixels.
pub const SIDES: std::ops::RangeInclusive<u32> = 64..=2048;

/// A change of this many levels of 255 in a channel, before the sensor's noise, is visible.
const VISIBLE: f32 = 8.0 / 255.0;
/// A pixel that a defect covers by this much belongs to it, however little it changed.
const COVERED: f32 = 0.5;

/// A picture to make.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    /// What is produced.
    pub class: Class,
    /// Side of the picture in pixels; values outside [`SIDES`] are taken as the nearer end.
    pub size: u32,
    /// What is wrong with it.
    pub defect: Option<Defect>,
    /// Which of the class's products.
    pub seed: u64,
}

/// A picture with its truth.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Side in pixels.
    pub size: u32,
    /// size × size × 3, row by row.
    pub rgb: Vec<u8>,
    /// size × size, 0 or 255. 255 where the defect covers at least half of the pixel or changes one of its channels by 8
    /// levels or more, before the sensor's noise; all 0 for a good product.
    pub mask: Vec<u8>,
    /// A sentence that is true of the picture and says "good" or "damaged".
    pub caption: String,
}

/// Makes a picture.
pub fn render(request: &Request) -> Sample {
    let side = request.size.clamp(*SIDES.start(), *SIDES.end());
    let size = side as usize;
    let class = request.class;
    let stage = Stage::new(class, &mut Dice::labelled(&["product", class.name()], request.seed));
    let scene = Scene::new(Arc::new(stage), size, View::WHOLE);
    let good = scene.shade(&scene.planes, scene.whole());
    let camera = &scene.stage.camera;
    let sigma = camera.blur * side as f32;
    let mut picture = lens::blur(&good, size, size, sigma);
    let mut mask = vec![0; size * size];
    if let Some(defect) = request.defect {
        let labels = [class.name(), defect.kind.name()];
        if let Some(change) = flaw::draw(&scene, &good, defect, labels, request.seed) {
            lay_on(&mut picture, &mut mask, size, sigma, change);
        }
    }
    let kind = request.defect.map(|defect| defect.kind);
    let word = scene.product().look().word;
    Sample {
        size: side,
        rgb: lens::expose(&picture, size, camera),
        mask,
        caption: caption::caption(class, word, kind, &mut Dice::labelled(&["caption", class.name()], request.seed)),
    }
}

/// Adds a defect's change to the picture as the lens shows it, and marks its pixels.
fn lay_on(picture: &mut [Rgb], mask: &mut [u8], size: usize, sigma: f32, change: flaw::Change) {
    let inner = change.window;
    let window = inner.grown(lens::reach(sigma), size);
    let mut values = vec![[0.0; 4]; window.width() * window.height()];
    for y in inner.y0..inner.y1 {
        let from = (y - inner.y0) * inner.width();
        let to = (y - window.y0) * window.width() + inner.x0 - window.x0;
        values[to..to + inner.width()].copy_from_slice(&change.values[from..from + inner.width()]);
    }
    let values = lens::blur(&values, window.width(), window.height(), sigma);
    let most = values.iter().map(|value| value[3]).fold(0.0, f32::max);
    let covered = COVERED.min(0.6 * most);
    for (index, value) in values.iter().enumerate() {
        let (x, y) = (window.x0 + index % window.width(), window.y0 + index / window.width());
        let pixel = y * size + x;
        let mut changed = 0.0f32;
        for c in 0..3 {
            let old = picture[pixel][c].clamp(0.0, 1.0);
            let new = (picture[pixel][c] + value[c]).clamp(0.0, 1.0);
            changed = changed.max((new - old).abs());
            picture[pixel][c] = new;
        }
        if value[3] >= covered || changed >= VISIBLE {
            mask[pixel] = 255;
        }
    }
}

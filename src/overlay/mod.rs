//! The picture an operator looks at: the frame with its anomaly map over it.

mod caption;

pub use caption::{Caption, captioned};

use image::{Rgb, RgbImage, Rgba, RgbaImage};

use crate::anomaly::AnomalyMap;
use crate::frame::Image;

/// Share of the outlined value below which the picture stays untouched; above, colour grows in, fast at first: what did not reach the
/// threshold is to be seen as well.
const CLEAR: f32 = 0.4;
/// Share of the colour where the map is 1.
const STRONGEST: f32 = 0.65;
/// Outline of regions within and around them: one of the two is seen on any part.
const OUTLINE: [Rgb<u8>; 2] = [Rgb([255, 255, 255]), Rgb([0, 0, 0])];
/// The shorter side of a picture on which each of both lines is one pixel wide.
const FINE: u32 = 400;

/// Anchor colours of the scale from 0 to 1: yellow over orange to magenta, readable with colour-blind eyes on grey parts.
const SCALE: [[f32; 3]; 4] = [[255.0, 230.0, 80.0], [250.0, 150.0, 30.0], [220.0, 50.0, 60.0], [190.0, 0.0, 140.0]];

/// Lays `map` over `image` and outlines where it reaches `outline`.
pub fn draw(image: &Image, map: &AnomalyMap, outline: f32) -> RgbImage {
    let clear = CLEAR * outline.clamp(0.0, 1.0);
    let value = |x: u32, y: u32| sample(map, (x, image.width), (y, image.height));
    let mut picture = RgbImage::from_fn(image.width, image.height, |x, y| {
        let here = value(x, y);
        let colour = colour(here);
        let share = STRONGEST * ((here - clear) / (1.0 - clear)).clamp(0.0, 1.0).sqrt();
        let pixel = image.rgb_at(x, y);
        Rgb(std::array::from_fn(|c| (f32::from(pixel[c]) * (1.0 - share) + colour[c] * share).round() as u8))
    });
    draw_both_outlines(&mut picture, |x, y| value(x, y) >= outline);
    picture
}

/// A light line within the border of where `inside` is true, a dark one around it.
fn draw_both_outlines(picture: &mut RgbImage, inside: impl Fn(u32, u32) -> bool) {
    let (width, height) = picture.dimensions();
    let thick = (width.min(height) / FINE).max(1);
    let marked: Vec<bool> =
        (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| inside(x, y)).collect();
    let marked = |x: u32, y: u32| marked[(y * width + x) as usize];
    let differs = |x: u32, y: u32, (dx, dy): (i32, i32)| match (x.checked_add_signed(dx), y.checked_add_signed(dy)) {
        (Some(x), Some(y)) => x < width && y < height && !marked(x, y),
        _ => false,
    };
    for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
        if !marked(x, y) || ![(1, 0), (-1, 0), (0, 1), (0, -1)].into_iter().any(|step| differs(x, y, step)) {
            continue;
        }
        for y in y.saturating_sub(thick)..=(y + thick).min(height - 1) {
            for x in x.saturating_sub(thick)..=(x + thick).min(width - 1) {
                let within = marked(x, y);
                // Around it the whole square is dark, within it the line has the width that it has outside.
                picture.put_pixel(x, y, OUTLINE[usize::from(!within)]);
            }
        }
    }
}

/// The colours of [`draw`] for a frame of size `of`, alone and `width × height`, to be laid over the picture by whoever shows
/// it.
pub fn veil(map: &AnomalyMap, outline: f32, of: (u32, u32), (width, height): (u32, u32)) -> RgbaImage {
    let clear = CLEAR * outline.clamp(0.0, 1.0);
    // The middle of a pixel, in pixels of the frame: a map may lie over a part of it only.
    let middle = |at: u32, of: u32, to: u32| (u64::from(2 * at + 1) * u64::from(of) / u64::from(2 * to)) as u32;
    RgbaImage::from_fn(width, height, |x, y| {
        let here = sample(map, (middle(x, of.0, width), of.0), (middle(y, of.1, height), of.1));
        let share = ((here - clear) / (1.0 - clear)).clamp(0.0, 1.0);
        let [red, green, blue] = colour(here).map(|level| level.round() as u8);
        // Strong enough to be turned down by the page, where `draw` decides itself.
        Rgba([red, green, blue, (share.sqrt() * 255.0).round() as u8])
    })
}

/// Draws the inner border, one pixel wide, of where `inside` is true; the picture's own border is none.
pub fn draw_outline(picture: &mut RgbImage, colour: Rgb<u8>, inside: impl Fn(u32, u32) -> bool) {
    let (width, height) = picture.dimensions();
    let outside = |x: Option<u32>, y: Option<u32>| match (x, y) {
        (Some(x), Some(y)) if x < width && y < height => !inside(x, y),
        _ => false,
    };
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let neighbours = [(1, 0), (-1, 0), (0, 1), (0, -1)];
        let mut neighbours =
            neighbours.map(|(dx, dy)| (x.checked_add_signed(dx), y.checked_add_signed(dy))).into_iter();
        if inside(x, y) && neighbours.any(|(x, y)| outside(x, y)) {
            *pixel = colour;
        }
    }
}

fn colour(value: f32) -> [f32; 3] {
    let at = value.clamp(0.0, 1.0) * (SCALE.len() - 1) as f32;
    let low = (at as usize).min(SCALE.len() - 2);
    let weight = at - low as f32;
    std::array::from_fn(|c| SCALE[low][c] * (1.0 - weight) + SCALE[low + 1][c] * weight)
}

/// Bilinear, half-pixel centres; 0 beside the rectangle that the map lies over.
fn sample(map: &AnomalyMap, (x, width): (u32, u32), (y, height): (u32, u32)) -> f32 {
    let [left, top, columns, rows] = map.place_in((width, height));
    let (Some(x), Some(y)) = (x.checked_sub(left), y.checked_sub(top)) else { return 0.0 };
    if x >= columns || y >= rows {
        return 0.0;
    }
    let place = |at: u32, of: u32, size: usize| {
        let at = ((at as f32 + 0.5) * size as f32 / of as f32 - 0.5).clamp(0.0, (size - 1) as f32);
        let low = at as usize;
        (low, (low + 1).min(size - 1), at - low as f32)
    };
    let ((x0, x1, wx), (y0, y1, wy)) = (place(x, columns, map.width()), place(y, rows, map.height()));
    let at = |x: usize, y: usize| map.values()[y * map.width() + x];
    let top = at(x0, y0) * (1.0 - wx) + at(x1, y0) * wx;
    let bottom = at(x0, y1) * (1.0 - wx) + at(x1, y1) * wx;
    top * (1.0 - wy) + bottom * wy
}

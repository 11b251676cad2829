//! The pixels of a view, or of one tile of it, taken from the captured frame in one step.

use rayon::prelude::*;

use super::tiles::Rect;
use super::transform::Transform;
use crate::frame::{Image, PixelFormat, Resampling};

/// The pixels of `rect` of the view. Format and everything else that is known about the pixels stays; what lies outside the
/// frame (behind a lens) is black. Without a lens pixels are copied, with one they are interpolated linearly between four.
pub fn cut(image: &Image, transform: &Transform, rect: Rect) -> Image {
    if transform.is_identity() && rect == Rect::whole(transform.captured_size()) {
        return image.clone();
    }
    let step = image.format.bytes_per_pixel();
    let row = rect.width as usize * step;
    let mut data = vec![0; row * rect.height as usize];
    if transform.lens().is_some() {
        let sample: Sample = match (image.resampling, image.format) {
            (Resampling::Nearest, _) => nearest,
            (_, PixelFormat::Gray16) => linear_16bit,
            _ => linear_8bit,
        };
        data.par_chunks_exact_mut(row).enumerate().for_each(|(y, out)| {
            let y = f64::from(rect.y) + y as f64 + 0.5;
            for (x, pixel) in out.chunks_exact_mut(step).enumerate() {
                let at = transform.to_captured([f64::from(rect.x) + x as f64 + 0.5, y]);
                sample(image, at, pixel);
            }
        });
    } else {
        copy(image, transform, rect, &mut data);
    }
    image.with_pixels(rect.width, rect.height, data).unwrap_or_else(|_| image.clone())
}

/// Crop, turn and mirror move pixels without changing them: one step along a row of the view is one step to a neighbour.
fn copy(image: &Image, transform: &Transform, rect: Rect, data: &mut [u8]) {
    let step = image.format.bytes_per_pixel();
    let (width, pixels) = (image.width as usize, image.data());
    let at = |x: u32, y: u32| {
        let [x, y] = transform.to_captured([f64::from(x) + 0.5, f64::from(y) + 0.5]);
        y as usize * width + x as usize
    };
    let start = at(rect.x, rect.y);
    // Both are constant over the whole view.
    let right = if rect.width > 1 { at(rect.x + 1, rect.y) as isize - start as isize } else { 1 };
    for (y, out) in data.chunks_exact_mut(rect.width as usize * step).enumerate() {
        let first = at(rect.x, rect.y + y as u32);
        if right == 1 {
            out.copy_from_slice(&pixels[first * step..][..out.len()]);
            continue;
        }
        for (x, pixel) in out.chunks_exact_mut(step).enumerate() {
            let from = (first as isize + x as isize * right) as usize * step;
            pixel.copy_from_slice(&pixels[from..from + step]);
        }
    }
}

type Sample = fn(&Image, [f64; 2], &mut [u8]);

/// The four pixels around a point, and how far it is from the first; `None` for what lies outside the frame.
fn around(image: &Image, [x, y]: [f64; 2]) -> ([Option<usize>; 4], f32, f32) {
    let (x, y) = (x - 0.5, y - 0.5);
    let (left, top) = (x.floor(), y.floor());
    let pixel = |dx: f64, dy: f64| {
        let (x, y) = (left + dx, top + dy);
        let inside = x >= 0.0 && y >= 0.0 && x < f64::from(image.width) && y < f64::from(image.height);
        inside.then(|| y as usize * image.width as usize + x as usize)
    };
    ([pixel(0.0, 0.0), pixel(1.0, 0.0), pixel(0.0, 1.0), pixel(1.0, 1.0)], (x - left) as f32, (y - top) as f32)
}

fn blend([a, b, c, d]: [f32; 4], x: f32, y: f32) -> f32 {
    let (upper, lower) = (a + x * (b - a), c + x * (d - c));
    upper + y * (lower - upper)
}

fn linear_8bit(image: &Image, at: [f64; 2], pixel: &mut [u8]) {
    let (corners, x, y) = around(image, at);
    let (step, data) = (pixel.len(), image.data());
    for (channel, out) in pixel.iter_mut().enumerate() {
        let value = |corner: Option<usize>| corner.map_or(0.0, |at| f32::from(data[at * step + channel]));
        *out = (blend(corners.map(value), x, y) + 0.5) as u8;
    }
}

fn linear_16bit(image: &Image, at: [f64; 2], pixel: &mut [u8]) {
    let (corners, x, y) = around(image, at);
    let (step, data) = (pixel.len(), image.data());
    for (channel, out) in pixel.chunks_exact_mut(2).enumerate() {
        let level = |at: usize| u16::from_le_bytes([data[at * step + 2 * channel], data[at * step + 2 * channel + 1]]);
        let value = |corner: Option<usize>| corner.map_or(0.0, |at| f32::from(level(at)));
        out.copy_from_slice(&((blend(corners.map(value), x, y) + 0.5) as u16).to_le_bytes());
    }
}

fn nearest(image: &Image, [x, y]: [f64; 2], pixel: &mut [u8]) {
    let inside = x >= 0.0 && y >= 0.0 && x < f64::from(image.width) && y < f64::from(image.height);
    if inside {
        let at = (y as usize * image.width as usize + x as usize) * pixel.len();
        pixel.copy_from_slice(&image.data()[at..at + pixel.len()]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::transform::tests::spec;
    use super::*;
    use crate::view::{Flip, Rotate, ViewSpec};

    fn numbered(width: u32, height: u32) -> Image {
        let data = (0..width * height).flat_map(|i| (i as u16).to_le_bytes()).collect();
        Image::new(width, height, PixelFormat::Gray16, data).expect("fits")
    }

    fn level(image: &Image, x: u32, y: u32) -> u16 {
        let at = 2 * (y as usize * image.width as usize + x as usize);
        u16::from_le_bytes([image.data()[at], image.data()[at + 1]])
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_pixel_of_the_view_is_the_one_the_transform_names((spec, size) in spec(), seed in any::<u64>()) {
            let image = numbered(size.0, size.1);
            let transform = Transform::new(&spec, size).expect("fits");
            let (width, height) = transform.view_size();
            let view = cut(&image, &transform, Rect::whole((width, height)));
            prop_assert_eq!((view.width, view.height, view.format), (width, height, PixelFormat::Gray16));
            let (x, y) = ((seed % u64::from(width)) as u32, (seed / 7 % u64::from(height)) as u32);
            let [cx, cy] = transform.to_captured([f64::from(x) + 0.5, f64::from(y) + 0.5]);
            let inside = |at: f64, of: u32| at >= 1.0 && at < f64::from(of) - 1.0;
            if spec.undistort.is_none() {
                prop_assert_eq!(level(&view, x, y), level(&image, cx as u32, cy as u32));
            } else if inside(cx, size.0) && inside(cy, size.1) {
                // The numbers grow evenly, so that the one between pixels is known.
                let expected = (cy - 0.5) * f64::from(size.0) + cx - 0.5;
                prop_assert!((f64::from(level(&view, x, y)) - expected).abs() <= 1.0);
            }
            // A tile is a piece of the view.
            let rect = Rect { x: x / 2, y: y / 3, width: width - x, height: height - y };
            let tile = cut(&image, &transform, rect);
            prop_assert_eq!(level(&tile, 0, 0), level(&view, rect.x, rect.y));
            prop_assert_eq!(
                level(&tile, rect.width - 1, rect.height - 1),
                level(&view, rect.x + rect.width - 1, rect.y + rect.height - 1)
            );
        }
    }

    #[test]
    fn the_whole_frame_is_not_copied_and_colours_stay_together() {
        let image = Image::new(2, 1, PixelFormat::Rgb8, vec![1, 2, 3, 4, 5, 6]).expect("fits");
        let whole = Transform::new(&ViewSpec::default(), (2, 1)).expect("fits");
        assert!(cut(&image, &whole, Rect::whole((2, 1))).is_same(&image));
        let turned = ViewSpec { rotate: Rotate::Quarter, flip: Flip::Vertical, ..ViewSpec::default() };
        let turned = Transform::new(&turned, (2, 1)).expect("fits");
        let mut image = image;
        image.damaged = true;
        let view = cut(&image, &turned, Rect::whole((1, 2)));
        assert_eq!((view.data(), view.damaged), ([4, 5, 6, 1, 2, 3].as_slice(), true));
    }
}

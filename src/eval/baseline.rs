//! A classical baseline, to see what the network is worth: how far a pixel stands out from the median around it.
//!
//! The picture is brought to the model's S×S as the model sees it. Per channel |value − median of the window|, the largest
//! of the channels, smoothed with a Gaussian; 1 is the distance of black from white. The image score is the largest
//! value of the map.

use rayon::prelude::*;

use crate::frame::Image;
use crate::vcp_clip::maps::{gaussian, smooth};
use crate::vcp_clip::preprocess::resize_to_rgb;

/// The two numbers of the baseline, in pixels of the model's S×S input.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Baseline {
    /// Side of the square whose median is the background; odd.
    pub window: usize,
    /// Standard deviation of the Gaussian.
    pub sigma: f32,
}

impl Default for Baseline {
    /// Middle of the grid that tuning tries.
    fn default() -> Self {
        Self { window: 41, sigma: 4.0 }
    }
}

impl Baseline {
    /// The map, S×S row by row, 0 … 1.
    pub fn map(&self, image: &Image, size: usize) -> Vec<f32> {
        let rgb = resize_to_rgb(image, size);
        smoothed(&contrast(&rgb, size, self.window), size, self.sigma)
    }
}

/// The image score of a map.
pub fn score(map: &[f32]) -> f32 {
    map.iter().copied().fold(0.0, f32::max)
}

/// Smooths contrasts; no Gaussian at all for a `sigma` of 0.
pub(super) fn smoothed(contrast: &[f32], size: usize, sigma: f32) -> Vec<f32> {
    smooth(contrast, size, &gaussian(sigma))
}

/// Largest distance of a channel from its local median, 0 … 1; `rgb` has S×S pixels.
pub(super) fn contrast(rgb: &[u8], size: usize, window: usize) -> Vec<f32> {
    let mut largest = vec![0u8; size * size];
    for channel in 0..3 {
        let plane: Vec<u8> = rgb.iter().copied().skip(channel).step_by(3).collect();
        let background = median(&plane, size, window);
        for ((largest, value), background) in largest.iter_mut().zip(plane).zip(background) {
            *largest = (*largest).max(value.abs_diff(background));
        }
    }
    largest.into_iter().map(|distance| f32::from(distance) / 255.0).collect()
}

/// Median of the `window`×`window` pixels around each pixel of a square plane, borders repeated.
///
/// A histogram slides along each row, and the median moves with it (Huang, Yang and Tang 1979).
pub fn median(plane: &[u8], size: usize, window: usize) -> Vec<u8> {
    let radius = (window / 2) as isize;
    let clamped = |at: isize| at.clamp(0, size as isize - 1) as usize;
    let half = (2 * radius + 1).pow(2) as u32 / 2;
    let row = |(y, out): (usize, &mut [u8])| {
        let rows: Vec<usize> = (y as isize - radius..=y as isize + radius).map(|y| clamped(y) * size).collect();
        let mut counts = [0u32; 256];
        // How many values of the window are smaller than the median.
        let (mut median, mut below) = (0usize, 0u32);
        for x in -radius..=radius {
            rows.iter().for_each(|row| counts[usize::from(plane[row + clamped(x)])] += 1);
        }
        for (x, out) in out.iter_mut().enumerate() {
            if x > 0 {
                let (gone, come) = (clamped(x as isize - radius - 1), clamped(x as isize + radius));
                for row in &rows {
                    let (gone, come) = (usize::from(plane[row + gone]), usize::from(plane[row + come]));
                    counts[gone] -= 1;
                    below -= u32::from(gone < median);
                    counts[come] += 1;
                    below += u32::from(come < median);
                }
            }
            while below > half {
                median -= 1;
                below -= counts[median];
            }
            while below + counts[median] <= half {
                below += counts[median];
                median += 1;
            }
            *out = median as u8;
        }
    };
    let mut medians = vec![0; size * size];
    medians.par_chunks_exact_mut(size).enumerate().for_each(row);
    medians
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PixelFormat;

    #[test]
    fn the_sliding_median_is_the_median() {
        let size = 23;
        for (round, window) in [(0u32, 1), (1, 3), (2, 7), (3, 45), (4, 61)] {
            let value =
                |i: u32| (i.wrapping_mul(2_654_435_761).rotate_left(round * 3 + 5) >> 20) as u8 & !(round as u8);
            let plane: Vec<u8> = (0..(size * size) as u32).map(value).collect();
            let found = median(&plane, size, window);
            let radius = (window / 2) as isize;
            for (at, found) in found.into_iter().enumerate() {
                let (x, y) = ((at % size) as isize, (at / size) as isize);
                let clamped = |at: isize| at.clamp(0, size as isize - 1) as usize;
                let mut around: Vec<u8> = (y - radius..=y + radius)
                    .flat_map(|y| (x - radius..=x + radius).map(move |x| (x, y)))
                    .map(|(x, y)| plane[clamped(y) * size + clamped(x)])
                    .collect();
                around.sort_unstable();
                assert_eq!(found, around[around.len() / 2], "window {window} at {x}, {y}");
            }
        }
    }

    #[test]
    fn a_coloured_spot_stands_out_and_a_shade_does_not() {
        let size = 64u32;
        let pixel = |i: u32| {
            let (x, y) = (i % size, i / size);
            if (30..34).contains(&x) && (20..24).contains(&y) { [x as u8, 200, 60] } else { [x as u8, 60, 60] }
        };
        let image =
            Image::new(size, size, PixelFormat::Rgb8, (0..size * size).flat_map(pixel).collect()).expect("valid");
        let map = Baseline { window: 15, sigma: 1.0 }.map(&image, size as usize);
        let place = (0..map.len()).max_by(|&a, &b| map[a].total_cmp(&map[b])).expect("pixels");
        assert!((30..34).contains(&(place % 64)) && (20..24).contains(&(place / 64)), "{place}");
        assert!(score(&map) > 0.3 && score(&map) <= 140.0 / 255.0, "{}", score(&map));
        assert!(map[10 * 64 + 20] < 0.01);
    }
}

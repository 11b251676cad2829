//! What is measured of one picture, whatever it shows: brightness, sharpness, noise, and a small grey copy.
//!
//! Brightness and the copy are sampled over the whole picture; sharpness and noise need neighbouring pixels as the camera
//! delivered them, and look at tiles of it.

use super::reduced::Reduced;
use crate::frame::{Image, PixelFormat};

/// Levels of grey per level of eight bits: luminance of colours and 16-bit grey keep their fractions.
const FINE: i32 = 16;
/// Largest grey level.
const WHITE: usize = 255 * FINE as usize + FINE as usize - 1;
/// Samples of brightness along the longer side.
const SAMPLES: usize = 256;
/// Side of the tiles in which sharpness and noise are measured, and how many along each side of the picture.
const TILE: usize = 128;
const TILES: usize = 4;
/// Share of gradients' energy that is believed whatever the noise is: the difference of two nearly equal numbers means
/// nothing.
const BELIEVED: f64 = 0.05;
/// Added before a logarithm of brightness, levels of 255: in black pictures one level more is no event.
const BLACK: f64 = 2.0;
/// The same for noise.
const STILL: f64 = 0.2;

/// Features of one picture. Logarithms, so that a change by a factor is the same step everywhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// Columns and rows of the picture.
    pub size: (u32, u32),
    /// 5 %, 50 % and 95 % quantile of luminance (ITU-R BT.601), natural logarithm of levels of 255 plus 2.
    pub brightness: [f32; 3],
    /// Natural logarithm of the variance of the Laplacian over the energy of differences 4 pixels apart, both without what
    /// the noise adds (Pech-Pacheco et al. 2000 for the variance of the Laplacian). A factor on the picture cancels.
    pub sharpness: f32,
    /// Natural logarithm of the standard deviation of noise in levels of 255, plus 0.2: Immerkær 1996, with the lower
    /// quartile in place of the mean, because edges are no noise.
    pub noise: f32,
    /// The whole picture, small and grey.
    pub reduced: Reduced,
}

impl Features {
    /// Measures a picture. Takes about as long for 5 megapixels as for one.
    pub fn of(image: &Image) -> Self {
        let grey = Grey::of(image);
        let (sharpness, noise) = detail(&grey);
        Self {
            size: (image.width, image.height),
            brightness: brightness(&grey),
            sharpness,
            noise,
            reduced: Reduced::of(grey.width, grey.height, |x, y| grey.at(x, y) as f32 / FINE as f32),
        }
    }
}

/// Luminance of any picture, pixel by pixel.
struct Grey<'a> {
    width: usize,
    height: usize,
    format: PixelFormat,
    step: usize,
    data: &'a [u8],
    /// 0 … 1 of each value, where the picture has levels.
    through: Option<&'a [f32]>,
}

impl<'a> Grey<'a> {
    fn of(image: &'a Image) -> Self {
        let (width, height) = (image.width as usize, image.height as usize);
        let through = image.levels_in_use().map(|levels| levels.table());
        Self { width, height, format: image.format, step: image.format.bytes_per_pixel(), data: image.data(), through }
    }

    /// 0 … [`WHITE`].
    #[inline]
    fn at(&self, x: usize, y: usize) -> i32 {
        self.level((y * self.width + x) * self.step)
    }

    #[inline]
    fn level(&self, at: usize) -> i32 {
        if let Some(table) = self.through {
            return self.through(table, at);
        }
        let byte = |offset: usize| i32::from(self.data[at + offset]);
        // Weights of 256 in sum, so that white is 255 sixteenths of 16.
        let weighted = |r: i32, g: i32, b: i32| (77 * r + 150 * g + 29 * b) / (256 / FINE);
        match self.format {
            PixelFormat::Gray8 | PixelFormat::GrayAlpha8 => byte(0) * FINE,
            PixelFormat::Gray16 => (byte(1) * 256 + byte(0)) / FINE,
            PixelFormat::Rgb8 | PixelFormat::Rgba8 => weighted(byte(0), byte(1), byte(2)),
            PixelFormat::Bgr8 => weighted(byte(2), byte(1), byte(0)),
            PixelFormat::Rgb16 => weighted(byte(1), byte(3), byte(5)),
        }
    }

    /// As [`Grey::level`], of a picture with levels.
    fn through(&self, table: &[f32], at: usize) -> i32 {
        let fine = |value: usize| (table[value] * (255 * FINE) as f32 + 0.5) as i32;
        let byte = |offset: usize| fine(usize::from(self.data[at + offset]));
        let pair =
            |offset: usize| fine(usize::from(u16::from_le_bytes([self.data[at + offset], self.data[at + offset + 1]])));
        let weighted = |r: i32, g: i32, b: i32| (77 * r + 150 * g + 29 * b) / 256;
        match self.format {
            PixelFormat::Gray8 | PixelFormat::GrayAlpha8 => byte(0),
            PixelFormat::Gray16 => pair(0),
            PixelFormat::Rgb8 | PixelFormat::Rgba8 => weighted(byte(0), byte(1), byte(2)),
            PixelFormat::Bgr8 => weighted(byte(2), byte(1), byte(0)),
            PixelFormat::Rgb16 => weighted(pair(0), pair(2), pair(4)),
        }
    }

    /// The pixels of a tile, row by row, into `into`.
    fn tile(&self, x: usize, y: usize, width: usize, height: usize, into: &mut Vec<i32>) {
        into.clear();
        for row in y..y + height {
            let first = (row * self.width + x) * self.step;
            into.extend((0..width).map(|column| self.level(first + column * self.step)));
        }
    }
}

/// 5 %, 50 % and 95 % quantile.
fn brightness(grey: &Grey<'_>) -> [f32; 3] {
    let stride = grey.width.max(grey.height).div_ceil(SAMPLES).max(1);
    let mut histogram = vec![0u32; WHITE + 1];
    let first = |length: usize| (stride / 2).min(length - 1);
    for y in (first(grey.height)..grey.height).step_by(stride) {
        for x in (first(grey.width)..grey.width).step_by(stride) {
            histogram[(grey.at(x, y) as usize).min(WHITE)] += 1;
        }
    }
    [0.05, 0.5, 0.95].map(|share| (quantile(&histogram, share) / f64::from(FINE) + BLACK).ln() as f32)
}

/// Value below which this share of a histogram lies; within a bin as if its entries were spread evenly around its middle.
fn quantile(histogram: &[u32], share: f64) -> f64 {
    let count: u64 = histogram.iter().map(|&n| u64::from(n)).sum();
    let wanted = share * count as f64;
    let mut below = 0.0;
    for (value, &n) in histogram.iter().enumerate().filter(|(_, n)| **n > 0) {
        let n = f64::from(n);
        if below + n >= wanted {
            return (value as f64 - 0.5 + (wanted - below) / n).max(0.0);
        }
        below += n;
    }
    0.0
}

/// Starts of the tiles along a side of this length, and how long they are.
fn tiles(length: usize) -> (Vec<usize>, usize) {
    if length <= TILE * TILES {
        return (vec![0], length);
    }
    let gap = (length - TILE) as f64 / (TILES - 1) as f64;
    ((0..TILES).map(|tile| (tile as f64 * gap) as usize).collect(), TILE)
}

/// Sharpness and noise; of pictures with fewer than 6 pixels along a side there is nothing to measure: 0.
fn detail(grey: &Grey<'_>) -> (f32, f32) {
    let ((columns, width), (rows, height)) = (tiles(grey.width), tiles(grey.height));
    if width < 6 || height < 6 {
        return (0.0, 0.0);
    }
    let mut sums = Sums { masked: vec![0; 8 * (WHITE + 1)], ..Sums::default() };
    let mut tile = Vec::with_capacity(width * height);
    for &y in &rows {
        for &x in &columns {
            grey.tile(x, y, width, height, &mut tile);
            sums.add(&tile, width);
        }
    }
    sums.result()
}

/// Sums over the inner pixels of all tiles.
#[derive(Default)]
struct Sums {
    count: u64,
    laplacian: f64,
    squares: f64,
    far: f64,
    far_count: u64,
    /// Histogram of the absolute response to Immerkær's mask.
    masked: Vec<u32>,
}

impl Sums {
    fn add(&mut self, tile: &[i32], width: usize) {
        let rows: Vec<&[i32]> = tile.chunks_exact(width).collect();
        for rows in rows.windows(3) {
            let (mut laplacian, mut squares) = (0i64, 0i64);
            for x in 1..width - 1 {
                let cross = rows[0][x] + rows[2][x] + rows[1][x - 1] + rows[1][x + 1];
                let corners = rows[0][x - 1] + rows[0][x + 1] + rows[2][x - 1] + rows[2][x + 1];
                let middle = rows[1][x];
                let value = i64::from(cross - 4 * middle);
                laplacian += value;
                squares += value * value;
                let masked = (corners - 2 * cross + 4 * middle).unsigned_abs() as usize;
                self.masked[masked.min(8 * WHITE)] += 1;
            }
            self.count += width as u64 - 2;
            self.laplacian += laplacian as f64;
            self.squares += squares as f64;
        }
        let squared = |a: i32, b: i32| i64::from(a - b).pow(2);
        for row in &rows {
            let along: i64 = row.iter().zip(&row[4..]).map(|(&a, &b)| squared(a, b)).sum();
            self.far += along as f64;
            self.far_count += width as u64 - 4;
        }
        for (above, below) in rows.iter().zip(&rows[4..]) {
            let down: i64 = above.iter().zip(*below).map(|(&a, &b)| squared(a, b)).sum();
            self.far += down as f64;
            self.far_count += width as u64;
        }
    }

    fn result(&self) -> (f32, f32) {
        /// The mask answers to noise of deviation 1 with a deviation of 6; a quarter of a normal variable lies within
        /// this many deviations.
        const QUARTER: f64 = 6.0 * 0.318_639;
        let noise = quantile(&self.masked, 0.25) / QUARTER;
        let count = self.count as f64;
        let variance = self.squares / count - (self.laplacian / count).powi(2);
        let far = self.far / self.far_count as f64;
        // White noise of variance v adds 20 v to the Laplacian's variance (1 + 1 + 1 + 1 + 16), 2 v to a difference's square.
        let believed = |energy: f64, noisy: f64| (energy - noisy).max(BELIEVED * energy).max(1e-3);
        let noisy = noise * noise;
        let sharpness = (believed(variance, 20.0 * noisy) / believed(far, 2.0 * noisy)).ln();
        (sharpness as f32, (noise / f64::from(FINE) + STILL).ln() as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    /// Discs and stripes of this brightness with noise of this deviation, in levels.
    fn scene(size: u32, gain: f64, noise: f64, seed: u64) -> Vec<f64> {
        let mut dice = Dice::new(seed, [1, 2, 3]);
        let value = |index: u32| {
            let (x, y) = (f64::from(index % size), f64::from(index / size));
            let stripes = if (x / 13.0 + y / 29.0).rem_euclid(2.0) < 1.0 { 60.0 } else { 150.0 };
            let disc = (x - f64::from(size) / 2.0).hypot(y - f64::from(size) / 2.0) < f64::from(size) / 4.0;
            if disc { 200.0 } else { stripes }
        };
        (0..size * size).map(|index| gain * value(index) + noise * dice.normal()).collect()
    }

    fn blurred(values: &[f64], size: usize, sigma: f64) -> Vec<f64> {
        let weights: Vec<f64> = (-4..=4).map(|i| (-0.5 * (f64::from(i) / sigma).powi(2)).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let pass = |values: &[f64], step: [usize; 2]| -> Vec<f64> {
            let at = |x: usize, y: usize, by: usize| {
                let moved = |p: usize, along: usize| (p + along * by).saturating_sub(along * 4).min(size - 1);
                values[moved(y, step[1]) * size + moved(x, step[0])]
            };
            let mixed = |(x, y): (usize, usize)| (0..9).map(|by| weights[by] * at(x, y, by)).sum::<f64>() / sum;
            (0..size * size).map(|index| mixed((index % size, index / size))).collect()
        };
        pass(&pass(values, [1, 0]), [0, 1])
    }

    fn features(values: &[f64], size: u32) -> Features {
        let bytes = values.iter().map(|value| value.round().clamp(0.0, 255.0) as u8).collect();
        Features::of(&Image::new(size, size, PixelFormat::Gray8, bytes).expect("square"))
    }

    #[test]
    fn sharpness_reacts_to_defocus_and_not_to_brightness() {
        for noise in [0.5, 2.0, 5.0] {
            let noisy = |values: Vec<f64>, seed| -> Vec<f64> {
                let mut dice = Dice::new(seed, [7, 7, 7]);
                values.into_iter().map(|value| value + noise * dice.normal()).collect()
            };
            let sharp = features(&noisy(scene(300, 0.9, 0.0, 1), 1), 300);
            let dark = features(&noisy(scene(300, 0.9 * 0.85, 0.0, 1), 2), 300);
            // As a lens does it: the noise is that of the sensor and stays.
            let soft = features(&noisy(blurred(&scene(300, 0.9, 0.0, 1), 300, 1.0), 3), 300);
            let (dimmed, defocused) = (dark.sharpness - sharp.sharpness, soft.sharpness - sharp.sharpness);
            assert!(dimmed.abs() < 0.08, "noise {noise}: sharpness follows brightness by {dimmed}");
            assert!(defocused < -0.5, "noise {noise}: sharpness falls by {defocused} only");
        }
    }

    #[test]
    fn brightness_is_that_of_the_quantiles_in_every_format() {
        let ramp: Vec<u8> = (0..100 * 100).map(|index| (index % 100) as u8 + 50).collect();
        let grey = Features::of(&Image::new(100, 100, PixelFormat::Gray8, ramp.clone()).expect("grey"));
        for (found, level) in grey.brightness.iter().zip([55.0f32, 100.0, 145.0]) {
            assert!((found.exp() - 2.0 - level).abs() < 1.0, "{} for {level}", found.exp() - 2.0);
        }
        let each = |bytes: fn(u8) -> Vec<u8>, format| {
            Features::of(&Image::new(100, 100, format, ramp.iter().flat_map(|&p| bytes(p)).collect()).expect("bytes"))
        };
        for other in [
            each(|p| vec![p, 3], PixelFormat::GrayAlpha8),
            each(|p| vec![p, p], PixelFormat::Gray16),
            each(|p| vec![p; 3], PixelFormat::Rgb8),
            each(|p| vec![p; 3], PixelFormat::Bgr8),
            each(|p| vec![p, p, p, 9], PixelFormat::Rgba8),
        ] {
            for (a, b) in other.brightness.iter().zip(grey.brightness) {
                assert!((a - b).abs() < 0.01, "{a} is not {b}");
            }
        }
    }

    #[test]
    fn noise_is_found_beside_edges() {
        for noise in [1.0f32, 3.0, 8.0] {
            let found = features(&scene(300, 0.9, f64::from(noise), 5), 300).noise.exp() - 0.2;
            assert!((found / noise - 1.0).abs() < 0.25, "{found} for {noise}");
        }
    }

    #[test]
    fn the_smallest_and_the_oddest_pictures_have_features() {
        for (width, height) in [(1, 1), (5, 900), (7, 7), (3000, 2), (513, 129)] {
            let bytes = vec![77; width as usize * height as usize];
            let found = Features::of(&Image::new(width, height, PixelFormat::Gray8, bytes).expect("picture"));
            assert!(found.sharpness.is_finite() && found.noise.is_finite(), "{width}x{height}");
            assert!(found.brightness.iter().all(|value| (value.exp() - 79.0).abs() < 0.5), "{width}x{height}");
        }
    }
}

//! A picture reduced to a small grey one, and how far it is moved against the mean of the good parts' (phase correlation,
//! Kuglin and Hines 1975; sub-pixel by the logarithmic parabola through the peak).

use super::fourier::{Complex, Fourier};

/// Side of the reduced picture.
pub const SIDE: usize = 64;
const AREA: usize = SIDE * SIDE;
/// Samples along each side of a reduced pixel.
const SAMPLES: usize = 8;
/// Deviation of the Gaussian that the correlation's peak has, reduced pixels: finer structure is noise.
const PEAK: f32 = 1.2;
/// Larger movements are not looked for, reduced pixels: a quarter of the picture.
const FARTHEST: isize = SIDE as isize / 4;
/// Share of the mean magnitude that is added to each, so that frequencies of noise alone have no say.
const QUIET: f32 = 0.3;

/// A small grey picture with mean 0 and deviation 1, [`SIDE`]×[`SIDE`], row by row; all 0 when it shows nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Reduced(Vec<f32>);

impl Reduced {
    /// Reduces a picture of this size by means over cells, whatever its proportions.
    pub fn of(width: usize, height: usize, level: impl Fn(usize, usize) -> f32) -> Self {
        let places = |length: usize| -> Vec<usize> {
            let place = |sample: usize| ((2 * sample + 1) * length / (2 * SIDE * SAMPLES)).min(length - 1);
            (0..SIDE * SAMPLES).map(place).collect()
        };
        let (columns, rows) = (places(width), places(height));
        let mut values = vec![0.0; AREA];
        for (sample, &y) in rows.iter().enumerate() {
            let row = &mut values[sample / SAMPLES * SIDE..][..SIDE];
            for (cell, columns) in row.iter_mut().zip(columns.chunks_exact(SAMPLES)) {
                *cell += columns.iter().map(|&x| level(x, y)).sum::<f32>();
            }
        }
        let cell = (SAMPLES * SAMPLES) as f32;
        values.iter_mut().for_each(|value| *value /= cell);
        Self::even(values)
    }

    /// Takes away mean and contrast, so that light has no say in likeness.
    fn even(mut values: Vec<f32>) -> Self {
        let mean = values.iter().sum::<f32>() / AREA as f32;
        values.iter_mut().for_each(|value| *value -= mean);
        let deviation = (values.iter().map(|value| value * value).sum::<f32>() / AREA as f32).sqrt();
        // Less than a hundredth of a level is no contrast.
        let scale = if deviation > 0.01 { 1.0 / deviation } else { 0.0 };
        values.iter_mut().for_each(|value| *value *= scale);
        Self(values)
    }

    /// The values, in deviations from their mean.
    pub fn values(&self) -> &[f32] {
        &self.0
    }

    /// Two bytes a value (thousandths of a deviation), as hexadecimal digits.
    pub fn to_hex(&self) -> String {
        let bytes = self.0.iter().flat_map(|value| ((value * 1000.0).clamp(-32_768.0, 32_767.0) as i16).to_be_bytes());
        hex::encode(bytes.collect::<Vec<u8>>())
    }

    /// What [`Reduced::to_hex`] wrote; `None` when it is something else.
    pub fn from_hex(text: &str) -> Option<Self> {
        let bytes = hex::decode(text).ok().filter(|bytes| bytes.len() == 2 * AREA)?;
        let (pairs, _) = bytes.as_chunks::<2>();
        Some(Self(pairs.iter().map(|&pair| f32::from(i16::from_be_bytes(pair)) / 1000.0).collect()))
    }

    /// The mean of pictures; `None` of none.
    pub fn mean<'a>(pictures: impl ExactSizeIterator<Item = &'a Self>) -> Option<Self> {
        let count = pictures.len() as f32;
        let mut sum = vec![0.0; AREA];
        for picture in pictures {
            sum.iter_mut().zip(&picture.0).for_each(|(sum, value)| *sum += value / count);
        }
        (count > 0.0).then_some(Self(sum))
    }
}

/// Where a picture lies against another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offset {
    /// To the right, share of the picture's width.
    pub across: f32,
    /// Downwards, share of the picture's height.
    pub down: f32,
    /// Height of the correlation's peak: 1 for the same picture, near 0 for an unlike one.
    pub likeness: f32,
}

/// What is the same for all pictures.
pub struct Correlator {
    fourier: Fourier<SIDE>,
    /// Fades the borders, which are no structure of the picture.
    window: Vec<f32>,
    /// Transform of the peak, scaled so that the same picture has a peak of 1.
    weights: Vec<f32>,
}

/// A picture's transform.
#[derive(Clone)]
pub struct Spectrum(Vec<Complex>);

impl Spectrum {
    /// This mean of `count` pictures without one of them.
    pub fn without(&self, one: &Self, count: usize) -> Self {
        let (all, rest) = (count as f32, (count.max(2) - 1) as f32);
        let rest = 1.0 / rest;
        Self(self.0.iter().zip(&one.0).map(|(mean, own)| (mean.times(all) - *own).times(rest)).collect())
    }
}

impl Default for Correlator {
    fn default() -> Self {
        let hann = |i: usize| 0.5 - 0.5 * (std::f32::consts::TAU * (i as f32 + 0.5) / SIDE as f32).cos();
        let frequency = |i: usize| (if i > SIDE / 2 { i as f32 - SIDE as f32 } else { i as f32 }) / SIDE as f32;
        let weight = |index: usize| {
            let (u, v) = (frequency(index % SIDE), frequency(index / SIDE));
            let shape = (-2.0 * (std::f32::consts::PI * PEAK).powi(2) * (u * u + v * v)).exp();
            // What is the same everywhere says nothing of position.
            if index == 0 { 0.0 } else { shape }
        };
        let weights: Vec<f32> = (0..AREA).map(weight).collect();
        let sum: f32 = weights.iter().sum();
        Self {
            fourier: Fourier::new(),
            window: (0..AREA).map(|index| hann(index % SIDE) * hann(index / SIDE)).collect(),
            weights: weights.into_iter().map(|weight| weight / sum).collect(),
        }
    }
}

impl Correlator {
    /// The transform of a picture.
    pub fn spectrum(&self, picture: &Reduced) -> Spectrum {
        let faded = picture.0.iter().zip(&self.window).map(|(value, window)| Complex { re: value * window, im: 0.0 });
        Spectrum(self.fourier.forward(faded.collect()))
    }

    /// How far `picture` is moved against `mean`.
    pub fn offset(&self, picture: &Spectrum, mean: &Spectrum) -> Offset {
        let magnitude = |spectrum: &Spectrum| spectrum.0.iter().map(|value| value.norm()).sum::<f32>() / AREA as f32;
        let (quiet_a, quiet_b) = (QUIET * magnitude(picture), QUIET * magnitude(mean));
        let phases = picture.0.iter().zip(&mean.0).zip(&self.weights).map(|((a, b), &weight)| {
            let product = *a * b.conj();
            let most = (a.norm() + quiet_a) * (b.norm() + quiet_b);
            if most > 0.0 { product.times(weight / most) } else { Complex::default() }
        });
        let surface = self.fourier.inverse(phases.collect());
        let at = |x: isize, y: isize| {
            let side = SIDE as isize;
            surface[(y.rem_euclid(side) * side + x.rem_euclid(side)) as usize]
        };
        let (mut best, mut peak) = ((0, 0), f32::MIN);
        for y in -FARTHEST..=FARTHEST {
            for x in -FARTHEST..=FARTHEST {
                if at(x, y) > peak {
                    (best, peak) = ((x, y), at(x, y));
                }
            }
        }
        let (x, y) = best;
        let side = SIDE as f32;
        Offset {
            across: (x as f32 + vertex(at(x - 1, y), peak, at(x + 1, y))) / side,
            down: (y as f32 + vertex(at(x, y - 1), peak, at(x, y + 1))) / side,
            likeness: peak.clamp(0.0, 1.0),
        }
    }
}

/// Where the parabola through three logarithms has its top, between −½ and ½: exact for a Gaussian peak.
fn vertex(before: f32, peak: f32, after: f32) -> f32 {
    let least = (peak * 1e-3).max(f32::MIN_POSITIVE);
    let [a, b, c] = [before, peak, after].map(|value| value.max(least).ln());
    let bend = a - 2.0 * b + c;
    if bend < 0.0 { (0.5 * (a - c) / bend).clamp(-0.5, 0.5) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bumps at fixed places, moved, in a picture of this size.
    fn bumps(width: usize, height: usize, across: f32, down: f32) -> Reduced {
        let places =
            [(0.3, 0.3, 0.06, 90.0), (0.62, 0.4, 0.09, -60.0), (0.5, 0.7, 0.05, 120.0), (0.35, 0.6, 0.04, 70.0)];
        Reduced::of(width, height, |x, y| {
            let (u, v) = ((x as f32 + 0.5) / width as f32 - across, (y as f32 + 0.5) / height as f32 - down);
            let bump =
                |(a, b, s, h): (f32, f32, f32, f32)| h * (-((u - a).powi(2) + (v - b).powi(2)) / (2.0 * s * s)).exp();
            100.0 + places.into_iter().map(bump).sum::<f32>()
        })
    }

    #[test]
    fn movements_are_found_to_a_tenth_of_a_reduced_pixel() {
        let correlator = Correlator::default();
        for (width, height) in [(640, 480), (97, 211), (2000, 1000)] {
            let mean = correlator.spectrum(&bumps(width, height, 0.0, 0.0));
            for (across, down) in [(0.0, 0.0), (0.02, 0.0), (0.0, -0.02), (-0.013, 0.007), (0.09, -0.06)] {
                let found = correlator.offset(&correlator.spectrum(&bumps(width, height, across, down)), &mean);
                // The window holds far ones back a little.
                let near = |found: f32, moved: f32| (found - moved).abs() < 0.0016 + 0.05 * moved.abs();
                let near = near(found.across, across) && near(found.down, down);
                assert!(near, "{width}x{height}: {found:?} for {across}, {down}");
                assert!(found.likeness > 0.4, "{found:?}");
            }
        }
    }

    #[test]
    fn a_picture_that_shows_nothing_is_like_nothing() {
        let correlator = Correlator::default();
        let flat = correlator.spectrum(&Reduced::of(50, 40, |_, _| 77.0));
        let found = correlator.offset(&flat, &correlator.spectrum(&bumps(50, 40, 0.0, 0.0)));
        assert_eq!(found.likeness, 0.0);
        assert!(found.across.is_finite() && found.down.is_finite());
    }

    #[test]
    fn hexadecimal_digits_keep_a_picture() {
        let picture = bumps(300, 300, 0.01, 0.0);
        let back = Reduced::from_hex(&picture.to_hex()).expect("own digits");
        assert!(picture.values().iter().zip(back.values()).all(|(a, b)| (a - b).abs() < 0.0011));
        assert!(Reduced::from_hex("00").is_none() && Reduced::from_hex("xy").is_none());
    }
}

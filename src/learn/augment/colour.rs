//! Changing levels and colours of a picture; its mask stays.

use super::Picture;
use crate::dice::Dice;

/// The Gaussian kernels of 3, 5 and 7 taps that OpenCV takes when no deviation is given.
pub(super) const GAUSSIAN: [&[f64]; 3] = [
    &[0.25, 0.5, 0.25],
    &[0.0625, 0.25, 0.375, 0.25, 0.0625],
    &[0.03125, 0.109_375, 0.21875, 0.28125, 0.21875, 0.109_375, 0.03125],
];

fn to_level(value: f64) -> u8 {
    // A cast saturates.
    value.round() as u8
}

/// Every level through one function.
pub(super) fn map_levels(picture: &mut Picture, change: impl Fn(f32) -> f32) {
    let table: [u8; 256] = std::array::from_fn(|level| to_level(f64::from(change(level as f32))));
    picture.data.iter_mut().for_each(|level| *level = table[usize::from(*level)]);
}

/// Independent normal noise on every level.
pub(super) fn add_noise(picture: &mut Picture, deviation: f32, dice: &mut Dice) {
    picture
        .data
        .iter_mut()
        .for_each(|level| *level = to_level(f64::from(*level) + f64::from(deviation) * dice.normal()));
}

/// The luminance of a colour (ITU-R BT.601).
fn luminance([red, green, blue]: [f64; 3]) -> f64 {
    0.299 * red + 0.587 * green + 0.114 * blue
}

fn colours(data: &mut [u8]) -> impl Iterator<Item = &mut [u8; 3]> {
    data.as_chunks_mut::<3>().0.iter_mut()
}

/// Mean luminance, 0 … 255.
pub(super) fn mean_luminance(picture: &Picture) -> f32 {
    let pixels = (picture.width * picture.height) as f64;
    if picture.channels == 1 {
        return (picture.data.iter().map(|&level| f64::from(level)).sum::<f64>() / pixels) as f32;
    }
    let sum: f64 = picture.data.as_chunks::<3>().0.iter().map(|colour| luminance(colour.map(f64::from))).sum();
    (sum / pixels) as f32
}

/// Moves every colour away from its grey (factor > 1) or towards it.
pub(super) fn saturate(picture: &mut Picture, factor: f32) {
    if picture.channels == 1 {
        return;
    }
    let factor = f64::from(factor);
    for colour in colours(&mut picture.data) {
        let exact = colour.map(f64::from);
        let grey = luminance(exact);
        *colour = exact.map(|level| to_level(factor * level + (1.0 - factor) * grey));
    }
}

/// Turns the hue of every colour by this share of the colour circle.
pub(super) fn turn_hue(picture: &mut Picture, turn: f32) {
    if picture.channels == 1 {
        return;
    }
    for colour in colours(&mut picture.data) {
        let [red, green, blue] = colour.map(f64::from);
        let most = red.max(green).max(blue);
        let chroma = most - red.min(green).min(blue);
        if chroma == 0.0 {
            continue;
        }
        // Sextants of the circle, red at 0.
        let hue = if most == red {
            (green - blue) / chroma
        } else if most == green {
            2.0 + (blue - red) / chroma
        } else {
            4.0 + (red - green) / chroma
        };
        let hue = hue + 6.0 * f64::from(turn);
        let channel = |offset: f64| {
            let at = (offset + hue).rem_euclid(6.0);
            to_level(most - chroma * at.min(4.0 - at).clamp(0.0, 1.0))
        };
        *colour = [channel(5.0), channel(3.0), channel(1.0)];
    }
}

/// The same odd kernel along rows and columns, the border mirrored without its outermost pixel.
pub(super) fn filter(picture: &mut Picture, kernel: &[f64]) {
    let Picture { width, height, channels, .. } = *picture;
    let radius = kernel.len() / 2;
    let mirrored = |at: usize, by: usize, n: usize| {
        if n == 1 {
            return 0;
        }
        let period = 2 * (n - 1);
        // `at + by` counts from `radius` before the picture.
        let at = (at + by + period * radius - radius) % period;
        if at < n { at } else { period - at }
    };
    let mut across = vec![0.0; picture.data.len()];
    for y in 0..height {
        for x in 0..width {
            for channel in 0..channels {
                across[(y * width + x) * channels + channel] = kernel
                    .iter()
                    .enumerate()
                    .map(|(by, weight)| {
                        let x = mirrored(x, by, width);
                        weight * f64::from(picture.data[(y * width + x) * channels + channel])
                    })
                    .sum();
            }
        }
    }
    for y in 0..height {
        let rows: Vec<usize> = (0..kernel.len()).map(|by| mirrored(y, by, height) * width * channels).collect();
        for at in 0..width * channels {
            let sum: f64 = rows.iter().zip(kernel).map(|(row, weight)| weight * across[row + at]).sum();
            picture.data[y * width * channels + at] = to_level(sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(colour: [u8; 3]) -> Picture {
        Picture { width: 1, height: 1, channels: 3, data: colour.to_vec(), defect: vec![false] }
    }

    #[test]
    fn a_third_of_a_circle_turns_red_into_green() {
        let turned = |colour, turn| {
            let mut picture = one(colour);
            turn_hue(&mut picture, turn);
            picture.data
        };
        assert_eq!(turned([200, 10, 10], 1.0 / 3.0), [10, 200, 10]);
        assert_eq!(turned([200, 10, 10], -1.0 / 3.0), [10, 10, 200]);
        assert_eq!(turned([7, 90, 31], 0.0), [7, 90, 31]);
        assert_eq!(turned([90, 90, 90], 0.2), [90, 90, 90]);
    }

    #[test]
    fn saturation_moves_about_the_grey() {
        let mut picture = one([100, 150, 200]);
        saturate(&mut picture, 0.0);
        assert_eq!(picture.data, [141, 141, 141]);
        let mut picture = one([100, 150, 200]);
        saturate(&mut picture, 1.0);
        assert_eq!(picture.data, [100, 150, 200]);
    }

    #[test]
    fn filters_keep_a_plane_and_spread_a_point() {
        for kernel in GAUSSIAN.into_iter().chain([&[1.0 / 3.0; 3][..]]) {
            assert!((kernel.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            let mut plane = Picture { width: 4, height: 2, channels: 1, data: vec![77; 8], defect: vec![false; 8] };
            filter(&mut plane, kernel);
            assert_eq!(plane.data, [77; 8]);
        }
        let mut point = Picture { width: 3, height: 3, channels: 1, data: vec![0; 9], defect: vec![false; 9] };
        point.data[4] = 90;
        filter(&mut point, &[1.0 / 3.0; 3]);
        assert_eq!(
            point.data,
            [40, 20, 40, 20, 10, 20, 40, 20, 40],
            "the mirrored neighbours of a corner are the point"
        );
    }

    #[test]
    fn noise_has_its_deviation() {
        let mut picture = Picture { width: 100, height: 100, channels: 1, data: vec![128; 10_000], defect: Vec::new() };
        add_noise(&mut picture, 6.0, &mut Dice::new(5, [0; 3]));
        let variance = picture.data.iter().map(|&level| (f64::from(level) - 128.0).powi(2)).sum::<f64>() / 1e4;
        assert!((variance.sqrt() - 6.0).abs() < 0.2, "{variance}");
    }
}

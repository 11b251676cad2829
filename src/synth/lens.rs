//! What the camera does to light: blur of focus, noise of the sensor, eight bits.

use rayon::prelude::*;

use super::colour::Rgb;
use super::field::hash;
use super::stage::Camera;

/// Gaussian weights of one half, the middle first; they sum to one over both halves.
fn kernel(sigma: f32) -> Vec<f32> {
    let radius = libm::ceilf(2.2 * sigma) as usize;
    let weight = |i: usize| libm::expf(-0.5 * (i as f32 / sigma) * (i as f32 / sigma));
    let weights: Vec<f32> = (0..=radius).map(weight).collect();
    let sum = weights[0] + 2.0 * weights[1..].iter().sum::<f32>();
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// How far a blur reaches, in pixels.
pub(super) fn reach(sigma: f32) -> usize {
    libm::ceilf(2.2 * sigma) as usize
}

/// Blurs a picture of values with `CHANNELS` channels; edges are repeated. `sigma` in pixels.
pub(super) fn blur<const CHANNELS: usize>(
    values: &[[f32; CHANNELS]],
    width: usize,
    height: usize,
    sigma: f32,
) -> Vec<[f32; CHANNELS]> {
    let kernel = kernel(sigma);
    let radius = kernel.len() - 1;
    let mut rows = vec![[0.0; CHANNELS]; values.len()];
    rows.par_chunks_mut(width).zip(values.par_chunks(width)).for_each(|(out, row)| {
        let mut padded = vec![[0.0; CHANNELS]; width + 2 * radius];
        padded[..radius].fill(row[0]);
        padded[radius..radius + width].copy_from_slice(row);
        padded[radius + width..].fill(row[width - 1]);
        for (x, out) in out.iter_mut().enumerate() {
            for c in 0..CHANNELS {
                let mut sum = kernel[0] * padded[x + radius][c];
                for (i, weight) in kernel.iter().enumerate().skip(1) {
                    sum += weight * (padded[x + radius - i][c] + padded[x + radius + i][c]);
                }
                out[c] = sum;
            }
        }
    });
    let mut blurred = vec![[0.0; CHANNELS]; values.len()];
    blurred.par_chunks_mut(width).enumerate().for_each(|(y, out)| {
        for (i, &weight) in kernel.iter().enumerate() {
            let above = y.saturating_sub(i) * width;
            let below = (y + i).min(height - 1) * width;
            let pairs = rows[above..above + width].iter().zip(&rows[below..below + width]);
            let share = if i == 0 { 0.5 * weight } else { weight };
            for (out, (a, b)) in out.iter_mut().zip(pairs) {
                for c in 0..CHANNELS {
                    out[c] += share * (a[c] + b[c]);
                }
            }
        }
    });
    blurred
}

/// Adds noise and writes eight bits per channel.
pub(super) fn expose(picture: &[Rgb], size: usize, camera: &Camera) -> Vec<u8> {
    let exposed = |(index, &colour): (usize, &Rgb)| expose_pixel(colour, index % size, index / size, camera);
    picture.iter().enumerate().flat_map(exposed).collect()
}

/// One pixel of [`expose`].
pub(super) fn expose_pixel(colour: Rgb, x: usize, y: usize, camera: &Camera) -> [u8; 3] {
    let share = camera.noise / 2048.0;
    let h = hash(x as i32, y as i32, camera.seed);
    let k = hash(h as i32, 1, camera.seed);
    // The sum of two even numbers falls in a triangle; what is common to the channels is the noise of brightness.
    let grey = (h & 1023) as f32 + (h >> 10 & 1023) as f32 - 1023.0;
    let own = [k & 1023, k >> 10 & 1023, k >> 20 & 1023];
    std::array::from_fn(|c| {
        let noise = (grey + own[c] as f32 - 511.5) * share;
        (colour[c].clamp(0.0, 1.0) * 255.0 + noise + 0.5) as u8
    })
}

//! From a camera's picture to the model's input: Pillow's 8-bit bicubic to S×S, then normalised channel planes.
//!
//! The released weights have only ever seen pictures resized by Pillow, so the result is the same to the last bit:
//! antialiased bicubic (a = −0.5) in two passes, each rounded to 8 bits with 22-bit fixed-point weights, in the
//! picture's own channels; only then to RGB.

use std::sync::Arc;

use rayon::prelude::*;

use super::resample::{NearestMap, Taps, bicubic_8bit, bicubic_16bit, nearest};
use crate::frame::{Image, PixelFormat, Resampling};

/// Side lengths whose tables are kept. A line has a handful of cameras, each with one width and one height.
const KEPT_TABLES: usize = 16;

/// Resizes `image` to `size`×`size`, aspect ratio not kept, and returns tight RGB rows.
pub fn resize_to_rgb(image: &Image, size: usize) -> Vec<u8> {
    let mut preprocessor = Preprocessor::new(size, [0.0; 3], [1.0; 3]);
    preprocessor.resize(image);
    let step = image.format.bytes_per_pixel();
    let mut rgb = Vec::with_capacity(size * size * 3);
    for pixel in preprocessor.resized.chunks_exact(step) {
        rgb.extend_from_slice(&to_rgb(image.format, pixel));
    }
    rgb
}

/// Turns pictures of any size and format into the model's input. Keeps its tables and buffers between pictures.
pub struct Preprocessor {
    size: usize,
    /// `normalised[channel][level]`: the whole of scaling, mean and deviation is a function of one byte.
    normalised: [[f32; 256]; 3],
    tables: Vec<Arc<Taps>>,
    premultiplied: Vec<u8>,
    between: Vec<u8>,
    resized: Vec<u8>,
}

impl Preprocessor {
    /// For a model with input side `size`; `mean` and `std` per channel (red, green, blue) on the scale 0 … 1.
    pub fn new(size: usize, mean: [f32; 3], std: [f32; 3]) -> Self {
        let normalised =
            std::array::from_fn(|c| std::array::from_fn(|level| (level as f32 / 255.0 - mean[c]) / std[c]));
        Self {
            size,
            normalised,
            tables: Vec::new(),
            premultiplied: Vec::new(),
            between: Vec::new(),
            resized: Vec::new(),
        }
    }

    /// Side of the model's input, pixels.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Writes the red, green and blue plane (3×S×S, channel-major) of `image` into `out`.
    ///
    /// # Panics
    /// When `out` does not hold exactly 3×S×S values.
    pub fn run(&mut self, image: &Image, out: &mut [f32]) {
        let size = self.size;
        assert_eq!(out.len(), 3 * size * size, "the model's input is 3x{size}x{size}");
        self.resize(image);
        let step = image.format.bytes_per_pixel();
        let (red, rest) = out.split_at_mut(size * size);
        let (green, blue) = rest.split_at_mut(size * size);
        let [to_red, to_green, to_blue] = &self.normalised;
        self.resized
            .par_chunks_exact(size * step)
            .zip(red.par_chunks_exact_mut(size))
            .zip(green.par_chunks_exact_mut(size))
            .zip(blue.par_chunks_exact_mut(size))
            .for_each(|(((row, red), green), blue)| {
                for (x, pixel) in row.chunks_exact(step).enumerate() {
                    let [r, g, b] = to_rgb(image.format, pixel);
                    red[x] = to_red[usize::from(r)];
                    green[x] = to_green[usize::from(g)];
                    blue[x] = to_blue[usize::from(b)];
                }
            });
    }

    /// Leaves `image` in its own format, S×S, in `self.resized`.
    fn resize(&mut self, image: &Image) {
        let (width, height) = (image.width as usize, image.height as usize);
        let step = image.format.bytes_per_pixel();
        self.resized.resize(self.size * self.size * step, 0);
        if (width, height) == (self.size, self.size) {
            // Pillow copies a picture that has the size already: no filter and no way through premultiplied alpha.
            self.resized.copy_from_slice(image.data());
            return;
        }
        if image.resampling == Resampling::Nearest {
            let map = NearestMap::new(width, height, self.size);
            nearest(image.data(), step, &map, &mut self.resized);
            return;
        }
        let across = self.taps(width);
        let down = self.taps(height);
        let (between, resized) = (&mut self.between, &mut self.resized);
        match image.format {
            PixelFormat::Gray8 => bicubic_8bit::<1>(image.data(), &across, &down, between, resized),
            PixelFormat::Rgb8 | PixelFormat::Bgr8 => {
                bicubic_8bit::<3>(image.data(), &across, &down, between, resized);
            }
            PixelFormat::Gray16 => bicubic_16bit(image.data(), &across, &down, between, resized),
            PixelFormat::GrayAlpha8 => {
                premultiply::<2>(image.data(), &mut self.premultiplied);
                bicubic_8bit::<2>(&self.premultiplied, &across, &down, between, resized);
                unpremultiply::<2>(resized);
            }
            PixelFormat::Rgba8 => {
                premultiply::<4>(image.data(), &mut self.premultiplied);
                bicubic_8bit::<4>(&self.premultiplied, &across, &down, between, resized);
                unpremultiply::<4>(resized);
            }
        }
    }

    fn taps(&mut self, source: usize) -> Arc<Taps> {
        if let Some(found) = self.tables.iter().find(|taps| taps.source() == source) {
            return Arc::clone(found);
        }
        if self.tables.len() == KEPT_TABLES {
            self.tables.remove(0);
        }
        let made = Arc::new(Taps::bicubic(source, self.size));
        self.tables.push(Arc::clone(&made));
        made
    }
}

/// One resized pixel as red, green, blue. 16-bit grey saturates at 255, as Pillow converts it: it does not scale.
fn to_rgb(format: PixelFormat, pixel: &[u8]) -> [u8; 3] {
    match format {
        PixelFormat::Gray8 | PixelFormat::GrayAlpha8 => [pixel[0]; 3],
        PixelFormat::Gray16 => [if pixel[1] == 0 { pixel[0] } else { u8::MAX }; 3],
        PixelFormat::Rgb8 | PixelFormat::Rgba8 => [pixel[0], pixel[1], pixel[2]],
        PixelFormat::Bgr8 => [pixel[2], pixel[1], pixel[0]],
    }
}

/// Multiplies the colours by alpha (the last of `N` channels), rounded: a·b/255 without a division.
fn premultiply<const N: usize>(straight: &[u8], out: &mut Vec<u8>) {
    out.resize(straight.len(), 0);
    for (from, to) in straight.chunks_exact(N).zip(out.chunks_exact_mut(N)) {
        let alpha = from[N - 1];
        for (colour, product) in from[..N - 1].iter().zip(to.iter_mut()) {
            let biased = u32::from(*colour) * u32::from(alpha) + 128;
            *product = (((biased >> 8) + biased) >> 8) as u8;
        }
        to[N - 1] = alpha;
    }
}

/// Divides the colours by alpha again, cut off (not rounded) and clipped; fully clear and opaque pixels stay.
fn unpremultiply<const N: usize>(pixels: &mut [u8]) {
    for pixel in pixels.chunks_exact_mut(N) {
        let alpha = u32::from(pixel[N - 1]);
        if alpha == 0 || alpha == 255 {
            continue;
        }
        for colour in &mut pixel[..N - 1] {
            *colour = (u32::from(*colour) * 255 / alpha).min(255) as u8;
        }
    }
}

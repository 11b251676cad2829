//! From a camera's picture to the model's input: Pillow's 8-bit bicubic to S×S, then normalised channel planes.
//!
//! The released weights have only ever seen pictures resized by Pillow, so the result is the same to the last bit:
//! antialiased bicubic (a = −0.5) in two passes, each rounded to 8 bits with 22-bit fixed-point weights, in the
//! picture's own channels; only then to RGB. Pictures of 16 bits with levels keep their depth to the end: resized in
//! single precision, then levels, then mean and deviation.

use std::sync::Arc;

use rayon::prelude::*;

use super::cores::SharedOut;

use super::resample::{NearestMap, Taps, bicubic_8bit, bicubic_16bit, nearest};
use super::resample_deep::{bicubic_deep, widened};
use crate::frame::{Image, Levels, PixelFormat, Resampling};

/// Side lengths whose tables are kept. A line has a handful of cameras, each with one width and one height.
const KEPT_TABLES: usize = 16;

/// Resizes `image` to `size`×`size`, aspect ratio not kept, and returns tight RGB rows.
pub fn resize_to_rgb(image: &Image, size: usize) -> Vec<u8> {
    Preprocessor::new(size, [0.0; 3], [1.0; 3]).rgb(image)
}

/// Turns pictures of any size and format into the model's input. Keeps its tables and buffers between pictures.
pub struct Preprocessor {
    size: usize,
    mean: [f32; 3],
    std: [f32; 3],
    /// `normalised[channel][level]`: the whole of scaling, mean and deviation is a function of one byte.
    normalised: [[f32; 256]; 3],
    tables: Vec<Arc<Taps>>,
    premultiplied: Vec<u8>,
    between: Vec<u8>,
    resized: Vec<u8>,
    deep_between: Vec<f32>,
    deep: Vec<f32>,
}

impl Preprocessor {
    /// For a model with input side `size`; `mean` and `std` per channel (red, green, blue) on the scale 0 … 1.
    pub fn new(size: usize, mean: [f32; 3], std: [f32; 3]) -> Self {
        let normalised =
            std::array::from_fn(|c| std::array::from_fn(|level| (level as f32 / 255.0 - mean[c]) / std[c]));
        Self {
            size,
            mean,
            std,
            normalised,
            tables: Vec::new(),
            premultiplied: Vec::new(),
            between: Vec::new(),
            resized: Vec::new(),
            deep_between: Vec::new(),
            deep: Vec::new(),
        }
    }

    /// Side of the model's input, pixels.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The picture at the model's size as tight RGB rows.
    pub fn rgb(&mut self, image: &Image) -> Vec<u8> {
        let mut rgb = Vec::with_capacity(self.size * self.size * 3);
        let levels = image.levels_in_use();
        if let Some(levels) = levels.filter(|_| image.format.is_deep()) {
            let byte = |value: f32| (levels.of(value) * 255.0 + 0.5) as u8;
            self.resize_deep(image);
            let values = &self.deep;
            match image.format {
                PixelFormat::Gray16 => rgb.extend(values.iter().flat_map(|value| [byte(*value); 3])),
                _ => rgb.extend(values.iter().copied().map(byte)),
            }
            return rgb;
        }
        self.resize(image);
        for pixel in self.resized.chunks_exact(image.format.bytes_per_pixel()) {
            rgb.extend_from_slice(&to_rgb(image.format, pixel));
        }
        if let Some(levels) = levels {
            rgb.iter_mut().for_each(|byte| *byte = levels.byte(u16::from(*byte)));
        }
        rgb
    }

    /// The same in 16 bits, little endian over the whole range, for a picture that has levels: a byte would round what
    /// [`Self::run`] does not. `None` for any other.
    pub fn rgb16(&mut self, image: &Image) -> Option<Vec<u8>> {
        let levels = image.levels_in_use()?;
        let mut rgb = Vec::with_capacity(self.size * self.size * 6);
        let mut put = |value: f32| rgb.extend_from_slice(&((value * 65535.0 + 0.5) as u16).to_le_bytes());
        if image.format.is_deep() {
            self.resize_deep(image);
            let times = if image.format == PixelFormat::Gray16 { 3 } else { 1 };
            self.deep.iter().for_each(|value| (0..times).for_each(|_| put(levels.of(*value))));
            return Some(rgb);
        }
        self.resize(image);
        let table = levels.table();
        for pixel in self.resized.chunks_exact(image.format.bytes_per_pixel()) {
            to_rgb(image.format, pixel).into_iter().for_each(|byte| put(table[usize::from(byte)]));
        }
        Some(rgb)
    }

    /// Writes the red, green and blue plane (3×S×S, channel-major) of `image` into `out`.
    ///
    /// # Panics
    /// When `out` does not hold exactly 3×S×S values.
    pub fn run(&mut self, image: &Image, out: &mut [f32]) {
        let size = self.size;
        assert_eq!(out.len(), 3 * size * size, "the model's input is 3x{size}x{size}");
        let own = match image.levels_in_use() {
            Some(levels) if image.format.is_deep() => return self.run_deep(image, levels, out),
            Some(levels) => Some(self.normalised_through(levels)),
            None => None,
        };
        self.resize(image);
        let step = image.format.bytes_per_pixel();
        let (red, rest) = out.split_at_mut(size * size);
        let (green, blue) = rest.split_at_mut(size * size);
        let [to_red, to_green, to_blue] = own.as_ref().unwrap_or(&self.normalised);
        self.resized
            .par_chunks_exact(size * step)
            .zip(red.par_chunks_exact_mut(size))
            .zip(green.par_chunks_exact_mut(size))
            .zip(blue.par_chunks_exact_mut(size))
            .shared_out()
            .for_each(|(((row, red), green), blue)| {
                for (x, pixel) in row.chunks_exact(step).enumerate() {
                    let [r, g, b] = to_rgb(image.format, pixel);
                    red[x] = to_red[usize::from(r)];
                    green[x] = to_green[usize::from(g)];
                    blue[x] = to_blue[usize::from(b)];
                }
            });
    }

    /// `normalised` of bytes that have levels.
    fn normalised_through(&self, levels: &Levels) -> [[f32; 256]; 3] {
        let table = levels.table();
        std::array::from_fn(|c| std::array::from_fn(|byte| (table[byte] - self.mean[c]) / self.std[c]))
    }

    fn run_deep(&mut self, image: &Image, levels: &Levels, out: &mut [f32]) {
        self.resize_deep(image);
        let size = self.size;
        let step = self.deep.len() / (size * size);
        let (mean, std, deep) = (self.mean, self.std, &self.deep);
        out.par_chunks_exact_mut(size).enumerate().shared_out().for_each(|(row, out)| {
            let (channel, row) = (row / size, row % size);
            let from = if step == 1 { 0 } else { channel };
            let pixels = deep[row * size * step..(row + 1) * size * step].chunks_exact(step);
            for (value, pixel) in out.iter_mut().zip(pixels) {
                *value = (levels.of(pixel[from]) - mean[channel]) / std[channel];
            }
        });
    }

    /// Leaves the values of a picture of 16 bits, S×S, in `self.deep`.
    fn resize_deep(&mut self, image: &Image) {
        let (width, height) = (image.width as usize, image.height as usize);
        let channels = image.format.bytes_per_pixel() / 2;
        self.deep.resize(self.size * self.size * channels, 0.0);
        if (width, height) == (self.size, self.size) || image.resampling == Resampling::Nearest {
            self.resize(image);
            return widened(&self.resized, &mut self.deep);
        }
        let (across, down) = (self.taps(width), self.taps(height));
        let (between, deep) = (&mut self.deep_between, &mut self.deep);
        match channels {
            1 => bicubic_deep::<1>(image.data(), &across, &down, between, deep),
            _ => bicubic_deep::<3>(image.data(), &across, &down, between, deep),
        }
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
            // It always has levels; its channels are resized as numbers.
            PixelFormat::Rgb16 => {}
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
        PixelFormat::Rgb16 => [pixel[1], pixel[3], pixel[5]],
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

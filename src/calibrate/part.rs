//! A part that a calibration rests on: what the model says of it, and how its picture looks.

use sha2::{Digest, Sha256};

use crate::drift::Features;
use crate::frame::Image;
use crate::line::recipe::Statistics;

/// Cells of a thumbnail along each side: enough to tell parts apart, few enough that noise is averaged away.
const SIDE: usize = 16;

/// One part.
#[derive(Clone, Debug)]
pub struct Part {
    /// What a person knows it by: a file, or camera and frame.
    pub picture: String,
    /// The highest thresholds at which it fails.
    pub statistics: Statistics,
    /// How its picture looks.
    pub look: Look,
    /// What is followed of its picture later on, where it is known.
    pub features: Option<Features>,
}

/// What is kept of a picture to recognise it.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// SHA-256 of size, format and pixels.
    pub sha256: [u8; 32],
    /// Mean luminance of 16×16 cells, row by row, 0 … 255.
    pub thumbnail: Vec<f32>,
}

impl Look {
    /// Of this picture.
    pub fn of(image: &Image) -> Self {
        let mut hash = Sha256::new();
        hash.update(format!("{}x{} {:?} ", image.width, image.height, image.format));
        hash.update(image.data());
        Self { sha256: hash.finalize().into(), thumbnail: thumbnail(image) }
    }

    /// Root of the mean squared difference of the thumbnails, grey levels.
    pub fn distance(&self, other: &Self) -> f32 {
        distance(&self.thumbnail, &other.thumbnail)
    }
}

/// Root of the mean squared difference.
pub(super) fn distance(one: &[f32], other: &[f32]) -> f32 {
    let sum: f32 = one.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum();
    (sum / one.len().max(1) as f32).sqrt()
}

fn thumbnail(image: &Image) -> Vec<f32> {
    let span = |cell: usize, pixels: u32| {
        let from = cell * pixels as usize / SIDE;
        from as u32..(((cell + 1) * pixels as usize / SIDE).max(from + 1)) as u32
    };
    let mut cells = Vec::with_capacity(SIDE * SIDE);
    for (row, column) in (0..SIDE * SIDE).map(|at| (at / SIDE, at % SIDE)) {
        let (mut sum, mut count) = (0.0f64, 0u32);
        for y in span(row, image.height) {
            for x in span(column, image.width) {
                let [r, g, b] = image.rgb_at(x, y).map(f64::from);
                sum += 0.299 * r + 0.587 * g + 0.114 * b;
                count += 1;
            }
        }
        cells.push((sum / f64::from(count)) as f32);
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PixelFormat;

    #[test]
    fn a_thumbnail_is_the_mean_of_each_cell() {
        let data: Vec<u8> = (0..64 * 32).map(|at| if at % 64 < 32 { 10 } else { 200 }).collect();
        let image = Image::new(64, 32, PixelFormat::Gray8, data).expect("fits");
        let look = Look::of(&image);
        assert_eq!(look.thumbnail.len(), SIDE * SIDE);
        assert!((look.thumbnail[7] - 10.0).abs() < 1e-3 && (look.thumbnail[8] - 200.0).abs() < 1e-3);
        let tiny = Image::new(1, 1, PixelFormat::Gray8, vec![7]).expect("fits");
        assert_eq!(Look::of(&tiny).thumbnail.len(), SIDE * SIDE);
        assert!(look.distance(&Look::of(&image)) == 0.0 && look.sha256 == Look::of(&image).sha256);
        assert!(look.sha256 != Look::of(&tiny).sha256);
    }
}

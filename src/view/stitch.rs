//! The maps of tiles become one: blended where they overlap, so that no seam is seen.

use rayon::prelude::*;

use super::tiles::{Rect, TileLayout};

/// Rows of a tile that make one task.
const ROWS: usize = 32;

/// Where an output pixel lies between two input pixels.
#[derive(Clone, Copy)]
struct Tap {
    low: usize,
    high: usize,
    weight: f32,
}

/// Bilinear, half-pixel centres, as the recipe scales maps to frames.
fn taps(from: usize, to: usize) -> Vec<Tap> {
    let (scale, last) = (from as f64 / to as f64, from - 1);
    let tap = |i: usize| {
        let centre = ((i as f64 + 0.5) * scale - 0.5).clamp(0.0, last as f64);
        let low = centre as usize;
        Tap { low, high: (low + 1).min(last), weight: (centre - low as f64) as f32 }
    };
    (0..to).map(tap).collect()
}

/// A map of the layout's area that tiles are added to, one float a pixel.
pub struct Plane {
    area: Rect,
    values: Vec<f32>,
}

impl Plane {
    /// Of zeros. `before` is one that is not needed any more, whose memory is used again.
    pub fn new(area: Rect, before: Vec<f32>) -> Self {
        let mut values = before;
        values.clear();
        values.resize(area.pixels(), 0.0);
        Self { area, values }
    }

    /// Adds a tile's map of `size`×`size` values, brought to the tile's size, by its weights.
    pub fn add(&mut self, layout: &TileLayout, tile: usize, map: &[f32], size: usize) {
        let rect = layout.tiles()[tile];
        let (columns, rows) = layout.weights(tile);
        let (across, down) = (taps(size, rect.width as usize), taps(size, rect.height as usize));
        let width = self.area.width as usize;
        let left = (rect.x - self.area.x) as usize;
        let first = (rect.y - self.area.y) as usize * width;
        let last = first + rect.height as usize * width;
        self.values[first..last].par_chunks_mut(ROWS * width).enumerate().for_each(|(task, lines)| {
            let mut blended = vec![0.0; size];
            for (i, line) in lines.chunks_exact_mut(width).enumerate() {
                let (down, row) = (down[task * ROWS + i], rows[task * ROWS + i]);
                let (low, high) = (&map[down.low * size..][..size], &map[down.high * size..][..size]);
                for ((out, a), b) in blended.iter_mut().zip(low).zip(high) {
                    *out = a + down.weight * (b - a);
                }
                for ((out, tap), column) in line[left..].iter_mut().zip(&across).zip(columns) {
                    let (a, b) = (blended[tap.low], blended[tap.high]);
                    *out += (a + tap.weight * (b - a)) * (row * column);
                }
            }
        });
    }

    /// The sum of the weights of all tiles, where it is not 1 everywhere because some are left out.
    pub fn weights(layout: &TileLayout) -> Option<Vec<f32>> {
        if layout.is_full() {
            return None;
        }
        let mut plane = Self::new(layout.area(), Vec::new());
        (0..layout.tiles().len()).for_each(|tile| plane.add(layout, tile, &[1.0], 1));
        Some(plane.values)
    }

    /// The map, where all tiles are added: divided by what [`Self::weights`] gave for the layout.
    pub fn finish(mut self, weights: Option<&[f32]>) -> Vec<f32> {
        if let Some(weights) = weights {
            for (value, &weight) in self.values.iter_mut().zip(weights) {
                *value = if weight > 0.0 { *value / weight } else { 0.0 };
            }
        }
        self.values
    }
}

/// Mean of the largest values: the `share` of those `looked_at`; the others must be 0. The order of `values` is lost.
pub fn top_mean(values: &mut [f32], looked_at: usize, share: f64) -> f32 {
    let count = ((looked_at as f64 * share).round() as usize).clamp(1, values.len().max(1));
    if count < values.len() {
        values.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
    }
    let largest = &values[..count.min(values.len())];
    (largest.iter().map(|&value| f64::from(value)).sum::<f64>() / largest.len().max(1) as f64) as f32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::view::TileSpec;

    fn stitched(layout: &TileLayout, size: usize, value: impl Fn(f32, f32) -> f32) -> Vec<f32> {
        let mut plane = Plane::new(layout.area(), vec![7.0; 3]);
        for (i, tile) in layout.tiles().iter().enumerate() {
            let place =
                |at: usize, from: u32, length: u32| from as f32 + (at as f32 + 0.5) * length as f32 / size as f32;
            let pixel = |i: usize| value(place(i % size, tile.x, tile.width), place(i / size, tile.y, tile.height));
            plane.add(layout, i, &(0..size * size).map(pixel).collect::<Vec<_>>(), size);
        }
        plane.finish(Plane::weights(layout).as_deref())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_constant_stays_a_constant(
            width in 20u32..200, height in 20u32..200, side in 16u32..90, overlap in 0.0f32..=0.5, size in 1usize..40,
            value in 0.0f32..1.0, corner in prop::option::of((0.0..0.5f64, 0.0..0.5f64)),
        ) {
            let (w, h) = (f64::from(width), f64::from(height));
            let region = corner.map(|(x, y)| vec![[x * w, y * h], [w, y * h], [x * w, h]]);
            let regions: Vec<_> = region.into_iter().collect();
            let layout = TileLayout::new(&TileSpec::Size { size_px: side, overlap }, (width, height), &regions).expect("few");
            let map = stitched(&layout, size, |_, _| value);
            let looked_at = Plane::weights(&layout);
            for (at, found) in map.iter().enumerate() {
                let seen = looked_at.as_ref().is_none_or(|weights| weights[at] > 0.0);
                let expected = if seen { value } else { 0.0 };
                prop_assert!((found - expected).abs() < 1e-5);
            }
        }

        /// What all tiles agree on is not changed by cutting it into tiles: a slope stays one, across every seam. Only half a cell of
        /// a tile's map at its border knows less.
        #[test]
        fn a_slope_has_no_seams(side in 24u32..90, overlap in 0.1f32..=0.5) {
            let layout = TileLayout::new(&TileSpec::Size { size_px: side, overlap }, (200, 150), &[]).expect("few");
            let size = side as usize;
            let slope = |x: f32, y: f32| 0.002 * x + 0.003 * y;
            let map = stitched(&layout, size, slope);
            for (at, found) in map.iter().enumerate() {
                let (x, y) = ((at % 200) as f32 + 0.5, (at / 200) as f32 + 0.5);
                prop_assert!((found - slope(x, y)).abs() < 1e-4, "{x} {y}");
            }
        }
    }

    /// Tiles that disagree are blended: from one pixel to the next nothing jumps by more than the overlap's ramp.
    #[test]
    fn a_disagreement_is_spread_over_the_overlap() {
        let layout = TileLayout::new(&TileSpec::Size { size_px: 100, overlap: 0.25 }, (175, 100), &[]).expect("two");
        assert_eq!(layout.tiles().len(), 2);
        let mut plane = Plane::new(layout.area(), Vec::new());
        plane.add(&layout, 1, &[0.8], 1);
        let map = plane.finish(None);
        let steepest = map[..175].windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
        assert!(steepest < 0.8 / 25.0 + 1e-5, "{steepest}");
        assert_eq!((map[60], map[120]), (0.0, 0.8));
    }

    #[test]
    fn the_share_of_what_was_looked_at_counts() {
        let mut values = vec![0.0, 0.5, 0.25, 1.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(top_mean(&mut values, 8, 0.25), 0.75);
        assert_eq!(top_mean(&mut values, 4, 0.25), 1.0);
        assert_eq!(top_mean(&mut values, 4, 1e-9), 1.0);
        assert!(top_mean(&mut [f32::NAN, 0.0], 2, 0.5).is_nan());
    }
}

//! What an engine said about a tile, as large as it must be for stitching.

use rayon::prelude::*;

use crate::anomaly::AnomalyMap;

/// Rows of a tile that make one task.
const ROWS: usize = 32;
/// What is stitched of a tile: its map and the two that were blended into it.
pub(super) const LAYERS: usize = 3;

/// Where an output pixel lies between two input pixels.
#[derive(Clone, Copy)]
pub(super) struct Tap {
    pub low: usize,
    pub high: usize,
    pub weight: f32,
}

impl Tap {
    /// The value there.
    pub fn between(&self, row: &[f32]) -> f32 {
        row[self.low] + self.weight * (row[self.high] - row[self.low])
    }
}

/// Bilinear, half-pixel centres, as the recipe scales maps to frames.
pub(super) fn taps(from: usize, to: usize) -> Vec<Tap> {
    let (scale, last) = (from as f64 / to as f64, from - 1);
    let tap = |i: usize| {
        let centre = ((i as f64 + 0.5) * scale - 0.5).clamp(0.0, last as f64);
        let low = centre as usize;
        Tap { low, high: (low + 1).min(last), weight: (centre - low as f64) as f32 }
    };
    (0..to).map(tap).collect()
}

/// What an engine said about a tile: the layers of `columns`×`rows` values that are stitched.
pub(super) struct Answer {
    pub columns: usize,
    pub rows: usize,
    layers: Layers,
}

enum Layers {
    /// As they came.
    Engine {
        map: AnomalyMap,
        /// Carries the two paths; where it has none, it stands for them itself.
        seen: AnomalyMap,
    },
    /// Brought to the tile's size, because it is smaller than they were.
    Tile([Vec<f32>; LAYERS]),
}

impl Answer {
    /// For a tile of this size. In memory are three values for each of its pixels at most.
    pub fn new(map: AnomalyMap, seen: AnomalyMap, [width, height]: [usize; 2]) -> Self {
        let size = map.size();
        let (columns, rows) = (size.min(width), size.min(height));
        let whole = Self { columns: size, rows: size, layers: Layers::Engine { map, seen } };
        // Values on a card are fetched now, while they are there.
        let layers = whole.layers();
        assert!(layers.iter().all(|values| values.len() == size * size), "maps of {size}x{size} values");
        if (columns, rows) == (size, size) {
            return whole;
        }
        let (across, down) = (taps(size, columns), taps(size, rows));
        let smaller = layers.map(|values| {
            let mut smaller = vec![0.0; columns * rows];
            smaller.par_chunks_mut(ROWS * columns).zip(down.par_chunks(ROWS)).for_each(|(out, down)| {
                let mut blended = vec![0.0; size];
                for (out, tap) in out.chunks_exact_mut(columns).zip(down) {
                    let (low, high) = (&values[tap.low * size..][..size], &values[tap.high * size..][..size]);
                    for ((blended, low), high) in blended.iter_mut().zip(low).zip(high) {
                        *blended = low + tap.weight * (high - low);
                    }
                    for (out, tap) in out.iter_mut().zip(&across) {
                        *out = tap.between(&blended);
                    }
                }
            });
            smaller
        });
        Self { columns, rows, layers: Layers::Tile(smaller) }
    }

    /// Map, raw and new path, row by row.
    pub fn layers(&self) -> [&[f32]; LAYERS] {
        match &self.layers {
            Layers::Tile(layers) => layers.each_ref().map(Vec::as_slice),
            Layers::Engine { map, seen } => {
                let [raw, new] = match seen.paths() {
                    Some([raw, new]) => [&raw[..], &new[..]],
                    None => [seen.values(); 2],
                };
                [map.values(), raw, new]
            }
        }
    }
}

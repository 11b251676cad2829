//! The maps of tiles become one: blended where they overlap, so that no seam is seen.

use rayon::prelude::*;

use super::largest::Largest;
use super::tile_answer::{Answer, LAYERS, Tap, taps};
use super::tiles::TileLayout;
use crate::anomaly::AnomalyMap;

/// Rows of the stitched map that make one task.
const ROWS: usize = 32;
/// No row of a map.
const NONE: usize = usize::MAX;

/// The maps of a frame's tiles on their way to become one.
///
/// A row of the stitched map is computed once, when the last tile that shows it has been answered. In memory are the stitched map,
/// 4 bytes for each pixel of the layout's area, and the answers that are still needed: when tiles come in their order, those of the
/// rows of tiles that overlap (mostly two), 12 bytes (with a memory 16) for each value of a tile's map or pixel of the tile, whichever are fewer. Of both
/// paths only the values are kept that count.
pub struct Mosaic<'a> {
    layout: &'a TileLayout,
    answers: Vec<Option<Answer>>,
    /// The tile in each row and column of the grid, where one is looked at.
    grid: Vec<Vec<Option<usize>>>,
    /// The first row of the grid that is not answered whole.
    row: usize,
    map: Vec<f32>,
    /// Rows of the map that are done.
    done: usize,
    largest: [Largest; 2],
}

/// A frame's map and its score.
pub struct Stitched {
    /// Of the layout's area, row by row; 0 where no tile is looked at.
    pub map: Vec<f32>,
    /// Sum of both paths' means of the values that count.
    pub score: f32,
}

impl<'a> Mosaic<'a> {
    /// Of each path the largest `share` of the pixels looked at count for the score.
    pub fn new(layout: &'a TileLayout, share: f64) -> Self {
        let (columns, rows) = layout.grid();
        let mut grid = vec![vec![None; columns]; rows];
        for tile in 0..layout.tiles().len() {
            let (column, row) = layout.place(tile);
            grid[row][column] = Some(tile);
        }
        let count = ((layout.covered() as f64 * share).round() as usize).max(1);
        Self {
            layout,
            answers: layout.tiles().iter().map(|_| None).collect(),
            grid,
            row: 0,
            map: vec![0.0; layout.area().pixels()],
            done: 0,
            largest: [Largest::new(count), Largest::new(count)],
        }
    }

    /// Takes the map of a tile; `seen` is the engine's own, with its paths, before anything joined.
    ///
    /// # Panics
    /// When the maps that belong together, or those of tiles beside each other, differ in size: an engine's have one.
    pub fn add(&mut self, tile: usize, map: AnomalyMap, seen: AnomalyMap) {
        let rect = self.layout.tiles()[tile];
        self.answers[tile] = Some(Answer::new(map, seen, [rect.width, rect.height].map(|side| side as usize)));
        let before = self.row;
        while self.row < self.grid.len() && self.is_answered(self.row) {
            self.row += 1;
        }
        if self.row > before {
            let (top, height) = (self.layout.area().y, self.layout.area().height as usize);
            let next = self.grid.get(self.row).and_then(|row| row.iter().flatten().next());
            let end = next.map_or(height, |&tile| (self.layout.tiles()[tile].y - top) as usize);
            if self.done == 0 {
                // What counts there tells the tasks after it how little need not be gathered.
                self.stitch(end.min(ROWS));
            }
            self.stitch(end);
        }
    }

    fn is_answered(&self, row: usize) -> bool {
        self.grid[row].iter().flatten().all(|&tile| self.answers[tile].is_some())
    }

    /// Stitches the rows of the map before `end`, and drops the answers that are not needed any more.
    fn stitch(&mut self, end: usize) {
        let width = self.layout.area().width as usize;
        let begin = self.done;
        let mut map = std::mem::take(&mut self.map);
        let bands: Vec<Band<'_>> = self.grid.iter().filter_map(|row| self.band(row, begin, end)).collect();
        let (largest, full) = (&self.largest, self.layout.is_full());
        let helpers: Vec<[Largest; 2]> = map[begin * width..end * width]
            .par_chunks_mut(ROWS * width)
            .enumerate()
            .map(|(task, lines)| {
                let mut helpers = largest.each_ref().map(Largest::helper);
                let from = begin + task * ROWS;
                vectorised(
                    #[inline(always)]
                    || stitch_lines(&bands, full, from, lines, &mut helpers),
                );
                helpers
            })
            .collect();
        for helpers in helpers {
            self.largest.iter_mut().zip(helpers).for_each(|(largest, helper)| largest.join(helper));
        }
        (self.map, self.done) = (map, end);
        let top = self.layout.area().y;
        for (answer, rect) in self.answers.iter_mut().zip(self.layout.tiles()) {
            if (rect.y + rect.height - top) as usize <= end {
                *answer = None;
            }
        }
    }

    /// A row of the grid, if it shows any of the rows `begin .. end` of the map.
    fn band(&self, row: &[Option<usize>], begin: usize, end: usize) -> Option<Band<'_>> {
        let area = self.layout.area();
        let first = row.iter().copied().flatten().next()?;
        let rect = self.layout.tiles()[first];
        let (top, height) = ((rect.y - area.y) as usize, rect.height as usize);
        if top >= end || top + height <= begin {
            return None;
        }
        let &Answer { columns, rows, .. } = self.answers[first].as_ref()?;
        let across = taps(columns, rect.width as usize);
        let mut share = vec![0.0; area.width as usize];
        let piece = |tile: usize| {
            let layers = self.answers[tile].as_ref()?.layers();
            let left = (self.layout.tiles()[tile].x - area.x) as usize;
            let weights = self.layout.weights(tile).0;
            share[left..].iter_mut().zip(weights).for_each(|(share, weight)| *share += weight);
            let mix = |(tap, weight): (&Tap, &f32)| Mix {
                low: tap.low,
                parts: [weight * (1.0 - tap.weight), weight * tap.weight],
            };
            Some(Piece { left, across: across.iter().zip(weights).map(mix).collect(), layers })
        };
        let pieces: Vec<Piece<'_>> = row.iter().copied().flatten().filter_map(piece).collect();
        Some(Band { top, weights: self.layout.weights(first).1, columns, down: taps(rows, height), pieces, share })
    }

    /// The map and the score, when all tiles have been added.
    pub fn finish(self) -> Stitched {
        let score = self.largest.map(Largest::mean).iter().sum();
        Stitched { map: self.map, score }
    }
}

/// Runs `body` with the best instruction set of this CPU. Everything it calls must be `#[inline(always)]`.
fn vectorised(body: impl FnOnce()) {
    pulp::Arch::new().dispatch(body);
}

/// What an output pixel is of input pixel `low` and of the next one, times its tile's weight.
struct Mix {
    low: usize,
    parts: [f32; 2],
}

/// One tile of a row of them.
struct Piece<'a> {
    left: usize,
    across: Vec<Mix>,
    layers: [&'a [f32]; LAYERS],
}

/// A row of tiles: they share where they begin and how their maps are scaled.
struct Band<'a> {
    top: usize,
    weights: &'a [f32],
    /// Values in a row of its tiles' maps.
    columns: usize,
    down: Vec<Tap>,
    pieces: Vec<Piece<'a>>,
    /// Sum of the weights along the row.
    share: Vec<f32>,
}

/// Values of all layers at one place, and one more that makes them a register.
type Cell = [f32; 4];

/// Two rows of the maps of a row of tiles, scaled to the width of the area and blended: all layers beside each other.
struct Wide<'a, 'b> {
    band: &'b Band<'a>,
    rows: [(usize, Vec<f32>); 2],
}

impl<'a, 'b> Wide<'a, 'b> {
    fn new(band: &'b Band<'a>) -> Self {
        let row = || (NONE, vec![0.0; LAYERS * band.share.len()]);
        Self { band, rows: [row(), row()] }
    }

    /// Rows `low` and `high`; the one of them that is there already is not made again.
    #[inline(always)]
    fn rows(&mut self, low: usize, high: usize, cells: &mut [Cell], mixed: &mut [Cell]) -> [&[f32]; 2] {
        if self.rows[1].0 == low {
            self.rows.swap(0, 1);
        }
        for (at, wanted) in [low, high].into_iter().enumerate() {
            if self.rows[at].0 != wanted && (at == 0 || high != low) {
                self.rows[at].0 = wanted;
                widen(self.band, wanted, cells, mixed, &mut self.rows[at].1);
            }
        }
        let [(_, first), (_, second)] = &self.rows;
        if high == low { [first, first] } else { [first, second] }
    }
}

/// Row `at` of the maps, all layers beside each other. `cells` has one place more than a row, `mixed` is as wide as the area.
#[inline(always)]
fn widen(band: &Band<'_>, at: usize, cells: &mut [Cell], mixed: &mut [Cell], wide: &mut [f32]) {
    let size = cells.len() - 1;
    mixed.fill([0.0; 4]);
    for Piece { left, across, layers } in &band.pieces {
        let [map, raw, new] = layers.map(|values| &values[at * size..][..size]);
        for (((cell, map), raw), new) in cells.iter_mut().zip(map).zip(raw).zip(new) {
            *cell = [*map, *raw, *new, 0.0];
        }
        // Beside the last one there is no other.
        cells[size] = cells[size - 1];
        for (out, Mix { low, parts: [of_low, of_next] }) in mixed[*left..].iter_mut().zip(across) {
            let (low, next, sum) = (cells[*low], cells[*low + 1], *out);
            *out = std::array::from_fn(
                #[inline(always)]
                |lane| sum[lane] + of_low * low[lane] + of_next * next[lane],
            );
        }
    }
    let (map, paths) = wide.split_at_mut(mixed.len());
    let (raw, new) = paths.split_at_mut(mixed.len());
    for (((mixed, map), raw), new) in mixed.iter().zip(map).zip(raw).zip(new) {
        [*map, *raw, *new, _] = *mixed;
    }
}

/// The rows of the map from `from` on.
#[inline(always)]
fn stitch_lines(bands: &[Band<'_>], full: bool, from: usize, lines: &mut [f32], largest: &mut [Largest; 2]) {
    let Some((columns, width)) = bands.first().map(|band| (band.columns, band.share.len())) else { return };
    let mut wide: Vec<Wide<'_, '_>> = bands.iter().map(Wide::new).collect();
    let (mut cells, mut mixed) = (vec![[0.0; 4]; columns + 1], vec![[0.0; 4]; width]);
    let mut paths = vec![0.0; (LAYERS - 1) * width];
    let mut shares = vec![0.0; width];
    for (y, map) in (from..).zip(lines.chunks_exact_mut(width)) {
        let mut first = true;
        for wide in &mut wide {
            let Some(at) = y.checked_sub(wide.band.top).filter(|at| *at < wide.band.weights.len()) else { continue };
            let (tap, share) = (wide.band.down[at], wide.band.weights[at]);
            let [low, high] = wide.rows(tap.low, tap.high, &mut cells, &mut mixed);
            let parts = [share * (1.0 - tap.weight), share * tap.weight];
            sum(first, map, [&low[..width], &high[..width]], parts);
            sum(first, &mut paths, [&low[width..], &high[width..]], parts);
            if !full {
                sum(first, &mut shares, [&wide.band.share; 2], [share, 0.0]);
            }
            first = false;
        }
        if first {
            map.fill(0.0);
            continue;
        }
        if !full {
            // Where no tile is looked at the map is 0, and nothing counts.
            divide(map, &shares, 0.0);
            paths.chunks_exact_mut(width).for_each(|path| divide(path, &shares, f32::NEG_INFINITY));
        }
        for (largest, path) in largest.iter_mut().zip(paths.chunks_exact(width)) {
            largest.offer(path);
        }
    }
}

/// Parts of two rows, added to what is there or put in place of it.
#[inline(always)]
fn sum(first: bool, sums: &mut [f32], [a, b]: [&[f32]; 2], [of_a, of_b]: [f32; 2]) {
    let parts = sums.iter_mut().zip(a).zip(b);
    if first {
        parts.for_each(|((sum, a), b)| *sum = of_a * a + of_b * b);
    } else {
        parts.for_each(|((sum, a), b)| *sum += of_a * a + of_b * b);
    }
}

#[inline(always)]
fn divide(values: &mut [f32], by: &[f32], otherwise: f32) {
    for (value, by) in values.iter_mut().zip(by) {
        *value = if *by > 0.0 { *value / by } else { otherwise };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tiles::Rect;
    use super::*;
    use crate::view::TileSpec;

    /// A tile's map of `size`×`size` values; `value` of places in the layout's area.
    fn map(rect: Rect, size: usize, value: impl Fn(f32, f32) -> f32) -> AnomalyMap {
        let place = |at: usize, from: u32, length: u32| from as f32 + (at as f32 + 0.5) * length as f32 / size as f32;
        let pixel = |i: usize| value(place(i % size, rect.x, rect.width), place(i / size, rect.y, rect.height));
        AnomalyMap::new(size, (0..size * size).map(pixel).collect())
    }

    fn stitched(layout: &TileLayout, size: usize, value: impl Fn(f32, f32) -> f32) -> Vec<f32> {
        let mut mosaic = Mosaic::new(layout, 0.01);
        for (i, &tile) in layout.tiles().iter().enumerate() {
            let map = map(tile, size, &value);
            mosaic.add(i, map.clone(), map);
        }
        mosaic.finish().map
    }

    /// As the definition says: every tile's map brought to its size, times its weights, added up, divided by the sum of weights.
    /// Besides it, the sum of weights.
    fn defined(layout: &TileLayout, maps: &[&[f32]], size: usize) -> (Vec<f32>, Vec<f32>) {
        let area = layout.area();
        let mut sums = vec![0.0; area.pixels()];
        let mut weights = vec![0.0; area.pixels()];
        for (tile, (rect, map)) in layout.tiles().iter().zip(maps).enumerate() {
            let (columns, rows) = layout.weights(tile);
            let (across, down) = (taps(size, rect.width as usize), taps(size, rect.height as usize));
            for (y, (down, row)) in down.iter().zip(rows).enumerate() {
                for (x, (across, column)) in across.iter().zip(columns).enumerate() {
                    let along = |y: usize| across.between(&map[y * size..][..size]);
                    let value = along(down.low) + down.weight * (along(down.high) - along(down.low));
                    let (x, y) = ((rect.x - area.x) as usize + x, (rect.y - area.y) as usize + y);
                    sums[y * area.width as usize + x] += value * row * column;
                    weights[y * area.width as usize + x] += row * column;
                }
            }
        }
        let finished = sums.iter().zip(&weights).map(|(sum, weight)| if *weight > 0.0 { sum / weight } else { 0.0 });
        (finished.collect(), weights)
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
            let zeros: Vec<f32> = vec![0.0; size * size];
            let (_, weights) = defined(&layout, &vec![&zeros[..]; layout.tiles().len()], size);
            for (found, weight) in map.iter().zip(&weights) {
                let expected = if *weight > 0.0 { value } else { 0.0 };
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

        /// However tiles come: map and score are those of the definition.
        #[test]
        fn map_and_score_are_as_defined(
            width in 40u32..260, height in 40u32..260, side in 16u32..120, overlap in 0.0f32..=0.5, size in 1usize..40,
            share in 1e-4f64..0.2, seed in any::<u32>(), corners in prop::option::of((0.0..0.5f64, 0.0..0.5f64)),
        ) {
            let (w, h) = (f64::from(width), f64::from(height));
            let region = corners.map(|(x, y)| vec![[x * w, y * h], [w, y * h], [x * w, h]]);
            let regions: Vec<_> = region.into_iter().collect();
            let layout = TileLayout::new(&TileSpec::Size { size_px: side, overlap }, (width, height), &regions).expect("few");
            let count = layout.tiles().len();
            let random = |tile: usize, layer: usize, i: usize| {
                let mixed = ((tile * LAYERS + layer) * size * size + i) as u32;
                (mixed.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32
            };
            let layer = |tile: usize, layer: usize| (0..size * size).map(|i| random(tile, layer, i)).collect::<Vec<f32>>();
            let layers: [Vec<Vec<f32>>; LAYERS] =
                std::array::from_fn(|at| (0..count).map(|tile| layer(tile, at)).collect());
            let mut mosaic = Mosaic::new(&layout, share);
            // By steps that visit every tile once, but not in their order.
            let step = (1..).map(|i| seed as usize % 7 + i).find(|step| greatest_common(*step, count) == 1).expect("1 is one");
            for tile in (0..count).map(|i| i * step % count) {
                let [map, raw, new] = layers.each_ref().map(|layer| layer[tile].clone());
                mosaic.add(tile, AnomalyMap::new(size, map.clone()), AnomalyMap::new(size, map).with_paths([raw, new]));
            }
            let Stitched { map, score } = mosaic.finish();
            let [expected, raw, new] = layers.each_ref().map(|layer| {
                let layer: Vec<&[f32]> = layer.iter().map(Vec::as_slice).collect();
                defined(&layout, &layer, size)
            });
            for (found, expected) in map.iter().zip(&expected.0) {
                prop_assert!((found - expected).abs() < 1e-5, "{found} {expected}");
            }
            let looked_at = expected.1.iter().filter(|weight| **weight > 0.0).count();
            let top_mean = |mut path: Vec<f32>| {
                path.sort_by(|a, b| b.total_cmp(a));
                let count = ((looked_at as f64 * share).round() as usize).max(1);
                path[..count].iter().map(|value| f64::from(*value)).sum::<f64>() / count as f64
            };
            let expected = top_mean(raw.0) + top_mean(new.0);
            prop_assert!((f64::from(score) - expected).abs() < 1e-5, "{score} {expected}");
        }
    }

    fn greatest_common(a: usize, b: usize) -> usize {
        if b == 0 { a } else { greatest_common(b, a % b) }
    }

    /// Tiles that disagree are blended: from one pixel to the next nothing jumps by more than the overlap's ramp.
    #[test]
    fn a_disagreement_is_spread_over_the_overlap() {
        let layout = TileLayout::new(&TileSpec::Size { size_px: 100, overlap: 0.25 }, (175, 100), &[]).expect("two");
        assert_eq!(layout.tiles().len(), 2);
        let mut mosaic = Mosaic::new(&layout, 0.01);
        for (tile, value) in [(1, 0.8), (0, 0.0)] {
            let map = AnomalyMap::new(1, vec![value]);
            mosaic.add(tile, map.clone(), map);
        }
        let map = mosaic.finish().map;
        let steepest = map[..175].windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
        assert!(steepest < 0.8 / 25.0 + 1e-5, "{steepest}");
        assert_eq!((map[60], map[120]), (0.0, 0.8));
    }

    /// Memory: when tiles come in order, only the answers of rows of tiles that still show something undone are kept.
    #[test]
    fn answers_go_when_what_they_show_is_done() {
        let layout = TileLayout::new(&TileSpec::Size { size_px: 40, overlap: 0.25 }, (200, 400), &[]).expect("fits");
        let (columns, rows) = layout.grid();
        assert!(rows >= 10);
        let mut mosaic = Mosaic::new(&layout, 0.01);
        for (i, &tile) in layout.tiles().iter().enumerate() {
            let map = map(tile, 8, |x, y| x + y);
            mosaic.add(i, map.clone(), map);
            assert!(mosaic.answers.iter().flatten().count() <= 2 * columns);
        }
        assert_eq!(mosaic.answers.iter().flatten().count(), 0);
    }
}

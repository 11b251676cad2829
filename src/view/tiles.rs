//! Where the tiles of a view lie, and which of them any region of interest touches.

use super::spec::{MOST_TILES, TileSpec, ViewError};

/// `[x, y, width, height]`, pixels of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rect {
    /// First column.
    pub x: u32,
    /// First row.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Rect {
    /// The whole of something this large.
    pub fn whole((width, height): (u32, u32)) -> Self {
        Self { x: 0, y: 0, width, height }
    }

    /// Number of pixels.
    pub fn pixels(&self) -> usize {
        self.width as usize * self.height as usize
    }
}

/// One axis of the tiles: where each begins, all of one length.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Axis {
    starts: Vec<u32>,
    length: u32,
}

impl Axis {
    /// As few tiles of `length` as cover `from .. to`, evenly, with at least `overlap` of each in common with the next. What is
    /// shorter than a tile gets one with the rest around it, as far as the view's `end` lets it.
    fn sized((from, to): (u32, u32), end: u32, length: u32, overlap: f32) -> Self {
        let length = length.min(end);
        if to - from <= length {
            let slack = length - (to - from);
            let start = from.saturating_sub(slack / 2).min(end - length);
            return Self { starts: vec![start], length };
        }
        let step = ((length as f32 * (1.0 - overlap)).floor() as u32).max(1);
        let beyond = to - from - length;
        let count = beyond.div_ceil(step);
        let start =
            |i: u32| from + ((u64::from(i) * u64::from(beyond) + u64::from(count / 2)) / u64::from(count)) as u32;
        Self { starts: (0..=count).map(start).collect(), length }
    }

    /// The length of a tile of which `count` cover `end`.
    fn length_of(count: u32, end: u32, overlap: f32) -> u32 {
        let lengths = count as f32 - (count - 1) as f32 * overlap;
        ((end as f32 / lengths).ceil() as u32).clamp(1, end)
    }

    /// The part of each tile that no other is more in the middle of: they share the axis out without gaps.
    fn cores(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let middle = |i: usize| {
            let (start, end) = (self.starts[i + 1], self.starts[i] + self.length);
            start.min(end) + start.abs_diff(end) / 2
        };
        let last = self.starts.len() - 1;
        (0..=last).map(move |i| {
            let from = if i == 0 { self.starts[0] } else { middle(i - 1) };
            let to = if i == last { self.starts[last] + self.length } else { middle(i) };
            (from, to)
        })
    }

    /// Weight of each tile at each of its pixels: ramps over what it has in common with its neighbours, adding up to 1.
    fn weights(&self) -> Vec<Vec<f32>> {
        let (first, length) = (self.starts[0], self.length);
        let ramp = |length: u32, at: u32| if length == 0 { 1.0 } else { ((at as f32 + 0.5) / length as f32).min(1.0) };
        let common = |i: usize| (self.starts[i] + length).saturating_sub(self.starts[i + 1]);
        let mut weights: Vec<Vec<f32>> = (0..self.starts.len())
            .map(|i| {
                let before = if i > 0 { common(i - 1) } else { 0 };
                let after = if i + 1 < self.starts.len() { common(i) } else { 0 };
                (0..length).map(|at| ramp(before, at) * ramp(after, length - 1 - at)).collect()
            })
            .collect();
        let span = (self.starts[self.starts.len() - 1] + length - first) as usize;
        let mut sums = vec![0.0f32; span];
        for (start, weights) in self.starts.iter().zip(&weights) {
            let at = (start - first) as usize;
            sums[at..].iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight);
        }
        for (start, weights) in self.starts.iter().zip(&mut weights) {
            let at = (start - first) as usize;
            weights.iter_mut().zip(&sums[at..]).for_each(|(weight, sum)| *weight /= sum);
        }
        weights
    }
}

/// The tiles of a view that are looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct TileLayout {
    area: Rect,
    tiles: Vec<Rect>,
    /// Per tile its column and row.
    places: Vec<(usize, usize)>,
    columns: Vec<Vec<f32>>,
    rows: Vec<Vec<f32>>,
    without_regions: usize,
}

impl TileLayout {
    /// Lays tiles over the rectangle of the view that encloses `regions` (polygons in pixels of the view; none is the whole view)
    /// and leaves out those whose middle no region touches: what it would see there, a neighbour sees better.
    pub fn new(spec: &TileSpec, view: (u32, u32), regions: &[Vec<[f64; 2]>]) -> Result<Self, ViewError> {
        let (width, height) = view;
        let overlap = spec.overlap();
        let lengths = match *spec {
            TileSpec::Size { size_px, .. } => [size_px.min(width), size_px.min(height)],
            TileSpec::Grid { grid: [columns, rows], .. } => {
                [Axis::length_of(columns, width, overlap), Axis::length_of(rows, height, overlap)]
            }
        };
        let whole = [
            Axis::sized((0, width), width, lengths[0], overlap),
            Axis::sized((0, height), height, lengths[1], overlap),
        ];
        let without_regions = whole[0].starts.len() * whole[1].starts.len();
        let [across, down] = match regions {
            [] => whole,
            regions => {
                let [x, y] = enclosing(regions, view);
                [Axis::sized(x, width, lengths[0], overlap), Axis::sized(y, height, lengths[1], overlap)]
            }
        };
        let (mut tiles, mut places) = (Vec::new(), Vec::new());
        for (row, (&y, (top, bottom))) in down.starts.iter().zip(down.cores()).enumerate() {
            for (column, (&x, (left, right))) in across.starts.iter().zip(across.cores()).enumerate() {
                let core = [left, top, right, bottom].map(f64::from);
                if regions.is_empty() || regions.iter().any(|polygon| touches(polygon, core)) {
                    tiles.push(Rect { x, y, width: across.length, height: down.length });
                    places.push((column, row));
                }
            }
        }
        if tiles.len() > MOST_TILES {
            return Err(ViewError::TooMany { count: tiles.len(), width, height });
        }
        let spans = |axis: &Axis| (axis.starts[0], axis.starts[axis.starts.len() - 1] + axis.length - axis.starts[0]);
        let ((x, width), (y, height)) = (spans(&across), spans(&down));
        let area = Rect { x, y, width, height };
        Ok(Self { area, tiles, places, columns: across.weights(), rows: down.weights(), without_regions })
    }

    /// The rectangle of the view that the tiles lie in.
    pub fn area(&self) -> Rect {
        self.area
    }

    /// The tiles that are looked at, row by row.
    pub fn tiles(&self) -> &[Rect] {
        &self.tiles
    }

    /// How many there would be without regions of interest.
    pub fn without_regions(&self) -> usize {
        self.without_regions
    }

    /// Columns and rows of the grid that the tiles are places of.
    pub fn grid(&self) -> (usize, usize) {
        (self.columns.len(), self.rows.len())
    }

    /// Column and row of a tile in the grid. Tiles of a row begin at one height and are one height tall; so along columns.
    pub fn place(&self, tile: usize) -> (usize, usize) {
        self.places[tile]
    }

    /// How many pixels lie in a tile that is looked at.
    pub fn covered(&self) -> usize {
        if self.is_full() {
            return self.area.pixels();
        }
        let (left, top) = (self.area.x, self.area.y);
        let mut ends: Vec<u32> =
            self.tiles.iter().flat_map(|tile| [tile.y - top, tile.y + tile.height - top]).collect();
        ends.sort_unstable();
        ends.dedup();
        // Between two neighbouring ends every row is covered alike.
        let alike = |rows: &[u32]| {
            let mut covered = vec![false; self.area.width as usize];
            for tile in self.tiles.iter().filter(|tile| (tile.y..tile.y + tile.height).contains(&(rows[0] + top))) {
                covered[(tile.x - left) as usize..][..tile.width as usize].fill(true);
            }
            covered.into_iter().filter(|covered| *covered).count() * (rows[1] - rows[0]) as usize
        };
        ends.windows(2).map(alike).sum()
    }

    /// Whether every pixel of [`Self::area`] lies in a tile that is looked at, in all of those that it could lie in.
    pub fn is_full(&self) -> bool {
        self.tiles.len() == self.columns.len() * self.rows.len()
    }

    /// Weights of a tile along its columns and along its rows. The products of all tiles add up to 1 in every pixel of
    /// [`Self::area`] when [`Self::is_full`].
    pub fn weights(&self, tile: usize) -> (&[f32], &[f32]) {
        let (column, row) = self.places[tile];
        (&self.columns[column], &self.rows[row])
    }
}

/// First and one past the last column and row that any polygon reaches, inside the view.
fn enclosing(regions: &[Vec<[f64; 2]>], (width, height): (u32, u32)) -> [(u32, u32); 2] {
    let span = |axis: usize, end: u32| {
        let values = || regions.iter().flatten().map(move |corner| corner[axis]);
        let from = values().fold(f64::INFINITY, f64::min).floor().clamp(0.0, f64::from(end - 1)) as u32;
        let to = values().fold(f64::NEG_INFINITY, f64::max).ceil().clamp(0.0, f64::from(end)) as u32;
        (from, to.max(from + 1))
    };
    [span(0, width), span(1, height)]
}

/// Whether polygon and rectangle (`[left, top, right, bottom]`) have any area in common: the polygon, cut to the rectangle
/// (Sutherland and Hodgman 1974), is something. Cutting a polygon that is not convex leaves bridges without area along the
/// border, so what is left is measured.
fn touches(polygon: &[[f64; 2]], [left, top, right, bottom]: [f64; 4]) -> bool {
    let mut points = polygon.to_vec();
    for (axis, limit, sign) in [(0, left, 1.0), (0, right, -1.0), (1, top, 1.0), (1, bottom, -1.0)] {
        let depth = |point: &[f64; 2]| sign * (point[axis] - limit);
        let mut kept = Vec::with_capacity(points.len() + 4);
        for (i, b) in points.iter().enumerate() {
            let a = &points[(i + points.len() - 1) % points.len()];
            let (from, to) = (depth(a), depth(b));
            if (from > 0.0) != (to > 0.0) {
                let share = from / (from - to);
                kept.push([a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])]);
            }
            if to > 0.0 {
                kept.push(*b);
            }
        }
        points = kept;
    }
    let next = |i: usize| points[(i + 1) % points.len()];
    let doubled: f64 = points.iter().enumerate().map(|(i, a)| a[0] * next(i)[1] - next(i)[0] * a[1]).sum();
    doubled.abs() > 1e-6
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rectangle(x: f64, y: f64, width: f64, height: f64) -> Vec<[f64; 2]> {
        vec![[x, y], [x + width, y], [x + width, y + height], [x, y + height]]
    }

    fn size(size_px: u32, overlap: f32) -> TileSpec {
        TileSpec::Size { size_px, overlap }
    }

    #[test]
    fn a_large_frame_is_covered_evenly() {
        let layout = TileLayout::new(&size(518, 0.25), (2448, 2048), &[]).expect("fits");
        let starts: Vec<u32> = layout.tiles()[..6].iter().map(|tile| tile.x).collect();
        assert_eq!(starts, [0, 386, 772, 1158, 1544, 1930]);
        assert_eq!((layout.tiles().len(), layout.area()), (30, Rect::whole((2448, 2048))));
        assert!(layout.is_full());
        let grid = TileSpec::Grid { grid: [3, 2], overlap: 0.25 };
        let layout = TileLayout::new(&grid, (2448, 2048), &[]).expect("fits");
        assert_eq!((layout.tiles().len(), layout.tiles()[0]), (6, Rect { x: 0, y: 0, width: 980, height: 1171 }));
    }

    /// The judge's case: a region that covers a quarter of the frame, wherever it lies.
    #[test]
    fn a_quarter_of_the_frame_costs_about_a_quarter_of_the_tiles() {
        for (width, height, side) in [(2448u32, 2048u32, 518u32), (2448, 2048, 192), (4096, 3000, 518)] {
            let (w, h) = (f64::from(width), f64::from(height));
            for at in [[0.0, 0.0], [0.5, 0.5], [0.25, 0.25], [0.1, 0.37], [0.5, 0.0]] {
                let region = rectangle(at[0] * w, at[1] * h, w / 2.0, h / 2.0);
                let layout = TileLayout::new(&size(side, 0.25), (width, height), &[region]).expect("fits");
                let share = layout.tiles().len() as f64 / layout.without_regions() as f64;
                assert!(layout.without_regions() >= 30 && share <= 0.35, "{width}x{height} {side} {at:?}: {share}");
            }
        }
    }

    #[test]
    fn tiles_between_two_regions_are_left_out() {
        let regions = [rectangle(0.0, 0.0, 30.0, 30.0), rectangle(170.0, 170.0, 30.0, 30.0)];
        let layout = TileLayout::new(&size(40, 0.25), (200, 200), &regions).expect("fits");
        assert_eq!((layout.tiles().len(), layout.area(), layout.is_full()), (2, Rect::whole((200, 200)), false));
        // An L around the middle tile.
        let l = vec![[0.0, 0.0], [10.0, 0.0], [10.0, 190.0], [200.0, 190.0], [200.0, 200.0], [0.0, 200.0]];
        let layout = TileLayout::new(&size(40, 0.25), (200, 200), &[l]).expect("fits");
        assert!(layout.tiles().iter().all(|tile| tile.x == 0 || tile.y == 160));
    }

    #[test]
    fn more_tiles_than_a_verdict_may_cost_are_refused() {
        let error = TileLayout::new(&size(16, 0.5), (2448, 2048), &[]).expect_err("too many").to_string();
        assert!(error.contains("tiles for a view of 2448x2048 pixels are too many; at most 1024"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_pixel_is_seen_and_the_weights_add_up_to_one(
            width in 1u32..300, height in 1u32..300, side in 16u32..120, overlap in 0.0f32..=0.5, grid in any::<bool>(),
            region in prop::option::of((0.0..1.0f64, 0.0..1.0f64, 0.02..1.0f64, 0.02..1.0f64)),
        ) {
            let spec = match grid {
                true => TileSpec::Grid { grid: [1 + side % 5, 1 + side % 4], overlap },
                false => size(side, overlap),
            };
            let (w, h) = (f64::from(width), f64::from(height));
            let regions: Vec<_> = region.iter().map(|&(x, y, rw, rh)| {
                rectangle(x * w, y * h, (rw * w).min(w - x * w), (rh * h).min(h - y * h))
            }).collect();
            let layout = TileLayout::new(&spec, (width, height), &regions).expect("few");
            let area = layout.area();
            let mut sums = vec![0.0f32; area.pixels()];
            for (i, tile) in layout.tiles().iter().enumerate() {
                prop_assert!(tile.x + tile.width <= width && tile.y + tile.height <= height);
                let (columns, rows) = layout.weights(i);
                for (y, row) in rows.iter().enumerate() {
                    for (x, column) in columns.iter().enumerate() {
                        let (x, y) = (tile.x as usize + x - area.x as usize, tile.y as usize + y - area.y as usize);
                        sums[y * area.width as usize + x] += row * column;
                    }
                }
            }
            if layout.is_full() {
                prop_assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5));
            }
            prop_assert_eq!(layout.covered(), sums.iter().filter(|sum| **sum > 0.0).count());
            // Whatever a region reaches is looked at.
            for [x0, y0, x1, y1] in regions.iter().map(|r| [r[0][0], r[0][1], r[2][0], r[2][1]]) {
                for y in (y0 + 0.5).floor() as usize..(y1 - 0.5).ceil().max(0.0) as usize {
                    for x in (x0 + 0.5).floor() as usize..(x1 - 0.5).ceil().max(0.0) as usize {
                        let at = (y - area.y as usize) * area.width as usize + x - area.x as usize;
                        prop_assert!(sums[at] > 0.0, "{x} {y}");
                    }
                }
            }
        }
    }
}

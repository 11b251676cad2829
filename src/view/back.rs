//! A map of a view laid back over the captured frame: turned as it was captured, over the rectangle that it shows.

use std::sync::Mutex;

use rayon::prelude::*;

use super::spec::{Flip, Rotate};
use super::tiles::Rect;
use super::transform::Transform;
use crate::anomaly::{AnomalyMap, Fetch};

/// Side of the cells between whose corners places are interpolated, pixels of the captured frame: over so few even a wide-angle
/// lens is straight to a few hundredths of a pixel.
const CELL: usize = 8;

/// The map of `area` of the view, in the orientation of the captured frame and over the rectangle of it that `area` shows. Without
/// a lens its values are only moved; behind one they are interpolated, and what the view does not show is 0.
pub fn laid_back(map: AnomalyMap, transform: &Transform, area: Rect) -> AnomalyMap {
    if transform.is_identity() && area == Rect::whole(transform.captured_size()) {
        return map;
    }
    let place = place(transform, area);
    if transform.lens().is_some() {
        return bent(&map, transform, area, place).over(Some(place));
    }
    match (transform.rotate(), transform.flip()) {
        (Rotate::None, Flip::None) => map.over(Some(place)),
        _ if !map.is_here() => {
            let (size, peak) = (map.size(), map.peak());
            let turned = Turned { map: Mutex::new(map), transform: transform.clone() };
            AnomalyMap::elsewhere(size, peak, Box::new(turned)).over(Some(place))
        }
        _ => turned(&map, transform).over(Some(place)),
    }
}

/// The rectangle of the captured frame that a rectangle of the view shows.
fn place(transform: &Transform, area: Rect) -> [u32; 4] {
    let [left, top] = [f64::from(area.x), f64::from(area.y)];
    let [right, bottom] = [left + f64::from(area.width), top + f64::from(area.height)];
    // A lens bends the sides: they are followed.
    let steps = if transform.lens().is_some() { 64 } else { 1 };
    let along = (0..=steps).map(|i| f64::from(i) / f64::from(steps));
    let border = along.flat_map(|t| {
        let (x, y) = (left + t * (right - left), top + t * (bottom - top));
        [[x, top], [x, bottom], [left, y], [right, y]]
    });
    let (width, height) = transform.captured_size();
    let mut span = [[f64::INFINITY, f64::NEG_INFINITY]; 2];
    for point in border.map(|point| transform.to_captured(point)) {
        for (span, value) in span.iter_mut().zip(point) {
            *span = [span[0].min(value), span[1].max(value)];
        }
    }
    let [x, y] = [(span[0], width), (span[1], height)].map(|([from, to], end)| {
        let from = (from + 1e-6).floor().clamp(0.0, f64::from(end - 1)) as u32;
        (from, ((to - 1e-6).ceil().clamp(0.0, f64::from(end)) as u32).max(from + 1))
    });
    [x.0, y.0, x.1 - x.0, y.1 - y.0]
}

/// Undoes mirror and turn.
fn turned(map: &AnomalyMap, transform: &Transform) -> AnomalyMap {
    let (width, height, values) = (map.width(), map.height(), map.values());
    let (rotate, flip) = (transform.rotate(), transform.flip());
    let (out_width, out_height) = if rotate.is_across() { (height, width) } else { (width, height) };
    let mut out = vec![0.0; values.len()];
    out.par_chunks_mut(out_width).enumerate().for_each(|(y, row)| {
        for (x, out) in row.iter_mut().enumerate() {
            // As points go from the captured frame to the view.
            let (mut u, mut v) = match rotate {
                Rotate::None => (x, y),
                Rotate::Quarter => (out_height - 1 - y, x),
                Rotate::Half => (width - 1 - x, height - 1 - y),
                Rotate::ThreeQuarters => (y, out_width - 1 - x),
            };
            match flip {
                Flip::None => {}
                Flip::Horizontal => u = width - 1 - u,
                Flip::Vertical => v = height - 1 - v,
            }
            *out = values[v * width + u];
        }
    });
    AnomalyMap::sized(out_width, out_height, out)
}

/// A map that is turned when somebody asks for its values.
struct Turned {
    map: Mutex<AnomalyMap>,
    transform: Transform,
}

impl Fetch for Turned {
    fn fetch(&self) -> Vec<f32> {
        let map = self.map.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        turned(&map, &self.transform).values().to_vec()
    }
}

/// Behind a lens: for each pixel of the map over the captured frame the value where the view shows it.
fn bent(map: &AnomalyMap, transform: &Transform, area: Rect, [left, top, columns, rows]: [u32; 4]) -> AnomalyMap {
    // A stitched map has the view's own resolution, and keeps it; another one keeps its size.
    let whole = (map.width(), map.height()) == (area.width as usize, area.height as usize);
    let (width, height) = if whole { (columns as usize, rows as usize) } else { (map.width(), map.height()) };
    let (step_x, step_y) = (f64::from(columns) / width as f64, f64::from(rows) / height as f64);
    let (scale_x, scale_y) = (map.width() as f64 / f64::from(area.width), map.height() as f64 / f64::from(area.height));
    // Pixels of the map, half-pixel centres; far outside where the lens has no place.
    let look = |x: usize, y: usize| -> [f64; 2] {
        let point = [f64::from(left) + (x as f64 + 0.5) * step_x, f64::from(top) + (y as f64 + 0.5) * step_y];
        let [u, v] = transform.to_view(point).unwrap_or([f64::NAN; 2]);
        [(u - f64::from(area.x)) * scale_x - 0.5, (v - f64::from(area.y)) * scale_y - 0.5]
    };
    let (cells_x, cells_y) = (width.div_ceil(CELL) + 1, height.div_ceil(CELL) + 1);
    let nodes: Vec<[f64; 2]> =
        (0..cells_x * cells_y).into_par_iter().map(|i| look(i % cells_x * CELL, i / cells_x * CELL)).collect();
    let values = map.values();
    let value = |[u, v]: [f64; 2]| -> f32 {
        let (last_u, last_v) = ((map.width() - 1) as f64, (map.height() - 1) as f64);
        // Half a pixel around the outermost centres still belongs to the view. What is no place is in no range.
        if !(-0.5..=last_u + 0.5).contains(&u) || !(-0.5..=last_v + 0.5).contains(&v) {
            return 0.0;
        }
        let (u, v) = (u.clamp(0.0, last_u), v.clamp(0.0, last_v));
        let (x, y) = (u as usize, v as usize);
        let (wx, wy) = ((u - x as f64) as f32, (v - y as f64) as f32);
        let at = |x: usize, y: usize| values[y.min(map.height() - 1) * map.width() + x.min(map.width() - 1)];
        let upper = at(x, y) + wx * (at(x + 1, y) - at(x, y));
        let lower = at(x, y + 1) + wx * (at(x + 1, y + 1) - at(x, y + 1));
        upper + wy * (lower - upper)
    };
    let mut out = vec![0.0; width * height];
    out.par_chunks_mut(width).enumerate().for_each(|(y, row)| {
        let (cell_y, wy) = (y / CELL, (y % CELL) as f64 / CELL as f64);
        for (x, out) in row.iter_mut().enumerate() {
            let (cell_x, wx) = (x / CELL, (x % CELL) as f64 / CELL as f64);
            let node = |dx: usize, dy: usize| nodes[(cell_y + dy) * cells_x + cell_x + dx];
            let between = |axis: usize| {
                let upper = node(0, 0)[axis] + wx * (node(1, 0)[axis] - node(0, 0)[axis]);
                let lower = node(0, 1)[axis] + wx * (node(1, 1)[axis] - node(0, 1)[axis]);
                upper + wy * (lower - upper)
            };
            *out = value([between(0), between(1)]);
        }
    });
    AnomalyMap::sized(width, height, out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::transform::tests::spec;
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

        /// A map that tells for each pixel of the view where it lies in the captured frame, laid back, tells each pixel of the captured
        /// frame its own place.
        #[test]
        fn every_value_lands_where_its_pixel_was_captured((spec, size) in spec(), cut in any::<bool>()) {
            let transform = Transform::new(&spec, size).expect("fits");
            let (width, height) = transform.view_size();
            let area = match cut {
                true => Rect { x: width / 3, y: height / 4, width: width - width / 3, height: height - height / 4 },
                false => Rect::whole((width, height)),
            };
            for axis in 0..2 {
                let values = (0..area.height).flat_map(|y| (0..area.width).map(move |x| (x, y))).map(|(x, y)| {
                    let point = [f64::from(area.x + x) + 0.5, f64::from(area.y + y) + 0.5];
                    transform.to_captured(point)[axis] as f32 + 1000.0
                });
                let map = AnomalyMap::sized(area.width as usize, area.height as usize, values.collect());
                let back = laid_back(map, &transform, area);
                let [left, top, columns, rows] = back.place_in(size);
                prop_assert!(left + columns <= size.0 && top + rows <= size.1);
                prop_assert_eq!((back.width(), back.height()), (columns as usize, rows as usize));
                let mut shown = 0;
                for y in 0..rows {
                    for x in 0..columns {
                        let found = back.values()[(y * columns + x) as usize];
                        let expected = [left + x, top + y][axis] as f32 + 0.5 + 1000.0;
                        shown += usize::from(found != 0.0);
                        // The outermost half pixel behind a lens is that of its neighbour.
                        let tolerance = if spec.undistort.is_some() { 0.8 } else { 1e-3 };
                        prop_assert!(found == 0.0 || (found - expected).abs() < tolerance, "{x} {y}: {found} {expected}");
                    }
                }
                let all = columns as usize * rows as usize;
                // A narrow strip that a lens bends fills little of the rectangle around it.
                let narrow = area.width.min(area.height) < 16;
                let enough = if spec.undistort.is_some() { narrow || shown * 3 >= all } else { shown == all };
                prop_assert!(enough, "{shown} of {all}");
            }
        }
    }

    #[test]
    fn what_lies_elsewhere_is_turned_when_it_is_asked_for() {
        struct Numbers;
        impl Fetch for Numbers {
            fn fetch(&self) -> Vec<f32> {
                vec![0.1, 0.2, 0.3, 0.4]
            }
        }
        let spec = crate::view::ViewSpec { crop: Some([4, 0, 6, 8]), rotate: Rotate::Half, ..Default::default() };
        let transform = Transform::new(&spec, (20, 8)).expect("fits");
        let back = laid_back(AnomalyMap::elsewhere(2, 0.4, Box::new(Numbers)), &transform, Rect::whole((6, 8)));
        assert!(!back.is_here() && back.peak() == 0.4);
        assert_eq!((back.values(), back.place()), ([0.4, 0.3, 0.2, 0.1].as_slice(), Some([4, 0, 6, 8])));
    }
}

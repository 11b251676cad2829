//! A frame laid back so that its part lies as it was taught, and what is found there brought to the captured frame.

use std::sync::Mutex;

use rayon::prelude::*;

use super::spec::Pose;
use crate::anomaly::{AnomalyMap, Fetch};
use crate::verdict::Defect;

/// How the part of one frame lies; points are pixels, the middle of the first at 0.5, 0.5.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    pose: Pose,
    /// Middle of the taught rectangle.
    middle: [f64; 2],
    /// Columns and rows of the frame.
    size: (u32, u32),
}

impl Placement {
    /// The pose of a part in a frame of this size.
    pub fn new(pose: Pose, [x, y, width, height]: [u32; 4], size: (u32, u32)) -> Self {
        let middle = |from: u32, side: u32| f64::from(from) + 0.5 * f64::from(side);
        Self { pose, middle: [middle(x, width), middle(y, height)], size }
    }

    /// The pose.
    pub fn pose(&self) -> Pose {
        self.pose
    }

    /// Where a point of the part as it was taught lies in the captured frame.
    pub fn to_captured(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let (sin, cos) = f64::from(self.pose.degrees).to_radians().sin_cos();
        let (u, v) = (x - self.middle[0], y - self.middle[1]);
        let (dx, dy) = (f64::from(self.pose.dx), f64::from(self.pose.dy));
        [self.middle[0] + dx + cos * u - sin * v, self.middle[1] + dy + sin * u + cos * v]
    }

    /// Where a point of the captured frame lies as it was taught.
    pub fn to_taught(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let (sin, cos) = f64::from(self.pose.degrees).to_radians().sin_cos();
        let u = x - self.middle[0] - f64::from(self.pose.dx);
        let v = y - self.middle[1] - f64::from(self.pose.dy);
        [self.middle[0] + cos * u + sin * v, self.middle[1] - sin * u + cos * v]
    }

    /// The matrix of [`Placement::to_captured`] for columns and rows, whose first has its middle at 0.
    #[cfg(feature = "opencv")]
    pub(super) fn rows(&self) -> [[f64; 3]; 2] {
        let at = |x: f64, y: f64| self.to_captured([x + 0.5, y + 0.5]).map(|place| place - 0.5);
        let (zero, right, down) = (at(0.0, 0.0), at(1.0, 0.0), at(0.0, 1.0));
        [0, 1].map(|axis| [right[axis] - zero[axis], down[axis] - zero[axis], zero[axis]])
    }

    /// A defect of the part as it was taught, in the captured frame. Its area stays: the part is moved and turned alone.
    pub fn captured(&self, defect: Defect) -> Defect {
        let (width, height) = (f64::from(self.size.0), f64::from(self.size.1));
        let within = |[x, y]: [f64; 2]| [x.clamp(0.0, width), y.clamp(0.0, height)];
        let moved = |x: f64, y: f64| within(self.to_captured([x, y]));
        let [x, y, across, down] = defect.bounds.map(f64::from);
        // The box of the turned outline is tighter than that of the turned box.
        let outline: Vec<[f64; 2]> = match defect.polygon.is_empty() {
            true => [[x, y], [x + across, y], [x, y + down], [x + across, y + down]].map(|[x, y]| moved(x, y)).to_vec(),
            false => {
                let corners = defect.polygon.iter().map(|corner| corner.map(f64::from));
                corners.flat_map(|[x, y]| [moved(x, y), moved(x + 1.0, y + 1.0)]).collect()
            }
        };
        let bounds = self.span(&outline);
        // Corners are pixels, the centroid counts from the middle of the first.
        let pixel = |[x, y]: [u32; 2]| {
            let [x, y] = moved(f64::from(x) + 0.5, f64::from(y) + 0.5);
            [(x as u32).min(self.size.0.saturating_sub(1)), (y as u32).min(self.size.1.saturating_sub(1))]
        };
        let [cx, cy] = defect.centroid.map(|value| f64::from(value) + 0.5);
        let centroid = moved(cx, cy).map(|value| (value - 0.5).max(0.0) as f32);
        let polygon = defect.polygon.iter().copied().map(pixel).collect();
        Defect { bounds, centroid, polygon, ..defect }
    }

    /// A map of the part as it was taught, over the captured frame: at once where its values are here, else when they are asked for.
    /// One that lies over a rectangle lies over the box of the moved one, with as many values; what was not looked at is 0.
    pub fn map(&self, map: &AnomalyMap) -> AnomalyMap {
        let place = map.place().map(|place| self.place(place));
        if map.is_here() {
            return AnomalyMap::sized(map.width(), map.height(), self.values(map, place)).over(place);
        }
        let moved = Moved { placement: *self, place, map: Mutex::new(map.clone()) };
        AnomalyMap::elsewhere(map.size(), map.peak(), Box::new(moved)).over(place)
    }

    /// The box in the captured frame of a rectangle as it was taught.
    fn place(&self, [x, y, width, height]: [u32; 4]) -> [u32; 4] {
        let [left, top, right, bottom] = [x, y, x + width, y + height].map(f64::from);
        let corners = [[left, top], [right, top], [left, bottom], [right, bottom]];
        self.span(&corners.map(|corner| self.to_captured(corner)))
    }

    /// The whole pixels of the captured frame around points, at least one.
    fn span(&self, points: &[[f64; 2]]) -> [u32; 4] {
        let span = |axis: usize, side: u32| {
            let values = points.iter().map(|point| point[axis].clamp(0.0, f64::from(side)));
            let (least, most) = values.fold((f64::INFINITY, 0.0f64), |(a, b), v| (a.min(v), b.max(v)));
            // A side that ends on a border is not a hair beyond it.
            let first = ((least + 1e-6).floor() as u32).min(side.saturating_sub(1));
            (first, ((most - 1e-6).ceil() as u32).clamp(first + 1, side.max(first + 1)) - first)
        };
        let ((left, columns), (top, rows)) = (span(0, self.size.0), span(1, self.size.1));
        [left, top, columns, rows]
    }

    fn values(&self, map: &AnomalyMap, place: Option<[u32; 4]>) -> Vec<f32> {
        let (width, height, values) = (map.width(), map.height(), map.values());
        // Left, top, and pixels of the frame across one value: of the map as it was taught, and of the moved one.
        let grid = |place: Option<[u32; 4]>| {
            let [x, y, columns, rows] = place.unwrap_or([0, 0, self.size.0, self.size.1]).map(f64::from);
            (x, y, columns / width as f64, rows / height as f64)
        };
        let ((from_x, from_y, from_across, from_down), (x0, y0, across, down)) = (grid(map.place()), grid(place));
        let at = |x: f64, y: f64| {
            let [u, v] = self.to_taught([x0 + (x + 0.5) * across, y0 + (y + 0.5) * down]);
            [(u - from_x) / from_across - 0.5, (v - from_y) / from_down - 0.5]
        };
        let ([u0, v0], [u1, v1]) = (at(0.0, 0.0), at(1.0, 0.0));
        let (last_u, last_v) = ((width - 1) as f64, (height - 1) as f64);
        let mut moved = vec![0.0; width * height];
        moved.par_chunks_mut(width).enumerate().for_each(|(y, row)| {
            let [start_u, start_v] = at(0.0, y as f64);
            for (x, out) in row.iter_mut().enumerate() {
                // The motion is rigid: a step along a row is the same everywhere.
                let (u, v) = (start_u + (u1 - u0) * x as f64, start_v + (v1 - v0) * x as f64);
                if !(-0.5..=last_u + 0.5).contains(&u) || !(-0.5..=last_v + 0.5).contains(&v) {
                    continue;
                }
                let (u, v) = (u.clamp(0.0, last_u), v.clamp(0.0, last_v));
                let (left, top) = (u as usize, v as usize);
                let (right, below) = ((left + 1).min(width - 1), (top + 1).min(height - 1));
                let (s, t) = ((u - left as f64) as f32, (v - top as f64) as f32);
                let along = |row: usize| values[row * width + left] * (1.0 - s) + values[row * width + right] * s;
                *out = along(top) * (1.0 - t) + along(below) * t;
            }
        });
        moved
    }
}

/// A map that is moved when somebody asks for its values.
struct Moved {
    placement: Placement,
    place: Option<[u32; 4]>,
    map: Mutex<AnomalyMap>,
}

impl Fetch for Moved {
    fn fetch(&self) -> Vec<f32> {
        let map = self.map.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.placement.values(&map, self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement(dx: f32, dy: f32, degrees: f32) -> Placement {
        Placement::new(Pose { dx, dy, degrees, score: 1.0 }, [20, 10, 40, 40], (100, 80))
    }

    #[test]
    fn there_and_back_is_the_same_point_and_the_middle_moves_by_the_shift() {
        let placement = placement(7.0, -3.0, 4.0);
        let [x, y] = placement.to_captured([40.0, 30.0]);
        assert!((x - 47.0).abs() < 1e-9 && (y - 27.0).abs() < 1e-9);
        for point in [[0.0, 0.0], [91.5, 3.25], [40.0, 79.0]] {
            let back = placement.to_taught(placement.to_captured(point));
            assert!((back[0] - point[0]).abs() < 1e-9 && (back[1] - point[1]).abs() < 1e-9);
        }
        // Clockwise on the picture: what lies to the right comes down.
        assert!(placement.to_captured([60.0, 30.0])[1] > 27.0);
    }

    #[test]
    fn defects_and_maps_move_with_the_part() {
        let defect = Defect {
            bounds: [30, 20, 4, 3],
            area_px: 12,
            centroid: [31.5, 21.0],
            peak: 0.9,
            mean: 0.8,
            polygon: vec![[30, 20], [33, 20], [33, 22], [30, 22]],
        };
        let moved = placement(10.0, 5.0, 0.0).captured(defect.clone());
        assert_eq!((moved.bounds, moved.centroid), ([40, 25, 4, 3], [41.5, 26.0]));
        assert_eq!(moved.polygon, [[40, 25], [43, 25], [43, 27], [40, 27]]);
        let turned = placement(0.0, 0.0, 90.0).captured(defect.clone());
        assert_eq!((turned.bounds, turned.area_px), ([47, 20, 3, 4], 12));
        let gone = placement(200.0, 0.0, 0.0).captured(defect);
        assert_eq!(gone.bounds[0] + gone.bounds[2], 100);

        let mut values = vec![0.0; 100];
        values[3 * 10 + 4] = 1.0;
        let map = AnomalyMap::new(10, values);
        let moved = Placement::new(Pose { dx: 20.0, dy: -8.0, degrees: 0.0, score: 1.0 }, [20, 10, 40, 40], (100, 80))
            .map(&map);
        assert!((moved.values()[2 * 10 + 6] - 1.0).abs() < 1e-5, "{:?}", moved.values());
        assert_eq!(moved.values().iter().filter(|value| **value > 1e-5).count(), 1);
    }

    #[test]
    fn a_map_over_a_rectangle_lies_over_the_moved_one() {
        // 30x20 pixels at 20, 10, in values of 1 pixel: each tells its own column and row.
        let told = |axis: usize| {
            let values = (0..30 * 20).map(|i| [20 + i % 30, 10 + i / 30][axis] as f32 + 0.5).collect();
            AnomalyMap::sized(30, 20, values).over(Some([20, 10, 30, 20]))
        };
        let moved = placement(7.0, 12.0, 0.0).map(&told(0));
        assert_eq!((moved.place(), moved.values()), (Some([27, 22, 30, 20]), told(0).values()));
        let turned = placement(3.0, -2.0, 5.0);
        let [columns, rows] = [0, 1].map(|axis| turned.map(&told(axis)));
        let [left, top, across, down] = columns.place().expect("a rectangle");
        assert_eq!((columns.width(), columns.height(), columns.place()), (30, 20, rows.place()));
        let mut seen = 0;
        for (at, (x, y)) in columns.values().iter().zip(rows.values()).enumerate() {
            if *x == 0.0 {
                continue;
            }
            let step = (across as f64 / 30.0, down as f64 / 20.0);
            let here = [
                f64::from(left) + ((at % 30) as f64 + 0.5) * step.0,
                f64::from(top) + ((at / 30) as f64 + 0.5) * step.1,
            ];
            let [u, v] = turned.to_taught(here);
            // The outermost half value is that of its neighbour.
            assert!((u - f64::from(*x)).abs() < 0.51 && (v - f64::from(*y)).abs() < 0.51, "{at}: {u} {v} {x} {y}");
            seen += 1;
        }
        assert!(seen > 400, "{seen}");
        // What is moved beyond the frame is cut off.
        assert_eq!(placement(70.0, 0.0, 0.0).map(&told(0)).place(), Some([90, 10, 10, 20]));
    }
}

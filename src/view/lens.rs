//! A lens that bends straight lines, in OpenCV's model: Brown and Conrady's radial and tangential terms, the rational
//! denominator and the thin prism.

use serde::{Deserialize, Serialize};

/// Steps of Newton's method at most; a usable lens takes three or four.
const STEPS: usize = 20;
/// Close enough, pixels.
const CLOSE: f64 = 1e-4;

/// Camera matrix and distortion of a calibrated camera, pixels of the captured frame, with OpenCV's centres at whole numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lens {
    /// fx, fy: focal lengths, pixels.
    pub focal: [f64; 2],
    /// cx, cy: the principal point.
    pub centre: [f64; 2],
    /// k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4; what a file leaves out is 0.
    pub coefficients: [f64; 12],
    /// Columns and rows of the frames it was calibrated with, where the file says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<[u32; 2]>,
}

impl Lens {
    /// Where the lens has put what belongs at `point` of the straightened frame; both continuous pixels of the captured frame
    /// (`crate::view`).
    pub fn distorted(&self, point: [f64; 2]) -> [f64; 2] {
        let (bent, _) = self.bend(self.normal(point));
        self.pixels(bent)
    }

    /// The place in the straightened frame of what the lens has put at `point`: Newton's method on [`Self::distorted`].
    /// `None` where the model folds over and no place leads there.
    pub fn straightened(&self, point: [f64; 2]) -> Option<[f64; 2]> {
        let wanted = self.normal(point);
        let mut at = wanted;
        for _ in 0..STEPS {
            let (bent, [[a, b], [c, d]]) = self.bend(at);
            let off = [wanted[0] - bent[0], wanted[1] - bent[1]];
            if (off[0] * self.focal[0]).abs() < CLOSE && (off[1] * self.focal[1]).abs() < CLOSE {
                return Some(self.pixels(at));
            }
            let determinant = a * d - b * c;
            // Beyond the fold the model is no picture of the lens any more.
            if determinant <= 0.0 || !determinant.is_finite() {
                return None;
            }
            at[0] += (d * off[0] - b * off[1]) / determinant;
            at[1] += (a * off[1] - c * off[0]) / determinant;
        }
        None
    }

    fn normal(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        [(x - 0.5 - self.centre[0]) / self.focal[0], (y - 0.5 - self.centre[1]) / self.focal[1]]
    }

    fn pixels(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        [x * self.focal[0] + self.centre[0] + 0.5, y * self.focal[1] + self.centre[1] + 0.5]
    }

    /// The model itself, on normalised coordinates, with its derivatives `[[∂x'/∂x, ∂x'/∂y], [∂y'/∂x, ∂y'/∂y]]`.
    fn bend(&self, [x, y]: [f64; 2]) -> ([f64; 2], [[f64; 2]; 2]) {
        let [k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4] = self.coefficients;
        let r2 = x * x + y * y;
        let above = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3));
        let below = 1.0 + r2 * (k4 + r2 * (k5 + r2 * k6));
        let radial = above / below;
        let above_slope = k1 + r2 * (2.0 * k2 + r2 * 3.0 * k3);
        let below_slope = k4 + r2 * (2.0 * k5 + r2 * 3.0 * k6);
        // Per r²; r² changes by 2x and 2y.
        let slope = (above_slope - radial * below_slope) / below;
        let bent = [
            x * radial + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x) + r2 * (s1 + r2 * s2),
            y * radial + p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y + r2 * (s3 + r2 * s4),
        ];
        let (prism_x, prism_y) = (s1 + 2.0 * r2 * s2, s3 + 2.0 * r2 * s4);
        let slopes = [
            [
                radial + 2.0 * x * x * slope + 2.0 * p1 * y + 6.0 * p2 * x + 2.0 * x * prism_x,
                2.0 * x * y * slope + 2.0 * p1 * x + 2.0 * p2 * y + 2.0 * y * prism_x,
            ],
            [
                2.0 * x * y * slope + 2.0 * p1 * x + 2.0 * p2 * y + 2.0 * x * prism_y,
                radial + 2.0 * y * y * slope + 6.0 * p1 * y + 2.0 * p2 * x + 2.0 * y * prism_y,
            ],
        ];
        (bent, slopes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Image, PixelFormat};
    use crate::view::{Rect, Transform, ViewSpec, cut};

    /// Every term in use.
    fn lens() -> Lens {
        let coefficients = [-0.21, 0.06, 8e-4, -5e-4, -0.008, 0.01, -0.002, 1e-4, 2e-4, -1e-4, 3e-4, 5e-5];
        Lens { focal: [60.0, 61.5], centre: [31.2, 24.9], coefficients, size: None }
    }

    /// OpenCV 4.6.0 (opencv-python-headless 4.6.0.66): `initUndistortRectifyMap(K, D, None, K, (64, 48), CV_32FC1)`, and
    /// `undistortPointsIter(…, (3, 100, 1e-10))` for the way back.
    #[test]
    fn points_go_where_opencv_sends_them() {
        let there = [
            ([0.0, 0.0], [2.6216163635253906, 2.1293563842773438]),
            ([63.0, 0.0], [60.21989822387695, 2.200373888015747]),
            ([10.0, 40.0], [10.798666000366211, 39.44124984741211]),
            ([32.0, 24.0], [31.999895095825195, 24.000137329101562]),
            ([63.0, 47.0], [60.44777297973633, 45.26036834716797]),
        ];
        let back = [
            ([0.0, 0.0], [-3.5065383593111825, -2.850141244839378]),
            ([63.0, 0.0], [66.76287713732412, -2.979177705377012]),
            ([10.0, 40.0], [9.098976274733054, 40.63032032341147]),
            ([32.0, 24.0], [32.00010546598073, 23.999862765967325]),
            ([63.0, 47.0], [66.35422080425091, 49.28473593306519]),
        ];
        let far = |a: [f64; 2], b: [f64; 2]| (a[0] - b[0]).abs().max((a[1] - b[1]).abs());
        // OpenCV's pixel centres are whole numbers.
        let half = |[x, y]: [f64; 2]| [x + 0.5, y + 0.5];
        for (point, expected) in there {
            assert!(far(lens().distorted(half(point)), half(expected)) < 1e-5, "{point:?}");
        }
        for (point, expected) in back {
            assert!(far(lens().straightened(half(point)).expect("a place"), half(expected)) < 1e-3, "{point:?}");
        }
    }

    /// The same OpenCV: `remap(…, INTER_LINEAR, BORDER_CONSTANT)` with those maps, every ninth pixel of three rows. OpenCV rounds
    /// places to 1/32 of a pixel, which the checkerboard of the picture turns into a few levels.
    #[test]
    fn pixels_come_from_where_opencv_takes_them() {
        let level = |x: u32, y: u32| ((x * 7 + y * 13 + ((x / 8 + y / 8) % 2) * 60) % 256) as u8;
        let data = (0..48).flat_map(|y| (0..64).map(move |x| level(x, y))).collect();
        let image = Image::new(64, 48, PixelFormat::Gray8, data).expect("fits");
        let spec = ViewSpec { undistort: Some(lens()), ..ViewSpec::default() };
        let transform = Transform::new(&spec, (64, 48)).expect("fits");
        let view = cut(&image, &transform, Rect::whole((64, 48)));
        let rows = [
            (5, [101, 209, 203, 65, 67, 190, 193, 57]),
            (40, [12, 105, 171, 206, 104, 81, 138, 225]),
            (0, [46, 152, 145, 26, 30, 130, 133, 160]),
        ];
        for (y, expected) in rows {
            for (i, expected) in expected.into_iter().enumerate() {
                let found = view.data()[y * 64 + 9 * i];
                assert!(found.abs_diff(expected) <= 5, "row {y}, column {}: {found}, OpenCV {expected}", 9 * i);
            }
        }
    }
}

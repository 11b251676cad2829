//! From the captured frame to the view and back, for points; the one place where both directions are written down.

use super::lens::Lens;
use super::spec::{Flip, Rotate, ViewError, ViewSpec};

/// A view of frames of one size.
#[derive(Clone, Debug, PartialEq)]
pub struct Transform {
    captured: (u32, u32),
    /// `[x, y, width, height]`
    crop: [u32; 4],
    rotate: Rotate,
    flip: Flip,
    lens: Option<Lens>,
}

impl Transform {
    /// The view that `spec` asks for of frames of this size.
    pub fn new(spec: &ViewSpec, captured: (u32, u32)) -> Result<Self, ViewError> {
        let (width, height) = captured;
        let crop = spec.crop.unwrap_or([0, 0, width, height]);
        let fits = |at: u32, length: u32, of: u32| length > 0 && at.checked_add(length).is_some_and(|end| end <= of);
        if !fits(crop[0], crop[2], width) || !fits(crop[1], crop[3], height) {
            return Err(ViewError::CropOutside { crop, width, height });
        }
        let made = Self { captured, crop, rotate: spec.rotate, flip: spec.flip, lens: spec.undistort.clone() };
        if let Some(lens) = &made.lens {
            // The frame's own border must have a place, or polygons could not be followed.
            let (w, h) = (f64::from(width), f64::from(height));
            let border = [[0.0, 0.0], [w, 0.0], [w, h], [0.0, h], [w / 2.0, 0.0], [0.0, h / 2.0]];
            if let Some([x, y]) = border.into_iter().find(|&point| lens.straightened(point).is_none()) {
                return Err(ViewError::Lens { x: x as f32, y: y as f32 });
            }
        }
        Ok(made)
    }

    /// Columns and rows of the captured frame.
    pub fn captured_size(&self) -> (u32, u32) {
        self.captured
    }

    /// Columns and rows of the view.
    pub fn view_size(&self) -> (u32, u32) {
        let [_, _, width, height] = self.crop;
        if self.rotate.is_across() { (height, width) } else { (width, height) }
    }

    /// The rectangle of the captured frame that is cut out, `[x, y, width, height]`. With a lens that of the straightened one.
    pub fn crop(&self) -> [u32; 4] {
        self.crop
    }

    /// The turn.
    pub fn rotate(&self) -> Rotate {
        self.rotate
    }

    /// The mirror.
    pub fn flip(&self) -> Flip {
        self.flip
    }

    /// The lens, where there is one.
    pub fn lens(&self) -> Option<&Lens> {
        self.lens.as_ref()
    }

    /// Whether the view is the frame as it was captured.
    pub fn is_identity(&self) -> bool {
        let (width, height) = self.captured;
        self.crop == [0, 0, width, height]
            && self.rotate == Rotate::None
            && self.flip == Flip::None
            && self.lens.is_none()
    }

    /// Where a point of the view lies in the captured frame.
    pub fn to_captured(&self, point: [f64; 2]) -> [f64; 2] {
        let straight = self.to_straight(point);
        self.lens.as_ref().map_or(straight, |lens| lens.distorted(straight))
    }

    /// Where a point of the captured frame lies in the view; outside 0 … size where the view does not show it, `None` where the
    /// lens has no place for it.
    pub fn to_view(&self, point: [f64; 2]) -> Option<[f64; 2]> {
        let straight = match &self.lens {
            Some(lens) => lens.straightened(point)?,
            None => point,
        };
        Some(self.view_of_straight(straight))
    }

    /// Undoes mirror, turn and crop, in this order.
    fn to_straight(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let (width, height) = self.view_size();
        let (width, height) = (f64::from(width), f64::from(height));
        let [x, y] = match self.flip {
            Flip::None => [x, y],
            Flip::Horizontal => [width - x, y],
            Flip::Vertical => [x, height - y],
        };
        let [x, y] = match self.rotate {
            Rotate::None => [x, y],
            Rotate::Quarter => [y, width - x],
            Rotate::Half => [width - x, height - y],
            Rotate::ThreeQuarters => [height - y, x],
        };
        [x + f64::from(self.crop[0]), y + f64::from(self.crop[1])]
    }

    /// Crop, turn, mirror.
    fn view_of_straight(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let [left, top, width, height] = self.crop.map(f64::from);
        let [x, y] = [x - left, y - top];
        let [x, y] = match self.rotate {
            Rotate::None => [x, y],
            Rotate::Quarter => [height - y, x],
            Rotate::Half => [width - x, height - y],
            Rotate::ThreeQuarters => [y, width - x],
        };
        let (view_width, view_height) = self.view_size();
        match self.flip {
            Flip::None => [x, y],
            Flip::Horizontal => [f64::from(view_width) - x, y],
            Flip::Vertical => [x, f64::from(view_height) - y],
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A wide-angle lens with every term in use.
    pub fn lens(width: u32, height: u32) -> Lens {
        let (w, h) = (f64::from(width), f64::from(height));
        Lens {
            focal: [0.9 * w.max(h), 0.92 * w.max(h)],
            centre: [0.49 * w, 0.52 * h],
            coefficients: [-0.21, 0.06, 8e-4, -5e-4, -0.008, 0.01, -0.002, 1e-4, 2e-4, -1e-4, 3e-4, 5e-5],
            size: None,
        }
    }

    pub fn spec() -> impl Strategy<Value = (ViewSpec, (u32, u32))> {
        let rotate =
            prop_oneof![Just(Rotate::None), Just(Rotate::Quarter), Just(Rotate::Half), Just(Rotate::ThreeQuarters)];
        let flip = prop_oneof![Just(Flip::None), Just(Flip::Horizontal), Just(Flip::Vertical)];
        (2u32..200, 2u32..150, rotate, flip, any::<bool>(), any::<bool>(), any::<[u32; 4]>()).prop_map(
            |(width, height, rotate, flip, cropped, bent, [a, b, c, d])| {
                let (x, y) = (a % width, b % height);
                let crop = cropped.then(|| [x, y, 1 + c % (width - x), 1 + d % (height - y)]);
                let undistort = bent.then(|| lens(width, height));
                (ViewSpec { crop, rotate, flip, undistort, tiles: None }, (width, height))
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn there_and_back_is_the_same_point((spec, size) in spec(), x in 0.0..1.0f64, y in 0.0..1.0f64) {
            let transform = Transform::new(&spec, size).expect("fits");
            let (width, height) = transform.view_size();
            let point = [x * f64::from(width), y * f64::from(height)];
            let captured = transform.to_captured(point);
            let back = transform.to_view(captured).expect("inside the frame");
            prop_assert!((back[0] - point[0]).abs() < 1e-3 && (back[1] - point[1]).abs() < 1e-3, "{back:?} {point:?}");
            if spec.undistort.is_none() {
                let [left, top, w, h] = transform.crop().map(f64::from);
                prop_assert!((left..=left + w).contains(&captured[0]) && (top..=top + h).contains(&captured[1]));
            }
        }
    }

    #[test]
    fn a_quarter_turn_brings_the_left_side_up() {
        let at = |rotate, flip, point| {
            let spec = ViewSpec { crop: Some([10, 20, 4, 2]), rotate, flip, ..ViewSpec::default() };
            Transform::new(&spec, (40, 40)).expect("fits").to_view(point).expect("no lens")
        };
        // The top left pixel of the crop.
        let corner = [10.5, 20.5];
        assert_eq!(at(Rotate::None, Flip::None, corner), [0.5, 0.5]);
        assert_eq!(at(Rotate::Quarter, Flip::None, corner), [1.5, 0.5]);
        assert_eq!(at(Rotate::Half, Flip::None, corner), [3.5, 1.5]);
        assert_eq!(at(Rotate::ThreeQuarters, Flip::None, corner), [0.5, 3.5]);
        assert_eq!(at(Rotate::Quarter, Flip::Horizontal, corner), [0.5, 0.5]);
        assert_eq!(at(Rotate::Quarter, Flip::Vertical, corner), [1.5, 3.5]);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let said = |spec: ViewSpec| Transform::new(&spec, (640, 480)).expect_err("refused").to_string();
        assert_eq!(
            said(ViewSpec { crop: Some([600, 0, 41, 10]), ..ViewSpec::default() }),
            "crop [600, 0, 41, 10] ([x, y, width, height]) does not lie inside the frame of 640x480 pixels; choose a \
             rectangle inside it"
        );
        assert!(said(ViewSpec { crop: Some([u32::MAX, 0, 2, 10]), ..ViewSpec::default() }).starts_with("crop"));
        let mut wild = lens(640, 480);
        wild.coefficients = [-3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        assert!(said(ViewSpec { undistort: Some(wild), ..ViewSpec::default() }).contains("no straightened place"));
    }
}

//! What every product is to the picture: a silhouette, a face with colour and height, and perhaps a print.

use super::colour::Rgb;
use super::field::Point;

/// One point of a product's face.
#[derive(Clone, Copy, Debug)]
pub(super) struct Face {
    pub colour: Rgb,
    /// Towards the camera, in the unit of the points.
    pub height: f32,
}

/// One of the like pieces that a product is put together from: a tooth, a stud, a brick.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Another for each piece.
    pub id: u32,
    /// What lies under it; without one it is the background for a part and [`Look::under`] for a surface.
    pub bed: Option<Face>,
}

/// What a product is made of and how it may lie.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// True of the picture and fit before the noun; may be empty.
    pub word: &'static str,
    /// What comes to light where the face is scratched or has flaked off.
    pub under: Rgb,
    /// Strength of highlights, 0 matt … 1 polished.
    pub gloss: f32,
    /// May be turned by so much either way, in turns.
    pub turn: f32,
    /// Smallest and largest scale.
    pub zoom: (f32, f32),
    /// Ink of the print.
    pub ink: Rgb,
    /// Has openings through which the background shows, although it fills the picture.
    pub open: bool,
    /// Is put together from pieces that can be missing one by one.
    pub pieces: bool,
}

impl Look {
    /// A matt surface that may lie any way.
    pub fn new(word: &'static str, under: Rgb) -> Self {
        Self { word, under, gloss: 0.05, turn: 0.5, zoom: (0.85, 1.2), ink: [0.1; 3], open: false, pieces: false }
    }
}

/// A product in its own coordinates: a part lies around the origin within about one unit.
pub(super) trait Product: Send + Sync {
    fn look(&self) -> &Look;

    /// Signed distance to the silhouette, negative inside.
    fn outline(&self, _p: Point) -> f32 {
        -1.0
    }

    /// Colour and height at a point `depth` inside the silhouette.
    fn face(&self, p: Point, depth: f32) -> Face;

    /// Where a defect may lie within the silhouette, 0 or 1.
    fn solid(&self, _p: Point) -> f32 {
        1.0
    }

    /// Coverage by print; [`Product::face`] has laid it on already.
    fn ink(&self, _p: Point) -> Option<f32> {
        None
    }

    /// The piece at a point, for products of [`Look::pieces`].
    fn piece(&self, _p: Point) -> Option<Piece> {
        None
    }
}

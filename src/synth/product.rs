//! What every product is to the picture: a silhouette, a face with colour and height, and perhaps a print.

use super::class::Class;
use super::colour::Rgb;
use super::field::Point;
use super::{part, surface};
use crate::dice::Dice;

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
pub(super) trait Product {
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

/// A product of the class, as the dice fall.
pub(super) fn make(class: Class, dice: &mut Dice) -> Box<dyn Product> {
    match class {
        Class::BrushedMetal => Box::new(surface::metal::Brushed::new(dice)),
        Class::PerforatedSheet => Box::new(surface::metal::Perforated::new(dice)),
        Class::Mesh => Box::new(surface::metal::Mesh::new(dice)),
        Class::WoodGrain => Box::new(surface::wood::Wood::new(dice)),
        Class::Leather => Box::new(surface::wood::Leather::new(dice)),
        Class::Weave => Box::new(surface::cloth::Weave::cloth(dice)),
        Class::CarbonFibre => Box::new(surface::cloth::Weave::carbon(dice)),
        Class::Corduroy => Box::new(surface::cloth::Corduroy::new(dice)),
        Class::Knit => Box::new(surface::cloth::Knit::new(dice)),
        Class::Tile => Box::new(surface::stone::Tile::new(dice)),
        Class::Marble => Box::new(surface::stone::Marble::new(dice)),
        Class::Concrete => Box::new(surface::stone::Concrete::new(dice)),
        Class::Terrazzo => Box::new(surface::stone::Terrazzo::new(dice)),
        Class::PrintedBoard => Box::new(surface::board::Board::new(dice)),
        Class::BrickWall => Box::new(surface::laid::BrickWall::new(dice)),
        Class::Mosaic => Box::new(surface::laid::Mosaic::new(dice)),
        Class::Parquet => Box::new(surface::wood::Parquet::new(dice)),
        Class::ChequerPlate => Box::new(surface::metal::ChequerPlate::new(dice)),
        Class::Granite => Box::new(surface::rock::Granite::new(dice)),
        Class::Onyx => Box::new(surface::rock::Onyx::new(dice)),
        Class::Ring => Box::new(part::turned::Ring::new(dice)),
        Class::Bearing => Box::new(part::turned::Bearing::new(dice)),
        Class::Coin => Box::new(part::turned::Coin::new(dice)),
        Class::BottleMouth => Box::new(part::glass::BottleMouth::new(dice)),
        Class::Pill => Box::new(part::medicine::Pill::new(dice)),
        Class::Capsule => Box::new(part::medicine::Capsule::new(dice)),
        Class::Gear => Box::new(part::machined::Gear::new(dice)),
        Class::HexNut => Box::new(part::machined::HexNut::new(dice)),
        Class::ScrewHead => Box::new(part::machined::ScrewHead::new(dice)),
        Class::Connector => Box::new(part::moulded::Connector::new(dice)),
        Class::Button => Box::new(part::moulded::Button::new(dice)),
        Class::Biscuit => Box::new(part::biscuit::Biscuit::new(dice)),
        Class::Keycap => Box::new(part::marked::Keycap::new(dice)),
        Class::Domino => Box::new(part::marked::Domino::new(dice)),
        Class::SoapBar => Box::new(part::marked::SoapBar::new(dice)),
        Class::CrownCap => Box::new(part::stamped::CrownCap::new(dice)),
        Class::Sprocket => Box::new(part::stamped::Sprocket::new(dice)),
        Class::LockWasher => Box::new(part::stamped::LockWasher::new(dice)),
        Class::Impeller => Box::new(part::rotary::Impeller::new(dice)),
        Class::TerminalBlock => Box::new(part::electric::TerminalBlock::new(dice)),
        Class::ChipPackage => Box::new(part::electric::ChipPackage::new(dice)),
        Class::ToyBrick => Box::new(part::cast::ToyBrick::new(dice)),
        Class::ChocolateBar => Box::new(part::cast::ChocolateBar::new(dice)),
    }
}

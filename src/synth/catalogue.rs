//! Which product each class stands for.

use super::class::Class;
use super::product::Product;
use super::{part, surface};
use crate::dice::Dice;

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

//! What is produced: the classes of products.

use std::fmt;
use std::str::FromStr;

/// A kind of product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is named by its noun")]
pub enum Class {
    BrushedMetal,
    WoodGrain,
    Weave,
    Leather,
    Tile,
    Marble,
    Mesh,
    PrintedBoard,
    Concrete,
    Corduroy,
    CarbonFibre,
    PerforatedSheet,
    Knit,
    Terrazzo,
    BrickWall,
    Mosaic,
    Parquet,
    ChequerPlate,
    Granite,
    Onyx,
    Ring,
    BottleMouth,
    Pill,
    Gear,
    Connector,
    Biscuit,
    HexNut,
    Coin,
    Capsule,
    Button,
    ScrewHead,
    Bearing,
    Keycap,
    Domino,
    SoapBar,
    CrownCap,
    Sprocket,
    LockWasher,
    Impeller,
    TerminalBlock,
    ChipPackage,
    ToyBrick,
    ChocolateBar,
}

impl Class {
    /// Surfaces first, then parts.
    pub const ALL: &[Self] = &[
        Self::BrushedMetal,
        Self::WoodGrain,
        Self::Weave,
        Self::Leather,
        Self::Tile,
        Self::Marble,
        Self::Mesh,
        Self::PrintedBoard,
        Self::Concrete,
        Self::Corduroy,
        Self::CarbonFibre,
        Self::PerforatedSheet,
        Self::Knit,
        Self::Terrazzo,
        Self::BrickWall,
        Self::Mosaic,
        Self::Parquet,
        Self::ChequerPlate,
        Self::Granite,
        Self::Onyx,
        Self::Ring,
        Self::BottleMouth,
        Self::Pill,
        Self::Gear,
        Self::Connector,
        Self::Biscuit,
        Self::HexNut,
        Self::Coin,
        Self::Capsule,
        Self::Button,
        Self::ScrewHead,
        Self::Bearing,
        Self::Keycap,
        Self::Domino,
        Self::SoapBar,
        Self::CrownCap,
        Self::Sprocket,
        Self::LockWasher,
        Self::Impeller,
        Self::TerminalBlock,
        Self::ChipPackage,
        Self::ToyBrick,
        Self::ChocolateBar,
    ];

    /// For folders and command lines: `brushed-metal`.
    pub fn name(self) -> &'static str {
        self.words().0
    }

    /// For captions: `brushed metal`.
    pub fn noun(self) -> &'static str {
        self.words().1
    }

    /// Whether it fills the picture; a part lies on a background.
    pub fn is_surface(self) -> bool {
        self < Self::Ring
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::BrushedMetal => ("brushed-metal", "brushed metal"),
            Self::WoodGrain => ("wood-grain", "wood grain"),
            Self::Weave => ("weave", "woven cloth"),
            Self::Leather => ("leather", "leather"),
            Self::Tile => ("tile", "tile"),
            Self::Marble => ("marble", "marble"),
            Self::Mesh => ("mesh", "mesh"),
            Self::PrintedBoard => ("printed-board", "printed board"),
            Self::Concrete => ("concrete", "concrete"),
            Self::Corduroy => ("corduroy", "corduroy"),
            Self::CarbonFibre => ("carbon-fibre", "carbon fibre"),
            Self::PerforatedSheet => ("perforated-sheet", "perforated sheet"),
            Self::Knit => ("knit", "knitted cloth"),
            Self::Terrazzo => ("terrazzo", "terrazzo"),
            Self::BrickWall => ("brick-wall", "brick wall"),
            Self::Mosaic => ("mosaic", "mosaic"),
            Self::Parquet => ("parquet", "parquet"),
            Self::ChequerPlate => ("chequer-plate", "chequer plate"),
            Self::Granite => ("granite", "granite"),
            Self::Onyx => ("onyx", "onyx"),
            Self::Ring => ("ring", "ring"),
            Self::BottleMouth => ("bottle-mouth", "bottle mouth"),
            Self::Pill => ("pill", "pill"),
            Self::Gear => ("gear", "gear"),
            Self::Connector => ("connector", "connector"),
            Self::Biscuit => ("biscuit", "biscuit"),
            Self::HexNut => ("hex-nut", "hex nut"),
            Self::Coin => ("coin", "coin"),
            Self::Capsule => ("capsule", "capsule"),
            Self::Button => ("button", "button"),
            Self::ScrewHead => ("screw-head", "screw head"),
            Self::Bearing => ("bearing", "ball bearing"),
            Self::Keycap => ("keycap", "keycap"),
            Self::Domino => ("domino", "domino"),
            Self::SoapBar => ("soap-bar", "bar of soap"),
            Self::CrownCap => ("crown-cap", "crown cap"),
            Self::Sprocket => ("sprocket", "sprocket"),
            Self::LockWasher => ("lock-washer", "lock washer"),
            Self::Impeller => ("impeller", "impeller"),
            Self::TerminalBlock => ("terminal-block", "terminal block"),
            Self::ChipPackage => ("chip-package", "chip package"),
            Self::ToyBrick => ("toy-brick", "toy brick"),
            Self::ChocolateBar => ("chocolate-bar", "bar of chocolate"),
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{name}' is no {what}; there are {}", .known.join(", "))]
pub struct UnknownName {
    /// As written.
    pub name: String,
    /// What was looked for.
    pub what: &'static str,
    /// What there is.
    pub known: Vec<&'static str>,
}

impl FromStr for Class {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL.iter().copied().find(|class| class.name() == name).ok_or_else(|| UnknownName {
            name: name.to_owned(),
            what: "class of products",
            known: Self::ALL.iter().map(|class| class.name()).collect(),
        })
    }
}

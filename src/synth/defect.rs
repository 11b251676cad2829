//! What can be wrong with a product: the kinds of defects.

use std::fmt;
use std::str::FromStr;

use super::class::UnknownName;

/// A kind of defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DefectKind {
    /// A long thin line in the surface.
    Scratch,
    /// A shallow hollow, seen by its shading.
    Dent,
    /// Something dried on it, darker at its border.
    Stain,
    /// A jagged dark line, at times with a branch.
    Crack,
    /// Pierced, with a rim.
    Hole,
    /// A part of the silhouette or of the surface layer is gone.
    MissingPiece,
    /// A thin curved hair of a foreign colour lies on it.
    Fibre,
    /// Faded, scorched or tarnished, with a soft border.
    Discolouration,
    /// Print where none belongs, or printed twice.
    Misprint,
}

impl DefectKind {
    /// Every kind.
    pub const ALL: &[Self] = &[
        Self::Scratch,
        Self::Dent,
        Self::Stain,
        Self::Crack,
        Self::Hole,
        Self::MissingPiece,
        Self::Fibre,
        Self::Discolouration,
        Self::Misprint,
    ];

    /// For folders and command lines: `missing-piece`.
    pub fn name(self) -> &'static str {
        match self {
            Self::MissingPiece => "missing-piece",
            other => other.noun(),
        }
    }

    /// For captions: `missing piece`.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Scratch => "scratch",
            Self::Dent => "dent",
            Self::Stain => "stain",
            Self::Crack => "crack",
            Self::Hole => "hole",
            Self::MissingPiece => "missing piece",
            Self::Fibre => "fibre",
            Self::Discolouration => "discolouration",
            Self::Misprint => "misprint",
        }
    }
}

impl fmt::Display for DefectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for DefectKind {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name).ok_or_else(|| UnknownName {
            name: name.to_owned(),
            what: "kind of defect",
            known: Self::ALL.iter().map(|kind| kind.name()).collect(),
        })
    }
}

/// A defect asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Defect {
    /// Which.
    pub kind: DefectKind,
    /// 0 obvious … 1 barely visible; values outside are taken as the nearer end.
    pub difficulty: f32,
}

//! A camera whose parts do not lie still: its frames are laid back before the engine looks, and what is found is brought back.

use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::anomaly::AnomalyMap;
use crate::frame::Frame;
use crate::source::image_file::{self, ImageFileError};
use crate::verdict::{Inspection, Location, NoVerdictReason, Verdict};
use crate::view::locate::{Laid, LocateError, LocateSpec, Locator};

/// What becomes of a part that is not found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// Nobody knows: `part_not_found`.
    #[default]
    NoVerdict,
    /// It fails. Its frame is looked at as it was captured.
    Fail,
}

/// How a camera's parts are found, as it is set.
#[derive(Clone, Debug, PartialEq)]
pub struct LocateSettings {
    /// File with the picture of a good part.
    pub picture: PathBuf,
    /// Left, top, width, height in it.
    pub rectangle: [u32; 4],
    /// Largest shift along either axis, pixels.
    pub shift_px: u32,
    /// Largest turn either way, degrees.
    pub turn_degrees: f32,
    /// Least correlation.
    pub least_score: f32,
    /// What becomes of parts that are not found.
    pub missing: Missing,
}

/// How a camera's parts are found. Equal to one that finds the same.
#[derive(Clone, Debug)]
pub struct LocatePlan {
    /// Finds them.
    pub locator: Arc<Locator>,
    /// What becomes of parts that are not found.
    pub missing: Missing,
    /// What it was made of: how it is set, and the hash over the pixels of the picture.
    made_of: (LocateSettings, [u8; 32]),
}

impl PartialEq for LocatePlan {
    fn eq(&self, other: &Self) -> bool {
        self.made_of == other.made_of
    }
}

/// Why parts cannot be looked for.
#[derive(Debug, thiserror::Error)]
pub enum LocatePlanError {
    /// The taught picture.
    #[error(transparent)]
    Picture(#[from] ImageFileError),
    /// The template.
    #[error(transparent)]
    Locate(#[from] LocateError),
}

impl LocateSettings {
    /// Reads the taught picture and learns the template.
    pub fn plan(&self) -> Result<LocatePlan, LocatePlanError> {
        let &Self { rectangle, shift_px, turn_degrees, least_score, missing, .. } = self;
        let picture = image_file::load_as_stored(&self.picture)?;
        let made_of = (self.clone(), Sha256::digest(picture.data()).into());
        let locator = Locator::new(&LocateSpec { picture, rectangle, shift_px, turn_degrees, least_score })?;
        Ok(LocatePlan { locator: Arc::new(locator), missing, made_of })
    }
}

/// A frame whose part was looked for, where its camera does.
pub struct Placed {
    /// As it was captured.
    pub frame: Frame,
    laid: Option<Lay>,
}

/// What became of looking for the part.
enum Lay {
    /// The frame is looked at with its part as it was taught.
    Back(Box<Laid>),
    /// It was not found, and so it fails; the frame is looked at as it was captured.
    Missing,
}

/// A frame cannot be looked at as its camera looks.
#[derive(Debug, thiserror::Error)]
pub enum NotPlaced {
    /// The part is not there, and nobody knows.
    #[error("the part is not found: it does not lie where its camera looks for it, or it is another one")]
    Missing,
    /// It cannot be looked for.
    #[error(transparent)]
    Failed(#[from] LocateError),
}

impl NotPlaced {
    /// Why there is no verdict.
    pub fn reason(&self) -> NoVerdictReason {
        match self {
            Self::Missing => NoVerdictReason::PartNotFound,
            Self::Failed(_) => NoVerdictReason::EngineError,
        }
    }
}

impl Placed {
    /// Looks for the part, where the camera does; in a damaged frame nobody looks.
    pub fn new(frame: &Frame, plan: Option<&LocatePlan>) -> Result<Self, NotPlaced> {
        let laid = match plan.filter(|_| !frame.image.damaged) {
            None => None,
            Some(plan) => match (plan.locator.lay(frame)?, plan.missing) {
                (Some(laid), _) => Some(Lay::Back(Box::new(laid))),
                (None, Missing::Fail) => Some(Lay::Missing),
                (None, Missing::NoVerdict) => return Err(NotPlaced::Missing),
            },
        };
        Ok(Self { frame: frame.clone(), laid })
    }

    /// A frame that is looked at as it is.
    pub fn as_captured(frame: Frame) -> Self {
        Self { frame, laid: None }
    }

    fn back(&self) -> Option<&Laid> {
        match &self.laid {
            Some(Lay::Back(laid)) => Some(laid),
            Some(Lay::Missing) | None => None,
        }
    }

    /// The frame as it is looked at.
    pub fn seen(&self) -> &Frame {
        self.back().map_or(&self.frame, |laid| &laid.frame)
    }

    /// Whether the part was looked for and is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self.laid, Some(Lay::Missing))
    }

    /// What was judged of the frame that was looked at, in pixels of the captured one, and how the part lies.
    pub fn inspection(&self, inspection: Inspection) -> Inspection {
        match &self.laid {
            Some(Lay::Back(laid)) => {
                let (defects, pose) = (laid.defects(inspection.defects), laid.pose());
                let location = Some(Location::at(pose.dx, pose.dy, pose.degrees, pose.score));
                Inspection { defects, location, ..inspection }
            }
            Some(Lay::Missing) => {
                Inspection { verdict: Verdict::Fail, location: Some(Location::NOWHERE), ..inspection }
            }
            None => inspection,
        }
    }

    /// A map of the frame that was looked at, over the captured one.
    pub fn map(&self, map: &AnomalyMap) -> AnomalyMap {
        self.back().map_or_else(|| map.clone(), |laid| laid.map(map))
    }
}

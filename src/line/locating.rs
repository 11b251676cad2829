//! A camera whose parts do not lie still: its frames are laid back before the engine looks, and what is found is brought back.

use std::path::PathBuf;
use std::sync::Arc;

use crate::anomaly::AnomalyMap;
use crate::frame::Frame;
use crate::source::image_file::{self, ImageFileError};
use crate::verdict::{Inspection, Location, NoVerdictReason, Verdict};
use crate::view::locate::{LocateError, LocateSpec, Locator, Placement};

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

/// How a camera's parts are found.
#[derive(Clone, Debug)]
pub struct LocatePlan {
    /// Finds them.
    pub locator: Arc<Locator>,
    /// What becomes of parts that are not found.
    pub missing: Missing,
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
        let locator = Locator::new(&LocateSpec { picture, rectangle, shift_px, turn_degrees, least_score })?;
        Ok(LocatePlan { locator: Arc::new(locator), missing })
    }
}

/// A frame as the engine gets to see it.
pub(super) struct Laid {
    /// With its part as it was taught, or as captured where that was not found and fails.
    pub frame: Frame,
    placement: Option<Placement>,
}

impl LocatePlan {
    /// Finds the part and lays the frame back, or says why there is no verdict.
    pub(super) fn lay(&self, frame: &Frame) -> Result<Laid, NoVerdictReason> {
        let failed = |error: LocateError| {
            tracing::error!(camera = %frame.camera, frame = frame.seq, "{error}");
            NoVerdictReason::EngineError
        };
        let Some(pose) = self.locator.find(&frame.image).map_err(failed)? else {
            tracing::debug!(camera = %frame.camera, frame = frame.seq, "the part is not where it should be");
            return match self.missing {
                Missing::NoVerdict => Err(NoVerdictReason::PartNotFound),
                Missing::Fail => Ok(Laid { frame: frame.clone(), placement: None }),
            };
        };
        let placement = Placement::new(pose, self.locator.rectangle(), (frame.image.width, frame.image.height));
        let image = self.locator.laid_back(&frame.image, &placement).map_err(failed)?;
        Ok(Laid { frame: Frame { image, ..frame.clone() }, placement: Some(placement) })
    }
}

impl Laid {
    /// What was found, in pixels of the captured frame, and how the part lies.
    pub fn inspection(&self, inspection: Inspection) -> Inspection {
        match &self.placement {
            Some(placement) => {
                let pose = placement.pose();
                let location = Location::at(pose.dx, pose.dy, pose.degrees, pose.score);
                let defects = inspection.defects.into_iter().map(|defect| placement.captured(defect)).collect();
                Inspection { defects, location: Some(location), ..inspection }
            }
            None => Inspection { verdict: Verdict::Fail, location: Some(Location::NOWHERE), ..inspection },
        }
    }

    /// A map of the frame that was laid back, over the captured one.
    pub fn map(&self, map: AnomalyMap) -> AnomalyMap {
        match &self.placement {
            Some(placement) => placement.map(&map),
            None => map,
        }
    }
}

//! A frame as it is looked at when its part was found, and the way back to the captured one: for lines and for files alike.

use super::Locator;
use super::placement::Placement;
use super::spec::{LocateError, Pose};
use crate::anomaly::AnomalyMap;
use crate::frame::Frame;
use crate::verdict::Defect;

/// A frame moved and turned so that its part lies as it was taught.
#[derive(Clone)]
pub struct Laid {
    /// What is looked at.
    pub frame: Frame,
    placement: Placement,
}

impl Locator {
    /// Finds the part of a frame and lays the frame back; `None` where it is not found.
    pub fn lay(&self, frame: &Frame) -> Result<Option<Laid>, LocateError> {
        let Some(pose) = self.find(&frame.image)? else { return Ok(None) };
        let placement = Placement::new(pose, self.rectangle(), (frame.image.width, frame.image.height));
        let image = self.laid_back(&frame.image, &placement)?;
        Ok(Some(Laid { frame: Frame { image, ..frame.clone() }, placement }))
    }
}

impl Laid {
    /// How the part lies in the captured frame.
    pub fn pose(&self) -> Pose {
        self.placement.pose()
    }

    /// Between the points of both.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Defects of the frame that was looked at, in pixels of the captured one.
    pub fn defects(&self, defects: Vec<Defect>) -> Vec<Defect> {
        defects.into_iter().map(|defect| self.placement.captured(defect)).collect()
    }

    /// A map of the frame that was looked at, over the captured one.
    pub fn map(&self, map: &AnomalyMap) -> AnomalyMap {
        self.placement.map(map)
    }
}

//! Where a part lies in a frame, found by a taught piece of a good picture.

use crate::frame::Image;

pub use spec::{LEAST_SIDE, LocateError, LocateSpec, MOST_SHIFT, MOST_TURN, Pose};

#[cfg(feature = "opencv")]
mod correlation;
#[cfg(feature = "opencv")]
mod level;
mod spec;

/// Finds a taught part in frames.
pub struct Locator {
    #[cfg(feature = "opencv")]
    correlation: correlation::Correlation,
}

impl Locator {
    /// Learns the template. Errors when a setting cannot be, or when the rectangle shows nothing.
    #[cfg(feature = "opencv")]
    pub fn new(spec: &LocateSpec) -> Result<Self, LocateError> {
        spec.check()?;
        Ok(Self { correlation: correlation::Correlation::new(spec)? })
    }

    /// Refuses.
    #[cfg(not(feature = "opencv"))]
    pub fn new(_spec: &LocateSpec) -> Result<Self, LocateError> {
        Err(LocateError::Absent)
    }

    /// How the part lies in a frame of the taught size; `None` where nothing in reach looks enough like it.
    #[cfg(feature = "opencv")]
    pub fn find(&self, image: &Image) -> Result<Option<Pose>, LocateError> {
        self.correlation.find(image)
    }

    /// Refuses.
    #[cfg(not(feature = "opencv"))]
    pub fn find(&self, _image: &Image) -> Result<Option<Pose>, LocateError> {
        Err(LocateError::Absent)
    }
}

//! Where a part lies in a frame, found by a taught piece of a good picture.

use std::fmt;

use crate::frame::Image;

pub use laid::Laid;
pub use placement::Placement;
pub use spec::{LEAST_SIDE, LocateError, LocateSpec, MOST_SHIFT, MOST_TURN, Pose};

#[cfg(feature = "opencv")]
mod correlation;
mod laid;
#[cfg(feature = "opencv")]
mod level;
mod placement;
mod spec;

/// Finds a taught part in frames.
pub struct Locator {
    #[cfg(feature = "opencv")]
    correlation: correlation::Correlation,
    rectangle: [u32; 4],
    frame_size: (u32, u32),
}

impl fmt::Debug for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locator").field("rectangle", &self.rectangle).finish_non_exhaustive()
    }
}

impl Locator {
    /// Learns the template. Errors when a setting cannot be, or when the rectangle shows nothing; always in a build without OpenCV.
    pub fn new(spec: &LocateSpec) -> Result<Self, LocateError> {
        spec.check()?;
        #[cfg(feature = "opencv")]
        return Ok(Self {
            correlation: correlation::Correlation::new(spec)?,
            rectangle: spec.rectangle,
            frame_size: (spec.picture.width, spec.picture.height),
        });
        #[cfg(not(feature = "opencv"))]
        Err(LocateError::Absent)
    }

    /// Columns and rows of the frames in which it can look.
    pub fn frame_size(&self) -> (u32, u32) {
        self.frame_size
    }

    /// Errors where frames of this size are not those of the taught picture.
    pub fn fits(&self, (width, height): (u32, u32)) -> Result<(), LocateError> {
        let (taught_width, taught_height) = self.frame_size;
        match (width, height) == self.frame_size {
            true => Ok(()),
            false => Err(LocateError::Size { width, height, taught_width, taught_height }),
        }
    }

    /// The piece of the taught picture that is looked for.
    pub fn rectangle(&self) -> [u32; 4] {
        self.rectangle
    }

    /// How the part lies in a frame of the taught size; `None` where nothing in reach looks enough like it.
    pub fn find(&self, image: &Image) -> Result<Option<Pose>, LocateError> {
        self.fits((image.width, image.height))?;
        #[cfg(feature = "opencv")]
        return self.correlation.find(image);
        #[cfg(not(feature = "opencv"))]
        Err(absent(image))
    }

    /// The frame moved and turned so that its part lies as it was taught; borders are repeated.
    pub fn laid_back(&self, image: &Image, placement: &Placement) -> Result<Image, LocateError> {
        #[cfg(feature = "opencv")]
        return level::laid_back(image, placement)
            .map_err(|error| LocateError::OpenCv { step: "laying the frame back", reason: error.to_string() });
        #[cfg(not(feature = "opencv"))]
        Err(absent((image, placement)))
    }
}

#[cfg(not(feature = "opencv"))]
fn absent<T>(_: T) -> LocateError {
    LocateError::Absent
}

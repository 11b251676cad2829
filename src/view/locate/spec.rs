//! What is looked for and what is found: the taught piece of a picture, and how a part lies.

use crate::frame::Image;

/// Least sides of the rectangle, pixels: less shows nothing that could be found again.
pub const LEAST_SIDE: u32 = 24;
/// Most of what can be asked for: a shift in pixels, a turn in degrees.
pub const MOST_SHIFT: u32 = 4096;
/// See [`MOST_SHIFT`].
pub const MOST_TURN: f32 = 30.0;

/// How a part is found.
#[derive(Clone, Debug, PartialEq)]
pub struct LocateSpec {
    /// A good part, as the camera captures it.
    pub picture: Image,
    /// The piece of it that is looked for: left, top, width, height in its pixels.
    pub rectangle: [u32; 4],
    /// How far the part may lie from there along either axis, pixels.
    pub shift_px: u32,
    /// By how much it may be turned either way, degrees.
    pub turn_degrees: f32,
    /// Least correlation of what was found with what was taught, −1 … 1.
    pub least_score: f32,
}

/// How a part lies in a frame, compared with the taught picture. The middle of the taught rectangle is moved by `dx`, `dy`, and what
/// is around it turned about that middle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pose {
    /// To the right, pixels.
    pub dx: f32,
    /// Down, pixels.
    pub dy: f32,
    /// Clockwise on the picture, degrees.
    pub degrees: f32,
    /// Correlation with what was taught, −1 … 1.
    pub score: f32,
}

/// Why nothing can be looked for.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// A setting that cannot be.
    #[error("{key} {found}; {allowed}")]
    Setting {
        /// Which.
        key: &'static str,
        /// What is wrong.
        found: String,
        /// What would do.
        allowed: String,
    },
    /// The rectangle shows nothing that could be told from its surroundings.
    #[error(
        "the rectangle [{x}, {y}, {width}, {height}] of the taught picture is as good as empty: choose one that shows the part"
    )]
    Flat {
        /// Left.
        x: u32,
        /// Top.
        y: u32,
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// The frame has another size than the taught picture.
    #[error(
        "the frame has {width}x{height} pixels and the taught picture {taught_width}x{taught_height}; teach it again"
    )]
    Size {
        /// Columns of the frame.
        width: u32,
        /// Rows of the frame.
        height: u32,
        /// Columns of the picture.
        taught_width: u32,
        /// Rows of the picture.
        taught_height: u32,
    },
    /// OpenCV failed.
    #[error("finding the part, {step}: {reason}")]
    OpenCv {
        /// Doing what.
        step: &'static str,
        /// What it says.
        reason: String,
    },
    /// This program cannot.
    #[error(
        "this vcp-line was built without OpenCV, which finds parts; build it with the feature opencv, or leave out [camera.locate]"
    )]
    Absent,
}

impl LocateSpec {
    /// Errors with the first setting that cannot be.
    pub fn check(&self) -> Result<(), LocateError> {
        let wrong =
            |key, found: String, allowed: &str| Err(LocateError::Setting { key, found, allowed: allowed.to_owned() });
        let [x, y, width, height] = self.rectangle;
        let (columns, rows) = (self.picture.width, self.picture.height);
        if width < LEAST_SIDE || height < LEAST_SIDE {
            let allowed = format!("both sides have at least {LEAST_SIDE} pixels");
            return wrong("rectangle", format!("of {width}x{height} pixels is too small"), &allowed);
        }
        let inside = |from: u32, size: u32, all: u32| from.checked_add(size).is_some_and(|end| end <= all);
        if !inside(x, width, columns) || !inside(y, height, rows) {
            let allowed = format!("the taught picture has {columns}x{rows} pixels");
            return wrong("rectangle", format!("[{x}, {y}, {width}, {height}] lies outside"), &allowed);
        }
        if self.shift_px > MOST_SHIFT {
            return wrong("shift_px", format!("{} is too far", self.shift_px), "0 to 4096 pixels");
        }
        if !(0.0..=MOST_TURN).contains(&self.turn_degrees) {
            return wrong("turn_degrees", format!("{} is too much", self.turn_degrees), "0 to 30 degrees");
        }
        if !(0.1..=1.0).contains(&self.least_score) {
            return wrong("least_score", format!("{} is no least correlation", self.least_score), "0.1 to 1");
        }
        Ok(())
    }
}

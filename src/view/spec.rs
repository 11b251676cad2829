//! A view as it is asked for: nothing about frames is known yet.

use serde::{Deserialize, Serialize};

use super::lens::Lens;

/// Tiles of one frame at most: what one verdict may cost has a bound.
pub const MOST_TILES: usize = 1024;
/// The least side of a tile, pixels of the view.
pub const LEAST_TILE: u32 = 16;
/// The largest share of a tile that it has in common with its neighbour.
pub const MOST_OVERLAP: f32 = 0.5;
/// That share unless asked otherwise.
pub const USUAL_OVERLAP: f32 = 0.25;

/// A turn clockwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rotate {
    /// As captured.
    #[default]
    #[serde(rename = "0")]
    None,
    /// A quarter: the left side comes up.
    #[serde(rename = "90")]
    Quarter,
    /// Upside down.
    #[serde(rename = "180")]
    Half,
    /// A quarter back: the right side comes up.
    #[serde(rename = "270")]
    ThreeQuarters,
}

impl Rotate {
    /// From degrees; `None` for what is no multiple of 90 below 360.
    pub fn from_degrees(degrees: u32) -> Option<Self> {
        match degrees {
            0 => Some(Self::None),
            90 => Some(Self::Quarter),
            180 => Some(Self::Half),
            270 => Some(Self::ThreeQuarters),
            _ => None,
        }
    }

    /// Clockwise.
    pub fn degrees(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Quarter => 90,
            Self::Half => 180,
            Self::ThreeQuarters => 270,
        }
    }

    /// Columns become rows.
    pub fn is_across(self) -> bool {
        matches!(self, Self::Quarter | Self::ThreeQuarters)
    }
}

/// Mirrored, after the turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flip {
    /// As it is.
    #[default]
    None,
    /// Left and right change sides.
    Horizontal,
    /// Top and bottom change sides.
    Vertical,
}

/// What of a captured frame is looked at. The default is all of it, as captured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ViewSpec {
    /// `[x, y, width, height]` in pixels of the captured frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<[u32; 4]>,
    /// The turn of what is cut out.
    #[serde(skip_serializing_if = "is_default")]
    pub rotate: Rotate,
    /// The mirror behind the turn.
    #[serde(skip_serializing_if = "is_default")]
    pub flip: Flip,
    /// The lens whose distortion is taken out. `crop` then cuts from the straightened frame, which has the size and the camera
    /// matrix of the captured one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undistort: Option<Lens>,
    /// How the view is cut into tiles; `None` is one picture brought to the model's size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tiles: Option<TileSpec>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How a view is cut into overlapping tiles.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TileSpec {
    /// Square ones of one side.
    Size {
        /// Side, pixels of the view.
        size_px: u32,
        /// The least share of a tile that it has in common with the next one.
        overlap: f32,
    },
    /// So many across and down the whole view.
    Grid {
        /// Columns and rows of tiles.
        grid: [u32; 2],
        /// The share of a tile that it has in common with the next one.
        overlap: f32,
    },
}

/// A view that cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ViewError {
    /// The rectangle leaves the frame.
    #[error(
        "crop [{}, {}, {}, {}] ([x, y, width, height]) does not lie inside the frame of {width}x{height} pixels; \
         choose a rectangle inside it", crop[0], crop[1], crop[2], crop[3]
    )]
    CropOutside {
        /// As asked for.
        crop: [u32; 4],
        /// Columns of the frame.
        width: u32,
        /// Rows of the frame.
        height: u32,
    },
    /// A tile of no use.
    #[error("tiles: {key} {found} is out of range; allowed: {allowed}")]
    Tiles {
        /// Which key.
        key: &'static str,
        /// As asked for.
        found: String,
        /// What would do.
        allowed: &'static str,
    },
    /// More tiles than one verdict may cost.
    #[error(
        "{count} tiles for a view of {width}x{height} pixels are too many; at most {MOST_TILES}: choose larger tiles, or a \
         smaller crop"
    )]
    TooMany {
        /// As many as there would be.
        count: usize,
        /// Columns of the view.
        width: u32,
        /// Rows of the view.
        height: u32,
    },
    /// A lens bends so much that the frame's corners have no place in the straightened one.
    #[error(
        "undistort: the lens has no straightened place for the pixel [{x}, {y}] of the frame; the coefficients belong to \
         another camera or frame size"
    )]
    Lens {
        /// The pixel.
        x: f32,
        /// The pixel.
        y: f32,
    },
}

impl ViewSpec {
    /// Whether the frame is looked at as it is: every pixel, in one piece.
    pub fn is_whole(&self) -> bool {
        self.tiles.is_none() && self.is_captured()
    }

    /// Whether the view is the captured frame, in tiles or not.
    pub fn is_captured(&self) -> bool {
        self.crop.is_none() && self.rotate == Rotate::None && self.flip == Flip::None && self.undistort.is_none()
    }

    /// The rules that hold whatever the frames are.
    pub fn check(&self) -> Result<(), ViewError> {
        if let Some([_, _, width, height]) = self.crop
            && (width == 0 || height == 0)
        {
            return Err(ViewError::CropOutside { crop: self.crop.unwrap_or_default(), width: 0, height: 0 });
        }
        self.tiles.map_or(Ok(()), |tiles| tiles.check())
    }
}

impl TileSpec {
    /// The share in common, as asked for.
    pub fn overlap(&self) -> f32 {
        match self {
            Self::Size { overlap, .. } | Self::Grid { overlap, .. } => *overlap,
        }
    }

    fn check(&self) -> Result<(), ViewError> {
        let error = |key, found: String, allowed| Err(ViewError::Tiles { key, found, allowed });
        if !(0.0..=MOST_OVERLAP).contains(&self.overlap()) {
            return error("overlap", self.overlap().to_string(), "0 to 0.5 (share of a tile)");
        }
        match *self {
            Self::Size { size_px, .. } if size_px < LEAST_TILE => {
                error("size_px", size_px.to_string(), "16 pixels of the view and more")
            }
            Self::Grid { grid, .. } if !grid.iter().all(|count| (1..=64).contains(count)) => {
                error("grid", format!("{grid:?}"), "1 to 64 columns and rows")
            }
            _ => Ok(()),
        }
    }
}

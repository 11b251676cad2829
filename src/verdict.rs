//! The verdict on a part and the defects it rests on.

use serde::{Deserialize, Serialize};

/// Why no verdict could be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoVerdictReason {
    /// The camera did not deliver the frame.
    CameraLost,
    /// The line was faster than the engine and the queue dropped the frame.
    Overrun,
    /// The verdict would have come too late for the gate.
    Deadline,
    /// The engine failed on this frame.
    EngineError,
    /// The engine was not ready yet.
    WarmingUp,
    /// Inspection was paused on request.
    Paused,
    /// The frame came, and is no whole picture.
    FrameDamaged,
    /// The service ended before the part had its verdict, and this is what the next start knows of it.
    Restarted,
    /// The part does not lie where its camera was taught to look for it, or is another one.
    PartNotFound,
}

/// How a part lies in its frame, compared with the picture that its camera was taught.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Location {
    /// Whether it was found; the others are absent where it was not.
    pub found: bool,
    /// To the right, pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dx_px: Option<f32>,
    /// Down, pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dy_px: Option<f32>,
    /// Clockwise on the picture, degrees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn_degrees: Option<f32>,
    /// Correlation with what was taught, at most 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
}

impl Location {
    /// A part that was not found.
    pub const NOWHERE: Self = Self { found: false, dx_px: None, dy_px: None, turn_degrees: None, score: None };

    /// A part that was found.
    pub fn at(dx_px: f32, dy_px: f32, turn_degrees: f32, score: f32) -> Self {
        let (dx_px, dy_px) = (Some(dx_px), Some(dy_px));
        Self { found: true, dx_px, dy_px, turn_degrees: Some(turn_degrees), score: Some(score) }
    }
}

/// What has changed about the pictures of a camera, so that a failing part may be a good one: an alarm of the same name
/// stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Suspect {
    /// They are brighter or darker.
    Light,
    /// They are less sharp, or sharper.
    Focus,
    /// They lie elsewhere.
    Position,
    /// Something else: noise, likeness to good parts, or what the model says of passing parts.
    Drift,
}

impl Suspect {
    /// All, causes before what may follow from them.
    pub const ALL: [Self; 4] = [Self::Light, Self::Focus, Self::Position, Self::Drift];

    /// As alarms and events call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Focus => "focus",
            Self::Position => "position",
            Self::Drift => "drift",
        }
    }
}

/// One for every part, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The part is good.
    Pass,
    /// The part is to be rejected.
    Fail,
    /// Nobody knows, and this is why.
    NoVerdict(NoVerdictReason),
}

/// One connected defective region, in pixels of the captured frame, origin top left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Defect {
    /// `[x, y, width, height]`
    #[serde(rename = "box")]
    pub bounds: [u32; 4],
    /// Number of pixels.
    pub area_px: u32,
    /// `[x, y]`
    pub centroid: [f32; 2],
    /// Largest anomaly value inside.
    pub peak: f32,
    /// Mean anomaly value inside.
    pub mean: f32,
    /// Outer contour, `[x, y]` per corner.
    pub polygon: Vec<[u32; 2]>,
}

/// Tiles of a frame: the image score is that of those that were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TileCount {
    /// Those that a region of interest touches.
    pub looked_at: usize,
    /// As many as the whole view would have.
    pub of: usize,
}

/// What the recipe made of a prediction.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// The verdict.
    pub verdict: Verdict,
    /// Image score, raw model units; `None` when there is no verdict.
    pub score: Option<f32>,
    /// The defects that count, largest peak first.
    pub defects: Vec<Defect>,
    /// How the part lies; `None` with a camera that does not look for it.
    pub location: Option<Location>,
    /// Where the frame was looked at in tiles.
    pub tiles: Option<TileCount>,
}

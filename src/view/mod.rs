//! What of a captured frame is looked at, and how closely: a view of it (crop, turn, mirror, undistort), and the tiles that
//! the view is cut into.
//!
//! ```text
//! captured frame ─ Transform ─▶ view ─ TileLayout ─▶ tiles ─ engine ─▶ maps ─ Mosaic ─▶ one map ─ Transform⁻¹ ─▶ captured
//! ```
//! Whatever leaves the house (events, defects, polygons, overlays) is in pixels of the captured frame. Points are continuous:
//! the top left pixel covers 0 … 1 on both axes, and its centre is at 0.5.

mod back;
mod cut;
mod largest;
mod lens;
mod lens_file;
pub mod locate;
mod spec;
mod stitch;
mod tile_answer;
mod tiles;
mod transform;

pub use back::laid_back;
pub use cut::cut;
pub use lens::Lens;
pub use lens_file::LensFileError;
pub use spec::{Flip, Rotate, TileSpec, USUAL_OVERLAP, ViewError, ViewSpec};
pub use stitch::{Mosaic, Stitched};
pub use tiles::{Rect, TileLayout};
pub use transform::Transform;

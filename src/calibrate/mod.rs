//! Thresholds that hold: from the statistics of good parts to a recipe's next version, and what is promised of it.
//!
//! ```text
//! good parts ─▶ statistics, looks (part) ─▶ guards ─▶ promise: order statistics, exact bound ─▶ calibration ─▶ record, histogram
//!     which also made the memory: crossfit, remembering ─┘
//! ```

pub mod calibration;
pub mod crossfit;
pub mod guards;
pub mod histogram;
pub mod part;
pub mod promise;
pub mod record;
pub mod remembering;
mod sheets;

pub use calibration::{CalibrateError, Calibration, Wish, calibrate};
pub use guards::Warning;
pub use part::{Look, Part};
pub use promise::{Kind, Promise, PromiseError, Wanted};
pub use record::{By, Record};
pub use sheets::sheets;

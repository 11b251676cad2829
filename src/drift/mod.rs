//! Whether pictures still look like those of the good parts: features of a picture, what good parts have of them, and a
//! control chart for each, so that *the picture changed* is told apart from *the part is bad*.
//!
//! ```text
//! Image ─▶ Features (brightness, sharpness, noise, reduced picture)              features, reduced
//!    good parts ─▶ Baseline: quantiles of every measure, limits of its chart      baseline, standard, run_length
//!    every part ─▶ Watch: one EWMA chart per measure ─▶ alarm begins, alarm ends  watch, chart
//! ```

mod baseline;
mod chart;
mod features;
mod fourier;
mod measure;
mod reduced;
mod run_length;
mod standard;
mod watch;

pub use baseline::{Baseline, BaselineError, GoodPart, JudgedBy, LEAST_PARTS};
pub use chart::{Chart, WEIGHT};
pub use features::Features;
pub use measure::Measure;
pub use reduced::{Correlator, Offset, Reduced};
pub use run_length::{Knowledge, limit, run_length};
pub use standard::Standard;
pub use watch::{Change, Seen, Watch};

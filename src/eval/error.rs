//! Why an evaluation cannot be finished.

use std::path::PathBuf;

use super::metrics::MetricsError;
use super::report::ReportError;
use super::stream::Left;
use crate::dataset::DatasetError;
use crate::engine::EngineError;
use crate::look::LookError;

/// An evaluation that could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A picture could not be looked at as asked for.
    #[error("{}: {source}", image.display())]
    Look {
        /// The picture.
        image: PathBuf,
        /// Why.
        source: LookError,
    },
    /// The few-shot protocol wants more than there is.
    #[error(
        "class {class} has {there} good training pictures, --good asks for {wanted}; ask for fewer, or name other classes"
    )]
    TooFewGood {
        /// Its name.
        class: String,
        /// How many there are.
        there: usize,
        /// How many were asked for.
        wanted: usize,
    },
    /// A memory of good pictures could not be made, or not be used.
    #[error(transparent)]
    Memory(#[from] crate::memory::MemoryError),
    /// A picture cannot be read, and that was to be an error.
    #[error("{0}; without --strict it would be left out")]
    Strict(#[source] Left),
    /// Too many pictures cannot be used.
    #[error(transparent)]
    TooManyLeftOut(DatasetError),
    /// The engine failed.
    #[error("image {}: {source}", image.display())]
    Engine {
        /// What it was looking at.
        image: PathBuf,
        /// Why.
        source: EngineError,
    },
    /// The engine answered with something that is no map of numbers.
    #[error("image {}: the engine answered with a value that is no finite number; check model and precision", image.display())]
    NotFinite {
        /// What it was looking at.
        image: PathBuf,
    },
    /// No picture could be read.
    #[error("none of the {total} pictures could be read; the first: {first}")]
    NothingReadable {
        /// How many there are.
        total: usize,
        /// What was wrong with the first.
        first: String,
    },
    /// The figures could not be computed.
    #[error("class '{class}': {source}")]
    Metrics {
        /// Where.
        class: String,
        /// Why.
        source: MetricsError,
    },
    /// No class that tuning could learn from.
    #[error("no class has both anomalous and normal pixels: the baseline cannot be tuned on these")]
    NothingToTune,
    /// A thread could not be started.
    #[error("the thread that decodes pictures: {0}")]
    Thread(#[from] std::io::Error),
    /// The report could not be written.
    #[error(transparent)]
    Report(#[from] ReportError),
}

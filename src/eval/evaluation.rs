//! What an evaluation brings, and what it tells while it runs.

use super::tally::Outcome;

/// The result.
pub struct Evaluation {
    /// The model first, then the baseline.
    pub methods: Vec<Outcome>,
    /// Pictures that do not count.
    pub left_out: Vec<LeftOut>,
    /// Pictures that do.
    pub looked_at: usize,
}

/// A picture that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LeftOut {
    /// Its file, as far as it can be written as text.
    pub image: String,
    /// Why.
    pub reason: String,
}

/// How it goes.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A picture was looked at, or left out.
    Looked {
        /// Pictures so far.
        done: usize,
        /// Pictures in all.
        total: usize,
        /// The class it belongs to.
        class: &'a str,
    },
    /// A picture could not be read and does not count.
    LeftOut(&'a LeftOut),
}

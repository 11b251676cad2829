//! The report: one folder with a page and its pictures, complete or not there at all.

mod examples;
mod page;
mod plot;

use std::fs;
use std::path::{Path, PathBuf};

use super::Evaluation;
use super::tally::Tally;
use super::tune::Tuned;
use crate::dataset::Item;
use crate::output::{self, NewFolder};
use examples::Example;

/// The page; also what tells a folder that holds a report from any other.
const PAGE: &str = "index.html";
/// Stands in the head of every page.
const GENERATOR: &str = "vcp-line eval";

/// What was evaluated, for the head of the page.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Name of the model.
    pub model: String,
    /// The first digits of its hash.
    pub sha256: String,
    /// Engine and precision.
    pub engine: String,
    /// The data set's root.
    pub data: String,
    /// Layout and split.
    pub layout: String,
    /// When.
    pub date: String,
    /// How the baseline was tuned, if it was.
    pub tuned: Option<Tuned>,
    /// What the baseline is, if there is one.
    pub baseline: Option<super::baseline::Baseline>,
}

/// A report that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Something else is there.
    #[error("{} exists and is no report of an evaluation: remove it or name another folder", path.display())]
    Occupied {
        /// The folder asked for.
        path: PathBuf,
    },
    /// A file or folder could not be written.
    #[error("report: {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A picture could not be written.
    #[error("report: {}: {source}", path.display())]
    Picture {
        /// Which.
        path: PathBuf,
        /// What the encoder said.
        source: image::ImageError,
    },
    /// A plot could not be drawn.
    #[error("report: plot '{plot}': {reason}")]
    Plot {
        /// Its title.
        plot: &'static str,
        /// What the library said.
        reason: String,
    },
}

/// A report in the making: in a hidden folder beside its place, which goes away if it is never finished.
pub struct Report {
    target: PathBuf,
    partial: NewFolder,
    /// Per class that was drawn, in order.
    examples: Vec<Vec<Example>>,
}

impl Report {
    /// Prepares a report at `target`. Something there that is no report is an error, before any work is done.
    pub fn begin(target: &Path) -> Result<Self, ReportError> {
        let target = output::folder(target).map_err(io(target))?;
        let is_empty = || fs::read_dir(&target).is_ok_and(|mut entries| entries.next().is_none());
        if target.symlink_metadata().is_ok() && !is_report(&target) && !is_empty() {
            return Err(ReportError::Occupied { path: target });
        }
        let partial = NewFolder::beside(&target).map_err(io(&target))?;
        Ok(Self { target, partial, examples: Vec::new() })
    }

    /// Draws the best and worst pictures of a class that has just been measured.
    pub(super) fn draw_class(
        &mut self,
        items: &[&Item],
        size: usize,
        masks: &[Vec<bool>],
        tallies: &[Tally],
    ) -> Result<(), ReportError> {
        let number = self.examples.len();
        self.examples.push(examples::draw(self.partial.path(), number, items, size, masks, tallies)?);
        Ok(())
    }

    /// Writes the page and puts the folder into its place; an older report there is replaced. Returns the page's path.
    pub fn finish(self, subject: &Subject, evaluation: &Evaluation) -> Result<PathBuf, ReportError> {
        let page = page::render(subject, evaluation, &self.examples)?;
        let path = self.partial.path().join(PAGE);
        fs::write(&path, page).map_err(io(&path))?;
        self.partial.put().map_err(io(&self.target))?;
        Ok(self.target.join(PAGE))
    }
}

fn is_report(folder: &Path) -> bool {
    let mark = format!("name=\"generator\" content=\"{GENERATOR}\"");
    fs::read_to_string(folder.join(PAGE)).is_ok_and(|page| page.contains(&mark))
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> ReportError + '_ {
    |source| ReportError::Io { path: path.to_owned(), source }
}

//! The report: one folder with a page and its pictures, complete or not there at all.

mod error;
mod examples;
mod page;
mod plot;
mod sizes;

use std::fs;
use std::path::{Path, PathBuf};

pub use error::ReportError;
pub use page::Subject;

use super::Evaluation;
use super::tally::Tally;
use crate::dataset::Item;
use crate::output::{self, NewFolder};
use error::io;
use examples::Example;
use page::GENERATOR;

/// The page; also what tells a folder that holds a report from any other.
const PAGE: &str = "index.html";

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
        masks: &[Option<Vec<bool>>],
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

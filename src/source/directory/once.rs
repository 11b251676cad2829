//! A folder whose pictures come in the order of their names: once, or again and again.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use super::listing::{Listing, Wanted};
use super::names::natural_order;

/// The pictures of a folder in natural order (`img2` before `img10`).
pub struct Once {
    root: PathBuf,
    wanted: Wanted,
    waiting: VecDeque<PathBuf>,
}

impl Once {
    /// Lists the folder.
    pub fn open(root: &Path, wanted: Wanted) -> io::Result<Self> {
        let mut once = Self { root: root.to_owned(), wanted, waiting: VecDeque::new() };
        once.list()?;
        Ok(once)
    }

    /// Lists it anew, for another round.
    pub fn list(&mut self) -> io::Result<()> {
        let listing = Listing::of(&self.root, Path::new(""), &self.wanted)?;
        if let Some((folder, error)) = listing.unreadable.into_iter().next() {
            return Err(io::Error::new(error.kind(), format!("{}: {error}", folder.display())));
        }
        let mut names: Vec<PathBuf> = listing.files.into_iter().map(|(name, _)| name).collect();
        names.sort_by(|a, b| natural_order(a, b));
        self.waiting = names.into();
        Ok(())
    }

    /// Whether nothing is left of this round.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next one, relative to the folder.
    pub fn next(&mut self) -> Option<PathBuf> {
        self.waiting.pop_front()
    }
}

//! Pictures that come again: parts are counted, not pictures.

use std::collections::HashSet;

use super::pupil::Unfit;

/// So many in a row end an activity that wants no more parts than that.
const MOST_IN_A_ROW: usize = 100;

/// What has come.
pub struct Copies {
    seen: HashSet<[u8; 32]>,
    wanted: usize,
    count: usize,
    in_a_row: usize,
}

impl Copies {
    /// None but those that are `known` from before; so many parts are wanted.
    pub fn new(wanted: usize, known: impl Iterator<Item = [u8; 32]>) -> Self {
        Self { seen: known.collect(), wanted, count: 0, in_a_row: 0 }
    }

    /// Whether the picture of this hash has not come before. Errors when nothing else seems to come any more.
    pub fn is_new(&mut self, sha256: [u8; 32]) -> Result<bool, Unfit> {
        if self.seen.insert(sha256) {
            self.in_a_row = 0;
            return Ok(true);
        }
        (self.count, self.in_a_row) = (self.count + 1, self.in_a_row + 1);
        match self.in_a_row >= MOST_IN_A_ROW.max(self.wanted) {
            false => Ok(false),
            true => Err(Unfit(format!(
                "{} pictures in a row were the very ones that had come before or had made the memory, and different parts are needed: does the \
                 camera look at parts? Nothing was changed",
                self.in_a_row
            ))),
        }
    }

    /// Those that did not count.
    pub fn count(&self) -> usize {
        self.count
    }
}

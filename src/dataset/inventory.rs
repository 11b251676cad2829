//! What was found of a class, in one line.

use std::fmt::Write;

use super::ClassItems;

/// Reasons and names that a line spells out.
const NAMED: usize = 3;

impl ClassItems {
    /// Good pictures.
    pub fn good(&self) -> usize {
        self.items.iter().filter(|item| !item.anomalous).count()
    }

    /// Defective ones.
    pub fn defective(&self) -> usize {
        self.items.len() - self.good()
    }

    /// Defective ones whose mask is there.
    pub fn with_mask(&self) -> usize {
        self.items.iter().filter(|item| item.anomalous && item.has_truth()).count()
    }

    /// Pictures that are not used.
    pub fn left_out(&self) -> usize {
        self.left_out.iter().map(|left| left.pictures).sum()
    }

    /// The class in one line: how many are good, defective, with mask, left out and why.
    pub fn line(&self) -> String {
        let (defective, with_mask) = (self.defective(), self.with_mask());
        let mut line = format!(
            "{}: {} good, {defective} defective ({with_mask} with mask), {} left out",
            self.name,
            self.good(),
            self.left_out()
        );
        let mut kinds: Vec<&str> =
            self.items.iter().filter(|i| i.anomalous).filter_map(|i| i.kind.as_deref()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        if !kinds.is_empty() {
            // Writing to a string cannot fail.
            let more = if kinds.len() > 2 * NAMED { ", …" } else { "" };
            let _ok = write!(line, "; kinds of defects: {}{more}", kinds[..kinds.len().min(2 * NAMED)].join(", "));
        }
        for left in self.left_out.iter().take(NAMED) {
            let _ok = write!(line, "; left out: {} {}", left.path.display(), left.reason);
        }
        if self.left_out.len() > NAMED {
            let _ok = write!(line, "; and {} more", self.left_out.len() - NAMED);
        }
        for remark in &self.remarks {
            let _ok = write!(line, "; {remark}");
        }
        line
    }
}

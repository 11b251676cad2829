//! What was found of a data set and what was not: counted class by class, said in one line each, refused when it is too much.

use std::fmt::Write;
use std::path::PathBuf;

use super::{ClassItems, Dataset, DatasetError};

/// Of so many pictures one may be left out.
const ONE_OF: usize = 10;
/// Reasons and names that a line spells out.
const NAMED: usize = 3;

/// Pictures of a class that are not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The file or folder.
    pub path: PathBuf,
    /// How many pictures that is.
    pub pictures: usize,
    /// Why, as a sentence about the file or folder.
    pub reason: String,
}

impl LeftOut {
    /// A picture of a kind that is not read.
    pub(super) fn foreign(path: &std::path::Path) -> Self {
        let reason = "is no PNG, JPEG, BMP, TIFF or WebP".to_owned();
        Self { path: path.to_owned(), pictures: 1, reason }
    }
}

/// How many pictures may be left out of `total` before it is an error.
pub fn most_left_out(total: usize) -> usize {
    total / ONE_OF
}

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

impl Dataset {
    /// Pictures that are not used.
    pub fn left_out(&self) -> usize {
        self.classes.iter().map(ClassItems::left_out).sum()
    }

    /// What was found: one line for the layout, one a class, one for each folder that is no class.
    pub fn lines(&self) -> Vec<String> {
        let mut lines =
            vec![format!("{}: layout '{}', {}", self.root.display(), self.layout.name(), self.layout.what())];
        lines.extend(self.classes.iter().map(ClassItems::line));
        lines.extend(self.remarks.iter().cloned());
        lines
    }

    /// Errors when more than a tenth of the pictures are left out.
    pub fn check_left_out(&self) -> Result<(), DatasetError> {
        let (left_out, total) = (self.left_out(), self.len() + self.left_out());
        if left_out <= most_left_out(total) {
            return Ok(());
        }
        let reasons = self.classes.iter().flat_map(|class| &class.left_out);
        let reasons = reasons.map(|left| format!("{} {}", left.path.display(), left.reason));
        Err(DatasetError::too_many_left_out(left_out, total, reasons))
    }
}

impl DatasetError {
    /// More than a tenth of the pictures cannot be used, for these reasons.
    pub fn too_many_left_out(left_out: usize, total: usize, reasons: impl IntoIterator<Item = String>) -> Self {
        let reasons: Vec<String> = reasons.into_iter().collect();
        let mut text = reasons.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
        if reasons.len() > NAMED {
            let _ok = write!(text, "; and {} more", reasons.len() - NAMED);
        }
        Self::TooManyLeftOut { left_out, total, reasons: text }
    }
}

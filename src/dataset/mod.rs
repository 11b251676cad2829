//! Labelled pictures in the layouts that users have them in: which images are good, which are not, and where.

mod beside;
mod detect;
mod error;
mod files;
mod folders;
mod inventory;
mod item;
mod layout;
mod left_out;
mod listed;
mod mask;
mod mask_file;
mod masks;
mod realiad;
mod words;

use std::path::{Path, PathBuf};

pub use error::DatasetError;
pub use item::{ClassItems, Item, Split};
pub use layout::Layout;
pub use left_out::{LeftOut, most_left_out};
pub use mask::Mask;
pub use mask_file::{MaskNote, load_mask};

/// One split of a data set. Classes are in the order of their names, so two runs see the same sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// Folder that the paths lie in.
    pub root: PathBuf,
    /// How it is arranged; never [`Layout::Auto`].
    pub layout: Layout,
    /// At least one with pictures; one without has some that are left out.
    pub classes: Vec<ClassItems>,
    /// Folders with pictures that belong to no class, each a sentence.
    pub remarks: Vec<String>,
}

impl Dataset {
    /// Lists the pictures of one split; pictures are not opened yet, and masks only where they alone say what is good.
    ///
    /// A layout without splits ([`Layout::Folders`]) gives everything for each of them. Errors name what is missing
    /// or wrong; a split without any picture is one of them. What is left out is in the classes: see
    /// [`Dataset::check_left_out`].
    pub fn open(root: &Path, layout: Layout, split: Split) -> Result<Self, DatasetError> {
        let (root, layout) = if layout == Layout::Auto { detect::layout(root)? } else { (root.to_owned(), layout) };
        let mut remarks = Vec::new();
        let (root, mut classes) = match layout {
            Layout::Mvtec | Layout::Auto => {
                let (classes, told) = folders::mvtec(&root, split)?;
                remarks = told;
                (root, classes)
            }
            Layout::Folders => {
                let (classes, told) = folders::plain(&root)?;
                remarks = told;
                (root, classes)
            }
            Layout::Visa => (root.clone(), listed::visa(&root, split)?),
            Layout::Meta => listed::meta(&root, split)?,
            Layout::Beside => (root.clone(), beside::beside(&root, split)?),
            Layout::RealIad => realiad::realiad(&root, split)?,
        };
        classes.retain(|class| !class.items.is_empty() || class.left_out() > 0);
        classes.sort_by(|a, b| a.name.cmp(&b.name));
        if classes.iter().all(|class| class.items.is_empty()) {
            let left_out = classes.iter().flat_map(|class| &class.left_out);
            let reasons = left_out.map(|left| format!("{} {}", left.path.display(), left.reason)).collect::<Vec<_>>();
            return Err(DatasetError::Empty { root, split: split.name(), reasons: error::reasons(&reasons) });
        }
        Ok(Self { root, layout, classes, remarks })
    }

    /// Keeps the named classes; none named keeps all. A name that is not there is an error.
    pub fn only(mut self, names: &[String]) -> Result<Self, DatasetError> {
        if let Some(missing) = names.iter().find(|&name| self.classes.iter().all(|class| class.name != *name)) {
            let there = self.classes.iter().map(|class| class.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(DatasetError::NoSuchClass { name: missing.clone(), there });
        }
        if !names.is_empty() {
            self.classes.retain(|class| names.contains(&class.name));
        }
        Ok(self)
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.classes.iter().map(|class| class.items.len()).sum()
    }

    /// Never true: [`Dataset::open`] refuses a split without pictures.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

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

//! Labelled pictures in the layouts that users have them in: which images are good, which are not, and where.

mod error;
mod folders;
mod item;
mod listed;
mod mask;

use std::path::{Path, PathBuf};

pub use error::DatasetError;
pub use item::{ClassItems, Item, Split};
pub use mask::{Mask, load_mask};

/// How the files of a data set are arranged below its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// MVTec-AD: `CLASS/train/good`, `CLASS/test/KIND`, `CLASS/ground_truth/KIND/NAME_mask.png` (or `NAME.png`).
    Mvtec,
    /// VisA: `split_csv/1cls.csv` with the columns object, split, label, image, mask.
    Visa,
    /// The released VCP-CLIP code: `meta.json` or `meta_NAME.json`; the root may be the file itself.
    Meta,
    /// `CLASS/good`, `CLASS/defect`, `CLASS/ground_truth`, or the three at the root; there is no split.
    Folders,
}

impl Layout {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mvtec => "mvtec",
            Self::Visa => "visa",
            Self::Meta => "meta",
            Self::Folders => "folders",
        }
    }
}

/// One split of a data set. Classes are in the order of their names, so two runs see the same sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// Folder that the paths lie in.
    pub root: PathBuf,
    /// At least one, none of them without items.
    pub classes: Vec<ClassItems>,
}

impl Dataset {
    /// Lists the pictures of one split. Masks must exist, pictures are not looked at yet.
    ///
    /// A layout without splits ([`Layout::Folders`]) gives everything for each of them. Errors name what is missing
    /// or wrong; a split without any picture is one of them.
    pub fn open(root: &Path, layout: Layout, split: Split) -> Result<Self, DatasetError> {
        let (root, mut classes) = match layout {
            Layout::Mvtec => (root.to_owned(), folders::mvtec(root, split)?),
            Layout::Folders => (root.to_owned(), folders::plain(root)?),
            Layout::Visa => (root.to_owned(), listed::visa(root, split)?),
            Layout::Meta => listed::meta(root, split)?,
        };
        classes.retain(|class| !class.items.is_empty());
        classes.sort_by(|a, b| a.name.cmp(&b.name));
        if classes.is_empty() {
            return Err(DatasetError::Empty { root, split: split.name() });
        }
        Ok(Self { root, classes })
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
}

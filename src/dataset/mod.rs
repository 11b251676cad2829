//! Labelled pictures in the layouts that users have them in: which images are good, which are not, and where.

mod beside;
mod detect;
mod error;
mod files;
mod folders;
mod inventory;
mod item;
mod listed;
mod mask;
mod mask_file;
mod masks;
mod realiad;
mod words;

use std::path::{Path, PathBuf};

pub use error::DatasetError;
pub use inventory::{LeftOut, most_left_out};
pub use item::{ClassItems, Item, Split};
pub use mask::{Mask, load_mask};
pub use mask_file::MaskNote;

/// How the files of a data set are arranged below its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One of the others, by what lies there.
    Auto,
    /// MVTec-AD: `CLASS/train/good`, `CLASS/test/KIND`, `CLASS/ground_truth/KIND/NAME_mask.png` (or `NAME.png`). Also MVTec
    /// LOCO, MVTec AD 2, BTAD, MPDD.
    Mvtec,
    /// VisA: `split_csv/1cls.csv` with the columns object, split, label, image, mask.
    Visa,
    /// The released VCP-CLIP code: `meta.json` or `meta_NAME.json`; the root may be the file itself.
    Meta,
    /// `CLASS/good`, `CLASS/defect`, `CLASS/ground_truth`, or the three at the root; there is no split.
    Folders,
    /// KolektorSDD, KolektorSDD2, DAGM: masks beside the pictures or in `Label`; what has no mask, or a black one, is good.
    Beside,
    /// Real-IAD: `CLASS.json` with the lists train and test.
    RealIad,
}

impl Layout {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Mvtec => "mvtec",
            Self::Visa => "visa",
            Self::Meta => "meta",
            Self::Folders => "folders",
            Self::Beside => "beside",
            Self::RealIad => "realiad",
        }
    }

    /// How it tells good parts from others, in a few words.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Auto => "found by what lies there",
            Self::Mvtec => "a folder for each kind of part within train and test",
            Self::Visa => "as split_csv/1cls.csv lists them",
            Self::Meta => "as meta.json lists them",
            Self::Folders => "a folder for good parts and one for others",
            Self::Beside => "masks beside the pictures",
            Self::RealIad => "as CLASS.json lists them",
        }
    }

    /// The layout itself, or the one that [`Layout::Auto`] finds at `root`.
    pub fn resolve(self, root: &Path) -> Result<Self, DatasetError> {
        if self == Self::Auto { detect::layout(root).map(|(_, layout)| layout) } else { Ok(self) }
    }
}

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
}

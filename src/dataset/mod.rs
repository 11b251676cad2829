//! Labelled pictures in the layouts that users have them in: which images are good, which are not, and where.

mod error;
mod folders;
mod listed;
mod mask;

use std::path::{Component, Path, PathBuf};

pub use error::DatasetError;
pub use mask::{Mask, load_mask};

use crate::frame::Image;
use crate::source::image_file;

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

/// Which part of a data set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Split {
    /// Good parts alone, as the published sets have them.
    Train,
    /// Good and anomalous parts. The released training uses this part of the auxiliary set, too.
    #[default]
    Test,
}

impl Split {
    /// The word that folders, CSV and JSON use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

/// One labelled picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The picture's file. It is not opened before [`Item::load`].
    pub image: PathBuf,
    /// Where the anomaly is, which may be missing like the picture itself; always named for an anomalous picture, never
    /// for a good one.
    pub mask: Option<PathBuf>,
    /// Whether the part is anomalous.
    pub anomalous: bool,
    /// Kind of anomaly, such as `scratch`, where the layout tells; `good` for good parts of such a layout.
    pub kind: Option<String>,
}

impl Item {
    /// Reads the picture, and the mask of an anomalous one, at their own size.
    ///
    /// Errors when a file cannot be read or the mask is not as large as its picture.
    pub fn load(&self) -> Result<(Image, Option<Mask>), DatasetError> {
        self.check_mask()?;
        let image = image_file::load(&self.image)?;
        let Some(path) = &self.mask else { return Ok((image, None)) };
        let mask = Mask::load(path)?;
        if (mask.width, mask.height) != (image.width, image.height) {
            return Err(DatasetError::MaskSize {
                mask: path.clone(),
                found: (mask.width, mask.height),
                image: self.image.clone(),
                expected: (image.width, image.height),
            });
        }
        Ok((image, Some(mask)))
    }

    /// Errors when the picture is anomalous and its mask is not there.
    pub fn check_mask(&self) -> Result<(), DatasetError> {
        match &self.mask {
            Some(path) if !path.is_file() => {
                Err(DatasetError::NoMask { image: self.image.clone(), looked_for: path.clone() })
            }
            _ => Ok(()),
        }
    }
}

/// The pictures of one product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassItems {
    /// The product's name, such as `bottle`.
    pub name: String,
    /// In the order of the list, or of kinds and names where folders are read.
    pub items: Vec<Item>,
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

/// `path` below `root`; `None` when it is absolute or climbs out.
fn below(root: &Path, path: &str) -> Option<PathBuf> {
    // Lists written on Windows separate with backslashes.
    let path = path.replace('\\', "/");
    let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    Path::new(&path).components().all(inside).then(|| root.join(&path))
}

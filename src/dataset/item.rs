//! One labelled picture, the pictures of one product, and the parts that a data set is split into.

use std::path::PathBuf;

use super::LeftOut;
use super::mask_file::{self, MaskNote};
use super::{DatasetError, Mask};
use crate::frame::Image;
use crate::source::image_file::{self, Upright};

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
    /// Where the anomaly is: what any of these files marks. Empty for a good picture, and for an anomalous one of which only
    /// that is known.
    pub masks: Vec<PathBuf>,
    /// Whether the part is anomalous.
    pub anomalous: bool,
    /// Kind of anomaly, such as `scratch`, where the layout tells; `good` for good parts of such a layout.
    pub kind: Option<String>,
}

impl Item {
    /// Is it known of every pixel whether it is anomalous?
    pub fn has_truth(&self) -> bool {
        !self.anomalous || !self.masks.is_empty()
    }

    /// Reads the picture, and the mask of an anomalous one if there is one, at their own size, both upright.
    ///
    /// Errors when a file cannot be read or the mask is not as large as its picture.
    pub fn load(&self) -> Result<(Image, Option<Mask>), DatasetError> {
        self.load_noting(&mut Vec::new())
    }

    /// Like [`Item::load`]; adds what was peculiar about the masks to `notes`.
    pub fn load_noting(&self, notes: &mut Vec<MaskNote>) -> Result<(Image, Option<Mask>), DatasetError> {
        let Upright { image, orientation } = image_file::load_upright(&self.image)?;
        let mut all: Option<Mask> = None;
        for path in &self.masks {
            let mask = mask_file::read(path, notes)?;
            let mask = mask_file::fitted(mask, orientation, (image.width, image.height), notes)?;
            if (mask.width, mask.height) != (image.width, image.height) {
                return Err(DatasetError::MaskSize {
                    mask: path.clone(),
                    found: (mask.width, mask.height),
                    image: self.image.clone(),
                    expected: (image.width, image.height),
                });
            }
            match &mut all {
                None => all = Some(mask),
                Some(all) => all.add(&mask),
            }
        }
        if let Some(mask) = &all {
            let marked = mask.anomalous.iter().filter(|&&anomalous| anomalous).count();
            if marked == 0 {
                notes.push(MaskNote::Empty);
            } else if 2 * marked > mask.anomalous.len() {
                notes.push(MaskNote::MostMarked);
            }
        }
        Ok((image, all))
    }
}

/// The pictures of one product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassItems {
    /// The product's name, such as `bottle`.
    pub name: String,
    /// In the order of the list, or of kinds and names where folders are read.
    pub items: Vec<Item>,
    /// What lies there and is not used.
    pub left_out: Vec<LeftOut>,
    /// What a reader should know, each without a full stop.
    pub remarks: Vec<String>,
}

impl ClassItems {
    /// A class of which everything is used.
    pub fn new(name: String, items: Vec<Item>) -> Self {
        Self { name, items, left_out: Vec::new(), remarks: Vec::new() }
    }
}

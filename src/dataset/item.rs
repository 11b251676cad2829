//! One labelled picture, the pictures of one product, and the parts that a data set is split into.

use std::path::PathBuf;

use super::{DatasetError, Mask};
use crate::frame::Image;
use crate::source::image_file;

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
    /// Reads the picture, and the mask of an anomalous one, at their own size, both upright.
    ///
    /// A mask that does not say how it lies is as large as its picture is upright, or as it is stored; then it is turned
    /// as the picture is. Errors when a file cannot be read or the mask is as large as neither.
    pub fn load(&self) -> Result<(Image, Option<Mask>), DatasetError> {
        self.check_mask()?;
        let picture = image_file::load_upright(&self.image)?;
        let Some(path) = &self.mask else { return Ok((picture.image, None)) };
        let mask = Mask::load_beside(path, &picture)?;
        let image = picture.image;
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

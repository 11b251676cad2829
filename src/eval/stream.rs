//! Pictures of a data set one after the other: a thread reads and decodes ahead, a few at most.

use std::path::PathBuf;

use crossbeam_channel::bounded;

use crate::clock::{Clock, SystemClock};
use crate::dataset::{Dataset, DatasetError, Item, Mask, MaskNote};
use crate::frame::{Frame, Image};
use crate::view::locate::{LocateError, Locator};

use super::sizes::{MaskedDefect, defects};

/// Decoded pictures that wait for the engine. Decoding is faster; more would only fill memory.
const AHEAD: usize = 4;

/// A picture with its truth.
pub struct Picture {
    /// As it was captured.
    pub image: Image,
    /// Its mask at the model's size, `None` where nobody knows it.
    pub mask: Option<Vec<bool>>,
    /// What its mask marks before it is brought to that size.
    pub defects: Vec<MaskedDefect>,
}

/// Why a picture does not count.
#[derive(Debug, thiserror::Error)]
pub enum Left {
    /// It or its mask cannot be read.
    #[error(transparent)]
    Unread(#[from] DatasetError),
    /// Its part is not found.
    #[error("{}: the part is not found", .0.display())]
    NoPart(PathBuf),
    /// Its part cannot be looked for.
    #[error("{}: {error}", image.display())]
    NotLooked {
        /// The picture.
        image: PathBuf,
        /// Why.
        error: LocateError,
    },
}

/// One picture as it comes.
pub struct Loaded {
    /// Which class of the data set.
    pub class: usize,
    /// Which item of the class.
    pub item: usize,
    /// The picture, or why there is none.
    pub picture: Result<Picture, Left>,
    /// What was peculiar about its mask.
    pub notes: Vec<MaskNote>,
}

/// How pictures are looked at before the model sees them.
#[derive(Clone, Copy, Default)]
pub struct Looking<'a> {
    /// Finds the parts; pictures and masks are laid back, and one whose part is not found is none.
    pub locator: Option<&'a Locator>,
    /// Rectangle `[x, y, width, height]` that masks are cut to, of pictures as they were laid back.
    pub crop: Option<[u32; 4]>,
}

/// Hands over every picture of `dataset` in order, masks S×S with S = `size`. An error of `visit` ends it early.
pub fn for_each<E: From<std::io::Error>>(
    dataset: &Dataset,
    size: usize,
    looking: Looking<'_>,
    mut visit: impl FnMut(Loaded) -> Result<(), E>,
) -> Result<(), E> {
    std::thread::scope(|scope| {
        let (sender, receiver) = bounded(AHEAD);
        let decode = move || {
            for (class, items) in dataset.classes.iter().enumerate() {
                for (item, labelled) in items.items.iter().enumerate() {
                    let mut notes = Vec::new();
                    let loaded = labelled.load_noting(&mut notes).map_err(Left::from);
                    let placed = loaded.and_then(|(image, mask)| looking.laid_back(labelled, image, mask));
                    let picture = placed.map(|(image, mask)| {
                        let mask = mask.map(|mask| looking.crop.and_then(|crop| mask.cut(crop)).unwrap_or(mask));
                        let good = || (!labelled.anomalous).then(|| vec![false; size * size]);
                        let defects = mask.as_ref().map(|mask| defects(mask, size, size)).unwrap_or_default();
                        Picture { image, mask: mask.map(|mask| mask.resized(size)).or_else(good), defects }
                    });
                    if sender.send(Loaded { class, item, picture, notes }).is_err() {
                        // Nobody wants more.
                        return;
                    }
                }
            }
        };
        std::thread::Builder::new().name("decode".into()).spawn_scoped(scope, decode)?;
        receiver.into_iter().try_for_each(&mut visit)
    })
}

impl Looking<'_> {
    fn laid_back(&self, item: &Item, image: Image, mask: Option<Mask>) -> Result<(Image, Option<Mask>), Left> {
        let Some(locator) = self.locator else { return Ok((image, mask)) };
        let frame = Frame::alone("eval", SystemClock.now(), image);
        let laid = locator.lay(&frame).map_err(|error| Left::NotLooked { image: item.image.clone(), error })?;
        let Some(laid) = laid else { return Err(Left::NoPart(item.image.clone())) };
        let moved = |mask: Mask| {
            let (width, height) = (mask.width, mask.height);
            let pixel = |at: usize| {
                let (x, y) = (at % width as usize, at / width as usize);
                let [x, y] = laid.placement().to_captured([x as f64 + 0.5, y as f64 + 0.5]);
                let inside = x >= 0.0 && y >= 0.0 && x < f64::from(width) && y < f64::from(height);
                inside && mask.anomalous[y as usize * width as usize + x as usize]
            };
            let anomalous = (0..mask.anomalous.len()).map(pixel).collect();
            Mask { width, height, anomalous }
        };
        let mask = mask.map(moved);
        Ok((laid.frame.image, mask))
    }
}

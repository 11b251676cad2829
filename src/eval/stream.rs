//! Pictures of a data set one after the other: a thread reads and decodes ahead, a few at most.

use crossbeam_channel::bounded;

use crate::dataset::{Dataset, DatasetError, MaskNote};
use crate::frame::Image;

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

/// One picture as it comes.
pub struct Loaded {
    /// Which class of the data set.
    pub class: usize,
    /// Which item of the class.
    pub item: usize,
    /// The picture, or why there is none.
    pub picture: Result<Picture, DatasetError>,
    /// What was peculiar about its mask.
    pub notes: Vec<MaskNote>,
}

/// Hands over every picture of `dataset` in order, masks S×S with S = `size`. An error of `visit` ends it early.
pub fn for_each<E: From<std::io::Error>>(
    dataset: &Dataset,
    size: usize,
    mut visit: impl FnMut(Loaded) -> Result<(), E>,
) -> Result<(), E> {
    std::thread::scope(|scope| {
        let (sender, receiver) = bounded(AHEAD);
        let decode = move || {
            for (class, items) in dataset.classes.iter().enumerate() {
                for (item, labelled) in items.items.iter().enumerate() {
                    let mut notes = Vec::new();
                    let picture = labelled.load_noting(&mut notes).map(|(image, mask)| {
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

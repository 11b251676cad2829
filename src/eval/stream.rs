//! Pictures of a data set one after the other: a thread reads and decodes ahead, a few at most.

use crossbeam_channel::bounded;

use crate::dataset::{Dataset, DatasetError};
use crate::frame::Image;

/// Decoded pictures that wait for the engine. Decoding is faster; more would only fill memory.
const AHEAD: usize = 4;

/// One picture as it comes.
pub struct Loaded {
    /// Which class of the data set.
    pub class: usize,
    /// Which item of the class.
    pub item: usize,
    /// The picture, and its mask at the model's size; or why there is none.
    pub picture: Result<(Image, Vec<bool>), DatasetError>,
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
                    let picture = labelled.load().map(|(image, mask)| {
                        let mask = mask.map_or_else(|| vec![false; size * size], |mask| mask.resized(size));
                        (image, mask)
                    });
                    if sender.send(Loaded { class, item, picture }).is_err() {
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

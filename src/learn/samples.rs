//! What each step learns from: features of pictures, computed once or anew, and those kept for validation.

use std::path::Path;

use burn::tensor::Device;
use rayon::prelude::*;

use super::LearnError;
use super::augment::Augmentation;
use super::event::Event;
use super::features::{Cache, Kept, Sample, Tower};
use super::pictures::Pictures;
use super::tiles::Opened;
use super::validation::{Validated, Validation};
use super::vcp_settings::VcpSettings;
use super::vcp_training::VcpTraining;
use crate::dice::Dice;
use crate::vcp_clip::preprocess::Preprocessor;
use crate::weights::Bundle;

/// What the dice of changes are for; tells them from others of the same seed.
const CHANGES: u64 = u64::from_le_bytes(*b"changes ");
/// Pictures that are read and looked at between two reports of progress.
const BLOCK: usize = 32;

/// The pictures of a training, as the vision tower sees them.
pub struct Samples {
    pictures: Pictures,
    augmentation: Augmentation,
    seed: u64,
    looker: Looker,
    /// Features of each picture, copy after copy.
    copies: Option<(usize, Cache)>,
    validation: Option<Validation>,
}

/// Reads pictures and looks at them.
struct Looker {
    tower: Tower,
    size: usize,
    mean: [f32; 3],
    std: [f32; 3],
}

impl Samples {
    /// Computes what is computed once. `room` is the memory for features, in bytes, and the folder of the file that
    /// takes more.
    #[allow(clippy::too_many_arguments, reason = "called once, by the run that owns all of it")]
    pub fn new(
        bundle: &Bundle,
        pictures: Pictures,
        validation: Pictures,
        settings: &VcpSettings,
        device: &Device,
        apart: bool,
        room: (u64, &Path),
        report: &mut dyn FnMut(Event<'_>),
    ) -> Result<Self, LearnError> {
        let arch = &bundle.manifest().architecture;
        let constants = &bundle.manifest().constants;
        let tower = Tower::new(bundle, device, apart)?;
        let looker = Looker { tower, size: arch.image_size, mean: constants.mean, std: constants.std };
        let copies = match settings.copies {
            None if settings.augmentation.is_none() => Some(1),
            None => None,
            // Copies of pictures that are not changed are all the same.
            Some(_) if settings.augmentation.is_none() => Some(1),
            Some(copies) => Some(copies),
        };
        let io = |source| LearnError::Io { action: "keep features in", path: room.1.to_owned(), source };
        let mut room_left = room.0;
        let mut fill = |stage: &str, pictures: &Pictures, copies: usize, changes: &Augmentation, kept: Kept| {
            let total = copies * pictures.len();
            let mut cache = Cache::new(arch, total, kept, room_left, room.1).map_err(io)?;
            room_left -= cache.memory();
            let numbers: Vec<usize> = (0..total).collect();
            for block in numbers.chunks(BLOCK) {
                report(Event::Preparing { stage, done: block[0] as u64, total: total as u64 });
                let wanted: Vec<(usize, usize)> =
                    block.iter().map(|number| (number / pictures.len(), number % pictures.len())).collect();
                for (number, sample) in block.iter().zip(looker.look(pictures, &wanted, changes, settings.seed)?) {
                    cache.put(*number, &sample).map_err(io)?;
                }
            }
            report(Event::Preparing { stage, done: total as u64, total: total as u64 });
            Ok::<_, LearnError>(cache)
        };
        let copies = match copies {
            Some(copies) => Some((copies, fill("features", &pictures, copies, &settings.augmentation, settings.kept)?)),
            None => None,
        };
        let validation = if validation.is_empty() {
            None
        } else {
            let cache = fill("validation features", &validation, 1, &Augmentation::none(), Kept::F32)?;
            Some(Validation::new(validation, cache, arch, constants))
        };
        Ok(Self {
            pictures,
            augmentation: settings.augmentation.clone(),
            seed: settings.seed,
            looker,
            copies,
            validation,
        })
    }

    /// Pictures of an epoch.
    pub fn count(&self) -> usize {
        self.pictures.len()
    }

    /// Some pictures as they look in an epoch, in order.
    pub fn batch(&self, epoch: usize, pictures: &[usize]) -> Result<Vec<Sample>, LearnError> {
        match &self.copies {
            Some((copies, cache)) => {
                let first = epoch % copies * self.pictures.len();
                cache.samples(pictures.iter().map(|at| first + at).collect())
            }
            None => {
                let wanted: Vec<(usize, usize)> = pictures.iter().map(|&at| (epoch, at)).collect();
                self.looker.look(&self.pictures, &wanted, &self.augmentation, self.seed)
            }
        }
    }

    /// What the modules are worth on the pictures kept for validation, if there are any.
    pub fn validate(&self, training: &VcpTraining) -> Result<Option<Validated>, LearnError> {
        self.validation.as_ref().map(|validation| validation.run(training)).transpose()
    }
}

impl Looker {
    /// What the tower sees in pictures, each changed as its `(round, picture)` has it.
    fn look(
        &self,
        pictures: &Pictures,
        wanted: &[(usize, usize)],
        augmentation: &Augmentation,
        seed: u64,
    ) -> Result<Vec<Sample>, LearnError> {
        let reader = || (Preprocessor::new(self.size, self.mean, self.std), Opened::default());
        let inputs = wanted.par_iter().map_init(reader, |(preprocessor, opened), &(round, at)| {
            let mut dice = Dice::new(seed, [CHANGES, round as u64, at as u64]);
            pictures.input(at, augmentation, &mut dice, preprocessor, opened)
        });
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let (planes, masks): (Vec<_>, Vec<_>) = inputs.into_iter().map(|input| (input.planes, input.mask)).unzip();
        let seen = self.tower.see(&planes);
        Ok(seen.into_iter().zip(masks).map(|(features, mask)| Sample { features, mask }).collect())
    }
}

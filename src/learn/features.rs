//! What the frozen vision tower sees in a picture: computed once where pictures repeat, and kept in memory or in a file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::LearnError;
use super::tape::{Tape, Weights};
use crate::vcp_clip::eager::Eager;
use crate::vcp_clip::{Architecture, vision};
use crate::weights::{Bundle, BundleError};

/// What the tower says about one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// F_ℓ per tapped layer, N×Cv each, layer after layer.
    pub tokens: Vec<f32>,
    /// The image feature, Ct.
    pub feature: Vec<f32>,
}

/// Features with the mask they are to explain.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What was seen.
    pub features: Features,
    /// S×S, row by row: 1 on defects, 0 elsewhere.
    pub mask: Vec<u8>,
}

/// The vision tower of a bundle.
pub struct Tower {
    architecture: Architecture,
    body: TowerBody,
}

enum TowerBody {
    /// A processor and a small tower: every picture on its own, side by side. A tape keeps everything it computes, and
    /// is the fastest there is for small pictures.
    Apart(Arc<Weights>),
    /// This many pictures at once: all of them on a graphics card, one on a processor.
    Together(Box<Eager>, usize),
}

/// Most that a tape may keep of one picture, bytes; a larger tower looks at one picture at a time and keeps nothing.
const MOST_ON_A_TAPE: usize = 256 << 20;

/// What a tape keeps of one picture, bytes: shares of attention and about thirty values per channel of each block.
fn on_a_tape(arch: &Architecture) -> usize {
    let rows = arch.patches() + 1;
    size_of::<f32>() * arch.vision_layers * rows * (arch.vision_heads() * rows + 30 * arch.vision_width)
}

impl Tower {
    /// Reads the tower's weights as float32. `apart` says whether `device` is a processor, where pictures go through
    /// side by side, or a graphics card, where they go through at once.
    pub fn new(bundle: &Bundle, device: &Device, apart: bool) -> Result<Self, BundleError> {
        let names = bundle.names().filter(|name| name.starts_with("visual."));
        let tensors = names.map(|name| bundle.f32(name).map(|(shape, values)| (name.to_owned(), shape, values)));
        let tensors = tensors.collect::<Result<Vec<_>, _>>()?;
        let architecture = bundle.manifest().architecture.clone();
        let body = match apart {
            true if on_a_tape(&architecture) <= MOST_ON_A_TAPE => TowerBody::Apart(Arc::new(Weights::new(tensors))),
            true => TowerBody::Together(Box::new(Eager::new(device.clone(), tensors)), 1),
            false => TowerBody::Together(Box::new(Eager::new(device.clone(), tensors)), usize::MAX),
        };
        Ok(Self { architecture, body })
    }

    /// Looks at pictures, each the normalised planes 3×S×S. What it sees in one does not depend on the others.
    pub fn see(&self, pictures: &[Vec<f32>]) -> Vec<Features> {
        let arch = &self.architecture;
        match &self.body {
            TowerBody::Apart(weights) => {
                let one = |planes: &Vec<f32>| {
                    let mut tape = Tape::new(Arc::clone(weights));
                    tape.set_images(1, arch.image_size, planes.clone());
                    let seen = vision::encode(&mut tape, arch);
                    let tokens = seen.tokens.iter().flat_map(|&layer| tape.values(layer).iter().copied()).collect();
                    Features { tokens, feature: tape.values(seen.feature).to_vec() }
                };
                pictures.par_iter().map(one).collect()
            }
            TowerBody::Together(eager, most) => {
                pictures.chunks(*most).flat_map(|pictures| together(eager, arch, pictures)).collect()
            }
        }
    }
}

fn together(eager: &Eager, arch: &Architecture, pictures: &[Vec<f32>]) -> Vec<Features> {
    let mut eager = eager.clone();
    eager.set_images(pictures.len(), arch.image_size, pictures.concat());
    let seen = vision::encode(&mut eager, arch);
    let tokens: Vec<Vec<f32>> = seen.tokens.iter().map(Eager::read).collect();
    let feature = Eager::read(&seen.feature);
    let length = arch.patches() * arch.vision_width;
    let share = |layer: &Vec<f32>, at: usize| layer[at * length..(at + 1) * length].to_vec();
    let one = |at: usize| Features {
        tokens: tokens.iter().flat_map(|layer| share(layer, at)).collect(),
        feature: feature[at * arch.text_width..(at + 1) * arch.text_width].to_vec(),
    };
    (0..pictures.len()).map(one).collect()
}

/// How tokens are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kept {
    /// As 16-bit floats: half the room, each number off by 0.05 % at most.
    #[default]
    F16,
    /// As they are.
    F32,
}

/// Samples by number.
pub struct Cache {
    tokens: usize,
    feature: usize,
    mask: usize,
    kept: Kept,
    body: Body,
}

enum Body {
    Memory(Vec<Vec<u8>>),
    /// Without a name, so that it is gone with the process.
    File(File),
}

impl Cache {
    /// Memory it takes when it is full, bytes; a file takes none.
    pub fn memory(&self) -> u64 {
        match &self.body {
            Body::Memory(samples) => (samples.len() * self.record()) as u64,
            Body::File(_) => 0,
        }
    }

    /// Bytes of one sample.
    fn record(&self) -> usize {
        self.tokens * self.kept.bytes() + self.feature * size_of::<f32>() + self.mask
    }

    /// Room for `count` samples: in memory if they take no more than `most_memory` bytes, else in a file in `folder`.
    pub fn new(arch: &Architecture, count: usize, kept: Kept, most_memory: u64, folder: &Path) -> io::Result<Self> {
        let mut cache = Self {
            tokens: arch.taps.len() * arch.patches() * arch.vision_width,
            feature: arch.text_width,
            mask: arch.image_size * arch.image_size,
            kept,
            body: Body::Memory(Vec::new()),
        };
        let needed = count as u64 * cache.record() as u64;
        cache.body = if needed <= most_memory {
            Body::Memory(vec![Vec::new(); count])
        } else {
            let file = tempfile::tempfile_in(folder)?;
            file.set_len(needed)?;
            Body::File(file)
        };
        Ok(cache)
    }

    /// Keeps a sample under a number.
    pub fn put(&mut self, at: usize, sample: &Sample) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(self.record());
        match self.kept {
            Kept::F16 => {
                let mut halves = vec![f16::ZERO; sample.features.tokens.len()];
                halves.convert_from_f32_slice(&sample.features.tokens);
                bytes.extend_from_slice(bytemuck::cast_slice(&halves));
            }
            Kept::F32 => bytes.extend_from_slice(bytemuck::cast_slice(&sample.features.tokens)),
        }
        bytes.extend_from_slice(bytemuck::cast_slice(&sample.features.feature));
        bytes.extend_from_slice(&sample.mask);
        let start = at as u64 * self.record() as u64;
        match &mut self.body {
            Body::Memory(samples) => samples[at] = bytes,
            Body::File(file) => file.write_all_at(&bytes, start)?,
        }
        Ok(())
    }

    /// The sample kept under a number.
    pub fn get(&self, at: usize) -> io::Result<Sample> {
        let read;
        let bytes = match &self.body {
            Body::Memory(samples) => &samples[at],
            Body::File(file) => {
                let mut bytes = vec![0; self.record()];
                file.read_exact_at(&mut bytes, at as u64 * self.record() as u64)?;
                read = bytes;
                &read
            }
        };
        let (tokens, rest) = bytes.split_at(self.tokens * self.kept.bytes());
        let (feature, mask) = rest.split_at(self.feature * size_of::<f32>());
        let tokens = match self.kept {
            Kept::F16 => {
                let halves: Vec<f16> = bytemuck::pod_collect_to_vec(tokens);
                halves.to_f32_vec()
            }
            Kept::F32 => bytemuck::pod_collect_to_vec(tokens),
        };
        let features = Features { tokens, feature: bytemuck::pod_collect_to_vec(feature) };
        Ok(Sample { features, mask: mask.to_vec() })
    }

    /// The samples kept under some numbers, in their order.
    pub fn samples(&self, numbers: Vec<usize>) -> Result<Vec<Sample>, LearnError> {
        let read = |number: usize| self.get(number).map_err(|source| LearnError::Features { source });
        numbers.into_par_iter().map(read).collect()
    }
}

impl Kept {
    fn bytes(self) -> usize {
        match self {
            Self::F16 => size_of::<f16>(),
            Self::F32 => size_of::<f32>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_back_from_memory_and_from_a_file() {
        let arch =
            Architecture { image_size: 28, vision_width: 64, text_width: 64, ..Architecture::vit_l_14_336_at_518() };
        let sample = |seed: usize| Sample {
            features: Features {
                tokens: (0..4 * 4 * 64).map(|i| ((i + seed) % 64) as f32 / 8.0 - 2.0).collect(),
                feature: (0..64).map(|i| (i + seed) as f32 * 0.1).collect(),
            },
            mask: (0..28 * 28).map(|i| u8::from((i + seed).is_multiple_of(5))).collect(),
        };
        let folder = tempfile::tempdir().unwrap();
        for kept in [Kept::F16, Kept::F32] {
            for most in [0, u64::MAX] {
                let mut cache = Cache::new(&arch, 3, kept, most, folder.path()).unwrap();
                assert_eq!(matches!(cache.body, Body::File(_)), most == 0);
                for at in [2, 0, 1] {
                    cache.put(at, &sample(at)).unwrap();
                }
                for at in 0..3 {
                    assert_eq!(cache.get(at).unwrap(), sample(at), "{kept:?} {at}");
                }
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
    }
}

//! All weights of the network in one file, as float32 or in 8 bits, for a runtime that maps it: what lies there is used where
//! it lies, while half precision would be expanded into memory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::names::is_in_graph;
use crate::engine::eight_bits::EightBits;
use crate::engine::scales::Scales;
use crate::engine::sums::Sums;
use crate::weights::bundle::{Bundle, BundleError};

/// Alignment of every tensor; a cache line, and enough for any vector instruction.
const ALIGNMENT: u64 = 64;

/// Where each tensor lies in the written file.
pub struct Expanded {
    offsets: HashMap<String, u64>,
    /// Of those in 8 bits, the size of a step of each row.
    steps: HashMap<String, Vec<f32>>,
    /// Of the written file.
    pub sums: Vec<u32>,
}

/// The file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ExpandError {
    /// A tensor cannot be read.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The disk.
    #[error("{path}: {source}; the folder needs room for the weights in float32")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Expanded {
    /// Name of the file in its folder.
    pub const FILE: &'static str = "weights.f32";

    /// Writes the tensors that the graph reads into `folder`, those that have scales in 8 bits.
    pub fn write(
        bundle: &Bundle,
        scales: Option<&Scales>,
        eight_bits: EightBits,
        folder: &Path,
    ) -> Result<Self, ExpandError> {
        let path = folder.join(Self::FILE);
        let failed = |source| ExpandError::Io { path: path.clone(), source };
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&path).map_err(failed)?);
        let mut sums = Sums::default();
        let mut put = |bytes: &[u8]| {
            sums.update(bytes);
            file.write_all(bytes).map_err(failed)
        };
        let (mut offsets, mut steps) = (HashMap::new(), HashMap::new());
        let mut at = 0_u64;
        for name in bundle.names().filter(|name| is_in_graph(name)) {
            let (_, values) = bundle.f32(name)?;
            let padding = at.next_multiple_of(ALIGNMENT) - at;
            put(&[0; ALIGNMENT as usize][..padding as usize])?;
            at += padding;
            offsets.insert(name.to_owned(), at);
            let layer = scales.and_then(|scales| scales.layers.get(name));
            let rounded = layer.map(|layer| eight_bits.weight(layer, &values));
            let bytes: &[u8] = match &rounded {
                Some(matrix) => &matrix.bytes,
                None => bytemuck::cast_slice(&values),
            };
            put(bytes)?;
            at += bytes.len() as u64;
            steps.extend(rounded.map(|matrix| (name.to_owned(), matrix.steps)));
        }
        file.flush().map_err(failed)?;
        Ok(Self { offsets, steps, sums: sums.finish() })
    }

    /// Size of a step of each row of a tensor in 8 bits.
    pub(super) fn steps(&self, name: &str) -> Option<&[f32]> {
        self.steps.get(name).map(Vec::as_slice)
    }

    /// Byte at which a tensor of the graph begins.
    pub(super) fn offset(&self, name: &str) -> u64 {
        *self.offsets.get(name).expect("every tensor that the graph reads is written")
    }
}

//! All weights of the network as float32 in one file, for a runtime that maps it: what lies there in float32 is used
//! where it lies, while half precision would be expanded into memory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::names::is_in_graph;
use crate::weights::bundle::{Bundle, BundleError};

/// Alignment of every tensor; a cache line, and enough for any vector instruction.
const ALIGNMENT: u64 = 64;

/// Where each tensor lies in the written file.
pub struct Expanded {
    offsets: HashMap<String, u64>,
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

    /// Writes the tensors that the graph reads into `folder`.
    pub fn write(bundle: &Bundle, folder: &Path) -> Result<Self, ExpandError> {
        let path = folder.join(Self::FILE);
        let failed = |source| ExpandError::Io { path: path.clone(), source };
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&path).map_err(failed)?);
        let mut offsets = HashMap::new();
        let mut at = 0_u64;
        for name in bundle.names().filter(|name| is_in_graph(name)) {
            let (_, values) = bundle.f32(name)?;
            let padding = at.next_multiple_of(ALIGNMENT) - at;
            file.write_all(&[0; ALIGNMENT as usize][..padding as usize]).map_err(failed)?;
            at += padding;
            offsets.insert(name.to_owned(), at);
            let bytes: &[u8] = bytemuck::cast_slice(&values);
            file.write_all(bytes).map_err(failed)?;
            at += bytes.len() as u64;
        }
        file.flush().map_err(failed)?;
        Ok(Self { offsets })
    }

    /// Byte at which a tensor of the graph begins.
    pub(super) fn offset(&self, name: &str) -> u64 {
        *self.offsets.get(name).expect("every tensor that the graph reads is written")
    }
}

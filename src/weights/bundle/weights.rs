//! The weights file of an open bundle: read when it is asked for, and compared with what was verified.
//!
//! Nothing is mapped. A file that another process shortens or rewrites after it was verified makes an error that names
//! it; as a mapping it would end this process with SIGBUS, or give other numbers in silence.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::manifest::{MANIFEST_FILE, WEIGHTS_FILE};
use crate::weights::header::{self, HeaderError};

/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// Element type in a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 16-bit floats: every value of the tensor is one exactly.
    F16,
    /// 32-bit floats.
    F32,
}

impl Dtype {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }
}

/// Where a tensor lies, and what it was when the file was verified.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) shape: Vec<usize>,
    pub(super) dtype: Dtype,
    pub(super) range: Range<u64>,
    /// CRC-32 of its bytes: SHA-256 verified the file, this finds that they are others now.
    checksum: u32,
}

/// An open weights file.
#[derive(Debug)]
pub(super) struct Weights {
    file: File,
    length: u64,
    sha256: String,
    pub(super) tensors: BTreeMap<String, Stored>,
}

/// Why a weights file cannot be used.
pub(super) enum WeightsError {
    Io(io::Error),
    Damaged(String),
}

impl From<io::Error> for WeightsError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Damaged(format!("{WEIGHTS_FILE} is missing")),
            io::ErrorKind::UnexpectedEof => Self::Damaged(changed("is shorter")),
            _ => Self::Io(error),
        }
    }
}

fn changed(how: &str) -> String {
    format!("{WEIGHTS_FILE} {how} than it was when it was opened: something else writes to it")
}

impl Weights {
    /// Opens a file of `bytes` bytes with this hash, lower-case hexadecimal. It is read once, in pieces.
    pub(super) fn open(path: &Path, bytes: u64, sha256: &str) -> Result<Self, WeightsError> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        if length != bytes {
            return Err(WeightsError::Damaged(format!("{WEIGHTS_FILE} has {length} bytes, expected {bytes}")));
        }
        let mut tensors = match header::read(&file, length) {
            Ok((data, metadata)) => index(data, &metadata),
            Err(HeaderError::Damaged(reason)) => Err(format!("{WEIGHTS_FILE}: {reason}")),
            Err(HeaderError::Io(error)) => return Err(error.into()),
        };
        // A changed header does not fit either, and the hash says more about why.
        if verify(&file, length, tensors.as_mut().ok())? != sha256 {
            return Err(WeightsError::Damaged(format!("{WEIGHTS_FILE} has another SHA-256 than {MANIFEST_FILE} says")));
        }
        let tensors = tensors.map_err(WeightsError::Damaged)?;
        Ok(Self { file, length, sha256: sha256.to_owned(), tensors })
    }

    /// The bytes of a tensor.
    pub(super) fn read(&self, stored: &Stored) -> Result<Vec<u8>, WeightsError> {
        let mut bytes = vec![0; (stored.range.end - stored.range.start) as usize];
        self.file.read_exact_at(&mut bytes, stored.range.start)?;
        if crc32fast::hash(&bytes) != stored.checksum {
            return Err(WeightsError::Damaged(changed("holds other numbers")));
        }
        Ok(bytes)
    }

    /// Writes the whole file to `to`; an error of `to` is [`WeightsError::Io`].
    pub(super) fn copy(&self, to: &mut dyn Write) -> Result<(), WeightsError> {
        let mut hasher = Sha256::new();
        pieces(&self.file, 0..self.length, |piece| {
            hasher.update(piece);
            to.write_all(piece)
        })?;
        if hex::encode(hasher.finalize()) != self.sha256 {
            return Err(WeightsError::Damaged(changed("holds other numbers")));
        }
        Ok(())
    }
}

/// SHA-256 of the whole file; sums up each tensor on the way.
fn verify(file: &File, length: u64, tensors: Option<&mut BTreeMap<String, Stored>>) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut stored: Vec<&mut Stored> = tensors.into_iter().flat_map(BTreeMap::values_mut).collect();
    stored.sort_by_key(|stored| stored.range.start);
    let mut at = 0;
    for stored in stored {
        pieces(file, at..stored.range.start, |piece| {
            hasher.update(piece);
            Ok(())
        })?;
        let mut sum = crc32fast::Hasher::new();
        pieces(file, stored.range.clone(), |piece| {
            hasher.update(piece);
            sum.update(piece);
            Ok(())
        })?;
        stored.checksum = sum.finalize();
        at = stored.range.end;
    }
    pieces(file, at..length, |piece| {
        hasher.update(piece);
        Ok(())
    })?;
    Ok(hex::encode(hasher.finalize()))
}

fn pieces(file: &File, range: Range<u64>, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK.min(range.end.saturating_sub(range.start) as usize)];
    let mut at = range.start;
    while at < range.end {
        let count = (range.end - at).min(buffer.len() as u64) as usize;
        let piece = &mut buffer[..count];
        file.read_exact_at(piece, at)?;
        take(piece)?;
        at += count as u64;
    }
    Ok(())
}

/// The tensors of a safetensors file whose data begins at `data`.
fn index(data: u64, metadata: &safetensors::tensor::Metadata) -> Result<BTreeMap<String, Stored>, String> {
    let mut tensors = BTreeMap::new();
    for (name, info) in metadata.tensors() {
        let dtype = match info.dtype {
            safetensors::Dtype::F16 => Dtype::F16,
            safetensors::Dtype::F32 => Dtype::F32,
            other => return Err(format!("tensor '{name}' holds {other:?}")),
        };
        let (from, to) = info.data_offsets;
        let range = data + from as u64..data + to as u64;
        tensors.insert(name, Stored { shape: info.shape.clone(), dtype, range, checksum: 0 });
    }
    Ok(tensors)
}

//! Tensors in a safetensors file.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use safetensors::tensor::Dtype;

use super::dtype::{Element, MAX_AXIS};
use super::error::ImportError;
use super::header::{self, HeaderError};

/// Where one tensor lies.
pub(super) struct Entry {
    pub(super) element: Element,
    pub(super) shape: Vec<usize>,
    range: Range<u64>,
}

/// An open file.
pub(super) struct SafetensorsFile {
    path: PathBuf,
    file: File,
    pub(super) tensors: BTreeMap<String, Entry>,
}

impl SafetensorsFile {
    /// Reads the header.
    pub(super) fn open(path: &Path) -> Result<Self, ImportError> {
        let io = |source| ImportError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let (data, metadata) = header::read(&file, length).map_err(|error| match error {
            HeaderError::Io(source) => io(source),
            HeaderError::Damaged(reason) => damaged(path, reason),
        })?;
        let mut tensors = BTreeMap::new();
        for (name, info) in metadata.tensors() {
            let (from, to) = info.data_offsets;
            if info.shape.iter().any(|&size| size > MAX_AXIS) {
                return Err(damaged(path, format!("tensor '{name}' claims the shape {:?}", info.shape)));
            }
            let range = data + from as u64..data + to as u64;
            tensors.insert(name, Entry { element: element(info.dtype), shape: info.shape.clone(), range });
        }
        Ok(Self { path: path.to_owned(), file, tensors })
    }

    /// The bytes of a tensor, read so that not the whole file stays in memory.
    pub(super) fn bytes(&self, entry: &Entry) -> Result<Vec<u8>, ImportError> {
        let mut bytes = vec![0; (entry.range.end - entry.range.start) as usize];
        match self.file.read_exact_at(&mut bytes, entry.range.start) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(damaged(&self.path, "it became shorter while it was read"))
            }
            Err(source) => Err(ImportError::Io { path: self.path.clone(), source }),
        }
    }
}

fn damaged(path: &Path, reason: impl ToString) -> ImportError {
    ImportError::Damaged { path: path.to_owned(), reason: reason.to_string() }
}

fn element(dtype: Dtype) -> Element {
    match dtype {
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::Bf16,
        Dtype::F32 => Element::F32,
        Dtype::F64 => Element::F64,
        Dtype::I64 => Element::Other(8, "I64"),
        Dtype::I32 => Element::Other(4, "I32"),
        Dtype::I16 => Element::Other(2, "I16"),
        Dtype::I8 => Element::Other(1, "I8"),
        Dtype::U8 => Element::Other(1, "U8"),
        Dtype::BOOL => Element::Other(1, "BOOL"),
        _ => Element::Other(1, "unsupported"),
    }
}

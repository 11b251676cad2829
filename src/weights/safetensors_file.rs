//! Tensors in safetensors files, one or several with an index.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use safetensors::tensor::Dtype;
use serde::Deserialize;

use super::dtype::{Element, MAX_AXIS};
use super::error::ImportError;
use super::header::{self, HeaderError};

/// Files a sharded model may have.
const MAX_SHARDS: usize = 64;
/// Bytes of an index; those of the largest published models have less than one million.
const MAX_INDEX: u64 = 64 << 20;

/// Where one tensor lies.
pub(super) struct Entry {
    pub(super) element: Element,
    pub(super) shape: Vec<usize>,
    shard: usize,
    range: Range<u64>,
}

/// Open files.
pub(super) struct SafetensorsFile {
    shards: Vec<File>,
    pub(super) files: Vec<PathBuf>,
    pub(super) tensors: BTreeMap<String, Entry>,
}

/// `model.safetensors.index.json` as Hugging Face writes it.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl SafetensorsFile {
    /// Opens one file.
    pub(super) fn open(path: &Path) -> Result<Self, ImportError> {
        let mut file = Self { shards: Vec::new(), files: Vec::new(), tensors: BTreeMap::new() };
        file.add(path)?;
        Ok(file)
    }

    /// Opens the files that an index names, which lie beside it.
    pub(super) fn open_index(path: &Path) -> Result<Self, ImportError> {
        let io = |source| ImportError::Io { path: path.to_owned(), source };
        let mut text = Vec::new();
        File::open(path).map_err(io)?.take(MAX_INDEX + 1).read_to_end(&mut text).map_err(io)?;
        if text.len() as u64 > MAX_INDEX {
            return Err(damaged(path, format!("an index of more than {MAX_INDEX} bytes")));
        }
        let index: Index = serde_json::from_slice(&text).map_err(|error| ImportError::Unrecognised {
            path: path.to_owned(),
            reason: format!("a JSON file that is no index of safetensors files ({error})"),
        })?;
        let shards: BTreeSet<&String> = index.weight_map.values().collect();
        if shards.len() > MAX_SHARDS {
            return Err(damaged(path, format!("it names {} files, more than {MAX_SHARDS}", shards.len())));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut file = Self { shards: Vec::new(), files: Vec::new(), tensors: BTreeMap::new() };
        for shard in shards {
            if Path::new(shard).components().count() != 1 || !shard.ends_with(".safetensors") {
                return Err(damaged(path, format!("it names '{shard}', which is no safetensors file beside it")));
            }
            file.add(&folder.join(shard))?;
        }
        match index.weight_map.keys().find(|name| !file.tensors.contains_key(*name)) {
            Some(name) => Err(damaged(path, format!("tensor '{name}' is in none of its files"))),
            None => Ok(file),
        }
    }

    /// The bytes of a tensor, read so that not the whole file stays in memory.
    pub(super) fn bytes(&self, entry: &Entry) -> Result<Vec<u8>, ImportError> {
        let path = &self.files[entry.shard];
        let mut bytes = vec![0; (entry.range.end - entry.range.start) as usize];
        match self.shards[entry.shard].read_exact_at(&mut bytes, entry.range.start) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(damaged(path, "it became shorter while it was read"))
            }
            Err(source) => Err(ImportError::Io { path: path.clone(), source }),
        }
    }

    fn add(&mut self, path: &Path) -> Result<(), ImportError> {
        let io = |source| ImportError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let (data, metadata) = header::read(&file, length).map_err(|error| match error {
            HeaderError::Io(source) => io(source),
            HeaderError::Damaged(reason) => damaged(path, reason),
        })?;
        for (name, info) in metadata.tensors() {
            let (from, to) = info.data_offsets;
            let range = data + from as u64..data + to as u64;
            if info.shape.iter().any(|&size| size > MAX_AXIS) {
                return Err(damaged(path, format!("tensor '{name}' claims the shape {:?}", info.shape)));
            }
            let entry =
                Entry { element: element(info.dtype), shape: info.shape.clone(), shard: self.shards.len(), range };
            if self.tensors.insert(name.clone(), entry).is_some() {
                return Err(damaged(path, format!("tensor '{name}' is there twice")));
            }
        }
        self.shards.push(file);
        self.files.push(path.to_owned());
        Ok(())
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

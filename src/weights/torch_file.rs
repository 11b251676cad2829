//! Tensors in the zip archives that torch writes: TorchScript modules and what `torch.save` is given.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use zip::{CompressionMethod, ZipArchive};

use super::error::ImportError;
use super::pickle::{self, PickledTensor};
use super::walk;

/// Bytes of the pickle itself; OpenAI's largest has less than one million.
const MAX_PICKLE: u64 = 64 << 20;
/// Bytes of one storage. The largest tensor of a ViT-L/14 has 151 MB, a whole model in one storage 1.7 GB.
const MAX_STORAGE: u64 = 4 << 30;
/// Bytes of one storage that is compressed: torch stores its tensors as they are, and a small file may claim any length.
const MAX_DEFLATED: u64 = 512 << 20;

/// An open archive.
pub(super) struct TorchFile {
    path: PathBuf,
    archive: ZipArchive<BufReader<File>>,
    /// Folder of the archive that everything lies in, with its slash.
    root: String,
    pub(super) script: bool,
    /// Are its numbers the other way round?
    big_endian: bool,
    pub(super) tensors: BTreeMap<String, Rc<PickledTensor>>,
    /// The storage read last: tensors that share one are neighbours.
    last: Option<(String, Vec<u8>)>,
}

impl TorchFile {
    /// Reads the pickle and checks that every storage it names is there.
    pub(super) fn open(path: &Path) -> Result<Self, ImportError> {
        let io = |source| ImportError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let archive = ZipArchive::new(BufReader::new(file)).map_err(|error| damaged(path, error))?;
        let names: Vec<String> =
            archive.file_names_raw().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        let is_root = |root: &str| root.is_empty() || root.find('/') == Some(root.len() - 1);
        let Some(root) = names.iter().filter_map(|name| name.strip_suffix("data.pkl")).find(|root| is_root(root))
        else {
            return Err(ImportError::Unrecognised {
                path: path.to_owned(),
                reason: "a zip archive without data.pkl".to_owned(),
            });
        };
        let root = root.to_owned();
        let script = names.iter().any(|name| name.starts_with(&format!("{root}code/")));
        let (tensors, big_endian) = (BTreeMap::new(), false);
        let mut file = Self { path: path.to_owned(), archive, root, script, big_endian, tensors, last: None };
        if file.has("byteorder") {
            file.big_endian = match &*file.entry("byteorder", 16)? {
                b"little" => false,
                b"big" => true,
                _ => return Err(damaged(path, "its byteorder is neither little nor big")),
            };
        }
        let pickled = pickle::read(&file.entry("data.pkl", MAX_PICKLE)?);
        let pickled = pickled.map_err(|error| ImportError::of_pickle(path, error))?;
        file.tensors = walk::tensors(&pickled).map_err(|reason| damaged(path, reason))?;
        for name in file.tensors.keys().cloned().collect::<Vec<_>>() {
            file.check_storage(&name)?;
        }
        Ok(file)
    }

    /// The bytes of the storage that a tensor lies in.
    pub(super) fn storage(&mut self, tensor: &PickledTensor) -> Result<&[u8], ImportError> {
        let key = format!("data/{}", tensor.storage.key);
        let size = tensor.storage.len as u64 * tensor.storage.element.bytes() as u64;
        let bytes = match self.last.take() {
            Some((last, bytes)) if last == key && bytes.len() as u64 == size => bytes,
            // Freed before the next one is read: two large storages are never held at once.
            _ => {
                let mut bytes = self.entry(&key, size)?;
                if self.big_endian {
                    tensor.storage.element.swap(&mut bytes);
                }
                bytes
            }
        };
        if bytes.len() as u64 != size {
            return Err(damaged(&self.path, format!("entry '{key}' has {} bytes, expected {size}", bytes.len())));
        }
        Ok(&self.last.insert((key, bytes)).1)
    }

    fn has(&self, name: &str) -> bool {
        self.archive.index_for_name(&format!("{}{name}", self.root)).is_some()
    }

    fn check_storage(&mut self, name: &str) -> Result<(), ImportError> {
        let Some(tensor) = self.tensors.get(name) else { return Ok(()) };
        let storage = &tensor.storage;
        let expected = (storage.len as u64).checked_mul(storage.element.bytes() as u64);
        let Some(expected) = expected.filter(|&bytes| bytes <= MAX_STORAGE) else {
            return Err(damaged(&self.path, format!("tensor '{name}' lies in {} elements of storage", storage.len)));
        };
        let entry = format!("{}data/{}", self.root, storage.key);
        let Some(index) = self.archive.index_for_name(&entry) else {
            return Err(damaged(&self.path, format!("entry '{entry}' of tensor '{name}' is missing")));
        };
        let (found, stored) = {
            let entry = self.archive.by_index_raw(index).map_err(|error| damaged(&self.path, error))?;
            (entry.size(), entry.compression() == CompressionMethod::Stored)
        };
        if !stored && expected > MAX_DEFLATED {
            return Err(damaged(
                &self.path,
                format!("entry '{entry}' of tensor '{name}' has {expected} bytes, more than {MAX_DEFLATED} compressed"),
            ));
        }
        if found != expected {
            return Err(damaged(
                &self.path,
                format!("entry '{entry}' of tensor '{name}' has {found} bytes, expected {expected}"),
            ));
        }
        Ok(())
    }

    /// All bytes of an entry, their checksum verified; an error beyond `limit` bytes.
    fn entry(&mut self, name: &str, limit: u64) -> Result<Vec<u8>, ImportError> {
        let name = format!("{}{name}", self.root);
        let path = &self.path;
        let entry = self.archive.by_name(&name).map_err(|error| damaged(path, format!("entry '{name}': {error}")))?;
        let size = entry.size();
        if size > limit {
            return Err(damaged(path, format!("entry '{name}' has {size} bytes, more than {limit}")));
        }
        // Memory grows with what really arrives, not with what the archive claims.
        let mut bytes = Vec::new();
        let mut reader = entry.take(limit + 1);
        reader.read_to_end(&mut bytes).map_err(|error| damaged(path, format!("entry '{name}': {error}")))?;
        if bytes.len() as u64 != size {
            return Err(damaged(path, format!("entry '{name}' has {} bytes, expected {size}", bytes.len())));
        }
        Ok(bytes)
    }
}

fn damaged(path: &Path, reason: impl ToString) -> ImportError {
    ImportError::Damaged { path: path.to_owned(), reason: reason.to_string() }
}

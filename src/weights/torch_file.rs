//! Tensors in the zip archives that torch writes: TorchScript modules and `torch.save` dictionaries.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use zip::{CompressionMethod, ZipArchive};

use super::error::ImportError;
use super::pickle::{self, Node, PickleError, Pickled, PickledTensor, Value};

/// Bytes of the pickle itself; OpenAI's largest has less than one million.
const MAX_PICKLE: u64 = 64 << 20;
/// Bytes of one storage. The largest tensor of a ViT-L/14 has 151 MB, a whole model in one storage 1.7 GB.
const MAX_STORAGE: u64 = 4 << 30;
/// Bytes of one storage that is compressed: torch stores its tensors as they are, and a small file may claim any length.
const MAX_DEFLATED: u64 = 512 << 20;
/// Bytes of a tensor's name; CLIP's longest has 60.
const MAX_NAME: usize = 1024;
/// Dictionaries or modules within each other.
const MAX_DEPTH: usize = 64;
/// Values visited while looking for tensors; shared values count again each time.
const MAX_VISITS: usize = 4_000_000;
/// What training scripts wrap a state dictionary in.
const WRAPPERS: [&str; 3] = ["state_dict.", "model.", "module."];

/// An open archive.
pub(super) struct TorchFile {
    path: PathBuf,
    archive: ZipArchive<BufReader<File>>,
    /// Folder of the archive that everything lies in, with its slash.
    root: String,
    pub(super) script: bool,
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
        let mut file = Self { path: path.to_owned(), archive, root, script, tensors: BTreeMap::new(), last: None };
        if file.has("byteorder") && file.entry("byteorder", 16)? != b"little" {
            return Err(damaged(path, "it was saved on a big-endian machine"));
        }
        let pickled = pickle::read(&file.entry("data.pkl", MAX_PICKLE)?).map_err(|error| match error {
            PickleError::Damaged(reason) => damaged(path, reason),
            PickleError::Refused(global) => ImportError::RefusedGlobal { path: path.to_owned(), global },
        })?;
        let mut walk = Walk { pickled: &pickled, found: BTreeMap::new(), visits: 0 };
        walk.visit(&pickled.root, "", 0).map_err(|reason| damaged(path, reason))?;
        file.tensors = unwrap(walk.found);
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
            _ => self.entry(&key, size)?,
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

/// Collects tensors under the names that `state_dict()` would give them.
struct Walk<'a> {
    pickled: &'a Pickled,
    found: BTreeMap<String, Rc<PickledTensor>>,
    visits: usize,
}

impl Walk<'_> {
    fn visit(&mut self, value: &Value, name: &str, depth: usize) -> Result<(), String> {
        self.visits += 1;
        if self.visits > MAX_VISITS || depth > MAX_DEPTH {
            return Err("its dictionaries nest too deep".to_owned());
        }
        if let Value::Tensor(tensor) = value {
            return match self.found.insert(name.to_owned(), Rc::clone(tensor)) {
                Some(_) => Err(format!("tensor '{name}' is there twice")),
                None => Ok(()),
            };
        }
        let pickled = self.pickled;
        match pickled.node(value) {
            Some(Node::Dict(items)) => {
                for (key, value) in items {
                    let key = match key {
                        Value::Str(key) => Cow::Borrowed(&**key),
                        Value::Int(key) => Cow::Owned(key.to_string()),
                        _ => return Err(format!("a key below '{name}' is no text")),
                    };
                    self.visit(value, &join(name, &key)?, depth + 1)?;
                }
            }
            Some(Node::Object(Some(state))) => self.visit(state, name, depth + 1)?,
            Some(Node::Tuple(items) | Node::List(items)) => {
                for (index, value) in items.iter().enumerate() {
                    self.visit(value, &join(name, &index.to_string())?, depth + 1)?;
                }
            }
            Some(Node::Object(None)) | None => {}
        }
        Ok(())
    }
}

fn join(name: &str, key: &str) -> Result<String, String> {
    if name.len() + key.len() >= MAX_NAME {
        return Err(format!("a name below '{name}' has more than {MAX_NAME} bytes"));
    }
    Ok(if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") })
}

/// Takes off what is common to all names because a script wrapped the dictionary.
fn unwrap(mut tensors: BTreeMap<String, Rc<PickledTensor>>) -> BTreeMap<String, Rc<PickledTensor>> {
    for wrapper in WRAPPERS {
        if !tensors.is_empty() && tensors.keys().all(|name| name.starts_with(wrapper)) {
            tensors = tensors.into_iter().map(|(name, tensor)| (name[wrapper.len()..].to_owned(), tensor)).collect();
        }
    }
    tensors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_an_end() {
        assert_eq!(join("a", "b").as_deref(), Ok("a.b"));
        assert_eq!(join("", &"x".repeat(MAX_NAME - 1)).map(|name| name.len()), Ok(MAX_NAME - 1));
        assert_eq!(join("a", &"x".repeat(MAX_NAME)), Err("a name below 'a' has more than 1024 bytes".to_owned()));
    }
}

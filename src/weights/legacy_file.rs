//! Tensors in files of the old `torch.save` format: pickles one after the other, then the storages, all little-endian.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::error::ImportError;
use super::pickle::{self, Node, Pickled, PickledTensor, Value};
use super::walk;

/// Bytes that all pickles of a file may take together.
const MAX_PICKLES: u64 = 64 << 20;
/// The first pickle without its protocol: torch's magic number.
const MAGIC: [u8; 13] = [0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];
/// The same under protocol 1.
const MAGIC_TEXT: &[u8] = b"L119547037146038801333356L\n.";
/// Bytes in front of it at most: the protocol, and a frame.
const MAX_FRONT: usize = 11;
/// The only version of the format.
const VERSION: i64 = 1001;

/// An open file.
pub(super) struct LegacyFile {
    path: PathBuf,
    file: File,
    /// Where the numbers of each storage begin.
    offsets: BTreeMap<String, u64>,
    pub(super) tensors: BTreeMap<String, Rc<PickledTensor>>,
    /// The storage read last: tensors that share one are neighbours.
    last: Option<(String, Vec<u8>)>,
}

/// The pickles in front of the numbers.
struct Pickles<'a> {
    path: &'a Path,
    rest: &'a [u8],
}

impl Pickles<'_> {
    fn next(&mut self) -> Result<Pickled, ImportError> {
        let (pickled, length) =
            pickle::read_first(self.rest).map_err(|error| ImportError::of_pickle(self.path, error))?;
        self.rest = &self.rest[length..];
        Ok(pickled)
    }
}

impl LegacyFile {
    /// Is this the beginning of such a file?
    pub(super) fn is(head: &[u8]) -> bool {
        let framed = || head.windows(MAGIC.len()).take(MAX_FRONT + 1).any(|window| window == MAGIC);
        head.starts_with(MAGIC_TEXT) || head.first() == Some(&0x80) && framed()
    }

    /// Reads the pickles and checks that every storage is there.
    pub(super) fn open(path: &Path) -> Result<Self, ImportError> {
        let io = |source| ImportError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut bytes = Vec::new();
        (&file).take(MAX_PICKLES).read_to_end(&mut bytes).map_err(io)?;
        let mut pickles = Pickles { path, rest: &bytes };
        pickles.next()?;
        if !matches!(pickles.next()?.root, Value::Int(VERSION)) {
            return Err(damaged(path, "its version is none that torch wrote"));
        }
        // Sizes of C types on the machine that wrote it.
        pickles.next()?;
        let pickled = pickles.next()?;
        let keys = keys(&pickles.next()?).ok_or_else(|| damaged(path, "its storages have no names"))?;
        let data = (bytes.len() - pickles.rest.len()) as u64;
        let offsets = offsets(&file, length, data, &pickled, &keys).map_err(|reason| damaged(path, reason))?;
        let tensors = walk::tensors(&pickled).map_err(|reason| damaged(path, reason))?;
        if let Some((name, tensor)) = tensors.iter().find(|(_, tensor)| !offsets.contains_key(&tensor.storage.key)) {
            return Err(damaged(path, format!("storage '{}' of tensor '{name}' is missing", tensor.storage.key)));
        }
        Ok(Self { path: path.to_owned(), file, offsets, tensors, last: None })
    }

    /// The bytes of the storage that a tensor lies in.
    pub(super) fn storage(&mut self, tensor: &PickledTensor) -> Result<&[u8], ImportError> {
        let key = tensor.storage.key.clone();
        let bytes = match self.last.take() {
            Some((last, bytes)) if last == key => bytes,
            _ => {
                let Some(&offset) = self.offsets.get(&key) else {
                    return Err(damaged(&self.path, format!("storage '{key}' is missing")));
                };
                // No longer than the file: that was checked, and every mention of a storage says the same length.
                let mut bytes = vec![0; tensor.storage.bytes().unwrap_or_default()];
                self.file.read_exact_at(&mut bytes, offset).map_err(|_| damaged(&self.path, "it became shorter"))?;
                bytes
            }
        };
        Ok(&self.last.insert((key, bytes)).1)
    }
}

/// The names of the storages, in the order of the file.
fn keys(pickled: &Pickled) -> Option<Vec<String>> {
    let Some(Node::List(keys)) = pickled.node(&pickled.root) else { return None };
    let text = |key: &Value| match key {
        Value::Str(key) => Some(key.to_string()),
        Value::Int(key) => Some(key.to_string()),
        _ => None,
    };
    keys.iter().map(text).collect()
}

/// Where the numbers of each storage begin: behind their count.
fn offsets(
    file: &File,
    length: u64,
    data: u64,
    pickled: &Pickled,
    keys: &[String],
) -> Result<BTreeMap<String, u64>, String> {
    let mut offsets = BTreeMap::new();
    let mut at = data;
    for key in keys {
        let Some(storage) = pickled.storage(key) else {
            return Err(format!("it holds storage '{key}', of a type that is not known here"));
        };
        let mut count = [0; 8];
        file.read_exact_at(&mut count, at).map_err(|error| format!("the length of storage '{key}': {error}"))?;
        let count = u64::from_le_bytes(count);
        if count != storage.len as u64 {
            return Err(format!("storage '{key}' has {count} elements, expected {}", storage.len));
        }
        let end = count.checked_mul(storage.element.bytes() as u64).and_then(|size| size.checked_add(at + 8));
        match end {
            Some(end) if end <= length => {
                offsets.insert(key.clone(), at + 8);
                at = end;
            }
            _ => return Err(format!("storage '{key}' of {count} elements ends beyond the file")),
        }
    }
    Ok(offsets)
}

fn damaged(path: &Path, reason: impl ToString) -> ImportError {
    ImportError::Damaged { path: path.to_owned(), reason: reason.to_string() }
}

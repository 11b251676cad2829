//! The index of a model in several files, as Hugging Face writes it: which tensor is in which of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::ImportError;

/// Files a model in several may have.
const MAX_SHARDS: usize = 64;
/// Bytes of an index; those of the largest published models have less than one million.
const MAX_INDEX: u64 = 64 << 20;

/// `model.safetensors.index.json` or `pytorch_model.bin.index.json`.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Is this file JSON?
pub(super) fn is(path: &Path) -> Result<bool, ImportError> {
    let mut head = Vec::with_capacity(16);
    let read = File::open(path).and_then(|file| file.take(16).read_to_end(&mut head));
    read.map_err(|source| ImportError::Io { path: path.to_owned(), source })?;
    // A header of safetensors may have 0x20 bytes or more, but never begins with `{` in its first eight.
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head);
    Ok(head.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') && head.get(7) != Some(&0))
}

/// The files that an index names, which lie beside it.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let io = |source| ImportError::Io { path: path.to_owned(), source };
    let damaged = |reason: String| ImportError::Damaged { path: path.to_owned(), reason };
    let mut text = Vec::new();
    File::open(path).map_err(io)?.take(MAX_INDEX + 1).read_to_end(&mut text).map_err(io)?;
    if text.len() as u64 > MAX_INDEX {
        return Err(damaged(format!("an index of more than {MAX_INDEX} bytes")));
    }
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    let index: Index = serde_json::from_slice(text).map_err(|error| ImportError::Unrecognised {
        path: path.to_owned(),
        reason: format!("a JSON file that is no index of weight files ({error})"),
    })?;
    let shards: BTreeSet<&String> = index.weight_map.values().collect();
    if shards.is_empty() {
        return Err(damaged("an index of no tensors".to_owned()));
    }
    if shards.len() > MAX_SHARDS {
        return Err(damaged(format!("it names {} files, more than {MAX_SHARDS}", shards.len())));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let beside = |shard: &String| {
        let one = Path::new(shard).components().count() == 1 && Path::new(shard).file_name().is_some();
        match one && !shard.ends_with(".json") {
            true => Ok(folder.join(shard)),
            false => Err(damaged(format!("it names '{shard}', which is no weight file beside it"))),
        }
    };
    shards.into_iter().map(beside).collect()
}

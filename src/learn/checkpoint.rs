//! A training run on disk, so that it goes on after any end: one file, always whole, and only for the run it is of.
//!
//! `checkpoint.safetensors` holds every tensor, and in its metadata the run's identity (what must be the same to go
//! on: data, settings, seed), its state (step, position) and the SHA-256 of the numbers. It is written beside its
//! place, synced and renamed, so a process killed at any moment leaves the last whole one.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

pub use super::error::CheckpointError;

use super::LearnError;
use super::parameters::Named;

/// Name of the checkpoint in its folder.
pub const FILE: &str = "checkpoint.safetensors";
/// The next checkpoint while it is being written.
const PARTIAL: &str = "checkpoint.partial";
/// Held open by the process that writes here.
const LOCK: &str = "checkpoint.lock";
/// Differences that an error lists; more would hide the first.
const MOST_DIFFERENCES: usize = 5;

/// Where a run is kept.
#[derive(Clone, Debug)]
pub struct CheckpointRequest {
    /// The folder.
    pub folder: PathBuf,
    /// Steps between two checkpoints; one more is written after every epoch.
    pub every: u64,
    /// May a run that is there go on?
    pub resume: bool,
    /// When this is cancelled, the run is kept after the step it is at, and ends with [`LearnError::Stopped`].
    pub stop: CancellationToken,
}

impl CheckpointRequest {
    /// Errors when the run is to end, which it may: it has just been kept.
    pub(super) fn go_on(&self) -> Result<(), LearnError> {
        match self.stop.is_cancelled() {
            true => Err(LearnError::Stopped { folder: self.folder.clone() }),
            false => Ok(()),
        }
    }
}

/// Keeps other processes out of a checkpoint folder as long as it lives, however this process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Makes the folder if need be, and takes it for this process alone.
pub fn lock(dir: &Path) -> Result<Lock, CheckpointError> {
    fs::create_dir_all(dir).map_err(|source| io_error("make the folder of", dir, source))?;
    let path = dir.join(LOCK);
    let open = File::options().create(true).truncate(false).write(true).open(&path);
    let file = open.map_err(|source| io_error("lock", &path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { _file: file }),
        Err(TryLockError::WouldBlock) => Err(CheckpointError::InUse { path: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io_error("lock", &path, source)),
    }
}

/// Writes the checkpoint of `dir`, in place of the one before. `identity` and `state` are kept as JSON text: a float in
/// them comes back as its shortest decimal form is read, so what must come back to the bit belongs into `tensors`.
///
/// Returns when the checkpoint is on disk. On an error the one before is untouched.
pub fn save(dir: &Path, identity: &Value, state: &Value, tensors: &[Named]) -> Result<(), CheckpointError> {
    fs::create_dir_all(dir).map_err(|source| io_error("make the folder of", dir, source))?;
    let (path, partial) = (dir.join(FILE), dir.join(PARTIAL));
    let format = |source| CheckpointError::Format { path: path.clone(), source };
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|(_, _, values)| little_endian(values)).collect();
    let views: Vec<(&str, TensorView<'_>)> = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<_, _>>()
        .map_err(format)?;
    let metadata = HashMap::from([
        ("identity".to_owned(), identity.to_string()),
        ("state".to_owned(), state.to_string()),
        ("sha256".to_owned(), digest(views.iter().map(|(name, view)| (*name, view.data())))),
    ]);
    let file = serialize(views, Some(metadata)).map_err(format)?;
    let write = || {
        let mut out = File::create(&partial)?;
        out.write_all(&file)?;
        out.sync_all()?;
        fs::rename(&partial, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|source| io_error("write", &path, source))
}

/// The state and the tensors of the checkpoint in `dir`, ordered by name; `None` when there is none.
///
/// Errors when its identity is not `identity`, naming what differs, and when the file is not what was written.
pub fn load(dir: &Path, identity: &Value) -> Result<Option<(Value, Vec<Named>)>, CheckpointError> {
    let path = dir.join(FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io_error("read", &path, source)),
    };
    let damaged = |reason: String| CheckpointError::Damaged { path: path.clone(), reason };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| damaged(error.to_string()))?;
    let metadata = header.metadata().as_ref();
    let text = |key: &str| {
        metadata.and_then(|map| map.get(key)).ok_or_else(|| damaged(format!("its metadata has no '{key}'")))
    };
    let json =
        |key: &str| serde_json::from_str::<Value>(text(key)?).map_err(|error| damaged(format!("its '{key}': {error}")));
    let mut different = Vec::new();
    // Both through text, so that a float is compared with itself.
    let wanted = serde_json::from_str(&identity.to_string()).unwrap_or(Value::Null);
    differences("", &json("identity")?, &wanted, &mut different);
    if !different.is_empty() {
        let more = different.len().saturating_sub(MOST_DIFFERENCES);
        different.truncate(MOST_DIFFERENCES);
        let mut differences = different.join(", ");
        if more > 0 {
            differences += &format!(" and {more} more");
        }
        return Err(CheckpointError::OtherRun { path, differences });
    }
    let state = json("state")?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| damaged(error.to_string()))?;
    let mut tensors = file.tensors();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    if digest(tensors.iter().map(|(name, view)| (name.as_str(), view.data()))) != *text("sha256")? {
        return Err(damaged("its numbers are not those that were written".to_owned()));
    }
    let values = |(name, view): (String, TensorView<'_>)| {
        if view.dtype() != Dtype::F32 {
            return Err(damaged(format!("tensor '{name}' holds {:?}", view.dtype())));
        }
        let number = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes);
        let values = view.data().as_chunks::<4>().0.iter().map(number).collect();
        Ok((name, view.shape().to_vec(), values))
    };
    Ok(Some((state, tensors.into_iter().map(values).collect::<Result<_, _>>()?)))
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> CheckpointError {
    CheckpointError::Io { action, path: path.to_owned(), source }
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// SHA-256 over names and numbers, in the order of the names.
fn digest<'a>(tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut tensors: Vec<_> = tensors.collect();
    tensors.sort_by(|a, b| a.0.cmp(b.0));
    let mut hasher = Sha256::new();
    for (name, bytes) in tensors {
        hasher.update((name.len() as u64).to_le_bytes());
        hasher.update(name);
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    hex::encode(hasher.finalize())
}

/// Appends `key: was A, is B` for everything that differs below `key`.
fn differences(key: &str, was: &Value, is: &Value, found: &mut Vec<String>) {
    match (was, is) {
        (Value::Object(was), Value::Object(is)) => {
            let mut keys: Vec<&String> = was.keys().chain(is.keys()).collect();
            keys.sort();
            keys.dedup();
            for name in keys {
                let below = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                let value = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or(Value::Null);
                differences(&below, &value(was), &value(is), found);
            }
        }
        _ if was == is => {}
        _ => found.push(format!("{key} was {was}, is {is}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn some() -> Vec<Named> {
        vec![
            ("b".to_owned(), vec![2, 2], vec![1.0, -0.0, f32::MIN_POSITIVE / 2.0, 3.4e38]),
            ("a".to_owned(), vec![], vec![0.1]),
            ("none".to_owned(), vec![0], vec![]),
        ]
    }

    #[test]
    fn what_was_saved_comes_back_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("new/folder");
        assert!(load(&dir, &json!({})).unwrap().is_none());
        let identity = json!({"rate": 4e-5, "data": {"sha256": "00", "items": 3}});
        save(&dir, &identity, &json!({"step": 1}), &[]).unwrap();
        save(&dir, &identity, &json!({"step": 2}), &some()).unwrap();
        let (state, tensors) = load(&dir, &identity).unwrap().unwrap();
        assert_eq!(state, json!({"step": 2}));
        let mut expected = some();
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        let bits = |tensors: &[Named]| -> Vec<(String, Vec<usize>, Vec<u32>)> {
            let bits = |values: &Vec<f32>| values.iter().map(|value| value.to_bits()).collect();
            tensors.iter().map(|(name, shape, values)| (name.clone(), shape.clone(), bits(values))).collect()
        };
        assert_eq!(bits(&tensors), bits(&expected));
        // A half-written successor of a killed process is no checkpoint.
        fs::write(dir.join(PARTIAL), b"half").unwrap();
        assert_eq!(load(&dir, &identity).unwrap().unwrap().0, json!({"step": 2}));
    }

    #[test]
    fn another_run_is_named_by_what_differs() {
        let folder = tempfile::tempdir().unwrap();
        save(folder.path(), &json!({"batch": 32, "data": {"items": 3}}), &json!(null), &[]).unwrap();
        let error = load(folder.path(), &json!({"batch": 16, "data": {"items": 3}, "seed": 1})).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("of another run: batch was 32, is 16, seed was null, is 1; go on with"), "{text}");
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        save(folder.path(), &json!({}), &json!({}), &some()).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, &bytes).unwrap();
        let text = load(folder.path(), &json!({})).unwrap_err().to_string();
        assert!(text.ends_with("its numbers are not those that were written; remove it and start again"), "{text}");
        fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        assert!(matches!(load(folder.path(), &json!({})), Err(CheckpointError::Damaged { .. })));
        fs::write(&path, b"").unwrap();
        assert!(matches!(load(folder.path(), &json!({})), Err(CheckpointError::Damaged { .. })));
    }

    #[test]
    fn a_folder_has_one_writer() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path()).unwrap();
        assert!(matches!(lock(folder.path()), Err(CheckpointError::InUse { .. })));
        drop(held);
        lock(folder.path()).unwrap();
    }
}

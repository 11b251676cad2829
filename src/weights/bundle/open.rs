//! Opening a bundle: it is verified first, and its tensors are read from the file when they are asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use half::f16;

use super::error::BundleError;
use super::manifest::{FORMAT, FileIdentity, MANIFEST_FILE, Manifest, WEIGHTS_FILE};
use super::weights::{Dtype, Stored, Weights, WeightsError};
use crate::weights::layout;

/// Bytes a manifest may have; real ones have two thousand.
const MAX_MANIFEST: u64 = 1 << 20;

/// A tensor of an open bundle.
#[derive(Clone, Debug)]
pub struct TensorRef<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its shape, C order.
    pub shape: Vec<usize>,
    /// Its element type.
    pub dtype: Dtype,
    /// Bytes that its elements take, little-endian; [`Bundle::bytes`] reads them.
    pub length: usize,
    /// Where they begin in the weights file.
    pub offset_in_file: u64,
}

/// An open bundle, verified.
#[derive(Debug)]
pub struct Bundle {
    path: PathBuf,
    manifest: Manifest,
    weights: Weights,
}

impl Bundle {
    /// Opens and verifies a bundle: format, hash, and that exactly the expected tensors are there.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        let damaged = |reason: String| BundleError::Damaged { path: path.to_owned(), reason };
        let manifest = read_manifest(path)?;
        // Before anything is read or made by sizes that only the manifest claims.
        manifest.check().map_err(&damaged)?;
        let weights_path = path.join(WEIGHTS_FILE);
        if manifest.weights.file != WEIGHTS_FILE {
            return Err(damaged(format!("{MANIFEST_FILE} names the weights '{}'", manifest.weights.file)));
        }
        let FileIdentity { bytes, sha256, .. } = &manifest.weights;
        let weights =
            Weights::open(&weights_path, *bytes, sha256).map_err(|error| because(path, &weights_path, error))?;
        check_tensors(&manifest, &weights.tensors).map_err(&damaged)?;
        let bundle = Self { path: path.to_owned(), manifest, weights };
        for name in layout::TEMPERATURES {
            let (_, values) = bundle.f32(name)?;
            check_temperature(name, &values).map_err(&damaged)?;
        }
        Ok(bundle)
    }

    /// The same bundle after its folder was renamed.
    pub(super) fn moved_to(self, path: PathBuf) -> Self {
        Self { path, ..self }
    }

    /// What the bundle is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The weights file within the folder.
    pub fn weights_path(&self) -> PathBuf {
        self.path.join(WEIGHTS_FILE)
    }

    /// SHA-256 of the weights file, lower-case hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.manifest.weights.sha256
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.weights.tensors.keys().map(String::as_str)
    }

    fn stored(&self, name: &str) -> Result<(&str, &Stored), BundleError> {
        let found = self.weights.tensors.get_key_value(name).map(|(name, stored)| (name.as_str(), stored));
        found.ok_or_else(|| BundleError::NoTensor { name: name.to_owned() })
    }

    /// How a tensor is stored, and where.
    pub fn tensor(&self, name: &str) -> Result<TensorRef<'_>, BundleError> {
        let (name, Stored { shape, dtype, range, .. }) = self.stored(name)?;
        let length = (range.end - range.start) as usize;
        Ok(TensorRef { name, shape: shape.clone(), dtype: *dtype, length, offset_in_file: range.start })
    }

    /// The elements of a tensor as they are stored, C order, little-endian.
    ///
    /// [`BundleError::Damaged`] when they are not those that were verified: the file was changed in its place.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, BundleError> {
        let (_, stored) = self.stored(name)?;
        self.weights.read(stored).map_err(|error| because(&self.path, &self.weights_path(), error))
    }

    /// Writes the whole weights file to `to`, as it was verified. An error of `to` is [`BundleError::Io`].
    pub fn copy_weights(&self, to: &mut dyn Write) -> Result<(), BundleError> {
        self.weights.copy(to).map_err(|error| because(&self.path, &self.weights_path(), error))
    }

    /// The error for a bundle whose parts do not fit each other.
    pub fn damaged(&self, reason: impl Into<String>) -> BundleError {
        BundleError::Damaged { path: self.path.clone(), reason: reason.into() }
    }

    /// Shape and values of a tensor, C order.
    pub fn f32(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), BundleError> {
        let (_, stored) = self.stored(name)?;
        let bytes = self.bytes(name)?;
        let (halves, _) = bytes.as_chunks::<2>();
        let (words, _) = bytes.as_chunks::<4>();
        let values = match stored.dtype {
            Dtype::F16 => halves.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect(),
            Dtype::F32 => words.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
        };
        Ok((stored.shape.clone(), values))
    }
}

fn because(bundle: &Path, weights: &Path, error: WeightsError) -> BundleError {
    match error {
        WeightsError::Damaged(reason) => BundleError::Damaged { path: bundle.to_owned(), reason },
        WeightsError::Io(source) => BundleError::Io { action: "read", path: weights.to_owned(), source },
    }
}

fn read_manifest(path: &Path) -> Result<Manifest, BundleError> {
    let file = path.join(MANIFEST_FILE);
    let damaged = |reason: String| BundleError::Damaged { path: path.to_owned(), reason };
    let length = match std::fs::metadata(&file) {
        Ok(metadata) => metadata.len(),
        Err(source) if matches!(source.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            let reason =
                if path.exists() { format!("it has no {MANIFEST_FILE}") } else { "nothing is there".to_owned() };
            return Err(BundleError::Absent { path: path.to_owned(), reason });
        }
        Err(source) => return Err(BundleError::Io { action: "read", path: file, source }),
    };
    if length > MAX_MANIFEST {
        return Err(damaged(format!("{MANIFEST_FILE} has {length} bytes")));
    }
    let text = std::fs::read(&file).map_err(|source| BundleError::Io { action: "read", path: file.clone(), source })?;
    // The format is looked at first: a newer manifest may have fields that this program does not know.
    let json: serde_json::Value =
        serde_json::from_slice(&text).map_err(|error| damaged(format!("{MANIFEST_FILE}: {error}")))?;
    match json.get("format").and_then(serde_json::Value::as_u64) {
        Some(found) if found == u64::from(FORMAT) => {}
        Some(found) => return Err(BundleError::Format { path: path.to_owned(), found }),
        None => return Err(damaged(format!("{MANIFEST_FILE} says no format"))),
    }
    serde_json::from_value(json).map_err(|error| damaged(format!("{MANIFEST_FILE}: {error}")))
}

/// A temperature is stored as its logarithm; what it stands for must be a number.
pub(crate) fn check_temperature(name: &str, values: &[f32]) -> Result<(), String> {
    match values {
        [value] if value.exp().is_finite() => Ok(()),
        [value] => Err(format!("tensor '{name}' holds {value}, whose exponential is no finite number")),
        _ => Err(format!("tensor '{name}' has {} values, expected one", values.len())),
    }
}

fn check_tensors(manifest: &Manifest, tensors: &BTreeMap<String, Stored>) -> Result<(), String> {
    let expected = layout::expected(&manifest.architecture, manifest.token_ids.len());
    for (name, shape) in &expected {
        match tensors.get(name) {
            Some(stored) if stored.shape == *shape => {}
            Some(stored) => return Err(format!("tensor '{name}' has shape {:?}, expected {shape:?}", stored.shape)),
            None => return Err(format!("tensor '{name}' is missing")),
        }
    }
    if tensors.len() != expected.len() {
        let known: BTreeSet<&String> = expected.iter().map(|(name, _)| name).collect();
        let surplus = tensors.keys().find(|name| !known.contains(name));
        return Err(format!("tensor '{}' is not part of the model", surplus.map_or("", String::as_str)));
    }
    Ok(())
}

//! Opening a bundle: it is verified first, and its tensors are read where they lie in the file.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::f16;
use sha2::{Digest, Sha256};

use super::error::BundleError;
use super::manifest::{FORMAT, MANIFEST_FILE, Manifest, WEIGHTS_FILE};
use crate::weights::dtype::elements;
use crate::weights::layout;
use crate::weights::mapped::Mapped;

/// Bytes a manifest may have; real ones have two thousand.
const MAX_MANIFEST: u64 = 1 << 20;

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

/// A tensor of an open bundle.
#[derive(Clone, Debug)]
pub struct TensorRef<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its shape, C order.
    pub shape: Vec<usize>,
    /// Its element type.
    pub dtype: Dtype,
    /// Its elements, little-endian.
    pub bytes: &'a [u8],
    /// Where `bytes` begins in the weights file.
    pub offset_in_file: u64,
}

/// An open bundle, verified.
#[derive(Debug)]
pub struct Bundle {
    path: PathBuf,
    manifest: Manifest,
    weights: Mapped,
    tensors: BTreeMap<String, Stored>,
}

#[derive(Debug)]
struct Stored {
    shape: Vec<usize>,
    dtype: Dtype,
    range: Range<usize>,
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
        let weights = Mapped::open(&weights_path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => damaged(format!("{WEIGHTS_FILE} is missing")),
            _ => BundleError::Io { action: "read", path: weights_path.clone(), source },
        })?;
        if weights.len() as u64 != manifest.weights.bytes {
            return Err(damaged(format!(
                "{WEIGHTS_FILE} has {} bytes, expected {}",
                weights.len(),
                manifest.weights.bytes
            )));
        }
        if hex::encode(Sha256::digest(&*weights)) != manifest.weights.sha256 {
            return Err(damaged(format!("{WEIGHTS_FILE} has another SHA-256 than {MANIFEST_FILE} says")));
        }
        let tensors = index(&weights).map_err(&damaged)?;
        check_tensors(&manifest, &tensors).map_err(&damaged)?;
        let bundle = Self { path: path.to_owned(), manifest, weights, tensors };
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
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor as it is stored.
    pub fn tensor(&self, name: &str) -> Result<TensorRef<'_>, BundleError> {
        let Some((name, stored)) = self.tensors.get_key_value(name) else {
            return Err(BundleError::NoTensor { name: name.to_owned() });
        };
        Ok(TensorRef {
            name,
            shape: stored.shape.clone(),
            dtype: stored.dtype,
            bytes: &self.weights[stored.range.clone()],
            offset_in_file: stored.range.start as u64,
        })
    }

    /// The error for a bundle whose parts do not fit each other.
    pub fn damaged(&self, reason: impl Into<String>) -> BundleError {
        BundleError::Damaged { path: self.path.clone(), reason: reason.into() }
    }

    /// Shape and values of a tensor, C order.
    pub fn f32(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), BundleError> {
        let tensor = self.tensor(name)?;
        let (halves, _) = tensor.bytes.as_chunks::<2>();
        let (words, _) = tensor.bytes.as_chunks::<4>();
        let values = match tensor.dtype {
            Dtype::F16 => halves.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect(),
            Dtype::F32 => words.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
        };
        Ok((tensor.shape, values))
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

/// The tensors of a safetensors file.
fn index(weights: &[u8]) -> Result<BTreeMap<String, Stored>, String> {
    let (header, metadata) =
        safetensors::SafeTensors::read_metadata(weights).map_err(|error| format!("{WEIGHTS_FILE}: {error}"))?;
    let data = header + 8;
    let mut tensors = BTreeMap::new();
    for (name, info) in metadata.tensors() {
        let dtype = match info.dtype {
            safetensors::Dtype::F16 => Dtype::F16,
            safetensors::Dtype::F32 => Dtype::F32,
            other => return Err(format!("tensor '{name}' holds {other:?}")),
        };
        let (from, to) = info.data_offsets;
        let range = data + from..data + to;
        let length = elements(&info.shape).and_then(|count| count.checked_mul(dtype.bytes()));
        if weights.get(range.clone()).map(<[u8]>::len) != length {
            return Err(format!("tensor '{name}' has {} bytes for shape {:?}", to - from, info.shape));
        }
        tensors.insert(name, Stored { shape: info.shape.clone(), dtype, range });
    }
    Ok(tensors)
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

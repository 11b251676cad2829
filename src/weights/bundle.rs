//! A model bundle: a folder with `manifest.json` and `weights.safetensors`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::f16;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::layout;
use super::mapped::Mapped;
use crate::vcp_clip::prompt::{CLASS_TOKEN, END_TOKEN, START_TOKEN};
use crate::vcp_clip::{Architecture, Constants, LARGEST_SIGMA};

pub use super::bundle_write::{Draft, Values, write};

/// Version of the bundle's layout.
pub const FORMAT: u32 = 1;
/// Name of the manifest in a bundle.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Name of the weights in a bundle.
pub const WEIGHTS_FILE: &str = "weights.safetensors";
/// Bytes a manifest may have; real ones have two thousand.
const MAX_MANIFEST: u64 = 1 << 20;

/// A bundle that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// No bundle there.
    #[error("no model bundle at {}: {reason}; make one with `vcp-line model import`", path.display())]
    Absent {
        /// Where it should be.
        path: PathBuf,
        /// What is not there.
        reason: String,
    },
    /// Changed since it was written.
    #[error("model bundle damaged: {}: {reason}; import it again with `vcp-line model import`", path.display())]
    Damaged {
        /// The bundle.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// Written by another version of this program.
    #[error("model bundle {} has format {found}, this program reads format {FORMAT}; import it again", path.display())]
    Format {
        /// The bundle.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// Something is already where the bundle should go.
    #[error("{} exists already; choose another folder for the bundle, or replace a bundle with --force", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// What should be replaced is no bundle.
    #[error("{} is no model bundle, so it is not replaced; choose another folder for the bundle", path.display())]
    NoBundle {
        /// What is there.
        path: PathBuf,
    },
    /// No space left.
    #[error(
        "disk full while writing model bundle {} (up to {needed} bytes needed); free some space; nothing was left behind",
        path.display()
    )]
    DiskFull {
        /// The bundle.
        path: PathBuf,
        /// Bytes of the weights if none of them fits into 16-bit floats.
        needed: u64,
    },
    /// Another error of the operating system.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The bundle has no tensor of that name.
    #[error("model bundle has no tensor '{name}'")]
    NoTensor {
        /// The name asked for.
        name: String,
    },
    /// The writer was given other numbers than it announced.
    #[error("tensor '{name}' has {found} values, expected {expected}")]
    Length {
        /// The tensor.
        name: String,
        /// Values its shape asks for.
        expected: usize,
        /// Values given.
        found: usize,
    },
}

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

/// What a bundle is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// What people call this model.
    pub name: String,
    /// Sizes.
    pub architecture: Architecture,
    /// Numbers of the method that are no tensor.
    pub constants: Constants,
    /// What normal and abnormal parts are called.
    pub prompts: Prompts,
    /// Ascending ids of the token rows kept, in the order of `token_embedding.rows`.
    pub token_ids: Vec<u32>,
    /// The weights beside the manifest.
    pub weights: FileIdentity,
    /// Files the bundle was made of.
    pub sources: Vec<SourceFile>,
    /// Whose licence the weights have.
    pub licence_note: String,
}

/// The two prompts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompts {
    /// Of a good part.
    pub normal: Prompt,
    /// Of a defective part.
    pub abnormal: Prompt,
}

/// One prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// As written, `<|class|>` for the class vectors.
    pub template: String,
    /// From start to end of text, without padding.
    pub tokens: Vec<u32>,
}

/// A file beside the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileIdentity {
    /// Name within the bundle.
    pub file: String,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
    /// Length.
    pub bytes: u64,
}

/// A file that a bundle was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// `clip` or `vcp`.
    pub role: String,
    /// Name without folder.
    pub file: String,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
    /// Length.
    pub bytes: u64,
    /// Container and names in words.
    pub kind: String,
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
        check_manifest(&manifest).map_err(&damaged)?;
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
        if hex(&Sha256::digest(&*weights)) != manifest.weights.sha256 {
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
        let length = super::dtype::elements(&info.shape).and_then(|count| count.checked_mul(dtype.bytes()));
        if weights.get(range.clone()).map(<[u8]>::len) != length {
            return Err(format!("tensor '{name}' has {} bytes for shape {:?}", to - from, info.shape));
        }
        tensors.insert(name, Stored { shape: info.shape.clone(), dtype, range });
    }
    Ok(tensors)
}

/// The manifest against itself, so that readers may rely on it.
fn check_manifest(manifest: &Manifest) -> Result<(), String> {
    super::detect::check_sizes(&manifest.architecture)?;
    check_constants(&manifest.constants)?;
    check_prompts(&manifest.prompts, &manifest.architecture)?;
    let prompts = [&manifest.prompts.normal, &manifest.prompts.abnormal];
    let needed = kept_tokens(prompts.iter().map(|prompt| prompt.tokens.as_slice()));
    if needed != manifest.token_ids {
        return Err(format!("{MANIFEST_FILE}: token_ids are not those of the prompts"));
    }
    Ok(())
}

fn check_constants(constants: &Constants) -> Result<(), String> {
    let Constants { raw_weight, top_k, sigma, mean, std } = constants;
    let checks = [
        ((0.0..=1.0).contains(raw_weight), "raw_weight is not from 0 to 1"),
        (*top_k >= 1, "top_k is not at least 1"),
        ((0.0..=LARGEST_SIGMA).contains(sigma), "sigma is not from 0 to 1000"),
        (mean.iter().all(|mean| mean.is_finite()), "mean is not finite"),
        (std.iter().all(|std| std.is_finite() && *std > 0.0), "std is not above 0 and finite"),
    ];
    match checks.into_iter().find(|(fine, _)| !fine) {
        Some((_, reason)) => Err(format!("{MANIFEST_FILE}: {reason}")),
        None => Ok(()),
    }
}

/// Prompts as the text tower takes them: start, one class token, end, and no longer than its positions.
pub(super) fn check_prompts(prompts: &Prompts, sizes: &Architecture) -> Result<(), String> {
    for prompt in [&prompts.normal, &prompts.abnormal] {
        let Prompt { template, tokens } = prompt;
        let classes = tokens.iter().filter(|&&id| id == CLASS_TOKEN).count();
        if tokens.first() != Some(&START_TOKEN) || tokens.last() != Some(&END_TOKEN) || classes != 1 {
            return Err(format!("the tokens of prompt '{template}' are not start, words, one class and end"));
        }
        super::detect::check_prompt(sizes, prompt)?;
    }
    Ok(())
}

/// A temperature is stored as its logarithm; what it stands for must be a number.
pub(super) fn check_temperature(name: &str, values: &[f32]) -> Result<(), String> {
    match values {
        [value] if value.exp().is_finite() => Ok(()),
        [value] => Err(format!("tensor '{name}' holds {value}, whose exponential is no finite number")),
        _ => Err(format!("tensor '{name}' has {} values, expected one", values.len())),
    }
}

/// Ascending ids of the token rows that prompts need; the class token has none.
pub(super) fn kept_tokens<'a>(prompts: impl Iterator<Item = &'a [u32]>) -> Vec<u32> {
    let ids: BTreeSet<u32> = prompts.flatten().copied().filter(|&id| id != CLASS_TOKEN).collect();
    ids.into_iter().collect()
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

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

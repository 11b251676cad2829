//! One weight file, whatever its container: which tensors it has, and their numbers.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::dtype::{Element, View};
use super::error::ImportError;
use super::header::MAX_HEADER;
use super::safetensors_file::SafetensorsFile;
use super::torch_file::TorchFile;

/// What a folder from Hugging Face holds, in the order they are looked for.
const FOLDER_FILES: [&str; 2] = ["model.safetensors", "model.safetensors.index.json"];

/// An open weight file.
pub(super) struct Container {
    pub(super) path: PathBuf,
    body: Body,
}

enum Body {
    Torch(Box<TorchFile>),
    Safetensors(SafetensorsFile),
}

impl Container {
    /// Opens a file and tells its container from its content, never from its name.
    pub(super) fn open(path: &Path) -> Result<Self, ImportError> {
        let path = if path.is_dir() {
            let found = FOLDER_FILES.iter().map(|file| path.join(file)).find(|file| file.is_file());
            found.ok_or_else(|| ImportError::Unrecognised {
                path: path.to_owned(),
                reason: "a folder without model.safetensors".to_owned(),
            })?
        } else {
            path.to_owned()
        };
        let body = open_body(&path)?;
        Ok(Self { path, body })
    }

    /// Container in words.
    pub(super) fn kind(&self) -> &'static str {
        match &self.body {
            Body::Torch(file) if file.script => "TorchScript archive",
            Body::Torch(_) => "torch.save file",
            Body::Safetensors(_) => "safetensors",
        }
    }

    /// Files on disk that the tensors come from.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        match &self.body {
            Body::Torch(_) => vec![self.path.clone()],
            Body::Safetensors(file) => file.files.clone(),
        }
    }

    /// Names of all tensors, sorted.
    pub(super) fn names(&self) -> Vec<&str> {
        match &self.body {
            Body::Torch(file) => file.tensors.keys().map(String::as_str).collect(),
            Body::Safetensors(file) => file.tensors.keys().map(String::as_str).collect(),
        }
    }

    /// Shape of a tensor.
    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        match &self.body {
            Body::Torch(file) => file.tensors.get(name).map(|tensor| tensor.view.shape.as_slice()),
            Body::Safetensors(file) => file.tensors.get(name).map(|entry| entry.shape.as_slice()),
        }
    }

    /// Element type of a tensor.
    pub(super) fn element(&self, name: &str) -> Option<Element> {
        match &self.body {
            Body::Torch(file) => file.tensors.get(name).map(|tensor| tensor.storage.element),
            Body::Safetensors(file) => file.tensors.get(name).map(|entry| entry.element),
        }
    }

    /// A tensor in C order, every value finite.
    pub(super) fn load(&mut self, name: &str) -> Result<Vec<f32>, ImportError> {
        let path = self.path.clone();
        let values = match &mut self.body {
            Body::Torch(file) => match file.tensors.get(name).cloned() {
                Some(tensor) => tensor.view.gather(tensor.storage.element, file.storage(&tensor)?),
                None => None,
            },
            Body::Safetensors(file) => match file.tensors.get(name) {
                Some(entry) => View::contiguous(entry.shape.clone()).gather(entry.element, &file.bytes(entry)?),
                None => None,
            },
        };
        let Some(values) = values else {
            return Err(ImportError::Damaged { path, reason: format!("tensor '{name}' cannot be read") });
        };
        if values.iter().all(|value| value.is_finite()) {
            Ok(values)
        } else {
            Err(ImportError::NotFinite { path, tensor: name.to_owned() })
        }
    }
}

fn open_body(path: &Path) -> Result<Body, ImportError> {
    let io = |source| ImportError::Io { path: path.to_owned(), source };
    let unrecognised =
        |reason: &str| Err(ImportError::Unrecognised { path: path.to_owned(), reason: reason.to_owned() });
    let mut head = Vec::with_capacity(16);
    File::open(path).map_err(io)?.take(16).read_to_end(&mut head).map_err(io)?;
    if head.starts_with(b"PK\x03\x04") {
        return Ok(Body::Torch(Box::new(TorchFile::open(path)?)));
    }
    if head.first() == Some(&0x80) && head.get(1).is_some_and(|protocol| (1..=5).contains(protocol)) {
        return Err(ImportError::LegacyTorch { path: path.to_owned() });
    }
    if let Some(length) = head.first_chunk::<8>()
        && head.get(8) == Some(&b'{')
        && u64::from_le_bytes(*length) <= MAX_HEADER
    {
        return Ok(Body::Safetensors(SafetensorsFile::open(path)?));
    }
    if head.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
        return Ok(Body::Safetensors(SafetensorsFile::open_index(path)?));
    }
    if head.is_empty() {
        unrecognised("it is empty")
    } else {
        unrecognised("its first bytes are of no known container")
    }
}

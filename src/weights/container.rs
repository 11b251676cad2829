//! The weight files of one model, whatever their containers: which tensors they have, and their numbers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::choose::{Chosen, Role, choose};
use super::dtype::{Element, View};
use super::error::ImportError;
use super::folder;
use super::header::MAX_HEADER;
use super::index;
use super::legacy_file::LegacyFile;
use super::safetensors_file::SafetensorsFile;
use super::torch_file::TorchFile;

/// Bytes at the beginning of a file that tell its container.
const HEAD: u64 = 64;

/// Open weight files.
pub(super) struct Container {
    /// What the user gave; of several, the first.
    pub(super) path: PathBuf,
    parts: Vec<Part>,
    /// Name in the model → part, and name in that part.
    tensors: BTreeMap<String, (usize, String)>,
    kind: String,
}

/// One file.
struct Part {
    path: PathBuf,
    body: Body,
}

enum Body {
    Torch(Box<TorchFile>),
    Legacy(Box<LegacyFile>),
    Safetensors(SafetensorsFile),
}

impl Container {
    /// Opens files or folders that hold one model together. What a file is tells its content, never its name.
    pub(super) fn open(paths: &[PathBuf], role: Role) -> Result<Self, ImportError> {
        let mut sources = Vec::new();
        for path in paths {
            sources.extend(folder::sources(path)?);
        }
        let path = sources.first().or(paths.first()).cloned().unwrap_or_default();
        let mut container = Self { path, parts: Vec::new(), tensors: BTreeMap::new(), kind: String::new() };
        for source in &sources {
            container.add(source, role)?;
        }
        Ok(container)
    }

    fn add(&mut self, source: &Path, role: Role) -> Result<(), ImportError> {
        let first = self.parts.len();
        if index::is(source)? {
            for path in index::files(source)? {
                self.parts.push(Part { body: open_body(&path)?, path });
            }
        } else {
            self.parts.push(Part { path: source.to_owned(), body: open_body(source)? });
        }
        let mut origins = BTreeMap::new();
        for (number, part) in self.parts.iter().enumerate().skip(first) {
            for name in part.body.names() {
                if origins.insert(name.to_owned(), number).is_some() {
                    return Err(damaged(&part.path, format!("tensor '{name}' is there twice")));
                }
            }
        }
        let Chosen { names, place } = choose(origins.keys().map(String::as_str), role);
        let kind = self.parts[first].body.kind();
        for text in [Some(kind.to_owned()), place].into_iter().flatten() {
            if !self.kind.contains(&text) {
                self.kind += if self.kind.is_empty() { "" } else { ", " };
                self.kind += &text;
            }
        }
        for (name, origin) in names {
            let number = origins.get(&origin).copied().unwrap_or(first);
            if let Some((other, _)) = self.tensors.insert(name.clone(), (number, origin)) {
                let other = self.parts[other].path.display();
                return Err(damaged(
                    source,
                    format!("tensor '{name}' is there and in {other}; give one file for each"),
                ));
            }
        }
        Ok(())
    }

    /// Containers in words, and where in them the weights were.
    pub(super) fn kind(&self) -> &str {
        &self.kind
    }

    /// Files on disk that the tensors come from.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.parts.iter().map(|part| part.path.clone()).collect()
    }

    /// Names of all tensors, sorted.
    pub(super) fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    /// The file that a tensor is in, or should be.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        match self.tensors.get(name) {
            Some((part, _)) => self.parts[*part].path.clone(),
            None => self.path.clone(),
        }
    }

    fn find(&self, name: &str) -> Option<(&Body, &str)> {
        let (part, origin) = self.tensors.get(name)?;
        Some((&self.parts.get(*part)?.body, origin))
    }

    /// Shape of a tensor.
    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        let (body, origin) = self.find(name)?;
        Some(match body {
            Body::Torch(file) => &file.tensors.get(origin)?.view.shape,
            Body::Legacy(file) => &file.tensors.get(origin)?.view.shape,
            Body::Safetensors(file) => &file.tensors.get(origin)?.shape,
        })
    }

    /// Element type of a tensor.
    pub(super) fn element(&self, name: &str) -> Option<Element> {
        let (body, origin) = self.find(name)?;
        Some(match body {
            Body::Torch(file) => file.tensors.get(origin)?.storage.element,
            Body::Legacy(file) => file.tensors.get(origin)?.storage.element,
            Body::Safetensors(file) => file.tensors.get(origin)?.element,
        })
    }

    /// A tensor in C order, every value finite.
    pub(super) fn load(&mut self, name: &str) -> Result<Vec<f32>, ImportError> {
        let path = self.path_of(name);
        let values = match self.tensors.get(name) {
            Some((part, origin)) => self.parts[*part].body.load(origin)?,
            None => None,
        };
        let Some(values) = values else { return Err(damaged(&path, format!("tensor '{name}' cannot be read"))) };
        if values.iter().all(|value| value.is_finite()) {
            Ok(values)
        } else {
            Err(ImportError::NotFinite { path, tensor: name.to_owned() })
        }
    }
}

impl Body {
    fn kind(&self) -> &'static str {
        match self {
            Self::Torch(file) if file.script => "TorchScript archive",
            Self::Torch(_) => "torch.save file",
            Self::Legacy(_) => "torch.save file of the old format",
            Self::Safetensors(_) => "safetensors",
        }
    }

    fn names(&self) -> Vec<&str> {
        match self {
            Self::Torch(file) => file.tensors.keys().map(String::as_str).collect(),
            Self::Legacy(file) => file.tensors.keys().map(String::as_str).collect(),
            Self::Safetensors(file) => file.tensors.keys().map(String::as_str).collect(),
        }
    }

    fn load(&mut self, name: &str) -> Result<Option<Vec<f32>>, ImportError> {
        Ok(match self {
            Self::Torch(file) => match file.tensors.get(name).cloned() {
                Some(tensor) => tensor.view.gather(tensor.storage.element, file.storage(&tensor)?),
                None => None,
            },
            Self::Legacy(file) => match file.tensors.get(name).cloned() {
                Some(tensor) => tensor.view.gather(tensor.storage.element, file.storage(&tensor)?),
                None => None,
            },
            Self::Safetensors(file) => match file.tensors.get(name) {
                Some(entry) => View::contiguous(entry.shape.clone()).gather(entry.element, &file.bytes(entry)?),
                None => None,
            },
        })
    }
}

fn damaged(path: &Path, reason: String) -> ImportError {
    ImportError::Damaged { path: path.to_owned(), reason }
}

fn open_body(path: &Path) -> Result<Body, ImportError> {
    let io = |source| ImportError::Io { path: path.to_owned(), source };
    let unrecognised =
        |reason: &str| Err(ImportError::Unrecognised { path: path.to_owned(), reason: reason.to_owned() });
    let mut head = Vec::with_capacity(HEAD as usize);
    File::open(path).map_err(io)?.take(HEAD).read_to_end(&mut head).map_err(io)?;
    if head.starts_with(b"PK\x03\x04") {
        return Ok(Body::Torch(Box::new(TorchFile::open(path)?)));
    }
    if LegacyFile::is(&head) {
        return Ok(Body::Legacy(Box::new(LegacyFile::open(path)?)));
    }
    if let Some(length) = head.first_chunk::<8>()
        && head.get(8) == Some(&b'{')
        && u64::from_le_bytes(*length) <= MAX_HEADER
    {
        return Ok(Body::Safetensors(SafetensorsFile::open(path)?));
    }
    const LFS: &[u8] = b"version https://git-lfs";
    if head.is_empty() {
        unrecognised("it is empty")
    } else if head.starts_with(LFS) {
        unrecognised("a pointer of Git LFS in place of the file; fetch it with `git lfs pull`")
    } else if head.first() == Some(&0x80) && head.get(1).is_some_and(|protocol| *protocol <= 5) {
        unrecognised("a pickle that torch.save did not write; load it and save its tensors with torch.save")
    } else if [&b"sys_info\0"[..], b"storages\0", b"tensors\0", b"pickle\0"].iter().any(|name| head.starts_with(name)) {
        unrecognised("a tar archive of torch before 0.2; load it and save it again with a later torch")
    } else {
        unrecognised("its first bytes are of no known container")
    }
}

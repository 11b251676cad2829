//! Writing a bundle: beside its place first, then renamed into its place.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use half::f16;
use sha2::{Digest, Sha256};

use super::error::BundleError;
use super::manifest::{FORMAT, FileIdentity, MANIFEST_FILE, Manifest, Prompts, SourceFile, WEIGHTS_FILE};
use super::open::Bundle;
use super::weights::Dtype;
use crate::output::{self, NewFolder};
use crate::vcp_clip::{Architecture, Constants};
use crate::weights::dtype::elements;
use crate::weights::layout::{self, Named};

/// Tensors begin at multiples of this many bytes: engines map the file and read vectors from it.
const ALIGNMENT: usize = 64;
/// Elements per [`ALIGNMENT`] at the smallest element type.
const ALIGNED_ELEMENTS: usize = ALIGNMENT / 2;

/// A manifest before its weights are written.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What people call this model.
    pub name: String,
    /// Sizes.
    pub architecture: Architecture,
    /// Numbers of the method that are no tensor.
    pub constants: Constants,
    /// What normal and abnormal parts are called.
    pub prompts: Prompts,
    /// Files the bundle is made of.
    pub sources: Vec<SourceFile>,
    /// Whose licence the weights have.
    pub licence_note: String,
}

impl Draft {
    /// Ascending ids of the token rows that the prompts need.
    pub fn token_ids(&self) -> Vec<u32> {
        self.prompts.token_ids()
    }

    /// Names and shapes that [`write`] asks for.
    pub fn tensors(&self) -> Vec<Named> {
        layout::expected(&self.architecture, self.token_ids().len())
    }
}

/// Gives the numbers of a tensor, C order, for its name and shape.
pub type Values<'a, E> = dyn FnMut(&str, &[usize]) -> Result<Vec<f32>, E> + 'a;

/// Writes a bundle and opens it. `values` is asked for each tensor once. A tensor is stored in 16-bit floats when that loses nothing.
///
/// Something that exists at `target` is an error, unless `force` is set and it is a bundle. After an error `target`
/// is as it was and nothing else is left; for how one is replaced see [`NewFolder::put`].
pub fn write<E: From<BundleError>>(
    target: &Path,
    force: bool,
    draft: Draft,
    values: &mut Values<'_, E>,
) -> Result<Bundle, E> {
    check_target(target, force)?;
    let place = |source| io_error("write a bundle to", target, source);
    let partial = NewFolder::beside(target).map_err(place)?;
    let target = output::folder(target).map_err(place)?;

    let tensors = draft.tensors();
    let needed = tensors.iter().filter_map(|(_, shape)| elements(shape)).sum::<usize>() as u64 * 4;
    let full = |action: &'static str, path: &Path, source: io::Error| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            BundleError::DiskFull { path: target.clone(), needed }
        }
        _ => io_error(action, path, source),
    };
    let weights_path = partial.path().join(WEIGHTS_FILE);
    let create = File::options().read(true).write(true).create_new(true).open(&weights_path);
    let mut writer = WeightsWriter::new(create.map_err(|source| full("create", &weights_path, source))?, tensors);
    writer.reserve_header().map_err(|source| full("write", &weights_path, source))?;
    for (name, shape) in writer.tensors.clone() {
        let numbers = values(&name, &shape)?;
        let expected = elements(&shape).unwrap_or(usize::MAX);
        if numbers.len() != expected {
            return Err(BundleError::Length { name, expected, found: numbers.len() }.into());
        }
        writer.add(name, shape, &numbers).map_err(|source| full("write", &weights_path, source))?;
    }
    let weights = writer.finish().map_err(|source| full("write", &weights_path, source))?;

    let token_ids = draft.token_ids();
    let Draft { name, architecture, constants, prompts, sources, licence_note } = draft;
    let manifest =
        Manifest { format: FORMAT, name, architecture, constants, prompts, token_ids, weights, sources, licence_note };
    let manifest_path = partial.path().join(MANIFEST_FILE);
    write_manifest(&manifest_path, &manifest).map_err(|source| full("write", &manifest_path, source))?;
    output::sync_folder(partial.path()).map_err(|source| full("write", partial.path(), source))?;
    // What cannot be opened must not take its place; what is open stays so when its folder is renamed.
    let bundle = Bundle::open(partial.path()).map_err(|error| as_if_at(&target, error))?;
    check_target(&target, force)?;
    partial.put().map_err(|source| io_error("put the bundle at", &target, source))?;
    tracing::debug!(at = %target.display(), "bundle in place");
    Ok(bundle.moved_to(target))
}

/// The partial folder is gone when its error is read.
fn as_if_at(target: &Path, error: BundleError) -> BundleError {
    match error {
        BundleError::Damaged { reason, .. } => BundleError::Damaged { path: target.to_owned(), reason },
        other => other,
    }
}

/// Errors when a bundle cannot be written to `target`: something is there and `force` does not say that it may be
/// replaced, or it is no bundle, or no folder can be made.
pub fn check_target(target: &Path, force: bool) -> Result<(), BundleError> {
    let target = &output::folder(target).map_err(|source| io_error("write a bundle to", target, source))?;
    let there = fs::symlink_metadata(target).is_ok();
    if there && !(force && target.join(MANIFEST_FILE).is_file()) {
        return Err(match force {
            true => BundleError::NoBundle { path: target.to_owned() },
            false => BundleError::Exists { path: target.to_owned() },
        });
    }
    output::check_folder(target).map_err(|source| io_error("write a bundle to", target, source))
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> BundleError {
    BundleError::Io { action, path: path.to_owned(), source }
}

fn write_manifest(path: &Path, manifest: &Manifest) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(manifest)?;
    text.push(b'\n');
    let mut file = File::create_new(path)?;
    file.write_all(&text)?;
    file.sync_all()
}

/// One entry of the safetensors header, in the order of the data.
struct Written {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    from: usize,
    to: usize,
}

/// A safetensors file that grows tensor by tensor. The header comes first in the file and is known last, so room for
/// the longest possible one is left and filled up with spaces.
struct WeightsWriter {
    out: BufWriter<File>,
    tensors: Vec<Named>,
    written: Vec<Written>,
    header: usize,
    end: usize,
}

impl WeightsWriter {
    /// Tensors whose length keeps the next one aligned come first, the few small others last.
    fn new(file: File, mut tensors: Vec<Named>) -> Self {
        tensors.sort_by_key(|(_, shape)| !is_aligned(shape));
        Self { out: BufWriter::with_capacity(1 << 20, file), tensors, written: Vec::new(), header: 0, end: 0 }
    }

    fn reserve_header(&mut self) -> io::Result<()> {
        let worst = |(name, shape): &Named| Written {
            name: name.clone(),
            dtype: Dtype::F32,
            shape: shape.clone(),
            from: usize::MAX,
            to: usize::MAX,
        };
        let longest = header(&self.tensors.iter().map(worst).collect::<Vec<_>>())?.len();
        // The data begins after eight bytes of length and the header.
        self.header = (longest + 8).next_multiple_of(ALIGNMENT) - 8;
        self.out.write_all(&vec![0; self.header + 8])
    }

    fn add(&mut self, name: String, shape: Vec<usize>, numbers: &[f32]) -> io::Result<()> {
        let exact = |&value: &f32| f16::from_f32(value).to_f32().to_bits() == value.to_bits();
        let dtype = if is_aligned(&shape) && numbers.iter().all(exact) { Dtype::F16 } else { Dtype::F32 };
        for chunk in numbers.chunks(1 << 16) {
            let bytes: Vec<u8> = match dtype {
                Dtype::F16 => chunk.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
                Dtype::F32 => chunk.iter().flat_map(|value| value.to_le_bytes()).collect(),
            };
            self.out.write_all(&bytes)?;
        }
        let from = self.end;
        self.end += numbers.len() * dtype.bytes();
        self.written.push(Written { name, dtype, shape, from, to: self.end });
        Ok(())
    }

    fn finish(mut self) -> io::Result<FileIdentity> {
        let mut text = header(&self.written)?;
        text.resize(self.header, b' ');
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&(self.header as u64).to_le_bytes())?;
        self.out.write_all(&text)?;
        let mut file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        file.seek(SeekFrom::Start(0))?;
        let (sha256, bytes) = hash(&mut file)?;
        Ok(FileIdentity { file: WEIGHTS_FILE.to_owned(), sha256, bytes })
    }
}

fn is_aligned(shape: &[usize]) -> bool {
    elements(shape).is_some_and(|count| count.is_multiple_of(ALIGNED_ELEMENTS))
}

fn header(tensors: &[Written]) -> io::Result<Vec<u8>> {
    let mut map = serde_json::Map::new();
    for tensor in tensors {
        let dtype = match tensor.dtype {
            Dtype::F16 => "F16",
            Dtype::F32 => "F32",
        };
        let entry = serde_json::json!({
            "dtype": dtype, "shape": tensor.shape, "data_offsets": [tensor.from, tensor.to],
        });
        map.insert(tensor.name.clone(), entry);
    }
    Ok(serde_json::to_vec(&map)?)
}

/// SHA-256 and length of all that can be read.
pub(crate) fn hash(reader: &mut dyn Read) -> io::Result<(String, u64)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok((hex::encode(hasher.finalize()), bytes)),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                bytes += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

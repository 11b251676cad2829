//! A memory on disk: safetensors with half-precision rows per tapped layer, and what it says about itself in the header.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use half::f16;
use half::slice::HalfFloatSliceExt;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Memory;
use super::about::{About, FORMAT};
use super::error::MemoryError;
use super::fusion::Fusion;
use crate::output;

/// The key in the header's texts.
const KEY: &str = "memory";
/// Largest file that is read: 4 GB hold the tokens of 180 pictures of a ViT-L/14 at 518 pixels.
const MOST_BYTES: u64 = 4 << 30;

#[derive(Serialize, Deserialize)]
struct Header {
    about: About,
    fusion: Fusion,
}

#[derive(Deserialize)]
struct FormatAlone {
    about: FormatOfAbout,
}

#[derive(Deserialize)]
struct FormatOfAbout {
    format: u32,
}

/// The beginning of the hash over rows, fusion and what it says about itself but for this, hexadecimal: what a memory says is
/// part of which memory it is.
pub(super) fn identity(about: &About, taps: &[Vec<f32>], fusion: &Fusion) -> String {
    let mut hash = Sha256::new();
    let about = About { id: String::new(), ..about.clone() };
    hash.update(serde_json::to_vec(&about).unwrap_or_default());
    for tap in taps {
        hash.update((tap.len() as u64).to_le_bytes());
        hash.update(bytemuck::cast_slice::<f16, u8>(&narrow(tap)));
    }
    hash.update(serde_json::to_vec(fusion).unwrap_or_default());
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn narrow(tap: &[f32]) -> Vec<f16> {
    let mut rows = vec![f16::ZERO; tap.len()];
    rows.convert_from_f32_slice(tap);
    rows
}

impl Memory {
    /// Writes it, whole or not at all; a file that is there is replaced.
    pub fn write(&self, path: &Path) -> Result<(), MemoryError> {
        let io = |source| MemoryError::Io { action: "write", path: path.to_owned(), source };
        let rows: Vec<Vec<f16>> = self.taps.iter().map(|tap| narrow(tap)).collect();
        let width = self.about.width;
        let views = rows.iter().enumerate().map(|(tap, rows)| {
            let shape = vec![rows.len() / width, width];
            let view = TensorView::new(Dtype::F16, shape, bytemuck::cast_slice(rows)).map_err(io::Error::other)?;
            Ok((format!("tap.{tap}"), view))
        });
        let header = serde_json::to_string(&HeaderOf { about: &self.about, fusion: &self.fusion });
        let header = HashMap::from([(KEY.to_owned(), header.map_err(io::Error::other).map_err(io)?)]);
        let views = views.collect::<io::Result<Vec<_>>>().map_err(io)?;
        let bytes = safetensors::serialize(views, Some(header)).map_err(io::Error::other).map_err(io)?;
        output::write(path, &bytes).map_err(io)
    }

    /// Reads what [`Self::write`] wrote.
    pub fn read(path: &Path) -> Result<Self, MemoryError> {
        let io = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => MemoryError::Absent { path: path.to_owned() },
            _ => MemoryError::Io { action: "read", path: path.to_owned(), source },
        };
        let damaged = |reason: String| MemoryError::Damaged { path: path.to_owned(), reason };
        let metadata = fs::metadata(path).map_err(io)?;
        if !metadata.is_file() {
            return Err(damaged("it is no file".to_owned()));
        }
        if metadata.len() > MOST_BYTES {
            return Err(damaged(format!("it has more than {MOST_BYTES} bytes")));
        }
        Self::parse(&fs::read(path).map_err(io)?, path)
    }

    /// Of the file's bytes; errors name the `path`.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, MemoryError> {
        let damaged = |reason: String| MemoryError::Damaged { path: path.to_owned(), reason };
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| damaged(error.to_string()))?;
        let header = metadata.metadata().as_ref().and_then(|texts| texts.get(KEY));
        let header = header.ok_or_else(|| damaged("it says nothing about itself".to_owned()))?;
        let format = serde_json::from_str::<FormatAlone>(header).map_err(|error| damaged(error.to_string()))?;
        if format.about.format != FORMAT {
            return Err(MemoryError::Format { path: path.to_owned(), found: format.about.format, known: FORMAT });
        }
        let Header { about, fusion } = serde_json::from_str(header).map_err(|error| damaged(error.to_string()))?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| damaged(error.to_string()))?;
        let tap = |(tap, &count): (usize, &usize)| {
            let name = format!("tap.{tap}");
            let tensor = tensors.tensor(&name).map_err(|error| damaged(error.to_string()))?;
            if tensor.dtype() != Dtype::F16 || tensor.shape() != [count, about.width] || count == 0 {
                return Err(damaged(format!("its tensor '{name}' is {:?} of {:?}", tensor.dtype(), tensor.shape())));
            }
            let (halves, _) = tensor.data().as_chunks::<2>();
            let rows: Vec<f16> = halves.iter().map(|&bytes| f16::from_le_bytes(bytes)).collect();
            Ok(rows.to_f32_vec())
        };
        let taps: Vec<Vec<f32>> = about.tokens.iter().enumerate().map(tap).collect::<Result<_, _>>()?;
        let sizes = [about.parts, about.grid, about.width, about.picture.0 as usize, about.picture.1 as usize];
        if !fusion.fits(about.grid, taps.len()) || taps.is_empty() || sizes.contains(&0) || !about.pictures.is_sorted()
        {
            return Err(damaged("its parts do not belong together".to_owned()));
        }
        if identity(&about, &taps, &fusion) != about.id {
            return Err(damaged("it has changed since it was written".to_owned()));
        }
        Ok(Self { about, taps, fusion, lost: None })
    }
}

#[derive(Serialize)]
struct HeaderOf<'a> {
    about: &'a About,
    fusion: &'a Fusion,
}

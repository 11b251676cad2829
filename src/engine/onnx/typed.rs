//! The network for runtimes that compute exactly as a graph is typed (TensorRT): matrix products and attention in the
//! asked precision, everything that sums, normalises or compares in float32. With 8 bits, layers that have scales are
//! computed in them, the other products in float16.
//!
//! Input `image` `[batch, 3, S, S]`; outputs `tokens.L` `[batch, N, Cv]` and `raw.L` `[batch, N, 2]` for every tapped
//! layer L, and `text` `[batch, 2, Ct]`. Image and tokens are float16 unless the precision is fp32; the rest is float32.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use half::f16;

use super::expanded::ExpandError;
use super::file::{file_with, value_info};
use super::names::{INPUT, OutputNames};
use super::placement::{ALIGNMENT, Placement, bytes};
use super::proto::{BFLOAT16, FLOAT, FLOAT8, FLOAT16, INT8};
use super::recorder::Recorder;
use crate::engine::Precision;
use crate::engine::eight_bits::EightBits;
use crate::engine::scales::Scales;
use crate::vcp_clip::network::{self, TextConstants};
use crate::weights::bundle::{Bundle, BundleError};

pub use super::placement::WEIGHTS_FILE;

/// Version of what the graph computes and how its inputs and outputs are laid out. A plan of another version is of no
/// use to this program.
pub const GRAPH_VERSION: u32 = 1;
/// Name of the graph's file in its folder.
pub const GRAPH_FILE: &str = "network.onnx";
/// Name of the input.
pub const IMAGE: &str = INPUT;

/// Element type of the matrix products.
fn products(precision: Precision) -> i32 {
    match precision {
        Precision::Fp32 | Precision::Auto => FLOAT,
        Precision::Bf16 => BFLOAT16,
        Precision::Fp16 | Precision::Int8 | Precision::Fp8 => FLOAT16,
    }
}

/// Element type of image and tokens. Normalised pixels and tokens need float16's digits, not bfloat16's range.
fn edges(precision: Precision) -> i32 {
    match precision {
        Precision::Fp32 | Precision::Auto => FLOAT,
        Precision::Bf16 | Precision::Fp16 | Precision::Int8 | Precision::Fp8 => FLOAT16,
    }
}

/// The graph's files could not be written.
#[derive(Debug, thiserror::Error)]
pub enum TypedError {
    /// Bundle or disk.
    #[error(transparent)]
    Write(#[from] ExpandError),
    /// A weight beyond the range of float16.
    #[error("tensor '{name}' holds {value}, which float16 cannot hold; use bf16 or fp32")]
    Range {
        /// The tensor.
        name: String,
        /// Its first such value.
        value: f32,
    },
}

impl From<BundleError> for TypedError {
    fn from(error: BundleError) -> Self {
        Self::Write(error.into())
    }
}

/// Writes [`GRAPH_FILE`] and [`WEIGHTS_FILE`] into `folder`; returns the graph's path. A precision of 8 bits is that of the layers
/// that `scales` have; without scales it is float16.
pub fn write(
    bundle: &Bundle,
    constants: &TextConstants,
    precision: Precision,
    scales: Option<&Scales>,
    folder: &Path,
) -> Result<PathBuf, TypedError> {
    let arch = &bundle.manifest().architecture;
    let edges = edges(precision);
    let mut recorder = Recorder::typed(bundle, products(precision), edges);
    if let Some(eight_bits) = EightBits::of(precision) {
        recorder.compute_in(scales, eight_bits);
    }
    let operators = recorder.operators;
    let outputs = network::forward(&mut recorder, arch, constants);
    let names = OutputNames::new(&arch.taps);
    for (value, name) in outputs.tokens.iter().zip(&names.tokens) {
        let value = recorder.convert(value, edges);
        recorder.name(&value, name);
    }
    recorder.name(&outputs.text, &names.text);
    for (value, name) in outputs.raw.iter().zip(&names.raw) {
        let value = recorder.convert(value, FLOAT);
        recorder.name(&value, name);
    }

    let (mut graph, placement) = recorder.into_typed()?;
    graph.input = vec![value_info(INPUT, edges, &[3, arch.image_size, arch.image_size])];
    graph.output = names.tokens.iter().map(|n| value_info(n, edges, &[arch.patches(), arch.vision_width])).collect();
    graph.output.push(value_info(&names.text, FLOAT, &[2, arch.text_width]));
    graph.output.extend(names.raw.iter().map(|n| value_info(n, FLOAT, &[arch.patches(), 2])));

    write_weights(bundle, scales, &placement, &folder.join(WEIGHTS_FILE))?;
    let path = folder.join(GRAPH_FILE);
    std::fs::write(&path, file_with(operators, bundle, graph))
        .map_err(|source| ExpandError::Io { path: path.clone(), source })?;
    Ok(path)
}

fn write_weights(
    bundle: &Bundle,
    scales: Option<&Scales>,
    placement: &Placement,
    path: &Path,
) -> Result<(), TypedError> {
    let failed = |source| ExpandError::Io { path: path.to_owned(), source };
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(failed)?);
    let mut at = 0_u64;
    for (name, kind) in &placement.tensors {
        let (_, values) = bundle.f32(name)?;
        if *kind == FLOAT16 {
            check_range(name, &values)?;
        }
        let padding = at.next_multiple_of(ALIGNMENT) - at;
        file.write_all(&[0; ALIGNMENT as usize][..padding as usize]).map_err(failed)?;
        let layer = scales.and_then(|scales| scales.layers.get(name));
        let bytes = match (*kind, layer) {
            (INT8, Some(layer)) => EightBits::Integers.weight(layer, &values).bytes,
            (FLOAT8, Some(layer)) => EightBits::Floats.weight(layer, &values).bytes,
            (kind, _) => bytes(&values, kind),
        };
        file.write_all(&bytes).map_err(failed)?;
        at += padding + bytes.len() as u64;
    }
    file.flush().map_err(failed)?;
    Ok(())
}

/// An error when a value becomes infinite in float16.
fn check_range(name: &str, values: &[f32]) -> Result<(), TypedError> {
    match values.iter().find(|&&value| f16::from_f32(value).is_infinite()) {
        Some(&value) => Err(TypedError::Range { name: name.to_owned(), value }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_beyond_float16_are_refused_by_name() {
        assert!(check_range("w", &[65_504.0, -65_504.0, 1e-9]).is_ok());
        let said = check_range("w", &[0.0, -1e5]).expect_err("too large").to_string();
        assert_eq!(said, "tensor 'w' holds -100000, which float16 cannot hold; use bf16 or fp32");
    }
}

//! Learned weights as a file of their own: VCP modules under the released flattened names, a CLIP under OpenAI's.

use std::io;
use std::path::Path;

use half::f16;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::parameters::Named;
use crate::output;

/// Writes tensors as safetensors in float32. The file appears whole or not at all.
pub fn write(path: &Path, tensors: &[Named]) -> io::Result<()> {
    write_as(path, tensors, |_| Dtype::F32)
}

/// The same with matrices in 16-bit floats, as OpenAI's CLIP files have them.
pub fn write_halves(path: &Path, tensors: &[Named]) -> io::Result<()> {
    write_as(path, tensors, |shape| if shape.len() < 2 { Dtype::F32 } else { Dtype::F16 })
}

fn write_as(path: &Path, tensors: &[Named], dtype: impl Fn(&[usize]) -> Dtype) -> io::Result<()> {
    let bytes = |(_, shape, values): &Named| match dtype(shape) {
        Dtype::F16 => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    };
    let bytes: Vec<Vec<u8>> = tensors.iter().map(bytes).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        Ok((name.as_str(), TensorView::new(dtype(shape), shape.clone(), bytes).map_err(io::Error::other)?))
    });
    let file = safetensors::serialize(views.collect::<io::Result<Vec<_>>>()?, None).map_err(io::Error::other)?;
    output::write(path, &file)
}

//! VCP weights as a file of their own, under the released flattened names.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::parameters::Named;

/// Writes tensors as safetensors in float32. The file appears whole or not at all.
pub fn write(path: &Path, tensors: &[Named]) -> io::Result<()> {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, _, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(io::Error::other)?))
    });
    let text = safetensors::serialize(views.collect::<io::Result<Vec<_>>>()?, None).map_err(io::Error::other)?;
    let folder = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().permissions(Permissions::from_mode(0o644)).tempfile_in(folder)?;
    file.write_all(&text)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

//! Sizes of a CLIP file alone, for whoever makes VCP modules that fit it.

use std::path::Path;

use super::container::Container;
use super::detect::count;
use super::error::ImportError;
use super::naming::Naming;

/// Widths and depths of the two towers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClipSizes {
    /// Cv.
    pub vision_width: usize,
    /// Blocks of the vision tower.
    pub vision_layers: usize,
    /// Ct.
    pub text_width: usize,
    /// Blocks of the text tower.
    pub text_layers: usize,
}

/// Reads the sizes that VCP modules depend on; [`super::import`] checks everything else about the file.
pub fn clip_sizes(path: &Path) -> Result<ClipSizes, ImportError> {
    let file = Container::open(path)?;
    let naming = Naming::of(&file);
    let size = |name: &str, axis: usize, expected: &str| {
        let part = naming.origin(name).parts.concat();
        match file.shape(&part).and_then(|shape| shape.get(axis)) {
            Some(&size) if size > 0 => Ok(size),
            _ => Err(ImportError::Missing {
                path: file.path.clone(),
                tensor: part.clone(),
                expected: expected.to_owned(),
            }),
        }
    };
    Ok(ClipSizes {
        vision_width: size("visual.conv1.weight", 0, "[Cv, 3, P, P]")?,
        vision_layers: count(&file, naming.vision_blocks()),
        text_width: size("positional_embedding", 1, "[77, Ct]")?,
        text_layers: count(&file, naming.text_blocks()),
    })
}

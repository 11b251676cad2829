//! Sizes of a CLIP file alone, for whoever makes VCP modules that fit it.

use std::path::Path;

use super::choose::Role;
use super::container::Container;
use super::detect::Asked;
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
    let file = Container::open(&[path.to_owned()], Role::Clip)?;
    let clip = Asked { file: &file, naming: Naming::of(&file) };
    let size = |name: &str, axis: usize, expected: &str| {
        clip.size(name, axis).filter(|&size| size > 0).ok_or_else(|| clip.missing(name, expected))
    };
    Ok(ClipSizes {
        vision_width: size("visual.conv1.weight", 0, "[Cv, 3, P, P]")?,
        vision_layers: clip.vision_blocks(),
        text_width: size("positional_embedding", 1, "[77, Ct]")?,
        text_layers: clip.text_blocks(),
    })
}

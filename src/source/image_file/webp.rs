//! WebP: the container has to hold what it says before its pictures are decoded.

use image::metadata::Orientation;

use super::error::Refusal;
use super::orientation::of_exif;

/// Is this the beginning of a WebP?
pub(crate) fn is_webp(bytes: &[u8]) -> bool {
    bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP")
}

/// Follows the chunks; the orientation that one of them tells.
pub(crate) fn walk(bytes: &[u8]) -> Result<Orientation, Refusal> {
    let cut = || Refusal::damaged("the file ends before the picture does");
    let size = |bytes: &[u8]| Some(u32::from_le_bytes(*bytes.get(4..)?.first_chunk::<4>()?) as usize);
    let all = size(bytes).ok_or_else(cut)?;
    // The byte that fills an odd length up carries nothing.
    let mut rest = bytes.get(8..8 + all).or_else(|| bytes.get(8..8 + all - all % 2)).ok_or_else(cut)?;
    rest = rest.get(4..).ok_or_else(cut)?;
    let mut orientation = Orientation::NoTransforms;
    while rest.len() >= 8 {
        let length = size(rest).ok_or_else(cut)?;
        let content = rest.get(8..8usize.saturating_add(length)).ok_or_else(cut)?;
        if rest.starts_with(b"EXIF") {
            orientation = of_exif(content);
        }
        rest = rest.get(8 + length.next_multiple_of(2)..).unwrap_or_default();
    }
    Ok(orientation)
}

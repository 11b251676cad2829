//! BMP: grey, colours or a palette, of which some are shown without interpolation.

use super::error::Refusal;

/// Is this a BMP with a palette of colours, or of black and white alone? One whose palette counts the grey levels is a
/// grey picture.
pub(crate) fn is_indexed(bytes: &[u8]) -> bool {
    let indexed = || {
        // After the file's 14 bytes comes a header that begins with its own length; 12 is the one of OS/2.
        let header = number(bytes, 14, 4)?;
        let (bits, entry, used) = if header == 12 {
            (number(bytes, 24, 2)?, 3, 0)
        } else {
            (number(bytes, 28, 2)?, 4, number(bytes, 46, 4)?)
        };
        if bits > 8 {
            return Some(false);
        }
        let colours = if used == 0 { 1 << bits } else { used };
        let palette = bytes.get(14 + header..)?.chunks_exact(entry).take(colours);
        let counts = palette.enumerate().all(|(level, colour)| colour[..3].iter().all(|&c| usize::from(c) == level));
        Some(colours <= 2 || !counts)
    };
    indexed() == Some(true)
}

/// A number of `length` bytes, little endian.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    let field = bytes.get(at..at + length)?;
    Some(field.iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte)))
}

/// Refuses a run-length coded picture whose rows are not all there: the decoder takes the rest for the first colour.
pub(crate) fn check(bytes: &[u8]) -> Result<(), Refusal> {
    const RLE8: usize = 1;
    const RLE4: usize = 2;
    let field = |at, length| number(bytes, at, length);
    let Some(compression) = field(14, 4).filter(|&header| header >= 40).and_then(|_| field(30, 4)) else {
        return Ok(());
    };
    if !matches!(compression, RLE8 | RLE4) {
        return Ok(());
    }
    let cut = || Refusal::damaged("the file ends before the picture does");
    let height = field(22, 4).map_or(0, |height| (height as u32 as i32).unsigned_abs() as usize);
    let mut rest = field(10, 4).and_then(|start| bytes.get(start..)).ok_or_else(cut)?;
    let mut row = 0;
    loop {
        let (pair, after) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
        let skip = match *pair {
            [0, 0] => {
                row += 1;
                0
            }
            // The end of the picture, which may lie before the last row: what is left out is the first colour by right.
            [0, 1] => return Ok(()),
            [0, 2] => {
                row += usize::from(*after.get(1).ok_or_else(cut)?);
                2
            }
            [0, pixels] => {
                let length = usize::from(pixels);
                let length = if compression == RLE8 { length } else { length.div_ceil(2) };
                length.next_multiple_of(2)
            }
            [_, _] => 0,
        };
        if row >= height {
            return Ok(());
        }
        rest = after.get(skip..).ok_or_else(cut)?;
    }
}

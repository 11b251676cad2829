//! Letters in pictures: eight by eight pixels each, enlarged by whole factors; the font is font8x8's.

use font8x8::{BASIC_FONTS, LATIN_FONTS, UnicodeFonts};
use image::{Rgb, RgbImage};

/// Columns and rows of a letter.
pub const SIDE: u32 = 8;

/// Columns that `text` takes, its letters enlarged `scale` times.
pub fn width(text: &str, scale: u32) -> u32 {
    text.chars().count() as u32 * SIDE * scale
}

/// Writes `text` from `(left, top)` on; what lies beyond the picture is cut off, and a letter that the font does not have is `?`.
pub fn write(picture: &mut RgbImage, text: &str, (left, top): (u32, u32), scale: u32, colour: Rgb<u8>) {
    let (across, down) = picture.dimensions();
    for (at, letter) in text.chars().enumerate() {
        let rows = BASIC_FONTS.get(letter).or_else(|| LATIN_FONTS.get(letter)).or_else(|| BASIC_FONTS.get('?'));
        let start = left + at as u32 * SIDE * scale;
        for (row, bits) in rows.unwrap_or_default().into_iter().enumerate() {
            for column in (0..SIDE).filter(|column| bits >> column & 1 == 1) {
                let (x, y) = (start + column * scale, top + row as u32 * scale);
                for (x, y) in (y..(y + scale).min(down)).flat_map(|y| (x..(x + scale).min(across)).map(move |x| (x, y)))
                {
                    picture.put_pixel(x, y, colour);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_told_apart_and_stay_in_the_picture() {
        let drawn = |text: &str| {
            let mut picture = RgbImage::new(40, 20);
            write(&mut picture, text, (1, 2), 2, Rgb([255; 3]));
            picture
        };
        let lit = |picture: &RgbImage| picture.pixels().filter(|pixel| pixel.0 == [255; 3]).count();
        assert_eq!(width("ab", 2), 32);
        assert!(lit(&drawn("I")) > 10 && drawn("I") != drawn("l") && drawn("ü") != drawn("u"));
        assert_eq!(drawn("\u{4e2d}"), drawn("?"));
        assert_eq!(lit(&drawn(" ")), 0);
        assert!(lit(&drawn("WWWWWWWWWWWW")) > lit(&drawn("W")), "cut off, and no harm done");
    }
}

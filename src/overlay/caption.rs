//! What a picture says of itself when it is looked at alone: verdict, numbers and the scale of its colours, in a strip below it.

use image::{Rgb, RgbImage, imageops};

use super::colour;
use crate::lettering;
use crate::verdict::Verdict;

const PAPER: Rgb<u8> = Rgb([24, 24, 24]);
const INK: Rgb<u8> = Rgb([235, 235, 235]);
const GREEN: Rgb<u8> = Rgb([90, 210, 110]);
const RED: Rgb<u8> = Rgb([255, 95, 85]);
/// Columns of a picture whose letters are eight pixels wide.
const SMALL: u32 = 512;
/// Columns of the scale, in letters.
const SCALE: u32 = 16;

/// What is said below a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Caption {
    /// The recipe's word, where there is one.
    pub verdict: Option<Verdict>,
    /// The image score, in the model's units.
    pub score: f32,
    /// The map's largest value, 0 … 1.
    pub peak: f32,
    /// The value that is outlined, 0 … 1.
    pub outline: f32,
}

impl Caption {
    fn words(&self) -> Vec<(String, Rgb<u8>)> {
        let verdict = self.verdict.map(|verdict| match verdict {
            Verdict::Pass => ("PASS".to_owned(), GREEN),
            Verdict::Fail => ("FAIL".to_owned(), RED),
            Verdict::NoVerdict(_) => ("NO VERDICT".to_owned(), INK),
        });
        let numbers = [
            format!("score {:.3}", self.score),
            format!("largest {:.3}", self.peak),
            format!("outlined from {:.2}", self.outline),
        ];
        verdict.into_iter().chain(numbers.map(|words| (words, INK))).collect()
    }
}

/// `picture`, as it is, with the strip below it.
pub fn captioned(picture: &RgbImage, caption: &Caption) -> RgbImage {
    let (width, height) = picture.dimensions();
    let scale = (width / SMALL).max(1);
    let line = (lettering::SIDE + 4) * scale;
    let gap = lettering::SIDE * scale;
    // Words go on in the next line where they do not fit.
    let (mut x, mut y) = (gap / 2, 0);
    let mut places = Vec::new();
    for (words, ink) in caption.words() {
        let needs = lettering::width(&words, scale);
        if x > gap / 2 && x + needs > width {
            (x, y) = (gap / 2, y + line);
        }
        places.push((words, ink, (x, y)));
        x += needs + 2 * gap;
    }
    let bar = SCALE * gap;
    if x > gap / 2 && x + bar + 4 * gap > width {
        (x, y) = (gap / 2, y + line);
    }
    let mut drawn = RgbImage::from_pixel(width, height + y + line, PAPER);
    imageops::replace(&mut drawn, picture, 0, 0);
    let top = height + 2 * scale;
    for (words, ink, (x, y)) in places {
        lettering::write(&mut drawn, &words, (x, top + y), scale, ink);
    }
    // From 0 to 1 in the colours of the map; the tick is the outlined value.
    lettering::write(&mut drawn, "0", (x, top + y), scale, INK);
    let from = x + gap + gap / 2;
    let end = (from + bar).min(width);
    for column in from..end {
        let value = (column - from) as f32 / bar as f32;
        let ink = Rgb(colour(value).map(|level| level.round() as u8));
        (0..gap).for_each(|row| drawn.put_pixel(column, top + y + row, ink));
    }
    let tick = from + (caption.outline.clamp(0.0, 1.0) * bar as f32) as u32;
    for column in tick.min(end.saturating_sub(1))..(tick + scale).min(end) {
        (0..gap).for_each(|row| drawn.put_pixel(column, top + y + row, PAPER));
    }
    lettering::write(&mut drawn, "1", (end + gap / 2, top + y), scale, INK);
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_stays_as_it_is_and_the_strip_says_the_verdict_in_its_colour() {
        for width in [1, 60, 256, 2448] {
            let picture = RgbImage::from_fn(width, 7, |x, y| Rgb([x as u8, y as u8, 77]));
            let said = |verdict| captioned(&picture, &Caption { verdict, score: 1.5, peak: 0.25, outline: 0.5 });
            let [pass, fail, without] = [Some(Verdict::Pass), Some(Verdict::Fail), None].map(said);
            for drawn in [&pass, &fail, &without] {
                assert_eq!(drawn.width(), width);
                assert!(drawn.height() > 7);
                assert!((0..width).all(|x| (0..7).all(|y| drawn.get_pixel(x, y) == picture.get_pixel(x, y))));
            }
            let has = |drawn: &RgbImage, ink: Rgb<u8>| drawn.pixels().any(|pixel| *pixel == ink);
            if width > 40 {
                assert!(has(&pass, GREEN) && !has(&pass, RED) && has(&fail, RED) && !has(&without, RED), "{width}");
            }
        }
    }
}

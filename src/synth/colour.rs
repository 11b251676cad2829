//! Colours as display values 0 … 1, and the words for them in captions.

use super::field::mix;
use crate::dice::Dice;

/// Red, green, blue.
pub(super) type Rgb = [f32; 3];

pub(super) fn blend(from: Rgb, to: Rgb, share: f32) -> Rgb {
    [mix(from[0], to[0], share), mix(from[1], to[1], share), mix(from[2], to[2], share)]
}

pub(super) fn gain(colour: Rgb, by: f32) -> Rgb {
    [colour[0] * by, colour[1] * by, colour[2] * by]
}

pub(super) fn times(colour: Rgb, tint: Rgb) -> Rgb {
    [colour[0] * tint[0], colour[1] * tint[1], colour[2] * tint[2]]
}

/// Rec. 601 luma.
pub(super) fn luma(colour: Rgb) -> f32 {
    0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
}

/// Largest difference of a channel.
pub(super) fn distance(a: Rgb, b: Rgb) -> f32 {
    (a[0] - b[0]).abs().max((a[1] - b[1]).abs()).max((a[2] - b[2]).abs())
}

/// A colour that a caption can name.
#[derive(Clone, Copy)]
pub(super) struct Shade {
    pub word: &'static str,
    pub rgb: Rgb,
}

pub(super) const fn shade(word: &'static str, r: f32, g: f32, b: f32) -> Shade {
    Shade { word, rgb: [r, g, b] }
}

/// One of the shades, moved a little so that no two products are alike.
pub(super) fn choose(dice: &mut Dice, of: &[Shade]) -> Shade {
    let shade = dice.pick(of);
    let level = dice.between(0.86, 1.14);
    let mut rgb = gain(shade.rgb, level);
    for channel in &mut rgb {
        *channel = (*channel * dice.between(0.96, 1.04)).clamp(0.02, 0.97);
    }
    Shade { word: shade.word, rgb }
}

pub(super) const METALS: &[Shade] = &[
    shade("steel", 0.58, 0.60, 0.62),
    shade("aluminium", 0.72, 0.73, 0.74),
    shade("brass", 0.74, 0.61, 0.34),
    shade("copper", 0.72, 0.45, 0.33),
    shade("dark steel", 0.37, 0.39, 0.42),
];

/// What dyes, plastics and paints come in.
pub(super) const DYES: &[Shade] = &[
    shade("red", 0.70, 0.16, 0.15),
    shade("blue", 0.16, 0.28, 0.62),
    shade("green", 0.18, 0.47, 0.25),
    shade("yellow", 0.86, 0.72, 0.20),
    shade("orange", 0.86, 0.46, 0.14),
    shade("white", 0.86, 0.86, 0.84),
    shade("grey", 0.50, 0.50, 0.51),
    shade("black", 0.13, 0.13, 0.14),
    shade("purple", 0.42, 0.22, 0.52),
    shade("turquoise", 0.18, 0.58, 0.58),
    shade("beige", 0.76, 0.66, 0.50),
    shade("brown", 0.42, 0.27, 0.17),
];

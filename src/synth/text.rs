//! Short codes in a dot-matrix face, as printers and stamps put them on products.

use std::f32::consts::TAU;

use super::field::{Point, at, floor, hash, ramp};

/// Five columns by seven rows, a bit per dot, highest bit left.
const LETTERS: [[u8; 7]; 20] = [
    [14, 17, 19, 21, 25, 17, 14],
    [4, 12, 4, 4, 4, 4, 14],
    [14, 17, 1, 2, 4, 8, 31],
    [31, 2, 4, 2, 1, 17, 14],
    [2, 6, 10, 18, 31, 2, 2],
    [31, 16, 30, 1, 1, 17, 14],
    [6, 8, 16, 30, 17, 17, 14],
    [31, 1, 2, 4, 8, 8, 8],
    [14, 17, 17, 14, 17, 17, 14],
    [14, 17, 17, 15, 1, 2, 12],
    [14, 17, 17, 31, 17, 17, 17],
    [30, 17, 17, 30, 17, 17, 30],
    [14, 17, 16, 16, 16, 17, 14],
    [30, 17, 17, 17, 17, 17, 30],
    [31, 16, 16, 30, 16, 16, 31],
    [17, 17, 17, 31, 17, 17, 17],
    [17, 18, 20, 24, 20, 18, 17],
    [16, 16, 16, 16, 16, 16, 31],
    [30, 17, 17, 30, 20, 18, 17],
    [31, 4, 4, 4, 4, 4, 4],
];

/// Width of a letter with its space, for a height of one.
const ADVANCE: f32 = 6.0 / 7.0;

/// Ink of a line of `count` letters of a height, centred on the origin; `seed` says which letters.
pub(super) fn line(p: Point, height: f32, count: i32, seed: u32) -> f32 {
    let v = p.y / height + 0.5;
    let u = p.x / (height * ADVANCE) + 0.5 * count as f32;
    if !(0.0..1.0).contains(&v) || !(0.0..count as f32).contains(&u) {
        return 0.0;
    }
    let index = floor(u);
    let letter = LETTERS[(hash(index, 5, seed) % LETTERS.len() as u32) as usize];
    // Dots touch within a letter, so that strokes are whole.
    let (column, row) = ((u - index as f32) * 6.0, v * 7.0);
    let (c, r) = (floor(column), floor(row));
    let lit = |c: i32, r: i32| (0..5).contains(&c) && (0..7).contains(&r) && letter[r as usize] >> (4 - c) & 1 == 1;
    if !lit(c, r) {
        return 0.0;
    }
    let (x, y) = (column - c as f32 - 0.5, row - r as f32 - 0.5);
    let (right, down) = (if x > 0.0 { 1 } else { -1 }, if y > 0.0 { 1 } else { -1 });
    let fade = |offset: f32, joined: bool| if joined { 1.0 } else { ramp(0.5, 0.3, offset.abs()) };
    fade(x, lit(c + right, r)) * fade(y, lit(c, r + down))
}

/// Such a line around the origin, read from outside, its middle at the top and the letters' at a radius.
pub(super) fn around(p: Point, radius: f32, height: f32, count: i32, seed: u32) -> f32 {
    let turns = at(-p.y, p.x).turns();
    line(at(turns * TAU * radius, radius - p.length()), height, count, seed)
}

/// Half the width of such a line.
pub(super) fn half_width(height: f32, count: i32) -> f32 {
    0.5 * height * ADVANCE * count as f32
}

//! Points, and functions of a point that textures are made of; only operations that IEEE 754 rounds alike everywhere.

use std::ops::{Add, Mul, Sub};

/// A place: in the picture's units its half side is 1, y points down.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Point {
    pub x: f32,
    pub y: f32,
}

pub(super) const fn at(x: f32, y: f32) -> Point {
    Point { x, y }
}

impl Add for Point {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        at(self.x + other.x, self.y + other.y)
    }
}

impl Sub for Point {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        at(self.x - other.x, self.y - other.y)
    }
}

impl Mul<f32> for Point {
    type Output = Self;
    fn mul(self, by: f32) -> Self {
        at(self.x * by, self.y * by)
    }
}

impl Point {
    pub fn dot(self, other: Self) -> f32 {
        self.x * other.x + self.y * other.y
    }

    pub fn length(self) -> f32 {
        self.dot(self).sqrt()
    }

    /// Turned by the angle of a unit vector.
    pub fn turned(self, by: Self) -> Self {
        at(self.x * by.x - self.y * by.y, self.x * by.y + self.y * by.x)
    }

    /// Unit vector at an angle in whole turns.
    pub fn angle(turns: f32) -> Self {
        let radians = turns * std::f32::consts::TAU;
        at(libm::cosf(radians), libm::sinf(radians))
    }

    pub fn conjugate(self) -> Self {
        at(self.x, -self.y)
    }

    /// Which way from the origin, in turns, -0.5 … 0.5 (polynomial, within 1e-4).
    pub fn turns(self) -> f32 {
        let (ax, ay) = (self.x.abs(), self.y.abs());
        let ratio = ax.min(ay) / ax.max(ay).max(1e-9);
        let square = ratio * ratio;
        let eighth = ((-0.046_496_5 * square + 0.159_314_2) * square - 0.327_622_8) * square * ratio + ratio;
        let mut turns = eighth / std::f32::consts::TAU;
        if ay > ax {
            turns = 0.25 - turns;
        }
        if self.x < 0.0 {
            turns = 0.5 - turns;
        }
        if self.y < 0.0 { -turns } else { turns }
    }
}

/// Largest whole number not above.
pub(super) fn floor(x: f32) -> i32 {
    let whole = x as i32;
    whole - i32::from(whole as f32 > x)
}

/// Part behind the point, 0 … 1.
pub(super) fn fraction(x: f32) -> f32 {
    x - floor(x) as f32
}

/// 0 up to 0, 1 from 1 on, an S between.
pub(super) fn smooth(x: f32) -> f32 {
    let x = x.clamp(0.0, 1.0);
    x * x * (3.0 - 2.0 * x)
}

/// [`smooth`] from one value to another, which may be smaller.
pub(super) fn ramp(from: f32, to: f32, x: f32) -> f32 {
    smooth((x - from) / (to - from))
}

pub(super) fn mix(from: f32, to: f32, share: f32) -> f32 {
    from + (to - from) * share
}

/// Sine of an angle in turns, within 1.2e-3.
pub(super) fn wave(turns: f32) -> f32 {
    let u = fraction(turns) - 0.5;
    let y = 16.0 * u * u.abs() - 8.0 * u;
    0.775 * y + 0.225 * y * y.abs()
}

const ACROSS: u32 = 0x9E37_79B1;
const DOWN: u32 = 0x85EB_CA77;

fn stir(mut h: u32) -> u32 {
    h ^= h >> 15;
    h = h.wrapping_mul(0x2C1B_3C6D);
    h ^= h >> 12;
    h = h.wrapping_mul(0x297A_2D39);
    h ^ (h >> 15)
}

/// A number for a cell of a grid.
pub(super) fn hash(x: i32, y: i32, seed: u32) -> u32 {
    stir((x as u32).wrapping_mul(ACROSS) ^ (y as u32).wrapping_mul(DOWN) ^ seed)
}

/// A number for each piece of a grid; [`hash`] gives some cells and their opposites across the origin the same one.
pub(super) fn number(x: i32, y: i32) -> u32 {
    const FAR: i32 = 1 << 12;
    hash(x.wrapping_add(FAR), y.wrapping_add(FAR), 0)
}

fn unit(h: u32) -> f32 {
    (h >> 8) as f32 / (1u32 << 24) as f32
}

/// [`hash`] as 0 … 1.
pub(super) fn chance(x: i32, y: i32, seed: u32) -> f32 {
    unit(hash(x, y, seed))
}

/// Value noise, 0 … 1, features about one unit wide.
pub(super) fn noise(x: f32, y: f32, seed: u32) -> f32 {
    let (ix, iy) = (floor(x), floor(y));
    let (fx, fy) = (x - ix as f32, y - iy as f32);
    let (sx, sy) = (fx * fx * (3.0 - 2.0 * fx), fy * fy * (3.0 - 2.0 * fy));
    // The four corners' hashes, with what they have in common taken once.
    let (left, above) = ((ix as u32).wrapping_mul(ACROSS), (iy as u32).wrapping_mul(DOWN) ^ seed);
    let right = left.wrapping_add(ACROSS);
    let below = (iy as u32).wrapping_mul(DOWN).wrapping_add(DOWN) ^ seed;
    let upper = mix(unit(stir(left ^ above)), unit(stir(right ^ above)), sx);
    mix(upper, mix(unit(stir(left ^ below)), unit(stir(right ^ below)), sx), sy)
}

/// Noise of several octaves, 0 … 1.
pub(super) fn clouds(p: Point, octaves: u32, seed: u32) -> f32 {
    let (mut sum, mut weight, mut scale, mut total) = (0.0, 1.0, 1.0, 0.0);
    for octave in 0..octaves {
        sum += weight * noise(p.x * scale + 17.0 * octave as f32, p.y * scale, seed.wrapping_add(octave));
        total += weight;
        weight *= 0.5;
        scale *= 2.0;
    }
    sum / total
}

/// Where a point lies among scattered seeds, one in every unit square.
pub(super) struct Cell {
    /// Distance to the nearest seed.
    pub near: f32,
    /// Distance to the second nearest.
    pub next: f32,
    /// A number of the nearest seed's own.
    pub id: u32,
}

pub(super) fn cell(p: Point, seed: u32) -> Cell {
    let (ix, iy) = (floor(p.x), floor(p.y));
    let (fx, fy) = (p.x - ix as f32, p.y - iy as f32);
    let (mut near, mut next, mut id) = (9.0f32, 9.0f32, 0);
    for dy in -1..=1 {
        let row = (iy.wrapping_add(dy) as u32).wrapping_mul(DOWN) ^ seed;
        for dx in -1..=1 {
            let h = stir((ix.wrapping_add(dx) as u32).wrapping_mul(ACROSS) ^ row);
            let x = dx as f32 + (h & 0xFFFF) as f32 / 65536.0 - fx;
            let y = dy as f32 + (h >> 16) as f32 / 65536.0 - fy;
            let square = x * x + y * y;
            if square < near {
                next = near;
                near = square;
                id = h;
            } else if square < next {
                next = square;
            }
        }
    }
    Cell { near: near.sqrt(), next: next.sqrt(), id }
}

/// Distance to a stretch of line, and how far along it, 0 … 1.
pub(super) fn along_segment(p: Point, from: Point, to: Point) -> (f32, f32) {
    let (q, d) = (p - from, to - from);
    let along = (q.dot(d) / d.dot(d).max(1e-12)).clamp(0.0, 1.0);
    ((q - d * along).length(), along)
}

/// Signed distance to a rectangle around the origin with rounded corners, negative inside.
pub(super) fn to_rectangle(p: Point, half: Point, corner: f32) -> f32 {
    let q = at(p.x.abs() - half.x + corner, p.y.abs() - half.y + corner);
    at(q.x.max(0.0), q.y.max(0.0)).length() + q.x.max(q.y).min(0.0) - corner
}

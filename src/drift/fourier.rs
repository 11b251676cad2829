//! The discrete Fourier transform of a square of a fixed power of two (Cooley and Tukey 1965, radix 2). A library for every
//! length would bring more code than these lines have.

use std::ops::{Add, Mul, Sub};

/// A complex number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Complex {
    pub re: f32,
    pub im: f32,
}

impl Complex {
    pub fn conj(self) -> Self {
        Self { re: self.re, im: -self.im }
    }

    pub fn norm(self) -> f32 {
        self.re.hypot(self.im)
    }

    pub fn times(self, factor: f32) -> Self {
        Self { re: self.re * factor, im: self.im * factor }
    }
}

impl Add for Complex {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { re: self.re + other.re, im: self.im + other.im }
    }
}

impl Sub for Complex {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { re: self.re - other.re, im: self.im - other.im }
    }
}

impl Mul for Complex {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let Self { re, im } = self;
        Self { re: re * other.re - im * other.im, im: re * other.im + im * other.re }
    }
}

/// What transforms of `SIDE` × `SIDE` values share.
pub(super) struct Fourier<const SIDE: usize> {
    /// exp(−2πi k / SIDE), k below SIDE / 2.
    turns: Vec<Complex>,
}

impl<const SIDE: usize> Fourier<SIDE> {
    pub fn new() -> Self {
        const { assert!(SIDE.is_power_of_two() && SIDE > 1) };
        let turn = |k: usize| {
            let angle = -std::f64::consts::TAU * k as f64 / SIDE as f64;
            Complex { re: angle.cos() as f32, im: angle.sin() as f32 }
        };
        Self { turns: (0..SIDE / 2).map(turn).collect() }
    }

    /// The forward transform, not scaled; rows, then columns: after two transpositions every value is in its place.
    pub fn forward(&self, mut values: Vec<Complex>) -> Vec<Complex> {
        for _ in 0..2 {
            values.chunks_exact_mut(SIDE).for_each(|row| self.row(row));
            for y in 0..SIDE {
                for x in 0..y {
                    values.swap(y * SIDE + x, x * SIDE + y);
                }
            }
        }
        values
    }

    /// The real part of the inverse, not scaled.
    pub fn inverse(&self, mut values: Vec<Complex>) -> Vec<f32> {
        values.iter_mut().for_each(|value| *value = value.conj());
        self.forward(values).into_iter().map(|value| value.re).collect()
    }

    fn row(&self, row: &mut [Complex]) {
        let unused = usize::BITS - SIDE.trailing_zeros();
        for at in 0..SIDE {
            let other = at.reverse_bits() >> unused;
            if at < other {
                row.swap(at, other);
            }
        }
        let mut half = 1;
        while half < SIDE {
            for block in row.chunks_exact_mut(2 * half) {
                let (low, high) = block.split_at_mut(half);
                for (k, (a, b)) in low.iter_mut().zip(high).enumerate() {
                    let turned = *b * self.turns[k * (SIDE / 2 / half)];
                    (*a, *b) = (*a + turned, *a - turned);
                }
            }
            half *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    #[test]
    fn it_is_the_sum_of_its_definition_and_undoes_itself() {
        const SIDE: usize = 8;
        let mut dice = Dice::new(1, [0, 0, 9]);
        let values: Vec<f32> = (0..SIDE * SIDE).map(|_| dice.normal() as f32).collect();
        let fourier = Fourier::<SIDE>::new();
        let found = fourier.forward(values.iter().map(|&re| Complex { re, im: 0.0 }).collect());
        for (index, found) in found.iter().enumerate() {
            let (mut re, mut im) = (0.0, 0.0);
            for (at, value) in values.iter().enumerate() {
                let cycles = (index % SIDE) * (at % SIDE) + (index / SIDE) * (at / SIDE);
                let angle = -std::f64::consts::TAU * cycles as f64 / SIDE as f64;
                re += f64::from(*value) * angle.cos();
                im += f64::from(*value) * angle.sin();
            }
            assert!((f64::from(found.re) - re).abs() < 1e-4 && (f64::from(found.im) - im).abs() < 1e-4, "{index}");
        }
        let back = fourier.inverse(found);
        assert!(back.iter().zip(&values).all(|(a, b)| (a / (SIDE * SIDE) as f32 - b).abs() < 1e-5));
    }
}

//! The two kinds of numbers of 8 bits that the same scales are used with: integers, and floats of four bits of exponent and three of
//! mantissa (Micikevicius et al., "FP8 Formats for Deep Learning", 2022), which NVIDIA's cards multiply from SM 8.9 on.

use super::choice::Precision;
use super::scales::{LARGEST, Layer};

/// Largest float of 8 bits.
const LARGEST_FLOAT: f32 = 448.0;
/// What is no number, as a float of 8 bits.
const NOT_A_NUMBER: u8 = 0x7f;
/// Floats are as fine near their largest value as far below it, so that room above what was seen costs nothing: ranges that were
/// clipped for integers, to 0.6 at most, lie within it whole.
const ROOM: f32 = 2.0;

/// Which numbers of 8 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EightBits {
    /// −127 … 127, steps of one size.
    #[default]
    Integers,
    /// ±448, three bits of mantissa.
    Floats,
}

/// A matrix in 8 bits, row by row.
pub struct Matrix {
    /// W · m / step, rounded: a byte for each number.
    pub bytes: Vec<u8>,
    /// What 1 stands for in each row.
    pub steps: Vec<f32>,
}

impl EightBits {
    /// Those of a precision that has some.
    pub fn of(precision: Precision) -> Option<Self> {
        match precision {
            Precision::Int8 => Some(Self::Integers),
            Precision::Fp8 => Some(Self::Floats),
            Precision::Auto | Precision::Fp32 | Precision::Bf16 | Precision::Fp16 => None,
        }
    }

    /// What 1 stands for in the activations x / m.
    pub fn step(self, layer: &Layer) -> f32 {
        match self {
            Self::Integers => layer.step,
            Self::Floats => layer.step * LARGEST * ROOM / LARGEST_FLOAT,
        }
    }

    /// The weight `[out, columns]` of a layer, with its migration.
    pub fn weight(self, layer: &Layer, values: &[f32]) -> Matrix {
        match self {
            Self::Integers => {
                let int8 = layer.weight(values);
                Matrix { bytes: bytemuck::cast_vec(int8.values), steps: int8.steps }
            }
            Self::Floats => {
                let (mut bytes, mut steps) = (Vec::with_capacity(values.len()), Vec::new());
                for row in values.chunks_exact(layer.migration.len().max(1)) {
                    let moved = || row.iter().zip(&layer.migration).map(|(w, m)| w * m);
                    let largest = moved().fold(0.0_f32, |most, w| most.max(w.abs()));
                    // A row of zeros has any step.
                    let step = if largest > 0.0 { largest / LARGEST_FLOAT } else { 1.0 };
                    steps.push(step);
                    bytes.extend(moved().map(|w| float(w / step)));
                }
                Matrix { bytes, steps }
            }
        }
    }
}

/// The nearest float of 8 bits (E4M3), halves to even, within ±[`LARGEST_FLOAT`].
fn float(x: f32) -> u8 {
    if x.is_nan() {
        return NOT_A_NUMBER;
    }
    let sign = if x.is_sign_negative() { 0x80 } else { 0 };
    let x = x.abs().min(LARGEST_FLOAT);
    // Of x as a float32; below 2⁻⁶ steps have the size that they have there.
    let exponent = ((x.to_bits() >> 23) as i32 - 127).max(-6);
    let units = (x / 2.0_f32.powi(exponent - 3)).round_ties_even() as i32;
    // 8 … 16 units; 16 are the first of the next exponent. Fewer than 8 have exponent −6 and stand for themselves.
    sign | (8 * (exponent + 7) + units - 8) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a code stands for, by the definition of the format.
    fn value(code: u8) -> f32 {
        let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7));
        let size = match exponent {
            0 => mantissa / 8.0 * 2.0_f32.powi(-6),
            _ => (1.0 + mantissa / 8.0) * 2.0_f32.powi(exponent - 7),
        };
        if code & 0x80 == 0 { size } else { -size }
    }

    #[test]
    fn floats_are_the_nearest_ones_and_halves_go_to_even() {
        for code in 0..NOT_A_NUMBER {
            assert_eq!(float(value(code)), code);
            assert_eq!(float(-value(code)), code | 0x80);
            let next = code + 1;
            if next < NOT_A_NUMBER {
                let middle = f32::midpoint(value(code), value(next));
                assert_eq!(float(middle), if code % 2 == 0 { code } else { next }, "{middle}");
                assert_eq!((float(middle.next_down()), float(middle.next_up())), (code, next), "{middle}");
            }
        }
        assert_eq!([448.0, 460.0, 1e9, f32::INFINITY, f32::NEG_INFINITY].map(float), [0x7e, 0x7e, 0x7e, 0x7e, 0xfe]);
        assert_eq!([f32::NAN, 1.0, -2.0, 1e-9, 1e-38].map(float), [NOT_A_NUMBER, 0x38, 0xc0, 0, 0]);
    }

    #[test]
    fn both_kinds_stand_for_the_weight_and_hold_the_range_that_was_seen() {
        let layer = Layer { migration: vec![1.0, 4.0, 0.5], step: 0.1, alpha: 0.5, error: 0.0 };
        let values = [0.5, -0.25, 1.0, 0.0, 0.0, 0.0];
        let floats = EightBits::Floats.weight(&layer, &values);
        for (at, (&code, m)) in floats.bytes.iter().zip(layer.migration.iter().cycle()).enumerate() {
            let (found, wanted) = (value(code) * floats.steps[at / 3], values[at] * m);
            assert!((found - wanted).abs() <= wanted.abs() / 16.0, "{found} {wanted}");
        }
        assert_eq!(floats.bytes[1], 0xfe, "the largest of a row is the largest there is");
        let integers = EightBits::Integers.weight(&layer, &values);
        assert_eq!(integers.bytes, [64, 129, 64, 0, 0, 0]);
        // 12.7 and what was clipped to it.
        let most = EightBits::Floats.step(&layer) * LARGEST_FLOAT;
        assert!((most - 25.4).abs() < 1e-3 && (EightBits::Integers.step(&layer) - 0.1).abs() < 1e-9, "{most}");
    }
}

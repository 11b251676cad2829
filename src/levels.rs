//! What the values of a sensor mean: its black, its white and the curve between, fixed once for a camera.

use std::sync::OnceLock;

/// Depths that sensors have, bits; what is seen is rounded up to the next one.
pub const SENSOR_BITS: [u32; 4] = [10, 12, 14, 16];

/// Curves that are taken.
pub const GAMMAS: std::ops::RangeInclusive<f32> = 0.2..=5.0;

/// From the values of a sensor to 0 (black) … 1 (white), what the model sees: `((value - black) / (white - black))^(1 / gamma)`,
/// clipped. Never adapted to a picture: a verdict must not depend on the brightest reflection.
#[derive(Clone, Debug)]
pub struct Levels {
    black: u16,
    white: u16,
    gamma: f32,
    /// Of every value; made when it is first asked for, once for all frames that share these levels.
    table: OnceLock<Box<[f32]>>,
}

impl PartialEq for Levels {
    fn eq(&self, other: &Self) -> bool {
        (self.black, self.white, self.gamma.to_bits()) == (other.black, other.white, other.gamma.to_bits())
    }
}

impl Eq for Levels {}

/// These are no levels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LevelsError {
    /// Nothing lies between them.
    #[error("black {black} is not below white {white}")]
    Upside {
        /// As it was written.
        black: u16,
        /// As it was written.
        white: u16,
    },
    /// The curve is none of [`GAMMAS`].
    #[error("gamma is not from 0.2 to 5; 1 keeps values as they are, 2.2 brightens those of a linear sensor")]
    Gamma,
}

impl Levels {
    /// Values up to `black` are 0, those from `white` on 1; `gamma` above 1 brightens what is between.
    pub fn new(black: u16, white: u16, gamma: f32) -> Result<Self, LevelsError> {
        if black >= white {
            return Err(LevelsError::Upside { black, white });
        }
        if !GAMMAS.contains(&gamma) {
            return Err(LevelsError::Gamma);
        }
        Ok(Self { black, white, gamma, table: OnceLock::new() })
    }

    /// The whole range of a sensor of `bits`, 1 to 16.
    pub fn of_bits(bits: u32) -> Self {
        let white = (u32::from(u16::MAX) >> (16 - bits.clamp(1, 16))) as u16;
        Self { black: 0, white, gamma: 1.0, table: OnceLock::new() }
    }

    /// The value of black.
    pub fn black(&self) -> u16 {
        self.black
    }

    /// The value of white.
    pub fn white(&self) -> u16 {
        self.white
    }

    /// The curve.
    pub fn gamma(&self) -> f32 {
        self.gamma
    }

    /// 0 … 1 of every value.
    pub fn table(&self) -> &[f32] {
        self.table.get_or_init(|| (0..=u16::MAX).map(|value| self.curve(f32::from(value))).collect())
    }

    /// 0 … 1 of a value between those of the sensor, as the resize leaves them.
    pub fn of(&self, value: f32) -> f32 {
        if self.gamma == 1.0 {
            return self.curve(value);
        }
        // Straight between two values of the sensor: a power for each pixel would cost more than the resize.
        let value = value.clamp(0.0, f32::from(u16::MAX));
        let below = value as usize;
        let table = self.table();
        let (low, high) = (table[below], table[(below + 1).min(table.len() - 1)]);
        low + (high - low) * (value - below as f32)
    }

    /// 0 … 255 of a value of the sensor.
    pub fn byte(&self, value: u16) -> u8 {
        (self.table()[usize::from(value)] * 255.0 + 0.5) as u8
    }

    fn curve(&self, value: f32) -> f32 {
        let range = f32::from(self.white - self.black);
        let straight = ((value - f32::from(self.black)) / range).clamp(0.0, 1.0);
        if self.gamma == 1.0 { straight } else { straight.powf(1.0 / self.gamma) }
    }
}

impl std::fmt::Display for Levels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "black {}, white {}, gamma {}", self.black, self.white, self.gamma)
    }
}

/// The depth of a sensor whose brightest value this is, bits: one of [`SENSOR_BITS`].
pub fn sensor_bits(brightest: u16) -> u32 {
    let needed = u16::BITS - brightest.leading_zeros();
    SENSOR_BITS.into_iter().find(|bits| *bits >= needed).unwrap_or(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sensors_range_becomes_0_to_1() {
        let levels = Levels::new(64, 1000, 1.0).expect("levels");
        assert_eq!([0.0, 64.0, 532.0, 1000.0, 4095.0].map(|value| levels.of(value)), [0.0, 0.0, 0.5, 1.0, 1.0]);
        assert_eq!((levels.byte(532), levels.byte(70)), (128, 2));
        for bits in SENSOR_BITS {
            let white = ((1u32 << bits) - 1) as u16;
            assert_eq!(
                (Levels::of_bits(bits).white(), sensor_bits(white), sensor_bits(white / 2 + 1)),
                (white, bits, bits)
            );
        }
        assert_eq!(sensor_bits(0), 10);
    }

    #[test]
    fn a_curve_goes_through_the_values_of_the_sensor() {
        let levels = Levels::new(0, 4095, 2.2).expect("levels");
        let exact = (1024.0f32 / 4095.0).powf(1.0 / 2.2);
        assert!((levels.of(1024.0) - exact).abs() < 1e-6 && levels.of(1024.5) > exact);
        assert!(levels.of(1e9) == 1.0 && levels.of(-3.0) == 0.0);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        assert!(Levels::new(5, 5, 1.0).is_err());
        for gamma in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert_eq!(Levels::new(0, 5, gamma).expect_err("no curve"), LevelsError::Gamma);
        }
    }
}

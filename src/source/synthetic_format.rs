//! How the sensor of the synthetic camera delivers its pictures: in 8 bits of colour, or as industrial sensors do.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::sensor_format::{BayerOrder, SensorFormat, Storage, mosaic};
use crate::frame::{Image, Levels, PixelFormat};

/// A sensor's pixel format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyntheticFormat {
    /// Red, green, blue, 8 bits each.
    #[default]
    Rgb8,
    /// Luminance of 8, 10, 12, 14 or 16 bits.
    Gray(u32),
    /// One colour a pixel, of 8, 10, 12, 14 or 16 bits; made whole again as those of any camera.
    Bayer(BayerOrder, u32),
}

/// Such a sensor is not played.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no format; allowed: rgb8, gray8, gray10, gray12, gray14, gray16, and bayer_rggb, grbg, gbrg or bggr with these numbers, such as bayer_rggb8"
)]
pub struct UnknownFormat(String);

impl FromStr for SyntheticFormat {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        let known = |bits: &str| bits.parse().ok().filter(|bits| [8, 10, 12, 14, 16].contains(bits));
        let found = match name {
            "rgb8" => Some(Self::Rgb8),
            _ => match (name.strip_prefix("gray"), name.strip_prefix("bayer_")) {
                (Some(bits), _) => known(bits).map(Self::Gray),
                (None, Some(rest)) => BayerOrder::ALL
                    .into_iter()
                    .find_map(|order| Some(Self::Bayer(order, known(rest.strip_prefix(order.name())?)?))),
                (None, None) => None,
            },
        };
        found.ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

impl fmt::Display for SyntheticFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rgb8 => f.write_str("rgb8"),
            Self::Gray(bits) => write!(f, "gray{bits}"),
            Self::Bayer(order, bits) => write!(f, "bayer_{}{bits}", order.name()),
        }
    }
}

impl SyntheticFormat {
    /// What its samples are; `None` for colours.
    pub fn sensor(self) -> Option<SensorFormat> {
        let (mosaic, bits) = match self {
            Self::Rgb8 => return None,
            Self::Gray(bits) => (None, bits),
            Self::Bayer(order, bits) => (Some(order), bits),
        };
        let storage = if bits == 8 { Storage::Bytes } else { Storage::Words { big_endian: false } };
        Some(SensorFormat { mosaic, bits, storage })
    }

    /// Bytes of a pixel of the finished picture.
    pub fn bytes_per_pixel(self) -> u64 {
        match self {
            Self::Rgb8 | Self::Bayer(_, 8) => 3,
            Self::Gray(8) => 1,
            Self::Gray(_) => 2,
            Self::Bayer(..) => 6,
        }
    }

    /// What the sensor measures of a picture of tight rows of red, green and blue, in its own bytes.
    pub fn exposed(self, width: usize, rgb: &[u8]) -> Vec<u8> {
        let samples = match self {
            Self::Rgb8 => return rgb.to_vec(),
            Self::Bayer(order, _) => mosaic(order, width, rgb),
            // Luminance of ITU-R BT.601.
            Self::Gray(_) => rgb
                .chunks_exact(3)
                .map(|p| {
                    ((19_595 * u32::from(p[0]) + 38_470 * u32::from(p[1]) + 7_471 * u32::from(p[2]) + 32_768) >> 16)
                        as u8
                })
                .collect(),
        };
        match self {
            Self::Gray(bits) | Self::Bayer(_, bits) if bits > 8 => {
                let white = (1u32 << bits) - 1;
                samples
                    .iter()
                    .flat_map(|byte| (((u32::from(*byte) * white + 127) / 255) as u16).to_le_bytes())
                    .collect()
            }
            _ => samples,
        }
    }

    /// The picture that comes of it.
    pub fn picture(self, width: u32, height: u32, rgb: Vec<u8>) -> Result<Image, String> {
        let seen = self.exposed(width as usize, &rgb);
        match self.sensor() {
            None => Image::new(width, height, PixelFormat::Rgb8, rgb).map_err(|error| error.to_string()),
            Some(sensor) => {
                let mut image = sensor.picture(width, height, None, &seen)?;
                if image.format.is_deep() {
                    image.levels = Some(Arc::new(Levels::of_bits(sensor.bits)));
                }
                Ok(image)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_written_as_it_is_read() {
        for name in ["rgb8", "gray8", "gray12", "gray16", "bayer_rggb8", "bayer_gbrg12", "bayer_bggr16"] {
            assert_eq!(name.parse::<SyntheticFormat>().expect(name).to_string(), name);
        }
        for name in ["", "gray", "gray9", "bayer_rggb", "bayer_8", "rgb12"] {
            assert!(name.parse::<SyntheticFormat>().is_err(), "{name}");
        }
    }

    #[test]
    fn a_grey_sensor_of_12_bits_keeps_white_and_black() {
        let image =
            SyntheticFormat::Gray(12).picture(2, 2, [[0; 3], [255; 3], [0, 255, 0], [9; 3]].concat()).expect("picture");
        let values: Vec<u16> = image.data().chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        assert_eq!((values[0], values[1], image.levels.as_ref().map(|levels| levels.white())), (0, 4095, Some(4095)));
        assert_eq!([0, 1, 2, 3].map(|at| image.rgb_at(at % 2, at / 2)[0]), [0, 255, 150, 9]);
    }
}

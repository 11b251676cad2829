//! The pixel formats of industrial sensors, by their GenICam names: depth, mosaic and packing, and how they become pictures.

use std::sync::Arc;

pub use super::bayer::{BayerOrder, mosaic};
use super::demosaic::{demosaic_8, demosaic_16};
use crate::frame::{Image, Levels, PixelFormat};

/// How the samples lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// One byte each.
    Bytes,
    /// Two bytes each, the value at the low end.
    Words {
        /// High byte first.
        big_endian: bool,
    },
    /// One bit stream from the low end of the first byte on, without a gap between rows: PFNC's `p`.
    Stream,
    /// Two samples in three bytes: high parts outside, low parts in the middle one. GigE Vision's `Packed`.
    Pairs,
}

/// What one sample of a sensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SensorFormat {
    /// Colours of the mosaic; `None` is grey.
    pub mosaic: Option<BayerOrder>,
    /// Significant bits, 8 to 16.
    pub bits: u32,
    /// Where they are.
    pub storage: Storage,
}

impl SensorFormat {
    /// Of a GenICam name such as `Mono12p` or `BayerRG10`.
    pub fn of_genicam(name: &str) -> Option<Self> {
        let (mosaic, rest) = match name.strip_prefix("Mono") {
            Some(rest) => (None, rest),
            None => BayerOrder::ALL
                .into_iter()
                .find_map(|order| Some((Some(order), name.strip_prefix("Bayer")?.strip_prefix(order.genicam())?)))?,
        };
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let bits = rest[..digits].parse().ok()?;
        let storage = match (&rest[digits..], bits) {
            ("", 8) => Storage::Bytes,
            ("", 10 | 12 | 14 | 16) => Storage::Words { big_endian: false },
            ("p", 10 | 12 | 14) => Storage::Stream,
            ("Packed", 10 | 12) => Storage::Pairs,
            _ => return None,
        };
        Some(Self { mosaic, bits, storage })
    }

    /// Of a GStreamer name of a mosaic: `rggb`, from GStreamer 1.24 on also `rggb12le` and its kin.
    pub fn of_gstreamer_bayer(name: &str) -> Option<Self> {
        let order = BayerOrder::ALL.into_iter().find(|order| name.starts_with(order.name()))?;
        let rest = &name[4..];
        let (bits, storage) = match (rest, rest.split_at_checked(2)) {
            ("", _) => (8, Storage::Bytes),
            (_, Some((bits @ ("10" | "12" | "14" | "16"), end @ ("le" | "be")))) => {
                (bits.parse().ok()?, Storage::Words { big_endian: end == "be" })
            }
            _ => return None,
        };
        Some(Self { mosaic: Some(order), bits, storage })
    }

    /// Bytes of a picture whose rows follow each other without padding.
    pub fn bytes(self, width: usize, height: usize) -> usize {
        let pixels = width * height;
        match self.storage {
            Storage::Bytes => pixels,
            Storage::Words { .. } => pixels * 2,
            Storage::Stream => (pixels * self.bits as usize).div_ceil(8),
            Storage::Pairs => pixels.div_ceil(2) * 3,
        }
    }

    /// The picture in these bytes; rows of whole samples may be padded to `stride` bytes. 16 bits say nothing of how many of
    /// them the sensor fills: such a picture has no levels yet. Errors name what is missing.
    pub fn picture(self, width: u32, height: u32, stride: Option<usize>, bytes: &[u8]) -> Result<Image, String> {
        let (columns, rows) = (width as usize, height as usize);
        let needed = self.bytes(columns, rows);
        let short = || format!("{} bytes are no frame of {width}x{height} pixels of {} bits", bytes.len(), self.bits);
        if needed == 0 || bytes.len() < needed {
            return Err(short());
        }
        if self.storage == Storage::Bytes {
            let grey = tight(bytes, columns, rows, stride).ok_or_else(short)?;
            let (format, data) = match self.mosaic {
                None => (PixelFormat::Gray8, grey),
                Some(order) => (PixelFormat::Rgb8, demosaic_8(order, columns, rows, &grey)?),
            };
            return Image::new(width, height, format, data).map_err(|error| error.to_string());
        }
        let levels = (self.bits < 16).then(|| Arc::new(Levels::of_bits(self.bits)));
        if (self.mosaic, self.storage) == (None, Storage::Words { big_endian: false }) {
            let words = tight(bytes, columns * 2, rows, stride).ok_or_else(short)?;
            let image = Image::new(width, height, PixelFormat::Gray16, words).map_err(|error| error.to_string())?;
            return Ok(image.through(levels));
        }
        let samples: Vec<u16> = match self.storage {
            Storage::Words { big_endian } => {
                let words = tight(bytes, columns * 2, rows, stride).ok_or_else(short)?;
                let word = |pair: &[u8]| match big_endian {
                    true => u16::from_be_bytes([pair[0], pair[1]]),
                    false => u16::from_le_bytes([pair[0], pair[1]]),
                };
                words.chunks_exact(2).map(word).collect()
            }
            Storage::Stream => of_stream(&bytes[..needed], self.bits, columns * rows),
            Storage::Bytes | Storage::Pairs => of_pairs(&bytes[..needed], self.bits, columns * rows),
        };
        let (format, data) = match self.mosaic {
            None => (PixelFormat::Gray16, samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()),
            Some(order) => (PixelFormat::Rgb16, demosaic_16(order, columns, rows, &samples)?),
        };
        let image = Image::new(width, height, format, data).map_err(|error| error.to_string())?;
        Ok(image.through(levels))
    }
}

/// Rows of `row` bytes without what lies between them; `stride` absent: as many bytes for each row as there are.
fn tight(bytes: &[u8], row: usize, rows: usize, stride: Option<usize>) -> Option<Vec<u8>> {
    let stride = stride.unwrap_or(bytes.len() / rows).max(row);
    if bytes.len() < stride * (rows - 1) + row {
        return None;
    }
    let mut tight = Vec::with_capacity(row * rows);
    bytes.chunks(stride).take(rows).for_each(|line| tight.extend_from_slice(&line[..row]));
    Some(tight)
}

fn of_stream(bytes: &[u8], bits: u32, count: usize) -> Vec<u16> {
    let mask = (1u32 << bits) - 1;
    let sample = |index: usize| {
        let at = index * bits as usize;
        let three = |offset: usize| u32::from(bytes.get(at / 8 + offset).copied().unwrap_or(0)) << (8 * offset);
        (((three(0) | three(1) | three(2)) >> (at % 8)) & mask) as u16
    };
    (0..count).map(sample).collect()
}

fn of_pairs(bytes: &[u8], bits: u32, count: usize) -> Vec<u16> {
    let low = bits - 8;
    let mask = (1u16 << low) - 1;
    let pair = |three: &[u8]| {
        let [first, middle, second] = [three[0], three[1], three[2]].map(u16::from);
        [(first << low) | (middle & mask), (second << low) | ((middle >> 4) & mask)]
    };
    bytes.chunks_exact(3).flat_map(pair).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_depth_mosaic_and_packing() {
        let format = |mosaic, bits, storage| Some(SensorFormat { mosaic, bits, storage });
        let words = Storage::Words { big_endian: false };
        for (name, expected) in [
            ("Mono8", format(None, 8, Storage::Bytes)),
            ("Mono14", format(None, 14, words)),
            ("Mono12p", format(None, 12, Storage::Stream)),
            ("Mono10Packed", format(None, 10, Storage::Pairs)),
            ("BayerRG12", format(Some(BayerOrder::Rggb), 12, words)),
            ("BayerGB10p", format(Some(BayerOrder::Gbrg), 10, Storage::Stream)),
            ("BayerXX8", None),
            ("Mono9", None),
            ("Mono", None),
            ("RGB8", None),
        ] {
            assert_eq!(SensorFormat::of_genicam(name), expected, "{name}");
        }
        let big = Storage::Words { big_endian: true };
        assert_eq!(SensorFormat::of_gstreamer_bayer("grbg"), format(Some(BayerOrder::Grbg), 8, Storage::Bytes));
        assert_eq!(SensorFormat::of_gstreamer_bayer("bggr12be"), format(Some(BayerOrder::Bggr), 12, big));
        assert_eq!(SensorFormat::of_gstreamer_bayer("bggr9le"), None);
        assert_eq!(SensorFormat::of_gstreamer_bayer("bggré"), None);
    }

    /// Examples of the PFNC and of GigE Vision's Packed formats, written out bit by bit.
    #[test]
    fn packed_samples_come_out_whole() {
        for (name, bytes, expected) in [
            ("Mono12p", &[0xBC, 0x3A, 0x12][..], [0xABC, 0x123]),
            ("Mono12Packed", &[0xAB, 0x3C, 0x12], [0xABC, 0x123]),
            ("Mono10p", &[0x01, 0xFE, 0x03], [0x201, 0x0FF]),
            ("Mono10Packed", &[0x80, 0x31, 0x3F], [0x201, 0x0FF]),
        ] {
            let image = SensorFormat::of_genicam(name).expect(name).picture(2, 1, None, bytes).expect(name);
            let samples: Vec<u16> = image.data().chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
            assert_eq!((samples.as_slice(), image.format), (&expected[..], PixelFormat::Gray16), "{name}");
            assert_eq!(image.levels.expect("known").white(), if name.starts_with("Mono12") { 4095 } else { 1023 });
        }
        // Rows share bytes, and the last one may end within.
        let format = SensorFormat::of_genicam("Mono12p").expect("format");
        let image = format.picture(3, 1, None, &[0x01, 0x20, 0x00, 0x03, 0x00]).expect("three");
        assert_eq!(image.data(), [1, 0, 2, 0, 3, 0]);
        assert!(format.picture(3, 1, None, &[0; 4]).is_err());
    }

    #[test]
    fn padding_and_byte_order_are_left_behind() {
        let format = SensorFormat { mosaic: None, bits: 16, storage: Storage::Words { big_endian: true } };
        let image = format.picture(1, 2, Some(4), &[1, 2, 9, 9, 3, 4]).expect("picture");
        assert_eq!((image.data(), &image.levels), (&[2, 1, 4, 3][..], &None));
        assert!(format.picture(1, 2, Some(4), &[0; 5]).is_err());
    }

    /// Each order by a picture in which a wrong one exchanges colours: whole areas of red, green and blue.
    #[cfg(feature = "opencv")]
    #[test]
    fn every_order_brings_the_colours_back() {
        let areas = [[200u8, 10, 30], [20, 180, 40], [15, 35, 220], [250, 200, 20]];
        let (width, height) = (33usize, 18usize);
        let rgb: Vec<u8> = (0..width * height).flat_map(|at| areas[(at % width) * 4 / width]).collect();
        for order in BayerOrder::ALL {
            let seen = mosaic(order, width, &rgb);
            let eight = SensorFormat { mosaic: Some(order), bits: 8, storage: Storage::Bytes };
            let image = eight.picture(width as u32, height as u32, None, &seen).expect("picture");
            let twelve = SensorFormat { mosaic: Some(order), bits: 12, storage: Storage::Words { big_endian: false } };
            let words: Vec<u8> = seen.iter().flat_map(|byte| (u16::from(*byte) * 16).to_le_bytes()).collect();
            let deep = twelve.picture(width as u32, height as u32, None, &words).expect("picture");
            assert_eq!((image.format, deep.format), (PixelFormat::Rgb8, PixelFormat::Rgb16));
            for (area, colour) in areas.iter().enumerate() {
                for y in 0..height as u32 {
                    let x = (area * width / 4 + width / 8) as u32;
                    assert_eq!(image.rgb_at(x, y), *colour, "{order:?} at {x}, {y}");
                    let off = deep.rgb_at(x, y).iter().zip(colour).map(|(a, b)| a.abs_diff(*b)).max();
                    assert!(off <= Some(1), "{order:?} of 12 bits at {x}, {y}");
                }
            }
        }
    }
}

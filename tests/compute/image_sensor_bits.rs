//! TIFFs of 10, 12 and 14 bits, as the programs of cameras write them: the sensor's numbers come back, and white is that of its bits.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use vcp_line::frame::{Image, Levels, PixelFormat};
use vcp_line::source::image_file::{from_bytes, load_as_stored, load_of_sensor};

const WIDTH: usize = 21;
const HEIGHT: usize = 13;
/// Rows of each strip but the last.
const STRIP: usize = 5;

/// How a TIFF is written (TIFF 6.0, sections 2 and 4).
#[derive(Clone, Copy)]
struct Kind {
    bits: usize,
    big_endian: bool,
    deflate: bool,
    /// PhotometricInterpretation: 0 where white is 0, 1 where black is.
    photometric: u32,
    /// One more tag: its number, count and value.
    more: Option<(u32, u32, u32)>,
}

const PLAIN: Kind = Kind { bits: 12, big_endian: false, deflate: false, photometric: 1, more: None };

fn sample(bits: usize, x: usize, y: usize) -> u16 {
    ((x * 1237 + y * 311) % (1 << bits)) as u16
}

/// Samples from the highest bit of each byte on; every row begins with a byte of its own.
fn packed(bits: usize, rows: std::ops::Range<usize>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for y in rows {
        let mut row = vec![0u8; (WIDTH * bits).div_ceil(8)];
        for place in 0..WIDTH * bits {
            let bit = sample(bits, place / bits, y) >> (bits - 1 - place % bits) & 1;
            row[place / 8] |= (bit as u8) << (7 - place % 8);
        }
        bytes.extend(row);
    }
    bytes
}

fn tiff(kind: Kind) -> Vec<u8> {
    let short = |value: u32| if kind.big_endian { (value as u16).to_be_bytes() } else { (value as u16).to_le_bytes() };
    let long = |value: u32| if kind.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
    let strips = (0..HEIGHT).step_by(STRIP).map(|top| packed(kind.bits, top..(top + STRIP).min(HEIGHT)));
    let strips: Vec<Vec<u8>> = strips
        .map(|strip| {
            if !kind.deflate {
                return strip;
            }
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&strip).unwrap();
            encoder.finish().unwrap()
        })
        .collect();
    // The directory comes first, so that what is cut is pixels.
    let many = strips.len() as u32;
    let mut tags: Vec<(u32, u32, u32)> = vec![
        (256, 1, WIDTH as u32),
        (257, 1, HEIGHT as u32),
        (258, 1, kind.bits as u32),
        (259, 1, if kind.deflate { 8 } else { 1 }),
        (262, 1, kind.photometric),
        (273, many, 0),
        (277, 1, 1),
        (278, 1, STRIP as u32),
        (279, many, 0),
    ];
    tags.extend(kind.more);
    tags.sort_unstable();
    let lists = 8 + 2 + 12 * tags.len() as u32 + 4;
    let mut at = lists + 8 * many;
    let mut bytes = if kind.big_endian { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
    bytes.extend(long(8));
    bytes.extend(short(tags.len() as u32));
    for (tag, count, value) in tags {
        let value = match tag {
            273 => lists,
            279 => lists + 4 * many,
            _ => value,
        };
        bytes.extend([short(tag), short(4)].concat());
        bytes.extend([long(count), long(value)].concat());
    }
    bytes.extend(long(0));
    let counts: Vec<u32> = strips.iter().map(|strip| strip.len() as u32).collect();
    for count in &counts {
        bytes.extend(long(at));
        at += count;
    }
    bytes.extend(counts.iter().flat_map(|&count| long(count)));
    bytes.extend(strips.concat());
    bytes
}

fn values(image: &Image) -> Vec<u16> {
    image.data().chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
}

fn expected(bits: usize) -> Vec<u16> {
    (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| sample(bits, x, y))).collect()
}

#[test]
fn the_numbers_of_the_sensor_come_back_with_its_white() {
    let kinds = [10, 12, 14].map(|bits| Kind { bits, ..PLAIN });
    let others = [Kind { big_endian: true, ..PLAIN }, Kind { deflate: true, ..PLAIN }];
    let folder = tempfile::tempdir().unwrap();
    for kind in kinds.into_iter().chain(others) {
        let bytes = tiff(kind);
        let image = from_bytes(&bytes).unwrap();
        assert_eq!((image.width as usize, image.height as usize), (WIDTH, HEIGHT));
        assert_eq!((image.format, values(&image)), (PixelFormat::Gray16, expected(kind.bits)), "{} bits", kind.bits);
        assert_eq!(image.levels.as_deref(), Some(&Levels::of_bits(kind.bits as u32)));

        // A camera's folder has levels of its own.
        let path = folder.path().join("frame.tif");
        std::fs::write(&path, &bytes).unwrap();
        let frame = load_of_sensor(&path).unwrap();
        assert_eq!((values(&frame), frame.levels.as_deref()), (expected(kind.bits), None));
    }
    let inverse = from_bytes(&tiff(Kind { photometric: 0, ..PLAIN })).unwrap();
    assert_eq!(values(&inverse), expected(12).into_iter().map(|value| 4095 - value).collect::<Vec<_>>());
}

#[test]
fn what_is_cut_or_packed_otherwise_is_refused_by_name() {
    for kind in [PLAIN, Kind { deflate: true, ..PLAIN }] {
        let whole = tiff(kind);
        for length in 0..whole.len() {
            assert!(from_bytes(&whole[..length]).is_err(), "cut to {length} of {} bytes", whole.len());
        }
    }
    let with = |tag, value| Kind { more: Some((tag, 1, value)), ..PLAIN };
    let others = [
        (Kind { photometric: 2, ..PLAIN }, "not grey"),
        (with(317, 2), "with a predictor"),
        (with(266, 2), "the other way round"),
        (with(339, 2), "a sign"),
        (with(322, 16), "not in strips"),
    ];
    for (other, what) in others {
        let reason = from_bytes(&tiff(other)).unwrap_err();
        assert!(reason.contains(what) || (what == "a sign" && reason.contains("Int")), "{what}: {reason}");
        assert!(reason.contains("save it with 8 or 16 bits"), "{reason}");
    }
    // As a mask: what is above 0 is marked.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mask.tif");
    std::fs::write(&path, tiff(PLAIN)).unwrap();
    assert_eq!(values(&load_as_stored(&path).unwrap()), expected(12));
}

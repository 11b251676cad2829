//! Image files of every kind against the pixels Pillow reads (tests/fixtures/images/generate.py), and refused files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::{DynamicImage, GrayImage, ImageBuffer, Luma, Rgb, Rgba};
use serde::Deserialize;
use vcp_line::frame::{Image, Levels, PixelFormat, Resampling};
use vcp_line::source::image_file::{EXTENSIONS, ImageFileError, load, load_as_stored, load_of_sensor, load_with};

/// Levels by which two decoders of JPEG or lossy WebP may differ, each rounding its transforms in its own way.
const LOSSY: u8 = 2;
/// The same for a JPEG that stores colours at half the size, which are enlarged again; noise is the worst case.
const SUBSAMPLED: u8 = 3;

#[derive(Deserialize)]
struct Expected {
    files: BTreeMap<String, Picture>,
}

/// What Pillow says about a file; `mode` decides what `length` bytes at `offset` of expected.bin are.
#[derive(Deserialize)]
struct Picture {
    mode: String,
    width: u32,
    height: u32,
    offset: usize,
    length: usize,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images").join(name)
}

/// Format that a mode's pixels stand in, and the filter Pillow uses for it.
fn of_mode(mode: &str) -> (PixelFormat, Resampling) {
    match mode {
        "L" => (PixelFormat::Gray8, Resampling::Bicubic),
        "LA" => (PixelFormat::GrayAlpha8, Resampling::Bicubic),
        "RGB" | "CMYK" => (PixelFormat::Rgb8, Resampling::Bicubic),
        "RGBA" => (PixelFormat::Rgba8, Resampling::Bicubic),
        "I;16" => (PixelFormat::Gray16, Resampling::Bicubic),
        "P" => (PixelFormat::Rgb8, Resampling::Nearest),
        "1" => (PixelFormat::Gray8, Resampling::Nearest),
        other => panic!("mode {other}"),
    }
}

/// Pixels as Pillow holds them: it opens 16-bit grey with alpha as RGBA, and a BMP's grey palette as grey.
fn pixels(name: &str, image: &Image, format: PixelFormat) -> Vec<u8> {
    let data = image.data();
    match (image.format, format) {
        (PixelFormat::GrayAlpha8, PixelFormat::Rgba8) => {
            data.chunks_exact(2).flat_map(|p| [p[0], p[0], p[0], p[1]]).collect()
        }
        (PixelFormat::Rgb8, PixelFormat::Gray8) if name.ends_with(".bmp") => {
            assert!(data.chunks_exact(3).all(|p| p[0] == p[1] && p[1] == p[2]), "{name} has colours");
            data.iter().step_by(3).copied().collect()
        }
        (found, expected) => {
            assert_eq!(found, expected, "{name}");
            data.to_vec()
        }
    }
}

#[test]
fn every_kind_of_file_gives_what_pillow_gives() {
    let expected: Expected = serde_json::from_slice(&std::fs::read(fixture("expected.json")).unwrap()).unwrap();
    let golden = std::fs::read(fixture("expected.bin")).unwrap();
    assert_eq!(expected.files.len(), 44);
    for (name, picture) in &expected.files {
        let image = load_as_stored(&fixture(name)).unwrap_or_else(|error| panic!("{error}"));
        let (format, resampling) = of_mode(&picture.mode);
        assert_eq!((image.width, image.height), (picture.width, picture.height), "{name}");
        assert_eq!(image.resampling, resampling, "{name}");
        let golden = &golden[picture.offset..picture.offset + picture.length];
        let found = pixels(name, &image, format);
        assert_eq!(found.len(), golden.len(), "{name}");
        let worst = found.iter().zip(golden).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        let allowed = match name.as_str() {
            "subsampled.jpg" | "progressive_subsampled.jpg" | "jpeg.tif" => SUBSAMPLED,
            name if name.ends_with(".jpg") || name == "grey_jpeg.tif" || name == "lossy.webp" => LOSSY,
            _ => 0,
        };
        assert!(worst <= allowed, "{name}: off by {worst} levels, {allowed} are allowed");
    }
}

/// The error for a file of this content, without its folder.
fn refused(name: &str, content: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    load(&path).unwrap_err().to_string().replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn what_is_no_picture_is_refused_by_name() {
    assert_eq!(refused("empty.png", b""), "image empty.png: the file is empty");
    assert_eq!(refused("notes.png", b"to do: buy a camera"), "image notes.png: is not PNG, JPEG, BMP, TIFF or WebP");
    let missing = load(&fixture("nothing.png")).unwrap_err();
    assert!(matches!(missing, ImageFileError::Unreadable { .. }), "{missing}");
    assert!(missing.to_string().contains("nothing.png: No such file"), "{missing}");
    let folder = load(&fixture("")).unwrap_err();
    assert!(matches!(folder, ImageFileError::Unreadable { .. }), "{folder}");
}

#[test]
fn a_small_file_cannot_claim_a_large_picture() {
    let huge = load(&fixture("refused/huge.png")).unwrap_err();
    assert!(matches!(huge, ImageFileError::TooLarge { width: 60000, height: 60000, .. }), "{huge}");
    assert!(huge.to_string().ends_with("huge.png: 60000x60000 is more than 200000000 pixels: scale it down first"));
    // The same claim in the headers of the other containers.
    let mut bmp = std::fs::read(fixture("rgb.bmp")).unwrap();
    bmp[18..22].copy_from_slice(&60000_u32.to_le_bytes());
    bmp[22..26].copy_from_slice(&60000_u32.to_le_bytes());
    assert_eq!(
        refused("huge.bmp", &bmp),
        "image huge.bmp: 60000x60000 is more than 200000000 pixels: scale it down first"
    );
    let mut jpeg = std::fs::read(fixture("rgb.jpg")).unwrap();
    let frame = jpeg.windows(2).position(|marker| marker == [0xFF, 0xC0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xEA, 0x60, 0xEA, 0x60]);
    assert_eq!(
        refused("huge.jpg", &jpeg),
        "image huge.jpg: 60000x60000 is more than 200000000 pixels: scale it down first"
    );
}

#[test]
fn the_content_decides_not_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture.png");
    std::fs::copy(fixture("rgb.webp"), &path).unwrap();
    assert_eq!(load(&path).unwrap(), load(&fixture("rgb.webp")).unwrap());
    for ending in ["png", "jpg", "bmp", "tif", "webp"] {
        assert!(EXTENSIONS.contains(&ending));
    }
}

/// Saved in these formats and read again.
fn reread(picture: &DynamicImage, name: &str) -> Result<Image, ImageFileError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    picture.save(&path).unwrap();
    load(&path)
}

/// A part that is defective in 8 bits is the same part in 16: the same bytes reach the model.
#[test]
fn a_16_bit_copy_of_an_8_bit_picture_gives_the_same_bytes() {
    let level = |x: u32, y: u32, c: u32| (x * 7 + y * 13 + c * 90) as u8;
    let deep = |level: u8| u16::from(level) * 257;
    let grey = GrayImage::from_fn(40, 30, |x, y| Luma([level(x, y, 0)]));
    let grey16 = ImageBuffer::from_fn(40, 30, |x, y| Luma([deep(level(x, y, 0))]));
    let colour = ImageBuffer::from_fn(40, 30, |x, y| Rgb([0, 1, 2].map(|c| level(x, y, c))));
    let colour16 = ImageBuffer::from_fn(40, 30, |x, y| Rgb([0, 1, 2].map(|c| deep(level(x, y, c)))));
    let clear = ImageBuffer::from_fn(40, 30, |x, y| Rgba([0, 1, 2, 3].map(|c| level(x, y, c))));
    let clear16 = ImageBuffer::from_fn(40, 30, |x, y| Rgba([0, 1, 2, 3].map(|c| deep(level(x, y, c)))));
    // Dark ones too: a copy of 8 bits is known for one.
    let dark = GrayImage::from_fn(40, 30, |x, _| Luma([(x % 9) as u8]));
    let dark16 = ImageBuffer::from_fn(40, 30, |x, _| Luma([deep((x % 9) as u8)]));
    let pairs: [(DynamicImage, DynamicImage); 4] = [
        (grey.into(), DynamicImage::ImageLuma16(grey16)),
        (DynamicImage::ImageRgb8(colour), DynamicImage::ImageRgb16(colour16)),
        (DynamicImage::ImageRgba8(clear), DynamicImage::ImageRgba16(clear16)),
        (dark.into(), DynamicImage::ImageLuma16(dark16)),
    ];
    for (shallow, deep) in pairs {
        for ending in ["png", "tif"] {
            let expected = reread(&shallow, &format!("shallow.{ending}")).unwrap();
            assert_eq!(reread(&deep, &format!("deep.{ending}")).unwrap(), expected, "{:?} {ending}", deep.color());
        }
    }
}

/// They stay, and what a person sees of them is the nearest of the 8-bit levels, by the real numbers and not by the program's
/// arithmetic.
#[test]
fn sixteen_bits_keep_their_depth() {
    let all = ImageBuffer::from_fn(256, 256, |x, y| Luma([(y * 256 + x) as u16]));
    for ending in ["png", "tif"] {
        let found = reread(&DynamicImage::ImageLuma16(all.clone()), &format!("all.{ending}")).unwrap();
        assert_eq!((found.format, found.levels.as_ref().unwrap().white()), (PixelFormat::Gray16, 65_535));
        for (level, pair) in found.data().chunks(2).enumerate() {
            assert_eq!(usize::from(u16::from_le_bytes([pair[0], pair[1]])), level);
            let byte = found.rgb_at(level as u32 % 256, level as u32 / 256)[0];
            assert_eq!(f64::from(byte), (level as f64 / 257.0).round(), "{level}");
        }
        let colour = ImageBuffer::from_fn(9, 5, |x, y| Rgb([x, y, 40].map(|v| (v * 1500) as u16)));
        let found = reread(&DynamicImage::ImageRgb16(colour.clone()), &format!("colour.{ending}")).unwrap();
        let values: Vec<u16> = found.data().chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        assert_eq!((found.format, values), (PixelFormat::Rgb16, colour.into_raw()));
    }
}

/// A line knows its levels: its dark files are not refused, and the values stay as they are.
#[test]
fn pictures_of_a_sensor_are_taken_whatever_their_depth() {
    let folder = tempfile::tempdir().unwrap();
    for (ending, most) in [("png", 900u16), ("tif", 4000)] {
        let path = folder.path().join(format!("dark.{ending}"));
        let values: Vec<u16> = (0..48).map(|at| at * (most / 48) + 1).collect();
        ImageBuffer::<Luma<u16>, _>::from_raw(8, 6, values.clone()).unwrap().save(&path).unwrap();
        let image = load_of_sensor(&path).unwrap();
        let found: Vec<u16> = image.data().chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        assert_eq!((image.format, &image.levels, found), (PixelFormat::Gray16, &None, values));
        let levels = Arc::new(Levels::of_bits(12));
        assert_eq!(load_with(&path, Some(&levels)).unwrap().levels, Some(levels));
    }
}

/// Values of 10, 12 or 14 bits in 16 would come out nearly black, and a black part passes.
#[test]
fn fewer_bits_in_sixteen_are_refused_by_name() {
    for bits in [10_u32, 12, 14] {
        let most = (1_u32 << bits) - 1;
        let level = |x: u32, y: u32| ((x * 37 + y * 101) % most + u32::from(x == 0)).min(most) as u16;
        let grey =
            ImageBuffer::from_fn(60, 50, |x, y| Luma([if (x, y) == (9, 9) { most as u16 } else { level(x, y) }]));
        let colour = ImageBuffer::from_fn(60, 50, |x, y| Rgb([grey.get_pixel(x, y).0[0], 0, 5]));
        let clear = ImageBuffer::from_fn(60, 50, |x, y| Rgba([grey.get_pixel(x, y).0[0], 0, 5, u16::MAX]));
        let pictures =
            [DynamicImage::ImageLuma16(grey), DynamicImage::ImageRgb16(colour), DynamicImage::ImageRgba16(clear)];
        for picture in pictures {
            for ending in ["png", "tif"] {
                let error = reread(&picture, &format!("deep.{ending}")).unwrap_err().to_string();
                let remedy = match &picture {
                    DynamicImage::ImageRgba16(_) => "save it without transparency".to_owned(),
                    _ => format!(
                        "say what they mean: `inspect` and `learn` have --levels 0,{most}, a line [camera.levels]"
                    ),
                };
                let expected = format!(
                    "deep.{ending}: has 16 bits a channel, and no value above {most}: looks like {bits} bits in 16, which \
                     would come out nearly black; {remedy}, scale its values to 0 … 65535, or save it with 8 bits"
                );
                assert!(error.ends_with(&expected), "{error}");
            }
        }
    }
}

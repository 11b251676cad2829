//! Pictures stored lying come out upright: all eight orientations, in every format that carries them.

use std::path::{Path, PathBuf};

use image::metadata::Orientation;
use image::{DynamicImage, ImageBuffer};
use vcp_line::dataset::Item;
use vcp_line::frame::{Image, PixelFormat};
use vcp_line::source::image_file::{load, load_upright, load_upright_as_stored, turned};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images").join(name)
}

/// EXIF data with an orientation alone.
fn exif(value: u8, little: bool) -> Vec<u8> {
    if little {
        [b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0", &[value, 0, 0, 0][..], &[0; 4]].concat()
    } else {
        [b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01", &[0, value, 0, 0][..], &[0; 4]].concat()
    }
}

fn in_jpeg(value: u8) -> Vec<u8> {
    let bytes = std::fs::read(fixture("rgb.jpg")).unwrap();
    let content = [b"Exif\0\0", &exif(value, value.is_multiple_of(2))[..]].concat();
    let length = (content.len() as u16 + 2).to_be_bytes();
    [&bytes[..2], &[0xFF, 0xE1], &length, &content, &bytes[2..]].concat()
}

fn in_png(value: u8) -> Vec<u8> {
    let bytes = std::fs::read(fixture("rgb16.png")).unwrap();
    let content = [b"eXIf", &exif(value, value.is_multiple_of(2))[..]].concat();
    let (length, sum) = (content.len() as u32 - 4, crc32fast::hash(&content));
    let header = 8 + 25;
    [&bytes[..header], &length.to_be_bytes(), &content, &sum.to_be_bytes(), &bytes[header..]].concat()
}

fn in_webp(value: u8) -> Vec<u8> {
    let bytes = std::fs::read(fixture("rgb.webp")).unwrap();
    let content = exif(value, value.is_multiple_of(2));
    // Flags say that EXIF data follows; then the size of the picture less one.
    let extended = [b"VP8X\x0A\0\0\0", &[8, 0, 0, 0][..], &[22, 0, 0], &[13, 0, 0]].concat();
    let length = (content.len() as u32).to_le_bytes();
    let chunks = [b"WEBP", &extended[..], &bytes[12..], b"EXIF", &length, &content].concat();
    [b"RIFF", &(chunks.len() as u32).to_le_bytes()[..], &chunks].concat()
}

/// A TIFF, or a BigTIFF, of grey pixels 0 to 14 in 5 columns.
fn tiff(value: u8, big: bool) -> Vec<u8> {
    let tags = [(256u16, 5u64), (257, 3), (258, 8), (259, 1), (262, 1), (274, u64::from(value)), (277, 1), (278, 3)];
    let (header, number, length) = if big { (16, 8, 20) } else { (8, 2, 12) };
    let data = (header + number + (tags.len() + 2) * length + if big { 8 } else { 4 }) as u64;
    let entries = tags.into_iter().chain([(273, data), (279, 15)]);
    let mut entries: Vec<_> = entries.collect();
    entries.sort_unstable();
    let mut file =
        if big { [b"II+\0\x08\0\0\0", &16u64.to_le_bytes()[..]].concat() } else { b"II*\0\x08\0\0\0".to_vec() };
    file.extend(&(entries.len() as u64).to_le_bytes()[..number]);
    for (tag, value) in entries {
        file.extend(tag.to_le_bytes());
        if big {
            file.extend([16, 0]);
            file.extend(1u64.to_le_bytes());
            file.extend(value.to_le_bytes());
        } else {
            file.extend([4, 0]);
            file.extend(1u32.to_le_bytes());
            file.extend((value as u32).to_le_bytes());
        }
    }
    file.extend(&[0; 8][..if big { 8 } else { 4 }]);
    file.extend(0..15u8);
    file
}

/// The picture turned by another library than ours.
fn expected(stored: &Image, value: u8) -> (u32, u32, Vec<u8>) {
    let (width, height, data) = (stored.width, stored.height, stored.data().to_vec());
    let words = || data.chunks_exact(2).map(|word| u16::from_le_bytes([word[0], word[1]])).collect::<Vec<u16>>();
    let mut picture = match stored.format {
        PixelFormat::Gray8 => DynamicImage::ImageLuma8(ImageBuffer::from_raw(width, height, data).unwrap()),
        PixelFormat::Gray16 => DynamicImage::ImageLuma16(ImageBuffer::from_raw(width, height, words()).unwrap()),
        PixelFormat::Rgb16 => DynamicImage::ImageRgb16(ImageBuffer::from_raw(width, height, words()).unwrap()),
        _ => DynamicImage::ImageRgb8(ImageBuffer::from_raw(width, height, data).unwrap()),
    };
    picture.apply_orientation(Orientation::from_exif(value).unwrap());
    (picture.width(), picture.height(), picture.into_bytes())
}

#[test]
fn every_format_that_says_how_it_lies_is_turned_upright() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture");
    type Write = fn(u8) -> Vec<u8>;
    let kinds: [(&str, Write); 5] = [
        ("JPEG", in_jpeg),
        ("PNG", in_png),
        ("WebP", in_webp),
        ("TIFF", |value| tiff(value, false)),
        ("BigTIFF", |value| tiff(value, true)),
    ];
    for (kind, write) in kinds {
        std::fs::write(&path, write(1)).unwrap();
        let stored = load(&path).unwrap_or_else(|error| panic!("{kind}: {error}"));
        for value in 1..=8 {
            std::fs::write(&path, write(value)).unwrap();
            let found = load_upright(&path).unwrap();
            let (width, height, data) = expected(&stored, value);
            assert_eq!((found.image.width, found.image.height), (width, height), "{kind} {value}");
            assert_eq!(found.image.data(), data, "{kind} {value}");
            assert_eq!(found.orientation.to_exif(), value, "{kind}");
            assert_eq!(found.stored_size(), (stored.width, stored.height), "{kind} {value}");
            // A mask that was saved lying as its picture lies, without saying so, is turned with it.
            assert_eq!(turned(stored.clone(), found.orientation).unwrap(), found.image, "{kind} {value}");
        }
    }
}

#[test]
fn an_orientation_that_says_nothing_turns_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture.jpg");
    let stored = load(&fixture("rgb.jpg")).unwrap();
    for value in [0, 9, 255] {
        std::fs::write(&path, in_jpeg(value)).unwrap();
        assert_eq!(load(&path).unwrap(), stored, "{value}");
        std::fs::write(&path, tiff(value, false)).unwrap();
        assert_eq!(load_upright_as_stored(&path).unwrap().image.width, 5, "{value}");
    }
}

/// A JPEG stored lying, and its mask as drawing programs save it, as a script saves it, and with an orientation of its own.
#[test]
fn masks_fit_pictures_that_are_stored_lying() {
    let folder = tempfile::tempdir().unwrap();
    let (picture, mask) = (folder.path().join("picture.tif"), folder.path().join("mask.png"));
    let item = Item { image: picture.clone(), masks: vec![mask.clone()], anomalous: true, kind: None };
    for value in 1..=8 {
        std::fs::write(&picture, tiff(value, false)).unwrap();
        let upright = load(&picture).unwrap();
        // The pixel of level 1 is the anomalous one.
        let truth: Vec<bool> = upright.data().iter().map(|&level| level == 1).collect();
        let drawn: Vec<u8> = truth.iter().map(|&anomalous| u8::from(anomalous) * 255).collect();
        image::save_buffer(&mask, &drawn, upright.width, upright.height, image::ColorType::L8).unwrap();
        assert_eq!(item.load().unwrap().1.unwrap().anomalous, truth, "upright {value}");
        // As large as the picture is stored: only where that is another size can it be told.
        let mut stored = [0; 15];
        stored[1] = 255;
        image::save_buffer(&mask, &stored, 5, 3, image::ColorType::L8).unwrap();
        if value > 4 {
            assert_eq!(item.load().unwrap().1.unwrap().anomalous, truth, "lying {value}");
        }
        let lying = std::fs::read(&mask).unwrap();
        let content = [b"eXIf", &exif(value, true)[..]].concat();
        let (length, sum) = (content.len() as u32 - 4, crc32fast::hash(&content));
        let with = [&lying[..33], &length.to_be_bytes(), &content, &sum.to_be_bytes(), &lying[33..]].concat();
        std::fs::write(&mask, with).unwrap();
        assert_eq!(item.load().unwrap().1.unwrap().anomalous, truth, "its own orientation {value}");
    }
    image::save_buffer(&mask, &[0; 16], 4, 4, image::ColorType::L8).unwrap();
    assert!(item.load().unwrap_err().to_string().contains("4x4 pixels"));
}

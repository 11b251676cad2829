//! Masks as programs of the field write them: the same truth in every form, and a note where a rule was needed.

use std::path::Path;

use image::{ExtendedColorType, GrayImage, ImageEncoder, Luma, LumaA, Rgba};
use vcp_line::dataset::{Item, Mask, MaskNote};

const WIDTH: u32 = 96;
const HEIGHT: u32 = 64;

/// A disc, which is a tenth of the picture.
fn inside(x: u32, y: u32) -> bool {
    (x as i32 - 40).pow(2) + (y as i32 - 30).pow(2) < 14 * 14
}

fn truth() -> Vec<bool> {
    (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| inside(x, y))).collect()
}

fn grey(marked: u8, other: u8) -> GrayImage {
    GrayImage::from_fn(WIDTH, HEIGHT, |x, y| Luma([if inside(x, y) { marked } else { other }]))
}

/// The mask in a file, and what was noted.
fn read(path: &Path) -> (Vec<bool>, Vec<MaskNote>) {
    let image = path.with_file_name("picture.png");
    GrayImage::new(WIDTH, HEIGHT).save(&image).unwrap();
    let item = Item { image, masks: vec![path.to_owned()], anomalous: true, kind: None };
    let mut notes = Vec::new();
    let mask = item.load_noting(&mut notes).unwrap().1.unwrap();
    assert_eq!(mask, Mask::load(path).unwrap());
    (mask.anomalous, notes)
}

/// Writes a PNG with a palette.
fn palette(path: &Path, colours: &[[u8; 3]], index: impl Fn(u32, u32) -> u8) {
    let mut encoder = png::Encoder::new(std::fs::File::create(path).unwrap(), WIDTH, HEIGHT);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(colours.concat());
    let pixels: Vec<u8> = (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x, y))).map(|(x, y)| index(x, y)).collect();
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
}

#[test]
fn values_of_labels() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.png");
    for level in [1, 7, 128, 255] {
        grey(level, 0).save(&path).unwrap();
        assert_eq!(read(&path), (truth(), vec![]), "{level}");
    }
    for level in [1u16, 255, 256, 4095, 65535] {
        let level = |x, y| Luma([if inside(x, y) { level } else { 0 }]);
        image::ImageBuffer::from_fn(WIDTH, HEIGHT, level).save(&path).unwrap();
        assert_eq!(read(&path), (truth(), vec![]));
    }
    // A number for each region, as instance masks have it: small numbers mark as well.
    let bands = GrayImage::from_fn(WIDTH, HEIGHT, |x, _| Luma([(x / 6) as u8 * 3]));
    bands.save(&path).unwrap();
    let marked = bands.pixels().map(|level| level.0[0] > 0).collect();
    assert_eq!(read(&path), (marked, vec![MaskNote::MostMarked]));
}

#[test]
fn lossy_masks_are_cut_at_half() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.jpg");
    for quality in [50, 75, 95] {
        for level in [255, 128] {
            let mut file = std::fs::File::create(&path).unwrap();
            let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, quality);
            encoder.write_image(&grey(level, 0), WIDTH, HEIGHT, ExtendedColorType::L8).unwrap();
            let (mask, notes) = read(&path);
            assert_eq!(notes, [MaskNote::Lossy]);
            let wrong = mask.iter().zip(truth()).filter(|(found, truth)| **found != *truth).count();
            assert!(wrong <= 12, "{wrong} pixels at quality {quality}");
            // The same in another container is grey.
            let converted = folder.path().join("converted.png");
            image::open(&path).unwrap().save(&converted).unwrap();
            assert_eq!(read(&converted), (mask, vec![MaskNote::Grey]));
        }
    }
    GrayImage::from_pixel(WIDTH, HEIGHT, Luma([2])).save(&path).unwrap();
    assert_eq!(read(&path), (vec![false; truth().len()], vec![MaskNote::Lossy, MaskNote::Empty]));
}

#[test]
fn soft_edges_are_cut_at_half() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.png");
    image::imageops::blur(&grey(255, 0), 2.0).save(&path).unwrap();
    let (mask, notes) = read(&path);
    assert_eq!(notes, [MaskNote::Grey]);
    let wrong = mask.iter().zip(truth()).filter(|(found, truth)| **found != *truth).count();
    assert!(wrong <= 12, "{wrong}");
}

#[test]
fn the_alpha_channel_marks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.png");
    for (marked, other) in [
        ([255, 255, 255, 255], [255, 255, 255, 0]),
        ([0, 0, 0, 255], [0, 0, 0, 0]),
        ([0, 0, 0, 255], [255, 255, 255, 0]),
        ([255, 0, 0, 255], [0, 0, 0, 0]),
        ([255, 0, 0, 200], [90, 80, 70, 0]),
        ([255, 0, 0, 127], [0, 0, 0, 0]),
    ] {
        image::RgbaImage::from_fn(WIDTH, HEIGHT, |x, y| Rgba(if inside(x, y) { marked } else { other }))
            .save(&path)
            .unwrap();
        assert_eq!(read(&path), (truth(), vec![MaskNote::Alpha]), "{marked:?} and {other:?}");
    }
    image::GrayAlphaImage::from_fn(WIDTH, HEIGHT, |x, y| LumaA([255, if inside(x, y) { 255 } else { 0 }]))
        .save(&path)
        .unwrap();
    assert_eq!(read(&path), (truth(), vec![MaskNote::Alpha]));
    // All of one opacity: alpha says nothing.
    for alpha in [255, 0] {
        let pixel = |x, y| if inside(x, y) { Rgba([255, 255, 255, alpha]) } else { Rgba([0, 0, 0, alpha]) };
        image::RgbaImage::from_fn(WIDTH, HEIGHT, pixel).save(&path).unwrap();
        assert_eq!(read(&path), (truth(), vec![]));
    }
}

#[test]
fn palettes_begin_with_what_is_good() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.png");
    let index = |x, y| u8::from(inside(x, y));
    for (colours, note) in [
        (&[[0, 0, 0], [128, 0, 0]], None),
        (&[[0, 0, 0], [255, 255, 255]], None),
        // A label whose colour is black, or nearly: only the index says it.
        (&[[0, 0, 0], [0, 0, 0]], None),
        (&[[0, 0, 0], [0, 0, 1]], None),
        (&[[255, 255, 255], [255, 0, 0]], Some(MaskNote::Palette)),
        (&[[255, 255, 255], [0, 0, 0]], Some(MaskNote::Palette)),
    ] {
        palette(&path, colours, index);
        assert_eq!(read(&path), (truth(), note.into_iter().collect()), "{colours:?}");
    }
    // A program that saves space has put white first.
    palette(&path, &[[255, 255, 255], [0, 0, 0]], |x, y| u8::from(!inside(x, y)));
    assert_eq!(read(&path), (truth(), vec![MaskNote::Palette]));
    palette(&path, &[[0, 0, 0], [128, 0, 0], [0, 128, 0]], |x, y| if inside(x, y) { 1 + (x % 2) as u8 } else { 0 });
    assert_eq!(read(&path), (truth(), vec![]));
}

#[test]
fn masks_that_say_the_contrary_or_nothing_are_noted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.png");
    grey(0, 255).save(&path).unwrap();
    let inverted = truth().iter().map(|anomalous| !anomalous).collect();
    assert_eq!(read(&path), (inverted, vec![MaskNote::MostMarked]));
    grey(0, 0).save(&path).unwrap();
    assert_eq!(read(&path), (vec![false; truth().len()], vec![MaskNote::Empty]));
}

#[test]
fn a_mask_on_its_side_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (image, mask) = (folder.path().join("p.png"), folder.path().join("m.png"));
    GrayImage::new(5, 3).save(&image).unwrap();
    GrayImage::new(3, 5).save(&mask).unwrap();
    let error = Item { image, masks: vec![mask], anomalous: true, kind: None }.load().unwrap_err().to_string();
    assert!(error.contains("m.png has 3x5 pixels"), "{error}");
    assert!(error.ends_with("must be equal; one of the two lies on its side"), "{error}");
}

/// A JPEG of a grey picture whose EXIF says how it lies.
fn lying_jpeg(path: &Path, picture: &GrayImage, orientation: u8) {
    let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(std::fs::File::create(path).unwrap(), 95);
    let entry = [0x12, 1, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0];
    let exif = [&b"II*\0\x08\0\0\0\x01\0"[..], &entry, &[0; 4]].concat();
    encoder.set_exif_metadata(exif).unwrap();
    encoder.write_image(picture, picture.width(), picture.height(), ExtendedColorType::L8).unwrap();
}

#[test]
fn masks_fit_pictures_that_lie() {
    use image::metadata::Orientation;
    let folder = tempfile::tempdir().unwrap();
    let (image, path) = (folder.path().join("p.jpg"), folder.path().join("m.png"));
    for value in 1..=8 {
        let orientation = Orientation::from_exif(value).unwrap();
        lying_jpeg(&image, &grey(255, 0), value);
        let item = Item { image: image.clone(), masks: vec![path.clone()], anomalous: true, kind: None };
        let mut upright = image::DynamicImage::from(grey(255, 0));
        upright.apply_orientation(orientation);
        let upright = upright.into_luma8();
        let truth: Vec<bool> = upright.pixels().map(|level| level.0[0] > 0).collect();
        let load = || {
            let mut notes = Vec::new();
            let mask = item.load_noting(&mut notes).unwrap().1.unwrap();
            assert_eq!((mask.width, mask.height), upright.dimensions());
            (mask.anomalous, notes)
        };
        // As labelling programs draw it.
        upright.save(&path).unwrap();
        let note = (value > 1).then_some(MaskNote::DrawnUpright);
        assert_eq!(load(), (truth.clone(), note.into_iter().collect()), "{value}");
        // As it is stored, where the size tells.
        if value > 4 {
            grey(255, 0).save(&path).unwrap();
            assert_eq!(load(), (truth.clone(), vec![MaskNote::DrawnLying]), "{value}");
            palette(&path, &[[0, 0, 0], [0, 0, 0]], |x, y| u8::from(inside(x, y)));
            assert_eq!(load(), (truth.clone(), vec![MaskNote::DrawnLying]), "{value}");
        }
        // Lying in the same way, and saying so.
        lying_jpeg(&path, &grey(255, 0), value);
        let (mask, notes) = load();
        assert_eq!(notes, [MaskNote::Lossy]);
        assert!(mask.iter().zip(&truth).filter(|(found, truth)| found != truth).count() < 12);
    }
    // The mask alone turns: where it fits only as it is stored, it is taken so.
    GrayImage::new(WIDTH, HEIGHT).save(&image.with_extension("png")).unwrap();
    lying_jpeg(&path, &grey(255, 0), 6);
    let item = Item { image: image.with_extension("png"), masks: vec![path], anomalous: true, kind: None };
    let mut notes = Vec::new();
    let mask = item.load_noting(&mut notes).unwrap().1.unwrap();
    assert_eq!(notes, [MaskNote::Lossy, MaskNote::TurnedAlone]);
    assert!(mask.anomalous.iter().zip(truth()).filter(|(found, truth)| **found != *truth).count() < 12);
}

/// Label images of 32 bits, and such with a sign or a point, as NumPy's types are written to TIFF. A photograph of these kinds
/// is refused, since nobody knows its white.
#[test]
fn numbers_of_32_bits_mark() {
    use tiff::encoder::{TiffEncoder, colortype};
    use vcp_line::source::image_file;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mask.tif");
    let truth = truth();
    let (width, height) = grey(1, 0).dimensions();
    macro_rules! written {
        ($kind:ty, $marked:expr, $other:expr) => {
            let numbers: Vec<_> = truth.iter().map(|&marked| if marked { $marked } else { $other }).collect();
            let mut file = TiffEncoder::new(std::fs::File::create(&path).unwrap()).unwrap();
            file.write_image::<$kind>(width, height, &numbers).unwrap();
            assert_eq!(read(&path), (truth.clone(), vec![]), stringify!($kind, $marked));
            assert!(image_file::load(&path).is_err(), stringify!($kind));
        };
    }
    written!(colortype::Gray32, 1u32, 0);
    written!(colortype::Gray32, 70_000u32, 0);
    written!(colortype::GrayI32, 1i32, 0);
    written!(colortype::GrayI32, 255i32, -1);
    written!(colortype::GrayI16, 1i16, 0);
    written!(colortype::GrayI8, 1i8, 0);
    written!(colortype::Gray32Float, 1f32, 0.0);
    written!(colortype::Gray32Float, 255f32, 0.0);
    written!(colortype::Gray32Float, 0.4f32, f32::NAN);
}

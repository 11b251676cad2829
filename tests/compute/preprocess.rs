//! Pictures on their way to the model, against Pillow 13 through the released implementation's pipeline.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use safetensors::SafeTensors;
use vcp_line::frame::{Image, Levels, PixelFormat, Resampling};
use vcp_line::source::image_file::{load, load_as_stored};
use vcp_line::vcp_clip::Constants;
use vcp_line::vcp_clip::preprocess::{Preprocessor, resize_to_rgb};

const SIZE: usize = 98;

fn tiny(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/oracle/tiny").join(name)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn preprocessor() -> Preprocessor {
    let Constants { mean, std, .. } = Constants::default();
    Preprocessor::new(SIZE, mean, std)
}

#[test]
fn five_pictures_are_resized_to_the_byte() {
    let bytes = fs::read(tiny("golden/resized_u8.safetensors")).expect("fixture");
    let golden = SafeTensors::deserialize(&bytes).expect("fixture");
    assert_eq!(golden.len(), 5);
    for (name, expected) in golden.iter() {
        let image = load(&tiny(&format!("images/{name}.png"))).expect(name);
        let resized = resize_to_rgb(&image, SIZE);
        let off = resized.iter().zip(expected.data()).filter(|(a, b)| a != b).count();
        assert_eq!((resized.len(), off), (expected.data().len(), 0), "{name}");
    }
}

#[test]
fn the_models_input_is_the_released_one() {
    let bytes = fs::read(tiny("golden/img0_rgb_131x97.safetensors")).expect("fixture");
    let golden = SafeTensors::deserialize(&bytes).expect("fixture");
    let expected = floats(golden.tensor("input").expect("fixture").data());
    let image = load(&tiny("images/img0_rgb_131x97.png")).expect("fixture");
    let mut input = vec![0.0; 3 * SIZE * SIZE];
    preprocessor().run(&image, &mut input);
    let worst = input.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= 1e-6, "off by {worst}");
}

/// Every mode Pillow tells apart. One preprocessor for all: buffers left over from one picture touch no other.
#[test]
fn every_mode_is_equal_to_the_released_input() {
    let bytes = fs::read(tiny("preprocess_extra/inputs.safetensors")).expect("fixture");
    let golden = SafeTensors::deserialize(&bytes).expect("fixture");
    assert_eq!(golden.len(), 7);
    let mut preprocessor = preprocessor();
    let mut input = vec![0.0; 3 * SIZE * SIZE];
    for (mode, expected) in golden.iter() {
        let image = load_as_stored(&tiny(&format!("preprocess_extra/mode_{mode}_121x75.png"))).expect(mode);
        preprocessor.run(&image, &mut input);
        let expected = floats(expected.data());
        assert_eq!(expected.len(), input.len());
        let worst = input.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // One level is 1/255/0.276 = 0.0142: this is equality, rounding of the division aside.
        assert!(worst <= 1e-6, "mode {mode}: off by {worst}");
    }
}

#[test]
fn bgr_is_rgb_with_the_channels_swapped() {
    let rgb = load(&tiny("images/img2_rgb_65x113.png")).expect("fixture");
    let swapped = rgb.data().chunks_exact(3).flat_map(|p| [p[2], p[1], p[0]]).collect();
    let bgr = Image::new(rgb.width, rgb.height, PixelFormat::Bgr8, swapped).expect("same size");
    assert_eq!(resize_to_rgb(&bgr, SIZE), resize_to_rgb(&rgb, SIZE));
}

#[test]
fn the_padding_of_a_strided_frame_is_not_seen() {
    let tight = load(&tiny("images/img4_rgb_99x97.png")).expect("fixture");
    let mut strided = Vec::new();
    for row in tight.data().chunks_exact(99 * 3) {
        strided.extend_from_slice(row);
        strided.extend_from_slice(&[0xAA; 11]);
    }
    let frame = Image::from_strided(99, 97, PixelFormat::Rgb8, 99 * 3 + 11, &strided).expect("valid");
    assert_eq!(resize_to_rgb(&frame, SIZE), resize_to_rgb(&tight, SIZE));
}

#[test]
fn a_picture_of_the_right_size_is_copied() {
    // Premultiplying and dividing back would change colours under low alpha; Pillow does neither here.
    let data: Vec<u8> = (0..4 * 4 * 4u8).map(|i| if i % 4 == 3 { 1 } else { i }).collect();
    let image = Image::new(4, 4, PixelFormat::Rgba8, data.clone()).expect("valid");
    let colours: Vec<u8> = data.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect();
    assert_eq!(resize_to_rgb(&image, 4), colours);
}

#[test]
#[should_panic(expected = "the model's input is 3x98x98")]
fn an_output_of_the_wrong_length_is_a_bug_of_the_caller() {
    let image = Image::new(1, 1, PixelFormat::Gray8, vec![0]).expect("valid");
    preprocessor().run(&image, &mut [0.0; 7]);
}

const FORMATS: [PixelFormat; 7] = [
    PixelFormat::Gray8,
    PixelFormat::GrayAlpha8,
    PixelFormat::Gray16,
    PixelFormat::Rgb8,
    PixelFormat::Bgr8,
    PixelFormat::Rgba8,
    PixelFormat::Rgb16,
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    /// Any size, rows and columns of one pixel included, up and down: the result has the right size, and an
    /// opaque picture of one level keeps it.
    #[test]
    fn one_level_stays_one_level(
        width in 1u32..260, height in 1u32..260, size in 1usize..130, level in 0u8..=255,
        format in proptest::sample::select(&FORMATS[..]), near in proptest::bool::ANY,
    ) {
        let pixel: &[u8] = match format {
            PixelFormat::Gray8 => &[level],
            PixelFormat::GrayAlpha8 => &[level, 255],
            PixelFormat::Gray16 => &[level, 0],
            PixelFormat::Rgb8 | PixelFormat::Bgr8 => &[level; 3],
            PixelFormat::Rgba8 => &[level, level, level, 255],
            PixelFormat::Rgb16 => &[level; 6],
        };
        let data = pixel.repeat((width * height) as usize);
        let mut image = Image::new(width, height, format, data).expect("valid");
        image.resampling = if near { Resampling::Nearest } else { Resampling::Bicubic };
        let resized = resize_to_rgb(&image, size);
        prop_assert_eq!(resized.len(), size * size * 3);
        prop_assert!(resized.iter().all(|byte| *byte == level), "{:?}", resized.iter().find(|b| **b != level));
    }
}

#[test]
fn extreme_shapes_are_resized() {
    for (width, height) in [(1, 4000), (4000, 1), (1, 1), (3, 2000)] {
        let data = (0..width * height).map(|i| (i % 251) as u8).collect();
        let image = Image::new(width, height, PixelFormat::Gray8, data).expect("valid");
        assert_eq!(resize_to_rgb(&image, SIZE).len(), SIZE * SIZE * 3, "{width}x{height}");
    }
}

/// The values of a sensor of `bits` for a picture of 8 bits: white stays white.
fn deeper(image: &Image, bits: u32) -> Image {
    let white = (1u32 << bits) - 1;
    let words =
        image.data().iter().map(|byte| ((u32::from(*byte) * white + 127) / 255) as u16).flat_map(u16::to_le_bytes);
    let format = if image.format == PixelFormat::Gray8 { PixelFormat::Gray16 } else { PixelFormat::Rgb16 };
    let mut deep = Image::new(image.width, image.height, format, words.collect()).expect("valid");
    deep.levels = Some(Arc::new(Levels::of_bits(bits)));
    deep
}

#[test]
fn a_picture_of_any_depth_is_what_its_8_bit_copy_is() {
    for (name, bits) in
        [("img0_rgb_131x97", 10), ("img2_rgb_65x113", 12), ("img2_rgb_65x113", 14), ("img4_rgb_99x97", 16)]
    {
        let rgb = load(&tiny(&format!("images/{name}.png"))).expect(name);
        let grey = rgb.data().chunks_exact(3).map(|pixel| pixel[1]).collect();
        let grey = Image::new(rgb.width, rgb.height, PixelFormat::Gray8, grey).expect("valid");
        for shallow in [rgb, grey] {
            let deep = deeper(&shallow, bits);
            let (mut expected, mut seen) = (vec![0.0; 3 * SIZE * SIZE], vec![0.0; 3 * SIZE * SIZE]);
            let mut preprocessor = preprocessor();
            preprocessor.run(&shallow, &mut expected);
            preprocessor.run(&deep, &mut seen);
            // Both 8-bit passes round, and so did the copy. At an edge the first of them also cuts off what overshoots, as Pillow
            // does, and the deep one does not: a few values are off by more.
            let levels = |off: f32| off * 255.0 * 0.26;
            let off: Vec<f32> = expected.iter().zip(&seen).map(|(a, b)| levels((a - b).abs())).collect();
            let (worst, mean) = (off.iter().copied().fold(0.0, f32::max), off.iter().sum::<f32>() / off.len() as f32);
            let many = off.iter().filter(|off| **off > 1.6).count() as f32 / off.len() as f32;
            assert!(worst <= 8.0 && mean <= 0.5 && many < 0.02, "{name}, {bits}: {worst}, {mean}, {many}");
            let bytes: Vec<u8> = resize_to_rgb(&shallow, SIZE);
            let off = bytes.iter().zip(resize_to_rgb(&deep, SIZE)).map(|(a, b)| a.abs_diff(b)).max();
            assert!(off <= Some(8), "{name}, {bits}: {off:?}");
        }
    }
}

/// Two greys of 12 bits that one level of 8 bits holds stay two, through the resize.
#[test]
fn nothing_is_rounded_to_8_bits_on_the_way() {
    let mut preprocessor = preprocessor();
    let mut input_of = |value: u16, side: u32| {
        let data = value.to_le_bytes().repeat((side * side) as usize);
        let mut image = Image::new(side, side, PixelFormat::Gray16, data).expect("valid");
        image.levels = Some(Arc::new(Levels::of_bits(12)));
        let mut input = vec![0.0; 3 * SIZE * SIZE];
        preprocessor.run(&image, &mut input);
        input
    };
    for side in [SIZE as u32, 40, 301] {
        let (one, other) = (input_of(2000, side), input_of(2001, side));
        let step = 1.0 / 4095.0 / 0.2686;
        let apart =
            one.iter().zip(&other).map(|(a, b)| b - a).fold((f32::MAX, f32::MIN), |(l, h), d| (l.min(d), h.max(d)));
        assert!(apart.0 > 0.5 * step && apart.1 < 1.5 * step, "{side}: {apart:?}");
    }
}

#[test]
fn levels_of_8_bits_stretch_after_the_resize() {
    let mut image = Image::new(2, 2, PixelFormat::Gray8, vec![50, 100, 150, 255]).expect("valid");
    image.levels = Some(Arc::new(Levels::new(50, 150, 1.0).expect("levels")));
    assert_eq!(resize_to_rgb(&image, 2), [0, 0, 0, 128, 128, 128, 255, 255, 255, 255, 255, 255]);
    let mut input = vec![0.0; 12];
    Preprocessor::new(2, [0.0; 3], [1.0; 3]).run(&image, &mut input);
    assert_eq!(input[..4], [0.0, 0.5, 1.0, 1.0]);
}

//! Pre-processing: the model's input is that of plain Rust to the bit, in both types.

use half::f16;
use vcp_line::cuda::{Buffer, FrameFormat, Prepared, Preprocess, ValuesMut, YuvMatrix, nv12_to_rgb};
use vcp_line::frame::{Image, PixelFormat};
use vcp_line::vcp_clip::Constants;
use vcp_line::vcp_clip::preprocess::Preprocessor;

use super::{Place, Random};

/// Columns and rows of a picture.
pub type Case = (usize, usize);

/// Side of the model's input that [`CASES`] surround.
pub const SIZE: usize = 28;
/// Larger, smaller, equal in one or both, odd, tall enough for the other order of passes, and the longest row there may
/// be, which fills the shared memory that every card gives a block.
pub const CASES: [Case; 10] =
    [(61, 45), (17, 11), (28, 28), (28, 53), (47, 28), (1, 1), (3, 700), (900, 5), (131, 97), (16_384, 3)];
/// The same for NV12, whose sides are even.
pub const NV12: [Case; 3] = [(62, 46), (28, 28), (30, 2)];

/// What the input holds before: neither a result nor zero.
const BEFORE: f32 = 7.0;

/// Sides up to `largest`.
pub fn random(random: &mut Random, count: usize, largest: usize) -> Vec<Case> {
    (0..count).map(|_| (random.between(1, largest), random.between(1, largest))).collect()
}

/// Runs every picture in every format, on the way to a model of side `size`.
pub fn check(place: &Place, size: usize, pictures: &[Case], nv12: &[Case]) {
    let constants = Constants::default();
    let formats = [
        (FrameFormat::Gray8, PixelFormat::Gray8, 1),
        (FrameFormat::Rgb8, PixelFormat::Rgb8, 3),
        (FrameFormat::Bgr8, PixelFormat::Bgr8, 3),
    ];
    let mut random = Random(6);
    let preprocess = Preprocess::new(&place.machine, size, constants.mean, constants.std).unwrap();
    let mut plain = Preprocessor::new(size, constants.mean, constants.std);
    for &(width, height) in pictures {
        for (format, pixel_format, step) in formats {
            for padding in [0, 5] {
                let row = width * step;
                let stride = row + padding;
                let frame = random.bytes(stride * (height - 1) + row);
                let tight: Vec<u8> = frame.chunks(stride).flat_map(|line| &line[..row]).copied().collect();
                let image = Image::new(width as u32, height as u32, pixel_format, tight).unwrap();
                let prepared = preprocess.prepare(format, width, height, stride).unwrap();
                check_input(place, &prepared, &place.put(&frame), &mut plain, &image);
            }
        }
    }
    for &(width, height) in nv12 {
        for matrix in [YuvMatrix::Bt601, YuvMatrix::Bt709] {
            let stride = width + 3;
            let frame = random.bytes(stride * (height + height / 2 - 1) + width);
            let rgb: Vec<u8> = (0..height * width)
                .flat_map(|i| {
                    let (x, y) = (i % width, i / width);
                    let pair = (height + y / 2) * stride + x / 2 * 2;
                    nv12_to_rgb(matrix, frame[y * stride + x], frame[pair], frame[pair + 1])
                })
                .collect();
            let image = Image::new(width as u32, height as u32, PixelFormat::Rgb8, rgb).unwrap();
            let prepared = preprocess.prepare(FrameFormat::Nv12(matrix), width, height, stride).unwrap();
            check_input(place, &prepared, &place.put(&frame), &mut plain, &image);
        }
    }
}

/// Slot 1 of 2, in both types; the other slot stays as it is.
fn check_input(place: &Place, prepared: &Prepared, frame: &Buffer<u8>, plain: &mut Preprocessor, image: &Image) {
    let pixels = 3 * plain.size() * plain.size();
    let mut wanted = vec![0.0; pixels];
    plain.run(image, &mut wanted);
    let what = format!("{}: {}x{} {:?}", place.name, image.width, image.height, image.format);

    let mut single = place.put(&vec![BEFORE; 2 * pixels]);
    prepared.run(&place.stream, frame.view(), &ValuesMut::F32(single.view_mut()), 1).unwrap();
    let got = single.read().unwrap();
    assert!(got[..pixels].iter().all(|&value| value == BEFORE), "{what}: the other image");
    assert!(got[pixels..] == wanted, "{what}: float32");

    let mut half = place.put_halves(&vec![BEFORE; 2 * pixels]);
    prepared.run(&place.stream, frame.view(), &ValuesMut::F16(half.view_mut()), 1).unwrap();
    let wanted: Vec<f16> = wanted.iter().map(|&value| f16::from_f32(value)).collect();
    assert!(half.read().unwrap()[pixels..] == wanted, "{what}: float16");
}

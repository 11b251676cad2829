//! Time from a camera's picture to the model's input at 518 pixels.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use vcp_line::frame::{Image, Levels, PixelFormat};
use vcp_line::vcp_clip::Constants;
use vcp_line::vcp_clip::preprocess::Preprocessor;

/// Side of the published model's input.
const SIZE: usize = 518;

fn pictures(criterion: &mut Criterion) {
    let Constants { mean, std, .. } = Constants::default();
    for (name, width, height, format) in [
        ("1920x1080 RGB", 1920, 1080, PixelFormat::Rgb8),
        ("2448x2048 grey", 2448, 2048, PixelFormat::Gray8),
        ("640x480 grey", 640, 480, PixelFormat::Gray8),
        ("640x480 RGBA", 640, 480, PixelFormat::Rgba8),
        ("2448x2048 grey of 12 bits", 2448, 2048, PixelFormat::Gray16),
        ("1920x1080 RGB of 12 bits", 1920, 1080, PixelFormat::Rgb16),
    ] {
        let bytes = width as usize * height as usize * format.bytes_per_pixel();
        let byte = |i: usize| if format.is_deep() && i % 2 == 1 { (i * i % 15) as u8 } else { (i * i % 251) as u8 };
        let data = (0..bytes).map(byte).collect();
        let image = Image::new(width, height, format, data).expect("as many bytes as the format needs");
        let image = image.through(format.is_deep().then(|| Arc::new(Levels::of_bits(12))));
        let mut preprocessor = Preprocessor::new(SIZE, mean, std);
        let mut input = vec![0.0; 3 * SIZE * SIZE];
        criterion.bench_function(&format!("preprocess {name}"), |bencher| {
            bencher.iter(|| preprocessor.run(black_box(&image), &mut input));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(4)).sample_size(30);
    targets = pictures
}
criterion_main!(benches);

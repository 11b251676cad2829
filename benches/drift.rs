//! Time that comparing a picture with the good parts takes: its features, and the charts.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use vcp_line::drift::{Baseline, Features, GoodPart, Seen, Watch};
use vcp_line::frame::{Image, PixelFormat};

fn image(width: u32, height: u32, format: PixelFormat, seed: usize) -> Image {
    let bytes = width as usize * height as usize * format.bytes_per_pixel();
    let data = (0..bytes).map(|i| ((i + seed) * (i + seed) % 251) as u8).collect();
    Image::new(width, height, format, data).expect("as many bytes as the format needs")
}

fn watching(criterion: &mut Criterion) {
    for (name, width, height, format) in [
        ("640x480 grey", 640, 480, PixelFormat::Gray8),
        ("1280x1024 grey", 1280, 1024, PixelFormat::Gray8),
        ("2448x2048 grey", 2448, 2048, PixelFormat::Gray8),
        ("2448x2048 RGB", 2448, 2048, PixelFormat::Rgb8),
    ] {
        let picture = image(width, height, format, 0);
        criterion.bench_function(&format!("features {name}"), |bencher| {
            bencher.iter(|| Features::of(black_box(&picture)));
        });
    }
    let part = |seed| GoodPart {
        features: Features::of(&image(160, 120, PixelFormat::Gray8, seed)),
        passes: true,
        statistic: None,
        score: Some(seed as f32 / 100.0),
    };
    let parts: Vec<GoodPart> = (0..100).map(part).collect();
    criterion.bench_function("baseline of 100 parts", |bencher| bencher.iter(|| Baseline::of(black_box(&parts))));
    let mut watch = Watch::new(Arc::new(Baseline::of(&parts).expect("enough parts")));
    let seen = Seen { passes: true, statistic: None, score: Some(0.5) };
    criterion.bench_function("charts", |bencher| bencher.iter(|| watch.look(black_box(&parts[7].features), seen)));
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3)).sample_size(20);
    targets = watching
}
criterion_main!(benches);

//! The figures of one class of the published size: 100 maps of 518×518 with defects.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use vcp_line::eval::metrics::counts::Counts;
use vcp_line::eval::metrics::{Labelled, normalise, pixel};

const SIZE: usize = 518;
const PICTURES: u32 = 100;

/// A map whose values are nearly all different, as an engine's are: waves, noise, and a hump where the mask is.
fn picture(number: u32) -> (Vec<f32>, Vec<bool>) {
    let mut state = u64::from(number) + 1;
    let mut noise = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let centres: Vec<[f32; 3]> =
        (0..number % 4).map(|_| [noise() * 518.0, noise() * 518.0, 8.0 + 30.0 * noise()]).collect();
    let mut map = Vec::with_capacity(SIZE * SIZE);
    let mut mask = Vec::with_capacity(SIZE * SIZE);
    for y in 0..SIZE {
        for x in 0..SIZE {
            let (x, y) = (x as f32, y as f32);
            let near = |c: &[f32; 3]| ((x - c[0]).powi(2) + (y - c[1]).powi(2)).sqrt() / c[2];
            let nearest = centres.iter().map(near).fold(f32::INFINITY, f32::min);
            let waves = 0.1 * (x / 40.0).sin() * (y / 60.0).cos();
            map.push((0.2 + waves + 0.05 * noise() + 0.6 / (1.0 + nearest * nearest)).clamp(0.0, 1.0));
            mask.push(nearest < 1.0);
        }
    }
    (map, mask)
}

fn figures(criterion: &mut Criterion) {
    let (mut maps, masks): (Vec<_>, Vec<_>) = (0..PICTURES).map(picture).unzip();
    let labelled = |maps: &[Vec<f32>], then: &mut dyn FnMut(&[Labelled<'_>])| {
        let pair = |(map, mask)| Labelled { width: SIZE, map, mask };
        then(&maps.iter().map(Vec::as_slice).zip(masks.iter().map(Vec::as_slice)).map(pair).collect::<Vec<_>>());
    };
    let mut group = criterion.benchmark_group("100 maps of 518x518");
    group.sample_size(10).measurement_time(Duration::from_secs(20));
    group.bench_function("AUROC, AUPRO, AP, F1-max, IoU", |bencher| {
        labelled(&maps, &mut |pictures| bencher.iter(|| pixel(black_box(pictures)).expect("measured")));
    });
    group.bench_function("counting for all classes", |bencher| {
        labelled(&maps, &mut |pictures| {
            bencher.iter(|| {
                let mut counts = Counts::default();
                pictures.iter().for_each(|picture| counts.add(black_box(picture)));
                counts
            });
        });
    });
    group.bench_function("normalising", |bencher| bencher.iter(|| normalise(black_box(&mut maps))));
    group.finish();
}

criterion_group!(benches, figures);
criterion_main!(benches);

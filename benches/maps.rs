//! Time behind the network at the sizes of the published model: cross-attention over the patches, fusion of the maps.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use vcp_line::vcp_clip::maps::MapFusion;
use vcp_line::vcp_clip::post_vcp::PostVcp;
use vcp_line::vcp_clip::{Architecture, Constants};
use vcp_line::weights::random::uniform;

/// Numbers around zero.
fn numbers(name: &str, count: usize, reach: f64) -> Vec<f32> {
    uniform(name, count, (reach, 0.0), 1)
}

fn post_vcp(criterion: &mut Criterion) {
    let sizes = Architecture::vit_l_14_336_at_518();
    let (vision, text) = (sizes.vision_width, sizes.text_width);
    let square = |name: &str| numbers(name, vision * vision, 0.05);
    let model = PostVcp {
        heads: sizes.post_heads,
        vision_width: vision,
        text_width: text,
        query: numbers("query", vision * text, 0.5),
        query_bias: numbers("query bias", vision, 0.2),
        key: square("key"),
        value: square("value"),
        value_bias: numbers("value bias", vision, 0.2),
        out: square("out"),
        out_bias: numbers("out bias", vision, 0.2),
        temperature: 20.0,
    };
    let layer = |tap: &usize| numbers(&format!("tokens {tap}"), sizes.patches() * vision, 1.0);
    let layers: Vec<Vec<f32>> = sizes.taps.iter().map(layer).collect();
    let layers: Vec<&[f32]> = layers.iter().map(Vec::as_slice).collect();
    let states = numbers("text", 2 * text, 0.06);
    criterion.bench_function("Post-VCP, 4 layers of 1369 patches", |bencher| {
        bencher.iter(|| model.difference_maps(black_box(&layers), black_box(&states)));
    });
}

fn fusion(criterion: &mut Criterion) {
    let sizes = Architecture::vit_l_14_336_at_518();
    let fusion = MapFusion::new(&sizes, &Constants::default());
    let maps = |path: &str| -> Vec<Vec<f32>> {
        sizes.taps.iter().map(|tap| numbers(&format!("{path} {tap}"), sizes.patches(), 5.0)).collect()
    };
    let (raw, new) = (maps("raw"), maps("new"));
    criterion.bench_function("fusion of 4 layers, 37 to 518", |bencher| {
        bencher.iter(|| fusion.fuse(black_box(&raw), black_box(&new)));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(4)).sample_size(30);
    targets = post_vcp, fusion
}
criterion_main!(benches);

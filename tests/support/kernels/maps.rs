//! Maps: anomaly map and score are those of plain Rust.

use half::f16;
use vcp_line::cuda::{Buffer, Dtype, Maps, Values};
use vcp_line::vcp_clip::maps::MapFusion;
use vcp_line::vcp_clip::{Architecture, Constants};

use super::{Place, Random, TOLERANCE, assert_close};

/// Sizes and constants of a model as far as maps depend on them, and a batch.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Side of the patch grid.
    pub grid: usize,
    /// Side of the map, a multiple of the grid.
    pub size: usize,
    pub layers: usize,
    pub batch: usize,
    pub top_k: usize,
    /// Of the Gaussian, pixels.
    pub sigma: f32,
}

const fn case(grid: usize, size: usize, layers: usize, batch: usize, top_k: usize, sigma: f32) -> Case {
    Case { grid, size, layers, batch, top_k, sigma }
}

/// A Gaussian wider than the map, none at all, one value or every value in the score.
pub const CASES: [Case; 4] =
    [case(7, 98, 4, 2, 2000, 8.0), case(3, 21, 1, 1, 1, 8.0), case(1, 5, 8, 3, 25, 0.0), case(5, 35, 2, 2, 600, 1.3)];

/// The published size.
pub const FULL: [Case; 2] = [case(37, 518, 4, 1, 2000, 8.0), case(37, 518, 4, 3, 2000, 8.0)];

/// Any sizes, up to 90 pixels a side.
pub fn random(random: &mut Random, count: usize) -> Vec<Case> {
    let mut one = || {
        let (grid, patch) = (random.between(1, 10), random.between(1, 9));
        let size = grid * patch;
        let (layers, batch) = (random.between(1, 8), random.between(1, 3));
        let (top_k, sigma) = (random.between(1, size * size), random.between(0, 20) as f32 / 2.0);
        case(grid, size, layers, batch, top_k, sigma)
    };
    (0..count).map(|_| one()).collect()
}

/// Runs every case, logits in both types.
pub fn check(place: &Place, cases: &[Case]) {
    let mut random = Random(7);
    for case in cases {
        check_one(place, &mut random, case);
    }
    place.assert_reached("maps");
}

fn check_one(place: &Place, random: &mut Random, case: &Case) {
    let &Case { grid, size, layers, batch, top_k, sigma } = case;
    let arch = Architecture {
        image_size: size,
        patch: size / grid,
        taps: (1..=layers).collect(),
        ..Architecture::vit_l_14_336_at_518()
    };
    let constants = Constants { top_k, sigma, ..Constants::default() };
    let patches = grid * grid;
    let logits: Vec<Vec<f32>> = (0..layers).map(|_| random.halves(batch * patches * 2, 4.0)).collect();
    let mut new = random.numbers(batch * layers * patches, 6.0);
    // A plateau: the k-th largest value has ties.
    new[..layers * patches].fill(1.5);
    let fusion = MapFusion::new(&arch, &constants);
    let singles: Vec<Buffer<f32>> = logits.iter().map(|layer| place.put(layer)).collect();
    let halves: Vec<Buffer<f16>> = logits.iter().map(|layer| place.put_halves(layer)).collect();
    let on_new = place.put(&new);
    for dtype in [Dtype::F32, Dtype::F16] {
        let mut maps = Maps::new(&place.machine, &arch, &constants, batch).unwrap();
        let raw: Vec<Values<'_>> = match dtype {
            Dtype::F32 => singles.iter().map(|b| Values::F32(b.view())).collect(),
            Dtype::F16 => halves.iter().map(|b| Values::F16(b.view())).collect(),
        };
        let (mut map, mut scores) = (place.poisoned(batch * size * size), place.poisoned(batch));
        // Twice: the counts start anew.
        for _ in 0..2 {
            maps.run(&place.stream, &raw, on_new.view(), batch, map.view_mut(), scores.view_mut()).unwrap();
        }
        let (map, scores) = (map.read().unwrap(), scores.read().unwrap());
        for image in 0..batch {
            let difference = |layer: &Vec<f32>| -> Vec<f32> {
                layer[image * patches * 2..][..patches * 2].chunks(2).map(|pair| pair[1] - pair[0]).collect()
            };
            let raw: Vec<Vec<f32>> = logits.iter().map(difference).collect();
            let own = &new[image * layers * patches..][..layers * patches];
            let own: Vec<Vec<f32>> = own.chunks(patches).map(<[f32]>::to_vec).collect();
            let fused = fusion.fuse(&raw, &own);
            let what = format!("{}: {dtype:?} {case:?}, image {image}", place.name);
            assert_close(&what, &map[image * size * size..][..size * size], &fused.map, TOLERANCE);
            assert_close(&what, &scores[image..=image], &[fused.score], TOLERANCE);
        }
    }
}

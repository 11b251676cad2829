//! Threshold: bits and summary are those that plain Rust finds, exactly.

use vcp_line::cuda::{Buffer, RawSummary, TILES, Threshold};

use super::{Place, Random};

/// Side of a map and batch.
pub type Case = (usize, usize);

/// One pixel, less than a word, a word and a bit, more than two.
pub const CASES: [Case; 4] = [(1, 1), (7, 2), (33, 3), (70, 2)];

/// Sides up to `largest`, batches up to 4.
pub fn random(random: &mut Random, count: usize, largest: usize) -> Vec<Case> {
    (0..count).map(|_| (random.between(1, largest), random.between(1, 4))).collect()
}

/// Runs every case.
pub fn check(place: &Place, cases: &[Case]) {
    let mut random = Random(5);
    for &case in cases {
        check_one(place, &mut random, case);
    }
    place.assert_reached("threshold");
}

fn check_one(place: &Place, random: &mut Random, (size, batch): Case) {
    let pixels = size * size;
    let mut maps = random.numbers(batch * pixels, 1.0);
    // Equal peaks: the first counts.
    let last = maps.len() - 1;
    maps[last] = 2.0;
    maps[batch * pixels - pixels / 2 - 1] = 2.0;
    // Nothing above, one value exactly at the threshold, most above.
    let limits = [3.0, maps[pixels.min(last)], -0.5, 0.9];
    let thresholds: Vec<f32> = (0..batch).map(|image| limits[image % limits.len()]).collect();
    let scores = random.numbers(batch, 1.0);
    let threshold = Threshold::new(&place.machine, size).unwrap();
    let words = threshold.row_words();
    let mut mask = place.put(&vec![u32::MAX; batch * size * words]);
    let mut summaries = Buffer::<RawSummary>::zeros(&place.machine, batch).unwrap();
    let [on_maps, on_scores, on_limits] = [&maps, &scores, &thresholds].map(|values| place.put(values));
    // Twice: the summary starts anew.
    for _ in 0..2 {
        threshold
            .run(
                &place.stream,
                on_maps.view(),
                on_scores.view(),
                on_limits.view(),
                batch,
                mask.view_mut(),
                summaries.view_mut(),
            )
            .unwrap();
    }
    let (mask, summaries) = (mask.read().unwrap(), summaries.read().unwrap());
    for image in 0..batch {
        let what = format!("{}: image {image} of {batch}, side {size}", place.name);
        let map = &maps[image * pixels..][..pixels];
        let (limit, summary) = (thresholds[image], summaries[image].decode(size));
        let above: Vec<usize> = (0..pixels).filter(|&i| map[i] >= limit).collect();
        for y in 0..size {
            for x in 0..words * 32 {
                let bit = mask[(image * size + y) * words + x / 32] >> (x % 32) & 1;
                assert_eq!(bit == 1, x < size && map[y * size + x] >= limit, "{what}: {x} {y}");
            }
        }
        let (xs, ys) = (above.iter().map(|i| i % size), above.iter().map(|i| i / size));
        let bounds = xs
            .clone()
            .min()
            .zip(ys.clone().min())
            .map(|(left, top)| [left, top, xs.max().unwrap() + 1 - left, ys.max().unwrap() + 1 - top]);
        let peak = map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let at = map.iter().position(|&value| value == peak).unwrap();
        let side = size.div_ceil(TILES);
        let mut tiles = [f32::NEG_INFINITY; TILES * TILES];
        for (i, &value) in map.iter().enumerate() {
            let tile = &mut tiles[i / size / side * TILES + i % size / side];
            *tile = tile.max(value);
        }
        assert_eq!((summary.above, summary.bounds), (above.len(), bounds), "{what}");
        assert_eq!((summary.peak, summary.peak_at), (peak, [at % size, at / size]), "{what}");
        assert_eq!((summary.tiles, summary.score), (tiles, scores[image]), "{what}");
    }
}

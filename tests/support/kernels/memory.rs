//! A memory on the card: distances are those of the plain look-up, and what is joined is what plain Rust joins.

use half::f16;
use vcp_line::anomaly::{AnomalyMap, Prediction, StageTimes};
use vcp_line::clock::{Clock, SystemClock};
use vcp_line::cuda::{Buffer, CudaError, Dtype, Join, LookUp, LookUpShape, RawSummary, Remembered, Threshold, Values};
use vcp_line::event::ModelInfo;
use vcp_line::memory::fusion::{Fusion, Good};
use vcp_line::memory::look_up::{nearest, normalised};
use vcp_line::memory::{Learner, Memory, Settings};
use vcp_line::tokens::PatchTokens;

use super::{Place, Random, assert_close};

/// Largest difference of a joined map or score from that of plain Rust, both from the same distances: the odds are powers,
/// which sharpen a difference in the last digits.
pub const JOINED_TOLERANCE: f32 = 2e-5;

/// Sizes of a picture's tokens and of a memory.
#[derive(Clone, Debug)]
pub struct Case {
    /// Side of the patch grid.
    pub grid: usize,
    /// Cv.
    pub width: usize,
    /// Rows of each tapped layer.
    pub rows: Vec<usize>,
}

fn case(grid: usize, width: usize, rows: &[usize]) -> Case {
    Case { grid, width, rows: rows.to_vec() }
}

/// One token against one, none at all, a layer without any among others, widths that are no multiple of a step, tiles that
/// are just full and just not, more tokens than a tile has.
pub fn cases() -> Vec<Case> {
    vec![
        case(1, 8, &[1]),
        case(2, 16, &[0]),
        case(3, 24, &[5, 0, 2]),
        case(7, 40, &[127, 128, 129, 1]),
        case(12, 64, &[130]),
        case(5, 104, &[3, 3, 3, 3, 3, 3, 3, 257]),
    ]
}

/// The published size with a memory of four pictures, and one of another size for each layer.
pub fn full() -> Vec<Case> {
    vec![case(37, 1024, &[5476; 4]), case(37, 1024, &[1369, 5476, 1, 4000])]
}

/// Any sizes.
pub fn random(random: &mut Random, count: usize) -> Vec<Case> {
    let mut one = || {
        let rows: Vec<usize> = (0..random.between(1, 4)).map(|_| random.between(0, 300)).collect();
        case(random.between(1, 14), 8 * random.between(1, 12), &rows)
    };
    (0..count).map(|_| one()).collect()
}

/// Looks every case up in both types; distances may be off by `tolerance`.
pub fn check_look_up(place: &Place, cases: &[Case], tolerance: f32) {
    let mut random = Random(21);
    for case in cases {
        check_distances(place, &mut random, case, tolerance);
    }
    place.assert_reached("look_up");
}

fn check_distances(place: &Place, random: &mut Random, case: &Case, tolerance: f32) {
    let &Case { grid, width, .. } = case;
    let (layers, patches) = (case.rows.len(), grid * grid);
    let mut tokens: Vec<Vec<f32>> = (0..layers).map(|_| random.halves(patches * width, 3.0)).collect();
    let half = |x: f32| f16::from_f32(x).to_f32();
    let mut memory: Vec<Vec<f32>> = Vec::new();
    for (layer, &rows) in case.rows.iter().enumerate() {
        let mut rows = random.numbers(rows * width, 1.0);
        // The last patch is known already, and the first is of zeros where there are two.
        if let Some(last) = rows.len().checked_sub(width) {
            rows[last..].copy_from_slice(&tokens[layer][(patches - 1) * width..]);
        }
        memory.push(normalised(&rows, width).into_iter().map(half).collect());
        if patches > 1 {
            tokens[layer][..width].fill(0.0);
        }
    }
    let halves: Vec<Vec<f16>> = memory.iter().map(|rows| rows.iter().map(|&x| f16::from_f32(x)).collect()).collect();
    let on_card: Vec<&[f16]> = halves.iter().map(Vec::as_slice).collect();
    let remembered = Remembered::new(&place.machine, &on_card, width).unwrap();
    let singles: Vec<Buffer<f32>> = tokens.iter().map(|layer| place.put(layer)).collect();
    let in_halves: Vec<Buffer<f16>> = tokens.iter().map(|layer| place.put_halves(layer)).collect();
    for dtype in [Dtype::F32, Dtype::F16] {
        let shape = LookUpShape { layers, patches, width, tokens: dtype };
        let mut look_up = LookUp::new(&place.machine, shape).unwrap();
        let values: Vec<Values<'_>> = match dtype {
            Dtype::F32 => singles.iter().map(|layer| Values::F32(layer.view())).collect(),
            Dtype::F16 => in_halves.iter().map(|layer| Values::F16(layer.view())).collect(),
        };
        let mut distances = place.poisoned(layers * patches);
        // Twice: nothing of a picture is left for the next.
        for _ in 0..2 {
            look_up.run(&place.stream, &values, &remembered, distances.view_mut()).unwrap();
        }
        let distances = distances.read().unwrap();
        for (layer, got) in distances.chunks_exact(patches).enumerate() {
            let what = format!("{}: {dtype:?} {case:?}, layer {layer}", place.name);
            let wanted = nearest(&normalised(&tokens[layer], width), &memory[layer], width, |_| false);
            assert_close(&what, got, &wanted, tolerance);
            if case.rows[layer] == 0 {
                assert!(got.iter().all(|&distance| distance == 2.0), "{what}: nothing is near");
            } else if patches > 1 {
                assert!(got[0] == 1.0 && got[patches - 1] < 1e-3, "{what}: {} {}", got[0], got[patches - 1]);
            }
        }
    }
}

/// What does not fit is refused before anything runs.
pub fn check_refusals(place: &Place) {
    let shape = |layers, width| LookUpShape { layers, patches: 4, width, tokens: Dtype::F16 };
    let new = |layers, width| LookUp::new(&place.machine, shape(layers, width));
    for (layers, width) in [(0, 8), (9, 8), (1, 0), (1, 12)] {
        assert!(matches!(new(layers, width), Err(CudaError::Unsupported { .. })), "{layers} of {width}");
    }
    let rows = |count: usize| vec![f16::ZERO; count];
    let remembered = |layers: &[&[f16]], width| Remembered::new(&place.machine, layers, width);
    assert!(matches!(remembered(&[&rows(17)], 8), Err(CudaError::Length { .. })), "half a row");
    let (mut look_up, tokens) = (new(2, 8).unwrap(), place.put(&rows(4 * 8)));
    let mut run = |layers: usize, memory: &Remembered, distances: usize| {
        let values: Vec<Values<'_>> = (0..layers).map(|_| Values::F16(tokens.view())).collect();
        look_up.run(&place.stream, &values, memory, place.poisoned(distances).view_mut())
    };
    let (one, two, wide) = (rows(8), rows(16), rows(32));
    let fits = remembered(&[&one, &two], 8).unwrap();
    assert!(run(2, &fits, 8).is_ok());
    let others = [remembered(&[&one], 8).unwrap(), remembered(&[&two, &wide], 16).unwrap()];
    let refused = [run(1, &fits, 8), run(2, &fits, 7), run(2, &others[0], 8), run(2, &others[1], 8)];
    for (at, refused) in refused.iter().enumerate() {
        assert!(matches!(refused, Err(CudaError::Length { .. })), "{at}: {refused:?}");
    }
}

/// Layers, side of the grid, side of the map, good parts.
pub type JoinCase = [usize; 4];

/// One patch and one pixel, one good part, enough of them for a score of the memory's own, a map of no multiple of anything.
pub const JOINED: [JoinCase; 5] = [[1, 1, 1, 2], [4, 7, 98, 16], [2, 3, 21, 1], [8, 5, 33, 9], [3, 6, 77, 40]];

/// The published size.
pub const JOINED_FULL: [JoinCase; 2] = [[4, 37, 518, 4], [4, 37, 518, 16]];

/// Any sizes.
pub fn random_joined(random: &mut Random, count: usize) -> Vec<JoinCase> {
    let mut one = || {
        let grid = random.between(1, 10);
        [random.between(1, 8), grid, grid * random.between(1, 9), random.between(1, 20)]
    };
    (0..count).map(|_| one()).collect()
}

/// Joins every case.
pub fn check_join(place: &Place, cases: &[JoinCase]) {
    let mut random = Random(22);
    for case in cases {
        check_joined(place, &mut random, case);
    }
    place.assert_reached("join");
}

fn check_joined(place: &Place, random: &mut Random, case: &JoinCase) {
    let &[layers, grid, size, parts] = case;
    let (patches, pixels) = (grid * grid, size * size);
    let mut between = |count: usize, low: f32, high: f32| -> Vec<f32> {
        random.numbers(count, 0.5).into_iter().map(|x| low + (x + 0.5) * (high - low)).collect()
    };
    let good: Vec<Good> = (0..parts)
        .map(|_| Good {
            distances: (0..layers).map(|_| between(patches, 0.05, 0.15)).collect(),
            score: between(1, 0.0, 1.5)[0],
        })
        .collect();
    let fusion = Fusion::decide(&good, parts, grid, size, 8.0);
    let mut join = Join::new(&place.machine, &fusion.joining(size), grid, size).unwrap();
    // Like a good part, unlike any, and one that differs in some patches; the model sure and unsure.
    let mut odd = between(layers * patches, 0.05, 0.15);
    odd.iter_mut().step_by(7).for_each(|distance| *distance *= 4.0);
    let pictures = [between(layers * patches, 0.05, 0.15), vec![2.0; layers * patches], odd];
    let map = {
        let mut map = between(pixels, 0.0, 1.0);
        map[0] = 0.0;
        map[pixels - 1] = 1.0;
        map
    };
    for (picture, score) in [(0, 0.3), (0, 2.0), (1, 0.0), (2, 1.1)] {
        let distances = &pictures[picture];
        let [on_distances, on_map, on_score] = [distances, &map, &vec![score]].map(|values| place.put(values));
        let (mut fused, mut joined) = (place.poisoned(pixels), place.poisoned(1));
        let inputs = (on_distances.view(), on_map.view(), on_score.view());
        join.run(&place.stream, inputs.0, inputs.1, inputs.2, fused.view_mut(), joined.view_mut()).unwrap();
        let own: Vec<Vec<f32>> = distances.chunks_exact(patches).map(<[f32]>::to_vec).collect();
        let (wanted, wanted_score) = fusion.join(&own, &map, size, score);
        let what = format!("{}: {case:?}, picture {picture}, score {score}", place.name);
        assert_close(&what, &fused.read().unwrap(), &wanted, JOINED_TOLERANCE);
        assert_close(&what, &joined.read().unwrap(), &[wanted_score], JOINED_TOLERANCE);
    }
}

/// Columns and rows that every picture of [`check_whole`] is said to have.
const PICTURE: (u32, u32) = (640, 480);

/// A memory of `parts` pictures, learnt as on a line, is asked about good and odd ones: map, peak and score are those of
/// [`Memory::look`] by the processor.
pub fn check_whole(place: &Place, parts: usize, tolerance: f32) {
    let (grid, width, layers, size) = (6, 40, 3, 48);
    let patches = grid * grid;
    let mut random = Random(23);
    let kind: Vec<Vec<f32>> = (0..layers).map(|_| random.halves(patches * width, 1.0)).collect();
    let mut part = |odd: usize| -> Vec<Vec<f32>> {
        let own = |layer: &Vec<f32>| {
            let noise = random.numbers(patches * width, 1.0);
            let value = |(i, (x, own)): (usize, (&f32, f32))| if i / width < odd { own } else { x + 0.2 * own };
            layer.iter().zip(noise).enumerate().map(value).map(|x| f16::from_f32(x).to_f32()).collect()
        };
        kind.iter().map(own).collect()
    };
    let text = String::new;
    let model = ModelInfo { name: text(), sha256: text(), engine: text(), precision: text(), memory: None };
    let now = SystemClock.now().wall;
    let mut learner = Learner::new(Settings { model, size, sigma: 2.0, pictures_of_tokens: 2, by: "test".into(), now });
    for number in 0..parts {
        let tokens = PatchTokens::new(grid, width, part(0));
        learner.take(&tokens, 0.1 + 0.05 * (number % 7) as f32, PICTURE).unwrap();
    }
    let memory: Memory = learner.finish().unwrap();
    let known = memory.known(size);
    let in_halves = |rows: &Vec<f32>| -> Vec<f16> { rows.iter().map(|&x| f16::from_f32(x)).collect() };
    let halves: Vec<Vec<f16>> = known.taps.iter().map(in_halves).collect();
    let rows: Vec<&[f16]> = halves.iter().map(Vec::as_slice).collect();
    let remembered = Remembered::new(&place.machine, &rows, known.width).unwrap();
    let mut look_up = LookUp::new(&place.machine, LookUpShape { layers, patches, width, tokens: Dtype::F16 }).unwrap();
    let mut join = Join::new(&place.machine, &known.joining, grid, size).unwrap();
    let threshold = Threshold::new(&place.machine, size).unwrap();
    let map: Vec<f32> = (0..size * size).map(|i| (i % 83) as f32 / 100.0).collect();
    for odd in [0, 1, 5, patches] {
        let (tokens, score) = (part(odd), 0.5);
        let on_card: Vec<Buffer<f16>> = tokens.iter().map(|layer| place.put_halves(layer)).collect();
        let values: Vec<Values<'_>> = on_card.iter().map(|layer| Values::F16(layer.view())).collect();
        let [mut distances, mut fused, mut joined] = [layers * patches, size * size, 1].map(|len| place.poisoned(len));
        let (on_map, on_score, limit) = (place.put(&map), place.put(&[score]), place.put(&[0.0]));
        let mut mask = Buffer::<u32>::zeros(&place.machine, size * threshold.row_words()).unwrap();
        let mut summary = Buffer::<RawSummary>::zeros(&place.machine, 1).unwrap();
        let stream = &place.stream;
        look_up.run(stream, &values, &remembered, distances.view_mut()).unwrap();
        let inputs = (distances.view(), on_map.view(), on_score.view());
        join.run(stream, inputs.0, inputs.1, inputs.2, fused.view_mut(), joined.view_mut()).unwrap();
        let (mask, sums) = (mask.view_mut(), summary.view_mut());
        threshold.run(stream, fused.view(), joined.view(), limit.view(), 1, mask, sums).unwrap();
        let told = summary.read().unwrap()[0].decode(size);
        let tokens = Some(PatchTokens::new(grid, width, tokens));
        let alone = AnomalyMap::new(size, map.clone());
        let alone = Prediction { map: alone, score, times: StageTimes::default(), tokens };
        let wanted = memory.look(alone, PICTURE).unwrap();
        let what = format!("{}: a memory of {parts}, {odd} odd patches", place.name);
        assert_close(&what, &fused.read().unwrap(), wanted.map.values(), tolerance);
        assert_close(&what, &[told.peak, told.score], &[wanted.map.peak(), wanted.score], tolerance);
    }
}

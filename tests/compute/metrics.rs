//! The figures, against the golden numbers of the released evaluation (tests/fixtures/oracle/metrics).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use vcp_line::eval::metrics::counts::{BINS, Counts};
use vcp_line::eval::metrics::{Labelled, MetricsError, image, normalise, pixel, regions};

/// Largest difference allowed, as fractions.
const CLOSE: f64 = 1e-6;
const CLOSE_AUPRO: f64 = 1e-5;

const PIXEL_CASES: [&str; 6] =
    ["smooth_64", "ties_16_levels", "regions_37x53", "perfect_binary", "anticorrelated", "realistic_518"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/oracle/metrics")
}

/// `values.json`; Python writes NaN there, which JSON does not know.
fn values() -> Value {
    let text = std::fs::read_to_string(fixtures().join("values.json")).expect("fixture");
    serde_json::from_str(&text.replace("NaN", "null")).expect("JSON")
}

/// A golden number; null is NaN.
fn golden(values: &Value, name: &str) -> f64 {
    values.get(name).expect("the value is there").as_f64().unwrap_or(f64::NAN)
}

fn assert_close(found: f64, values: &Value, name: &str, most: f64, case: &str) {
    let expected = golden(values, name);
    let equal = (found.is_nan() && expected.is_nan()) || (found - expected).abs() <= most;
    assert!(equal, "{case}: {name} is {found}, expected {expected}");
}

/// Numbers of a tensor, whatever their type.
fn numbers(tensors: &SafeTensors<'_>, name: &str) -> Vec<f64> {
    let tensor = tensors.tensor(name).expect("the tensor is there");
    let bytes = tensor.data();
    match tensor.dtype() {
        Dtype::F32 => bytemuck::pod_collect_to_vec::<u8, f32>(bytes).into_iter().map(f64::from).collect(),
        Dtype::F64 => bytemuck::pod_collect_to_vec(bytes),
        Dtype::I64 => bytemuck::pod_collect_to_vec::<u8, i64>(bytes).into_iter().map(|n| n as f64).collect(),
        Dtype::U8 => bytes.iter().map(|&n| f64::from(n)).collect(),
        other => panic!("{other:?}"),
    }
}

/// Maps and masks of one case, and its columns.
struct Case {
    width: usize,
    maps: Vec<Vec<f32>>,
    masks: Vec<Vec<bool>>,
    curve: [Vec<f64>; 3],
}

impl Case {
    fn read(name: &str, scores: &str) -> Self {
        let bytes = std::fs::read(fixtures().join(format!("{name}.safetensors"))).expect("fixture");
        let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
        let shape = tensors.tensor(scores).expect("scores").shape().to_vec();
        let pixels = shape[1] * shape[2];
        let values: Vec<f32> = numbers(&tensors, scores).into_iter().map(|value| value as f32).collect();
        let mask: Vec<bool> = numbers(&tensors, "masks").into_iter().map(|value| value > 0.0).collect();
        Self {
            width: shape[2],
            maps: values.chunks(pixels).map(<[f32]>::to_vec).collect(),
            masks: mask.chunks(pixels).map(<[bool]>::to_vec).collect(),
            curve: ["pro_thresholds", "pro_fpr", "pro_pro"].map(|name| numbers(&tensors, name)),
        }
    }

    fn pictures(&self) -> Vec<Labelled<'_>> {
        let width = self.width;
        self.maps.iter().zip(&self.masks).map(|(map, mask)| Labelled { width, map, mask }).collect()
    }
}

#[test]
fn pixel_figures_are_those_of_the_released_evaluation() {
    let values = values();
    for name in PIXEL_CASES {
        let found = pixel(&Case::read(name, "scores_normalized").pictures()).expect("measured");
        let expected = &values["pixel"][name];
        assert_close(found.auroc, expected, "auroc_px", CLOSE, name);
        assert_close(found.ap, expected, "ap_px", CLOSE, name);
        assert_close(found.f1, expected, "f1_px", CLOSE, name);
        assert_close(f64::from(found.threshold), expected, "best_threshold", CLOSE, name);
        assert_close(found.iou, expected, "iou", CLOSE, name);
        assert_close(found.aupro, expected, "aupro_px", CLOSE_AUPRO, name);
    }
}

#[test]
fn normalising_is_that_of_the_released_evaluation_and_changes_only_the_scale() {
    for name in PIXEL_CASES {
        let mut case = Case::read(name, "scores");
        let raw = pixel(&case.pictures()).expect("measured");
        let (least, largest) = normalise(&mut case.maps);
        assert_eq!(case.maps, Case::read(name, "scores_normalized").maps, "{name}");
        let normalised = pixel(&case.pictures()).expect("measured");
        let back = normalised.threshold * (largest - least) + least;
        assert!((back - raw.threshold).abs() < 1e-6, "{name}: {back} and {}", raw.threshold);
        for (raw, normalised) in [
            (raw.auroc, normalised.auroc),
            (raw.ap, normalised.ap),
            (raw.f1, normalised.f1),
            (raw.iou, normalised.iou),
            (raw.aupro, normalised.aupro),
        ] {
            let equal = (raw - normalised).abs() < CLOSE_AUPRO || (raw.is_nan() && normalised.is_nan());
            assert!(equal, "{name}: {raw} and {normalised}");
        }
    }
    let mut constant = [vec![0.3; 4]];
    assert_eq!(normalise(&mut constant), (0.3, 0.3));
    assert_eq!(constant, [vec![0.0; 4]]);
}

#[test]
fn overlap_curves_are_those_of_the_released_evaluation() {
    for name in PIXEL_CASES {
        let case = Case::read(name, "scores_normalized");
        let curve = regions::curve(&case.pictures(), 0.0, 1.0).expect("a curve");
        let found = [&curve.thresholds, &curve.rates, &curve.overlaps];
        for (found, expected) in found.into_iter().zip(&case.curve) {
            assert_eq!(found.len(), expected.len(), "{name}");
            let most = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(most < 1e-12, "{name}: {most}");
        }
        let expected = &values()["pixel"][name];
        assert_eq!(curve.rates.iter().filter(|&&rate| rate < 0.3).count() as u64, expected["n_below_0.3"], "{name}");
        let count: usize = case.masks.iter().map(|mask| regions::regions(mask, case.width).len()).sum();
        assert_eq!(count as u64, expected["n_regions"], "{name}");
    }
}

#[test]
fn counts_in_bins_come_close() {
    let values = values();
    for name in PIXEL_CASES {
        let case = Case::read(name, "scores_normalized");
        let mut counts = Counts::default();
        for picture in case.pictures() {
            let mut one = Counts::default();
            one.add(&picture);
            counts.merge(&one);
        }
        let (ranked, expected) = (counts.rank(), &values["pixel"][name]);
        assert_close(ranked.auroc, expected, "auroc_px", 1e-6, name);
        assert_close(ranked.ap, expected, "ap_px", 1e-5, name);
        assert_close(ranked.f1, expected, "f1_px", 1e-6, name);
        assert_close(f64::from(ranked.threshold), expected, "best_threshold", 1e-5, name);
        let area = counts.pro_curve().map_or(f64::NAN, |curve| curve.area());
        assert_close(area, expected, "aupro_px", 1e-5, name);
        let decided = counts.decide(ranked.threshold);
        assert!((decided.f1() - ranked.f1).abs() < 1e-6, "{name}: {decided:?}");
        for shares in counts.histogram(50, 1.0) {
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
    }
    // At a bin's edge nothing is rounded, and what lies outside is counted at the ends.
    let edge = 1000.0 / BINS as f32;
    let mut counts = Counts::default();
    counts.add(&Labelled { width: 4, map: &[edge, edge - 1e-7, -0.5, 1.5], mask: &[true, true, true, false] });
    let decided = counts.decide(edge);
    assert_eq!((decided.found, decided.missed, decided.alarms), (1, 2, 1));
    assert_eq!((decided.f1(), decided.iou()), (0.4, 0.25));
}

#[test]
fn image_figures_are_those_of_the_released_evaluation() {
    let values = values();
    let bytes = std::fs::read(fixtures().join("image_level.safetensors")).expect("fixture");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    for name in ["random", "ties", "perfect", "worst"] {
        let scores: Vec<f32> = numbers(&tensors, &format!("{name}.scores")).iter().map(|&s| s as f32).collect();
        let labels: Vec<bool> = numbers(&tensors, &format!("{name}.labels")).iter().map(|&l| l > 0.0).collect();
        let expected = &values["image"][name];
        let mut groups = [scores.clone()];
        normalise(&mut groups);
        for scores in [&scores, &groups[0]] {
            let found = image(scores, &labels).expect("measured");
            assert_close(found.auroc, expected, "auroc_sp", CLOSE, name);
            assert_close(found.ap, expected, "ap_sp", CLOSE, name);
            assert_close(found.f1, expected, "f1_sp", CLOSE, name);
        }
    }
}

#[test]
fn what_is_not_defined_is_nan() {
    let map: Vec<f32> = (0..16).map(|i| i as f32 / 16.0).collect();
    let measure = |map: &[f32], mask: &[bool]| pixel(&[Labelled { width: 4, map, mask }]).expect("measured");
    let good = measure(&map, &[false; 16]);
    // `values.json`, degenerate: AUROC nan, AP 0.0, AUPRO nan.
    assert!(good.auroc.is_nan() && good.aupro.is_nan());
    assert_eq!((good.ap, good.f1, good.iou), (0.0, 0.0, 0.0));
    let bad = measure(&map, &[true; 16]);
    assert!(bad.auroc.is_nan() && bad.aupro.is_nan());
    assert_eq!(bad.ap, 1.0);
    let mask: Vec<bool> = (0..16).map(|i| i > 12).collect();
    // The released evaluation stops with an error at a constant map.
    let constant = measure(&[0.5; 16], &mask);
    assert!(constant.aupro.is_nan());
    assert_eq!(constant.auroc, 0.5);
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let refuse = |map: &[f32], mask: &[bool], width| pixel(&[Labelled { width, map, mask }]).expect_err("refused");
    assert_eq!(pixel(&[]), Err(MetricsError::Empty));
    assert_eq!(refuse(&[0.0, f32::NAN], &[true, false], 2), MetricsError::NotFinite { picture: 0 });
    assert_eq!(refuse(&[0.0; 3], &[true; 3], 2).to_string(), "picture 0: 3 values and 3 labels in rows of 2");
    assert!(matches!(refuse(&[0.0; 4], &[true; 3], 2), MetricsError::Shape { .. }));
    assert_eq!(image(&[], &[]), Err(MetricsError::Empty));
    assert!(matches!(image(&[1.0], &[]), Err(MetricsError::Shape { .. })));
    assert_eq!(image(&[1.0, f32::INFINITY], &[true, false]), Err(MetricsError::NotFinite { picture: 1 }));
}

/// The definitions written down once more, slowly: every threshold looks at every pixel.
#[test]
fn small_cases_agree_with_the_plain_definition() {
    let mut state = 1u64;
    let mut next = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as u32
    };
    for round in 0..200 {
        let pixels = 2 + next() as usize % 30;
        let levels = 1 + next() % 12;
        let map: Vec<f32> = (0..pixels).map(|_| (next() % levels) as f32 / 4.0 - 1.0).collect();
        let mut mask: Vec<bool> = (0..pixels).map(|_| next() % 3 == 0).collect();
        (mask[0], mask[1]) = (true, false);
        let found = pixel(&[Labelled { width: pixels, map: &map, mask: &mask }]).expect("measured");
        let count = |is: bool, test: &dyn Fn(f32) -> bool| {
            map.iter().zip(&mask).filter(|(value, mask)| **mask == is && test(**value)).count() as f64
        };
        let (bad, good) = (count(true, &|_| true), count(false, &|_| true));
        let mut wins = 0.0;
        for (a, _) in map.iter().zip(&mask).filter(|(_, mask)| **mask) {
            wins += count(false, &|value| value < *a) + 0.5 * count(false, &|value| value == *a);
        }
        assert!((found.auroc - wins / bad / good).abs() < 1e-12, "round {round}");
        let distinct: BTreeMap<i32, f32> = map.iter().map(|&value| ((value * 4.0) as i32, value)).collect();
        let (mut ap, mut before, mut best) = (0.0, 0.0, (0.0, f32::NAN));
        for &threshold in distinct.values().rev() {
            let (hits, alarms) = (count(true, &|v| v >= threshold), count(false, &|v| v >= threshold));
            let (precision, recall) = (hits / (hits + alarms), hits / bad);
            ap += (recall - before) * precision;
            before = recall;
            let f1 = 2.0 * precision * recall / (precision + recall + 1e-8);
            if f1 >= best.0 {
                best = (f1, threshold);
            }
        }
        assert!((found.ap - ap).abs() < 1e-12, "round {round}");
        assert_eq!((found.f1, found.threshold), best, "round {round}");
        let (hits, alarms) = (count(true, &|v| v > best.1), count(false, &|v| v > best.1));
        assert_eq!(found.iou, hits / (bad + alarms), "round {round}");
    }
}

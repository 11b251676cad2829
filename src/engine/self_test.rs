//! The self-test of an engine that runs on other hardware than it was checked on: one picture whose answer is known
//! from the reference engine. An engine beyond tolerance does not go online.

pub use super::expected::Expected;
use super::{Engine, EngineChoice, EngineError, Precision};
use crate::anomaly::Prediction;
use crate::clock::{Clock, SystemClock};
use crate::frame::{Frame, Image, PixelFormat};

/// Map values that are compared lie on a grid of this side.
const GRID: usize = 16;
/// The picture is so much larger than the model's input, per axis: resizing is part of the test.
const LARGER: [(usize, usize); 2] = [(3, 2), (5, 4)];
/// Seed of the picture.
const SEED: u64 = 0x5eed_1ab5;

/// How far an engine is from what was expected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deviation {
    /// Of the image score.
    pub score: f32,
    /// Largest over peak and samples of the map.
    pub map: f32,
}

/// Largest deviation of a map value that is arithmetic and not a fault; the score, a sum of two means, may be twice as
/// far off.
pub fn tolerance(precision: Precision) -> f32 {
    match precision {
        Precision::Auto | Precision::Fp32 => 1e-4,
        Precision::Fp16 => 5e-3,
        // Eight bits of mantissa, three fewer than fp16.
        Precision::Bf16 => 4e-2,
        // Beside bfloat16's, of which an engine's rest is; what the maps lose is held by the gate of the scales.
        Precision::Int8 => 1e-1,
        // Three bits of mantissa: twice the steps of integers near the largest value.
        Precision::Fp8 => 2e-1,
    }
}

/// The picture for a model of input side `size`: smooth colours, stripes, a blot and noise, the same on every machine.
pub fn picture(size: usize, seed: u64) -> Image {
    let [width, height] = LARGER.map(|(times, of)| (size * times).div_ceil(of));
    let mut state = seed;
    let mut random = move || {
        // Knuth's MMIX generator; its upper bits are good enough for noise.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let (blot_x, blot_y, blot) = (random() % width, random() % height, (size / 8).max(2));
    let mut data = Vec::with_capacity(3 * width * height);
    for y in 0..height {
        for x in 0..width {
            let stripe = if (x / 9 + y / 5) % 4 == 0 { 60 } else { 0 };
            let in_blot = x.abs_diff(blot_x) + y.abs_diff(blot_y) < blot;
            for colour in [x * 180 / width, y * 180 / height, 90] {
                let value = if in_blot { 20 } else { colour + stripe };
                data.push((value + random() % 16).min(255) as u8);
            }
        }
    }
    Image::new(width as u32, height as u32, PixelFormat::Rgb8, data).expect("the bytes were made for this size")
}

fn look(engine: &mut dyn Engine, seed: u64) -> Result<Prediction, EngineError> {
    let frame = Frame::alone("self-test", SystemClock.now(), picture(engine.info().image_size, seed));
    let answer = engine.infer(&[&frame])?.pop();
    answer.ok_or_else(|| EngineError::Runtime {
        engine: engine.info().engine,
        step: "self-test",
        reason: "no prediction for one frame".into(),
    })
}

fn summary(prediction: &Prediction, seed: u64) -> Expected {
    let (map, size) = (prediction.map.values(), prediction.map.size());
    let at = |i: usize| (2 * i + 1) * size / (2 * GRID);
    let samples = (0..GRID * GRID).map(|i| map[at(i / GRID) * size + at(i % GRID)]).collect();
    Expected { seed, score: prediction.score, peak: prediction.map.peak(), samples }
}

/// What `engine` says, to be expected of others.
pub fn expect(engine: &mut dyn Engine) -> Result<Expected, EngineError> {
    Ok(summary(&look(engine, SEED)?, SEED))
}

/// Lets `engine` look and compares; an error when it is beyond the tolerance of its precision.
pub fn check(engine: &mut dyn Engine, expected: &Expected) -> Result<Deviation, EngineError> {
    let found = look(engine, expected.seed)?;
    judge(engine.info().engine, engine.info().precision, expected, &found)
}

/// Compares what an engine has `found` in the picture; an error when it is beyond the tolerance of its precision.
pub fn judge(
    name: EngineChoice,
    precision: Precision,
    expected: &Expected,
    found: &Prediction,
) -> Result<Deviation, EngineError> {
    let tolerance = tolerance(precision);
    let deviation = compare(name, expected, &summary(found, expected.seed))?;
    if deviation.map <= tolerance && deviation.score <= 2.0 * tolerance {
        return Ok(deviation);
    }
    Err(EngineError::SelfTest { engine: name, map: deviation.map, score: deviation.score, tolerance })
}

fn compare(engine: EngineChoice, expected: &Expected, found: &Expected) -> Result<Deviation, EngineError> {
    if expected.samples.len() != found.samples.len() {
        return Err(EngineError::Runtime {
            engine,
            step: "self-test",
            reason: format!("{} samples expected, {} found", expected.samples.len(), found.samples.len()),
        });
    }
    // What is no number deviates without end; `max` alone would drop it.
    let distance = |a: f32, b: f32| if (a - b).is_nan() { f32::INFINITY } else { (a - b).abs() };
    let samples = expected.samples.iter().zip(&found.samples).map(|(&a, &b)| distance(a, b));
    let map = samples.fold(distance(expected.peak, found.peak), f32::max);
    Ok(Deviation { score: distance(expected.score, found.score), map })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anomaly::AnomalyMap;
    use crate::engine::reference::ReferenceEngine;
    use crate::engine::{EngineInfo, EngineSpec};
    use crate::vcp_clip::Architecture;

    /// The reference engine with something added to one pixel or to the score.
    struct Perturbed {
        engine: ReferenceEngine,
        info: EngineInfo,
        pixel: f32,
        score: f32,
    }

    impl Engine for Perturbed {
        fn infer(&mut self, frames: &[&Frame]) -> Result<Vec<Prediction>, EngineError> {
            let mut answers = self.engine.infer(frames)?;
            for answer in &mut answers {
                let mut values = answer.map.values().to_vec();
                let size = answer.map.size();
                // A pixel of the grid: the middle of its first cell.
                let at = size / (2 * GRID);
                values[at * size + at] += self.pixel;
                answer.map = AnomalyMap::new(size, values);
                answer.score += self.score;
            }
            Ok(answers)
        }

        fn info(&self) -> &EngineInfo {
            &self.info
        }
    }

    #[test]
    fn an_engine_beyond_tolerance_is_told_by_how_much() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("bundle");
        crate::weights::random(&bundle, &Architecture::smallest(), 11).unwrap();
        let engine = EngineChoice::Reference;
        let spec = EngineSpec { precision: Precision::Fp32, engine, ..EngineSpec::new(bundle) };
        let mut reference = ReferenceEngine::open(&spec).unwrap();
        let expected = expect(&mut reference).unwrap();
        assert_eq!(check(&mut reference, &expected).unwrap(), Deviation { score: 0.0, map: 0.0 });

        let info = EngineInfo { precision: Precision::Fp16, ..reference.info().clone() };
        let mut other = Perturbed { engine: reference, info, pixel: 4e-3, score: -8e-3 };
        let deviation = check(&mut other, &expected).unwrap();
        assert!((deviation.map - 4e-3).abs() < 1e-5 && (deviation.score - 8e-3).abs() < 1e-5, "{deviation:?}");
        for (pixel, score) in [(0.01, 0.0), (0.0, 0.02), (f32::NAN, 0.0), (0.0, f32::NAN)] {
            (other.pixel, other.score) = (pixel, score);
            let error = check(&mut other, &expected).unwrap_err();
            assert!(matches!(error, EngineError::SelfTest { .. }), "{error}");
        }
        (other.pixel, other.score) = (0.25, 0.0);
        let error = check(&mut other, &expected).unwrap_err();
        // What was added is there up to rounding.
        assert!(matches!(error, EngineError::SelfTest { map, .. } if (map - 0.25).abs() < 1e-5), "{error}");
        let said = error.to_string();
        assert!(said.contains("off by 0.2") && said.contains("0.005"), "{said}");
        // fp32 is held to more.
        other.info.precision = Precision::Fp32;
        other.pixel = 4e-3;
        assert!(check(&mut other, &expected).is_err());
    }

    #[test]
    fn the_picture_is_the_same_everywhere() {
        let image = picture(56, SEED);
        assert_eq!((image.width, image.height), (84, 70));
        assert_eq!(crate::engine::plan::sha256(image.data())[..16], *"b1fd6cace360834d");
    }
}

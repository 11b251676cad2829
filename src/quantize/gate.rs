//! What 8 bits may cost: maps and scores on pictures that were held out, and the figures of a labelled data set.

use std::time::Duration;

use super::error::QuantizeError;
use crate::clock::{Clock, SystemClock};
use crate::dataset::Dataset;
use crate::engine::scales::Figure;
use crate::engine::{Engine, EngineError};
use crate::eval::{self, Options};
use crate::frame::{Frame, Image};

/// An engine's answers on the pictures that were held out.
pub(super) struct Answers {
    maps: Vec<Vec<f32>>,
    scores: Vec<f32>,
    /// Median time of the network.
    pub time: Duration,
}

/// How far two sets of answers are apart.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Distance {
    /// Mean of a map's values.
    pub map: f32,
    /// Largest of a map's values.
    pub worst: f32,
    /// Mean of the image scores, which go to 2.
    pub score: f32,
}

/// The pictures and what float32 says about them.
pub(super) struct Reference {
    pictures: Vec<Frame>,
    exact: Answers,
}

impl Reference {
    pub fn new(exact: &mut dyn Engine, pictures: Vec<Image>) -> Result<Self, EngineError> {
        let pictures: Vec<Frame> =
            pictures.into_iter().map(|image| Frame::alone("quantize", SystemClock.now(), image)).collect();
        let exact = answers(exact, &pictures)?;
        Ok(Self { pictures, exact })
    }

    pub fn len(&self) -> usize {
        self.pictures.len()
    }

    /// Median time of the network in float32.
    pub fn time(&self) -> Duration {
        self.exact.time
    }

    /// What another engine says about the first `most` pictures.
    pub fn look(&self, engine: &mut dyn Engine, most: usize) -> Result<Answers, EngineError> {
        answers(engine, &self.pictures[..most.min(self.pictures.len())])
    }

    /// How far answers are from float32's.
    pub fn distance(&self, answers: &Answers) -> Distance {
        distance(answers, &self.exact)
    }
}

fn answers(engine: &mut dyn Engine, pictures: &[Frame]) -> Result<Answers, EngineError> {
    let mut answers = Answers { maps: Vec::new(), scores: Vec::new(), time: Duration::ZERO };
    let mut times = Vec::new();
    for picture in pictures {
        for prediction in engine.infer(&[picture])? {
            times.push(prediction.times.inference);
            answers.scores.push(prediction.score);
            answers.maps.push(prediction.map.values().to_vec());
        }
    }
    times.sort_unstable();
    answers.time = times.get(times.len() / 2).copied().unwrap_or_default();
    Ok(answers)
}

/// Over as many pictures as both have.
pub(super) fn distance(a: &Answers, b: &Answers) -> Distance {
    let (mut sum, mut count, mut worst) = (0.0_f64, 0_usize, 0.0_f32);
    for (a, b) in a.maps.iter().zip(&b.maps) {
        for (a, b) in a.iter().zip(b) {
            // What is no number is as far away as can be.
            let off = if (a - b).is_nan() { f32::INFINITY } else { (a - b).abs() };
            sum += f64::from(off);
            count += 1;
            worst = worst.max(off);
        }
    }
    let scores: Vec<f32> = a.scores.iter().zip(&b.scores).map(|(a, b)| (a - b).abs()).collect();
    let mean = |sum: f64, count: usize| (sum / count.max(1) as f64) as f32;
    let score = mean(scores.iter().copied().map(f64::from).sum(), scores.len());
    Distance { map: mean(sum, count), worst, score: if score.is_nan() { f32::INFINITY } else { score } }
}

/// The figures of a labelled data set in float32.
pub(super) struct Figured<'a> {
    data: &'a Dataset,
    exact: Vec<(&'static str, f64)>,
}

impl<'a> Figured<'a> {
    pub fn new(data: &'a Dataset, exact: &mut dyn Engine) -> Result<Self, QuantizeError> {
        Ok(Self { data, exact: figures(data, exact)? })
    }

    /// The same in 8 bits, beside them.
    pub fn compare(&self, int8: &mut dyn Engine) -> Result<Vec<Figure>, QuantizeError> {
        let pairs = self.exact.iter().zip(figures(self.data, int8)?);
        Ok(pairs.map(|((name, fp32), (_, int8))| Figure { name: (*name).to_owned(), fp32: *fp32, int8 }).collect())
    }
}

/// Means of the classes that have them.
fn figures(data: &Dataset, engine: &mut dyn Engine) -> Result<Vec<(&'static str, f64)>, QuantizeError> {
    let found = eval::run(data, engine, Options::default(), None, &mut |_| {})?;
    let raw = &found.methods[0].figures.mean.raw;
    let all = [("AUPRO", raw.pixel.aupro), ("AP", raw.pixel.ap), ("image AUROC", raw.image.auroc)];
    Ok(all.into_iter().filter(|(_, value)| value.is_finite()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::scales::Gate;

    fn answers(values: &[f32], score: f32) -> Answers {
        Answers { maps: vec![values.to_vec()], scores: vec![score], time: Duration::ZERO }
    }

    #[test]
    fn what_is_no_number_never_passes() {
        let exact = answers(&[0.1, 0.2], 0.5);
        let near = distance(&answers(&[0.1, 0.201], 0.501), &exact);
        assert!(
            (near.map - 0.0005).abs() < 1e-6 && (near.worst - 0.001).abs() < 1e-6 && (near.score - 0.001).abs() < 1e-6
        );
        let gate = |found: Distance| Gate {
            allowed: 0.005,
            map: found.map,
            worst: found.worst,
            score: found.score,
            figures: vec![Figure { name: "AP".into(), fp32: 0.7, int8: 0.696 }],
        };
        assert!(gate(near).holds());
        assert!(!gate(distance(&answers(&[f32::NAN, 0.2], 0.5), &exact)).holds());
        assert!(!gate(distance(&answers(&[0.1, 0.2], f32::NAN), &exact)).holds());
        let lost = vec![Figure { name: "AP".into(), fp32: 0.7, int8: 0.69 }];
        assert!(!Gate { figures: lost, ..gate(near) }.holds());
    }
}

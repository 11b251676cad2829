//! The reference engine: VCP-CLIP in plain Rust (burn on the flex device), float32.

use std::time::Instant;

use crate::anomaly::{Prediction, StageTimes};
use crate::frame::Frame;
use crate::tokens::PatchTokens;
use crate::vcp_clip::Architecture;
use crate::vcp_clip::eager::Eager;
use crate::vcp_clip::network::{self, TextConstants};
use crate::vcp_clip::preprocess::Preprocessor;
use crate::weights::bundle::Bundle;

use super::finish::{self, Finish};
use super::{Engine, EngineChoice, EngineError, EngineInfo, EngineSpec, Precision, prepare};

/// Slow and right: the judge of the other engines, and the one that runs everywhere.
pub struct ReferenceEngine {
    architecture: Architecture,
    eager: Eager,
    constants: TextConstants,
    finish: Finish,
    preprocessor: Preprocessor,
    info: EngineInfo,
    hands_out_tokens: bool,
    hands_out_paths: bool,
}

/// What the network and Post-VCP say about one image, for comparison with golden numbers.
pub struct Trace {
    /// Text embeddings, 2×Ct, normal first.
    pub text: Vec<f32>,
    /// Patch tokens per tapped layer, N×Cv.
    pub tokens: Vec<Vec<f32>>,
    /// Pre-VCP logits per tapped layer, N×2.
    pub raw: Vec<Vec<f32>>,
}

impl ReferenceEngine {
    /// Reads the bundle's weights into memory as float32.
    pub fn open(spec: &EngineSpec) -> Result<Self, EngineError> {
        if !matches!(spec.precision, Precision::Fp32 | Precision::Auto) {
            return Err(EngineError::Precision {
                engine: EngineChoice::Reference,
                precision: spec.precision,
                available: "fp32",
            });
        }
        let bundle = Bundle::open(&spec.bundle)?;
        let mut eager = finish::eager(&bundle)?;
        let constants = finish::constants(&bundle, &mut eager)?;
        let finish = Finish::new(&bundle)?;
        let info = EngineInfo::new(&bundle, EngineChoice::Reference, Precision::Fp32, spec.max_batch);
        let preprocessor = prepare::preprocessor(&bundle);
        let architecture = bundle.manifest().architecture.clone();
        Ok(Self {
            architecture,
            eager,
            constants,
            finish,
            preprocessor,
            info,
            hands_out_tokens: false,
            hands_out_paths: false,
        })
    }

    /// Runs the network on `batch` normalised images (3×S×S each, one after the other).
    pub fn trace(&mut self, batch: usize, input: Vec<f32>) -> Vec<Trace> {
        let arch = &self.architecture;
        self.eager.set_images(batch, arch.image_size, input);
        let outputs = network::forward(&mut self.eager, arch, &self.constants);
        let text = Eager::read(&outputs.text);
        let tokens: Vec<_> = outputs.tokens.iter().map(Eager::read).collect();
        let raw: Vec<_> = outputs.raw.iter().map(Eager::read).collect();
        let share = |values: &[f32], image: usize| {
            let length = values.len() / batch;
            values[image * length..(image + 1) * length].to_vec()
        };
        (0..batch)
            .map(|image| Trace {
                text: share(&text, image),
                tokens: tokens.iter().map(|t| share(t, image)).collect(),
                raw: raw.iter().map(|r| share(r, image)).collect(),
            })
            .collect()
    }

    /// What follows the network, for comparison with golden numbers.
    pub fn finish(&self) -> &Finish {
        &self.finish
    }
}

impl Engine for ReferenceEngine {
    fn infer(&mut self, frames: &[&Frame]) -> Result<Vec<Prediction>, EngineError> {
        self.info.check_batch(frames.len())?;
        let count = frames.len() as u32;
        let start = Instant::now();
        let pixels = 3 * self.info.image_size * self.info.image_size;
        let mut input = vec![0.0; frames.len() * pixels];
        for (frame, out) in frames.iter().zip(input.chunks_exact_mut(pixels)) {
            self.preprocessor.run(&frame.image, out);
        }
        let preprocessed = Instant::now();
        let traces = self.trace(frames.len(), input);
        let inferred = Instant::now();
        let arch = &self.architecture;
        Ok(traces
            .into_iter()
            .map(|trace| {
                let begin = Instant::now();
                let taps: Vec<&[f32]> = trace.tokens.iter().map(Vec::as_slice).collect();
                let raw: Vec<&[f32]> = trace.raw.iter().map(Vec::as_slice).collect();
                let fused = self.finish.run(&taps, &trace.text, &raw);
                let score = fused.score;
                let map = fused.into_map(arch, self.hands_out_paths);
                let times = StageTimes {
                    preprocess: (preprocessed - start) / count,
                    inference: (inferred - preprocessed) / count,
                    postprocess: begin.elapsed(),
                };
                let (grid, width) = (arch.grid(), arch.vision_width);
                let tokens = self.hands_out_tokens.then(|| PatchTokens::new(grid, width, trace.tokens));
                Prediction { map, score, times, tokens }
            })
            .collect())
    }

    fn hand_out_tokens(&mut self, wanted: bool) {
        self.hands_out_tokens = wanted;
    }

    fn hand_out_paths(&mut self, wanted: bool) {
        self.hands_out_paths = wanted;
    }

    fn info(&self) -> &EngineInfo {
        &self.info
    }
}

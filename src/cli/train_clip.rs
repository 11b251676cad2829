//! `vcp-line train clip`: a small CLIP from scratch.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::Args;

use crate::learn::clip::{self, ClipSettings, ClipTraining};
use crate::learn::clip_pairs::{Pairs, ViewRule};
use crate::vcp_clip::{Architecture, Constants};

#[derive(Args)]
pub struct ClipArguments {
    /// Folder with pictures and captions.jsonl.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Classes to learn from, separated by commas [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    classes: Vec<String>,
    /// CLIP file to write: safetensors with OpenAI's names.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Side of the pictures the towers learn on, pixels; the bundle's image size may be another.
    #[arg(long, value_name = "PX", default_value_t = 64)]
    image_size: usize,
    /// Side of a patch, pixels.
    #[arg(long, value_name = "PX", default_value_t = 8)]
    patch: usize,
    /// Channels of the vision tower.
    #[arg(long, value_name = "N", default_value_t = 192)]
    vision_width: usize,
    /// Blocks of the vision tower.
    #[arg(long, value_name = "N", default_value_t = 8)]
    vision_layers: usize,
    /// Channels of the text tower and of the joint embedding.
    #[arg(long, value_name = "N", default_value_t = 128)]
    text_width: usize,
    /// Blocks of the text tower.
    #[arg(long, value_name = "N", default_value_t = 4)]
    text_layers: usize,
    /// Side to which whole pictures are brought before views are cut, pixels: the image size the model will run at.
    #[arg(long, value_name = "PX", default_value_t = 128)]
    working_size: usize,
    /// Smallest window that becomes a view, pixels of the working size.
    #[arg(long, value_name = "PX", default_value_t = 48)]
    smallest_window: usize,
    /// Classes in one batch: few make the captions of a batch differ by the defect rather than by the product.
    #[arg(long, value_name = "N", default_value_t = 4)]
    classes_per_batch: usize,
    /// Optimiser steps.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    steps: u64,
    /// Views per step.
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch: usize,
    /// Highest learning rate.
    #[arg(long, value_name = "RATE", default_value_t = 1e-3)]
    rate: f64,
    /// Steps over which the rate rises.
    #[arg(long, value_name = "N", default_value_t = 100)]
    warm_up: u64,
    /// Weight decay of the matrices.
    #[arg(long, value_name = "DECAY", default_value_t = 0.05)]
    decay: f64,
    /// Steps from one line of progress to the next.
    #[arg(long, value_name = "N", default_value_t = 20)]
    log_every: u64,
    /// Makes first values and views; the same seed trains the same CLIP.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl ClipArguments {
    fn settings(&self) -> ClipSettings {
        let Constants { mean, std, .. } = Constants::default();
        ClipSettings {
            sizes: Architecture {
                image_size: self.image_size,
                patch: self.patch,
                vision_width: self.vision_width,
                vision_layers: self.vision_layers,
                text_width: self.text_width,
                text_layers: self.text_layers,
                context_length: 77,
                class_vectors: 2,
                prompt_tokens: 1,
                deep_prompts: self.text_layers.saturating_sub(1),
                taps: vec![self.vision_layers],
                post_heads: 8,
            },
            steps: self.steps,
            batch: self.batch,
            rate: self.rate,
            warm_up: self.warm_up,
            decay: self.decay,
            seed: self.seed,
            view: ViewRule {
                size: self.image_size,
                smallest: self.smallest_window,
                classes: self.classes_per_batch,
                mean,
                std,
            },
        }
    }
}

pub fn run(arguments: &ClipArguments) -> anyhow::Result<()> {
    let pairs = Pairs::open(&arguments.data, &arguments.classes, arguments.working_size)?;
    println!("{} pictures, {} different captions", pairs.len(), pairs.captions().len());
    let mut training = ClipTraining::new(arguments.settings(), pairs)?;
    let start = Instant::now();
    let (mut sum, mut right) = (0.0, 0.0);
    while training.steps() < arguments.steps {
        let views = training.next_views();
        let clip::Step { loss, accuracy } = training.step(&views);
        sum += loss;
        right += accuracy;
        anyhow::ensure!(loss.is_finite(), "the loss at step {} is {loss}: train with a lower --rate", training.steps());
        let steps = training.steps();
        if steps.is_multiple_of(arguments.log_every) {
            let mean = |sum: f32| sum / arguments.log_every as f32;
            let seconds = start.elapsed().as_secs_f64();
            println!("step {steps}  loss {:.4}  own caption nearest {:.3}  {seconds:.0} s", mean(sum), mean(right));
            (sum, right) = (0.0, 0.0);
        }
    }
    clip::write_file(&arguments.out, &training.file()).with_context(|| format!("writing {}", arguments.out.display()))
}

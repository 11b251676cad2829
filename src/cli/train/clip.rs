//! `vcp-line train clip`: a small CLIP from scratch.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::checkpoint;
use super::vcp_settings::TileArguments;
use crate::cli::failure;
use crate::cli::interrupt::Interrupts;
use crate::cli::terminal::{note, say};
use crate::learn::adam::Adam;
use crate::learn::captions::CONTEXT_LENGTH;
use crate::learn::clip::ClipSettings;
use crate::learn::clip_pairs::{PairSource, ViewRule};
use crate::learn::clip_run::{self, ClipEvent, ClipRequest};
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
    /// Bundle whose CLIP to start from, with towers of the same sizes [default: drawn by --seed]
    #[arg(long, value_name = "BUNDLE")]
    start: Option<PathBuf>,
    /// Share of the weights of --start in those that are written, 0 to less than 1: between the two lies what keeps much of both.
    /// To be given again with --resume; a run that has come to its end can be written with another.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, requires = "start")]
    keep_start: f32,
    /// Side of the pictures the towers learn on, pixels; the bundle's image size may be another.
    #[arg(long, value_name = "PX", default_value_t = 64)]
    image_size: usize,
    /// Side of a patch, pixels.
    #[arg(long, value_name = "PX", default_value_t = 8)]
    patch: usize,
    /// Channels of the vision tower.
    #[arg(long, value_name = "N", default_value_t = 128)]
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
    /// Side to which whole pictures and tiles are brought before views are cut, pixels: the image size the model will run at.
    #[arg(long, value_name = "PX", default_value_t = 128)]
    working_size: usize,
    /// Smallest window that becomes a view, pixels of the working size.
    #[arg(long, value_name = "PX", default_value_t = 48)]
    smallest_window: usize,
    #[command(flatten)]
    tiles: TileArguments,
    /// How much it counts that the patches of a view tell "good" from "damaged" by its mask; the captions of whole views count 1.
    /// With 0, as CLIP learns, only those count.
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.0)]
    patch_weight: f32,
    /// Vision blocks whose patches learn from --patch-weight, counted from 1 [default: the last]
    #[arg(long, value_name = "LAYER,…", value_delimiter = ',', requires = "patch_weight")]
    patch_taps: Vec<usize>,
    /// Classes in one batch: few make the captions of a batch differ by the defect rather than by the product.
    #[arg(long, value_name = "N", default_value_t = 4)]
    classes_per_batch: usize,
    /// Optimiser steps.
    #[arg(long, value_name = "N", default_value_t = 5000)]
    steps: u64,
    /// Views per step.
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch: usize,
    /// Highest learning rate.
    #[arg(long, value_name = "RATE", default_value_t = 1e-3)]
    rate: f64,
    /// Steps over which the rate rises.
    #[arg(long, value_name = "N", default_value_t = 150)]
    warm_up: u64,
    /// Adam: memory of the mean gradient.
    #[arg(long, value_name = "BETA", default_value_t = Adam::CLIP.beta1)]
    beta1: f64,
    /// Adam: memory of the mean squared gradient.
    #[arg(long, value_name = "BETA", default_value_t = Adam::CLIP.beta2)]
    beta2: f64,
    /// Adam: added to the root of the mean squared gradient.
    #[arg(long, value_name = "NUMBER", default_value_t = Adam::CLIP.epsilon)]
    epsilon: f64,
    /// Weight decay of the matrices.
    #[arg(long, value_name = "DECAY", default_value_t = 0.05)]
    decay: f64,
    /// Keep the run in this folder, so that it goes on after any end.
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
    /// Go on with the run in --checkpoint, if there is one; it must have the same data and settings.
    #[arg(long, requires = "checkpoint")]
    resume: bool,
    /// Steps between two checkpoints.
    #[arg(long, value_name = "STEPS", default_value_t = 100)]
    checkpoint_every: u64,
    /// Steps from one line of progress to the next.
    #[arg(long, value_name = "N", default_value_t = 50)]
    log_every: u64,
    /// Makes first values and views, and draws good tiles; the same seed trains the same CLIP.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl ClipArguments {
    fn sources(&self) -> Vec<PairSource> {
        let first = PairSource { folder: self.data.clone(), tiles: self.tiles.plan() };
        let whole = self.tiles.whole_data.clone().map(|folder| PairSource { folder, tiles: None });
        std::iter::once(first).chain(whole).collect()
    }

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
                context_length: CONTEXT_LENGTH,
                class_vectors: 2,
                prompt_tokens: 1,
                deep_prompts: self.text_layers.saturating_sub(1),
                taps: if self.patch_taps.is_empty() { vec![self.vision_layers] } else { self.patch_taps.clone() },
                post_heads: 8,
                direct_prompts: false,
            },
            steps: self.steps,
            batch: self.batch,
            rate: self.rate,
            warm_up: self.warm_up,
            adam: Adam { beta1: self.beta1, beta2: self.beta2, epsilon: self.epsilon },
            decay: self.decay,
            seed: self.seed,
            view: ViewRule {
                size: self.image_size,
                smallest: self.smallest_window,
                classes: self.classes_per_batch,
                mean,
                std,
                patch: (self.patch_weight > 0.0).then_some(self.patch),
            },
            patch_weight: self.patch_weight,
        }
    }
}

pub fn run(arguments: &ClipArguments, interrupts: &Interrupts) -> anyhow::Result<()> {
    failure::there("--data", &arguments.data)?;
    arguments.tiles.whole_data.as_deref().map_or(Ok(()), |whole| failure::there("--whole-data", whole))?;
    arguments.start.as_deref().map_or(Ok(()), |start| failure::there("--start", start))?;
    let request = ClipRequest {
        data: arguments.sources(),
        classes: arguments.classes.clone(),
        start: arguments.start.clone(),
        keep_start: arguments.keep_start,
        working_size: arguments.working_size,
        settings: arguments.settings(),
        checkpoint: checkpoint::request(
            arguments.checkpoint.as_deref(),
            arguments.checkpoint_every,
            arguments.resume,
            interrupts,
        ),
        out: arguments.out.clone(),
    };
    let bar = std::io::stderr().is_terminal().then(|| {
        let bar = ProgressBar::new(arguments.steps);
        if let Ok(style) = ProgressStyle::with_template("step {pos}/{len} {bar:32} {eta:>5}  {msg}") {
            bar.set_style(style);
        }
        bar
    });
    let line = |text: &str| match &bar {
        Some(bar) => bar.println(text),
        None => note!("{text}"),
    };
    let start = Instant::now();
    let (mut loss, mut accuracy, mut patches, mut count) = (0.0, 0.0, 0.0, 0u64);
    let result = clip_run::run(&request, &mut |event| match event {
        ClipEvent::Data { pictures, captions } => line(&format!("{pictures} pictures, {captions} different captions")),
        ClipEvent::Resumed(step) => line(&format!("goes on after step {step}")),
        ClipEvent::Step { step, seen } => {
            checkpoint::stepping(request.checkpoint.as_ref(), interrupts);
            (loss, accuracy, count) = (loss + seen.loss, accuracy + seen.accuracy, count + 1);
            patches += seen.patches.unwrap_or(0.0);
            if let Some(bar) = &bar {
                bar.set_position(step);
                bar.set_message(format!("loss {:.3}", seen.loss));
            }
            if step.is_multiple_of(arguments.log_every.max(1)) {
                let mean = |sum: f32| sum / count as f32;
                let seconds = start.elapsed().as_secs_f64();
                let (loss_mean, right) = (mean(loss), mean(accuracy));
                let told = match seen.patches {
                    Some(_) => format!("  patches told right {:.3}", mean(patches)),
                    None => String::new(),
                };
                line(&format!(
                    "step {step}  loss {loss_mean:.4}  own caption nearest {right:.3}{told}  {seconds:.0} s"
                ));
                (loss, accuracy, patches, count) = (0.0, 0.0, 0.0, 0);
            }
        }
    });
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    checkpoint::ended(result, interrupts)?;
    say!("{}", arguments.out.display());
    Ok(())
}

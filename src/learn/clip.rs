//! Training a small CLIP from scratch on pictures with captions: two towers, one contrastive loss.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;

use super::LearnError;
use super::adam::Adam;
use super::clip_init::{First, LOGIT_SCALE, first};
use super::clip_pairs::{Pairs, ViewRule, Views};
use super::clip_text;
use super::contrastive::contrastive;
use super::parameters::{Named, Parameters, Rate};
use super::patch_contrast::{PatchTruth, patch_contrast};
use super::tape::{Gradients, Tape, Value, Weights};
use crate::dice::Dice;
use crate::vcp_clip::block::LAYER_NORM_EPS;
use crate::vcp_clip::eager::as_matrix;
use crate::vcp_clip::ops::Ops;
use crate::vcp_clip::prompt::{
    self, ABNORMAL_TEMPLATE, CLASS_TOKEN, END_TOKEN, NORMAL_TEMPLATE, PromptError, START_TOKEN,
};
use crate::vcp_clip::vision;
use crate::vcp_clip::{Architecture, HEAD_WIDTH};
use crate::weights::bundle::Bundle;
use crate::weights::{self, layout, position};

/// Rows of a CLIP file's token table: the whole byte-pair vocabulary.
const VOCABULARY: usize = 49408;
/// CLIP keeps the contrastive temperature from making logits more than a hundred times the cosine.
const LARGEST_LOGIT_SCALE: f32 = 100.0;
const TOKEN_ROWS: &str = "token_embedding.rows";
const TOKEN_TABLE: &str = "token_embedding.weight";
const POSITIONS: &str = "visual.positional_embedding";

/// How a CLIP is trained.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ClipSettings {
    /// Sizes of the two towers; `image_size` is what CLIP learns at, and only the towers' sizes count.
    pub sizes: Architecture,
    /// Optimiser steps.
    pub steps: u64,
    /// Views per step.
    pub batch: usize,
    /// Highest learning rate; it rises over `warm_up` steps and falls along a cosine to a hundredth.
    pub rate: f64,
    /// Steps of the rise.
    pub warm_up: u64,
    /// The optimiser.
    pub adam: Adam,
    /// Decoupled weight decay of the matrices.
    pub decay: f64,
    /// Makes first values, views and their order.
    pub seed: u64,
    /// How views are cut.
    pub view: ViewRule,
    /// How much the captions of patches count beside those of whole views, which count 1; with [`ViewRule::patch`] alone.
    #[serde(skip_serializing_if = "is_zero")]
    pub patch_weight: f32,
}

/// So that a run from before there was this weight goes on.
fn is_zero(weight: &f32) -> bool {
    *weight == 0.0
}

impl ClipSettings {
    /// Errors with what contradicts what, when whole pictures are brought to `working_size`.
    pub fn check(&self, working_size: usize) -> Result<(), String> {
        let Self { sizes, view, steps, batch, .. } = self;
        let Architecture { image_size, patch, vision_width, text_width, .. } = *sizes;
        let fits = patch > 0 && image_size >= patch && image_size.is_multiple_of(patch);
        let wide = vision_width >= HEAD_WIDTH && text_width >= HEAD_WIDTH;
        let even = |width: usize| width.is_multiple_of(width / HEAD_WIDTH);
        let asked = (self.patch_weight > 0.0).then_some(patch);
        let taps = &sizes.taps;
        let in_order =
            taps.is_sorted_by(|a, b| a < b) && taps.iter().all(|tap| (1..=sizes.vision_layers).contains(tap));
        let whole = (1..=working_size).contains(&view.smallest);
        let checks = [
            (fits, format!("--image-size {image_size} is no multiple of --patch {patch}")),
            (wide, format!("--vision-width and --text-width: at least {HEAD_WIDTH}, the width of one head")),
            (
                wide && even(vision_width) && even(text_width),
                format!("a width is not shared evenly by its heads: take multiples of {HEAD_WIDTH}"),
            ),
            (sizes.text_layers > 1, "--text-layers: at least 2, because deep prompts enter after the first".to_owned()),
            (whole, format!("--smallest-window {} is not from 1 to --working-size {working_size}", view.smallest)),
            (*steps > 0 && *batch > 0, "--steps and --batch are at least 1".to_owned()),
            (self.rate.is_finite() && self.rate > 0.0, format!("--rate {}: a number above 0", self.rate)),
            (
                self.patch_weight.is_finite() && self.patch_weight >= 0.0,
                format!("--patch-weight {}: a number from 0", self.patch_weight),
            ),
            (view.patch == asked, "the views tell the truth of patches of another size".to_owned()),
            (
                !taps.is_empty() && in_order,
                format!("--patch-taps {taps:?}: ascending blocks from 1 to {} (--vision-layers)", sizes.vision_layers),
            ),
            (self.decay.is_finite() && self.decay >= 0.0, format!("--decay {}: a number from 0", self.decay)),
        ];
        match checks.into_iter().find(|(fine, _)| !fine) {
            Some((_, reason)) => Err(reason),
            // Whatever is learned must make a bundle.
            None => self.adam.check().and_then(|()| weights::check_sizes(sizes)),
        }
    }

    /// Errors with the first size in which `start`'s CLIP is another one.
    pub fn fits(&self, start: &Architecture) -> Result<(), String> {
        let sizes = &self.sizes;
        let pairs = [
            ("--patch", sizes.patch, start.patch),
            ("--vision-width", sizes.vision_width, start.vision_width),
            ("--vision-layers", sizes.vision_layers, start.vision_layers),
            ("--text-width", sizes.text_width, start.text_width),
            ("--text-layers", sizes.text_layers, start.text_layers),
            ("the context length", sizes.context_length, start.context_length),
        ];
        let differs = pairs.into_iter().find(|(_, asked, found)| asked != found);
        differs.map_or(Ok(()), |(option, asked, found)| {
            Err(format!("{option} is {asked}, the CLIP of --start has {found}: they must be the same"))
        })
    }

    /// Learning rate of a step, counted from 0.
    fn rate(&self, step: u64) -> f64 {
        const FLOOR: f64 = 0.01;
        if step < self.warm_up {
            return self.rate * (step + 1) as f64 / self.warm_up as f64;
        }
        let done = (step - self.warm_up) as f64 / (self.steps - self.warm_up).max(1) as f64;
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos());
        self.rate * (FLOOR + (1.0 - FLOOR) * cosine)
    }
}

/// Pictures on one tape: few enough that what a block computes stays in the caches.
const CHUNK: usize = 8;

/// What one tape computes.
enum Part<'a> {
    Captions(&'a [&'a [usize]]),
    Pictures(&'a [f32]),
}

impl Part<'_> {
    /// Embeddings of length 1: `[n, 1, Ct]` of whole captions and pictures; behind each picture's, with `patches`, those of its
    /// patches after every tapped block.
    fn forward(&self, mut tape: Tape, sizes: &Architecture, patches: bool) -> (Tape, Value) {
        let out = match self {
            Self::Captions(texts) => clip_text::encode(&mut tape, sizes, texts),
            Self::Pictures(pixels) => {
                let count = pixels.len() / (3 * sizes.image_size * sizes.image_size);
                tape.set_images(count, sizes.image_size, pixels.to_vec());
                let seen = vision::encode(&mut tape, sizes);
                let mut rows = vec![seen.feature];
                if patches {
                    let tokens = tape.concat_rows(&seen.tokens);
                    let tokens = tape.layer_norm(&tokens, "visual.ln_post", LAYER_NORM_EPS);
                    rows.push(tape.project(&tokens, "visual.proj"));
                }
                let rows = tape.concat_rows(&rows);
                tape.l2_normalize(&rows)
            }
        };
        (tape, out)
    }
}

/// What a batch shows, by the rows of its captions.
struct Shown {
    /// The caption of each view; they come first.
    own: Vec<usize>,
    /// How many those are, each once.
    captions: usize,
    /// Of each view, or of none.
    patches: Vec<PatchTruth>,
}

/// What the losses say of a batch, and their derivatives with respect to what the towers made of it.
struct Judged {
    step: Step,
    to_text: Vec<f32>,
    to_pictures: Vec<f32>,
    to_scale: f32,
}

/// A training under way.
pub struct ClipTraining {
    settings: ClipSettings,
    pairs: Pairs,
    /// Each caption as rows of the trained token table.
    captions: Vec<Vec<usize>>,
    token_ids: Vec<u32>,
    parameters: Parameters,
}

/// What one step saw.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Loss before the step.
    pub loss: f32,
    /// Share of the views whose own caption was the nearest of the batch.
    pub accuracy: f32,
    /// Mean of the shares of damaged and of good patches told right, where patches have captions.
    pub patches: Option<f32>,
}

impl ClipTraining {
    /// Takes the first values from `start`'s CLIP where it has them, and draws the others: rows of tokens that a
    /// bundle does not keep, and the temperature. `start` has the sizes of `settings`, see [`ClipSettings::fits`].
    pub fn new(settings: ClipSettings, pairs: Pairs, start: Option<&Bundle>) -> Result<Self, LearnError> {
        let token_ids = token_ids(&pairs)?;
        let row = |id: &u32| token_ids.binary_search(id).expect("every caption's token is kept");
        let captions = pairs.captions().iter().map(|ids| ids.iter().map(row).collect()).collect();
        let mut parameters = Parameters::new(&Device::flex());
        for (name, shape) in trained(&settings.sizes, token_ids.len()) {
            let drawn = draw(&name, &shape, &settings);
            let values = match start {
                Some(bundle) => started(&name, drawn, bundle, &settings.sizes, &token_ids)?,
                None => drawn,
            };
            parameters.add(&name, &shape, values);
        }
        Ok(Self { settings, pairs, captions, token_ids, parameters })
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.parameters.steps()
    }

    /// What is learned, for checkpoints.
    pub fn parameters(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    /// The views of the step that comes next.
    pub fn next_views(&self) -> Views {
        let ClipSettings { view, seed, batch, .. } = &self.settings;
        self.pairs.views(view, *seed, self.steps(), *batch)
    }

    /// One step on `views`.
    pub fn step(&mut self, views: &Views) -> Step {
        let named = self.parameters.values();
        let shapes: Vec<[usize; 2]> = named.iter().map(|(_, shape, _)| as_matrix(shape)).collect();
        let (seen, gradients) = self.gradients(Arc::new(Weights::new(named)), views);
        let tensors = gradients.0.into_iter().zip(shapes);
        let tensors = tensors.map(|(values, shape)| Tensor::from_data(TensorData::new(values, shape), &Device::flex()));
        let rate = self.settings.rate(self.steps());
        let decay = self.settings.decay;
        let adam = self.settings.adam;
        self.parameters
            .step(&adam, tensors.collect(), |name| Rate { rate, decay: if decays(name) { decay } else { 0.0 } });
        self.parameters.at_most(LOGIT_SCALE, LARGEST_LOGIT_SCALE.ln());
        seen
    }

    /// Pictures run through the vision tower in chunks and captions through the text tower, each on a tape and a
    /// thread of its own; the loss couples them all; then each tape is gone back over. Chunks are added in their
    /// order, so that the result does not depend on the threads.
    fn gradients(&self, weights: Arc<Weights>, views: &Views) -> (Step, Gradients) {
        let sizes = &self.settings.sizes;
        let width = sizes.text_width;
        let unique: BTreeSet<usize> = views.captions.iter().copied().collect();
        // Captions that only patches are told apart by come behind those of views.
        let others: BTreeSet<usize> = views.patches.iter().flat_map(|view| view.captions).collect();
        let others = others.difference(&unique).copied();
        let order: Vec<usize> = unique.iter().copied().chain(others).collect();
        let texts: Vec<&[usize]> = order.iter().map(|&caption| self.captions[caption].as_slice()).collect();
        let which: HashMap<usize, usize> = order.iter().copied().zip(0..).collect();
        let truth = |view: &PatchTruth| PatchTruth {
            captions: view.captions.map(|caption| which[&caption]),
            damaged: view.damaged.clone(),
        };
        let shown = Shown {
            own: views.captions.iter().map(|caption| which[caption]).collect(),
            captions: unique.len(),
            patches: views.patches.iter().map(truth).collect(),
        };

        let (area, by_patch) = (3 * sizes.image_size * sizes.image_size, !views.patches.is_empty());
        let mut parts: Vec<Part> = vec![Part::Captions(&texts)];
        parts.extend(views.pixels.chunks(CHUNK * area).map(Part::Pictures));
        let forward = |part: &Part| part.forward(Tape::new(Arc::clone(&weights)), sizes, by_patch);
        let towers: Vec<(Tape, Value)> = parts.par_iter().with_max_len(1).map(forward).collect();

        let log_scale = weights.values(LOGIT_SCALE)[0].min(LARGEST_LOGIT_SCALE.ln());
        let rows = if by_patch { 1 + sizes.taps.len() * sizes.patches() } else { 1 };
        let pictures =
            towers[1..].iter().flat_map(|(tape, out)| tape.values(*out).chunks_exact(rows * width)).collect();
        let (tape, out) = &towers[0];
        let judged = self.judge(tape.values(*out), pictures, &shown, log_scale.exp());

        let mut grads = vec![judged.to_text];
        grads.extend(judged.to_pictures.chunks(CHUNK * rows * width).map(<[f32]>::to_vec));
        let back = |((tape, out), grad): ((Tape, Value), Vec<f32>)| {
            let mut gradients = weights.zeros();
            tape.backward(out, grad, &mut gradients);
            gradients
        };
        let parts: Vec<Gradients> = towers.into_par_iter().zip(grads).with_max_len(1).map(back).collect();
        let mut sum = weights.zeros();
        parts.iter().for_each(|part| sum.add(part));
        sum.of_mut(&weights, LOGIT_SCALE)[0] = judged.to_scale;
        (judged.step, sum)
    }

    /// `text` holds the embeddings of all captions of the batch (U × Ct), `pictures` of each picture its own and those of its patches.
    fn judge(&self, text: &[f32], pictures: Vec<&[f32]>, shown: &Shown, scale: f32) -> Judged {
        let width = self.settings.sizes.text_width;
        let image: Vec<f32> = pictures.iter().flat_map(|rows| &rows[..width]).copied().collect();
        let whole = contrastive(&image, &text[..shown.captions * width], width, scale, &shown.own);
        let mut judged = Judged {
            step: Step { loss: whole.loss, accuracy: whole.accuracy, patches: None },
            to_text: whole.to_text,
            to_pictures: whole.to_image,
            to_scale: whole.to_scale,
        };
        if shown.patches.is_empty() {
            return judged;
        }
        let patches: Vec<f32> = pictures.iter().flat_map(|rows| &rows[width..]).copied().collect();
        let part = patch_contrast(&patches, text, width, scale, &shown.patches);
        let weight = self.settings.patch_weight;
        judged.step.loss += weight * part.loss;
        judged.step.patches = part.accuracy;
        judged.to_scale += weight * part.to_scale;
        judged.to_text.resize(text.len(), 0.0);
        judged.to_text.iter_mut().zip(&part.to_text).for_each(|(sum, grad)| *sum += weight * grad);
        let per_view = patches.len() / pictures.len();
        let both = judged.to_pictures.chunks_exact(width).zip(part.to_patches.chunks_exact(per_view));
        judged.to_pictures = both
            .flat_map(|(own, patches)| own.iter().copied().chain(patches.iter().map(|grad| weight * grad)))
            .collect();
        judged
    }

    /// The tensors of a CLIP file under OpenAI's names. Rows of tokens that no caption uses keep their first values.
    pub fn file(&self) -> Vec<Named> {
        let sizes = &self.settings.sizes;
        let table = (TOKEN_TABLE.to_owned(), vec![VOCABULARY, sizes.text_width]);
        let mut tensors = self.parameters.values();
        for tensor in &mut tensors {
            if tensor.0 == TOKEN_ROWS {
                let mut values = draw(&table.0, &table.1, &self.settings);
                for (row, &id) in tensor.2.chunks_exact(sizes.text_width).zip(&self.token_ids) {
                    values[id as usize * sizes.text_width..][..sizes.text_width].copy_from_slice(row);
                }
                *tensor = (table.0.clone(), table.1.clone(), values);
            }
        }
        tensors
    }
}

/// Matrices decay; norms, biases, embeddings, the text projection and the temperature do not.
fn decays(name: &str) -> bool {
    name.ends_with("weight") && !name.contains("ln_") && !name.contains("embedding") || name.ends_with("proj")
}

/// Ascending ids of all tokens that captions and the method's prompts use.
fn token_ids(pairs: &Pairs) -> Result<Vec<u32>, PromptError> {
    let mut ids: BTreeSet<u32> = pairs.captions().iter().flatten().copied().collect();
    for template in [NORMAL_TEMPLATE, ABNORMAL_TEMPLATE] {
        ids.extend(prompt::tokenize(template)?);
    }
    ids.extend([START_TOKEN, END_TOKEN]);
    ids.remove(&CLASS_TOKEN);
    Ok(ids.into_iter().collect())
}

/// What is learned: every tensor of a CLIP file, the token table cut to the rows in use, and the temperature.
fn trained(sizes: &Architecture, token_rows: usize) -> Vec<(String, Vec<usize>)> {
    let mut tensors = layout::clip_file(sizes, sizes.grid(), token_rows);
    for tensor in &mut tensors {
        if tensor.0 == TOKEN_TABLE {
            TOKEN_ROWS.clone_into(&mut tensor.0);
        }
    }
    tensors.push((LOGIT_SCALE.to_owned(), vec![]));
    tensors
}

fn draw(name: &str, shape: &[usize], settings: &ClipSettings) -> Vec<f32> {
    let count = shape.iter().product();
    let purpose = name.bytes().fold(0u64, |hash, byte| hash.wrapping_mul(0x0100_0000_01B3) ^ u64::from(byte));
    let mut dice = Dice::new(settings.seed, [0, purpose, 0]);
    match first(name, &settings.sizes) {
        First::Normal(deviation) => (0..count).map(|_| (dice.normal() * deviation) as f32).collect(),
        First::Uniform(reach) => (0..count).map(|_| dice.between(-reach as f32, reach as f32)).collect(),
        First::Constant(value) => vec![value; count],
    }
}

/// The first values of a tensor: those of `bundle`'s CLIP, or `drawn` where a bundle keeps none.
fn started(
    name: &str,
    mut drawn: Vec<f32>,
    bundle: &Bundle,
    sizes: &Architecture,
    token_ids: &[u32],
) -> Result<Vec<f32>, LearnError> {
    let manifest = bundle.manifest();
    match name {
        LOGIT_SCALE => {}
        TOKEN_ROWS => {
            let (_, rows) = bundle.f32(TOKEN_ROWS)?;
            for (row, id) in rows.chunks_exact(sizes.text_width).zip(&manifest.token_ids) {
                if let Ok(at) = token_ids.binary_search(id) {
                    drawn[at * sizes.text_width..][..sizes.text_width].copy_from_slice(row);
                }
            }
        }
        POSITIONS => {
            let (_, rows) = bundle.f32(POSITIONS)?;
            let grid = manifest.architecture.grid();
            drawn = position::resize(&rows, sizes.vision_width, grid, sizes.grid())
                .ok_or_else(|| bundle.damaged(format!("tensor '{POSITIONS}' is no grid of {grid}×{grid} and one")))?;
        }
        _ => drawn = bundle.f32(name)?.1,
    }
    Ok(drawn)
}

//! How the VCP modules are trained: everything that decides the result, and what of it makes sense.

use serde::Serialize;

use super::LearnError;
use super::adam::Adam;
use super::augment::Augmentation;
use super::features::Kept;
use super::map_loss::LossRule;
use super::tiles::TilePlan;
use super::vcp_training::Rates;
use crate::vcp_clip::{Architecture, Constants, LARGEST_SIGMA};
use crate::weights::ClipSizes;

/// Layers that are tapped when nobody says which.
const TAPS: usize = 4;
/// Class vectors and prompt tokens of the released model.
const CLASS_VECTORS: usize = 2;
const PROMPT_TOKENS: usize = 1;
/// A cosine ends here, as a share of the rate.
const FLOOR: f64 = 0.01;

/// How the learning rates change over the steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// They stay, as in the released training.
    #[default]
    Constant,
    /// They fall along half a cosine to a hundredth.
    Cosine,
}

/// What decides the result, besides the data and the weights it starts from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VcpSettings {
    /// Side of the model's square input, pixels.
    pub image_size: usize,
    /// Vision blocks whose patch tokens are used, from 1; four, evenly spaced, when not given.
    pub taps: Option<Vec<usize>>,
    /// Heads of the Post-VCP cross-attention.
    pub post_heads: usize,
    /// Times that every picture is looked at.
    pub epochs: usize,
    /// Pictures per step.
    pub batch: usize,
    /// Learning rate.
    pub rate: f64,
    /// Learning rate of the two temperatures.
    pub temperature_rate: f64,
    /// How both change.
    pub schedule: Schedule,
    /// Steps over which both rise from 0.
    pub warm_up: u64,
    /// The optimiser.
    pub adam: Adam,
    /// What is minimised.
    pub loss: LossRule,
    /// Share of the prompt tokens' numbers that are left out at random.
    pub prompt_dropout: f32,
    /// The tiles that are learned from in place of whole pictures, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tiles: Option<TilePlan>,
    /// How pictures are changed.
    pub augmentation: Augmentation,
    /// Changed copies of each picture that are made once and taken in turn; `None` changes them anew each time.
    pub copies: Option<usize>,
    /// How copies are kept.
    pub kept: Kept,
    /// Share of the pictures of every class that is kept for validation.
    pub hold_out: f64,
    /// Makes first values, order, changes and dropout.
    pub seed: u64,
    /// The model's numbers that are no tensor.
    pub constants: Constants,
}

impl VcpSettings {
    /// Errors name the setting and what it may be.
    pub fn check(&self) -> Result<(), LearnError> {
        let fail = |text: String| Err(LearnError::Settings(text));
        let counts = [("--epochs", self.epochs), ("--batch", self.batch), ("--cache-copies", self.copies.unwrap_or(1))];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return fail(format!("{name} 0: give at least 1"));
        }
        let rates = [("--rate", self.rate), ("--temperature-rate", self.temperature_rate)];
        if let Some((name, rate)) = rates.iter().find(|(_, rate)| !rate.is_finite() || *rate < 0.0) {
            return fail(format!("{name} {rate}: give a number from 0"));
        }
        let mut shares = vec![("prompt-dropout", self.prompt_dropout)];
        shares.extend(self.augmentation.named());
        if let Some((name, share)) = shares.iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            return fail(format!("--{name} {share}: give a probability, 0 to 1"));
        }
        if self.prompt_dropout >= 1.0 {
            return fail("--prompt-dropout 1 leaves nothing of the prompts: give less than 1".to_owned());
        }
        if !(0.0..1.0).contains(&self.hold_out) {
            return fail(format!("--hold-out {}: give a share from 0, less than 1", self.hold_out));
        }
        let Constants { raw_weight, top_k, sigma, .. } = self.constants;
        if !(0.0..=1.0).contains(&raw_weight) {
            return fail(format!("--raw-weight {raw_weight}: give a share from 0 to 1"));
        }
        if top_k == 0 {
            return fail("--top-k 0: give at least 1".to_owned());
        }
        if !(0.0..=LARGEST_SIGMA).contains(&sigma) {
            return fail(format!("--sigma {sigma}: give pixels from 0 to {LARGEST_SIGMA}"));
        }
        self.tiles.as_ref().map_or(Ok(()), TilePlan::check)?;
        self.adam.check().and_then(|()| self.loss.check()).map_err(LearnError::Settings)
    }

    /// The sizes of the model that fits a CLIP.
    pub fn sizes(&self, clip: &ClipSizes) -> Result<Architecture, LearnError> {
        let blocks = clip.vision_layers;
        let taps = match &self.taps {
            Some(taps) => taps.clone(),
            None if blocks.is_multiple_of(TAPS) => (1..=TAPS).map(|tap| blocks / TAPS * tap).collect(),
            None => {
                return Err(LearnError::Settings(format!(
                    "{TAPS} taps cannot be spread evenly over {blocks} vision blocks; say with --taps which blocks to use"
                )));
            }
        };
        Ok(Architecture {
            image_size: self.image_size,
            // The patch and the text's length are the CLIP file's own; no VCP tensor depends on them.
            patch: 1,
            context_length: 0,
            vision_width: clip.vision_width,
            vision_layers: blocks,
            text_width: clip.text_width,
            text_layers: clip.text_layers,
            class_vectors: CLASS_VECTORS,
            prompt_tokens: PROMPT_TOKENS,
            deep_prompts: clip.text_layers.saturating_sub(1),
            taps,
            post_heads: self.post_heads,
            direct_prompts: false,
        })
    }

    /// The rates of a step, counted from 0, of `steps` in all.
    pub fn rates(&self, step: u64, steps: u64) -> Rates {
        let factor = if step < self.warm_up {
            (step + 1) as f64 / self.warm_up as f64
        } else {
            match self.schedule {
                Schedule::Constant => 1.0,
                Schedule::Cosine => {
                    let done = (step - self.warm_up) as f64 / steps.saturating_sub(self.warm_up).max(1) as f64;
                    FLOOR + (1.0 - FLOOR) * 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos())
                }
            }
        };
        Rates { rate: factor * self.rate, temperature: factor * self.temperature_rate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> VcpSettings {
        VcpSettings {
            image_size: 518,
            taps: None,
            post_heads: 8,
            epochs: 10,
            batch: 32,
            rate: 4e-5,
            temperature_rate: 0.01,
            schedule: Schedule::Constant,
            warm_up: 0,
            adam: Adam::RELEASED,
            loss: LossRule::default(),
            prompt_dropout: 0.1,
            tiles: None,
            augmentation: Augmentation::released(false),
            copies: None,
            kept: Kept::F16,
            hold_out: 0.0,
            seed: 1,
            constants: Constants::default(),
        }
    }

    #[test]
    fn rates_follow_the_schedule() {
        let constant = settings();
        assert_eq!(constant.rates(0, 100), Rates { rate: 4e-5, temperature: 0.01 });
        assert_eq!(constant.rates(99, 100), constant.rates(0, 100));
        let cosine = VcpSettings { schedule: Schedule::Cosine, warm_up: 10, ..settings() };
        assert!((cosine.rates(0, 110).rate - 4e-6).abs() < 1e-18);
        assert_eq!(cosine.rates(10, 110).rate, 4e-5);
        assert!((cosine.rates(60, 110).temperature - 0.01 * 0.505).abs() < 1e-9);
        assert!((cosine.rates(110, 110).rate - 4e-7).abs() < 1e-15);
    }

    #[test]
    fn senseless_settings_are_named() {
        let said = |change: &dyn Fn(&mut VcpSettings)| {
            let mut settings = settings();
            change(&mut settings);
            settings.check().unwrap_err().to_string()
        };
        settings().check().unwrap();
        assert_eq!(said(&|s| s.batch = 0), "--batch 0: give at least 1");
        assert_eq!(said(&|s| s.rate = f64::NAN), "--rate NaN: give a number from 0");
        assert_eq!(said(&|s| s.augmentation.noise = 1.5), "--noise 1.5: give a probability, 0 to 1");
        assert_eq!(said(&|s| s.adam.beta2 = 1.0), "--beta2 1: give a number from 0, less than 1");
        assert_eq!(said(&|s| s.adam.epsilon = 0.0), "--epsilon 0: give a number above 0");
        assert_eq!(said(&|s| s.loss.focal_gamma = -1.0), "--focal-gamma -1: give a number from 0");
        assert_eq!(said(&|s| s.loss.focal_alpha = Some(1.5)), "--focal-alpha 1.5: give a weight from 0 to 1");
        assert_eq!(said(&|s| s.loss.focal_smooth = 0.5), "--focal-smooth 0.5: give a number from 0, less than 0.5");
        assert_eq!(said(&|s| s.loss.dice_smooth = f64::NAN), "--dice-smooth NaN: give a number above 0");
        assert_eq!(said(&|s| s.hold_out = 1.0), "--hold-out 1: give a share from 0, less than 1");
        let clip = ClipSizes { vision_width: 64, vision_layers: 6, text_width: 64, text_layers: 4 };
        let error = settings().sizes(&clip).unwrap_err().to_string();
        assert!(error.starts_with("4 taps cannot be spread evenly over 6 vision blocks"), "{error}");
        assert_eq!(settings().sizes(&ClipSizes { vision_layers: 8, ..clip }).unwrap().taps, [2, 4, 6, 8]);
    }
}

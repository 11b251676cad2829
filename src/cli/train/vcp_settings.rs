//! The settings of `train vcp` that decide the result, as arguments.

use std::path::PathBuf;

use clap::Args;

use crate::cli::rectangle;
use crate::dataset::Layout;
use crate::learn::adam::Adam;
use crate::learn::augment::Augmentation;
use crate::learn::features::Kept;
use crate::learn::map_loss::LossRule;
use crate::learn::tiles::TilePlan;
use crate::learn::vcp_settings::{Schedule, VcpSettings};
use crate::vcp_clip::Constants;
use crate::view::USUAL_OVERLAP;

/// What the model is.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArguments {
    /// Side of the model's square input, pixels; a multiple of the patch size (the published models use 518).
    #[arg(long, value_name = "PIXELS")]
    image_size: usize,
    /// Vision blocks whose patch tokens are used, counted from 1 [default: four, evenly spaced]
    #[arg(long, value_name = "LAYER,…", value_delimiter = ',')]
    taps: Option<Vec<usize>>,
    /// Heads of the Post-VCP cross-attention.
    #[arg(long, value_name = "N", default_value_t = 8)]
    post_heads: usize,
    /// Standard deviation of the Gaussian over the blended map, pixels.
    #[arg(long, value_name = "PIXELS", default_value_t = Constants::default().sigma)]
    sigma: f32,
    /// Pixels whose mean is the image score of one map.
    #[arg(long, value_name = "PIXELS", default_value_t = Constants::default().top_k)]
    top_k: usize,
    /// Share of the Pre-VCP map in the blend, 0 to 1; the Post-VCP map has the rest.
    #[arg(long, value_name = "SHARE", default_value_t = Constants::default().raw_weight)]
    raw_weight: f32,
}

/// How it learns.
#[derive(Args)]
#[command(next_help_heading = "Learning")]
pub struct LearnArguments {
    /// Times that every picture is looked at.
    #[arg(long, value_name = "N", default_value_t = 10)]
    epochs: usize,
    /// Pictures per step.
    #[arg(long, value_name = "N", default_value_t = 32)]
    batch: usize,
    /// Learning rate; 4e-5 learned from VisA, 2e-5 from MVTec-AD.
    #[arg(long, value_name = "RATE", default_value_t = 4e-5)]
    rate: f64,
    /// Learning rate of the two temperatures.
    #[arg(long, value_name = "RATE", default_value_t = 0.01)]
    temperature_rate: f64,
    /// How both rates change over the steps.
    #[arg(long, value_enum, default_value_t)]
    schedule: Schedule,
    /// Steps over which both rates rise from 0.
    #[arg(long, value_name = "STEPS", default_value_t = 0)]
    warm_up: u64,
    /// Adam: memory of the mean gradient.
    #[arg(long, value_name = "BETA", default_value_t = Adam::RELEASED.beta1)]
    beta1: f64,
    /// Adam: memory of the mean squared gradient.
    #[arg(long, value_name = "BETA", default_value_t = Adam::RELEASED.beta2)]
    beta2: f64,
    /// Adam: added to the root of the mean squared gradient.
    #[arg(long, value_name = "NUMBER", default_value_t = Adam::RELEASED.epsilon)]
    epsilon: f64,
    /// Focal loss: γ, how little pixels count that are right already; 0 is cross-entropy.
    #[arg(long, value_name = "GAMMA", default_value_t = LossRule::default().focal_gamma)]
    focal_gamma: f32,
    /// Focal loss: α, the weight of defective pixels, 0 to 1; good ones have the rest of 1 [default: all have 1]
    #[arg(long, value_name = "ALPHA")]
    focal_alpha: Option<f32>,
    /// Focal loss: how far labels stay from 0 and 1.
    #[arg(long, value_name = "NUMBER", default_value_t = LossRule::default().focal_smooth)]
    focal_smooth: f32,
    /// Dice loss: added to both sides of its quotient.
    #[arg(long, value_name = "NUMBER", default_value_t = LossRule::default().dice_smooth)]
    dice_smooth: f64,
    /// Share of the prompt tokens' numbers left out at random, 0 to 1. Without, the text tower has a third of the work.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    prompt_dropout: f32,
    /// Share of the pictures of every class kept for validation, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    hold_out: f64,
    /// Makes first values, order, changes and dropout; the same seed trains the same model.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Which pieces of the pictures are learned from.
#[derive(Args)]
#[command(next_help_heading = "Tiles")]
pub struct TileArguments {
    /// Learn from overlapping tiles of these sides, pixels of the pictures, as a line with `tiles` in [camera.view] looks at them:
    /// from all that show a defect, and some that show none. `train vcp` without --cache-copies reads a picture for nearly every tile.
    #[arg(long, value_name = "PX,…", value_delimiter = ',')]
    tiles: Vec<u32>,
    /// Least share of a tile that it has in common with the next one.
    #[arg(long, value_name = "SHARE", default_value_t = USUAL_OVERLAP, requires = "tiles")]
    overlap: f32,
    /// Cut tiles of this rectangle of every picture alone.
    #[arg(long, value_name = "X,Y,W,H", value_parser = rectangle::parse, requires = "tiles")]
    crop: Option<[u32; 4]>,
    /// Tiles without a defect that are learned from, of each picture; drawn by --seed.
    #[arg(long, value_name = "N", default_value_t = 2, requires = "tiles")]
    good_tiles: usize,
    /// Another data set, arranged in the same way, whose pictures are learned from whole, beside the tiles.
    #[arg(long, value_name = "ROOT", requires = "tiles")]
    pub whole_data: Option<PathBuf>,
}

impl TileArguments {
    /// What the arguments ask for, if any tiles.
    pub fn plan(&self) -> Option<TilePlan> {
        (!self.tiles.is_empty()).then(|| TilePlan {
            sizes_px: self.tiles.clone(),
            overlap: self.overlap,
            crop: self.crop,
            good: self.good_tiles,
        })
    }
}

/// How pictures are changed.
#[derive(Args)]
#[command(next_help_heading = "Changed pictures")]
pub struct AugmentArguments {
    /// Changes of pictures and masks.
    #[arg(long, value_enum, default_value_t)]
    augment: Preset,
    /// Probability of a mosaic of four anomalous pictures [default: 0.2 for the layout mvtec, else 0]
    #[arg(long, value_name = "P")]
    mosaic: Option<f32>,
    /// Probability of a rotation by up to 30° [default: 0.5]
    #[arg(long, value_name = "P")]
    rotation: Option<f32>,
    /// Probability of a turn by a multiple of 90° [default: 0.5]
    #[arg(long, value_name = "P")]
    quarter_turn: Option<f32>,
    /// Probability of other brightness and contrast [default: 0.5]
    #[arg(long, value_name = "P")]
    brightness_contrast: Option<f32>,
    /// Probability of noise [default: 0.5]
    #[arg(long, value_name = "P")]
    noise: Option<f32>,
    /// Probability of one of a mean filter, colour jitter and a Gaussian blur [default: 0.5]
    #[arg(long, value_name = "P")]
    blur_or_jitter: Option<f32>,
    /// Make N changed copies of each picture once, and take them in turn: the frozen vision tower then sees each copy
    /// once [default: pictures are changed anew every time, and the tower runs every time]
    #[arg(long, value_name = "N")]
    cache_copies: Option<usize>,
    /// How the features of copies are kept.
    #[arg(long, value_enum, default_value_t)]
    cache_precision: Kept,
}

/// Where the probabilities start from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Preset {
    /// Those of the released training.
    #[default]
    Released,
    /// No change, but for those that are given.
    None,
}

impl AugmentArguments {
    /// The probability of each change.
    pub fn augmentation(&self, layout: Layout) -> Augmentation {
        let preset = match self.augment {
            Preset::Released => Augmentation::released(layout == Layout::Mvtec),
            Preset::None => Augmentation::none(),
        };
        Augmentation {
            mosaic: self.mosaic.unwrap_or(preset.mosaic),
            rotation: self.rotation.unwrap_or(preset.rotation),
            quarter_turn: self.quarter_turn.unwrap_or(preset.quarter_turn),
            brightness_contrast: self.brightness_contrast.unwrap_or(preset.brightness_contrast),
            noise: self.noise.unwrap_or(preset.noise),
            blur_or_jitter: self.blur_or_jitter.unwrap_or(preset.blur_or_jitter),
        }
    }
}

impl LearnArguments {
    /// All of them together.
    pub fn settings(
        &self,
        model: &ModelArguments,
        tiles: &TileArguments,
        augmentation: Augmentation,
        copies: &AugmentArguments,
    ) -> VcpSettings {
        let constants =
            Constants { raw_weight: model.raw_weight, top_k: model.top_k, sigma: model.sigma, ..Constants::default() };
        VcpSettings {
            image_size: model.image_size,
            taps: model.taps.clone(),
            post_heads: model.post_heads,
            epochs: self.epochs,
            batch: self.batch,
            rate: self.rate,
            temperature_rate: self.temperature_rate,
            schedule: self.schedule,
            warm_up: self.warm_up,
            adam: Adam { beta1: self.beta1, beta2: self.beta2, epsilon: self.epsilon },
            loss: LossRule {
                focal_gamma: self.focal_gamma,
                focal_alpha: self.focal_alpha,
                focal_smooth: self.focal_smooth,
                dice_smooth: self.dice_smooth,
            },
            prompt_dropout: self.prompt_dropout,
            tiles: tiles.plan(),
            augmentation,
            copies: copies.cache_copies,
            kept: copies.cache_precision,
            hold_out: self.hold_out,
            seed: self.seed,
            constants,
        }
    }
}

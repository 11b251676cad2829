//! Labelled pictures changed at random, picture and mask together, as the released training changes them.
//!
//! Order, probabilities and ranges are those of VCP-CLIP's `utils/dataset.py` with the defaults of albumentations 1.3:
//! a 2×2 mosaic of anomalous parts, rotation, quarter turns, brightness and contrast, noise, then one of blur, colour
//! jitter and Gaussian blur; all at the picture's own size, before it is brought to the model's.

mod colour;
mod geometry;
mod picture;

use serde::{Deserialize, Serialize};

use crate::dice::Dice;

pub use picture::Picture;

/// Largest angle of a rotation, degrees.
const ANGLE: f32 = 30.0;
/// Brightness moves by this share of white at most, contrast by this share of itself.
const BRIGHTNESS_CONTRAST: f32 = 0.2;
/// Variance of the noise, in squared levels of 0 … 255.
const NOISE_VARIANCE: (f32, f32) = (10.0, 50.0);
/// Colour jitter: brightness, contrast and saturation are multiplied by 1 ± this, the hue turns by this share of a circle.
const JITTER: f32 = 0.2;

/// How likely each change is, 0 … 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Augmentation {
    /// Four anomalous pictures of the same class, two by two, in place of the picture.
    pub mosaic: f32,
    /// A rotation by up to 30°, the border mirrored.
    pub rotation: f32,
    /// A turn by 0, 90, 180 or 270°.
    pub quarter_turn: f32,
    /// Other brightness and contrast.
    pub brightness_contrast: f32,
    /// Gaussian noise.
    pub noise: f32,
    /// One of a 3×3 mean, colour jitter and a Gaussian blur.
    pub blur_or_jitter: f32,
}

impl Augmentation {
    /// The released probabilities; mosaics belong to the training on MVTec-AD alone.
    pub fn released(mosaics: bool) -> Self {
        let mosaic = if mosaics { 0.2 } else { 0.0 };
        let half = 0.5;
        Self {
            mosaic,
            rotation: half,
            quarter_turn: half,
            brightness_contrast: half,
            noise: half,
            blur_or_jitter: half,
        }
    }

    /// Pictures as they are.
    pub fn none() -> Self {
        Self {
            mosaic: 0.0,
            rotation: 0.0,
            quarter_turn: 0.0,
            brightness_contrast: 0.0,
            noise: 0.0,
            blur_or_jitter: 0.0,
        }
    }

    /// Are all pictures left as they are?
    pub fn is_none(&self) -> bool {
        *self == Self::none()
    }

    /// Each probability by the name of its setting.
    pub fn named(&self) -> [(&'static str, f32); 6] {
        [
            ("mosaic", self.mosaic),
            ("rotation", self.rotation),
            ("quarter-turn", self.quarter_turn),
            ("brightness-contrast", self.brightness_contrast),
            ("noise", self.noise),
            ("blur-or-jitter", self.blur_or_jitter),
        ]
    }

    /// Changes `picture`, all but the mosaic.
    pub fn apply(&self, mut picture: Picture, dice: &mut Dice) -> Picture {
        if dice.chance(self.rotation) {
            picture = geometry::rotate(&picture, f64::from(dice.between(-ANGLE, ANGLE)));
        }
        if dice.chance(self.quarter_turn) {
            picture = geometry::quarter_turns(picture, dice.below(4));
        }
        if dice.chance(self.brightness_contrast) {
            let mut change = || dice.between(-BRIGHTNESS_CONTRAST, BRIGHTNESS_CONTRAST);
            let (contrast, brightness) = (1.0 + change(), 255.0 * change());
            colour::map_levels(&mut picture, |level| contrast * level + brightness);
        }
        if dice.chance(self.noise) {
            let deviation = dice.between(NOISE_VARIANCE.0, NOISE_VARIANCE.1).sqrt();
            colour::add_noise(&mut picture, deviation, dice);
        }
        if dice.chance(self.blur_or_jitter) {
            match dice.below(3) {
                0 => colour::filter(&mut picture, &[1.0 / 3.0; 3]),
                1 => jitter(&mut picture, dice),
                _ => colour::filter(&mut picture, colour::GAUSSIAN[dice.below(colour::GAUSSIAN.len())]),
            }
        }
        picture
    }
}

/// Four pictures two by two; the first one's size is the size of every quarter, what lies outside is cut off.
pub fn mosaic(pictures: &[Picture; 4]) -> Picture {
    geometry::mosaic(pictures)
}

/// 0 … `count` − 1 in random order (Fisher and Yates).
pub(super) fn order(count: usize, dice: &mut Dice) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last, dice.below(last + 1));
    }
    order
}

fn jitter(picture: &mut Picture, dice: &mut Dice) {
    let factors: [f32; 3] = std::array::from_fn(|_| dice.between(1.0 - JITTER, 1.0 + JITTER));
    let turn = dice.between(-JITTER, JITTER);
    for step in order(4, dice) {
        match step {
            0 => colour::map_levels(picture, |level| factors[0] * level),
            1 => {
                let mean = colour::mean_luminance(picture);
                colour::map_levels(picture, |level| factors[1] * level + (1.0 - factors[1]) * mean);
            }
            2 => colour::saturate(picture, factors[2]),
            _ => colour::turn_hue(picture, turn),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dice(seed: u64, item: u64) -> Dice {
        Dice::new(seed, [0, 0, item])
    }

    fn picture(channels: usize) -> Picture {
        let (width, height) = (12, 7);
        let data = (0..width * height * channels).map(|i| (i * 89 % 251) as u8).collect();
        let defect = (0..width * height).map(|i| (20..30).contains(&i)).collect();
        Picture { width, height, channels, data, defect }
    }

    #[test]
    fn the_same_purpose_gives_the_same_picture() {
        let augmentation = Augmentation::released(true);
        let make = |purpose: (u64, u64)| augmentation.apply(picture(3), &mut dice(purpose.0, purpose.1));
        assert_eq!(make((1, 2)), make((1, 2)));
        let different = (0..20).filter(|&i| make((1, i)) != make((2, i))).count();
        assert!(different >= 18, "{different}");
        assert_eq!(Augmentation::none().apply(picture(1), &mut dice(0, 0)), picture(1));
    }

    #[test]
    fn an_order_has_every_index_once() {
        let mut found = order(50, &mut dice(3, 0));
        assert_ne!(found, (0..50).collect::<Vec<_>>());
        found.sort_unstable();
        assert_eq!(found, (0..50).collect::<Vec<_>>());
        assert!(order(0, &mut dice(3, 0)).is_empty());
    }

    #[test]
    fn every_change_keeps_picture_and_mask_together() {
        for channels in [1, 3] {
            for seed in 0..60 {
                let all = Augmentation { mosaic: 0.0, ..Augmentation::released(false) };
                let all = Augmentation { rotation: 1.0, quarter_turn: 1.0, blur_or_jitter: 1.0, noise: 1.0, ..all };
                let changed = all.apply(picture(channels), &mut dice(seed, 0));
                assert_eq!(changed.data.len(), changed.width * changed.height * channels);
                assert_eq!(changed.defect.len(), changed.width * changed.height);
                assert_eq!(changed.width * changed.height, 12 * 7);
            }
        }
    }
}

//! How good the modules are on pictures they do not learn from, after every epoch.

use rayon::prelude::*;
use serde::Serialize;

use super::LearnError;
use super::features::{Cache, Sample};
use super::pictures::Pictures;
use super::vcp_training::{Losses, VcpTraining};
use crate::eval::metrics::{self, ImageMetrics, Labelled, PixelMetrics};
use crate::vcp_clip::maps::MapFusion;
use crate::vcp_clip::{Architecture, Constants};

/// Pictures whose maps are computed together.
const TOGETHER: usize = 32;

/// Pictures kept for validation, as the vision tower sees them.
pub struct Validation {
    pictures: Pictures,
    cache: Cache,
    fusion: MapFusion,
    layers: usize,
    size: usize,
}

/// What the modules are worth: means over the classes for which a figure is defined.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Validated {
    /// Mean over the pictures.
    #[serde(skip)]
    pub losses: Losses,
    /// Area under the ROC curve of the pixels.
    pub pixel_auroc: f64,
    /// Area under the per-region-overlap curve.
    pub pixel_aupro: f64,
    /// Average precision of the pixels.
    pub pixel_ap: f64,
    /// Area under the ROC curve of the image scores.
    pub image_auroc: f64,
    /// Average precision of the image scores.
    pub image_ap: f64,
}

impl Validation {
    /// Takes pictures with their samples, number by number.
    pub fn new(pictures: Pictures, cache: Cache, arch: &Architecture, constants: &Constants) -> Self {
        let fusion = MapFusion::new(arch, constants);
        Self { pictures, cache, fusion, layers: arch.taps.len(), size: arch.image_size }
    }

    /// Looks at every picture with the modules as they are now. Errors when a map holds no numbers any more.
    pub fn run(&self, training: &VcpTraining) -> Result<Validated, LearnError> {
        let count = self.pictures.len();
        let mut losses = Losses::default();
        let mut figures = [const { Vec::new() }; 5];
        let mut from = 0;
        while from < count {
            let (class, _) = self.pictures.label(from);
            let to = (from..count).find(|&at| self.pictures.label(at).0 != class).unwrap_or(count);
            let (class_losses, class_figures) = self.class(training, from, to)?;
            losses.raw += class_losses.raw / count as f64;
            losses.new += class_losses.new / count as f64;
            for (all, figure) in figures.iter_mut().zip(class_figures) {
                all.extend(Some(figure).filter(|figure| figure.is_finite()));
            }
            from = to;
        }
        let mean = |figures: &Vec<f64>| figures.iter().sum::<f64>() / figures.len() as f64;
        let [pixel_auroc, pixel_aupro, pixel_ap, image_auroc, image_ap] = figures.each_ref().map(mean);
        Ok(Validated { losses, pixel_auroc, pixel_aupro, pixel_ap, image_auroc, image_ap })
    }

    /// Losses of the pictures `from .. to` of one class, summed up, and its five figures.
    fn class(&self, training: &VcpTraining, from: usize, to: usize) -> Result<(Losses, [f64; 5]), LearnError> {
        let mut losses = Losses::default();
        let (mut maps, mut scores, mut masks, mut labels) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let numbers: Vec<usize> = (from..to).collect();
        for block in numbers.chunks(TOGETHER) {
            let samples = self.cache.samples(block.to_vec())?;
            let (block_losses, differences) = training.look(&samples);
            losses.raw += block_losses.raw * block.len() as f64;
            losses.new += block_losses.new * block.len() as f64;
            let fused: Vec<_> =
                (0..block.len()).into_par_iter().map(|at| self.fuse(&differences, at, block.len())).collect();
            for ((sample, fused), &at) in samples.iter().zip(fused).zip(block) {
                let Sample { mask, .. } = sample;
                masks.push(mask.iter().map(|&byte| byte != 0).collect::<Vec<bool>>());
                labels.push(self.pictures.label(at).1);
                maps.push(fused.0);
                scores.push(fused.1);
            }
        }
        let labelled: Vec<Labelled<'_>> =
            maps.iter().zip(&masks).map(|(map, mask)| Labelled { width: self.size, map, mask }).collect();
        let pixel = metrics::pixel(&labelled)?;
        let image = metrics::image(&scores, &labels)?;
        Ok((losses, defined(pixel, image)))
    }

    /// Map and score of one picture from the differences `[2·layers, count, G·G]`.
    fn fuse(&self, differences: &[f32], at: usize, count: usize) -> (Vec<f32>, f32) {
        let cells = differences.len() / (2 * self.layers * count);
        let map = |kind: usize| differences[(kind * count + at) * cells..][..cells].to_vec();
        let path = |first: usize| (first..first + self.layers).map(map).collect::<Vec<_>>();
        let fused = self.fusion.fuse(&path(0), &path(self.layers));
        (fused.map, fused.score)
    }
}

/// The five figures of a class. Where one kind of pixel or picture is absent, an average precision of 0 or 1 says nothing, as
/// little as the area under the ROC curve, which is no number there.
fn defined(pixel: PixelMetrics, image: ImageMetrics) -> [f64; 5] {
    let with = |auroc: f64, figure: f64| if auroc.is_finite() { figure } else { f64::NAN };
    let pixels = [pixel.auroc, pixel.aupro, pixel.ap].map(|figure| with(pixel.auroc, figure));
    let [image_auroc, image_ap] = [image.auroc, image.ap].map(|figure| with(image.auroc, figure));
    let [pixel_auroc, pixel_aupro, pixel_ap] = pixels;
    [pixel_auroc, pixel_aupro, pixel_ap, image_auroc, image_ap]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_kind_alone_has_no_figures() {
        let map = [0.1, 0.9, 0.3, 0.4];
        let class = |mask: [bool; 4], scores: &[f32], labels: &[bool]| {
            let labelled = Labelled { width: 2, map: &map, mask: &mask };
            defined(metrics::pixel(&[labelled]).unwrap(), metrics::image(scores, labels).unwrap())
        };
        let spot = [false, true, false, false];
        assert!(class(spot, &[0.2, 0.7], &[false, true])[3..] == [1.0, 1.0]);
        for labels in [[true, true], [false, false]] {
            assert!(class(spot, &[0.2, 0.7], &labels)[3..].iter().all(|figure| figure.is_nan()), "{labels:?}");
        }
        for mask in [[false; 4], [true; 4]] {
            assert!(class(mask, &[0.2, 0.7], &[false, true])[..3].iter().all(|figure| figure.is_nan()));
        }
    }
}

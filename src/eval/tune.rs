//! The baseline's two numbers, chosen on classes that are not evaluated, as a person would tune it on known parts.

use std::collections::BTreeSet;

use super::baseline::{Baseline, contrast, smoothed};
use super::metrics::Labelled;
use super::metrics::counts::Counts;
use super::stream::{self, Looking, Picture};
use super::{EvalError, LeftOut, Progress};
use crate::dataset::Dataset;
use crate::vcp_clip::preprocess::resize_to_rgb;

/// Sides of the median's window that are tried, pixels of the model's input.
const WINDOWS: [usize; 5] = [11, 21, 41, 61, 91];
/// Standard deviations of the Gaussian that are tried.
const SIGMAS: [f32; 4] = [1.0, 2.0, 4.0, 8.0];
/// Pictures of a class that are looked at, evenly spaced; more change the choice little and take long.
pub const MOST_PICTURES: usize = 40;

/// What tuning has found.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Tuned {
    /// The best.
    pub baseline: Baseline,
    /// Its AUPRO, mean over the classes, 0 … 1.
    pub aupro: f64,
    /// Everything that was tried with its AUPRO, in the order of window and sigma.
    pub tried: Vec<Trial>,
    /// The classes it was tuned on.
    pub classes: Vec<String>,
    /// How many pictures.
    pub pictures: usize,
}

/// One point of the grid.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Trial {
    /// What was tried.
    #[serde(flatten)]
    pub baseline: Baseline,
    /// Mean AUPRO over the classes.
    pub aupro: f64,
}

/// Tries a small grid on the classes of `dataset` and takes what has the largest mean AUPRO.
///
/// Pictures that cannot be read are told to `left_out`, or end it if `strict`. Errors when no class has both anomalous and normal pixels.
/// `watch` hears of every picture.
pub fn tune(
    dataset: &Dataset,
    size: usize,
    strict: bool,
    watch: &mut dyn FnMut(Progress<'_>),
) -> Result<Tuned, EvalError> {
    let grid: Vec<Baseline> = WINDOWS
        .iter()
        .filter(|&&window| window < 2 * size)
        .flat_map(|&window| SIGMAS.map(|sigma| Baseline { window, sigma }))
        .collect();
    let mut thinned = dataset.clone();
    thinned.classes.iter_mut().for_each(|class| class.items = evenly(&class.items, MOST_PICTURES));
    let mut areas = vec![Vec::new(); grid.len()];
    let mut classes = BTreeSet::new();
    let (mut done, mut pictures) = (0, 0);
    // One class at a time: a set of counts for each point of the grid is some megabytes.
    for class in &thinned.classes {
        let one = Dataset { classes: vec![class.clone()], ..thinned.clone() };
        let mut counts = vec![Counts::default(); grid.len()];
        stream::for_each(&one, size, Looking::default(), |loaded| {
            let read = match loaded.picture {
                Ok(read) => Some(read),
                Err(error) if strict => return Err(EvalError::Strict(error)),
                Err(error) => {
                    let image = class.items[loaded.item].image.display().to_string();
                    watch(Progress::LeftOut(&LeftOut { image, reason: error.to_string() }));
                    None
                }
            };
            // Of what has no mask nothing can be learned here.
            if let Some(Picture { image, mask: Some(mask), .. }) = read {
                let rgb = resize_to_rgb(&image, size);
                let mut known: Option<(usize, Vec<f32>)> = None;
                for (baseline, counts) in grid.iter().zip(&mut counts) {
                    let window = baseline.window;
                    let (_, contrast) = match known.take() {
                        Some(same) if same.0 == window => known.insert(same),
                        _ => known.insert((window, contrast(&rgb, size, window))),
                    };
                    let map = smoothed(contrast, size, baseline.sigma);
                    counts.add(&Labelled { width: size, map: &map, mask: &mask });
                }
                pictures += 1;
            }
            done += 1;
            watch(Progress::Looked { done, total: thinned.len(), class: "tuning the baseline" });
            Ok::<_, EvalError>(())
        })?;
        for (areas, counts) in areas.iter_mut().zip(&counts) {
            if let Some(area) = counts.pro_curve().map(|curve| curve.area()).filter(|area| area.is_finite()) {
                areas.push(area);
                classes.insert(class.name.clone());
            }
        }
    }
    let mean = |areas: &Vec<f64>| areas.iter().sum::<f64>() / areas.len() as f64;
    let trial = |(baseline, areas)| Trial { baseline, aupro: mean(areas) };
    let tried: Vec<Trial> = grid.into_iter().zip(&areas).map(trial).collect();
    let best = tried.iter().copied().filter(|trial| trial.aupro.is_finite()).max_by(|a, b| a.aupro.total_cmp(&b.aupro));
    let Trial { baseline, aupro } = best.ok_or(EvalError::NothingToTune)?;
    Ok(Tuned { baseline, aupro, tried, classes: classes.into_iter().collect(), pictures })
}

/// At most `most` of the items, evenly spaced.
fn evenly<T: Clone>(items: &[T], most: usize) -> Vec<T> {
    let count = items.len().min(most);
    (0..count).map(|i| items[i * items.len() / count].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_spacing() {
        assert_eq!(evenly(&[0, 1, 2, 3, 4, 5, 6], 3), [0, 2, 4]);
        assert_eq!(evenly(&[0, 1], 3), [0, 1]);
        assert!(evenly::<u8>(&[], 3).is_empty());
    }
}

//! Captions matched with patches: each patch of a view is told whether "damaged" or "good" is the caption that it shows.
//!
//! CLIP's own loss sees one embedding of a picture, so that a defect of a few pixels has to reach the class token before anything
//! is learned from it; the maps of VCP-CLIP read the patches. Where masks are known, as on synthetic parts, this loss says it to
//! the patches themselves. It is logistic regression on the difference of two logits, with the temperature of the other loss.

/// Weight of the damaged patches of a batch, which are few; the good ones, which must not be called damaged, have the rest of 1.
const DAMAGED_WEIGHT: f32 = 0.25;

/// What the patches of one view show.
#[derive(Clone, Debug, PartialEq)]
pub struct PatchTruth {
    /// The captions that are true of a good and of a damaged patch.
    pub captions: [usize; 2],
    /// Of each patch, row by row: whether it is damaged; unknown where the defect only touches it.
    pub damaged: Vec<Option<bool>>,
}

/// The loss of a batch and its derivatives.
pub struct PatchContrast {
    /// Weighted mean cross-entropy.
    pub loss: f32,
    /// Mean of the shares of damaged and of good patches that are nearer to their caption than to the other; `None` where the truth
    /// of none is known.
    pub accuracy: Option<f32>,
    /// With respect to the patch embeddings, as they were given.
    pub to_patches: Vec<f32>,
    /// With respect to the caption embeddings, U × Ct.
    pub to_text: Vec<f32>,
    /// With respect to the logarithm of the scale.
    pub to_scale: f32,
}

/// `patches` holds, view after view, the embeddings of its patches once for each tapped layer (layers × N × `width`), and `text`
/// those of captions (U × `width`), all of length 1. A patch's logit is `scale · patch · (damaged − good)`.
///
/// # Panics
/// When the views differ in their number of patches, or the embeddings are not whole layers of them.
pub fn patch_contrast(patches: &[f32], text: &[f32], width: usize, scale: f32, views: &[PatchTruth]) -> PatchContrast {
    let per_view = patches.len() / views.len().max(1);
    let whole = |view: &PatchTruth| per_view.is_multiple_of(width * view.damaged.len());
    assert!(views.iter().all(whole), "each view has its patches once a layer");
    let known = |damaged: bool| {
        let of = |view: &PatchTruth| {
            let layers = per_view / width / view.damaged.len().max(1);
            layers * view.damaged.iter().filter(|truth| **truth == Some(damaged)).count()
        };
        views.iter().map(of).sum::<usize>()
    };
    let counts = [known(false), known(true)];
    let weights = match counts {
        [0, _] => [0.0, 1.0],
        [_, 0] => [1.0, 0.0],
        _ => [1.0 - DAMAGED_WEIGHT, DAMAGED_WEIGHT],
    };
    let (mut loss, mut to_scale, mut right) = (0.0f64, 0.0f64, [0usize; 2]);
    let (mut to_patches, mut to_text) = (vec![0.0; patches.len()], vec![0.0; text.len()]);
    let mut difference = vec![0.0; width];
    for (at, view) in views.iter().enumerate() {
        let row = |caption: usize| caption * width..(caption + 1) * width;
        let [good, damaged] = view.captions.map(row);
        let pair = text[damaged.clone()].iter().zip(&text[good.clone()]);
        difference.iter_mut().zip(pair).for_each(|(difference, (damaged, good))| *difference = damaged - good);
        let mut to_difference = vec![0.0; width];
        let span = at * per_view..(at + 1) * per_view;
        let embeddings = patches[span.clone()].chunks_exact(width).zip(to_patches[span].chunks_exact_mut(width));
        for ((patch, to_patch), truth) in embeddings.zip(view.damaged.iter().cycle()) {
            let Some(truth) = *truth else { continue };
            let which = usize::from(truth);
            let logit = scale * patch.iter().zip(&difference).map(|(a, b)| a * b).sum::<f32>();
            // Positive where the patch is on the right side.
            let margin = if truth { logit } else { -logit };
            let weight = weights[which] / counts[which] as f32;
            loss += f64::from(weight * ((-margin.abs()).exp().ln_1p() + (-margin).max(0.0)));
            right[which] += usize::from(margin > 0.0);
            let slope = weight * (1.0 / (1.0 + (-logit).exp()) - f32::from(truth));
            to_scale += f64::from(slope * logit);
            for ((to_patch, to_difference), (patch, difference)) in
                to_patch.iter_mut().zip(&mut to_difference).zip(patch.iter().zip(&difference))
            {
                *to_patch = slope * scale * difference;
                *to_difference += slope * scale * patch;
            }
        }
        to_text[damaged].iter_mut().zip(&to_difference).for_each(|(to, grad)| *to += grad);
        to_text[good].iter_mut().zip(&to_difference).for_each(|(to, grad)| *to -= grad);
    }
    let shares =
        right.iter().zip(counts).filter(|(_, count)| *count > 0).map(|(right, count)| *right as f32 / count as f32);
    let shares: Vec<f32> = shares.collect();
    let accuracy = (!shares.is_empty()).then(|| shares.iter().sum::<f32>() / shares.len() as f32);
    PatchContrast { loss: loss as f32, accuracy, to_patches, to_text, to_scale: to_scale as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    #[test]
    fn derivatives_are_those_of_the_loss() {
        let mut dice = Dice::new(4, [0; 3]);
        let mut numbers = |count: usize| (0..count).map(|_| dice.normal() as f32 * 0.4).collect::<Vec<_>>();
        // Two views of three patches in two layers, three captions.
        let width = 5;
        let (patches, text) = (numbers(2 * 2 * 3 * width), numbers(3 * width));
        let truth = |captions, damaged: [Option<bool>; 3]| PatchTruth { captions, damaged: damaged.to_vec() };
        let views = [truth([0, 1], [Some(true), None, Some(false)]), truth([0, 2], [Some(false); 3])];
        let scale = 3.0f32;
        let exact = patch_contrast(&patches, &text, width, scale, &views);
        let step = 1e-2;
        for at in 0..patches.len() {
            let moved = |by: f32| {
                let mut patches = patches.clone();
                patches[at] += by;
                patch_contrast(&patches, &text, width, scale, &views).loss
            };
            let slope = (moved(step) - moved(-step)) / (2.0 * step);
            assert!((slope - exact.to_patches[at]).abs() < 1e-3, "patch {at}: {slope} {}", exact.to_patches[at]);
        }
        assert!(exact.to_patches[width..2 * width].iter().all(|grad| *grad == 0.0), "what is unknown teaches nothing");
        for at in 0..text.len() {
            let moved = |by: f32| {
                let mut text = text.clone();
                text[at] += by;
                patch_contrast(&patches, &text, width, scale, &views).loss
            };
            let slope = (moved(step) - moved(-step)) / (2.0 * step);
            assert!((slope - exact.to_text[at]).abs() < 1e-3, "text {at}: {slope} {}", exact.to_text[at]);
        }
        let moved = |by: f32| patch_contrast(&patches, &text, width, (scale.ln() + by).exp(), &views).loss;
        let slope = (moved(step) - moved(-step)) / (2.0 * step);
        assert!((slope - exact.to_scale).abs() < 1e-3, "scale: {slope} {}", exact.to_scale);
    }

    #[test]
    fn damaged_patches_have_their_share_however_few() {
        let text = [1.0, 0.0, -1.0, 0.0];
        // One damaged patch and many good ones, all of them in the middle between the captions: ln 2 each.
        let damaged = (0..64).map(|at| Some(at == 7)).collect();
        let views = [PatchTruth { captions: [0, 1], damaged }];
        let seen = patch_contrast(&[0.0, 1.0].repeat(64), &text, 2, 10.0, &views);
        assert!((seen.loss - 2f32.ln()).abs() < 1e-6, "{}", seen.loss);
        let pull = |at: usize| seen.to_patches[2 * at].abs();
        assert!((pull(7) / pull(0) - 63.0 / 3.0).abs() < 1e-3, "{} {}", pull(7), pull(0));
    }
}

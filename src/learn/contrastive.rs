//! CLIP's symmetric contrastive loss (Radford et al. 2021, section 2.3) where several pictures may share a caption.

use crate::vcp_clip::matrix::{View, multiply};

/// The loss of a batch and its derivatives.
pub struct Contrastive {
    /// Mean of the two directions' cross-entropies.
    pub loss: f32,
    /// Share of the pictures whose own caption is the nearest of the batch.
    pub accuracy: f32,
    /// With respect to the picture embeddings, B × Ct.
    pub to_image: Vec<f32>,
    /// With respect to the caption embeddings, U × Ct.
    pub to_text: Vec<f32>,
    /// With respect to the logarithm of the scale.
    pub to_scale: f32,
}

/// `image` (B × Ct) and `text` (U × Ct) have rows of length 1; picture i has caption `caption[i]`; logits are
/// `scale · image · textᵀ`. Among pictures, a caption's partners are all its own in equal shares.
pub fn contrastive(image: &[f32], text: &[f32], width: usize, scale: f32, caption: &[usize]) -> Contrastive {
    let (batch, unique) = (caption.len(), text.len() / width);
    let view = View::tight(batch, unique);
    let (images, texts) = (View::tight(batch, width), View::tight(unique, width));
    let mut logits = vec![0.0; batch * unique];
    multiply((&mut logits, view), (image, images), (text, texts.transposed()), scale, false);

    let mut pictures = vec![0usize; unique];
    caption.iter().for_each(|&column| pictures[column] += 1);
    let mut grad = vec![0.0f32; batch * unique];
    let (mut loss, mut right) = (0.0f64, 0usize);
    // Each picture among the captions.
    for (row, &own) in caption.iter().enumerate() {
        let line = &logits[row * unique..][..unique];
        let largest = line.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f32 = line.iter().map(|x| (x - largest).exp()).sum();
        loss += f64::from(largest + total.ln() - line[own]) / batch as f64;
        right += usize::from(line[own] >= largest);
        for (column, x) in line.iter().enumerate() {
            let share = (x - largest).exp() / total - f32::from(column == own);
            grad[row * unique + column] += 0.5 * share / batch as f32;
        }
    }
    // Each caption among the pictures.
    for column in 0..unique {
        let at = |row: usize| logits[row * unique + column];
        let largest = (0..batch).map(at).fold(f32::NEG_INFINITY, f32::max);
        let total: f32 = (0..batch).map(|row| (at(row) - largest).exp()).sum();
        let partner = 1.0 / pictures[column].max(1) as f32;
        for row in 0..batch {
            let target = if caption[row] == column { partner } else { 0.0 };
            loss += f64::from(target * (largest + total.ln() - at(row))) / unique as f64;
            let share = (at(row) - largest).exp() / total;
            grad[row * unique + column] += 0.5 * (share - target) / unique as f32;
        }
    }
    let to_scale = grad.iter().zip(&logits).map(|(grad, logit)| grad * logit).sum();
    let (mut to_image, mut to_text) = (vec![0.0; image.len()], vec![0.0; text.len()]);
    multiply((&mut to_image, images), (&grad, view), (text, texts), scale, false);
    multiply((&mut to_text, texts), (&grad, view.transposed()), (image, images), scale, false);
    let accuracy = right as f32 / batch as f32;
    Contrastive { loss: (0.5 * loss) as f32, accuracy, to_image, to_text, to_scale }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    #[test]
    fn derivatives_are_those_of_the_loss() {
        let mut dice = Dice::new(3, [0; 3]);
        let (width, caption) = (5, [0, 2, 1, 0, 2, 2]);
        let mut numbers = |count: usize| (0..count).map(|_| dice.normal() as f32 * 0.4).collect::<Vec<_>>();
        let (image, text) = (numbers(6 * width), numbers(3 * width));
        let scale = 3.0f32;
        let exact = contrastive(&image, &text, width, scale, &caption);
        let step = 1e-2;
        for at in 0..image.len() {
            let moved = |by: f32| {
                let mut image = image.clone();
                image[at] += by;
                contrastive(&image, &text, width, scale, &caption).loss
            };
            let slope = (moved(step) - moved(-step)) / (2.0 * step);
            assert!((slope - exact.to_image[at]).abs() < 1e-3, "image {at}: {slope} {}", exact.to_image[at]);
        }
        for at in 0..text.len() {
            let moved = |by: f32| {
                let mut text = text.clone();
                text[at] += by;
                contrastive(&image, &text, width, scale, &caption).loss
            };
            let slope = (moved(step) - moved(-step)) / (2.0 * step);
            assert!((slope - exact.to_text[at]).abs() < 1e-3, "text {at}: {slope} {}", exact.to_text[at]);
        }
        let moved = |by: f32| contrastive(&image, &text, width, (scale.ln() + by).exp(), &caption).loss;
        let slope = (moved(step) - moved(-step)) / (2.0 * step);
        assert!((slope - exact.to_scale).abs() < 1e-3, "scale: {slope} {}", exact.to_scale);
    }
}

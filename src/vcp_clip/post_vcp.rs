//! Post-VCP: the text embeddings look at this image's patches, and the patches are compared with what they saw.
//!
//! The exact cheap form (arXiv 2407.12276, section 3.3, rearranged): with f̂ a patch token of length 1,
//! - scores are `(W_kᵀ q_h)·f̂` plus a constant per head, which a softmax does not see;
//! - the context is `W_v (Σ a f̂) + b_v`, because Σ a = 1;
//!
//! so keys and values are never formed. Each block of tokens meets 2·h query vectors in one product of matrices and is summed in
//! another, with a softmax of its own that is merged with the others' (Milakov and Gimelshein 2018); a second dot product per patch
//! gives the map.

use std::borrow::Cow;

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::cores::SharedOut;
use super::matrix::{self, View};
use super::row_products::row_products;
use super::simd;

/// Patches per task: so many tokens of width 1024 stay in a core's second-level cache while they are looked at twice. Each task keeps
/// its own softmax, and the parts are merged.
const TASK: usize = 172;
/// Rows of a matrix per task.
const ROWS: usize = 128;

/// The learned weights, row by row `[out, in]`, float32.
#[derive(Clone, Debug)]
pub struct PostVcp {
    /// h.
    pub heads: usize,
    /// Cv, columns of a patch token; a multiple of `heads`.
    pub vision_width: usize,
    /// Ct, columns of a text embedding.
    pub text_width: usize,
    /// W_q, Cv × Ct.
    pub query: Vec<f32>,
    /// b_q, Cv.
    pub query_bias: Vec<f32>,
    /// W_k, Cv × Cv. Its bias drops out of the softmax.
    pub key: Vec<f32>,
    /// W_v, Cv × Cv.
    pub value: Vec<f32>,
    /// b_v, Cv.
    pub value_bias: Vec<f32>,
    /// W_o, Cv × Cv.
    pub out: Vec<f32>,
    /// b_o, Cv.
    pub out_bias: Vec<f32>,
    /// `exp(prompt_temp_l1)`.
    pub temperature: f32,
}

/// What patch tokens are handed out as. Where a network computes in bfloat16 they need no more digits than float16 has, three more
/// than its products come with.
pub trait TokenValue: Copy + Sync {
    /// The same numbers.
    fn floats(values: &[Self]) -> Cow<'_, [f32]>;
}

impl TokenValue for f32 {
    fn floats(values: &[Self]) -> Cow<'_, [f32]> {
        Cow::Borrowed(values)
    }
}

impl TokenValue for f16 {
    fn floats(values: &[Self]) -> Cow<'_, [f32]> {
        Cow::Owned(values.to_f32_vec())
    }
}

/// What one pass over a layer's tokens yields.
pub struct Adjusted {
    /// t′, the text embeddings adjusted to the image: 2 × Cv, normal first, rows of length 1.
    pub text: Vec<f32>,
    /// 1/‖f‖ per patch.
    pub inverse_norms: Vec<f32>,
}

/// Softmax state of some patches: per query the largest score, the sum of weights and the weighted sum of f̂.
struct Partial {
    largest: Vec<f32>,
    weight: Vec<f32>,
    sum: Vec<f32>,
    inverse_norms: Vec<f32>,
}

impl PostVcp {
    /// One map per layer: `exp(temp) · f̂·(t′_abnormal − t′_normal)`, N values each, from each layer's tokens (N × Cv)
    /// and the text embeddings (2 × Ct, normal first).
    pub fn difference_maps<T: TokenValue>(&self, layers: &[&[T]], text: &[f32]) -> Vec<Vec<f32>> {
        self.adjust(layers, text)
            .iter()
            .zip(layers)
            .map(|(adjusted, tokens)| {
                let (normal, abnormal) = adjusted.text.split_at(self.vision_width);
                let difference: Vec<f32> = abnormal.iter().zip(normal).map(|(a, n)| a - n).collect();
                self.patch_logits(tokens, &adjusted.inverse_norms, &difference)
            })
            .collect()
    }

    /// `exp(temp) · f̂·v` for every patch.
    pub fn patch_logits<T: TokenValue>(&self, tokens: &[T], inverse_norms: &[f32], vector: &[f32]) -> Vec<f32> {
        let width = self.vision_width;
        let mut logits = vec![0.0; inverse_norms.len()];
        logits.par_chunks_mut(TASK).zip(inverse_norms.par_chunks(TASK)).enumerate().shared_out().for_each(
            |(task, (logits, inverse_norms))| {
                let from = task * TASK * width;
                row_products(logits, &T::floats(&tokens[from..from + logits.len() * width]), vector, width);
                for (logit, inverse) in logits.iter_mut().zip(inverse_norms) {
                    *logit *= inverse * self.temperature;
                }
            },
        );
        logits
    }

    /// The cross-attention of all layers at once, so that each weight is read once.
    pub fn adjust<T: TokenValue>(&self, layers: &[&[T]], text: &[f32]) -> Vec<Adjusted> {
        let (width, heads, count) = (self.vision_width, self.heads, 2 * layers.len());
        let queries = self.query_vectors(text);

        let tasks: Vec<(usize, &[T])> = layers
            .iter()
            .enumerate()
            .flat_map(|(layer, tokens)| tokens.chunks(TASK * width).map(move |part| (layer, part)))
            .collect();
        let parts: Vec<(usize, Partial)> = tasks
            .into_par_iter()
            .shared_out()
            .map(|(layer, part)| (layer, self.look(&T::floats(part), &queries)))
            .collect();

        let mut seen: Vec<Partial> = (0..layers.len()).map(|_| Partial::new(2 * heads, width)).collect();
        for (layer, part) in parts {
            seen[layer].merge(part, width);
        }
        for partial in &mut seen {
            for (sum, weight) in partial.sum.chunks_mut(width).zip(&partial.weight) {
                sum.iter_mut().for_each(|x| *x /= weight);
            }
        }

        // Rows of `context`: layer 0 normal, layer 0 abnormal, layer 1 normal, …
        let context = rows_times(&self.value, &self.value_bias, heads, count, |head, which| {
            let query = (which % 2) * heads + head;
            &seen[which / 2].sum[query * width..(query + 1) * width]
        });
        let mut adjusted =
            rows_times(&self.out, &self.out_bias, 1, count, |_, which| &context[which * width..(which + 1) * width]);
        adjusted.chunks_mut(width).for_each(normalize);
        adjusted
            .chunks(2 * width)
            .zip(seen)
            .map(|(text, seen)| Adjusted { text: text.to_vec(), inverse_norms: seen.inverse_norms })
            .collect()
    }

    /// `W_kᵀ q_h` per state and head: 2·h rows of Cv, all heads of the normal state first.
    fn query_vectors(&self, text: &[f32]) -> Vec<f32> {
        let (width, heads) = (self.vision_width, self.heads);
        let q = rows_times(&self.query, &self.query_bias, 1, 2, |_, state| {
            &text[state * self.text_width..(state + 1) * self.text_width]
        });
        let head_width = width / heads;
        let mut vectors = vec![0.0; 2 * heads * width];
        let (normal, abnormal) = vectors.split_at_mut(heads * width);
        normal.par_chunks_mut(width).zip(abnormal.par_chunks_mut(width)).enumerate().shared_out().for_each(
            |(head, (normal, abnormal))| {
                simd::dispatch(
                    #[inline(always)]
                    || {
                        let end = (head + 1) * head_width;
                        let key = |row: usize| &self.key[row * width..(row + 1) * width];
                        let mut row = head * head_width;
                        while row + 4 <= end {
                            let keys = [key(row), key(row + 1), key(row + 2), key(row + 3)];
                            for (vector, q) in [(&mut *normal, &q[row..]), (&mut *abnormal, &q[width + row..])] {
                                simd::accumulate(vector, [q[0], q[1], q[2], q[3]], keys);
                            }
                            row += 4;
                        }
                        while row < end {
                            simd::accumulate(normal, [q[row]], [key(row)]);
                            simd::accumulate(abnormal, [q[width + row]], [key(row)]);
                            row += 1;
                        }
                    },
                );
            },
        );
        vectors
    }

    /// One look at some patches: scores, weights and weighted sums of all queries, each as one product of matrices.
    fn look(&self, tokens: &[f32], queries: &[f32]) -> Partial {
        let (width, count) = (self.vision_width, 2 * self.heads);
        let patches = tokens.len() / width;
        let mut scores = vec![0.0; patches * count];
        row_products(&mut scores, tokens, queries, width);
        let mut inverse_norms = vec![0.0; patches];
        // One query's scores of all patches beside each other.
        let mut weights = vec![0.0; count * patches];
        let (mut largest, mut weight) = (vec![f32::NEG_INFINITY; count], vec![0.0; count]);
        simd::dispatch(
            #[inline(always)]
            || {
                for (inverse, token) in inverse_norms.iter_mut().zip(tokens.chunks_exact(width)) {
                    *inverse = 1.0 / simd::dot(token, token).sqrt();
                }
                for (at, weights) in weights.chunks_exact_mut(patches).enumerate() {
                    for ((weight, scores), inverse) in
                        weights.iter_mut().zip(scores.chunks_exact(count)).zip(&inverse_norms)
                    {
                        *weight = scores[at] * inverse;
                    }
                    largest[at] = simd::largest(weights);
                    for weight in weights.iter_mut() {
                        *weight = simd::exp(*weight - largest[at]);
                    }
                    weight[at] = simd::sum(weights);
                    // What is summed are f̂, tokens of length 1.
                    for (weight, inverse) in weights.iter_mut().zip(&inverse_norms) {
                        *weight *= inverse;
                    }
                }
            },
        );
        let mut sum = vec![0.0; count * width];
        let (to, from) = (View::tight(count, width), View::tight(count, patches));
        matrix::multiply((&mut sum, to), (&weights, from), (tokens, View::tight(patches, width)), 1.0, false);
        Partial { largest, weight, sum, inverse_norms }
    }
}

/// `matrix · vector + bias` for `count` vectors, where each of `parts` equal parts of the rows has its own (heads have):
/// `count` rows as long as `bias`. Every row of the matrix is read once.
fn rows_times<'a>(
    matrix: &[f32],
    bias: &[f32],
    parts: usize,
    count: usize,
    vector: impl Fn(usize, usize) -> &'a [f32] + Sync,
) -> Vec<f32> {
    let (rows, columns) = (bias.len(), matrix.len() / bias.len());
    let of_part = rows / parts;
    // Parts are cut so that every core has some.
    let cut = of_part.div_ceil(of_part.div_ceil(ROWS));
    let work: Vec<(usize, std::ops::Range<usize>)> = (0..parts)
        .flat_map(|part| {
            let end = (part + 1) * of_part;
            (part * of_part..end).step_by(cut).map(move |row| (part, row..(row + cut).min(end)))
        })
        .collect();
    let products: Vec<Vec<f32>> = work
        .par_iter()
        .shared_out()
        .map(|(part, range)| {
            let vectors: Vec<f32> = (0..count).flat_map(|which| vector(*part, which).iter().copied()).collect();
            let mut products = vec![0.0; range.len() * count];
            row_products(&mut products, &matrix[range.start * columns..range.end * columns], &vectors, columns);
            products
        })
        .collect();
    let mut out = vec![0.0; count * rows];
    for ((_, range), products) in work.iter().zip(products) {
        for (row, products) in range.clone().zip(products.chunks_exact(count)) {
            for (which, product) in products.iter().enumerate() {
                out[which * rows + row] = product + bias[row];
            }
        }
    }
    out
}

impl Partial {
    fn new(queries: usize, width: usize) -> Self {
        Self {
            largest: vec![f32::NEG_INFINITY; queries],
            weight: vec![0.0; queries],
            sum: vec![0.0; queries * width],
            inverse_norms: Vec::new(),
        }
    }

    fn merge(&mut self, other: Self, width: usize) {
        for at in 0..self.largest.len() {
            let largest = self.largest[at].max(other.largest[at]);
            let (mine, theirs) = ((self.largest[at] - largest).exp(), (other.largest[at] - largest).exp());
            self.largest[at] = largest;
            self.weight[at] = self.weight[at] * mine + other.weight[at] * theirs;
            let range = at * width..(at + 1) * width;
            for (x, y) in self.sum[range.clone()].iter_mut().zip(&other.sum[range]) {
                *x = *x * mine + y * theirs;
            }
        }
        self.inverse_norms.extend(other.inverse_norms);
    }
}

fn normalize(row: &mut [f32]) {
    let inverse = 1.0 / row.iter().map(|x| x * x).sum::<f32>().sqrt();
    row.iter_mut().for_each(|x| *x *= inverse);
}

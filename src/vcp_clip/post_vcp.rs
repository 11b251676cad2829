//! Post-VCP: the text embeddings look at this image's patches, and the patches are compared with what they saw.
//!
//! The exact cheap form (arXiv 2407.12276, section 3.3, rearranged): with f̂ a patch token of length 1,
//! - scores are `(W_kᵀ q_h)·f̂` plus a constant per head, which a softmax does not see;
//! - the context is `W_v (Σ a f̂) + b_v`, because Σ a = 1;
//!
//! so keys and values are never formed. One pass over the tokens serves 2·h query vectors with an online softmax
//! (Milakov and Gimelshein 2018) and yields the norms; a second dot product per patch gives the map.

use rayon::prelude::*;

use super::simd;

/// Patches that share one pass over the query vectors; four tokens of width 1024 fit a first-level cache.
const BLOCK: usize = 4;
/// Patches per task; each task keeps its own softmax, and the parts are merged.
const TASK: usize = 344;

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
    pub fn difference_maps(&self, layers: &[&[f32]], text: &[f32]) -> Vec<Vec<f32>> {
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
    pub fn patch_logits(&self, tokens: &[f32], inverse_norms: &[f32], vector: &[f32]) -> Vec<f32> {
        let width = self.vision_width;
        let mut logits = vec![0.0; inverse_norms.len()];
        logits.par_chunks_mut(TASK).enumerate().for_each(|(task, logits)| {
            simd::dispatch(
                #[inline(always)]
                || {
                    for (i, logit) in logits.iter_mut().enumerate() {
                        let patch = task * TASK + i;
                        let token = &tokens[patch * width..(patch + 1) * width];
                        *logit = simd::dot(token, vector) * inverse_norms[patch] * self.temperature;
                    }
                },
            );
        });
        logits
    }

    /// The cross-attention of all layers at once, so that each weight is read once.
    pub fn adjust(&self, layers: &[&[f32]], text: &[f32]) -> Vec<Adjusted> {
        let (width, heads) = (self.vision_width, self.heads);
        let queries = self.query_vectors(text);

        let tasks: Vec<(usize, &[f32])> = layers
            .iter()
            .enumerate()
            .flat_map(|(layer, tokens)| tokens.chunks(TASK * width).map(move |part| (layer, part)))
            .collect();
        let parts: Vec<(usize, Partial)> =
            tasks.into_par_iter().map(|(layer, part)| (layer, self.look(part, &queries))).collect();

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
        let head_width = width / heads;
        let context = self.rows_times(&self.value, &self.value_bias, 2 * layers.len(), |row, which| {
            let query = (which % 2) * heads + row / head_width;
            &seen[which / 2].sum[query * width..(query + 1) * width]
        });
        let mut adjusted = self.rows_times(&self.out, &self.out_bias, 2 * layers.len(), |_, which| {
            &context[which * width..(which + 1) * width]
        });
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
        let q = self.rows_times_width(&self.query, &self.query_bias, self.text_width, 2, |_, state| {
            &text[state * self.text_width..(state + 1) * self.text_width]
        });
        let head_width = width / heads;
        let mut vectors = vec![0.0; 2 * heads * width];
        let (normal, abnormal) = vectors.split_at_mut(heads * width);
        normal.par_chunks_mut(width).zip(abnormal.par_chunks_mut(width)).enumerate().for_each(
            |(head, (normal, abnormal))| {
                simd::dispatch(
                    #[inline(always)]
                    || {
                        for row in head * head_width..(head + 1) * head_width {
                            let key = &self.key[row * width..(row + 1) * width];
                            simd::accumulate(normal, [q[row]], [key]);
                            simd::accumulate(abnormal, [q[width + row]], [key]);
                        }
                    },
                );
            },
        );
        vectors
    }

    /// Square matrix times several vectors; see [`Self::rows_times_width`].
    fn rows_times<'a>(
        &self,
        matrix: &[f32],
        bias: &[f32],
        count: usize,
        vector: impl Fn(usize, usize) -> &'a [f32] + Sync,
    ) -> Vec<f32> {
        self.rows_times_width(matrix, bias, self.vision_width, count, vector)
    }

    /// `matrix · vector + bias` for `count` vectors, where the vector may depend on the row (each head has its own):
    /// `count × Cv`, vector after vector. Every row of the matrix is read once.
    fn rows_times_width<'a>(
        &self,
        matrix: &[f32],
        bias: &[f32],
        columns: usize,
        count: usize,
        vector: impl Fn(usize, usize) -> &'a [f32] + Sync,
    ) -> Vec<f32> {
        let mut by_row = vec![0.0; bias.len() * count];
        by_row.par_chunks_mut(count).enumerate().with_min_len(64).for_each(|(row, out)| {
            simd::dispatch(
                #[inline(always)]
                || {
                    let line = &matrix[row * columns..(row + 1) * columns];
                    for (which, out) in out.iter_mut().enumerate() {
                        *out = simd::dot(line, vector(row, which)) + bias[row];
                    }
                },
            );
        });
        (0..count).flat_map(|which| by_row[which..].iter().step_by(count).copied().collect::<Vec<_>>()).collect()
    }

    /// One pass over some patches.
    fn look(&self, tokens: &[f32], queries: &[f32]) -> Partial {
        let width = self.vision_width;
        let mut partial = Partial::new(2 * self.heads, width);
        simd::dispatch(
            #[inline(always)]
            || {
                let mut blocks = tokens.chunks_exact(BLOCK * width);
                for block in &mut blocks {
                    let token = |i: usize| &block[i * width..(i + 1) * width];
                    partial.take([token(0), token(1), token(2), token(3)], queries);
                }
                for token in blocks.remainder().chunks_exact(width) {
                    partial.take([token], queries);
                }
            },
        );
        partial
    }
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

    #[inline(always)]
    fn take<const K: usize>(&mut self, tokens: [&[f32]; K], queries: &[f32]) {
        let width = tokens[0].len();
        let mut inverse = [0.0; K];
        for (inverse, token) in inverse.iter_mut().zip(tokens) {
            *inverse = 1.0 / simd::dot(token, token).sqrt();
            self.inverse_norms.push(*inverse);
        }
        for (at, query) in queries.chunks_exact(width).enumerate() {
            let mut scores = simd::dots(query, tokens);
            for (score, inverse) in scores.iter_mut().zip(inverse) {
                *score *= inverse;
            }
            let sum = &mut self.sum[at * width..(at + 1) * width];
            let largest = scores.iter().copied().fold(self.largest[at], f32::max);
            if largest > self.largest[at] {
                let shrink = (self.largest[at] - largest).exp();
                self.weight[at] *= shrink;
                sum.iter_mut().for_each(|x| *x *= shrink);
                self.largest[at] = largest;
            }
            let mut factors = [0.0; K];
            for k in 0..K {
                let weight = (scores[k] - largest).exp();
                self.weight[at] += weight;
                factors[k] = weight * inverse[k];
            }
            simd::accumulate(sum, factors, tokens);
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

//! The VCP modules as a function of what the frozen vision tower saw: differentiable in everything they learn.
//!
//! The text side and Pre-VCP are `vcp_clip`'s description. Post-VCP is written here for burn in its cheap form (see
//! `vcp_clip::post_vcp`, whose fused code cannot be differentiated): the layers share their weights and go through as
//! one batch, keys and values are never formed, and the tokens' lengths stay outside the matrix products.

use burn::tensor::{Tensor, TensorData, activation};

use super::features::Features;
use crate::dice::Dice;
use crate::vcp_clip::eager::Eager;
use crate::vcp_clip::ops::Ops;
use crate::vcp_clip::text::{self, Start, State};
use crate::vcp_clip::{Architecture, pre_vcp};

/// What the vision tower saw in some pictures, on the device that learns.
pub struct Seen {
    /// F_ℓ `[layers·B, N, Cv]`, layer after layer.
    tokens: Tensor<3>,
    /// 1/‖f‖ `[layers·B, 1, N]`.
    inverse_lengths: Tensor<3>,
    /// The image feature `[B, 1, Ct]`.
    feature: Tensor<3>,
}

impl Seen {
    /// Takes the pictures in order.
    pub fn new(arch: &Architecture, pictures: &[&Features], device: &burn::tensor::Device) -> Self {
        let (batch, layers, patches, width) = (pictures.len(), arch.taps.len(), arch.patches(), arch.vision_width);
        let mut tokens = Vec::with_capacity(layers * batch * patches * width);
        for layer in 0..layers {
            for picture in pictures {
                tokens.extend_from_slice(&picture.tokens[layer * patches * width..(layer + 1) * patches * width]);
            }
        }
        let inverse = |token: &[f32]| 1.0 / token.iter().map(|x| x * x).sum::<f32>().sqrt();
        let inverse_lengths: Vec<f32> = tokens.chunks_exact(width).map(inverse).collect();
        let feature: Vec<f32> = pictures.iter().flat_map(|picture| picture.feature.iter().copied()).collect();
        let tensor = |values, shape: [usize; 3]| Tensor::from_data(TensorData::new(values, shape), device);
        Self {
            tokens: tensor(tokens, [layers * batch, patches, width]),
            inverse_lengths: tensor(inverse_lengths, [layers * batch, 1, patches]),
            feature: tensor(feature, [batch, 1, arch.text_width]),
        }
    }
}

/// Dropout of the prompt tokens: a share of their numbers is zero, the others grow accordingly. Each picture, state and
/// block has its own, as in the released training.
pub struct Dropout {
    /// Share of zeros, 0 … 1.
    pub share: f32,
    /// One per picture of the batch.
    pub dice: Vec<Dice>,
}

impl Dropout {
    /// Factors for `rows × width` numbers of every picture, `[B, rows, width]`.
    fn factors(&mut self, rows: usize, width: usize, device: &burn::tensor::Device) -> Tensor<3> {
        let kept = 1.0 / (1.0 - self.share);
        let mut values = Vec::with_capacity(self.dice.len() * rows * width);
        for dice in &mut self.dice {
            values.extend((0..rows * width).map(|_| if dice.chance(self.share) { 0.0 } else { kept }));
        }
        Tensor::from_data(TensorData::new(values, [self.dice.len(), rows, width]), device)
    }
}

/// The differences of abnormal and normal logits of all maps, `[2·layers·B, 1, N]`: Pre-VCP's layers, then Post-VCP's.
///
/// Whatever `eager` holds of the text tower and the VCP modules takes part; with `dropout` the prompts are a batch.
pub fn differences(
    eager: &mut Eager,
    arch: &Architecture,
    states: &[State; 2],
    seen: &Seen,
    mut dropout: Option<Dropout>,
) -> Tensor<3> {
    let device = seen.feature.device();
    let prompts = |eager: &mut Eager, _state: usize, layer: usize| {
        let rows = text::prompt_rows(eager, arch, layer);
        match &mut dropout {
            Some(dropout) => rows * dropout.factors(arch.prompt_tokens, arch.text_width, &device),
            None => rows,
        }
    };
    let start = Start::compute(eager, arch, states, prompts);
    let class_vectors = pre_vcp::class_vectors(eager, arch, &seen.feature);
    let text = text::encode(eager, arch, states, &start, &class_vectors);
    let mut maps = pre_vcp_maps(eager, arch, seen, &text);
    maps.push(post_vcp_maps(eager, arch, seen, &text));
    Tensor::cat(maps, 0)
}

/// `exp(temperature) · (abnormal − normal)` of two rows `[B, 2, c]` → `[B, 1, c]`.
fn contrast(eager: &mut Eager, rows: &Tensor<3>, temperature: &str) -> Tensor<3> {
    let difference = rows.clone().narrow(1, 1, 1) - rows.clone().narrow(1, 0, 1);
    difference * eager.weight(temperature).exp()
}

/// One map `[B, 1, N]` per layer.
fn pre_vcp_maps(eager: &mut Eager, arch: &Architecture, seen: &Seen, text: &Tensor<3>) -> Vec<Tensor<3>> {
    let [batch, _, _] = text.dims();
    let contrast = contrast(eager, text, "New_Lan_Embed.prompt_temp");
    let map = |layer: usize| {
        let tokens = seen.tokens.clone().narrow(0, layer * batch, batch);
        let name = |part| format!("trainable_linearlayer.fc.{layer}.{part}");
        let projected = eager.linear(&tokens, &name("weight"), Some(&name("bias")));
        // Dividing N numbers per picture instead of N × Ct.
        let lengths = projected.clone().square().sum_dim(2).sqrt().swap_dims(1, 2);
        contrast.clone().matmul(projected.swap_dims(1, 2)) / lengths
    };
    (0..arch.taps.len()).map(map).collect()
}

/// All layers' maps, `[layers·B, 1, N]`.
fn post_vcp_maps(eager: &mut Eager, arch: &Architecture, seen: &Seen, text: &Tensor<3>) -> Tensor<3> {
    let [batch, states, _] = text.dims();
    let (layers, heads, width) = (arch.taps.len(), arch.post_heads, arch.vision_width);
    let head_width = width / heads;
    let linear = |eager: &mut Eager, x: &Tensor<3>, name: &str| {
        eager.linear(x, &format!("Zero_try.{name}.weight"), Some(&format!("Zero_try.{name}.bias")))
    };
    let by_head = |eager: &mut Eager, name: &str| eager.weight(name).reshape([heads, head_width, width]);

    // W_kᵀ q per head: 2·h query vectors per picture, the same for every layer.
    let q = linear(eager, text, "q_proj_pre").reshape([batch * states, heads, head_width]).swap_dims(0, 1);
    let queries = q.matmul(by_head(eager, "Zero_try.k_proj_pre_1.weight"));
    let queries = queries.swap_dims(0, 1).reshape([1, batch, states * heads, width]);
    let queries = queries.expand([layers, batch, states * heads, width]);
    let queries = queries.reshape([layers * batch, states * heads, width]);

    let turned = seen.tokens.clone().swap_dims(1, 2);
    let scores = queries.matmul(turned.clone()) * seen.inverse_lengths.clone();
    let weights = activation::softmax(scores, 2) * seen.inverse_lengths.clone();
    let context = weights.matmul(seen.tokens.clone());

    let context = context.reshape([layers * batch * states, heads, width]).swap_dims(0, 1);
    let values = context.matmul(by_head(eager, "Zero_try.v_proj_pre_1.weight").swap_dims(1, 2));
    let values = values.swap_dims(0, 1).reshape([layers * batch, states, width]);
    let values = values + eager.weight("Zero_try.v_proj_pre_1.bias");
    let adjusted = linear(eager, &values, "proj_post_t");
    let adjusted = eager.l2_normalize(&adjusted);
    contrast(eager, &adjusted, "Zero_try.prompt_temp_l1").matmul(turned) * seen.inverse_lengths.clone()
}

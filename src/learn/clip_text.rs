//! CLIP's text tower on whole captions, and the contrastive loss, both differentiable.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::vcp_clip::Architecture;
use crate::vcp_clip::block::{self, LAYER_NORM_EPS};
use crate::vcp_clip::eager::Eager;
use crate::vcp_clip::ops::Ops;

/// Additive mask value that removes a key from a softmax.
const MASKED: f32 = -1e4;

/// Captions `[U, L]` as rows of `token_embedding.rows`, start and end included → embeddings `[U, Ct]` of length 1.
///
/// Shorter captions are padded; the causal mask keeps the padding, which comes last, out of every end token.
pub fn encode(eager: &mut Eager, arch: &Architecture, device: &Device, captions: &[&[usize]]) -> Tensor<2> {
    let (count, width) = (captions.len(), arch.text_width);
    let length = captions.iter().map(|caption| caption.len()).max().unwrap_or(1);
    let mut ids = vec![0i64; count * length];
    let mut ends = vec![0.0f32; count * length];
    for (caption, row) in captions.iter().zip(0..) {
        for (&id, at) in caption.iter().zip(row * length..) {
            ids[at] = id as i64;
        }
        ends[row * length + caption.len() - 1] = 1.0;
    }
    let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [count * length]), device);
    let table: Tensor<2> = eager.weight("token_embedding.rows").squeeze_dim(0);
    let mut x: Tensor<3> = table.select(0, ids).reshape([count, length, width]);
    let positions = eager.weight("positional_embedding");
    let positions = eager.rows(&positions, 0, length);
    x = x + positions;
    let causal = (0..length * length).map(|i| if i % length > i / length { MASKED } else { 0.0 }).collect();
    let mask = eager.constant(length, length, causal);
    for layer in 0..arch.text_layers {
        let name = format!("transformer.resblocks.{layer}");
        x = block::run(eager, &x, &name, width, arch.text_heads(), Some(&mask));
    }
    let x = eager.layer_norm(&x, "ln_final", LAYER_NORM_EPS);
    // The row of each end token, picked by a product with its indicator.
    let pick = Tensor::<3>::from_data(TensorData::new(ends, [count, 1, length]), device);
    let ends = pick.matmul(x);
    let text = eager.project(&ends, "text_projection");
    eager.l2_normalize(&text).reshape([count, width])
}

/// The symmetric contrastive loss (Radford et al. 2021, section 2.3) where several pictures may share a caption:
/// `image` `[B, Ct]` and `text` `[U, Ct]` have rows of length 1, picture i has caption `caption[i]`, `scale` is the
/// exponential of the learned temperature `[1, 1]`. A caption's partners are all its pictures in equal shares.
pub fn contrastive(image: Tensor<2>, text: Tensor<2>, scale: Tensor<2>, caption: &[usize]) -> Tensor<1> {
    let device = image.device().inner();
    let [batch, _] = image.dims();
    let [unique, _] = text.dims();
    let mut chosen = vec![0.0f32; batch * unique];
    for (row, &column) in caption.iter().enumerate() {
        chosen[row * unique + column] = 1.0;
    }
    let mut shared = chosen.clone();
    for column in 0..unique {
        let pictures = caption.iter().filter(|&&c| c == column).count().max(1) as f32;
        shared.iter_mut().skip(column).step_by(unique).for_each(|share| *share /= pictures);
    }
    let tensor = |values| Tensor::<2>::from_data(TensorData::new(values, [batch, unique]), &device);
    let logits = image.matmul(text.transpose()) * scale;
    let to_text = (log_softmax(logits.clone(), 1) * tensor(chosen)).sum().div_scalar(batch as f32);
    let to_image = (log_softmax(logits, 0) * tensor(shared)).sum().div_scalar(unique as f32);
    (to_text + to_image).mul_scalar(-0.5)
}

//! CLIP's text tower on whole captions.

use burn::tensor::{Int, Tensor, TensorData};

use crate::vcp_clip::Architecture;
use crate::vcp_clip::block::{self, LAYER_NORM_EPS};
use crate::vcp_clip::eager::Eager;
use crate::vcp_clip::ops::Ops;

/// Additive mask value that removes a key from a softmax.
const MASKED: f32 = -1e4;

/// What captions need beyond [`Ops`]. Implemented by [`super::tape::Tape`], which trains, and by [`Eager`], against
/// whose derivatives the tape is tested.
pub trait CaptionOps: Ops {
    /// Rows of a stored table: `ids` holds `batch` texts of the same length → `[batch, length, Ct]`.
    fn embed(&mut self, table: &str, batch: usize, ids: &[usize]) -> Self::Tensor;
    /// One row of each image or text: `[B, n, c]` → `[B, 1, c]`.
    fn pick(&mut self, x: &Self::Tensor, rows: &[usize]) -> Self::Tensor;
}

/// Captions as rows of `token_embedding.rows`, start and end included → embeddings `[U, 1, Ct]` of length 1.
///
/// Shorter captions are padded; the causal mask keeps the padding, which comes last, out of every end token.
pub fn encode<O: CaptionOps>(ops: &mut O, arch: &Architecture, captions: &[&[usize]]) -> O::Tensor {
    let count = captions.len();
    let length = captions.iter().map(|caption| caption.len()).max().unwrap_or(1);
    let mut ids = vec![0; count * length];
    for (caption, row) in captions.iter().zip(ids.chunks_exact_mut(length)) {
        row[..caption.len()].copy_from_slice(caption);
    }
    let mut x = ops.embed("token_embedding.rows", count, &ids);
    let positions = ops.weight("positional_embedding");
    let positions = ops.rows(&positions, 0, length);
    x = ops.add(&x, &positions);
    let causal = (0..length * length).map(|i| if i % length > i / length { MASKED } else { 0.0 }).collect();
    let mask = ops.constant(length, length, causal);
    for layer in 0..arch.text_layers {
        let name = format!("transformer.resblocks.{layer}");
        x = block::run(ops, &x, &name, arch.text_width, arch.text_heads(), Some(&mask));
    }
    let ends: Vec<usize> = captions.iter().map(|caption| caption.len() - 1).collect();
    let x = ops.pick(&x, &ends);
    let x = ops.layer_norm(&x, "ln_final", LAYER_NORM_EPS);
    let x = ops.project(&x, "text_projection");
    ops.l2_normalize(&x)
}

impl CaptionOps for Eager {
    fn embed(&mut self, table: &str, batch: usize, ids: &[usize]) -> Tensor<3> {
        let table: Tensor<2> = self.weight(table).squeeze_dim(0);
        let [_, width] = table.dims();
        let rows = ids.iter().map(|&id| id as i64).collect::<Vec<_>>();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [ids.len()]), &table.device().inner());
        table.select(0, rows).reshape([batch, ids.len() / batch, width])
    }

    fn pick(&mut self, x: &Tensor<3>, rows: &[usize]) -> Tensor<3> {
        let one = |(image, &row): (usize, &usize)| x.clone().narrow(0, image, 1).narrow(1, row, 1);
        Tensor::cat(rows.iter().enumerate().map(one).collect(), 0)
    }
}

//! The pre-norm transformer block both CLIP towers are built from.

use super::ops::Ops;

/// Epsilon of every layer normalisation but the text tower's `prompt_norm`.
pub const LAYER_NORM_EPS: f64 = 1e-5;

/// Queries, keys and values `[B, rows, width]` of one block's attention.
pub struct Projected<T> {
    /// What asks.
    pub q: T,
    /// What is asked.
    pub k: T,
    /// What is answered.
    pub v: T,
}

/// `ln_1` and the input projection of block `prefix`: queries, keys and values side by side.
fn joint<O: Ops>(ops: &mut O, x: &O::Tensor, prefix: &str) -> O::Tensor {
    let normed = ops.layer_norm(x, &format!("{prefix}.ln_1"), LAYER_NORM_EPS);
    ops.linear(&normed, &format!("{prefix}.attn.in_proj_weight"), Some(&format!("{prefix}.attn.in_proj_bias")))
}

/// `ln_1` and the input projection of block `prefix`, taken apart.
pub fn project<O: Ops>(ops: &mut O, x: &O::Tensor, prefix: &str, width: usize) -> Projected<O::Tensor> {
    let joint = joint(ops, x, prefix);
    Projected {
        q: ops.columns(&joint, 0, width),
        k: ops.columns(&joint, width, 2 * width),
        v: ops.columns(&joint, 2 * width, 3 * width),
    }
}

/// The block's residual stream after attention has been answered: output projection and MLP.
pub fn finish<O: Ops>(ops: &mut O, x: &O::Tensor, attended: &O::Tensor, prefix: &str) -> O::Tensor {
    let linear = |ops: &mut O, x: &O::Tensor, name: &str| {
        ops.linear(x, &format!("{prefix}.{name}.weight"), Some(&format!("{prefix}.{name}.bias")))
    };
    let out = linear(ops, attended, "attn.out_proj");
    let x = ops.add(x, &out);
    let hidden = ops.layer_norm(&x, &format!("{prefix}.ln_2"), LAYER_NORM_EPS);
    let hidden = linear(ops, &hidden, "mlp.c_fc");
    let hidden = ops.gelu(&hidden);
    let hidden = linear(ops, &hidden, "mlp.c_proj");
    ops.add(&x, &hidden)
}

/// One whole block with self-attention: `[B, rows, width] → [B, rows, width]`.
pub fn run<O: Ops>(
    ops: &mut O,
    x: &O::Tensor,
    prefix: &str,
    width: usize,
    heads: usize,
    mask: Option<&O::Tensor>,
) -> O::Tensor {
    let joint = joint(ops, x, prefix);
    let attended = ops.self_attention(&joint, width, heads, mask);
    finish(ops, x, &attended, prefix)
}

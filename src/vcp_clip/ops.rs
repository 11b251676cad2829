//! The tensor operations VCP-CLIP is written in, so that one description can be executed, differentiated or recorded.

/// Three implementations: [`super::eager::Eager`] computes with burn (and differentiates on an autodiff device), the
/// recorder in `engine::onnx` writes an ONNX graph, and `learn::tape::Tape` computes and keeps what its own derivatives
/// need. The network is the same code for all.
///
/// Every tensor is `[batch, rows, columns]`; a batch of 1 or a single row is broadcast by [`Ops::add`]. Weights are
/// named as in the bundle and lie `[out, in]`. Their names and shapes were checked when the bundle was opened, or they
/// were made from the same sizes, so no operation can fail.
pub trait Ops {
    /// A tensor, or a name for one.
    type Tensor: Clone;

    /// The input images cut into patches: `[B, G², 3·patch·patch]`, channel first within a patch.
    fn patches(&mut self, patch: usize) -> Self::Tensor;
    /// A stored tensor as `[1, rows, columns]`; what has fewer axes gets leading ones.
    fn weight(&mut self, name: &str) -> Self::Tensor;
    /// A given tensor `[1, rows, columns]`.
    fn constant(&mut self, rows: usize, columns: usize, values: Vec<f32>) -> Self::Tensor;
    /// `x · Wᵀ + b`; `weight` is `[out, in]` (further axes of a convolution are flattened into `in`).
    fn linear(&mut self, x: &Self::Tensor, weight: &str, bias: Option<&str>) -> Self::Tensor;
    /// `x · W` with a stored `[in, out]` matrix, as CLIP keeps its two projections.
    fn project(&mut self, x: &Self::Tensor, weight: &str) -> Self::Tensor;
    /// `a · bᵀ` per image: `[B, m, c] × [B, k, c] → [B, m, k]`.
    fn matmul_transposed(&mut self, a: &Self::Tensor, b: &Self::Tensor) -> Self::Tensor;
    /// `a + b`, where `b` may have one row or a batch of one.
    fn add(&mut self, a: &Self::Tensor, b: &Self::Tensor) -> Self::Tensor;
    /// `x · factor`.
    fn scale(&mut self, x: &Self::Tensor, factor: f32) -> Self::Tensor;
    /// Layer normalisation over the columns with the stored `PREFIX.weight` and `PREFIX.bias`.
    fn layer_norm(&mut self, x: &Self::Tensor, prefix: &str, eps: f64) -> Self::Tensor;
    /// The exact GELU, `x·Φ(x)`.
    fn gelu(&mut self, x: &Self::Tensor) -> Self::Tensor;
    /// Rows divided by their Euclidean length.
    fn l2_normalize(&mut self, x: &Self::Tensor) -> Self::Tensor;
    /// Multi-head `softmax(q·kᵀ/√d + mask)·v`; `mask` is `[1, rows of q, rows of k]`.
    fn attention(
        &mut self,
        q: &Self::Tensor,
        k: &Self::Tensor,
        v: &Self::Tensor,
        heads: usize,
        mask: Option<&Self::Tensor>,
    ) -> Self::Tensor;
    /// Multi-head self-attention over queries, keys and values of `width` columns each that lie side by side:
    /// `[B, rows, 3·width] → [B, rows, width]`.
    fn self_attention(
        &mut self,
        joint: &Self::Tensor,
        width: usize,
        heads: usize,
        mask: Option<&Self::Tensor>,
    ) -> Self::Tensor {
        let [q, k, v] = [0, 1, 2].map(|at| self.columns(joint, at * width, (at + 1) * width));
        self.attention(&q, &k, &v, heads, mask)
    }
    /// One-dimensional convolution over the columns of a single row, "same" padding:
    /// `[B, 1, c] → [B, out, c]` with a stored `[out, 1, kernel]` weight.
    fn conv_columns(&mut self, x: &Self::Tensor, weight: &str, bias: &str, kernel: usize) -> Self::Tensor;
    /// Rows `from .. to`.
    fn rows(&mut self, x: &Self::Tensor, from: usize, to: usize) -> Self::Tensor;
    /// Columns `from .. to`.
    fn columns(&mut self, x: &Self::Tensor, from: usize, to: usize) -> Self::Tensor;
    /// One below the other.
    fn concat_rows(&mut self, parts: &[Self::Tensor]) -> Self::Tensor;
    /// A batch of one, repeated to the batch of `like`.
    fn repeat_like(&mut self, x: &Self::Tensor, like: &Self::Tensor) -> Self::Tensor;
}

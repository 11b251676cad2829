//! Post-VCP on the card: patch tokens and text embeddings in, one low-resolution difference map per layer out.
//!
//! The same rearrangement as [`crate::vcp_clip::post_vcp`]: keys and values are never formed, one pass over the tokens
//! serves all query vectors with an online softmax, split over patches, and a second pass compares the patches with
//! what was seen, in reverse order so that it meets the tokens that are still in the second-level cache.

use std::sync::Arc;

use super::error::CudaError;
use super::launch::{Geometry, IsHalf, Loaded, TypedKernel, arguments, blocks, numbers};
use super::machine::{Addresses, Buffer, Dtype, MOST_LAYERS, Machine, Program, Stream, Values, View, ViewMut};
use super::post_vcp_look::{self, FirstRow, Layers, Look, Patches, PostLook, Queries, Rows, Splits, WIDEST, Width};
use crate::vcp_clip::post_vcp::PostVcp as Weights;

pub(super) const PROGRAM: Program = Program {
    name: "post_vcp.cu",
    source: include_str!("post_vcp.cu"),
    kernels: &["post_rows_8", "post_rows_1", "post_queries", "post_merge", "post_maps_f32", "post_maps_f16"],
};

/// Heads per state that a pass over the tokens serves; with two states they fill the 16 rows of a matrix product.
const MOST_HEADS: usize = 8;
/// Threads of the kernels that have no reason for another number.
const THREADS: usize = 256;
/// Columns of a block that merges, and tokens of a block that compares.
const MERGE_COLUMNS: usize = 256;
const MAP_TOKENS: usize = 32;
/// Columns of a block that makes query vectors.
const QUERY_COLUMNS: usize = 32;

numbers!(
    /// Rows of a weight matrix.
    MatrixRows,
    /// Columns of a weight matrix.
    MatrixColumns,
    /// Runs of vectors, one for each of as many equal runs of rows.
    Heads,
    /// Vectors that a matrix is multiplied with.
    Vectors,
    /// Images.
    Batch,
);

arguments!(
    /// `post_rows_*`: `out[which] = matrix · vector(row, which) + bias`.
    struct PostRows<'a> {
        matrix: View<'a, f32>,
        bias: View<'a, f32>,
        vectors: Values<'a>,
        is_half: IsHalf,
        out: ViewMut<'a, f32>,
        rows: MatrixRows,
        columns: MatrixColumns,
        heads: Heads,
        count: Vectors,
    }
);

arguments!(
    /// `post_queries`: W_kᵀ q over the rows of each head.
    struct PostQueries<'a> {
        key: View<'a, f32>,
        q: View<'a, f32>,
        queries: ViewMut<'a, f32>,
        width: Width,
        heads: Heads,
        batch: Batch,
    }
);

arguments!(
    /// `post_merge`: the parts' sums under one softmax.
    struct PostMerge<'a> {
        partial: View<'a, f32>,
        states: View<'a, [f32; 2]>,
        seen: ViewMut<'a, f32>,
        width: Width,
        count: Queries,
        splits: Splits,
    }
);

arguments!(
    /// `post_maps_*`: temperature · f̂ · (t′_abnormal − t′_normal).
    struct PostMaps<'a> {
        tokens: Addresses,
        adjusted: View<'a, f32>,
        inverse_norms: View<'a, f32>,
        maps: ViewMut<'a, f32>,
        temperature: f32,
        layers: Layers,
        rows: Rows,
        first_row: FirstRow,
        patches: Patches,
        width: Width,
    }
);

/// Sizes of the tensors that a [`PostVcp`] works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostVcpShape {
    /// L, tapped layers, 1 to [`MOST_LAYERS`].
    pub layers: usize,
    /// N, patches of an image.
    pub patches: usize,
    /// Whether each image's tokens start with the class token, which is skipped: rows per image are N + 1 then.
    pub class_token: bool,
    /// Largest batch.
    pub max_batch: usize,
    /// Type of the patch tokens. float16 takes the tensor cores where the width allows.
    pub tokens: Dtype,
}

/// The Post-VCP cross-attention with its weights on the card.
#[derive(Debug)]
pub struct PostVcp {
    shape: PostVcpShape,
    heads: usize,
    width: usize,
    text_width: usize,
    temperature: f32,
    look: Look,
    multiprocessors: usize,
    query: Linear,
    key: Buffer<f32>,
    value: Linear,
    out: Linear,
    scratch: Scratch,
    kernels: Kernels,
}

/// A matrix and what is added to its products.
#[derive(Debug)]
struct Linear {
    matrix: Buffer<f32>,
    bias: Buffer<f32>,
    rows: MatrixRows,
    columns: MatrixColumns,
}

/// Intermediate results of the largest batch.
#[derive(Debug)]
struct Scratch {
    /// W_q t + b_q: B × 2 × Cv.
    q: Buffer<f32>,
    /// Query vectors: B × 2h × Cv.
    queries: Buffer<f32>,
    /// Weighted sums of f̂ per sequence, split and query, and their softmax states (largest score, sum of weights).
    partial: Buffer<f32>,
    states: Buffer<[f32; 2]>,
    /// Merged: sequences × 2h × Cv.
    seen: Buffer<f32>,
    /// W_v seen + b_v and W_o of it + b_o: sequences × 2 × Cv.
    context: Buffer<f32>,
    adjusted: Buffer<f32>,
    /// 1/‖f‖: sequences × N.
    inverse_norms: Buffer<f32>,
}

#[derive(Debug)]
struct Kernels {
    rows_8: TypedKernel<PostRows<'static>>,
    rows_1: TypedKernel<PostRows<'static>>,
    queries: TypedKernel<PostQueries<'static>>,
    look: TypedKernel<PostLook<'static>>,
    merge: TypedKernel<PostMerge<'static>>,
    maps: TypedKernel<PostMaps<'static>>,
}

/// The patch tokens of a batch, and how they lie.
#[derive(Clone, Copy)]
struct Tokens {
    addresses: Addresses,
    layers: Layers,
    rows: Rows,
    first_row: FirstRow,
    patches: Patches,
    /// Images times layers.
    sequences: usize,
}

impl PostVcp {
    /// Puts `weights` on the card and makes room for the largest batch.
    ///
    /// Heads may be 1 to 8, Cv up to 1536 and a multiple of 8, Ct a multiple of 4.
    pub fn new(machine: &Arc<dyn Machine>, weights: &Weights, shape: PostVcpShape) -> Result<Self, CudaError> {
        let (heads, width, text_width) = (weights.heads, weights.vision_width, weights.text_width);
        check_sizes(weights, &shape)?;
        let properties = machine.properties();
        let look = Look::choose(shape.tokens, width, properties.shared_per_block);
        let linear = |matrix: &[f32], bias: &[f32], columns: usize| -> Result<Linear, CudaError> {
            Ok(Linear {
                matrix: Buffer::from_slice(machine, matrix)?,
                bias: Buffer::from_slice(machine, bias)?,
                rows: MatrixRows::of(width),
                columns: MatrixColumns::of(columns),
            })
        };
        let zeros = |len: usize| Buffer::zeros(machine, len);
        let multiprocessors = properties.multiprocessors as usize;
        let queries = 2 * heads;
        let sequences = shape.layers * shape.max_batch;
        let parts = (1..=shape.max_batch)
            .map(|batch| batch * shape.layers * look.splits(batch * shape.layers, shape.patches, multiprocessors))
            .max()
            .unwrap_or(1);
        let scratch = Scratch {
            q: zeros(shape.max_batch * 2 * width)?,
            queries: zeros(shape.max_batch * queries * width)?,
            partial: zeros(parts * queries * width)?,
            states: Buffer::zeros(machine, parts * queries)?,
            seen: zeros(sequences * queries * width)?,
            context: zeros(sequences * 2 * width)?,
            adjusted: zeros(sequences * 2 * width)?,
            inverse_norms: zeros(sequences * shape.patches)?,
        };
        Ok(Self {
            shape,
            heads,
            width,
            text_width,
            temperature: weights.temperature,
            look,
            multiprocessors,
            query: linear(&weights.query, &weights.query_bias, text_width)?,
            key: Buffer::from_slice(machine, &weights.key)?,
            value: linear(&weights.value, &weights.value_bias, width)?,
            out: linear(&weights.out, &weights.out_bias, width)?,
            scratch,
            kernels: Kernels::load(machine, look, shape.tokens)?,
        })
    }

    /// Enqueues everything from `tokens` and `text` to `maps`.
    ///
    /// `tokens`: per layer `[batch, N or N + 1, Cv]` of the shape's type, 16-byte aligned. `text`: `[batch, 2, Ct]`,
    /// normal first. `maps`: `[batch, L, N]` float32, `exp(temp) · f̂·(t′_abnormal − t′_normal)`.
    pub fn run(
        &mut self,
        stream: &Stream,
        tokens: &[Values<'_>],
        text: Values<'_>,
        batch: usize,
        maps: ViewMut<'_, f32>,
    ) -> Result<(), CudaError> {
        let PostVcpShape { layers, patches, class_token, max_batch, tokens: dtype } = self.shape;
        if batch == 0 || batch > max_batch {
            return Err(CudaError::Unsupported { what: "the batch", found: batch, allowed: "1 to max_batch" });
        }
        if tokens.len() != layers {
            return Err(CudaError::Length { what: "the list of tapped layers", needed: layers, got: tokens.len() });
        }
        let rows = patches + usize::from(class_token);
        let addresses = Addresses::of("a layer's patch tokens", tokens, dtype, batch * rows * self.width)?;
        CudaError::check_length("the text embeddings", batch * 2 * self.text_width, text.len())?;
        CudaError::check_length("the difference maps", batch * layers * patches, maps.len())?;

        let tokens = Tokens {
            addresses,
            layers: Layers::of(layers),
            rows: Rows::of(rows),
            first_row: FirstRow::of(usize::from(class_token)),
            patches: Patches::of(patches),
            sequences: batch * layers,
        };
        self.ask(stream, text, batch)?;
        self.look(stream, tokens)?;
        self.answer(stream, tokens.sequences)?;
        self.compare(stream, tokens, maps)
    }

    /// Enqueues the query vectors of the text embeddings.
    fn ask(&mut self, stream: &Stream, text: Values<'_>, batch: usize) -> Result<(), CudaError> {
        let (kernels, scratch) = (&self.kernels, &mut self.scratch);
        kernels.rows(stream, &self.query, text, Heads::of(1), scratch.q.view_mut(), Vectors::of(2 * batch))?;
        let geometry =
            Geometry { grid: [blocks(self.width, QUERY_COLUMNS), self.heads as u32, 1], threads: THREADS, shared: 0 };
        let arguments = PostQueries {
            key: self.key.view(),
            q: scratch.q.view(),
            queries: scratch.queries.view_mut(),
            width: Width::of(self.width),
            heads: Heads::of(self.heads),
            batch: Batch::of(batch),
        };
        // SAFETY: `new` checked the length of the matrix and made the others for the largest batch.
        unsafe { kernels.queries.launch(stream, geometry, arguments) }
    }

    /// Enqueues the pass over the tokens, and brings the parts of each sequence together.
    fn look(&mut self, stream: &Stream, tokens: Tokens) -> Result<(), CudaError> {
        let Tokens { addresses, layers, rows, first_row, patches, sequences } = tokens;
        let (kernels, scratch) = (&self.kernels, &mut self.scratch);
        let queries = 2 * self.heads;
        let parts = self.look.splits(sequences, self.shape.patches, self.multiprocessors);
        let (width, count, splits) = (Width::of(self.width), Queries::of(queries), Splits::of(parts));
        let geometry = Geometry {
            grid: [(sequences * parts) as u32, 1, 1],
            threads: self.look.threads(self.width),
            shared: self.look.shared(self.width, queries),
        };
        let arguments = PostLook {
            tokens: addresses,
            queries: scratch.queries.view(),
            partial: scratch.partial.view_mut(),
            states: scratch.states.view_mut(),
            inverse_norms: scratch.inverse_norms.view_mut(),
            layers,
            rows,
            first_row,
            patches,
            width,
            count,
            splits,
        };
        // SAFETY: `run` checked the lengths of the tokens; `new` made the others for the batch with the most parts.
        unsafe { kernels.look.launch(stream, geometry, arguments)? };
        let geometry = Geometry {
            grid: [blocks(self.width, MERGE_COLUMNS), (sequences * queries) as u32, 1],
            threads: THREADS,
            shared: 0,
        };
        let (partial, states, seen) = (scratch.partial.view(), scratch.states.view(), scratch.seen.view_mut());
        let arguments = PostMerge { partial, states, seen, width, count, splits };
        // SAFETY: as above.
        unsafe { kernels.merge.launch(stream, geometry, arguments) }
    }

    /// Enqueues the way of what was seen through W_v and W_o.
    fn answer(&mut self, stream: &Stream, sequences: usize) -> Result<(), CudaError> {
        let Scratch { seen, context, adjusted, .. } = &mut self.scratch;
        let (kernels, count) = (&self.kernels, Vectors::of(2 * sequences));
        let seen = Values::F32(seen.view());
        kernels.rows(stream, &self.value, seen, Heads::of(self.heads), context.view_mut(), count)?;
        let context = Values::F32(context.view());
        kernels.rows(stream, &self.out, context, Heads::of(1), adjusted.view_mut(), count)
    }

    /// Enqueues the comparison of every patch with what was seen.
    fn compare(&mut self, stream: &Stream, tokens: Tokens, maps: ViewMut<'_, f32>) -> Result<(), CudaError> {
        let Tokens { addresses, layers, rows, first_row, patches, sequences } = tokens;
        let geometry = Geometry {
            grid: [blocks(self.shape.patches, MAP_TOKENS), sequences as u32, 1],
            threads: THREADS,
            shared: self.width * size_of::<f32>(),
        };
        let arguments = PostMaps {
            tokens: addresses,
            adjusted: self.scratch.adjusted.view(),
            inverse_norms: self.scratch.inverse_norms.view(),
            maps,
            temperature: self.temperature,
            layers,
            rows,
            first_row,
            patches,
            width: Width::of(self.width),
        };
        // SAFETY: `run` checked the lengths of tokens and maps; `new` made the others for the largest batch.
        unsafe { self.kernels.maps.launch(stream, geometry, arguments) }
    }

    /// 1/‖f‖ of the last batch: `[batch, L, N]`.
    pub fn inverse_norms(&self) -> View<'_, f32> {
        self.scratch.inverse_norms.view()
    }
}

impl Kernels {
    fn load(machine: &Arc<dyn Machine>, look: Look, tokens: Dtype) -> Result<Self, CudaError> {
        let loaded = Loaded::new(machine, &PROGRAM)?;
        let maps = match tokens {
            Dtype::F32 => "post_maps_f32",
            Dtype::F16 => "post_maps_f16",
        };
        Ok(Self {
            rows_8: loaded.kernel("post_rows_8")?,
            rows_1: loaded.kernel("post_rows_1")?,
            queries: loaded.kernel("post_queries")?,
            look: Loaded::new(machine, &post_vcp_look::PROGRAM)?.kernel(look.kernel(tokens))?,
            merge: loaded.kernel("post_merge")?,
            maps: loaded.kernel(maps)?,
        })
    }

    /// Enqueues `out[which] = matrix · vector(row, which) + bias` for `count` vectors. Each of them is a run of `heads`
    /// vectors, one for each of as many equal runs of rows. The callers' vectors and results have these sizes.
    fn rows(
        &self,
        stream: &Stream,
        linear: &Linear,
        vectors: Values<'_>,
        heads: Heads,
        out: ViewMut<'_, f32>,
        count: Vectors,
    ) -> Result<(), CudaError> {
        let &Linear { ref matrix, ref bias, rows, columns } = linear;
        let (kernel, each) =
            if (rows.0 / heads.0).unsigned_abs().is_multiple_of(8) { (&self.rows_8, 8) } else { (&self.rows_1, 1) };
        let geometry = Geometry { grid: [blocks(rows.0 as usize, each), 1, 1], threads: THREADS, shared: 0 };
        let (matrix, bias, is_half) = (matrix.view(), bias.view(), IsHalf::from(vectors.dtype()));
        let arguments = PostRows { matrix, bias, vectors, is_half, out, rows, columns, heads, count };
        // SAFETY: `PostVcp::new` checked the lengths of matrix and bias, `PostVcp::run` that of the text; the other
        // vectors and results are scratch for the largest batch.
        unsafe { kernel.launch(stream, geometry, arguments) }
    }
}

fn check_sizes(weights: &Weights, shape: &PostVcpShape) -> Result<(), CudaError> {
    let (heads, width, text_width) = (weights.heads, weights.vision_width, weights.text_width);
    let limits = [
        ("the number of tapped layers", shape.layers, "1 to 8", (1..=MOST_LAYERS).contains(&shape.layers)),
        ("the number of Post-VCP heads", heads, "1 to 8", (1..=MOST_HEADS).contains(&heads)),
        (
            "the vision width",
            width,
            "a multiple of 8 and of the heads, up to 1536",
            width.is_multiple_of(8) && width.is_multiple_of(heads.max(1)) && (8..=WIDEST).contains(&width),
        ),
        ("the text width", text_width, "a multiple of 4", text_width.is_multiple_of(4) && text_width > 0),
        ("the number of patches", shape.patches, "1 or more", shape.patches > 0),
        ("the largest batch", shape.max_batch, "1 or more", shape.max_batch > 0),
    ];
    for (what, found, allowed, fine) in limits {
        if !fine {
            return Err(CudaError::Unsupported { what, found, allowed });
        }
    }
    let square = width * width;
    let tensors = [
        ("W_q", weights.query.len(), width * text_width),
        ("W_k", weights.key.len(), square),
        ("W_v", weights.value.len(), square),
        ("W_o", weights.out.len(), square),
        ("b_q", weights.query_bias.len(), width),
        ("b_v", weights.value_bias.len(), width),
        ("b_o", weights.out_bias.len(), width),
    ];
    tensors.iter().try_for_each(|&(what, got, needed)| CudaError::check_length(what, needed, got))
}

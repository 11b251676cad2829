//! Post-VCP on the card: patch tokens and text embeddings in, one low-resolution difference map per layer out.
//!
//! The same rearrangement as [`crate::vcp_clip::post_vcp`]: keys and values are never formed, one pass over the tokens
//! serves all query vectors with an online softmax, split over patches, and a second pass compares the patches with
//! what was seen, in reverse order so that it meets the tokens that are still in the second-level cache.

use std::sync::Arc;

use super::machine::{
    Addresses, Buffer, Dtype, Kernel, Launch, MOST_LAYERS, Machine, Program, Stream, Values, View, ViewMut, arg,
};
use super::{CudaError, blocks};
use crate::vcp_clip::post_vcp::PostVcp as Weights;

pub(super) const PROGRAM: Program = Program {
    name: "post_vcp.cu",
    source: include_str!("post_vcp.cu"),
    kernels: &["post_rows_8", "post_rows_1", "post_queries", "post_merge", "post_maps_f32", "post_maps_f16"],
};
/// The pass over the tokens.
pub(super) const LOOK_PROGRAM: Program = Program {
    name: "post_vcp_look.cu",
    source: include_str!("post_vcp_look.cu"),
    kernels: &["post_look_tensor_2", "post_look_tensor_4", "post_look_f32", "post_look_f16"],
};

/// Heads per state that a pass over the tokens serves; with two states they fill the 16 rows of a matrix product.
const MOST_HEADS: usize = 8;
/// Channels per thread of the pass without tensor cores, and the widest token: as many for each of 512 threads.
const PLAIN_CHANNELS: usize = 3;
const WIDEST: usize = 1536;
/// Threads of the kernels that have no reason for another number.
const THREADS: usize = 256;
/// Tokens per step of the pass on tensor cores, and channels of each warp there.
const TENSOR_TILE: usize = 16;
const TENSOR_CHANNELS: usize = 128;
/// Bytes between two rows of that tile beyond their length, so that eight rows meet different banks.
const TENSOR_PADDING: usize = 16;
/// Shared memory of that kernel besides the tiles, bytes, rounded up.
const TENSOR_STATIC: usize = 12 * 1024;
/// Tokens per step of the pass without tensor cores.
const PLAIN_TILE: usize = 8;
/// Columns of a block that merges, and tokens of a block that compares.
const MERGE_COLUMNS: usize = 256;
const MAP_TOKENS: usize = 32;
/// Columns of a block that makes query vectors.
const QUERY_COLUMNS: usize = 32;

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
    weights: Device,
    scratch: Scratch,
    kernels: Kernels,
}

/// How the pass over the tokens is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// On tensor cores with this many tiles in flight.
    Tensor { stages: usize },
    /// With ordinary arithmetic, any size.
    Plain,
}

#[derive(Debug)]
struct Device {
    query: Buffer<f32>,
    query_bias: Buffer<f32>,
    key: Buffer<f32>,
    value: Buffer<f32>,
    value_bias: Buffer<f32>,
    out: Buffer<f32>,
    out_bias: Buffer<f32>,
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
    rows_8: Kernel,
    rows_1: Kernel,
    queries: Kernel,
    look: Kernel,
    merge: Kernel,
    maps: Kernel,
}

impl PostVcp {
    /// Puts `weights` on the card and makes room for the largest batch.
    ///
    /// Heads may be 1 to 8, Cv up to 1536 and a multiple of 8, Ct a multiple of 4.
    pub fn new(machine: &Arc<dyn Machine>, weights: &Weights, shape: PostVcpShape) -> Result<Self, CudaError> {
        let (heads, width, text_width) = (weights.heads, weights.vision_width, weights.text_width);
        check_sizes(weights, &shape)?;
        let properties = machine.properties();
        let look = Look::choose(&shape, width, properties.shared_per_block);
        let upload = |values: &[f32]| Buffer::from_slice(machine, values);
        let zeros = |len: usize| Buffer::zeros(machine, len);
        let weights_on_device = Device {
            query: upload(&weights.query)?,
            query_bias: upload(&weights.query_bias)?,
            key: upload(&weights.key)?,
            value: upload(&weights.value)?,
            value_bias: upload(&weights.value_bias)?,
            out: upload(&weights.out)?,
            out_bias: upload(&weights.out_bias)?,
        };
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
        let kernels = Kernels::load(machine, look, shape.tokens)?;
        Ok(Self {
            shape,
            heads,
            width,
            text_width,
            temperature: weights.temperature,
            look,
            multiprocessors,
            weights: weights_on_device,
            scratch,
            kernels,
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
        let (width, heads, queries) = (self.width, self.heads, 2 * self.heads);
        if batch == 0 || batch > max_batch {
            return Err(CudaError::Unsupported { what: "the batch", found: batch, allowed: "1 to max_batch" });
        }
        if tokens.len() != layers {
            return Err(CudaError::Length { what: "the list of tapped layers", needed: layers, got: tokens.len() });
        }
        let rows = patches + usize::from(class_token);
        let addresses = Addresses::of("a layer's patch tokens", tokens, dtype, batch * rows * width)?;
        CudaError::check_length("the text embeddings", batch * 2 * self.text_width, text.len())?;
        CudaError::check_length("the difference maps", batch * layers * patches, maps.len())?;

        let sequences = batch * layers;
        let splits = self.look.splits(sequences, patches, self.multiprocessors);
        let (device, scratch) = (&self.weights, &self.scratch);
        let first_row = i32::from(class_token);
        let [n_layers, n_rows, n_patches, n_width, n_heads, n_queries, n_splits] =
            [layers, rows, patches, width, heads, queries, splits].map(|n| n as i32);

        self.rows(stream, &device.query, &device.query_bias, text, 1, &scratch.q, self.text_width, 2 * batch)?;
        // SAFETY: lengths were checked above and in `new`; the buffers are this launcher's own.
        unsafe {
            stream.launch(&Launch {
                kernel: &self.kernels.queries,
                grid: [blocks(width, QUERY_COLUMNS), heads as u32, 1],
                threads: THREADS as u32,
                shared: 0,
                args: &[
                    arg(&device.key.address()),
                    arg(&scratch.q.address()),
                    arg(&scratch.queries.address()),
                    arg(&n_width),
                    arg(&n_heads),
                    arg(&(batch as i32)),
                ],
            })?;
            stream.launch(&Launch {
                kernel: &self.kernels.look,
                grid: [(sequences * splits) as u32, 1, 1],
                threads: self.look.threads(width) as u32,
                shared: self.look.shared(width, queries),
                args: &[
                    arg(&addresses),
                    arg(&scratch.queries.address()),
                    arg(&scratch.partial.address()),
                    arg(&scratch.states.address()),
                    arg(&scratch.inverse_norms.address()),
                    arg(&n_layers),
                    arg(&n_rows),
                    arg(&first_row),
                    arg(&n_patches),
                    arg(&n_width),
                    arg(&n_queries),
                    arg(&n_splits),
                ],
            })?;
            stream.launch(&Launch {
                kernel: &self.kernels.merge,
                grid: [blocks(width, MERGE_COLUMNS), (sequences * queries) as u32, 1],
                threads: THREADS as u32,
                shared: 0,
                args: &[
                    arg(&scratch.partial.address()),
                    arg(&scratch.states.address()),
                    arg(&scratch.seen.address()),
                    arg(&n_width),
                    arg(&n_queries),
                    arg(&n_splits),
                ],
            })?;
        }
        let seen = Values::F32(scratch.seen.view());
        let context = Values::F32(scratch.context.view());
        self.rows(stream, &device.value, &device.value_bias, seen, heads, &scratch.context, width, 2 * sequences)?;
        self.rows(stream, &device.out, &device.out_bias, context, 1, &scratch.adjusted, width, 2 * sequences)?;
        // SAFETY: as above.
        unsafe {
            stream.launch(&Launch {
                kernel: &self.kernels.maps,
                grid: [blocks(patches, MAP_TOKENS), sequences as u32, 1],
                threads: THREADS as u32,
                shared: width * size_of::<f32>(),
                args: &[
                    arg(&addresses),
                    arg(&scratch.adjusted.address()),
                    arg(&scratch.inverse_norms.address()),
                    arg(&maps.address()),
                    arg(&self.temperature),
                    arg(&n_layers),
                    arg(&n_rows),
                    arg(&first_row),
                    arg(&n_patches),
                    arg(&n_width),
                ],
            })
        }
    }

    /// 1/‖f‖ of the last batch: `[batch, L, N]`.
    pub fn inverse_norms(&self) -> View<'_, f32> {
        self.scratch.inverse_norms.view()
    }

    /// Enqueues `out[which] = matrix · vector(row, which) + bias` for `count` vectors of `columns` numbers. Each of
    /// them is a run of `heads` vectors, one for each of as many equal runs of rows.
    #[allow(clippy::too_many_arguments)] // One small matrix product, three uses.
    fn rows(
        &self,
        stream: &Stream,
        matrix: &Buffer<f32>,
        bias: &Buffer<f32>,
        vectors: Values<'_>,
        heads: usize,
        out: &Buffer<f32>,
        columns: usize,
        count: usize,
    ) -> Result<(), CudaError> {
        let rows = self.width;
        let head_rows = rows / heads;
        let (kernel, each) =
            if head_rows.is_multiple_of(8) { (&self.kernels.rows_8, 8) } else { (&self.kernels.rows_1, 1) };
        let is_half = i32::from(vectors.dtype() == Dtype::F16);
        let [n_rows, n_columns, n_heads, n_count] = [rows, columns, heads, count].map(|n| n as i32);
        // SAFETY: the matrix is rows × columns, and `run` passes vectors and results of the sizes named above.
        unsafe {
            stream.launch(&Launch {
                kernel,
                grid: [blocks(rows, each), 1, 1],
                threads: THREADS as u32,
                shared: 0,
                args: &[
                    arg(&matrix.address()),
                    arg(&bias.address()),
                    arg(&vectors.address()),
                    arg(&is_half),
                    arg(&out.address()),
                    arg(&n_rows),
                    arg(&n_columns),
                    arg(&n_heads),
                    arg(&n_count),
                ],
            })
        }
    }
}

impl Look {
    fn choose(shape: &PostVcpShape, width: usize, shared: usize) -> Self {
        let fits = width.is_multiple_of(TENSOR_CHANNELS) && width <= 8 * TENSOR_CHANNELS;
        if shape.tokens == Dtype::F16 && fits {
            for stages in [4, 2] {
                let look = Self::Tensor { stages };
                if look.shared(width, 0) + TENSOR_STATIC <= shared {
                    return look;
                }
            }
        }
        Self::Plain
    }

    /// How many blocks share a sequence: one block a multiprocessor on tensor cores, two else, so that one wave of
    /// blocks covers the work.
    fn splits(self, sequences: usize, patches: usize, multiprocessors: usize) -> usize {
        let (wave, tile) = match self {
            Self::Tensor { .. } => (multiprocessors, TENSOR_TILE),
            Self::Plain => (2 * multiprocessors, PLAIN_TILE),
        };
        (wave / sequences).clamp(1, patches.div_ceil(tile))
    }

    fn threads(self, width: usize) -> usize {
        match self {
            Self::Tensor { .. } => width / TENSOR_CHANNELS * 32,
            Self::Plain => width.div_ceil(PLAIN_CHANNELS).next_multiple_of(32).max(128),
        }
    }

    /// Dynamic shared memory of a block, bytes.
    fn shared(self, width: usize, queries: usize) -> usize {
        match self {
            Self::Tensor { stages } => stages * TENSOR_TILE * (width * size_of::<half::f16>() + TENSOR_PADDING),
            Self::Plain => {
                (PLAIN_TILE * width + 2 * PLAIN_TILE * queries + PLAIN_TILE + 3 * queries) * size_of::<f32>()
            }
        }
    }
}

impl Kernels {
    fn load(machine: &Arc<dyn Machine>, look: Look, tokens: Dtype) -> Result<Self, CudaError> {
        let loaded = [machine.load(&PROGRAM)?, machine.load(&LOOK_PROGRAM)?].concat();
        let kernel = |name: &'static str| {
            loaded.iter().find(|kernel| kernel.name == name).cloned().ok_or(CudaError::Compile {
                program: PROGRAM.name,
                sm: machine.properties().sm,
                log: format!("no kernel '{name}'"),
            })
        };
        let (look, maps) = match (look, tokens) {
            (Look::Tensor { stages: 4 }, _) => ("post_look_tensor_4", "post_maps_f16"),
            (Look::Tensor { .. }, _) => ("post_look_tensor_2", "post_maps_f16"),
            (Look::Plain, Dtype::F32) => ("post_look_f32", "post_maps_f32"),
            (Look::Plain, Dtype::F16) => ("post_look_f16", "post_maps_f16"),
        };
        Ok(Self {
            rows_8: kernel("post_rows_8")?,
            rows_1: kernel("post_rows_1")?,
            queries: kernel("post_queries")?,
            look: kernel(look)?,
            merge: kernel("post_merge")?,
            maps: kernel(maps)?,
        })
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

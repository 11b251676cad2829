//! The text tower, cut to what an image can change.
//!
//! The causal mask makes everything before the class vectors the same for every image, and everything after the end
//! token irrelevant. So the keys and values of the start ([`prefix`]) are constants of a trained model, and per image
//! only the class vectors and the tokens up to the end token run through the tower ([`encode`]): r + 1 rows per state
//! instead of 77. Both states go through as one sequence, kept apart by the mask, so that each weight is read once.
//! While the prompts are being learned, the start is computed anew with them, by the same two functions.

use super::Architecture;
use super::block::{self, LAYER_NORM_EPS};
use super::ops::Ops;
use super::prompt::CLASS_TOKEN;

/// Epsilon of the normalisation that the released model puts before `ln_final`.
const PROMPT_NORM_EPS: f64 = 1e-6;

/// Additive mask value that removes a key from a softmax; finite, so that half precision keeps it a number.
const MASKED: f32 = -1e4;

/// A state's tokens (start … end) and where their embeddings lie among the bundle's rows.
#[derive(Clone, Debug)]
pub struct State {
    /// Rows of `token_embedding.rows` for the tokens before `<|class|>`, the start token first.
    pub before: Vec<usize>,
    /// The same for the tokens after it, the end token last.
    pub after: Vec<usize>,
}

impl State {
    /// Splits token ids (start … end, one class token) at the class token. `row_of` finds an id's embedding row.
    /// `None` when the class token or a row is missing.
    pub fn new(tokens: &[u32], row_of: impl Fn(u32) -> Option<usize>) -> Option<Self> {
        let class = tokens.iter().position(|&t| t == CLASS_TOKEN)?;
        let rows = |ids: &[u32]| ids.iter().map(|&id| row_of(id)).collect::<Option<Vec<_>>>();
        Some(Self { before: rows(&tokens[..class])?, after: rows(&tokens[class + 1..])? })
    }

    /// Rows that run per image: the class vectors and what follows them.
    fn suffix_len(&self, arch: &Architecture) -> usize {
        arch.class_vectors + self.after.len()
    }
}

/// The values of one block's keys and values `[rows, Ct]` for a state's constant start.
#[derive(Clone, Debug)]
pub struct PrefixBlock {
    /// Keys, row by row.
    pub keys: Vec<f32>,
    /// Values, row by row.
    pub values: Vec<f32>,
}

/// A state's constant start through all blocks.
#[derive(Clone, Debug)]
pub struct Prefix {
    /// Rows: start token, n prompt tokens, words.
    pub rows: usize,
    /// One per block.
    pub blocks: Vec<PrefixBlock>,
}

/// One block's keys and values `[1 or B, rows, Ct]` of the starts of both states, normal above abnormal.
#[derive(Clone, Debug)]
pub struct StartBlock<T> {
    /// Keys.
    pub keys: T,
    /// Values.
    pub values: T,
}

/// The starts of both states through all blocks.
#[derive(Clone, Debug)]
pub struct Start<T> {
    /// Rows of the normal and of the abnormal state.
    pub rows: [usize; 2],
    /// One per block.
    pub blocks: Vec<StartBlock<T>>,
}

impl<T: Clone> Start<T> {
    /// Computes the starts of both states; for training, where they depend on what is learned. `prompts` gives the
    /// prompt tokens of a state (0, 1) that enter at a block, see [`prompt_rows`].
    pub fn compute<O: Ops<Tensor = T>>(
        ops: &mut O,
        arch: &Architecture,
        states: &[State; 2],
        mut prompts: impl FnMut(&mut O, usize, usize) -> T,
    ) -> Self {
        let mut halves = [Vec::new(), Vec::new()];
        let mut rows = [0; 2];
        for (at, half) in halves.iter_mut().enumerate() {
            let keep = |_: &mut O, keys: &T, values: &T| half.push((keys.clone(), values.clone()));
            rows[at] = prefix(ops, arch, &states[at], |ops, layer| prompts(ops, at, layer), keep);
        }
        let [normal, abnormal] = halves;
        let joined = normal.into_iter().zip(abnormal);
        let blocks = joined.map(|(normal, abnormal)| StartBlock {
            keys: ops.concat_rows(&[normal.0, abnormal.0]),
            values: ops.concat_rows(&[normal.1, abnormal.1]),
        });
        Self { rows, blocks: blocks.collect() }
    }

    /// The starts of a trained model, which are constants.
    pub fn constant<O: Ops<Tensor = T>>(ops: &mut O, arch: &Architecture, prefixes: &[Prefix; 2]) -> Self {
        let rows = [prefixes[0].rows, prefixes[1].rows];
        let mut both = |layer: usize, values: fn(&PrefixBlock) -> &Vec<f32>| {
            let both = prefixes.iter().flat_map(|prefix| values(&prefix.blocks[layer]).iter().copied()).collect();
            ops.constant(rows[0] + rows[1], arch.text_width, both)
        };
        let block = |layer| StartBlock { keys: both(layer, |b| &b.keys), values: both(layer, |b| &b.values) };
        Self { rows, blocks: (0..arch.text_layers).map(block).collect() }
    }
}

fn block_name(layer: usize) -> String {
    format!("transformer.resblocks.{layer}")
}

/// `prompt_proj` of the prompt tokens that enter at block `layer`, `[1, n, Ct]`: every block has its own.
pub fn prompt_rows<O: Ops>(ops: &mut O, arch: &Architecture, layer: usize) -> O::Tensor {
    let n = arch.prompt_tokens;
    let tokens = match layer {
        0 => ops.weight("prompt_embeddings"),
        _ => {
            let all = ops.weight("deep_prompt_embeddings");
            ops.rows(&all, (layer - 1) * n, layer * n)
        }
    };
    ops.linear(&tokens, "prompt_proj.weight", Some("prompt_proj.bias"))
}

/// Embedding rows plus the position embedding from `position` on.
fn embed<O: Ops>(ops: &mut O, rows: &[usize], position: usize) -> O::Tensor {
    let table = ops.weight("token_embedding.rows");
    let parts: Vec<_> = rows.iter().map(|&row| ops.rows(&table, row, row + 1)).collect();
    let tokens = ops.concat_rows(&parts);
    let positions = ops.weight("positional_embedding");
    let positions = ops.rows(&positions, position, position + rows.len());
    ops.add(&tokens, &positions)
}

/// Runs a state's start through the tower and hands each block's keys and values to `keep`. `prompts` gives the prompt
/// tokens that enter at a block, see [`prompt_rows`]; they may be a batch. Returns the number of rows.
pub fn prefix<O: Ops>(
    ops: &mut O,
    arch: &Architecture,
    state: &State,
    mut prompts: impl FnMut(&mut O, usize) -> O::Tensor,
    mut keep: impl FnMut(&mut O, &O::Tensor, &O::Tensor),
) -> usize {
    let n = arch.prompt_tokens;
    let rows = n + state.before.len();
    let causal: Vec<f32> = (0..rows * rows).map(|i| if i % rows > i / rows { MASKED } else { 0.0 }).collect();
    let mask = ops.constant(rows, rows, causal);

    let tokens = prompts(ops, 0);
    let words = embed(ops, &state.before, 0);
    let words = ops.repeat_like(&words, &tokens);
    let start = ops.rows(&words, 0, 1);
    let mut parts = vec![start, tokens];
    if state.before.len() > 1 {
        parts.push(ops.rows(&words, 1, state.before.len()));
    }
    let mut x = ops.concat_rows(&parts);
    for layer in 0..arch.text_layers {
        if layer > 0 {
            let mut parts = vec![ops.rows(&x, 0, 1), prompts(ops, layer)];
            if rows > 1 + n {
                parts.push(ops.rows(&x, 1 + n, rows));
            }
            x = ops.concat_rows(&parts);
        }
        let name = block_name(layer);
        let projected = block::project(ops, &x, &name, arch.text_width);
        keep(ops, &projected.k, &projected.v);
        let attended = ops.attention(&projected.q, &projected.k, &projected.v, arch.text_heads(), Some(&mask));
        x = block::finish(ops, &x, &attended, &name);
    }
    rows
}

/// Which rows may look at which: keys are both prefixes, then both suffixes; a suffix sees its own prefix and, of its
/// own suffix, what does not lie after it.
fn suffix_mask(prefixes: [usize; 2], suffixes: [usize; 2]) -> (usize, usize, Vec<f32>) {
    let rows = suffixes[0] + suffixes[1];
    let columns = prefixes[0] + prefixes[1] + rows;
    let mut mask = vec![MASKED; rows * columns];
    for state in 0..2 {
        let first_prefix = state * prefixes[0];
        let first_row = state * suffixes[0];
        let first_key = prefixes[0] + prefixes[1] + first_row;
        for row in 0..suffixes[state] {
            let line = &mut mask[(first_row + row) * columns..][..columns];
            line[first_prefix..first_prefix + prefixes[state]].fill(0.0);
            line[first_key..=first_key + row].fill(0.0);
        }
    }
    (rows, columns, mask)
}

/// Class vectors `[B, r, Ct]` → text embeddings `[B, 2, Ct]`, normal first, rows of length 1.
pub fn encode<O: Ops>(
    ops: &mut O,
    arch: &Architecture,
    states: &[State; 2],
    start: &Start<O::Tensor>,
    class_vectors: &O::Tensor,
) -> O::Tensor {
    let width = arch.text_width;
    let lengths = [states[0].suffix_len(arch), states[1].suffix_len(arch)];
    let (rows, columns, mask) = suffix_mask(start.rows, lengths);
    let mask = ops.constant(rows, columns, mask);

    let mut parts = Vec::with_capacity(4);
    for state in states {
        let at = state.before.len();
        let positions = ops.weight("positional_embedding");
        let positions = ops.rows(&positions, at, at + arch.class_vectors);
        parts.push(ops.add(class_vectors, &positions));
        let after = embed(ops, &state.after, at + arch.class_vectors);
        parts.push(ops.repeat_like(&after, class_vectors));
    }
    let mut x = ops.concat_rows(&parts);

    for (layer, before) in start.blocks.iter().enumerate() {
        let name = block_name(layer);
        let projected = block::project(ops, &x, &name, width);
        let keys = ops.repeat_like(&before.keys, class_vectors);
        let values = ops.repeat_like(&before.values, class_vectors);
        let keys = ops.concat_rows(&[keys, projected.k]);
        let values = ops.concat_rows(&[values, projected.v]);
        let attended = ops.attention(&projected.q, &keys, &values, arch.text_heads(), Some(&mask));
        x = block::finish(ops, &x, &attended, &name);
    }

    let ends = [ops.rows(&x, lengths[0] - 1, lengths[0]), ops.rows(&x, rows - 1, rows)];
    let ends = ops.concat_rows(&ends);
    let ends = ops.layer_norm(&ends, "prompt_norm", PROMPT_NORM_EPS);
    let ends = ops.layer_norm(&ends, "ln_final", LAYER_NORM_EPS);
    let text = ops.project(&ends, "text_projection");
    ops.l2_normalize(&text)
}

//! The part of VCP-CLIP that a graph engine runs: image in, patch tokens, text embeddings and Pre-VCP logits out.

use super::eager::Eager;
use super::ops::Ops;
use super::text::{self, Prefix, PrefixBlock, Start, State};
pub use super::vision::Vision;
use super::{Architecture, pre_vcp, vision};

/// What the network says about a batch; Post-VCP and the maps continue from here.
pub struct Outputs<T> {
    /// F_ℓ per tapped layer, `[B, N, Cv]`.
    pub tokens: Vec<T>,
    /// Text embeddings, normal then abnormal, `[B, 2, Ct]`, rows of length 1.
    pub text: T,
    /// Pre-VCP logits per tapped layer, `[B, N, 2]`.
    pub raw: Vec<T>,
}

/// Everything about the text side that no image changes.
#[derive(Clone, Debug)]
pub struct TextConstants {
    /// Normal, abnormal.
    pub states: [State; 2],
    /// Keys and values of their constant starts.
    pub prefixes: [Prefix; 2],
    /// `exp(prompt_temp)`.
    pub temperature: f32,
}

impl TextConstants {
    /// Computes the constant starts of both states in float32.
    ///
    /// `tokens` are the ids of each state, start … end; `token_ids` the ids whose embeddings the bundle keeps, in the
    /// order of its rows; `prompt_temp` the learned logarithm of the temperature. `None` when an id has no row.
    pub fn compute(
        eager: &mut Eager,
        arch: &Architecture,
        tokens: [&[u32]; 2],
        token_ids: &[u32],
        prompt_temp: f32,
    ) -> Option<Self> {
        let states = prompt_states(tokens, token_ids)?;
        let prefixes = [0, 1].map(|state| {
            let mut blocks = Vec::with_capacity(arch.text_layers);
            let prompts = |eager: &mut Eager, layer| text::prompt_rows(eager, arch, layer);
            let rows = text::prefix(eager, arch, &states[state], prompts, |_, keys, values| {
                blocks.push(PrefixBlock { keys: Eager::read(keys), values: Eager::read(values) });
            });
            Prefix { rows, blocks }
        });
        Some(Self { states, prefixes, temperature: prompt_temp.exp() })
    }
}

/// The two states' tokens by their rows: `tokens` are the ids of each state, start … end; `token_ids` the ids whose
/// embeddings the bundle keeps, in the order of its rows. `None` when an id has no row.
pub fn prompt_states(tokens: [&[u32]; 2], token_ids: &[u32]) -> Option<[State; 2]> {
    let row_of = |id: u32| token_ids.iter().position(|&kept| kept == id);
    Some([State::new(tokens[0], row_of)?, State::new(tokens[1], row_of)?])
}

/// Runs the network on the images that `ops` holds.
pub fn forward<O: Ops>(ops: &mut O, arch: &Architecture, constants: &TextConstants) -> Outputs<O::Tensor> {
    let vision = vision::encode(ops, arch);
    behind_vision(ops, arch, constants, vision)
}

/// Everything behind the vision tower.
pub fn behind_vision<O: Ops>(
    ops: &mut O,
    arch: &Architecture,
    constants: &TextConstants,
    vision: Vision<O::Tensor>,
) -> Outputs<O::Tensor> {
    let class_vectors = pre_vcp::class_vectors(ops, arch, &vision.feature);
    let start = Start::constant(ops, arch, &constants.prefixes);
    let text = text::encode(ops, arch, &constants.states, &start, &class_vectors);
    let raw = pre_vcp::logits(ops, arch, &vision.tokens, &text, constants.temperature);
    Outputs { tokens: vision.tokens, text, raw }
}

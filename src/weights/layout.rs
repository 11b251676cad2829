//! Which tensors a model has, and their shapes: as a function of its sizes alone.

use crate::vcp_clip::Architecture;
use crate::vcp_clip::pre_vcp::{DIRECT_BIAS, DIRECT_WEIGHT};

/// Prefix of the linear layers of the taps, before the number.
pub(super) const TAP_LAYERS: &str = "trainable_linearlayer.fc.";
/// The prompts of the later blocks: [deep prompts, n, Ct].
pub(super) const DEEP_PROMPTS: &str = "deep_prompt_embeddings";
/// The token rows kept in a bundle: [kept, Ct].
pub(super) const TOKEN_ROWS: &str = "token_embedding.rows";
/// The token table of a CLIP file: [vocabulary, Ct].
pub(super) const TOKEN_TABLE: &str = "token_embedding.weight";
/// The position embedding of the vision tower; its grid differs between CLIP file and bundle.
pub(super) const VISION_POSITIONS: &str = "visual.positional_embedding";

/// Logarithms of the two temperatures, one number each.
pub const TEMPERATURES: [&str; 2] = ["New_Lan_Embed.prompt_temp", "Zero_try.prompt_temp_l1"];

/// A name and a shape.
pub type Named = (String, Vec<usize>);

/// Every tensor of a bundle, as a function of its sizes and the number of token rows kept.
pub fn expected(sizes: &Architecture, token_rows: usize) -> Vec<Named> {
    let mut tensors = clip(sizes, sizes.grid(), TOKEN_ROWS, token_rows);
    tensors.extend(vcp(sizes).into_iter().map(|(name, mut shape)| {
        // A convolution over one position is a linear layer.
        if name.starts_with("Zero_try.") && shape.len() == 3 {
            shape.pop();
        }
        (name, shape)
    }));
    tensors
}

/// Every tensor of a CLIP file under OpenAI's names.
pub fn clip_file(sizes: &Architecture, native_grid: usize, vocabulary: usize) -> Vec<Named> {
    clip(sizes, native_grid, TOKEN_TABLE, vocabulary)
}

fn clip(sizes: &Architecture, grid: usize, tokens: &str, rows: usize) -> Vec<Named> {
    let Architecture { patch, vision_width: vision, text_width: text, .. } = *sizes;
    let mut tensors = Vec::new();
    let mut add = |name: &str, shape: &[usize]| tensors.push((name.to_owned(), shape.to_vec()));
    add("positional_embedding", &[sizes.context_length, text]);
    add("text_projection", &[text, text]);
    add("visual.class_embedding", &[vision]);
    add(VISION_POSITIONS, &[grid * grid + 1, vision]);
    add("visual.proj", &[vision, text]);
    add("visual.conv1.weight", &[vision, 3, patch, patch]);
    for norm in ["visual.ln_pre", "visual.ln_post"] {
        add(&format!("{norm}.weight"), &[vision]);
        add(&format!("{norm}.bias"), &[vision]);
    }
    add(tokens, &[rows, text]);
    add("ln_final.weight", &[text]);
    add("ln_final.bias", &[text]);
    for block in 0..sizes.vision_layers {
        tensors.extend(transformer_block(&format!("visual.transformer.resblocks.{block}"), vision));
    }
    for block in 0..sizes.text_layers {
        tensors.extend(transformer_block(&format!("transformer.resblocks.{block}"), text));
    }
    tensors
}

fn transformer_block(prefix: &str, width: usize) -> Vec<Named> {
    let shapes: [(&str, &[usize]); 12] = [
        ("attn.in_proj_weight", &[3 * width, width]),
        ("attn.in_proj_bias", &[3 * width]),
        ("attn.out_proj.weight", &[width, width]),
        ("attn.out_proj.bias", &[width]),
        ("ln_1.weight", &[width]),
        ("ln_1.bias", &[width]),
        ("mlp.c_fc.weight", &[4 * width, width]),
        ("mlp.c_fc.bias", &[4 * width]),
        ("mlp.c_proj.weight", &[width, 4 * width]),
        ("mlp.c_proj.bias", &[width]),
        ("ln_2.weight", &[width]),
        ("ln_2.bias", &[width]),
    ];
    shapes.iter().map(|(name, shape)| (format!("{prefix}.{name}"), shape.to_vec())).collect()
}

/// Every tensor of a VCP-CLIP file that the model uses, under its flattened name; of VCP-CLIP+ as `plus` folds them.
pub fn vcp(sizes: &Architecture) -> Vec<Named> {
    let Architecture { vision_width: vision, text_width: text, class_vectors: r, prompt_tokens: n, .. } = *sizes;
    let mut tensors = Vec::new();
    let mut add = |name: &str, shape: &[usize]| tensors.push((name.to_owned(), shape.to_vec()));
    for tap in 0..sizes.taps.len() {
        add(&format!("{TAP_LAYERS}{tap}.weight"), &[text, vision]);
        add(&format!("{TAP_LAYERS}{tap}.bias"), &[text]);
    }
    add("New_Lan_Embed.prompt_temp", &[]);
    if sizes.direct_prompts {
        add(DIRECT_WEIGHT, &[text, text]);
        add(DIRECT_BIAS, &[text]);
    } else {
        add("New_Lan_Embed.prompt_query", &[1, r, text]);
        add("New_Lan_Embed.prompt_linear1.fc.weight", &[r, 1, 3]);
        add("New_Lan_Embed.prompt_linear1.fc.bias", &[r]);
    }
    add("Zero_try.prompt_temp_l1", &[]);
    add("Zero_try.q_proj_pre.weight", &[vision, text, 1]);
    add("Zero_try.q_proj_pre.bias", &[vision]);
    for layer in ["k_proj_pre_1", "v_proj_pre_1", "proj_post_t"] {
        add(&format!("Zero_try.{layer}.weight"), &[vision, vision, 1]);
        add(&format!("Zero_try.{layer}.bias"), &[vision]);
    }
    add("prompt_embeddings", &[1, n, text]);
    add(DEEP_PROMPTS, &[sizes.deep_prompts, n, text]);
    add("prompt_proj.weight", &[text, text]);
    add("prompt_proj.bias", &[text]);
    add("prompt_norm.weight", &[text]);
    add("prompt_norm.bias", &[text]);
    tensors
}

/// Does a tensor of a bundle come from the VCP-CLIP file?
pub(super) fn is_vcp(name: &str) -> bool {
    ["trainable_linearlayer.", "New_Lan_Embed.", "Zero_try.", "prompt_", "deep_prompt_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// Is this the name of a tensor of CLIP under OpenAI's names? Some save it all beside what they trained.
pub(super) fn is_clip(name: &str) -> bool {
    ["visual.", "transformer.", "token_embedding.", "ln_final."].iter().any(|prefix| name.starts_with(prefix))
        || matches!(
            name,
            "positional_embedding" | "text_projection" | "input_resolution" | "context_length" | "vocab_size"
        )
}

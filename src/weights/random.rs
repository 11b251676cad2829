//! Weights made from a seed, for the demo until a trained model ships and for tests.
//!
//! Value i of a tensor is a uniform number from splitmix64, seeded by FNV-1a of the tensor's name and the seed, so any
//! program can make the same numbers.

use std::path::Path;

use half::f16;

use super::bundle::{Bundle, Draft, write};
use super::error::ImportError;
use super::import::prompts;
use super::layout;
use super::sizes::check_sizes;
use crate::vcp_clip::{Architecture, Constants, HEAD_WIDTH};

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;
/// Half the width of a uniform distribution whose standard deviation is one.
const UNIT: f64 = 1.732_050_807_568_877_2;
/// Initial logit scale of CLIP, 1 / 0.07, of which temperatures are the logarithm.
const LOGIT_SCALE: f64 = 1.0 / 0.07;

/// Writes a bundle of seeded random weights, called `random-demo`. It detects nothing; it only runs.
pub fn random(out: &Path, architecture: &Architecture, seed: u64) -> Result<Bundle, ImportError> {
    check_sizes(architecture).map_err(ImportError::Sizes)?;
    let draft = Draft {
        name: "random-demo".to_owned(),
        architecture: architecture.clone(),
        constants: Constants::default(),
        prompts: prompts()?,
        sources: Vec::new(),
        licence_note: "Random numbers made by vcp-line; free of anybody's rights.".to_owned(),
    };
    write(out, false, draft, &mut |name, shape| {
        let count = shape.iter().product();
        let mut values = uniform(&format!("random/{name}"), count, spread(name, architecture), seed);
        if !layout::is_vcp(name) {
            round_to_f16(&mut values);
        }
        Ok(values)
    })
}

/// `count` values of a tensor: uniform in `centre` ± `reach`.
pub fn uniform(name: &str, count: usize, (reach, centre): (f64, f64), seed: u64) -> Vec<f32> {
    let start = fnv1a(name) ^ seed.wrapping_mul(GAMMA);
    (1..=count as u64)
        .map(|i| {
            let mut z = start.wrapping_add(i.wrapping_mul(GAMMA));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            let unit = (z >> 40) as f64 / f64::from(1 << 24);
            ((2.0 * unit - 1.0) * reach + centre) as f32
        })
        .collect()
}

/// Rounds as CLIP's published weights are.
pub fn round_to_f16(values: &mut [f32]) {
    values.iter_mut().for_each(|value| *value = f16::from_f32(*value).to_f32());
}

fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// Reach and centre of a tensor's values, by its OpenAI or flattened name. Chosen so that the features of a random
/// model stay apart: attention is sharp, residual branches are small.
pub fn spread(name: &str, sizes: &Architecture) -> (f64, f64) {
    let vision = sizes.vision_width as f64;
    let text = sizes.text_width as f64;
    let by_width = |gain: f64, width: f64| (gain / width.sqrt() * UNIT, 0.0);
    if let Some((tower, rest)) = name.split_once("resblocks.") {
        let (_, rest) = rest.split_once('.').unwrap_or(("", rest));
        let is_vision = tower.starts_with("visual.");
        let width = if is_vision { vision } else { text };
        let [qkv, out, mlp, bias] = if is_vision { [2.0, 0.25, 0.4, 0.03] } else { [1.5, 0.7, 0.8, 0.1] };
        return match rest {
            "attn.in_proj_weight" => by_width(qkv, width),
            "attn.out_proj.weight" => by_width(out, width),
            "mlp.c_fc.weight" => by_width(1.0, width),
            "mlp.c_proj.weight" => by_width(mlp, 4.0 * width),
            "attn.out_proj.bias" | "mlp.c_proj.bias" => (bias * UNIT, 0.0),
            "ln_1.weight" | "ln_2.weight" => (0.5, 1.0),
            "ln_1.bias" | "ln_2.bias" => (0.2, 0.0),
            _ => (0.2 * UNIT, 0.0),
        };
    }
    let temperature = |width: f64| LOGIT_SCALE.ln() + 0.4 + 0.5 * (width / HEAD_WIDTH as f64).ln();
    // Post-VCP scores have a standard deviation of about five.
    let query = (5.0 / (vision / sizes.post_heads as f64).sqrt()).sqrt() * UNIT;
    match name {
        "positional_embedding" => (0.2 * UNIT, 0.0),
        "text_projection" | "prompt_text_projection" => by_width(1.0, text),
        "logit_scale" => (0.0, LOGIT_SCALE.ln()),
        "visual.class_embedding" | "token_embedding.weight" | "token_embedding.rows" => (0.5 * UNIT, 0.0),
        "visual.positional_embedding" => (0.3 * UNIT, 0.0),
        "visual.proj" => by_width(1.0, vision),
        "visual.conv1.weight" => by_width(4.0, (3 * sizes.patch * sizes.patch) as f64),
        "visual.ln_pre.bias" | "visual.ln_post.bias" | "ln_final.bias" | "prompt_norm.bias" => (0.3, 0.0),
        "visual.ln_pre.weight" | "visual.ln_post.weight" | "ln_final.weight" | "prompt_norm.weight" => (0.5, 1.0),
        "New_Lan_Embed.prompt_query" => (0.5 * UNIT, 0.0),
        "New_Lan_Embed.prompt_temp" => (0.2, temperature(text)),
        "Zero_try.prompt_temp_l1" => (0.2, temperature(vision)),
        "New_Lan_Embed.prompt_linear1.fc.weight" => (0.6, 0.1),
        "Zero_try.q_proj_pre.weight" | "Zero_try.k_proj_pre_1.weight" => (query, 0.0),
        "Zero_try.v_proj_pre_1.weight" => (UNIT, 0.0),
        "Zero_try.proj_post_t.weight" => by_width(1.0, vision),
        "Zero_try.v_proj_pre_1.bias" | "Zero_try.proj_post_t.bias" => (0.1, 0.0),
        "prompt_embeddings" | "deep_prompt_embeddings" => (1.0, 0.0),
        "prompt_proj.weight" => ((2.0 / text).sqrt() * UNIT, 0.0),
        _ if name.starts_with(layout::TAP_LAYERS) && name.ends_with(".weight") => by_width(1.0, vision),
        _ if name.starts_with(layout::TAP_LAYERS) => (0.2 * UNIT, 0.0),
        _ => (0.2, 0.0),
    }
}

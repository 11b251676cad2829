//! Seeded weight files of any size: what OpenAI, Hugging Face and the authors of VCP-CLIP would publish.
#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};
use vcp_line::vcp_clip::Architecture;
use vcp_line::weights::layout;
use vcp_line::weights::random::{round_to_f16, spread, uniform};

/// Seed of the golden numbers.
pub const SEED: u64 = 333;

/// Name → shape and values.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The small model of the golden numbers; its native grid is 6.
pub fn tiny() -> Architecture {
    Architecture {
        image_size: 98,
        patch: 14,
        vision_width: 64,
        vision_layers: 12,
        text_width: 64,
        text_layers: 4,
        context_length: 77,
        class_vectors: 2,
        prompt_tokens: 1,
        deep_prompts: 3,
        taps: vec![3, 6, 9, 12],
        post_heads: 8,
        direct_prompts: false,
    }
}

/// CLIP under OpenAI's names, as `tag` of the formula.
pub fn clip(tag: &str, sizes: &Architecture, native_grid: usize) -> Tensors {
    let native = Architecture { image_size: native_grid * sizes.patch, ..sizes.clone() };
    let mut shapes: Vec<(String, Vec<usize>)> =
        layout::expected(&native, 49408).into_iter().filter(|(name, _)| !is_vcp(name)).collect();
    for (name, _) in &mut shapes {
        if name == "token_embedding.rows" {
            *name = "token_embedding.weight".to_owned();
        }
    }
    shapes.push(("logit_scale".to_owned(), Vec::new()));
    let make = |(name, shape): (String, Vec<usize>)| {
        let count = shape.iter().product();
        let mut values = uniform(&format!("{tag}/clip/{name}"), count, spread(&name, sizes), SEED);
        round_to_f16(&mut values);
        (name, (shape, values))
    };
    shapes.into_iter().map(make).collect()
}

/// VCP-CLIP under its flattened names.
pub fn vcp(tag: &str, sizes: &Architecture) -> Tensors {
    let mut shapes: Vec<(String, Vec<usize>)> =
        layout::expected(sizes, 1).into_iter().filter(|(name, _)| is_vcp(name)).collect();
    shapes.push(("prompt_text_projection".to_owned(), vec![sizes.text_width, sizes.text_width]));
    let make = |(name, mut shape): (String, Vec<usize>)| {
        if name.starts_with("Zero_try.") && shape.len() == 2 {
            shape.push(1);
        }
        let values = uniform(&format!("{tag}/vcp/{name}"), shape.iter().product(), spread(&name, sizes), SEED);
        (name, (shape, values))
    };
    shapes.into_iter().map(make).collect()
}

fn is_vcp(name: &str) -> bool {
    ["trainable_linearlayer.", "New_Lan_Embed.", "Zero_try.", "prompt_", "deep_prompt_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// The same CLIP under Hugging Face's names.
pub fn hugging_face(open_ai: &Tensors) -> Tensors {
    let mut out = Tensors::new();
    for (name, (shape, values)) in open_ai {
        let plain = |new: &str| (new.to_owned(), (shape.clone(), values.clone()));
        let new = match name.as_str() {
            "positional_embedding" => plain("text_model.embeddings.position_embedding.weight"),
            "token_embedding.weight" => plain("text_model.embeddings.token_embedding.weight"),
            "visual.class_embedding" => plain("vision_model.embeddings.class_embedding"),
            "visual.conv1.weight" => plain("vision_model.embeddings.patch_embedding.weight"),
            "visual.positional_embedding" => plain("vision_model.embeddings.position_embedding.weight"),
            "text_projection" | "visual.proj" => {
                let (rows, columns) = (shape[0], shape[1]);
                let turned = (0..columns).flat_map(|c| (0..rows).map(move |r| values[r * columns + c])).collect();
                let new = if name == "visual.proj" { "visual_projection.weight" } else { "text_projection.weight" };
                (new.to_owned(), (vec![columns, rows], turned))
            }
            _ if name.contains(".attn.in_proj_") => {
                let (block, kind) = name.split_once(".attn.in_proj_").unwrap();
                let mut part = shape.clone();
                part[0] /= 3;
                for (letter, values) in ["q", "k", "v"].iter().zip(values.chunks_exact(values.len() / 3)) {
                    let new = format!("{}.self_attn.{letter}_proj.{kind}", their_block(block));
                    out.insert(new, (part.clone(), values.to_vec()));
                }
                continue;
            }
            _ => plain(
                &their_block(name)
                    .replace(".attn.out_proj", ".self_attn.out_proj")
                    .replace(".ln_1.", ".layer_norm1.")
                    .replace(".ln_2.", ".layer_norm2.")
                    .replace("c_fc", "fc1")
                    .replace("c_proj", "fc2")
                    .replace("visual.ln_pre", "vision_model.pre_layrnorm")
                    .replace("visual.ln_post", "vision_model.post_layernorm")
                    .replace("ln_final", "text_model.final_layer_norm"),
            ),
        };
        out.insert(new.0, new.1);
    }
    out
}

fn their_block(name: &str) -> String {
    if let Some(rest) = name.strip_prefix("visual.transformer.resblocks.") {
        return format!("vision_model.encoder.layers.{rest}");
    }
    match name.strip_prefix("transformer.resblocks.") {
        Some(rest) => format!("text_model.encoder.layers.{rest}"),
        None => name.to_owned(),
    }
}

/// How a safetensors file stores its numbers.
#[derive(Clone, Copy)]
pub enum Store {
    F16,
    F32,
    F64,
}

/// Writes tensors as safetensors, with Hugging Face's integer tensors if asked for.
pub fn write(path: &Path, tensors: &Tensors, store: Store, position_ids: bool) -> PathBuf {
    let mut data: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for (name, (shape, values)) in tensors {
        let (dtype, bytes) = match store {
            Store::F16 => (Dtype::F16, values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect()),
            Store::F32 => (Dtype::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
            Store::F64 => (Dtype::F64, values.iter().flat_map(|v| f64::from(*v).to_le_bytes()).collect()),
        };
        data.push((name.clone(), dtype, shape.clone(), bytes));
    }
    if position_ids {
        let ids: Vec<u8> = (0..77i64).flat_map(i64::to_le_bytes).collect();
        data.push(("text_model.embeddings.position_ids".to_owned(), Dtype::I64, vec![1, 77], ids));
    }
    let views =
        data.iter().map(|(name, dtype, shape, bytes)| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    safetensors::serialize_to_file(views, None, path).unwrap();
    path.to_owned()
}

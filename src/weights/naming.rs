//! What CLIP's tensors are called: OpenAI's names are ours, Hugging Face's are translated.

use super::container::Container;

/// Whose names a CLIP file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    OpenAi,
    HuggingFace,
}

/// Where a tensor's numbers come from: one tensor, or equal parts one after the other.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) parts: Vec<String>,
    /// Two-dimensional and stored the other way round.
    pub(super) transposed: bool,
}

impl Origin {
    fn one(name: impl Into<String>) -> Self {
        Self { parts: vec![name.into()], transposed: false }
    }

    /// The shape of each part when the whole has `shape`.
    pub(super) fn part_shape(&self, shape: &[usize]) -> Vec<usize> {
        let mut shape = shape.to_vec();
        if self.transposed {
            shape.reverse();
        }
        if let Some(first) = shape.first_mut() {
            *first /= self.parts.len();
        }
        shape
    }
}

impl Naming {
    /// By the names in the file.
    pub(super) fn of(file: &Container) -> Self {
        let theirs = |name: &&str| name.starts_with("vision_model.") || name.starts_with("text_model.");
        if file.names().iter().any(theirs) { Self::HuggingFace } else { Self::OpenAi }
    }

    /// In words.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::OpenAi => "OpenAI names",
            Self::HuggingFace => "Hugging Face names",
        }
    }

    /// Prefix of the vision tower's blocks, before the number.
    pub(super) fn vision_blocks(self) -> &'static str {
        match self {
            Self::OpenAi => "visual.transformer.resblocks.",
            Self::HuggingFace => "vision_model.encoder.layers.",
        }
    }

    /// Prefix of the text tower's blocks, before the number.
    pub(super) fn text_blocks(self) -> &'static str {
        match self {
            Self::OpenAi => "transformer.resblocks.",
            Self::HuggingFace => "text_model.encoder.layers.",
        }
    }

    /// Is this a tensor that CLIP files have and this model never uses?
    pub(super) fn is_unused(self, name: &str) -> bool {
        match self {
            Self::OpenAi => {
                matches!(name, "logit_scale" | "input_resolution" | "context_length" | "vocab_size")
                    // A traced module keeps the text mask as an attribute of its blocks.
                    || name == "attn_mask"
                    || name.ends_with(".attn_mask")
            }
            Self::HuggingFace => name == "logit_scale" || name.ends_with(".embeddings.position_ids"),
        }
    }

    /// Where the tensor of an OpenAI name comes from.
    pub(super) fn origin(self, name: &str) -> Origin {
        match self {
            Self::OpenAi => Origin::one(name),
            Self::HuggingFace => hugging_face(name),
        }
    }
}

fn hugging_face(name: &str) -> Origin {
    let fixed = match name {
        "positional_embedding" => Some("text_model.embeddings.position_embedding.weight"),
        "token_embedding.weight" => Some("text_model.embeddings.token_embedding.weight"),
        "ln_final.weight" => Some("text_model.final_layer_norm.weight"),
        "ln_final.bias" => Some("text_model.final_layer_norm.bias"),
        "visual.class_embedding" => Some("vision_model.embeddings.class_embedding"),
        "visual.conv1.weight" => Some("vision_model.embeddings.patch_embedding.weight"),
        "visual.positional_embedding" => Some("vision_model.embeddings.position_embedding.weight"),
        // Their spelling.
        "visual.ln_pre.weight" => Some("vision_model.pre_layrnorm.weight"),
        "visual.ln_pre.bias" => Some("vision_model.pre_layrnorm.bias"),
        "visual.ln_post.weight" => Some("vision_model.post_layernorm.weight"),
        "visual.ln_post.bias" => Some("vision_model.post_layernorm.bias"),
        _ => None,
    };
    if let Some(fixed) = fixed {
        return Origin::one(fixed);
    }
    match name {
        "text_projection" => return Origin { parts: vec!["text_projection.weight".to_owned()], transposed: true },
        "visual.proj" => return Origin { parts: vec!["visual_projection.weight".to_owned()], transposed: true },
        _ => {}
    }
    let (tower, rest) = match name.strip_prefix(Naming::OpenAi.vision_blocks()) {
        Some(rest) => (Naming::HuggingFace.vision_blocks(), rest),
        None => match name.strip_prefix(Naming::OpenAi.text_blocks()) {
            Some(rest) => (Naming::HuggingFace.text_blocks(), rest),
            None => return Origin::one(name),
        },
    };
    let (number, rest) = rest.split_once('.').unwrap_or((rest, ""));
    let block = format!("{tower}{number}");
    match rest {
        "attn.in_proj_weight" | "attn.in_proj_bias" => {
            let kind = rest.trim_start_matches("attn.in_proj_");
            let part = |letter| format!("{block}.self_attn.{letter}_proj.{kind}");
            Origin { parts: vec![part('q'), part('k'), part('v')], transposed: false }
        }
        _ => {
            let (module, kind) = rest.rsplit_once('.').unwrap_or((rest, ""));
            let module = match module {
                "attn.out_proj" => "self_attn.out_proj",
                "ln_1" => "layer_norm1",
                "ln_2" => "layer_norm2",
                "mlp.c_fc" => "mlp.fc1",
                "mlp.c_proj" => "mlp.fc2",
                other => other,
            };
            Origin::one(format!("{block}.{module}.{kind}"))
        }
    }
}

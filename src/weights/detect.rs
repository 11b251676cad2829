//! Sizes of a model, read from its tensors.

use std::collections::BTreeMap;

use super::bundle::Prompt;
use super::container::Container;
use super::error::ImportError;
use super::layout::{DEEP_PROMPTS, TAP_LAYERS, TOKEN_TABLE, VISION_POSITIONS};
use super::naming::Naming;
use crate::vcp_clip::{Architecture, HEAD_WIDTH};

/// Blocks a tower may have; a larger number in a name is a surplus tensor.
const MAX_BLOCKS: usize = 1000;
/// Pixels along one side; the position embedding grows with its square.
const MAX_IMAGE_SIZE: usize = 8192;
/// Channels of a tower, positions of a text, and whatever else counts vectors.
const MAX_WIDTH: usize = 1 << 16;
/// Rows of CLIP's token table.
pub(super) const VOCABULARY: usize = 49408;

/// What the user decides about the sizes.
pub(super) struct Wanted<'a> {
    pub(super) image_size: usize,
    pub(super) taps: Option<&'a [usize]>,
    pub(super) post_heads: usize,
}

/// All sizes of a pair of files.
pub(super) struct Detected {
    pub(super) sizes: Architecture,
    /// Patches along one side at the size CLIP was trained with.
    pub(super) native_grid: usize,
    /// Rows of the token table.
    pub(super) vocabulary: usize,
}

struct Files<'a> {
    clip: &'a Container,
    naming: Naming,
    vcp: &'a Container,
}

impl Files<'_> {
    /// Shape of a CLIP tensor by its OpenAI name, as OpenAI would store it.
    fn clip(&self, name: &str) -> Option<Vec<usize>> {
        let origin = self.naming.origin(name);
        let mut shape = self.clip.shape(origin.parts.first()?)?.to_vec();
        if origin.transposed {
            shape.reverse();
        }
        Some(shape)
    }

    fn vcp(&self, name: &str) -> Option<Vec<usize>> {
        self.vcp.shape(name).map(<[usize]>::to_vec)
    }

    fn clip_name(&self, name: &str) -> String {
        self.naming.origin(name).parts.concat()
    }

    fn missing_clip(&self, name: &str, expected: &str) -> ImportError {
        ImportError::Missing {
            path: self.clip.path.clone(),
            tensor: self.clip_name(name),
            expected: expected.to_owned(),
        }
    }

    fn missing_vcp(&self, name: &str, expected: &str) -> ImportError {
        ImportError::Missing { path: self.vcp.path.clone(), tensor: name.to_owned(), expected: expected.to_owned() }
    }

    fn wrong_clip(&self, name: &str, expected: String, found: Vec<usize>) -> ImportError {
        ImportError::Shape { path: self.clip.path.clone(), tensor: self.clip_name(name), expected, found }
    }

    fn wrong_vcp(&self, name: &str, expected: String, found: Vec<usize>) -> ImportError {
        ImportError::Shape { path: self.vcp.path.clone(), tensor: name.to_owned(), expected, found }
    }
}

/// Reads the sizes. Where several tensors tell one size, the majority counts, so that a single misshapen tensor is the
/// one that the later check of every shape names.
pub(super) fn detect(
    clip: &Container,
    naming: Naming,
    vcp: &Container,
    wanted: &Wanted<'_>,
) -> Result<Detected, ImportError> {
    let files = Files { clip, naming, vcp };
    let clip_size = |name: &str, axis: usize| files.clip(name).and_then(|shape| shape.get(axis).copied());
    let vcp_size = |name: &str, axis: usize| files.vcp(name).and_then(|shape| shape.get(axis).copied());

    let vision_width = agreed(&[
        clip_size("visual.conv1.weight", 0),
        clip_size("visual.class_embedding", 0),
        clip_size(VISION_POSITIONS, 1),
        clip_size("visual.ln_pre.weight", 0),
        clip_size("visual.ln_post.weight", 0),
    ])
    .ok_or_else(|| files.missing_clip("visual.conv1.weight", "[Cv, 3, P, P]"))?;
    let text_width = agreed(&[
        clip_size("positional_embedding", 1),
        clip_size("text_projection", 0),
        clip_size(TOKEN_TABLE, 1),
        clip_size("ln_final.weight", 0),
        clip_size("ln_final.bias", 0),
    ])
    .ok_or_else(|| files.missing_clip("positional_embedding", "[77, Ct]"))?;

    let conv = files
        .clip("visual.conv1.weight")
        .ok_or_else(|| files.missing_clip("visual.conv1.weight", &format!("[{vision_width}, 3, P, P]")))?;
    let patch = match conv[..] {
        [width, 3, p, q] if width == vision_width && p == q && p > 0 => p,
        _ => return Err(files.wrong_clip("visual.conv1.weight", format!("[{vision_width}, 3, P, P]"), conv)),
    };
    let positions = files
        .clip(VISION_POSITIONS)
        .ok_or_else(|| files.missing_clip(VISION_POSITIONS, &format!("[G·G + 1, {vision_width}]")))?;
    let native_grid = match positions[..] {
        [rows, width] if width == vision_width && rows > 1 => Some((rows - 1).isqrt()).filter(|g| g * g + 1 == rows),
        _ => None,
    };
    let native_grid = native_grid.ok_or_else(|| {
        files.wrong_clip(VISION_POSITIONS, format!("[G·G + 1, {vision_width}] for a square grid"), positions)
    })?;
    let context_length = clip_size("positional_embedding", 0)
        .ok_or_else(|| files.missing_clip("positional_embedding", &format!("[77, {text_width}]")))?;
    let vocabulary = clip_size(TOKEN_TABLE, 0)
        .ok_or_else(|| files.missing_clip(TOKEN_TABLE, &format!("[{VOCABULARY}, {text_width}]")))?;
    if vocabulary < VOCABULARY {
        let found = files.clip(TOKEN_TABLE).unwrap_or_default();
        return Err(files.wrong_clip(TOKEN_TABLE, format!("[{VOCABULARY}, {text_width}]"), found));
    }
    let embedding = agreed(&[clip_size("text_projection", 1), clip_size("visual.proj", 1)]);
    let vcp_width = agreed(&[vcp_size("New_Lan_Embed.prompt_query", 2), vcp_size("prompt_norm.weight", 0)]);
    // One of two that differs is misshapen; if none says the text width, the model is another one.
    if let Some(embedding) = embedding.filter(|&embedding| {
        embedding != text_width
            && clip_size("text_projection", 1) == Some(embedding)
            && clip_size("visual.proj", 1) == Some(embedding)
    }) {
        return Err(ImportError::Sizes(format!(
            "{}: the joint embedding has {embedding} channels and the text tower {text_width}; VCP-CLIP needs them equal",
            clip.path.display()
        )));
    }
    if let Some(other) =
        vcp_width.filter(|&width| width != text_width && vcp_size("prompt_norm.bias", 0) == Some(width))
    {
        return Err(ImportError::Sizes(format!(
            "{} was trained with a text tower of {other} channels, {} has {text_width}; take the CLIP it was trained with",
            vcp.path.display(),
            clip.path.display()
        )));
    }

    let class_vectors = agreed(&[
        vcp_size("New_Lan_Embed.prompt_query", 1),
        vcp_size("New_Lan_Embed.prompt_linear1.fc.weight", 0),
        vcp_size("New_Lan_Embed.prompt_linear1.fc.bias", 0),
    ])
    .ok_or_else(|| files.missing_vcp("New_Lan_Embed.prompt_query", &format!("[1, r, {text_width}]")))?;
    let prompt_tokens = vcp_size("prompt_embeddings", 1)
        .ok_or_else(|| files.missing_vcp("prompt_embeddings", &format!("[1, n, {text_width}]")))?;
    let deep = files
        .vcp(DEEP_PROMPTS)
        .ok_or_else(|| files.missing_vcp(DEEP_PROMPTS, &format!("[D, {prompt_tokens}, {text_width}]")))?;
    let deep_rows = match deep[..] {
        [rows, n, width] if n == prompt_tokens && width == text_width => rows,
        _ => return Err(files.wrong_vcp(DEEP_PROMPTS, format!("[D, {prompt_tokens}, {text_width}]"), deep)),
    };

    let vision_layers = count(clip, naming.vision_blocks());
    let text_layers = count(clip, naming.text_blocks());
    for (layers, name, width) in [
        (vision_layers, "visual.transformer.resblocks.0.ln_1.weight", vision_width),
        (text_layers, "transformer.resblocks.0.ln_1.weight", text_width),
    ] {
        if layers == 0 {
            return Err(files.missing_clip(name, &format!("[{width}]")));
        }
    }
    let layers = count(vcp, TAP_LAYERS);
    if layers == 0 {
        let shape = format!("[{text_width}, {vision_width}]");
        return Err(files.missing_vcp(&format!("{TAP_LAYERS}0.weight"), &shape));
    }
    let sizes = Architecture {
        image_size: wanted.image_size,
        patch,
        vision_width,
        vision_layers,
        text_width,
        text_layers,
        context_length,
        class_vectors,
        prompt_tokens,
        deep_prompts: deep_rows,
        taps: taps(wanted.taps, layers, vision_layers).map_err(ImportError::Sizes)?,
        post_heads: wanted.post_heads,
    };
    check_sizes(&sizes).map_err(ImportError::Sizes)?;
    Ok(Detected { sizes, native_grid, vocabulary })
}

/// The value most tensors agree on; the first one listed of those that are equally frequent.
fn agreed(votes: &[Option<usize>]) -> Option<usize> {
    let times = |value: usize| votes.iter().filter(|vote| **vote == Some(value)).count();
    votes.iter().flatten().copied().rev().max_by_key(|&value| times(value))
}

/// One more than the largest number that follows `prefix` in a name.
pub(super) fn count(file: &Container, prefix: &str) -> usize {
    let numbers: BTreeMap<usize, ()> = file
        .names()
        .iter()
        .filter_map(|name| name.strip_prefix(prefix)?.split('.').next()?.parse().ok())
        .filter(|&number: &usize| number < MAX_BLOCKS)
        .map(|number| (number, ()))
        .collect();
    numbers.last_key_value().map_or(0, |(last, ())| last + 1)
}

fn taps(wanted: Option<&[usize]>, layers: usize, blocks: usize) -> Result<Vec<usize>, String> {
    match wanted {
        Some(taps) if taps.len() != layers => Err(format!(
            "{} taps were given and the VCP-CLIP file has {layers} linear layers; give one tap for each with --taps",
            taps.len()
        )),
        Some(taps) => Ok(taps.to_vec()),
        None if blocks.is_multiple_of(layers) => Ok((1..=layers).map(|tap| blocks / layers * tap).collect()),
        None => Err(format!(
            "{layers} taps cannot be spread evenly over {blocks} vision blocks; say with --taps which blocks were used"
        )),
    }
}

/// What must hold between the sizes of any model.
pub fn check_sizes(sizes: &Architecture) -> Result<(), String> {
    let fail = |text: String| Err(text);
    let towers = [("vision", sizes.vision_width, sizes.vision_layers), ("text", sizes.text_width, sizes.text_layers)];
    for (tower, width, layers) in towers {
        if !(1..=MAX_BLOCKS).contains(&layers) {
            return fail(format!("the {tower} tower has {layers} blocks, not 1 to {MAX_BLOCKS}"));
        }
        if width > MAX_WIDTH {
            return fail(format!("the {tower} tower has {width} channels, more than {MAX_WIDTH}"));
        }
        let heads = width / HEAD_WIDTH;
        if heads == 0 || !width.is_multiple_of(heads) {
            return fail(format!("the {tower} tower has {width} channels, which {heads} heads cannot share"));
        }
    }
    let (size, patch) = (sizes.image_size, sizes.patch);
    if patch == 0 || size == 0 || !size.is_multiple_of(patch) {
        return fail(format!("image size {size} is no multiple of the patch size {patch}; give another --image-size"));
    }
    if size > MAX_IMAGE_SIZE {
        return fail(format!("image size {size} is above {MAX_IMAGE_SIZE}; give a smaller --image-size"));
    }
    if sizes.context_length > MAX_WIDTH {
        return fail(format!("a text of {} positions is longer than {MAX_WIDTH}", sizes.context_length));
    }
    if sizes.post_heads == 0 || !sizes.vision_width.is_multiple_of(sizes.post_heads) {
        return fail(format!(
            "{} Post-VCP heads do not divide the vision tower's {} channels",
            sizes.post_heads, sizes.vision_width
        ));
    }
    if sizes.class_vectors == 0 || sizes.prompt_tokens == 0 {
        return fail("the model has no class vectors or no prompt tokens".to_owned());
    }
    if sizes.taps.is_empty() || !sizes.taps.is_sorted_by(|a, b| a < b) {
        return fail(format!("taps {:?} are not in ascending order", sizes.taps));
    }
    if sizes.taps.iter().any(|&tap| tap == 0 || tap > sizes.vision_layers) {
        return fail(format!("taps {:?} are not all within blocks 1 to {}", sizes.taps, sizes.vision_layers));
    }
    if sizes.text_layers < 2 || sizes.deep_prompts != sizes.text_layers - 1 {
        return fail(format!(
            "the VCP-CLIP file has prompts for {} later text blocks and the text tower has {} blocks; every block but \
             the first needs its own: take the CLIP it was trained with",
            sizes.deep_prompts, sizes.text_layers
        ));
    }
    Ok(())
}

/// Does a prompt, with the class vectors and the prompt tokens in it, fit into the text tower?
pub(super) fn check_prompt(sizes: &Architecture, prompt: &Prompt) -> Result<(), String> {
    let (tokens, r, n) = (prompt.tokens.len(), sizes.class_vectors, sizes.prompt_tokens);
    // The class vectors stand in the place of one token.
    let needed = tokens.saturating_add(r).saturating_sub(1).saturating_add(n);
    if needed > sizes.context_length {
        return Err(format!(
            "prompt '{}' is {tokens} tokens long; with {r} class vectors and {n} prompt tokens it takes {needed} \
             positions, and the text tower has {}",
            prompt.template, sizes.context_length
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_no_model_has_are_refused() {
        let good = Architecture {
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
        };
        assert_eq!(check_sizes(&good), Ok(()));
        for (bad, said) in [
            (Architecture { vision_layers: usize::MAX, ..good.clone() }, "the vision tower has"),
            (Architecture { text_layers: 0, ..good.clone() }, "the text tower has 0 blocks, not 1 to 1000"),
            (Architecture { text_width: 1 << 40, ..good.clone() }, "the text tower has 1099511627776 channels"),
            (Architecture { deep_prompts: 4, ..good.clone() }, "the VCP-CLIP file has prompts for 4 later text blocks"),
            (Architecture { context_length: 1 << 40, ..good.clone() }, "a text of 1099511627776 positions is longer"),
        ] {
            let reason = check_sizes(&bad).unwrap_err();
            assert!(reason.starts_with(said), "{reason}");
        }
    }
}

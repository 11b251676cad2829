//! What must hold between the sizes of any model, whoever claims them.

use crate::vcp_clip::{Architecture, HEAD_WIDTH};

/// Blocks a tower may have; a larger number in a name is a surplus tensor.
pub(super) const MAX_BLOCKS: usize = 1000;
/// Pixels along one side; the position embedding grows with its square.
const MAX_IMAGE_SIZE: usize = 8192;
/// Channels of a tower, positions of a text, and whatever else counts vectors.
const MAX_WIDTH: usize = 1 << 16;

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
            direct_prompts: false,
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

//! Sizes of a model, read from its tensors.

use super::container::Container;
use super::error::ImportError;
use super::layout::{DEEP_PROMPTS, TAP_LAYERS, TOKEN_TABLE, VISION_POSITIONS};
use super::naming::Naming;
use super::plus;
use super::sizes::{MAX_BLOCKS, check_sizes};
use crate::vcp_clip::Architecture;

/// Rows of CLIP's token table.
const VOCABULARY: usize = 49408;

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

/// Reads the sizes. Where several tensors tell one size, the majority counts, so that a single misshapen tensor is the
/// one that the later check of every shape names.
pub(super) fn detect(
    clip: &Container,
    naming: Naming,
    vcp: &Container,
    wanted: &Wanted<'_>,
) -> Result<Detected, ImportError> {
    let pair = Pair { clip: Asked { file: clip, naming }, vcp: Asked { file: vcp, naming: Naming::OpenAi } };
    let vision_width = pair.vision_width()?;
    let text_width = pair.text_width()?;
    let patch = pair.patch(vision_width)?;
    let native_grid = pair.native_grid(vision_width)?;
    let context_length = pair.context_length(text_width)?;
    let vocabulary = pair.vocabulary(text_width)?;
    pair.check_joint_embedding(text_width)?;
    pair.check_trained_with(text_width)?;
    let direct_prompts = plus::is(vcp);
    let class_vectors = if direct_prompts { 1 } else { pair.class_vectors(text_width)? };
    let prompt_tokens = pair.prompt_tokens(text_width)?;
    let deep_prompts = pair.deep_prompts(prompt_tokens, text_width)?;
    let vision_layers = pair.vision_layers(vision_width)?;
    let text_layers = pair.text_layers(text_width)?;
    let tap_layers = pair.tap_layers(text_width, vision_width)?;
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
        deep_prompts,
        taps: taps(wanted.taps, tap_layers, vision_layers).map_err(ImportError::Sizes)?,
        post_heads: wanted.post_heads,
        direct_prompts,
    };
    check_sizes(&sizes).map_err(ImportError::Sizes)?;
    Ok(Detected { sizes, native_grid, vocabulary })
}

/// A weight file that is asked for tensors by the names that this program uses. Those of VCP-CLIP are its own; for them
/// OpenAI's naming, which leaves every name as it is, does.
pub(super) struct Asked<'a> {
    pub(super) file: &'a Container,
    pub(super) naming: Naming,
}

impl Asked<'_> {
    /// Shape of a tensor as OpenAI would store it.
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let origin = self.naming.origin(name);
        let mut shape = self.file.shape(origin.parts.first()?)?.to_vec();
        if origin.transposed {
            shape.reverse();
        }
        Some(shape)
    }

    pub(super) fn size(&self, name: &str, axis: usize) -> Option<usize> {
        self.shape(name)?.get(axis).copied()
    }

    fn name(&self, name: &str) -> String {
        self.naming.origin(name).parts.concat()
    }

    pub(super) fn missing(&self, name: &str, expected: impl Into<String>) -> ImportError {
        ImportError::Missing {
            path: self.file.path_of(&self.name(name)),
            tensor: self.name(name),
            expected: expected.into(),
        }
    }

    fn wrong(&self, name: &str, expected: String, found: Vec<usize>) -> ImportError {
        ImportError::Shape { path: self.file.path_of(&self.name(name)), tensor: self.name(name), expected, found }
    }

    /// Blocks of the vision tower; 0 when there are none.
    pub(super) fn vision_blocks(&self) -> usize {
        self.count(self.naming.vision_blocks())
    }

    /// Blocks of the text tower; 0 when there are none.
    pub(super) fn text_blocks(&self) -> usize {
        self.count(self.naming.text_blocks())
    }

    /// One more than the largest number that follows `prefix` in a name of the file.
    fn count(&self, prefix: &str) -> usize {
        let names = self.file.names();
        let numbers = names.iter().filter_map(|name| name.strip_prefix(prefix)?.split('.').next()?.parse().ok());
        numbers.filter(|&number: &usize| number < MAX_BLOCKS).max().map_or(0, |last| last + 1)
    }
}

/// A CLIP file and the VCP-CLIP file that goes with it.
struct Pair<'a> {
    clip: Asked<'a>,
    vcp: Asked<'a>,
}

impl Pair<'_> {
    fn vision_width(&self) -> Result<usize, ImportError> {
        let clip = &self.clip;
        agreed(&[
            clip.size("visual.conv1.weight", 0),
            clip.size("visual.class_embedding", 0),
            clip.size(VISION_POSITIONS, 1),
            clip.size("visual.ln_pre.weight", 0),
            clip.size("visual.ln_post.weight", 0),
        ])
        .ok_or_else(|| clip.missing("visual.conv1.weight", "[Cv, 3, P, P]"))
    }

    fn text_width(&self) -> Result<usize, ImportError> {
        let clip = &self.clip;
        agreed(&[
            clip.size("positional_embedding", 1),
            clip.size("text_projection", 0),
            clip.size(TOKEN_TABLE, 1),
            clip.size("ln_final.weight", 0),
            clip.size("ln_final.bias", 0),
        ])
        .ok_or_else(|| clip.missing("positional_embedding", "[77, Ct]"))
    }

    /// Side of a patch, pixels.
    fn patch(&self, vision_width: usize) -> Result<usize, ImportError> {
        let name = "visual.conv1.weight";
        let expected = format!("[{vision_width}, 3, P, P]");
        let Some(conv) = self.clip.shape(name) else { return Err(self.clip.missing(name, expected)) };
        match conv[..] {
            [width, 3, p, q] if width == vision_width && p == q && p > 0 => Ok(p),
            _ => Err(self.clip.wrong(name, expected, conv)),
        }
    }

    /// Patches along one side at the size CLIP was trained with: a class row, and one row for each of a square grid.
    fn native_grid(&self, vision_width: usize) -> Result<usize, ImportError> {
        let expected = format!("[G·G + 1, {vision_width}]");
        let Some(positions) = self.clip.shape(VISION_POSITIONS) else {
            return Err(self.clip.missing(VISION_POSITIONS, expected));
        };
        let grid = match positions[..] {
            [rows, width] if width == vision_width && rows > 1 => {
                Some((rows - 1).isqrt()).filter(|g| g * g + 1 == rows)
            }
            _ => None,
        };
        grid.ok_or_else(|| self.clip.wrong(VISION_POSITIONS, format!("{expected} for a square grid"), positions))
    }

    fn context_length(&self, text_width: usize) -> Result<usize, ImportError> {
        let name = "positional_embedding";
        self.clip.size(name, 0).ok_or_else(|| self.clip.missing(name, format!("[77, {text_width}]")))
    }

    /// Rows of the token table, at least CLIP's own.
    fn vocabulary(&self, text_width: usize) -> Result<usize, ImportError> {
        let expected = format!("[{VOCABULARY}, {text_width}]");
        match self.clip.size(TOKEN_TABLE, 0) {
            Some(rows) if rows >= VOCABULARY => Ok(rows),
            Some(_) => Err(self.clip.wrong(TOKEN_TABLE, expected, self.clip.shape(TOKEN_TABLE).unwrap_or_default())),
            None => Err(self.clip.missing(TOKEN_TABLE, expected)),
        }
    }

    /// One of two that differs is misshapen; if none says the text width, the model is another one.
    fn check_joint_embedding(&self, text_width: usize) -> Result<(), ImportError> {
        match (self.clip.size("text_projection", 1), self.clip.size("visual.proj", 1)) {
            (Some(embedding), Some(other)) if embedding == other && embedding != text_width => {
                Err(ImportError::Sizes(format!(
                    "{}: the joint embedding has {embedding} channels and the text tower {text_width}; VCP-CLIP needs \
                     them equal",
                    self.clip.file.path.display()
                )))
            }
            _ => Ok(()),
        }
    }

    /// As [`Self::check_joint_embedding`], of the text tower that VCP-CLIP was trained with.
    fn check_trained_with(&self, text_width: usize) -> Result<(), ImportError> {
        let widths = [self.vcp.size("New_Lan_Embed.prompt_query", 2), self.vcp.size("prompt_norm.weight", 0)];
        match (agreed(&widths), self.vcp.size("prompt_norm.bias", 0)) {
            (Some(other), Some(bias)) if other == bias && other != text_width => Err(ImportError::Sizes(format!(
                "{} was trained with a text tower of {other} channels, {} has {text_width}; take the CLIP it was \
                 trained with",
                self.vcp.file.path.display(),
                self.clip.file.path.display()
            ))),
            _ => Ok(()),
        }
    }

    fn class_vectors(&self, text_width: usize) -> Result<usize, ImportError> {
        let vcp = &self.vcp;
        agreed(&[
            vcp.size("New_Lan_Embed.prompt_query", 1),
            vcp.size("New_Lan_Embed.prompt_linear1.fc.weight", 0),
            vcp.size("New_Lan_Embed.prompt_linear1.fc.bias", 0),
        ])
        .ok_or_else(|| vcp.missing("New_Lan_Embed.prompt_query", format!("[1, r, {text_width}]")))
    }

    fn prompt_tokens(&self, text_width: usize) -> Result<usize, ImportError> {
        let name = "prompt_embeddings";
        self.vcp.size(name, 1).ok_or_else(|| self.vcp.missing(name, format!("[1, n, {text_width}]")))
    }

    /// Text blocks that have prompt tokens of their own.
    fn deep_prompts(&self, prompt_tokens: usize, text_width: usize) -> Result<usize, ImportError> {
        let expected = format!("[D, {prompt_tokens}, {text_width}]");
        let Some(deep) = self.vcp.shape(DEEP_PROMPTS) else { return Err(self.vcp.missing(DEEP_PROMPTS, expected)) };
        match deep[..] {
            [rows, n, width] if n == prompt_tokens && width == text_width => Ok(rows),
            _ => Err(self.vcp.wrong(DEEP_PROMPTS, expected, deep)),
        }
    }

    fn vision_layers(&self, vision_width: usize) -> Result<usize, ImportError> {
        match self.clip.vision_blocks() {
            0 => Err(self.clip.missing("visual.transformer.resblocks.0.ln_1.weight", format!("[{vision_width}]"))),
            layers => Ok(layers),
        }
    }

    fn text_layers(&self, text_width: usize) -> Result<usize, ImportError> {
        match self.clip.text_blocks() {
            0 => Err(self.clip.missing("transformer.resblocks.0.ln_1.weight", format!("[{text_width}]"))),
            layers => Ok(layers),
        }
    }

    /// Linear layers behind the taps, one for each.
    fn tap_layers(&self, text_width: usize, vision_width: usize) -> Result<usize, ImportError> {
        match self.vcp.count(TAP_LAYERS) {
            0 => {
                let expected = format!("[{text_width}, {vision_width}]");
                Err(self.vcp.missing(&format!("{TAP_LAYERS}0.weight"), expected))
            }
            layers => Ok(layers),
        }
    }
}

/// The value most tensors agree on; the first one listed of those that are equally frequent.
fn agreed(votes: &[Option<usize>]) -> Option<usize> {
    let times = |value: usize| votes.iter().filter(|vote| **vote == Some(value)).count();
    votes.iter().flatten().copied().rev().max_by_key(|&value| times(value))
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

//! What a bundle says about itself, and what must hold in it before anybody relies on it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::vcp_clip::prompt::{CLASS_TOKEN, END_TOKEN, START_TOKEN};
use crate::vcp_clip::{Architecture, Constants, LARGEST_SIGMA};
use crate::weights::sizes::check_sizes;

/// Version of the bundle's layout.
pub const FORMAT: u32 = 1;
/// Name of the manifest in a bundle.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Name of the weights in a bundle.
pub const WEIGHTS_FILE: &str = "weights.safetensors";

/// What a bundle is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// What people call this model.
    pub name: String,
    /// Sizes.
    pub architecture: Architecture,
    /// Numbers of the method that are no tensor.
    pub constants: Constants,
    /// What normal and abnormal parts are called.
    pub prompts: Prompts,
    /// Ascending ids of the token rows kept, in the order of `token_embedding.rows`.
    pub token_ids: Vec<u32>,
    /// The weights beside the manifest.
    pub weights: FileIdentity,
    /// Files the bundle was made of.
    pub sources: Vec<SourceFile>,
    /// Whose licence the weights have.
    pub licence_note: String,
}

/// The two prompts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompts {
    /// Of a good part.
    pub normal: Prompt,
    /// Of a defective part.
    pub abnormal: Prompt,
}

/// One prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// As written, `<|class|>` for the class vectors.
    pub template: String,
    /// From start to end of text, without padding.
    pub tokens: Vec<u32>,
}

/// A file beside the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileIdentity {
    /// Name within the bundle.
    pub file: String,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
    /// Length.
    pub bytes: u64,
}

/// A file that a bundle was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// `clip` or `vcp`.
    pub role: String,
    /// Name without folder.
    pub file: String,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
    /// Length.
    pub bytes: u64,
    /// Container and names in words.
    pub kind: String,
}

impl Manifest {
    /// The manifest against itself, so that readers may rely on it.
    pub(super) fn check(&self) -> Result<(), String> {
        check_sizes(&self.architecture)?;
        check_constants(&self.constants)?;
        self.prompts.check(&self.architecture)?;
        if self.prompts.token_ids() != self.token_ids {
            return Err(format!("{MANIFEST_FILE}: token_ids are not those of the prompts"));
        }
        Ok(())
    }
}

fn check_constants(constants: &Constants) -> Result<(), String> {
    let Constants { raw_weight, top_k, sigma, mean, std } = constants;
    let checks = [
        ((0.0..=1.0).contains(raw_weight), "raw_weight is not from 0 to 1"),
        (*top_k >= 1, "top_k is not at least 1"),
        ((0.0..=LARGEST_SIGMA).contains(sigma), "sigma is not from 0 to 1000"),
        (mean.iter().all(|mean| mean.is_finite()), "mean is not finite"),
        (std.iter().all(|std| std.is_finite() && *std > 0.0), "std is not above 0 and finite"),
    ];
    match checks.into_iter().find(|(fine, _)| !fine) {
        Some((_, reason)) => Err(format!("{MANIFEST_FILE}: {reason}")),
        None => Ok(()),
    }
}

impl Prompts {
    fn both(&self) -> [&Prompt; 2] {
        [&self.normal, &self.abnormal]
    }

    /// Ascending ids of the token rows that the prompts need; the class token has none.
    pub fn token_ids(&self) -> Vec<u32> {
        let ids = self.both().into_iter().flat_map(|prompt| &prompt.tokens).copied();
        ids.filter(|&id| id != CLASS_TOKEN).collect::<BTreeSet<u32>>().into_iter().collect()
    }

    /// Are they as the text tower takes them: start, one class token, end, and no longer than its positions?
    pub(crate) fn check(&self, sizes: &Architecture) -> Result<(), String> {
        self.both().into_iter().try_for_each(|prompt| prompt.check(sizes))
    }
}

impl Prompt {
    fn check(&self, sizes: &Architecture) -> Result<(), String> {
        let Self { template, tokens } = self;
        let classes = tokens.iter().filter(|&&id| id == CLASS_TOKEN).count();
        if tokens.first() != Some(&START_TOKEN) || tokens.last() != Some(&END_TOKEN) || classes != 1 {
            return Err(format!("the tokens of prompt '{template}' are not start, words, one class and end"));
        }
        let (length, r, n) = (tokens.len(), sizes.class_vectors, sizes.prompt_tokens);
        // The class vectors stand in the place of one token.
        let needed = length.saturating_add(r).saturating_sub(1).saturating_add(n);
        if needed > sizes.context_length {
            return Err(format!(
                "prompt '{template}' is {length} tokens long; with {r} class vectors and {n} prompt tokens it takes \
                 {needed} positions, and the text tower has {}",
                sizes.context_length
            ));
        }
        Ok(())
    }
}

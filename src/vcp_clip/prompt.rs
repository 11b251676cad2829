//! Prompt templates and their tokens.

/// What a normal part is called; `<|class|>` stands for the class vectors.
pub const NORMAL_TEMPLATE: &str = "a photo of a good <|class|>";
/// What a defective part is called.
pub const ABNORMAL_TEMPLATE: &str = "a photo of a damaged <|class|>";
/// Token id of `<|class|>`, one past CLIP's vocabulary.
pub const CLASS_TOKEN: u32 = 49408;
/// Token id of the start of text.
pub const START_TOKEN: u32 = 49406;
/// Token id of the end of text.
pub const END_TOKEN: u32 = 49407;

/// A text that cannot be tokenised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("prompt '{text}': {reason}")]
pub struct PromptError {
    text: String,
    reason: String,
}

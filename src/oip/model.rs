//! What a bundle is called between boxes: its name carries what is in it, because the protocol's metadata has no place for it.

/// Input of every model of ours.
pub const IMAGE: &str = "image";
/// Output: the anomaly map, FP32.
pub const MAP: &str = "map";
/// Output: the same map as UINT16, 0 … 1 over the whole range; half the bytes, each value off by 1/131070 at most.
pub const MAP_U16: &str = "map_u16";
/// Output: the image score.
pub const SCORE: &str = "score";
/// Output, when it is asked for: the two maps that were blended, `[batch, 2, S, S]`, FP32.
pub const PATHS: &str = "paths";
/// Output, when it is asked for: the patch tokens of the tapped layers, `[batch, L, N, Cv]`, FP32.
pub const TOKENS: &str = "tokens";
/// What a value of 1 is in [`MAP_U16`].
pub const U16_ONE: f32 = 65535.0;

/// Letters of the weights' SHA-256 in a name.
const LETTERS: usize = 8;

/// `NAME-SHA8`: model name and the first eight letters of the SHA-256 of its weights.
pub fn name(model: &str, sha256: &str) -> String {
    format!("{model}-{}", sha256.get(..LETTERS).unwrap_or(sha256))
}

/// What servers of ours call their platform: `vcp-line_ENGINE_PRECISION`.
const PLATFORM: &str = "vcp-line_";

/// Platform of a server of ours.
pub fn platform(engine: &str, precision: &str) -> String {
    format!("{PLATFORM}{engine}_{precision}")
}

/// The precision in a server's platform; `None` for servers that are not ours.
pub fn precision_word(platform: &str) -> Option<&str> {
    Some(platform.strip_prefix(PLATFORM)?.rsplit_once('_')?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_says_the_precision() {
        assert_eq!(precision_word(&platform("openvino", "bf16")), Some("bf16"));
        assert_eq!(precision_word("onnxruntime_onnx"), None);
    }

    #[test]
    fn a_name_carries_the_weights() {
        assert_eq!(name("vcp", "0123456789abcdef"), "vcp-01234567");
        assert_eq!(name("vcp", "01"), "vcp-01");
    }
}

//! Names of what goes into the graph and what comes out of it.

/// Name of the graph's input, `[batch, 3, S, S]`.
pub const INPUT: &str = "image";

/// Input of the graph of [`super::encode_tail`].
pub const FEATURE: &str = "feature";

/// Names of the graph's outputs, in the order they are declared.
pub struct OutputNames {
    /// `tokens.L`
    pub tokens: Vec<String>,
    /// `text`
    pub text: String,
    /// `raw.L`
    pub raw: Vec<String>,
}

impl OutputNames {
    /// The names for these tapped layers.
    pub fn new(taps: &[usize]) -> Self {
        Self {
            tokens: taps.iter().map(|l| format!("tokens.{l}")).collect(),
            text: "text".into(),
            raw: taps.iter().map(|l| format!("raw.{l}")).collect(),
        }
    }
}

/// Whether the graph reads this tensor of the bundle; Post-VCP's are read by our own code.
pub fn is_in_graph(name: &str) -> bool {
    !name.starts_with("Zero_try.")
}

//! Which engine runs the model, and in which arithmetic.

use std::fmt;

/// What the user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineChoice {
    /// The fastest engine that works here; which one is logged and shown in every event.
    #[default]
    Auto,
    /// Plain Rust, float32.
    Reference,
    /// OpenVINO on the CPU.
    Openvino,
    /// TensorRT and our own kernels on an NVIDIA GPU; needs a plan, see `vcp-line model build`.
    Tensorrt,
    /// Another computer's, over the Open Inference Protocol; see `[model.remote]`.
    Remote,
}

/// Arithmetic of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// float32.
    #[default]
    Fp32,
    /// bfloat16 matrix products.
    Bf16,
    /// float16.
    Fp16,
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Reference => "reference",
            Self::Openvino => "openvino",
            Self::Tensorrt => "tensorrt",
            Self::Remote => "remote",
        })
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
            Self::Fp16 => "fp16",
        })
    }
}

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
    /// The fastest that is right here: int8 where the bundle has scales that held the gate, else bf16, else fp32, as the processor
    /// has them; with TensorRT that of the plan that is there, int8 only by such scales. Which one is logged and shown in every event.
    #[default]
    Auto,
    /// float32.
    Fp32,
    /// bfloat16 matrix products.
    Bf16,
    /// float16.
    Fp16,
    /// 8-bit products in the vision tower's linear layers, by the scales of `vcp-line model quantize`; the rest in bfloat16 with
    /// OpenVINO, or float32 where the processor has none, in float16 with TensorRT.
    Int8,
    /// The same in floats of 8 bits (E4M3), by the same scales, the rest in float16; with TensorRT on cards from SM 8.9 on.
    Fp8,
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
            Self::Auto => "auto",
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
            Self::Fp8 => "fp8",
        })
    }
}

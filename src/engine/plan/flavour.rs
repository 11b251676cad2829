//! Which TensorRT makes and runs a plan.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which TensorRT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flavour {
    /// TensorRT-RTX: plans for several architectures, finished on the card that runs them.
    TensorrtRtx,
    /// TensorRT (libnvinfer): a plan for the card it was built on.
    Tensorrt,
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TensorrtRtx => "tensorrt-rtx",
            Self::Tensorrt => "tensorrt",
        })
    }
}

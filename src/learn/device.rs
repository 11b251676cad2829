//! Where training computes: on the CPU in this version.

use burn::tensor::Device;

use super::LearnError;

/// What computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum DeviceChoice {
    /// This machine's processor.
    #[default]
    Cpu,
    /// An NVIDIA card; not in this version.
    Cuda,
    /// A graphics card, with Vulkan; not in this version.
    Vulkan,
}

impl DeviceChoice {
    /// The device without differentiation.
    pub fn open(self) -> Result<Device, LearnError> {
        match self {
            Self::Cpu => Ok(Device::flex()),
            Self::Cuda => Err(LearnError::NotYet { device: "cuda" }),
            Self::Vulkan => Err(LearnError::NotYet { device: "vulkan" }),
        }
    }
}

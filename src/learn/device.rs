//! Where training computes: the CPU always, a graphics card when this build has the feature.

use burn::tensor::Device;

use super::LearnError;

/// What computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum DeviceChoice {
    /// This machine's processor.
    #[default]
    Cpu,
    /// The first NVIDIA card, with CUDA.
    Cuda,
    /// The best graphics card, with Vulkan.
    Vulkan,
}

impl DeviceChoice {
    /// The device without differentiation, or the feature it needs.
    pub fn open(self) -> Result<Device, LearnError> {
        match self {
            Self::Cpu => Ok(Device::flex()),
            Self::Cuda => cuda(),
            Self::Vulkan => vulkan(),
        }
    }
}

#[cfg(feature = "train-cuda")]
fn cuda() -> Result<Device, LearnError> {
    Ok(Device::cuda(0))
}

#[cfg(not(feature = "train-cuda"))]
fn cuda() -> Result<Device, LearnError> {
    Err(LearnError::NotBuilt { device: "cuda", feature: "train-cuda" })
}

#[cfg(feature = "train-vulkan")]
fn vulkan() -> Result<Device, LearnError> {
    Ok(Device::vulkan(burn::tensor::DeviceKind::DefaultDevice))
}

#[cfg(not(feature = "train-vulkan"))]
fn vulkan() -> Result<Device, LearnError> {
    Err(LearnError::NotBuilt { device: "vulkan", feature: "train-vulkan" })
}

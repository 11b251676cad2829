//! Where training computes: the CPU always, a graphics card when this build has the feature.

use burn::tensor::Device;
#[cfg(any(feature = "train-cuda", feature = "train-vulkan"))]
use burn::tensor::DeviceType;

use super::LearnError;

/// What computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    first(DeviceType::Cuda, "cuda", "it needs an NVIDIA card and its driver")
}

#[cfg(not(feature = "train-cuda"))]
fn cuda() -> Result<Device, LearnError> {
    Err(LearnError::NotBuilt { device: "cuda", feature: "train-cuda" })
}

#[cfg(feature = "train-vulkan")]
fn vulkan() -> Result<Device, LearnError> {
    first(DeviceType::Vulkan, "vulkan", "it needs a graphics card and its Vulkan driver (Debian: mesa-vulkan-drivers)")
}

#[cfg(not(feature = "train-vulkan"))]
fn vulkan() -> Result<Device, LearnError> {
    Err(LearnError::NotBuilt { device: "vulkan", feature: "train-vulkan" })
}

/// Cards come first, a processor that plays one last. The library would panic at the first computation without any.
#[cfg(any(feature = "train-cuda", feature = "train-vulkan"))]
fn first(kind: DeviceType, device: &'static str, advice: &'static str) -> Result<Device, LearnError> {
    Device::enumerate(kind).into_iter().next().ok_or(LearnError::NoDevice { device, advice })
}

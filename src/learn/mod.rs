//! Learning: the VCP modules on a frozen CLIP, with the network that `vcp_clip` describes and burn differentiates.

pub mod augment;
pub mod checkpoint;
mod map_loss;
mod random;

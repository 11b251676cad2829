//! Learning: the network of [`crate::vcp_clip`] differentiated, CLIP on the CPU by a [`tape`] of our own, the VCP
//! modules with burn on whatever device the weights lie on.

pub mod adam;
pub mod clip;
mod clip_init;
pub mod clip_pairs;
pub mod clip_text;
mod contrastive;
mod dice;
pub mod parameters;
pub mod tape;

//! Learning: the network of [`crate::vcp_clip`] differentiated with burn, on whatever device the weights lie on.

pub mod adam;
pub mod clip;
mod clip_init;
pub mod clip_pairs;
mod clip_text;
mod dice;
pub mod parameters;

//! Learning: the network of [`crate::vcp_clip`] differentiated with burn, on whatever device the weights lie on.

pub mod adam;
pub mod augment;
pub mod checkpoint;
pub mod clip;
mod clip_init;
pub mod clip_pairs;
mod clip_text;
pub mod device;
mod dice;
mod error;
pub mod features;
mod initial;
mod map_loss;
pub mod parameters;
pub mod vcp;

pub use error::LearnError;

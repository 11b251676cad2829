//! Learning: the network of [`crate::vcp_clip`] differentiated, CLIP on the CPU by a [`tape`] of our own, the VCP
//! modules with burn on whatever device the weights lie on.

pub mod adam;
pub mod augment;
pub mod captions;
pub mod checkpoint;
pub mod clip;
mod clip_init;
pub mod clip_pairs;
pub mod clip_run;
pub mod clip_text;
mod contrastive;
pub mod device;
mod error;
pub mod event;
pub mod features;
pub mod initial;
pub mod map_loss;
pub mod parameters;
mod patch_contrast;
pub mod pictures;
mod samples;
pub mod tape;
pub mod tiles;
pub mod validation;
pub mod vcp;
pub mod vcp_file;
pub mod vcp_run;
pub mod vcp_settings;
pub mod vcp_training;

pub use error::LearnError;
use error::io_error;

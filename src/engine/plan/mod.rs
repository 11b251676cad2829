//! TensorRT plans: files made ahead of time for a model, a precision and some graphics cards, each with its identity
//! beside it.

mod architectures;
mod error;
mod flavour;
mod identity;

pub use architectures::RTX_SMS;
pub use error::PlanError;
pub use flavour::Flavour;
pub use identity::{
    Arithmetic, Card, FORMAT, MAX_BATCH, PlanIdentity, Wanted, build_command, default_path, identity_path, places,
    sha256,
};

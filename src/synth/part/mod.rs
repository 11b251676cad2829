//! Products that lie on a background.

pub(super) mod biscuit;
pub(super) mod glass;
pub(super) mod machined;
pub(super) mod medicine;
pub(super) mod moulded;
pub(super) mod turned;

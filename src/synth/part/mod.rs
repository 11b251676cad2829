//! Products that lie on a background.

pub(super) mod biscuit;
pub(super) mod cast;
pub(super) mod electric;
pub(super) mod glass;
pub(super) mod machined;
pub(super) mod marked;
pub(super) mod medicine;
pub(super) mod moulded;
pub(super) mod rotary;
pub(super) mod stamped;
pub(super) mod turned;

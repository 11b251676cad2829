//! Products that fill the picture.

pub(super) mod board;
pub(super) mod cloth;
pub(super) mod metal;
pub(super) mod stone;
pub(super) mod wood;

//! Products that fill the picture.

pub(super) mod board;
pub(super) mod cloth;
pub(super) mod laid;
pub(super) mod metal;
pub(super) mod rock;
pub(super) mod stone;
pub(super) mod wood;

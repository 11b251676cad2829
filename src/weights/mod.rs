//! The weight files users have, turned into a bundle.

pub mod bundle;

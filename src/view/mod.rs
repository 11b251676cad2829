//! What of a frame is looked at: where its part lies.

pub mod locate;

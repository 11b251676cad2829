//! The Open Inference Protocol (KServe's version 2 over gRPC), as far as a model that looks at pictures needs it: what
//! travels, what tensors and models are called, and which method is which.
//!
//! A model takes `image`, `[batch, S, S, 3]` red, green, blue in rows: UINT8, or UINT16 over the whole range for pictures
//! that are deeper. It answers with `map`, `[batch, S, S]`, and `score`, `[batch, 1]`, both FP32.

mod messages;
pub mod model;
mod stub;
pub mod tensor;

pub use messages::*;
pub use stub::{Client, Handler, call};

/// Every method's path begins so.
pub const SERVICE: &str = "/inference.GRPCInferenceService/";
/// The health service that orchestrators know (`grpc.health.v1`).
pub const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";

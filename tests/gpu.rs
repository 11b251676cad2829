//! What only a machine with an NVIDIA GPU can show. Not part of `cargo test`:
//! `cargo test --no-default-features --features tensorrt --test gpu`, or tests/gpu-check.sh without a compiler.
//! Lines that begin with `measured:` are figures that the script collects.
#![allow(unsafe_code, reason = "copies that overlap with kernels are waited for by hand")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]
#![allow(clippy::print_stdout, reason = "figures are printed by helpers too")]

#[path = "support/kernels/mod.rs"]
mod cases;
#[path = "gpu/engine.rs"]
mod engine;
#[path = "gpu/kernels.rs"]
mod kernels;
#[path = "gpu/memory.rs"]
mod memory;
#[path = "support/tiny.rs"]
mod tiny;

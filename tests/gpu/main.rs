//! What only a machine with an NVIDIA GPU can show. A program of its own, because it is carried to machines that have no
//! compiler, GStreamer, OpenCV or OpenVINO, and not part of `cargo test`:
//! `cargo test --no-default-features --features tensorrt --test gpu`, or tests/gpu-check.sh without a compiler.
//! Lines that begin with `measured:` are figures that the script collects.
#![allow(unsafe_code, reason = "copies that overlap with kernels are waited for by hand")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]
#![allow(clippy::print_stdout, reason = "figures are printed by helpers too")]

#[path = "../support/kernels/mod.rs"]
mod cases;
mod eight_bits;
mod engine;
mod kernels;
mod line;
mod memory;
mod remembered;
#[path = "../support/tiny.rs"]
mod tiny;

//! Our own CUDA kernels, each with its launcher beside it, and the little that they need of the driver.
//!
//! ```text
//! camera's bytes ─ Preprocess ─▶ input ─ (TensorRT) ─▶ tokens, text, raw logits
//!    tokens, text ─ PostVcp ─▶ low-resolution maps ─ Maps ─▶ anomaly map, score ─ Threshold ─▶ mask, summary
//! ```
//!
//! Launchers own their weights, tables and scratch memory, allocate nothing while they run and enqueue on the stream
//! that they are given, so that they can be captured into a graph ([`Gpu::capture`]). Every kernel gives the same bits
//! each time: no floating-point atomics. Sources are compiled at start by NVRTC ([`compile`]);
//! `tests/compute/cuda_kernels.rs` runs the same sources on the CPU against plain Rust, `tests/gpu` on a card.

// Device memory and the driver's interface know no borrow checker; each block says who keeps the promise.
#![allow(unsafe_code)]

mod compile;
mod device;
mod error;
mod machine;
mod maps;
mod post_vcp;
mod preprocess;
mod threshold;

pub use compile::{Compiled, KernelCache, compile, version as compiler_version};
pub use device::{Event, Gpu, Graph, HostBuffer};
pub use error::CudaError;
pub use machine::{
    Arg, Buffer, Dtype, Kernel, Launch, MOST_LAYERS, Machine, Program, Properties, Stream, StreamHandle, Values,
    ValuesMut, View, ViewMut,
};
pub use maps::Maps;
pub use post_vcp::{PostVcp, PostVcpShape};
pub use preprocess::{FrameFormat, Prepared, Preprocess, YuvMatrix, nv12_to_rgb};
pub use threshold::{RawSummary, Summary, TILES, Threshold};

/// CUDA version whose machine code we make, × 1000: kernels and driver must be of it or newer.
const RUNTIME: u32 = 13_000;
/// The first driver branch with CUDA 13.
const OLDEST_DRIVER: &str = "580";
/// Compute capability × 10 that the kernels start at: asynchronous copies and float16 matrix products.
const OLDEST_SM: u32 = 80;

/// Every kernel source, for those who compile or run them all.
pub const PROGRAMS: [Program; 5] =
    [preprocess::PROGRAM, post_vcp::LOOK_PROGRAM, post_vcp::PROGRAM, maps::PROGRAM, threshold::PROGRAM];

/// Headers that the sources include, by name.
pub const HEADERS: [(&str, &str); 3] = compile::HEADERS;

/// Which thread blocks cover `count` items at `each` per block.
fn blocks(count: usize, each: usize) -> u32 {
    count.div_ceil(each).max(1) as u32
}

//! Our own CUDA kernels, each with its launcher beside it, and the little that they need of the driver.
//!
//! ```text
//! camera's bytes ─ Preprocess ─▶ input ─ (TensorRT) ─▶ tokens, text, raw logits
//!    tokens, text ─ PostVcp ─▶ low-resolution maps ─ Maps ─▶ anomaly map, score ─ Threshold ─▶ mask, summary
//!    with a memory: tokens ─ LookUp ─▶ distances; these, anomaly map, score ─ Join ─▶ the same of both ─ Threshold
//! ```
//!
//! Launchers own their weights, tables and scratch memory, allocate nothing while they run and enqueue on the stream
//! that they are given, so that they can be captured into a graph ([`Gpu::capture`]). Every kernel gives the same bits
//! each time: no floating-point atomics. Sources are compiled at start by NVRTC ([`compile`]), and what a launcher passes
//! is compared with what they declare (`launch.rs`); `tests/compute/cuda_kernels.rs` runs the same sources on the CPU
//! against plain Rust, `tests/gpu` on a card.

// Device memory and the driver's interface know no borrow checker; each block says who keeps the promise.
#![allow(unsafe_code)]

mod compile;
mod device;
mod error;
mod frame_format;
mod join;
mod launch;
mod look_up;
mod machine;
mod maps;
mod passes;
mod post_vcp;
mod post_vcp_look;
mod preprocess;
mod threshold;
mod top_k;
mod versions;

pub use compile::{Compiled, HEADERS, KernelCache, compile, version as compiler_version};
pub use device::{Event, Gpu, Graph, HostBuffer};
pub use error::CudaError;
pub use frame_format::{FrameFormat, YuvMatrix, nv12_to_rgb};
pub use join::Join;
pub use look_up::{LookUp, LookUpShape, Remembered};
pub use machine::{
    Arg, Buffer, Dtype, Kernel, Launch, MOST_LAYERS, Machine, Program, Properties, Stream, StreamHandle, Values,
    ValuesMut, View, ViewMut,
};
pub use maps::Maps;
pub use post_vcp::{PostVcp, PostVcpShape};
pub use preprocess::{Prepared, Preprocess};
pub use threshold::{RawSummary, Summary, TILES, Threshold};

/// Every kernel source, for those who compile or run them all.
pub const PROGRAMS: [Program; 7] = [
    passes::PROGRAM,
    post_vcp_look::PROGRAM,
    post_vcp::PROGRAM,
    maps::PROGRAM,
    look_up::PROGRAM,
    join::PROGRAM,
    threshold::PROGRAM,
];

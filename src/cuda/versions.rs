//! Versions of NVIDIA's parts that our kernels need, and how they are written.

/// CUDA version whose machine code we make, × 1000: kernels and driver must be of it or newer.
pub(super) const RUNTIME: u32 = 13_000;
/// The first driver branch with CUDA 13.
pub(super) const OLDEST_DRIVER: &str = "580";
/// Compute capability × 10 that the kernels start at: asynchronous copies and float16 matrix products.
pub(super) const OLDEST_SM: u32 = 80;

/// `13.0` for 13000.
pub(super) fn dotted(version: u32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

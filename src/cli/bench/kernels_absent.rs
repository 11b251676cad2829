//! In place of `bench kernels` in a build without CUDA: says how to get it.

use super::kernel_arguments::KernelArguments;

/// Always an error.
pub fn run(KernelArguments { launches: _launches, json: _json }: &KernelArguments) -> anyhow::Result<()> {
    anyhow::bail!("this program was built without CUDA: build it with `--features cuda` (or `tensorrt`)")
}

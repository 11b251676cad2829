//! What can go wrong between this program and a graphics card, each with what to install or run.

use std::path::PathBuf;

/// The card, its driver, the compiler of its kernels, or what was asked of a kernel.
#[derive(Debug, thiserror::Error)]
pub enum CudaError {
    /// The driver library does not load.
    #[error(
        "no NVIDIA driver: libcuda.so.1 could not be loaded; install the driver (at least {oldest}) and see that `nvidia-smi` answers"
    )]
    NoDriver {
        /// The oldest driver that runs CUDA 13 programs.
        oldest: &'static str,
    },
    /// The driver library is there, and no card answers.
    #[error("no NVIDIA GPU {ordinal}: the driver reports {found}; `nvidia-smi -L` lists them")]
    NoDevice {
        /// Number of the card asked for, from 0.
        ordinal: usize,
        /// How many there are, or what the driver said.
        found: String,
    },
    /// The driver is older than the CUDA version that kernels are compiled for.
    #[error("the NVIDIA driver supports CUDA {found} and {needed} is needed: install driver {oldest} or newer")]
    DriverTooOld {
        /// CUDA version of the driver, as `12.4`.
        found: String,
        /// CUDA version needed.
        needed: String,
        /// Driver version that brings it.
        oldest: &'static str,
    },
    /// The card's architecture is older than the kernels.
    #[error("{name} is SM {}.{}, and the kernels need SM 8.0 (Ampere) or newer: use engine \"openvino\" here", sm / 10, sm % 10)]
    Architecture {
        /// Name of the card.
        name: String,
        /// Compute capability × 10.
        sm: u32,
    },
    /// The compiler of kernels does not load.
    #[error(
        "libnvrtc.so could not be loaded: run scripts/cuda-nvrtc.sh and put the folder it prints on LD_LIBRARY_PATH, or install Debian's libnvrtc / CUDA 13's cuda-nvrtc"
    )]
    NoCompiler,
    /// The compiler is of another major version than the kernels' cache and options expect.
    #[error(
        "NVRTC {found} is installed and {needed} is needed: run scripts/cuda-nvrtc.sh and put the folder it prints first on LD_LIBRARY_PATH"
    )]
    CompilerVersion {
        /// Version found.
        found: String,
        /// Version needed.
        needed: String,
    },
    /// A kernel does not compile, here or for this architecture.
    #[error("kernels '{program}' do not compile for SM {sm}: {log}")]
    Compile {
        /// Name of the source.
        program: &'static str,
        /// Compute capability × 10.
        sm: u32,
        /// What the compiler said.
        log: String,
    },
    /// The card's memory is full.
    #[error(
        "GPU memory is short: {wanted} bytes wanted, {free} of {total} free; lower max_batch, or stop other programs on this GPU (`nvidia-smi` lists them)"
    )]
    Memory {
        /// Bytes asked for.
        wanted: usize,
        /// Bytes free.
        free: usize,
        /// Bytes on the card.
        total: usize,
    },
    /// The folder of compiled kernels cannot be written.
    #[error("the kernel cache {path} cannot be written ({reason}): make it writable or set XDG_CACHE_HOME")]
    Cache {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// Sizes that a kernel does not cover.
    #[error(
        "{what} is {found}, and the CUDA kernels take {allowed}: use engine \"openvino\" or \"reference\" for this model"
    )]
    Unsupported {
        /// What was asked.
        what: &'static str,
        /// How much of it.
        found: usize,
        /// What can be.
        allowed: &'static str,
    },
    /// Device memory handed to a kernel is too small, or not aligned.
    #[error("{what} holds {got} values and the kernel needs {needed}")]
    Length {
        /// Which memory.
        what: &'static str,
        /// Values needed.
        needed: usize,
        /// Values there.
        got: usize,
    },
    /// A driver call failed.
    #[error("CUDA: {call} failed with {code} ({text})")]
    Driver {
        /// What was tried.
        call: &'static str,
        /// The driver's name of the error.
        code: String,
        /// The driver's description.
        text: String,
    },
}

impl CudaError {
    /// An error unless `got` values are at least `needed`.
    pub(crate) fn check_length(what: &'static str, needed: usize, got: usize) -> Result<(), Self> {
        if got < needed { Err(Self::Length { what, needed, got }) } else { Ok(()) }
    }
}

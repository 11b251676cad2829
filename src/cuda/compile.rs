//! From kernel source to machine code: NVRTC, and the folder where its results are kept.

use std::ffi::{CStr, CString, c_char, c_int};
use std::io::Write;
use std::path::{Path, PathBuf};

use cudarc::nvrtc::result::{self, NvrtcError};
use cudarc::nvrtc::sys;
use sha2::{Digest, Sha256};

use super::error::CudaError;
use super::machine::Program;
use super::versions::{RUNTIME, dotted};
use crate::output::NewFile;

/// Headers that the kernels include, by name. They need no header of CUDA's own, so NVRTC is all that a machine must have.
pub const HEADERS: [(&str, &str); 4] = [
    ("device.cuh", include_str!("device.cuh")),
    ("lane.cuh", include_str!("lane.cuh")),
    ("post_vcp.cuh", include_str!("post_vcp.cuh")),
    ("top_k.cuh", include_str!("top_k.cuh")),
];

/// Options beside the architecture. The report of registers and spills costs nothing and is read by a test.
const OPTIONS: [&str; 3] = ["--std=c++17", "--ptxas-options=-v", "--no-source-include"];

/// Length of the checksum in front of a kept cubin.
const CHECKSUM: usize = 32;

/// Machine code of a program and what the compiler said about it.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// An ELF file for one architecture.
    pub cubin: Vec<u8>,
    /// Registers, spills and shared memory of each kernel, as ptxas reports them.
    pub log: String,
}

/// Keeps compiled kernels between runs. A key covers everything that the result depends on, so an entry never grows
/// stale; a damaged one is compiled again.
#[derive(Clone, Debug)]
pub struct KernelCache {
    folder: Option<PathBuf>,
}

impl KernelCache {
    /// Below `$XDG_CACHE_HOME`, else `~/.cache`, else (for services) `$CACHE_DIRECTORY` of systemd; without any of
    /// them nothing is kept.
    pub fn of_user() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = set("XDG_CACHE_HOME")
            .or_else(|| set("HOME").map(|home| home.join(".cache")))
            .or_else(|| set("CACHE_DIRECTORY"));
        Self { folder: base.map(|base| base.join("vcp-line").join("kernels")) }
    }

    /// In a folder of the caller's, made when first needed.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()) }
    }

    /// Machine code of `program` for compute capability `sm` / 10. A folder that cannot be written costs time at the
    /// next start and is logged; it is no error.
    pub fn cubin(&self, program: &Program, sm: u32) -> Result<Vec<u8>, CudaError> {
        let version = version()?;
        let Some(folder) = &self.folder else {
            return Ok(compile(program, sm)?.cubin);
        };
        let path = folder.join(format!("{}-sm{sm}-{}.cubin", stem(program.name), key(program, sm, version)));
        if let Some(cubin) = read(&path) {
            return Ok(cubin);
        }
        tracing::info!(program = program.name, sm, "compiling kernels");
        let cubin = compile(program, sm)?.cubin;
        if let Err(error) = keep(folder, &path, &cubin) {
            tracing::warn!(%error, "compiled kernels are not kept");
        }
        Ok(cubin)
    }
}

fn stem(name: &str) -> &str {
    name.strip_suffix(".cu").unwrap_or(name)
}

/// Source, headers, options, architecture and compiler version, each with its length so that none runs into the next.
fn key(program: &Program, sm: u32, version: u32) -> String {
    let mut hash = Sha256::new();
    let mut add = |part: &str| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(program.name);
    add(program.source);
    for (name, text) in HEADERS {
        add(name);
        add(text);
    }
    OPTIONS.iter().for_each(|option| add(option));
    add(&format!("sm {sm} nvrtc {version}"));
    hex::encode(&hash.finalize()[..16])
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let bytes = std::fs::read(path).ok()?;
    let (checksum, cubin) = bytes.split_at_checked(CHECKSUM)?;
    if Sha256::digest(cubin).as_slice() == checksum {
        return Some(cubin.to_vec());
    }
    tracing::warn!(path = %path.display(), "a kept kernel is damaged, and is compiled again");
    None
}

fn keep(folder: &Path, path: &Path, cubin: &[u8]) -> Result<(), CudaError> {
    let failed = |reason| CudaError::Cache { path: path.to_owned(), reason };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut file = NewFile::beside(path).map_err(failed)?;
    file.write_all(&Sha256::digest(cubin)).and_then(|()| file.write_all(cubin)).map_err(failed)?;
    file.put().map_err(failed)
}

/// NVRTC's version × 1000 + minor × 10; an error when it is absent or too old.
pub fn version() -> Result<u32, CudaError> {
    // SAFETY: loading the compiler's library runs no code of ours.
    if !unsafe { sys::is_culib_present() } {
        return Err(CudaError::NoCompiler);
    }
    let (mut major, mut minor): (c_int, c_int) = (0, 0);
    // SAFETY: the library was found, and the pointers are those of locals.
    unsafe { sys::nvrtcVersion(&raw mut major, &raw mut minor) }.result().map_err(|_| CudaError::NoCompiler)?;
    let version = major.unsigned_abs() * 1000 + minor.unsigned_abs() * 10;
    if version < RUNTIME {
        return Err(CudaError::CompilerVersion { found: dotted(version), needed: dotted(RUNTIME) });
    }
    Ok(version)
}

/// Compiles without looking at any cache; needs no GPU.
pub fn compile(program: &Program, sm: u32) -> Result<Compiled, CudaError> {
    version()?;
    let failed = |log: String| CudaError::Compile { program: program.name, sm, log };
    let text = |text: &str| CString::new(text).map_err(|_| failed("the source holds a zero byte".to_owned()));
    let (source, name) = (text(program.source)?, text(program.name)?);
    let names = HEADERS.iter().map(|(name, _)| text(name)).collect::<Result<Vec<_>, _>>()?;
    let headers = HEADERS.iter().map(|(_, header)| text(header)).collect::<Result<Vec<_>, _>>()?;

    let mut handle = Handle(std::ptr::null_mut());
    let pointers = |texts: &[CString]| texts.iter().map(|text| text.as_ptr()).collect::<Vec<_>>();
    // SAFETY: every pointer is that of a C string that outlives the call, which copies them.
    unsafe {
        sys::nvrtcCreateProgram(
            &raw mut handle.0,
            source.as_ptr(),
            name.as_ptr(),
            HEADERS.len() as c_int,
            pointers(&headers).as_ptr(),
            pointers(&names).as_ptr(),
        )
    }
    .result()
    .map_err(|error| failed(error.to_string()))?;

    let architecture = format!("--gpu-architecture=sm_{sm}");
    let options: Vec<&str> = OPTIONS.iter().copied().chain([architecture.as_str()]).collect();
    // SAFETY: the program was created above.
    let compiled = unsafe { result::compile_program(handle.0, &options) };
    let log = handle.log();
    compiled.map_err(|error| failed(format!("{error}: {log}")))?;
    let cubin = handle.cubin().map_err(|error| failed(error.to_string()))?;
    Ok(Compiled { cubin, log })
}

/// An NVRTC program, destroyed when dropped.
struct Handle(sys::nvrtcProgram);

impl Handle {
    fn log(&self) -> String {
        // SAFETY: the program was created.
        let bytes: Vec<c_char> = unsafe { result::get_program_log(self.0) }.unwrap_or_default();
        let bytes: Vec<u8> = bytes.into_iter().map(|byte| byte as u8).collect();
        CStr::from_bytes_until_nul(&bytes).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn cubin(&self) -> Result<Vec<u8>, NvrtcError> {
        let mut size = 0;
        // SAFETY: the program was created.
        unsafe { sys::nvrtcGetCUBINSize(self.0, &raw mut size) }.result()?;
        let mut cubin = vec![0u8; size];
        // SAFETY: the buffer has the size that was asked for.
        unsafe { sys::nvrtcGetCUBIN(self.0, cubin.as_mut_ptr().cast()) }.result()?;
        Ok(cubin)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the program was created and is not used any more.
            if let Err(error) = unsafe { result::destroy_program(self.0) } {
                tracing::warn!(%error, "NVRTC kept a program");
            }
        }
    }
}

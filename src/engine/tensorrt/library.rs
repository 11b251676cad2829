//! The TensorRT libraries: loaded by name, their version checked.

use std::ffi::{CStr, c_int};

use super::failure::ENGINE;
use crate::engine::EngineError;
use crate::engine::plan::Flavour;

/// Which TensorRT this build speaks to.
pub const FLAVOUR: Flavour =
    if cfg!(feature = "tensorrt-enterprise") { Flavour::Tensorrt } else { Flavour::TensorrtRtx };

/// Names as installed, without the third number that trtx would ask for: wheels and packages do not have it.
const RUNTIME: &CStr =
    if cfg!(feature = "tensorrt-enterprise") { c"libnvinfer.so.11" } else { c"libtensorrt_rtx.so.1" };
const PARSER: &CStr =
    if cfg!(feature = "tensorrt-enterprise") { c"libnvonnxparser.so.11" } else { c"libtensorrt_onnxparser_rtx.so.1" };

const NEXT_STEP: &str = if cfg!(feature = "tensorrt-enterprise") {
    "install TensorRT 11.4 (NVIDIA's packages libnvinfer11 and libnvonnxparsers11, or PyPI's tensorrt-cu13-libs==11.4.0.106) \
     and put its lib folder on LD_LIBRARY_PATH"
} else {
    "run scripts/tensorrt.sh and put the folder it prints on LD_LIBRARY_PATH"
};

fn name(library: &'static CStr) -> &'static str {
    library.to_str().unwrap_or("TensorRT")
}

/// Loads TensorRT; an error when it is not there or of another version than the headers this program was built with.
/// Returns the version, `1.7.1`.
pub fn load() -> Result<String, EngineError> {
    trtx::dynamically_load_tensorrt(Some(name(RUNTIME))).map_err(|error| absent(RUNTIME, &error))?;
    let found = version().ok_or_else(|| absent(RUNTIME, &"it exports no getInferLibVersion"))?;
    // SAFETY: these read constants that were compiled in.
    let (major, minor) =
        unsafe { (trtx::trtx_sys::get_tensorrt_major_version(), trtx::trtx_sys::get_tensorrt_minor_version()) };
    // The classes' tables of functions grow with minor versions, and TensorRT promises nothing across them here.
    if found[..2] != [major as c_int, minor as c_int] {
        return Err(EngineError::LibraryVersion {
            engine: ENGINE,
            library: name(RUNTIME),
            found: dotted(found),
            needed: format!("{major}.{minor}"),
            next_step: NEXT_STEP,
        });
    }
    Ok(dotted(found))
}

/// Loads the parser of ONNX files, which only building needs.
pub fn load_parser() -> Result<(), EngineError> {
    trtx::dynamically_load_tensorrt_onnxparser(Some(name(PARSER))).map_err(|error| absent(PARSER, &error))
}

fn absent(library: &'static CStr, reason: &dyn std::fmt::Display) -> EngineError {
    EngineError::Library { engine: ENGINE, library: name(library), reason: reason.to_string(), next_step: NEXT_STEP }
}

fn dotted([major, minor, patch]: [c_int; 3]) -> String {
    format!("{major}.{minor}.{patch}")
}

/// The version of the library that is loaded.
fn version() -> Option<[c_int; 3]> {
    // SAFETY: RTLD_NOLOAD only looks for a library that is loaded already; the handle is given back below.
    let library = unsafe { libc::dlopen(RUNTIME.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
    if library.is_null() {
        return None;
    }
    let parts = [c"getInferLibMajorVersion", c"getInferLibMinorVersion", c"getInferLibPatchVersion"];
    let found = parts.map(|part| {
        // SAFETY: the handle is valid, the name ends with a zero.
        let function = unsafe { libc::dlsym(library, part.as_ptr()) };
        if function.is_null() {
            return None;
        }
        // SAFETY: NvInferRuntime.h declares the three as `extern "C" int32_t name() noexcept`.
        let function: extern "C" fn() -> c_int = unsafe { std::mem::transmute(function) };
        Some(function())
    });
    // SAFETY: the handle came from dlopen above; trtx holds its own, so the library stays loaded.
    unsafe { libc::dlclose(library) };
    Some([found[0]?, found[1]?, found[2]?])
}

//! The TensorRT libraries: loaded by name, their version checked, their log passed on.

use std::ffi::{CStr, c_int};
use std::sync::{Mutex, OnceLock, PoisonError};

use trtx::{LogHandler, Logger, Severity};

use super::super::plan::Flavour;
use super::{ENGINE, EngineError, runtime};

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

/// Passes TensorRT's messages on, and keeps its last error: the functions themselves only say that they failed.
struct Told;

static LAST_ERROR: Mutex<Option<String>> = Mutex::new(None);

impl LogHandler for Told {
    fn log(&self, severity: Severity, message: &str) {
        match severity {
            Severity::InternalError | Severity::Error => {
                tracing::debug!(target: "tensorrt", "{message}");
                let mut last = LAST_ERROR.lock().unwrap_or_else(PoisonError::into_inner);
                // The first of several is the cause, the others follow from it.
                last.get_or_insert_with(|| message.to_owned());
            }
            Severity::Warning => tracing::debug!(target: "tensorrt", "{message}"),
            Severity::Info | Severity::Verbose => tracing::trace!(target: "tensorrt", "{message}"),
        }
    }
}

/// The one logger: TensorRT keeps the first that it is given for the whole process.
pub fn logger() -> Result<&'static Logger, EngineError> {
    static LOGGER: OnceLock<Logger> = OnceLock::new();
    if let Some(logger) = LOGGER.get() {
        return Ok(logger);
    }
    let logger = Logger::new(Told).map_err(runtime("creating TensorRT's logger"))?;
    Ok(LOGGER.get_or_init(|| logger))
}

/// What TensorRT said about the failure that just happened, and nothing older: see [`forget`].
pub fn said() -> Option<String> {
    LAST_ERROR.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Forgets errors of earlier steps.
pub fn forget() {
    said();
}

//! Names that a pickle of weights has no reason to ask for: what runs programs, loads code or touches files in Python.
//!
//! Nothing here is ever called, whatever a pickle names, so safety does not rest on this list. It tells the owner of a
//! file that was made to attack whoever loads it with Python.

/// Modules, with all below them, that run programs, load code, or reach files and the network.
const MODULES: [&str; 52] = [
    "os",
    "posix",
    "nt",
    "subprocess",
    "sys",
    "runpy",
    "pty",
    "shutil",
    "socket",
    "ctypes",
    "_ctypes",
    "cffi",
    "importlib",
    "imp",
    "code",
    "codeop",
    "marshal",
    "pickle",
    "_pickle",
    "cPickle",
    "cloudpickle",
    "shelve",
    "timeit",
    "cProfile",
    "profile",
    "pdb",
    "bdb",
    "trace",
    "doctest",
    "webbrowser",
    "multiprocessing",
    "concurrent",
    "threading",
    "_thread",
    "asyncio",
    "signal",
    "urllib",
    "urllib2",
    "http",
    "ftplib",
    "smtplib",
    "telnetlib",
    "requests",
    "httpx",
    "aiohttp",
    "commands",
    "popen2",
    "pip",
    "setuptools",
    "distutils",
    "pkgutil",
    "zipimport",
];
/// Modules below others.
const INNER: [&str; 5] = ["torch.hub", "torch.utils.cpp_extension", "numpy.f2py", "numpy.distutils", "numpy.testing"];
/// Functions of `builtins`, under both of its names.
const BUILTINS: [&str; 9] =
    ["eval", "exec", "execfile", "compile", "__import__", "open", "input", "breakpoint", "apply"];
/// Others by their whole name.
const FUNCTIONS: [&str; 8] = [
    "torch.load",
    "torch.serialization.load",
    "torch.jit.load",
    "torch.jit.script",
    "io.open",
    "_io.open",
    "_io.FileIO",
    "numpy.load",
];

/// Does this function or class act on the machine?
pub(super) fn acts(module: &str, name: &str) -> bool {
    let within = |outer: &str| module.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if MODULES.iter().any(|outer| within(outer)) || INNER.iter().any(|outer| within(outer)) {
        return true;
    }
    // Protocol 4 names inner functions with dots.
    let last = name.rsplit('.').next().unwrap_or(name);
    let first = name.split('.').next().unwrap_or(name);
    if matches!(module, "builtins" | "__builtin__" | "__builtins__") {
        return BUILTINS.contains(&first) || BUILTINS.contains(&last);
    }
    let whole = format!("{module}.{name}");
    FUNCTIONS.contains(&whole.as_str()) || INNER.iter().any(|inner| whole.starts_with(&format!("{inner}.")))
}

#[cfg(test)]
mod tests {
    use super::acts;

    #[test]
    fn what_acts_is_known_and_what_is_beside_weights_is_not() {
        for (module, name) in [
            ("posix", "system"),
            ("os", "popen"),
            ("subprocess", "Popen"),
            ("builtins", "eval"),
            ("__builtin__", "execfile"),
            ("importlib", "import_module"),
            ("torch", "hub.load"),
            ("torch.hub", "load"),
            ("runpy", "_run_code"),
            ("multiprocessing.util", "spawnv_passfds"),
        ] {
            assert!(acts(module, name), "{module}.{name}");
        }
        for (module, name) in [
            ("argparse", "Namespace"),
            ("numpy.core.multiarray", "scalar"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "dtype"),
            ("builtins", "set"),
            ("builtins", "getattr"),
            ("pathlib", "PosixPath"),
            ("pathlib._local", "PosixPath"),
            ("datetime", "datetime"),
            ("collections", "Counter"),
            ("torch", "Size"),
            ("torch.serialization", "_get_layout"),
            ("torch", "device"),
            ("torch", "float32"),
            ("torch._C", "Generator"),
            ("types", "SimpleNamespace"),
            ("omegaconf.dictconfig", "DictConfig"),
            ("__main__", "Config"),
            ("functools", "partial"),
            ("osgeo.gdal", "Dataset"),
        ] {
            assert!(!acts(module, name), "{module}.{name}");
        }
    }
}

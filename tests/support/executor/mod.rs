//! Runs kernels on the CPU: the same sources as on a card, compiled as C++ with `device.cuh` beside this file.
#![allow(unsafe_code, reason = "a machine hands out memory and calls compiled code")]

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, CString, c_int, c_void};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use vcp_line::cuda::{CudaError, HEADERS, Kernel, Launch, Machine, Program, Properties, Stream, StreamHandle};

/// In which order the threads of a block and the blocks of a grid run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// First to last.
    Ascending,
    /// Last to first.
    Descending,
    /// Threads of a warp in another order each time.
    Scrambled,
}

/// Every order: a result that depends on it shows a missing barrier.
pub const ORDERS: [Order; 3] = [Order::Ascending, Order::Descending, Order::Scrambled];

type Run = unsafe extern "C" fn(*const u32, u32, usize, *const *const c_void, usize, c_int, u32);

/// A machine for launchers without a card.
#[derive(Debug)]
pub struct Executor {
    properties: Properties,
    order: Order,
    /// Address → start and length of its mapping.
    memory: Mutex<HashMap<u64, (usize, usize)>>,
}

/// Fibers and shared memory are static in each library, so one launch runs at a time.
static RUNNING: Mutex<()> = Mutex::new(());

impl Executor {
    /// With seven multiprocessors, so that small shapes are split among blocks unevenly.
    pub fn machine(order: Order) -> Arc<dyn Machine> {
        let properties = Properties {
            name: "CPU executor".to_owned(),
            sm: 80,
            multiprocessors: 7,
            shared_per_block: 163 * 1024,
            memory: 1 << 30,
            driver: 13_000,
        };
        Arc::new(Self { properties, order, memory: Mutex::default() })
    }
}

/// The stream of an executor: everything is done at once.
pub fn stream(machine: &Arc<dyn Machine>) -> Stream {
    Stream::new(Arc::clone(machine), StreamHandle(0), None)
}

impl Machine for Executor {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn allocate(&self, bytes: usize) -> Result<u64, CudaError> {
        // A page without access lies behind, as close as the alignment allows.
        let page = 4096;
        let used = bytes.next_multiple_of(256);
        let inner = used.next_multiple_of(page);
        // SAFETY: fresh memory at an address of the system's choice, of which the last page is closed.
        let start = unsafe {
            let start = libc::mmap(
                std::ptr::null_mut(),
                inner + page,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(start, libc::MAP_FAILED, "no memory");
            assert_eq!(libc::mprotect(start.byte_add(inner), page, libc::PROT_NONE), 0);
            start as usize
        };
        let address = (start + inner - used) as u64;
        self.memory.lock().unwrap().insert(address, (start, inner + page));
        Ok(address)
    }

    fn release(&self, address: u64) {
        let (start, length) = self.memory.lock().unwrap().remove(&address).expect("memory of this machine");
        // SAFETY: the mapping was made by `allocate` and is forgotten.
        assert_eq!(unsafe { libc::munmap(start as *mut c_void, length) }, 0);
    }

    unsafe fn write(&self, address: u64, bytes: &[u8]) -> Result<(), CudaError> {
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
        Ok(())
    }

    unsafe fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), CudaError> {
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(address as *const u8, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    fn load(&self, program: &Program) -> Result<Vec<Kernel>, CudaError> {
        let library = *LIBRARIES.lock().unwrap().entry(program.name).or_insert_with(|| build(program));
        Ok(program
            .kernels
            .iter()
            .map(|&name| Kernel { name, handle: symbol(library, &format!("run_{name}")) })
            .collect())
    }

    unsafe fn launch(&self, _: StreamHandle, launch: &Launch<'_>) -> Result<(), CudaError> {
        let args: Vec<*const c_void> = launch.args.iter().map(|arg| arg.0).collect();
        let _alone = RUNNING.lock().unwrap();
        // SAFETY: `load` took the handle from a library where it has this type; the rest is the caller's promise.
        unsafe {
            let run: Run = std::mem::transmute(launch.kernel.handle);
            run(
                launch.grid.as_ptr(),
                launch.threads,
                launch.shared,
                args.as_ptr(),
                args.len(),
                self.order as c_int,
                333,
            );
        }
        Ok(())
    }

    unsafe fn clear(&self, _: StreamHandle, address: u64, bytes: usize) -> Result<(), CudaError> {
        // SAFETY: the caller's promise.
        unsafe { std::ptr::write_bytes(address as *mut u8, 0, bytes) };
        Ok(())
    }
}

/// Program name → library.
static LIBRARIES: Mutex<BTreeMap<&'static str, usize>> = Mutex::new(BTreeMap::new());

/// Compiles a program with an entry `run_NAME` for each kernel, and loads it.
fn build(program: &Program) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    for (name, text) in HEADERS.iter().filter(|(name, _)| *name != "device.cuh") {
        put(name, text);
    }
    put("device.cuh", include_str!("device.cuh"));
    let mut source = program.source.to_owned();
    for kernel in program.kernels {
        source += &format!(
            "extern \"C\" void run_{kernel}(const unsigned* grid, unsigned threads, size_t shared, void** args, size_t count, \
             int order, unsigned seed) {{ executor::launch({kernel}, grid, threads, shared, args, count, order, seed); }}\n"
        );
    }
    put("program.cpp", &source);
    let library = folder.path().join("program.so");
    let out = Command::new("g++")
        .args(["-std=c++20", "-O1", "-fPIC", "-shared", "-fno-strict-aliasing", "-ffp-contract=off"])
        .args(["-U_FORTIFY_SOURCE", "-o"])
        .arg(&library)
        .arg(folder.path().join("program.cpp"))
        .output()
        .expect("g++ runs: scripts/setup-debian.sh installs it");
    assert!(out.status.success(), "{}: {}", program.name, String::from_utf8_lossy(&out.stderr));
    open(&library)
}

fn open(path: &Path) -> usize {
    let name = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: the library was just built and runs nothing when it is loaded. Its names stay its own.
    let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    // SAFETY: the message is a C string until the next call.
    assert!(!library.is_null(), "{:?}", unsafe { CStr::from_ptr(libc::dlerror()) });
    library as usize
}

fn symbol(library: usize, name: &str) -> usize {
    let text = CString::new(name).unwrap();
    // SAFETY: libraries are never closed.
    let found = unsafe { libc::dlsym(library as *mut c_void, text.as_ptr()) };
    assert!(!found.is_null(), "no {name}");
    found as usize
}

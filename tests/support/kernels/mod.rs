//! Every kernel's cases and their judges in plain Rust, for any machine: the CPU executor and a card run the same.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(unsafe_code, reason = "a machine that watches another passes on what it is asked")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

pub mod maps;
pub mod memory;
pub mod post_vcp;
pub mod preprocess;
pub mod threshold;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use half::f16;
use vcp_line::cuda::{Buffer, CudaError, Kernel, Launch, Machine, PROGRAMS, Program, Properties, Stream, StreamHandle};

/// Largest difference from plain Rust of what Post-VCP, maps and a memory's distances say, from float32 features and from exact halves.
pub const TOLERANCE: f32 = 1e-5;
/// The same for Post-VCP and the memory's distances on the tensor cores of a card: their accumulator drops the bits below the largest of the terms
/// that it adds up, instead of rounding, and a long sequence adds hundreds of times.
pub const TENSOR_CORE_TOLERANCE: f32 = 5e-5;

/// Largest difference of a whole look at a memory from one by the processor, of map and score: distances are held against
/// what good parts' differ by, which makes a difference in the last digits larger.
pub const WHOLE_TOLERANCE: f32 = 1e-4;
/// The same where tensor cores of a card compare.
pub const TENSOR_CORE_WHOLE_TOLERANCE: f32 = 2e-3;

/// Where kernels run, and which have run.
pub struct Place {
    pub machine: Arc<dyn Machine>,
    pub stream: Stream,
    /// How failures name it.
    pub name: String,
    launched: Launched,
}

type Launched = Arc<Mutex<BTreeSet<&'static str>>>;

impl Place {
    /// On `machine`, of which `stream` is one.
    pub fn new(name: impl Into<String>, machine: Arc<dyn Machine>, stream: Stream) -> Self {
        let properties = machine.properties().clone();
        Self::watching(name.into(), machine, properties, stream, Launched::default())
    }

    /// The same machine with less shared memory for a block, as smaller cards have, and so other paths.
    pub fn with_shared(&self, bytes: usize) -> Self {
        let properties = Properties { shared_per_block: bytes, ..self.machine.properties().clone() };
        let name = format!("{}, {bytes} bytes of shared memory", self.name);
        Self::watching(name, Arc::clone(&self.machine), properties, self.stream.clone(), Arc::clone(&self.launched))
    }

    fn watching(
        name: String,
        inner: Arc<dyn Machine>,
        properties: Properties,
        stream: Stream,
        launched: Launched,
    ) -> Self {
        let handle = StreamHandle(stream.raw() as usize);
        let machine: Arc<dyn Machine> = Arc::new(Watched { inner, properties, launched: Arc::clone(&launched) });
        let stream = Stream::new(Arc::clone(&machine), handle, Some(Arc::new(stream)));
        Self { machine, stream, name, launched }
    }

    /// Panics unless every kernel of the programs whose names start with `stem` has run here.
    pub fn assert_reached(&self, stem: &str) {
        let launched = self.launched.lock().unwrap();
        let kernels = PROGRAMS.iter().filter(|program| program.name.starts_with(stem)).flat_map(|p| p.kernels);
        let missed: Vec<_> = kernels.filter(|kernel| !launched.contains(*kernel)).collect();
        assert!(missed.is_empty() && !launched.is_empty(), "{}: {missed:?} never ran", self.name);
    }

    /// `values` in its memory.
    pub fn put<T: bytemuck::Pod>(&self, values: &[T]) -> Buffer<T> {
        Buffer::from_slice(&self.machine, values).unwrap()
    }

    /// `values` in its memory as halves.
    pub fn put_halves(&self, values: &[f32]) -> Buffer<f16> {
        let halves: Vec<f16> = values.iter().map(|&value| f16::from_f32(value)).collect();
        self.put(&halves)
    }

    /// Memory for results, full of not-a-numbers: one that is never written shows.
    pub fn poisoned(&self, len: usize) -> Buffer<f32> {
        self.put(&vec![f32::NAN; len])
    }
}

/// Another machine under its own properties, which notes the kernels that run.
#[derive(Debug)]
struct Watched {
    inner: Arc<dyn Machine>,
    properties: Properties,
    launched: Launched,
}

impl Machine for Watched {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn allocate(&self, bytes: usize) -> Result<u64, CudaError> {
        self.inner.allocate(bytes)
    }

    fn release(&self, address: u64) {
        self.inner.release(address);
    }

    unsafe fn write(&self, address: u64, bytes: &[u8]) -> Result<(), CudaError> {
        // SAFETY: the caller's promise.
        unsafe { self.inner.write(address, bytes) }
    }

    unsafe fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), CudaError> {
        // SAFETY: the caller's promise.
        unsafe { self.inner.read(address, bytes) }
    }

    fn load(&self, program: &Program) -> Result<Vec<Kernel>, CudaError> {
        self.inner.load(program)
    }

    unsafe fn launch(&self, stream: StreamHandle, launch: &Launch<'_>) -> Result<(), CudaError> {
        self.launched.lock().unwrap().insert(launch.kernel.name);
        // SAFETY: the caller's promise.
        unsafe { self.inner.launch(stream, launch) }
    }

    unsafe fn clear(&self, stream: StreamHandle, address: u64, bytes: usize) -> Result<(), CudaError> {
        // SAFETY: the caller's promise.
        unsafe { self.inner.clear(stream, address, bytes) }
    }
}

/// Numbers between −1 and 1, the same on every machine.
pub struct Random(pub u64);

impl Random {
    fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    fn number(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / (1 << 23) as f32 - 1.0
    }

    /// From `first` to `last`, both included.
    pub fn between(&mut self, first: usize, last: usize) -> usize {
        first + self.bits() as usize % (last - first + 1)
    }

    /// `count` numbers between −`scale` and `scale`.
    pub fn numbers(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| self.number() * scale).collect()
    }

    /// The same, each a half, so that both types hold the same numbers.
    pub fn halves(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| f16::from_f32(self.number() * scale).to_f32()).collect()
    }

    /// `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.bits() >> 24) as u8).collect()
    }
}

#[track_caller]
fn assert_close(what: &str, got: &[f32], wanted: &[f32], tolerance: f32) {
    assert_eq!(got.len(), wanted.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(wanted).enumerate() {
        // A NaN is not close to anything.
        assert!((g - w).abs() <= tolerance, "{what}: number {i} is {g}, and plain Rust says {w}");
    }
}

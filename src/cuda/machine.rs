//! What runs kernels, seen from the launchers: memory, compiled kernels, streams.
//!
//! Two machines exist: [`super::Gpu`], and the tests' CPU executor, which compiles the same sources as C++.

use std::any::Any;
use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use bytemuck::{NoUninit, Pod};

use super::error::CudaError;

/// Runs kernels. Implemented by the GPU and by the tests' CPU executor.
pub trait Machine: Send + Sync + fmt::Debug {
    /// Sizes that launches depend on.
    fn properties(&self) -> &Properties;
    /// `bytes` of zeroed memory, aligned to 256 bytes; the address is valid in kernels.
    fn allocate(&self, bytes: usize) -> Result<u64, CudaError>;
    /// Gives back what [`Self::allocate`] gave, after all work on it.
    fn release(&self, address: u64);
    /// Copies from host memory and waits for it.
    ///
    /// # Safety
    /// `address` lies in memory of this machine with at least `bytes.len()` bytes behind it.
    unsafe fn write(&self, address: u64, bytes: &[u8]) -> Result<(), CudaError>;
    /// Waits for all work of the machine, then copies to host memory.
    ///
    /// # Safety
    /// As for [`Self::write`].
    unsafe fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), CudaError>;
    /// Compiles (or finds compiled) a program's kernels.
    fn load(&self, program: &Program) -> Result<Vec<Kernel>, CudaError>;
    /// Enqueues a kernel.
    ///
    /// # Safety
    /// The arguments are those of the kernel, in order, and every address in them has the memory behind it that the
    /// kernel touches, until the stream has passed it.
    unsafe fn launch(&self, stream: StreamHandle, launch: &Launch<'_>) -> Result<(), CudaError>;
    /// Enqueues the zeroing of `bytes` bytes.
    ///
    /// # Safety
    /// As for [`Self::write`], until the stream has passed it.
    unsafe fn clear(&self, stream: StreamHandle, address: u64, bytes: usize) -> Result<(), CudaError>;
}

/// What is known of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// As the driver names it.
    pub name: String,
    /// Compute capability × 10: 89 is SM 8.9.
    pub sm: u32,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Shared memory that one block may ask for, bytes.
    pub shared_per_block: usize,
    /// Memory, bytes.
    pub memory: usize,
    /// CUDA version of the driver × 1000 + minor × 10: 13000 is 13.0.
    pub driver: u32,
}

/// Source text of some kernels and the names of those wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// File name without folder.
    pub name: &'static str,
    /// Text of the file.
    pub source: &'static str,
    /// Kernels in it, in the order in which [`Machine::load`] answers.
    pub kernels: &'static [&'static str],
}

/// A kernel that can be launched; stays valid as long as its machine.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its name in the source.
    pub name: &'static str,
    /// What the machine knows it by.
    pub handle: usize,
}

/// Identifies a stream to its machine; on a GPU the `CUstream`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHandle(pub usize);

/// A kernel with its geometry and arguments.
#[derive(Debug)]
pub struct Launch<'a> {
    /// Which.
    pub kernel: &'a Kernel,
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block, in x.
    pub threads: u32,
    /// Dynamic shared memory of a block, bytes.
    pub shared: usize,
    /// Arguments in the kernel's order.
    pub args: &'a [Arg<'a>],
}

/// Address of one kernel argument.
#[derive(Clone, Copy, Debug)]
pub struct Arg<'a>(pub *const c_void, PhantomData<&'a ()>);

/// An argument by value: numbers, addresses, or a `repr(C)` record of them.
pub(super) fn arg<T: NoUninit>(value: &T) -> Arg<'_> {
    Arg(std::ptr::from_ref(value).cast(), PhantomData)
}

/// Work in order, on one machine.
#[derive(Clone)]
pub struct Stream {
    machine: Arc<dyn Machine>,
    handle: StreamHandle,
    /// Keeps the machine's own stream alive.
    owner: Option<Arc<dyn Any + Send + Sync>>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("machine", &self.machine).field("handle", &self.handle).finish()
    }
}

impl Stream {
    /// Wraps a machine's stream; `owner` is kept for as long as the result lives.
    pub fn new(machine: Arc<dyn Machine>, handle: StreamHandle, owner: Option<Arc<dyn Any + Send + Sync>>) -> Self {
        Self { machine, handle, owner }
    }

    /// The `CUstream`, for libraries that enqueue on it (TensorRT's `enqueueV3`). Do not destroy it.
    pub fn raw(&self) -> *mut c_void {
        self.handle.0 as *mut c_void
    }

    pub(super) fn handle(&self) -> StreamHandle {
        self.handle
    }

    /// The machine's own stream, when it is a `T`.
    pub(super) fn owner<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        Arc::downcast(self.owner.clone()?).ok()
    }

    /// Where it runs.
    pub fn machine(&self) -> &Arc<dyn Machine> {
        &self.machine
    }

    /// See [`Machine::launch`].
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn launch(&self, launch: &Launch<'_>) -> Result<(), CudaError> {
        // SAFETY: the caller's promise.
        unsafe { self.machine.launch(self.handle, launch) }
    }

    /// Enqueues the zeroing of a buffer.
    pub fn clear<T: Pod>(&self, values: ViewMut<'_, T>) -> Result<(), CudaError> {
        // SAFETY: a view has its memory behind it.
        unsafe { self.machine.clear(self.handle, values.address, values.len * size_of::<T>()) }
    }
}

/// Owned device memory of `len` values.
pub struct Buffer<T> {
    machine: Arc<dyn Machine>,
    address: u64,
    len: usize,
    values: PhantomData<T>,
}

impl<T> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer<{}>({} at {:#x})", std::any::type_name::<T>(), self.len, self.address)
    }
}

impl<T: Pod> Buffer<T> {
    /// `len` zeros.
    pub fn zeros(machine: &Arc<dyn Machine>, len: usize) -> Result<Self, CudaError> {
        // An empty buffer keeps a real address, so that no kernel argument is null.
        let address = machine.allocate(len.max(1) * size_of::<T>())?;
        Ok(Self { machine: Arc::clone(machine), address, len, values: PhantomData })
    }

    /// A copy of `values`.
    pub fn from_slice(machine: &Arc<dyn Machine>, values: &[T]) -> Result<Self, CudaError> {
        let mut buffer = Self::zeros(machine, values.len())?;
        buffer.write(values)?;
        Ok(buffer)
    }

    /// Replaces the first `values.len()` values and waits for it; not for the hot path.
    pub fn write(&mut self, values: &[T]) -> Result<(), CudaError> {
        self.write_at(0, values)
    }

    /// Replaces the values from `first` on and waits for it; not for the hot path.
    pub fn write_at(&mut self, first: usize, values: &[T]) -> Result<(), CudaError> {
        CudaError::check_length("the buffer written to", values.len(), self.len.saturating_sub(first))?;
        let address = self.address + (first * size_of::<T>()) as u64;
        // SAFETY: the length was checked above.
        unsafe { self.machine.write(address, bytemuck::cast_slice(values)) }
    }

    /// Waits for all work and copies everything to the host; not for the hot path.
    pub fn read(&self) -> Result<Vec<T>, CudaError> {
        let mut values = vec![T::zeroed(); self.len];
        // SAFETY: the vector is as long as the buffer.
        unsafe { self.machine.read(self.address, bytemuck::cast_slice_mut(&mut values))? };
        Ok(values)
    }

    /// Values in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Address on the device, for libraries that bind it (TensorRT's `setTensorAddress`).
    pub fn address(&self) -> u64 {
        self.address
    }

    /// All of it, to be read.
    pub fn view(&self) -> View<'_, T> {
        View { address: self.address, len: self.len, memory: PhantomData }
    }

    /// All of it, to be written.
    pub fn view_mut(&mut self) -> ViewMut<'_, T> {
        ViewMut { address: self.address, len: self.len, memory: PhantomData }
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        self.machine.release(self.address);
    }
}

/// Device memory that a kernel reads: `len` values from `address`.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, T> {
    address: u64,
    len: usize,
    memory: PhantomData<&'a [T]>,
}

/// Device memory that a kernel writes.
#[derive(Debug)]
pub struct ViewMut<'a, T> {
    address: u64,
    len: usize,
    memory: PhantomData<&'a mut [T]>,
}

macro_rules! view {
    ($view:ident) => {
        impl<'a, T> $view<'a, T> {
            /// Memory that something else owns, such as a library's output.
            ///
            /// # Safety
            /// `len` values lie at `address` on the machine that the kernels run on, and stay there for `'a` and until
            /// every stream has passed the kernels that were given them.
            pub unsafe fn from_raw(address: u64, len: usize) -> Self {
                Self { address, len, memory: PhantomData }
            }

            /// Values in it.
            pub fn len(&self) -> usize {
                self.len
            }

            /// Whether it holds nothing.
            pub fn is_empty(&self) -> bool {
                self.len == 0
            }

            /// Address of the first value.
            pub fn address(&self) -> u64 {
                self.address
            }

            pub(super) fn as_arg(&self) -> Arg<'_> {
                arg(&self.address)
            }

            /// Some of it.
            ///
            /// # Panics
            /// When the range ends behind the view, as with slices.
            pub fn slice(self, range: Range<usize>) -> Self {
                assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {} values", self.len);
                Self {
                    address: self.address + (range.start * size_of::<T>()) as u64,
                    len: range.end - range.start,
                    memory: PhantomData,
                }
            }
        }
    };
}
view!(View);
view!(ViewMut);

impl<T> ViewMut<'_, T> {
    /// The same memory, for a while.
    pub fn reborrow(&mut self) -> ViewMut<'_, T> {
        ViewMut { address: self.address, len: self.len, memory: PhantomData }
    }

    /// The same memory, to be read by what is enqueued from now on.
    pub fn as_view(&self) -> View<'_, T> {
        View { address: self.address, len: self.len, memory: PhantomData }
    }
}

/// Numbers on the device in one of two types.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// float32.
    F32(View<'a, f32>),
    /// float16.
    F16(View<'a, half::f16>),
}

/// Numbers to be written on the device in one of two types.
#[derive(Debug)]
pub enum ValuesMut<'a> {
    /// float32.
    F32(ViewMut<'a, f32>),
    /// float16.
    F16(ViewMut<'a, half::f16>),
}

macro_rules! values {
    ($values:ident) => {
        impl $values<'_> {
            /// How many.
            pub fn len(&self) -> usize {
                match self {
                    Self::F32(view) => view.len(),
                    Self::F16(view) => view.len(),
                }
            }

            /// Whether there are none.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Address of the first.
            pub fn address(&self) -> u64 {
                match self {
                    Self::F32(view) => view.address(),
                    Self::F16(view) => view.address(),
                }
            }

            /// Their type.
            pub fn dtype(&self) -> Dtype {
                match self {
                    Self::F32(_) => Dtype::F32,
                    Self::F16(_) => Dtype::F16,
                }
            }
        }
    };
}
values!(Values);
values!(ValuesMut);

impl Values<'_> {
    pub(super) fn as_arg(&self) -> Arg<'_> {
        match self {
            Self::F32(view) => view.as_arg(),
            Self::F16(view) => view.as_arg(),
        }
    }
}

/// Type of numbers on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// float32.
    F32,
    /// float16.
    F16,
}

/// The addresses of up to [`MOST_LAYERS`] tensors, one per tapped layer, as a kernel takes them.
#[repr(C)]
#[derive(Clone, Copy, Debug, NoUninit)]
pub(super) struct Addresses(pub [u64; MOST_LAYERS]);

/// Tapped layers that one launch covers.
pub const MOST_LAYERS: usize = 8;

impl Addresses {
    /// Checks number, type and length of the tensors. `needed` counts values of each.
    pub(super) fn of(
        what: &'static str,
        tensors: &[Values<'_>],
        dtype: Dtype,
        needed: usize,
    ) -> Result<Self, CudaError> {
        let mut addresses = Self([0; MOST_LAYERS]);
        for (address, tensor) in addresses.0.iter_mut().zip(tensors) {
            CudaError::check_length(what, needed, tensor.len())?;
            if tensor.dtype() != dtype {
                return Err(CudaError::Unsupported { what, found: tensors.len(), allowed: "tensors of one type" });
            }
            *address = tensor.address();
        }
        Ok(addresses)
    }
}

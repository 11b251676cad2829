//! The graphics card: its context, memory, streams, graphs and clocks.

use std::collections::HashMap;
use std::ffi::c_void;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytemuck::Pod;
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};
use cudarc::driver::{CudaContext, CudaEvent, CudaFunction, CudaGraph, CudaStream, DriverError, result};
use cudarc::nvrtc::Ptx;

use super::compile::KernelCache;
use super::error::CudaError;
use super::machine::{Kernel, Launch, Machine, Program, Properties, Stream, StreamHandle, View, ViewMut};
use super::versions::{OLDEST_DRIVER, OLDEST_SM, RUNTIME, dotted};

/// One NVIDIA GPU, shared by everything that runs on it.
pub struct Gpu {
    context: Arc<CudaContext>,
    properties: Properties,
    cache: KernelCache,
    loaded: Mutex<HashMap<&'static str, Vec<CudaFunction>>>,
    me: Weak<Gpu>,
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gpu({}, SM {})", self.properties.name, self.properties.sm)
    }
}

impl Gpu {
    /// Opens card `ordinal` (from 0) and checks driver and architecture. Compiled kernels are kept in the user's cache
    /// folder.
    pub fn open(ordinal: usize) -> Result<Arc<Self>, CudaError> {
        // SAFETY: loading the driver library runs no code of ours.
        if !unsafe { sys::is_culib_present() } {
            return Err(CudaError::NoDriver { oldest: OLDEST_DRIVER });
        }
        let driver = driver_version()?;
        if driver < RUNTIME {
            return Err(CudaError::DriverTooOld {
                found: dotted(driver),
                needed: dotted(RUNTIME),
                oldest: OLDEST_DRIVER,
            });
        }
        let absent = |found: String| CudaError::NoDevice { ordinal, found };
        let count = CudaContext::device_count().map_err(|error| absent(describe(&error).1))?;
        if usize::try_from(count).unwrap_or(0) <= ordinal {
            return Err(absent(format!("{count} GPUs")));
        }
        let context = CudaContext::new(ordinal).map_err(driver_error("opening the GPU"))?;
        // SAFETY: no memory of cudarc's own is used: `Buffer` frees after all work, and streams are ordered by events
        // that this crate records itself. Tracking would put events of other captures into a graph.
        unsafe { context.disable_event_tracking() };
        let properties = properties(&context, driver)?;
        if properties.sm < OLDEST_SM {
            return Err(CudaError::Architecture { name: properties.name, sm: properties.sm });
        }
        let cache = KernelCache::of_user();
        Ok(Arc::new_cyclic(|me| Self {
            context,
            properties,
            cache,
            loaded: Mutex::new(HashMap::new()),
            me: Weak::clone(me),
        }))
    }

    /// As the trait object that buffers and launchers keep.
    pub fn machine(self: &Arc<Self>) -> Arc<dyn Machine> {
        Arc::clone(self) as Arc<dyn Machine>
    }

    /// A new stream, independent of the default stream.
    pub fn stream(&self) -> Result<Stream, CudaError> {
        let stream = self.context.new_stream().map_err(driver_error("making a stream"))?;
        let handle = StreamHandle(stream.cu_stream() as usize);
        let machine: Arc<dyn Machine> = self.me.upgrade().ok_or(CudaError::NoDevice {
            ordinal: self.context.ordinal(),
            found: "a GPU that is being closed".to_owned(),
        })?;
        Ok(Stream::new(machine, handle, Some(stream)))
    }

    /// Free and total memory, bytes.
    pub fn memory(&self) -> Result<(usize, usize), CudaError> {
        self.context.mem_get_info().map_err(driver_error("asking for free memory"))
    }

    /// The card's identity, which stays the same across restarts.
    pub fn uuid(&self) -> Result<String, CudaError> {
        let uuid = self.context.uuid().map_err(driver_error("asking for the UUID"))?;
        Ok(hex::encode(uuid.bytes.map(|byte| byte as u8)))
    }

    /// Waits until a stream has done everything.
    pub fn synchronize(&self, stream: &Stream) -> Result<(), CudaError> {
        self.bind()?;
        // SAFETY: the stream is alive, as it is borrowed.
        unsafe { result::stream::synchronize(cu_stream(stream.handle())) }.map_err(driver_error("waiting for a stream"))
    }

    /// Records what `work` enqueues on `stream` as a graph that is launched as one. Nothing runs yet.
    ///
    /// The graph holds addresses, not buffers: whoever keeps it keeps every buffer that `work` used.
    pub fn capture<E: From<CudaError>>(
        &self,
        stream: &Stream,
        work: impl FnOnce() -> Result<(), E>,
    ) -> Result<Graph, E> {
        let owner = self.wrap(stream);
        owner
            .begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .map_err(driver_error("starting to capture"))?;
        let worked = work();
        // The capture is ended in any case: a stream left in it takes no work any more.
        let ended =
            owner.end_capture(sys::CUgraphInstantiate_flags_enum(0)).map_err(driver_error("ending the capture"));
        worked?;
        match ended? {
            Some(graph) => Ok(Graph { graph, _stream: stream.clone() }),
            None => Err(CudaError::Driver {
                call: "ending the capture",
                code: "no graph".to_owned(),
                text: "the work captured broke the capture off".to_owned(),
            }
            .into()),
        }
    }

    /// A point in a stream's time.
    pub fn event(&self) -> Result<Event, CudaError> {
        let event = self
            .context
            .new_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT))
            .map_err(driver_error("making an event"))?;
        Ok(Event(event))
    }

    /// `len` zeros of page-locked host memory, which copies overlap with kernels from.
    pub fn host_buffer<T: Pod>(&self, len: usize) -> Result<HostBuffer<T>, CudaError> {
        self.bind()?;
        let bytes = len.max(1) * size_of::<T>();
        // SAFETY: the memory is written below before anybody reads it.
        let address = unsafe { result::malloc_host(bytes, 0) }.map_err(driver_error("locking host memory"))?;
        // SAFETY: `bytes` bytes were allocated at `address`.
        unsafe { std::ptr::write_bytes(address.cast::<u8>(), 0, bytes) };
        Ok(HostBuffer { address: address.cast(), len, context: Arc::clone(&self.context) })
    }

    /// Enqueues a copy to the device.
    ///
    /// # Safety
    /// `from` is neither written nor dropped, and the memory of `to` stays, until the stream has passed the copy.
    pub unsafe fn upload<T: Pod>(&self, stream: &Stream, from: &[T], to: ViewMut<'_, T>) -> Result<(), CudaError> {
        CudaError::check_length("the memory copied to", from.len(), to.len())?;
        self.bind()?;
        // SAFETY: the length was checked, and the caller keeps both sides.
        unsafe { result::memcpy_htod_async(to.address(), from, cu_stream(stream.handle())) }
            .map_err(driver_error("copying to the GPU"))
    }

    /// Enqueues a copy to the host.
    ///
    /// # Safety
    /// `to` is neither read, written nor dropped, and the memory of `from` stays, until the stream has passed the copy.
    pub unsafe fn download<T: Pod>(&self, stream: &Stream, from: View<'_, T>, to: &mut [T]) -> Result<(), CudaError> {
        CudaError::check_length("the memory copied from", to.len(), from.len())?;
        self.bind()?;
        // SAFETY: the length was checked, and the caller keeps both sides.
        unsafe { result::memcpy_dtoh_async(to, from.address(), cu_stream(stream.handle())) }
            .map_err(driver_error("copying from the GPU"))
    }

    /// Enqueues a copy within the device.
    pub fn copy<T: Pod>(&self, stream: &Stream, from: View<'_, T>, to: ViewMut<'_, T>) -> Result<(), CudaError> {
        CudaError::check_length("the memory copied to", from.len(), to.len())?;
        self.bind()?;
        let bytes = from.len() * size_of::<T>();
        // SAFETY: both views have their memory behind them, and the length was checked.
        unsafe { result::memcpy_dtod_async(to.address(), from.address(), bytes, cu_stream(stream.handle())) }
            .map_err(driver_error("copying within the GPU"))
    }

    fn bind(&self) -> Result<(), CudaError> {
        self.context.bind_to_thread().map_err(driver_error("binding the GPU to this thread"))
    }

    /// Waits for the default stream. What the driver calls synchronous may return while the card still writes (memory
    /// sets, and copies from memory that is not page-locked), and our streams do not wait for the default one.
    fn settle(&self) -> Result<(), CudaError> {
        // SAFETY: null is the default stream, which always exists; the callers have bound the context.
        unsafe { result::stream::synchronize(std::ptr::null_mut()) }.map_err(driver_error("waiting for the GPU"))
    }

    /// The owner of a stream that this GPU made.
    fn wrap(&self, stream: &Stream) -> Arc<CudaStream> {
        stream.owner::<CudaStream>().unwrap_or_else(|| self.context.default_stream())
    }
}

impl Machine for Gpu {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn allocate(&self, bytes: usize) -> Result<u64, CudaError> {
        self.bind()?;
        // SAFETY: the memory is zeroed below before anybody reads it.
        let address = unsafe { result::malloc_sync(bytes) }.map_err(|error| match (error.0, self.memory()) {
            (sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY, Ok((free, total))) => {
                CudaError::Memory { wanted: bytes, free, total }
            }
            _ => driver_error("allocating")(error),
        })?;
        // SAFETY: `bytes` bytes were allocated at `address`.
        unsafe { result::memset_d8_sync(address, 0, bytes) }.map_err(driver_error("zeroing memory"))?;
        self.settle()?;
        Ok(address)
    }

    fn release(&self, address: u64) {
        // SAFETY: the address came from `allocate`; the driver waits for work that uses it.
        let freed = self.bind().and_then(|()| unsafe { result::free_sync(address) }.map_err(driver_error("freeing")));
        if let Err(error) = freed {
            tracing::warn!(%error, "GPU memory was not given back");
        }
    }

    unsafe fn write(&self, address: u64, bytes: &[u8]) -> Result<(), CudaError> {
        self.bind()?;
        // SAFETY: the caller's promise.
        unsafe { result::memcpy_htod_sync(address, bytes) }.map_err(driver_error("copying to the GPU"))?;
        self.settle()
    }

    unsafe fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), CudaError> {
        self.context.synchronize().map_err(driver_error("waiting for the GPU"))?;
        // SAFETY: the caller's promise.
        unsafe { result::memcpy_dtoh_sync(bytes, address) }.map_err(driver_error("copying from the GPU"))
    }

    fn load(&self, program: &Program) -> Result<Vec<Kernel>, CudaError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if !loaded.contains_key(program.name) {
            let cubin = self.cache.cubin(program, self.properties.sm)?;
            let module = self.context.load_module(Ptx::from_binary(cubin)).map_err(driver_error("loading kernels"))?;
            let functions = program
                .kernels
                .iter()
                .map(|name| {
                    let function = module.load_function(name)?;
                    // Kernels that keep many tokens at once ask for more than the 48 KiB that every card has.
                    let most = self.properties.shared_per_block as i32 - function.shared_size_bytes()?;
                    let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
                    function.set_attribute(attribute, most)?;
                    Ok(function)
                })
                .collect::<Result<Vec<_>, DriverError>>()
                .map_err(driver_error("finding a kernel"))?;
            loaded.insert(program.name, functions);
        }
        // Functions stay in the map as long as the GPU, so their handles stay valid.
        let handles = loaded[program.name].iter().map(|function| function.cu_function() as usize);
        Ok(program.kernels.iter().zip(handles).map(|(&name, handle)| Kernel { name, handle }).collect())
    }

    unsafe fn launch(&self, stream: StreamHandle, launch: &Launch<'_>) -> Result<(), CudaError> {
        self.bind()?;
        let [x, y, z] = launch.grid;
        let mut args: Vec<*mut c_void> = launch.args.iter().map(|arg| arg.0.cast_mut()).collect();
        // SAFETY: the handle came from `load`, and the caller keeps the arguments right.
        unsafe {
            result::launch_kernel(
                launch.kernel.handle as sys::CUfunction,
                (x, y, z),
                (launch.threads, 1, 1),
                launch.shared as u32,
                cu_stream(stream),
                &mut args,
            )
        }
        .map_err(driver_error(launch.kernel.name))
    }

    unsafe fn clear(&self, stream: StreamHandle, address: u64, bytes: usize) -> Result<(), CudaError> {
        self.bind()?;
        // SAFETY: the caller's promise.
        unsafe { result::memset_d8_async(address, 0, bytes, cu_stream(stream)) }.map_err(driver_error("zeroing"))
    }
}

/// Work recorded once and launched as one.
pub struct Graph {
    graph: CudaGraph,
    _stream: Stream,
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Graph")
    }
}

impl Graph {
    /// Enqueues everything on the stream that it was captured from.
    pub fn launch(&self) -> Result<(), CudaError> {
        self.graph.launch().map_err(driver_error("launching a graph"))
    }

    /// Sends what a launch needs to the card, so that the first launch is as fast as the others.
    pub fn upload(&self) -> Result<(), CudaError> {
        self.graph.upload().map_err(driver_error("uploading a graph"))
    }
}

/// A point in a stream's time.
pub struct Event(CudaEvent);

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Event")
    }
}

impl Event {
    /// Marks where `stream` is now.
    pub fn record(&self, stream: &Stream) -> Result<(), CudaError> {
        // SAFETY: event and stream are alive, as they are borrowed.
        unsafe { result::event::record(self.0.cu_event(), cu_stream(stream.handle())) }
            .map_err(driver_error("recording an event"))
    }

    /// Lets what is enqueued on `stream` from now on wait for the point marked.
    pub fn hold(&self, stream: &Stream) -> Result<(), CudaError> {
        // SAFETY: event and stream are alive, as they are borrowed.
        unsafe {
            result::stream::wait_event(
                cu_stream(stream.handle()),
                self.0.cu_event(),
                sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT,
            )
        }
        .map_err(driver_error("waiting for an event"))
    }

    /// Waits on the host until the point marked has been passed.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        self.0.synchronize().map_err(driver_error("waiting for an event"))
    }

    /// Milliseconds of GPU time from the point marked by `self` to that of `end`; waits for both.
    pub fn milliseconds_to(&self, end: &Self) -> Result<f32, CudaError> {
        self.0.elapsed_ms(&end.0).map_err(driver_error("reading the GPU's clock"))
    }
}

/// Page-locked host memory.
pub struct HostBuffer<T> {
    address: *mut T,
    len: usize,
    context: Arc<CudaContext>,
}

// SAFETY: the memory is the buffer's alone, and the driver takes it back from any thread.
unsafe impl<T: Send> Send for HostBuffer<T> {}

impl<T> fmt::Debug for HostBuffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostBuffer<{}>({})", std::any::type_name::<T>(), self.len)
    }
}

impl<T: Pod> HostBuffer<T> {
    /// The values; no copy from or to them may be under way.
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: `len` initialised values lie at `address` for as long as `self` lives.
        unsafe { std::slice::from_raw_parts(self.address, self.len) }
    }

    /// The values; no copy from or to them may be under way.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.address, self.len) }
    }
}

impl<T> Drop for HostBuffer<T> {
    fn drop(&mut self) {
        let bound = self.context.bind_to_thread();
        // SAFETY: the address came from `malloc_host`.
        let freed = bound.and_then(|()| unsafe { result::free_host(self.address.cast()) });
        if let Err(error) = freed {
            tracing::warn!(%error, "page-locked memory was not given back");
        }
    }
}

fn cu_stream(stream: StreamHandle) -> sys::CUstream {
    stream.0 as sys::CUstream
}

fn driver_version() -> Result<u32, CudaError> {
    let mut version = 0;
    // SAFETY: the library was found, and the pointer is that of a local.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }
        .result()
        .map_err(driver_error("asking for the driver's version"))?;
    Ok(version.unsigned_abs())
}

fn properties(context: &Arc<CudaContext>, driver: u32) -> Result<Properties, CudaError> {
    let ask = || {
        let (major, minor) = context.compute_capability()?;
        let attribute = |which| Ok::<_, DriverError>(context.attribute(which)?.unsigned_abs());
        Ok::<_, DriverError>(Properties {
            name: context.name()?,
            sm: (major * 10 + minor).unsigned_abs(),
            multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            shared_per_block: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)? as usize,
            memory: context.total_mem()?,
            driver,
        })
    };
    ask().map_err(driver_error("asking for the GPU's properties"))
}

/// Name and description of a driver error.
fn describe(error: &DriverError) -> (String, String) {
    let text = |found: Result<&std::ffi::CStr, DriverError>| {
        found.map_or_else(|_| format!("{:?}", error.0), |text| text.to_string_lossy().into_owned())
    };
    (text(error.error_name()), text(error.error_string()))
}

fn driver_error(call: &'static str) -> impl Fn(DriverError) -> CudaError {
    move |error| {
        let (code, text) = describe(&error);
        CudaError::Driver { call, code, text }
    }
}

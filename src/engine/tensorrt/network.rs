//! The network on the card: TensorRT's plan loaded once, an execution context per batch size.

use std::ffi::c_void;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use half::f16;
use trtx::trtx_sys::Dims;
use trtx::{CudaEngine, DataType, ExecutionContext, ExecutionContextAllocationStrategy, Runtime, RuntimeConfig};

use super::super::onnx::{OutputNames, typed};
use super::super::{EngineError, Precision};
#[cfg(not(feature = "tensorrt-enterprise"))]
use super::cache::Cache;
use super::failure::{ENGINE, card, forget, logger, runtime};
use crate::cuda::{Buffer, Machine, Stream, Values, ValuesMut};
use crate::vcp_clip::Architecture;

/// Numbers of one tensor on the card, in the type that the graph has there.
#[derive(Debug)]
pub enum Tensor {
    F32(Buffer<f32>),
    F16(Buffer<f16>),
}

impl Tensor {
    fn new(machine: &Arc<dyn Machine>, kind: DataType, len: usize) -> Result<Self, EngineError> {
        match kind {
            DataType::kHALF => Ok(Self::F16(Buffer::zeros(machine, len).map_err(card)?)),
            _ => Ok(Self::F32(Buffer::zeros(machine, len).map_err(card)?)),
        }
    }

    fn address(&self) -> *mut c_void {
        let address = match self {
            Self::F32(buffer) => buffer.address(),
            Self::F16(buffer) => buffer.address(),
        };
        address as *mut c_void
    }

    /// All of them.
    pub fn values(&self) -> Values<'_> {
        match self {
            Self::F32(buffer) => Values::F32(buffer.view()),
            Self::F16(buffer) => Values::F16(buffer.view()),
        }
    }
}

/// TensorRT's part of the engine. TensorRT asks for a context of its own for every captured graph; they share their
/// working memory, as they run one after the other.
pub struct Network {
    // Drop order: contexts before what they were made from. trtx's context lets go of its configuration before it is
    // destroyed itself, so that is held here too.
    contexts: Vec<Option<ExecutionContext<'static>>>,
    _config: Rc<RuntimeConfig<'static>>,
    #[cfg(not(feature = "tensorrt-enterprise"))]
    cache: Cache,
    engine: CudaEngine<'static>,
    _runtime: Runtime<'static>,
    working: Buffer<u8>,
    image: Tensor,
    /// Also of those who look at them after the batch.
    tokens: Arc<[Tensor]>,
    text: Buffer<f32>,
    raw: Vec<Buffer<f32>>,
    names: OutputNames,
    side: i64,
}

impl Network {
    /// Loads a plan that was built by [`super::build`] for `arch`, `precision` and at least `max_batch`.
    ///
    /// `cache_file` keeps what TensorRT-RTX compiles on this card for the next start.
    pub fn load(
        machine: &Arc<dyn Machine>,
        plan: &[u8],
        arch: &Architecture,
        precision: Precision,
        max_batch: usize,
        cache_file: Option<PathBuf>,
    ) -> Result<Self, EngineError> {
        forget();
        let mut run = Runtime::new(logger()?).map_err(runtime("starting TensorRT"))?;
        let mut engine = run.deserialize_cuda_engine(plan).map_err(runtime("loading the plan"))?;
        let edges = if precision == Precision::Fp32 { DataType::kFLOAT } else { DataType::kHALF };
        let names = OutputNames::new(&arch.taps);
        let floats = [names.text.as_str()].into_iter().chain(names.raw.iter().map(String::as_str));
        let halves = [typed::IMAGE].into_iter().chain(names.tokens.iter().map(String::as_str));
        for (name, kind) in floats.map(|name| (name, DataType::kFLOAT)).chain(halves.map(|name| (name, edges))) {
            let found = engine.tensor_data_type(name).map_err(runtime("reading the plan's tensors"))?;
            if found != kind {
                let reason = format!("tensor '{name}' holds {found:?}, {kind:?} was expected");
                return Err(EngineError::Runtime { engine: ENGINE, step: "reading the plan's tensors", reason });
            }
        }
        let mut config = engine.create_runtime_config().map_err(runtime("configuring TensorRT"))?;
        config.set_execution_context_allocation_strategy(ExecutionContextAllocationStrategy::kUSER_MANAGED);
        #[cfg(not(feature = "tensorrt-enterprise"))]
        let cache = Cache::open(&mut config, cache_file)?;
        #[cfg(feature = "tensorrt-enterprise")]
        drop(cache_file);
        let tensor = |kind, len: usize| Tensor::new(machine, kind, max_batch * len);
        let floats = |len: usize| Buffer::zeros(machine, max_batch * len).map_err(card);
        let (side, patches) = (arch.image_size, arch.patches());
        let mut network = Self {
            contexts: (0..max_batch).map(|_| None).collect(),
            _config: Rc::new(config),
            #[cfg(not(feature = "tensorrt-enterprise"))]
            cache,
            engine,
            _runtime: run,
            working: Buffer::zeros(machine, 0).map_err(card)?,
            image: tensor(edges, 3 * side * side)?,
            tokens: arch.taps.iter().map(|_| tensor(edges, patches * arch.vision_width)).collect::<Result<_, _>>()?,
            text: floats(2 * arch.text_width)?,
            raw: arch.taps.iter().map(|_| floats(patches * 2)).collect::<Result<_, _>>()?,
            names,
            side: side as i64,
        };
        // The largest batch needs the most working memory: when it fits, everything does.
        let mut context = network.context(max_batch)?;
        let needed = context.update_device_memory_size_for_shapes();
        network.working = Buffer::zeros(machine, needed).map_err(card)?;
        network.give_memory(&mut context);
        network.contexts[max_batch - 1] = Some(context);
        Ok(network)
    }

    /// A context for batches of `batch`, without working memory.
    fn context(&mut self, batch: usize) -> Result<ExecutionContext<'static>, EngineError> {
        let step = "making an execution context";
        let config = Rc::clone(&self._config);
        let mut context = self.engine.create_execution_context_with_config(config).map_err(runtime(step))?;
        let shape = Dims::from_slice(&[batch as i64, 3, self.side, self.side]);
        context.set_input_shape(typed::IMAGE, &shape).map_err(runtime("setting the batch"))?;
        let outputs = self.tokens.iter().map(Tensor::address);
        let outputs = self.names.tokens.iter().zip(outputs);
        let text = [(&self.names.text, self.text.address() as *mut c_void)];
        let raw = self.names.raw.iter().zip(self.raw.iter().map(|raw| raw.address() as *mut c_void));
        // SAFETY: the buffers were made for the largest batch, and live as long as the contexts.
        unsafe {
            context.set_tensor_address(typed::IMAGE, self.image.address()).map_err(runtime(step))?;
            for (name, address) in outputs.chain(text).chain(raw) {
                context.set_tensor_address(name, address).map_err(runtime(step))?;
            }
        }
        Ok(context)
    }

    fn give_memory(&self, context: &mut ExecutionContext<'static>) {
        // SAFETY: the buffer lives as long as the contexts, and one context runs at a time.
        unsafe { context.set_device_memory_v2(self.working.address() as *mut c_void, self.working.len() as i64) };
    }

    /// Makes the context for batches of `batch`, if there is none.
    pub fn prepare(&mut self, batch: usize) -> Result<(), EngineError> {
        if self.contexts[batch - 1].is_some() {
            return Ok(());
        }
        let mut context = self.context(batch)?;
        let needed = context.update_device_memory_size_for_shapes();
        if needed > self.working.len() {
            let reason = format!("a batch of {batch} needs {needed} bytes, the largest one {}", self.working.len());
            return Err(EngineError::Runtime { engine: ENGINE, step: "giving TensorRT its memory", reason });
        }
        self.give_memory(&mut context);
        self.contexts[batch - 1] = Some(context);
        Ok(())
    }

    /// Enqueues the network on the images that lie in [`Self::image`]; [`Self::prepare`] was called for `batch`.
    pub fn enqueue(&mut self, stream: &Stream, batch: usize) -> Result<(), EngineError> {
        let context = self.contexts[batch - 1].as_mut().ok_or_else(|| EngineError::Runtime {
            engine: ENGINE,
            step: "inference",
            reason: format!("no context for a batch of {batch}"),
        })?;
        // SAFETY: the stream is alive, and `context` bound every tensor to memory of ours.
        unsafe { context.enqueue_v3(stream.raw()) }.map_err(runtime("inference"))
    }

    /// Where the normalised images go, `[batch, 3, S, S]`.
    pub fn image(&mut self) -> ValuesMut<'_> {
        match &mut self.image {
            Tensor::F32(buffer) => ValuesMut::F32(buffer.view_mut()),
            Tensor::F16(buffer) => ValuesMut::F16(buffer.view_mut()),
        }
    }

    /// Patch tokens per tapped layer, `[batch, N, Cv]`.
    pub fn tokens(&self) -> Vec<Values<'_>> {
        self.tokens.iter().map(Tensor::values).collect()
    }

    /// The same, for as long as somebody looks at them.
    pub fn shared_tokens(&self) -> Arc<[Tensor]> {
        Arc::clone(&self.tokens)
    }

    /// Text embeddings, `[batch, 2, Ct]`.
    pub fn text(&self) -> Values<'_> {
        Values::F32(self.text.view())
    }

    /// Pre-VCP logits per tapped layer, `[batch, N, 2]`.
    pub fn raw(&self) -> Vec<Values<'_>> {
        self.raw.iter().map(|raw| Values::F32(raw.view())).collect()
    }

    /// Keeps what was compiled on this card since the last call.
    pub fn save_compiled(&mut self) {
        #[cfg(not(feature = "tensorrt-enterprise"))]
        self.cache.save();
    }
}

//! Requests to OpenVINO that are on their way at the same time, so that the tiles of a frame keep every core busy.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use openvino::{CompiledModel, ElementType, InferRequest, Shape, Tensor};

use super::{EngineChoice, EngineError};
use crate::anomaly::StageTimes;

/// Networks with weights up to this many bytes get a thread for each request: their matrices are too small for several.
const SMALL: u64 = 64 << 20;
/// Requests side by side at most: each has the network's activations in memory.
const MOST_STREAMS: usize = 16;
/// How long one look at a request waits, milliseconds; it is looked at again until it has ended.
const LOOK_MS: i64 = 60_000;

/// What OpenVINO said at this step.
pub(super) fn runtime(step: &'static str) -> impl Fn(openvino::InferenceError) -> EngineError {
    move |error| EngineError::Runtime { engine: EngineChoice::Openvino, step, reason: error.to_string() }
}

/// A tensor of this shape, in float32.
pub(super) fn tensor(shape: &[i64]) -> Result<Tensor, EngineError> {
    let shape = Shape::new(shape).map_err(runtime("tensor shape"))?;
    Tensor::new(ElementType::F32, &shape).map_err(runtime("tensor"))
}

/// How many requests compute at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Streams(usize);

impl Streams {
    /// For a network with so many bytes of weights and an engine with so many threads; `None` are all cores.
    pub fn choose(bytes: u64, threads: Option<usize>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        Self(if bytes <= SMALL { threads.unwrap_or(cores).clamp(1, MOST_STREAMS) } else { 1 })
    }

    pub fn count(self) -> usize {
        self.0
    }

    /// Whether there are several.
    pub fn side_by_side(self) -> bool {
        self.0 > 1
    }
}

/// A request with its input, and which tile it is about.
pub(super) struct Lane {
    request: InferRequest,
    input: Tensor,
    tile: usize,
    preprocess: Duration,
    begun: Instant,
    busy: bool,
}

impl Lane {
    /// The network's input, 3×S×S.
    pub fn input(&mut self) -> Result<&mut [f32], EngineError> {
        self.input.get_data_mut::<f32>().map_err(runtime("input tensor"))
    }

    /// Sends the input on its way; comes back at once.
    pub fn start(&mut self, tile: usize, preprocess: Duration) -> Result<(), EngineError> {
        self.request.set_input_tensor(&self.input).map_err(runtime("input tensor"))?;
        (self.tile, self.preprocess, self.begun) = (tile, preprocess, Instant::now());
        self.request.infer_async().map_err(runtime("inference"))?;
        self.busy = true;
        Ok(())
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Its input must not go while it is being read.
        if self.busy && self.request.wait(LOOK_MS).is_err() {
            tracing::warn!("a request to OpenVINO did not end in time");
        }
    }
}

/// All lanes; those on their way in the order in which they began.
pub(super) struct Lanes {
    // Field order is drop order: requests go before the model they belong to.
    free: Vec<Lane>,
    on_their_way: VecDeque<Lane>,
    _own: Option<CompiledModel>,
}

impl Lanes {
    /// One request more than compute at the same time: while they do, the next input is prepared.
    pub fn new(compiled: &mut CompiledModel, streams: Streams, shape: &[i64; 4]) -> Result<Self, EngineError> {
        let lane = |_| {
            let request = compiled.create_infer_request().map_err(runtime("creating a request"))?;
            let (tile, preprocess, begun, busy) = (0, Duration::ZERO, Instant::now(), false);
            Ok(Lane { request, input: tensor(shape)?, tile, preprocess, begun, busy })
        };
        let free = (0..=streams.count()).map(lane).collect::<Result<Vec<_>, EngineError>>()?;
        Ok(Self { free, on_their_way: VecDeque::new(), _own: None })
    }

    /// The same, with the model that the requests belong to.
    pub fn with(self, own: CompiledModel) -> Self {
        Self { _own: Some(own), ..self }
    }

    /// A lane for the next tile, if one is free; it counts as on its way.
    pub fn free(&mut self) -> Option<&mut Lane> {
        let lane = self.free.pop()?;
        self.on_their_way.push_back(lane);
        self.on_their_way.back_mut()
    }

    /// Waits for the one that began first: its tile, its request and where its time went. `None` when none is on its way.
    pub fn oldest(&mut self) -> Result<Option<(usize, &InferRequest, StageTimes)>, EngineError> {
        let Some(lane) = self.on_their_way.front_mut() else { return Ok(None) };
        lane.request.wait(LOOK_MS).map_err(runtime("inference"))?;
        lane.busy = false;
        let times =
            StageTimes { preprocess: lane.preprocess, inference: lane.begun.elapsed(), postprocess: Duration::ZERO };
        Ok(Some((lane.tile, &lane.request, times)))
    }

    /// The oldest is free again.
    pub fn give_back(&mut self) {
        self.free.extend(self.on_their_way.pop_front());
    }
}

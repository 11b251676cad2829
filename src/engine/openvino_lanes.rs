//! Requests to OpenVINO that are on their way while others are read, so that every core stays busy.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use openvino::{CompiledModel, ElementType, InferRequest, Shape, Tensor};

use super::{EngineChoice, EngineError};
use crate::anomaly::StageTimes;
use crate::frame::Image;

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

/// What a request looks at.
pub(super) enum About {
    /// A tile of a frame, by its place among them.
    Tile(usize),
    /// A picture that was asked for, or will be.
    Picture(Image),
}

/// A request with its input, and what it looks at.
struct Lane {
    // Field order is drop order: the input stays for as long as the request.
    request: InferRequest,
    input: Tensor,
    about: About,
    preprocess: Duration,
    begun: Instant,
    inference: Duration,
    busy: bool,
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Its input must not go while it is being read.
        if self.busy && self.request.wait(LOOK_MS).is_err() {
            tracing::warn!("a request to OpenVINO did not end in time");
        }
    }
}

/// A request that has ended.
pub(super) struct Ended<'a> {
    pub about: &'a About,
    pub request: &'a InferRequest,
    pub times: StageTimes,
}

/// The requests of a compiled network; those on their way in the order in which they began.
pub(super) struct Lanes {
    // Field order is drop order: requests go before the model they belong to.
    free: Vec<Lane>,
    on_their_way: VecDeque<Lane>,
    compiled: CompiledModel,
    streams: usize,
    shape: [i64; 4],
    /// The oldest has ended; its outputs are being read.
    ended: usize,
}

impl Lanes {
    /// Requests are made when they are needed: their outputs take memory.
    pub fn new(compiled: CompiledModel, streams: usize, shape: [i64; 4]) -> Self {
        Self { free: Vec::new(), on_their_way: VecDeque::new(), compiled, streams, shape, ended: 0 }
    }

    /// Whether another request would find at most `queue` others waiting for those that are computed.
    pub fn has_room(&self, queue: usize) -> bool {
        self.on_their_way.len() - self.ended < self.streams + queue
    }

    /// Whether a request looks at this picture.
    pub fn looks_at(&self, image: &Image) -> bool {
        self.on_their_way.iter().any(|lane| matches!(&lane.about, About::Picture(picture) if picture.is_same(image)))
    }

    /// Lets `fill` write the network's input, 3×S×S, and sends it on its way; comes back at once.
    pub fn start(&mut self, about: About, fill: impl FnOnce(&mut [f32])) -> Result<(), EngineError> {
        let begin = Instant::now();
        let mut lane = match self.free.pop() {
            Some(lane) => lane,
            None => {
                let request = self.compiled.create_infer_request().map_err(runtime("creating a request"))?;
                let (input, about, none) = (tensor(&self.shape)?, About::Tile(0), Duration::ZERO);
                Lane { request, input, about, preprocess: none, begun: begin, inference: none, busy: false }
            }
        };
        fill(lane.input.get_data_mut::<f32>().map_err(runtime("input tensor"))?);
        lane.request.set_input_tensor(&lane.input).map_err(runtime("input tensor"))?;
        (lane.about, lane.preprocess, lane.begun) = (about, begin.elapsed(), Instant::now());
        lane.request.infer_async().map_err(runtime("inference"))?;
        lane.busy = true;
        self.on_their_way.push_back(lane);
        Ok(())
    }

    /// Waits until the one that began first has ended; whether there is one.
    pub fn wait(&mut self) -> Result<bool, EngineError> {
        let Some(lane) = self.on_their_way.front_mut() else { return Ok(false) };
        if lane.busy {
            lane.request.wait(LOOK_MS).map_err(runtime("inference"))?;
            (lane.busy, lane.inference) = (false, lane.begun.elapsed());
        }
        self.ended = 1;
        Ok(true)
    }

    /// The one that [`Self::wait`] has waited for.
    pub fn ended(&self) -> Option<Ended<'_>> {
        let lane = self.on_their_way.front().filter(|_| self.ended > 0)?;
        let &Lane { preprocess, inference, .. } = lane;
        let times = StageTimes { preprocess, inference, postprocess: Duration::ZERO };
        Some(Ended { about: &lane.about, request: &lane.request, times })
    }

    /// After an error: waits for those on their way, and nobody reads what they say.
    pub fn clear(&mut self) {
        self.on_their_way.clear();
        self.ended = 0;
    }

    /// Its outputs have been read.
    pub fn give_back(&mut self) {
        self.free.extend(self.on_their_way.pop_front());
        self.ended = 0;
    }
}

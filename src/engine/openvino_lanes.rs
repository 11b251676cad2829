//! Requests to OpenVINO that are on their way while others are read, so that every core stays busy.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use openvino::{CompiledModel, ElementType, InferRequest, InferenceError, InferenceErrorKind, Shape, Tensor};

use super::{EngineChoice, EngineError};
use crate::anomaly::StageTimes;
use crate::frame::{Frame, Image};

/// Networks with weights up to this many bytes get a thread for each request: their matrices are too small for several.
const SMALL: u64 = 64 << 20;
/// Requests side by side at most: each has the network's activations in memory.
const MOST_STREAMS: usize = 16;
/// What lies before and behind the network of so many requests side by side is no more than one thread can do.
const FEW: usize = 4;
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

    /// Whether no core is left to help a thread with what lies before and behind the network, and that is little enough for it alone.
    pub fn keep_few_cores_busy(self) -> bool {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        self.0 <= FEW && cores <= self.0
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
    /// When its input was begun with, when it was sent on its way, when it was seen to have ended.
    times: [Instant; 3],
    busy: bool,
}

impl Lane {
    fn looks_at(&self, image: &Image) -> bool {
        matches!(&self.about, About::Picture(picture) if picture.is_same(image))
    }

    /// Waits until it has ended, however long that takes.
    fn wait(&mut self) -> Result<(), InferenceError> {
        loop {
            match self.request.wait(LOOK_MS) {
                Err(error) if error.kind == InferenceErrorKind::ResultNotReady => {}
                ended => {
                    self.busy = false;
                    return ended;
                }
            }
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Its input must not go while it is being read.
        if self.busy
            && let Err(error) = self.wait()
        {
            tracing::debug!(%error, "a request to OpenVINO that nobody waited for has failed");
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
    /// How many of the oldest have ended and are being read: one or none.
    ended: usize,
}

impl Lanes {
    /// Requests are made when they are needed: their outputs take memory.
    pub fn new(compiled: CompiledModel, streams: usize, shape: [i64; 4]) -> Self {
        Self { free: Vec::new(), on_their_way: VecDeque::new(), compiled, streams, shape, ended: 0 }
    }

    /// How many pictures may be begun with beside those of `asked` that are on their way, whether they are or not.
    pub fn ahead_of(&self, asked: &[&Frame]) -> usize {
        let is_asked = |lane: &&Lane| asked.iter().any(|frame| lane.looks_at(&frame.image));
        self.most().saturating_sub(self.on_their_way.iter().skip(self.ended).filter(is_asked).count())
    }

    /// Whether another picture is to be begun with. Where several are computed at the same time one more waits for the first that
    /// ends, so that its core goes on while answers are made; where every core has one picture, the next is not fixed before its
    /// turn, because a newer one may take its place.
    pub fn has_room(&self) -> bool {
        self.in_flight() < self.most()
    }

    fn most(&self) -> usize {
        self.streams + usize::from(self.streams > 1)
    }

    /// Whether another tile is to be begun with: all of them are wanted.
    pub fn has_room_for_tile(&self) -> bool {
        self.in_flight() <= self.streams
    }

    fn in_flight(&self) -> usize {
        self.on_their_way.len() - self.ended
    }

    /// Whether a request looks at this picture.
    pub fn looks_at(&self, image: &Image) -> bool {
        self.on_their_way.iter().any(|lane| lane.looks_at(image))
    }

    /// Lets `fill` write the network's input, 3×S×S, and sends it on its way; comes back at once.
    pub fn start(&mut self, about: About, fill: impl FnOnce(&mut [f32])) -> Result<(), EngineError> {
        let begin = Instant::now();
        let mut lane = match self.free.pop() {
            Some(lane) => lane,
            None => {
                let request = self.compiled.create_infer_request().map_err(runtime("creating a request"))?;
                Lane { request, input: tensor(&self.shape)?, about: About::Tile(0), times: [begin; 3], busy: false }
            }
        };
        fill(lane.input.get_data_mut::<f32>().map_err(runtime("input tensor"))?);
        lane.request.set_input_tensor(&lane.input).map_err(runtime("input tensor"))?;
        (lane.about, lane.times) = (about, [begin, Instant::now(), begin]);
        lane.request.infer_async().map_err(runtime("inference"))?;
        lane.busy = true;
        self.on_their_way.push_back(lane);
        Ok(())
    }

    /// Waits until the one that began first has ended; whether there is one.
    pub fn wait(&mut self) -> Result<bool, EngineError> {
        let Some(lane) = self.on_their_way.front_mut() else { return Ok(false) };
        if lane.busy {
            lane.wait().map_err(runtime("inference"))?;
            lane.times[2] = Instant::now();
        }
        self.ended = 1;
        Ok(true)
    }

    /// The one that [`Self::wait`] has waited for. Its times count from when it was asked for: before, its frame still waited.
    pub fn ended(&self, asked: Instant) -> Option<Ended<'_>> {
        let lane = self.on_their_way.front().filter(|_| self.ended > 0)?;
        let [begun, sent, ended] = lane.times.map(|time| time.max(asked));
        let (preprocess, inference) = (sent - begun, ended - sent);
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

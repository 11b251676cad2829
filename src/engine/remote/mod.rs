//! The remote engine: pictures go to other computers over the Open Inference Protocol, maps and scores come back.
//!
//! Each server must serve this very model and pass the self-test before it is asked. A question has the deadline of its part:
//! when no server has answered by then, there is no prediction, and so no verdict.

mod endpoint;
mod link;
mod parity;
mod question;
mod race;
mod reply;
mod shared;
mod spec;

use std::sync::{Arc, OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::choice::{EngineChoice, Precision};
use super::contract::{Coming, Engine, EngineInfo};
use super::error::EngineError;
use super::spec::EngineSpec;
use super::{prepare, self_test};
use crate::anomaly::{Prediction, StageTimes};
use crate::clock::{Clock, SystemClock};
use crate::frame::{Frame, Image};
use crate::oip::model;
use crate::vcp_clip::preprocess::Preprocessor;
use crate::weights::bundle::Bundle;
use endpoint::Endpoint;
use question::{Question, Wanted};
use shared::{Shared, Usual};

pub use spec::{Address, AddressError, MapForm, PORT, RemoteSpec, TIMEOUT};

/// How long a start waits for the first server.
const FIRST_SERVER: Duration = Duration::from_secs(15);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(20);
/// The time of the local engine is taken to be so many times what was measured.
const LOCAL_MARGIN: f64 = 1.5;
/// What the answer's way through the threads may take.
const SLACK: Duration = Duration::from_millis(200);

/// Opens an engine of this computer.
pub type OpenLocal<'a> = &'a dyn Fn(&EngineSpec) -> Result<Box<dyn Engine>, EngineError>;

/// Asks servers, several frames at the same time.
pub struct RemoteEngine {
    shared: Arc<Shared>,
    endpoints: Arc<[Arc<Endpoint>]>,
    network: Network,
    local: Option<Local>,
    preprocessor: Preprocessor,
    info: EngineInfo,
    wanted: Wanted,
}

/// The thread that talks.
struct Network {
    handle: Handle,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that asks servers has panicked");
        }
    }
}

struct Local {
    engine: Box<dyn Engine>,
    /// What a frame takes.
    time: Duration,
}

type Answer = mpsc::Receiver<Result<Prediction, String>>;

fn failed(step: &'static str, reason: impl Into<String>) -> EngineError {
    EngineError::Runtime { engine: EngineChoice::Remote, step, reason: reason.into() }
}

impl RemoteEngine {
    /// Returns when a server is fit to be asked. Without any an error, unless an engine of this computer is there instead.
    pub fn open(spec: &EngineSpec, open_local: OpenLocal<'_>) -> Result<Self, EngineError> {
        let Some(remote) = spec.remote.clone().filter(|remote| !remote.endpoints.is_empty()) else {
            return Err(failed("opening", "no servers are named; write endpoints in [model.remote], or --endpoint"));
        };
        let bundle = Bundle::open(&spec.bundle)?;
        let info = EngineInfo::new(&bundle, EngineChoice::Remote, spec.precision, spec.max_batch);
        let expected = parity::expected(spec, &bundle)?;
        let mut preprocessor = prepare::preprocessor(&bundle);
        drop(bundle);
        let picture = self_test::picture(info.image_size, expected.seed);
        let local = remote.fallback.map(|engine| Local::open(spec, engine, &picture, open_local)).transpose()?;
        let endpoints = remote.endpoints.iter().cloned().map(|address| Arc::new(Endpoint::new(address))).collect();
        let wanted = Wanted { form: remote.map, ..Wanted::default() };
        let shared = Arc::new(Shared {
            spec: remote,
            model: model::name(&info.model, &info.sha256),
            side: info.image_size,
            precision: spec.precision,
            found: OnceLock::new(),
            self_test: preprocessor.rgb(&picture).into(),
            expected,
            usual: Usual::default(),
        });
        let network = Network::start()?;
        let mut engine = Self { shared, endpoints, network, local, preprocessor, info, wanted };
        for endpoint in engine.endpoints.iter() {
            engine.network.handle.spawn(Arc::clone(endpoint).keep(Arc::clone(&engine.shared)));
        }
        engine.wait_for_a_server()?;
        // Events never say `auto`. Where no server has answered yet, what an engine of this computer says is exact.
        engine.info.precision = match spec.precision {
            Precision::Auto => engine.shared.found.get().copied().unwrap_or(Precision::Fp32),
            asked => asked,
        };
        Ok(engine)
    }

    fn wait_for_a_server(&self) -> Result<(), EngineError> {
        let begin = Instant::now();
        // An engine of this computer is asked meanwhile.
        let patience = if self.local.is_some() { FIRST_SERVER / 5 } else { FIRST_SERVER };
        while !self.endpoints.iter().any(|endpoint| endpoint.is_up()) {
            if begin.elapsed() >= patience {
                let why = race::nobody_answers(&self.endpoints);
                if self.local.is_none() {
                    return Err(failed("looking for a server", why));
                }
                tracing::warn!("no server can be asked yet, this computer looks itself: {why}");
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Sends a frame on its way.
    fn send(&mut self, image: &Image, until: Instant) -> (Answer, Duration) {
        let begin = Instant::now();
        let question = Question::of(image, &mut self.preprocessor);
        let prepared = begin.elapsed();
        let (sender, answer) = mpsc::sync_channel(1);
        let (shared, endpoints, wanted) = (Arc::clone(&self.shared), Arc::clone(&self.endpoints), self.wanted);
        self.network.handle.spawn(async move {
            let answer = race::ask(shared, endpoints, question, wanted, until).await;
            if sender.send(answer).is_err() {
                tracing::debug!("nobody waits for this answer any more");
            }
        });
        (answer, prepared)
    }

    /// The engine of this computer, if there is time.
    fn look_here(&mut self, frame: &Frame, due: Option<Instant>, why: &str) -> Result<Prediction, EngineError> {
        let Some(local) = &mut self.local else { return Err(failed("asking", why)) };
        let begin = Instant::now();
        if due.is_some_and(|due| begin + local.time > due) {
            return Err(failed("asking", format!("{why}; too late for this computer's engine")));
        }
        let answer =
            local.engine.infer(&[frame])?.pop().ok_or_else(|| failed("asking", "no prediction for a frame"))?;
        local.time = local.time.mul_f64(0.8) + begin.elapsed().mul_f64(0.2);
        Ok(answer)
    }

    fn look(
        &mut self,
        frames: &[&Frame],
        due: &[Option<Instant>],
    ) -> Result<Vec<Result<Prediction, EngineError>>, EngineError> {
        self.info.check_batch(frames.len())?;
        let begin = Instant::now();
        let local = self.local.as_ref().map(|local| local.time.mul_f64(LOCAL_MARGIN) * frames.len() as u32);
        let latest = begin + self.shared.spec.timeout;
        let due_of = |at: usize| due.get(at).copied().flatten();
        let sent: Vec<_> = (0..frames.len())
            .map(|at| {
                // What this computer needs is kept free for it.
                let kept = local.unwrap_or_default();
                let until = due_of(at).map_or(latest, |due| latest.min(due.checked_sub(kept).unwrap_or(begin)));
                let (answer, prepared) = self.send(&frames[at].image, until);
                (answer, prepared, until)
            })
            .collect();
        let mut answers = Vec::with_capacity(frames.len());
        for (at, (answer, prepared, until)) in sent.into_iter().enumerate() {
            let patience = until.saturating_duration_since(Instant::now()) + SLACK;
            let answer = match answer.recv_timeout(patience) {
                Ok(Ok(prediction)) => {
                    let times =
                        StageTimes { preprocess: prepared, inference: begin.elapsed(), ..StageTimes::default() };
                    Ok(Prediction { times, ..prediction })
                }
                Ok(Err(why)) => self.look_here(frames[at], due_of(at), &why),
                Err(_) => self.look_here(frames[at], due_of(at), "the thread that asks servers does not answer"),
            };
            answers.push(answer);
        }
        Ok(answers)
    }
}

impl Network {
    fn start() -> Result<Self, EngineError> {
        let io = |error: std::io::Error| failed("starting", error.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io)?;
        let (handle, stop) = (runtime.handle().clone(), CancellationToken::new());
        let until = stop.clone();
        let talk = move || runtime.block_on(until.cancelled());
        let thread = std::thread::Builder::new().name("vcp-remote".into()).spawn(talk).map_err(io)?;
        Ok(Self { handle, stop, thread: Some(thread) })
    }
}

impl Local {
    fn open(
        spec: &EngineSpec,
        engine: EngineChoice,
        picture: &Image,
        open: OpenLocal<'_>,
    ) -> Result<Self, EngineError> {
        let mut engine = open(&EngineSpec { engine, max_batch: 1, remote: None, ..spec.clone() })?;
        let frame = Frame::alone("warm-up", SystemClock.now(), picture.clone());
        engine.infer(&[&frame])?;
        let begin = Instant::now();
        engine.infer(&[&frame])?;
        Ok(Self { engine, time: begin.elapsed() })
    }
}

impl Engine for RemoteEngine {
    fn infer(&mut self, frames: &[&Frame]) -> Result<Vec<Prediction>, EngineError> {
        self.look(frames, &[])?.into_iter().collect()
    }

    fn infer_until(
        &mut self,
        frames: &[&Frame],
        due: &[Option<Instant>],
        _coming: &Coming<'_>,
    ) -> Result<Vec<Result<Prediction, EngineError>>, EngineError> {
        self.look(frames, due)
    }

    fn hand_out_paths(&mut self, wanted: bool) {
        self.wanted.paths = wanted;
        if let Some(local) = &mut self.local {
            local.engine.hand_out_paths(wanted);
        }
    }

    fn hand_out_tokens(&mut self, wanted: bool) {
        self.wanted.tokens = wanted;
        if let Some(local) = &mut self.local {
            local.engine.hand_out_tokens(wanted);
        }
    }

    fn info(&self) -> &EngineInfo {
        &self.info
    }
}

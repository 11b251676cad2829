//! The network compiled once more, for requests that go side by side: in the background, so that neither the start nor a frame waits
//! for it.

use std::thread::JoinHandle;

use openvino::{CompiledModel, Core, DeviceType, RwPropertyKey};

use super::openvino_compile::{Delivery, compile, core, extras};
use super::openvino_lanes::{Lanes, Streams, runtime};
use super::scales::Scales;
use super::{EngineError, EngineSpec, Precision};
use crate::weights::bundle::Bundle;

/// What it is compiled from.
pub(super) struct Recipe {
    pub spec: EngineSpec,
    pub precision: Precision,
    pub hint: &'static str,
    pub scales: Option<Scales>,
    /// Outputs in float16.
    pub narrow: Vec<String>,
    pub shape: [i64; 4],
}

/// Requests side by side, once they are there.
pub(super) enum Apart {
    /// Nobody has asked for them.
    Unasked(Box<Recipe>),
    /// The network is being compiled.
    Compiling(Compiling, [i64; 4]),
    /// They go before the core that they came from.
    Ready(Lanes, #[allow(dead_code, reason = "outlives what it has compiled")] Core),
    /// They cannot be had.
    Absent,
}

/// A thread that compiles; waited for, because a process does not end well while OpenVINO compiles.
pub(super) struct Compiling(Option<JoinHandle<Result<(CompiledModel, Core), EngineError>>>);

impl Compiling {
    fn is_finished(&self) -> bool {
        self.0.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// What came of it; nothing when the thread has panicked, which is logged where that happens.
    fn join(&mut self) -> Option<Result<(CompiledModel, Core), EngineError>> {
        self.0.take()?.join().ok()
    }
}

impl Drop for Compiling {
    fn drop(&mut self) {
        self.join();
    }
}

impl Apart {
    /// Begins to compile, unless that was done before.
    pub fn ask(&mut self, streams: Streams) {
        let recipe = match std::mem::replace(self, Self::Absent) {
            Self::Unasked(recipe) => recipe,
            asked => return *self = asked,
        };
        let shape = recipe.shape;
        match std::thread::Builder::new().name("side by side".into()).spawn(move || compiled(&recipe, streams)) {
            Ok(thread) => *self = Self::Compiling(Compiling(Some(thread)), shape),
            Err(error) => tracing::warn!(%error, "no thread to compile the network in; frames go one after the other"),
        }
    }

    /// The requests, if they are there by now, or when they are where `waits`.
    pub fn lanes(&mut self, streams: Streams, waits: bool) -> Option<&mut Lanes> {
        if let Self::Compiling(thread, shape) = self
            && (waits || thread.is_finished())
        {
            let shape = *shape;
            *self = match thread.join() {
                Some(Ok((compiled, core))) => Self::Ready(Lanes::new(compiled, streams.count(), shape), core),
                Some(Err(error)) => {
                    tracing::warn!("{error}; frames go one after the other");
                    Self::Absent
                }
                None => Self::Absent,
            };
        }
        match self {
            Self::Ready(lanes, _) => Some(lanes),
            _ => None,
        }
    }
}

fn compiled(recipe: &Recipe, streams: Streams) -> Result<(CompiledModel, Core), EngineError> {
    let bundle = Bundle::open(&recipe.spec.bundle)?;
    let mut core = core(&recipe.spec, recipe.hint)?;
    let mut set = |key: RwPropertyKey, value: &str| {
        core.set_property(&DeviceType::CPU, &key, value).map_err(runtime("setting a CPU property"))
    };
    set(RwPropertyKey::HintPerformanceMode, "THROUGHPUT")?;
    set(RwPropertyKey::NumStreams, &streams.count().to_string())?;
    let extras = extras(recipe.scales.as_ref(), recipe.precision);
    let compiled = compile(&mut core, bundle, &Delivery::usual(), &recipe.shape, extras, &recipe.narrow)?;
    Ok((compiled.network, core))
}

//! What every connection of a server shares.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::HeaderMap;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::admission::Queue;
use super::metrics::Metrics;
use super::spec::ServeSpec;
use crate::engine::EngineInfo;
use crate::oip::model;
use crate::secret::Secret;
use crate::tls::ServerFiles;
use crate::web::probes::Probed;

/// Requests whose bytes are in memory, per picture that may wait: as many again are being received.
const REQUESTS_PER_PLACE: usize = 2;

pub(super) struct State {
    pub queue: Queue,
    pub metrics: Metrics,
    pub tls: Option<ServerFiles>,
    pub max_clients: usize,
    /// Bounds the memory of requests.
    pub requests: Semaphore,
    token: Option<Secret>,
    model: OnceLock<Model>,
    /// The last batch failed.
    failing: AtomicBool,
    /// The server is about to end.
    pub stopping: CancellationToken,
}

/// What is served.
pub(super) struct Model {
    /// As clients call it.
    pub name: String,
    pub info: EngineInfo,
}

impl State {
    pub fn new(spec: &ServeSpec) -> Self {
        Self {
            queue: Queue::new(spec.queue),
            metrics: Metrics::new(),
            tls: spec.tls.clone(),
            max_clients: spec.max_clients,
            requests: Semaphore::new(spec.queue * REQUESTS_PER_PLACE),
            token: spec.token.clone(),
            model: OnceLock::new(),
            failing: AtomicBool::new(false),
            stopping: CancellationToken::new(),
        }
    }

    /// The engine is there.
    pub fn opened(&self, info: EngineInfo) {
        let name = model::name(&info.model, &info.sha256);
        // Once: there is one engine.
        self.model.get_or_init(|| Model { name, info });
    }

    /// `None` while the engine opens.
    pub fn model(&self) -> Option<&Model> {
        self.model.get()
    }

    pub fn set_failing(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }

    /// Whether these headers may ask.
    pub fn may_ask(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let given = headers.get("authorization").and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        given.is_some_and(|given| bool::from(given.ct_eq(token.reveal().as_bytes())))
    }
}

impl Probed for State {
    fn is_ready(&self) -> bool {
        self.model().is_some() && !self.failing.load(Ordering::Relaxed) && !self.stopping.is_cancelled()
    }

    fn metrics(&self) -> String {
        self.metrics.text(self.queue.waiting(), self.is_ready())
    }
}

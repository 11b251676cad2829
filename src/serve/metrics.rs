//! A server in numbers, for Prometheus; base units, names that stay. `deploy/metrics.md` lists them.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper ends of the buckets, seconds.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

type Labels = Vec<(&'static str, &'static str)>;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Answered,
    /// No room, or too many requests.
    Busy,
    /// Its deadline could not be met.
    Late,
    /// It could not be understood, names another model, or may not ask.
    Refused,
    /// The engine failed.
    Failed,
    Stopping,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Busy => "busy",
            Self::Late => "late",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Stopping => "stopping",
        }
    }
}

pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    batches: Counter,
    pictures: Counter,
    engine_seconds: Counter<f64, AtomicU64>,
    waited: Histogram,
    clients: Gauge,
    refused_clients: Counter,
    waiting: Gauge,
    ready: Gauge,
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let requests = Family::<Labels, Counter>::default();
        let (batches, pictures, refused_clients) = (Counter::default(), Counter::default(), Counter::default());
        let engine_seconds = Counter::<f64, AtomicU64>::default();
        let waited = Histogram::new(BUCKETS);
        let (clients, waiting, ready) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("vcp_serve_requests", "Requests for inference, by what became of them", requests.clone());
        registry.register("vcp_serve_batches", "Batches the engine has looked at", batches.clone());
        registry.register("vcp_serve_pictures", "Pictures the engine has looked at", pictures.clone());
        registry.register("vcp_serve_engine_seconds", "Time the engine was at work", engine_seconds.clone());
        registry.register("vcp_serve_wait_seconds", "From admission until the engine took a picture", waited.clone());
        registry.register("vcp_serve_clients", "Connections", clients.clone());
        registry.register("vcp_serve_clients_refused", "Connections that were too many", refused_clients.clone());
        registry.register("vcp_serve_waiting", "Pictures that wait for the engine", waiting.clone());
        registry.register("vcp_serve_ready", "Whether requests should be sent here", ready.clone());
        Self { registry, requests, batches, pictures, engine_seconds, waited, clients, refused_clients, waiting, ready }
    }

    pub fn request(&self, outcome: Outcome) {
        self.requests.get_or_create(&vec![("outcome", outcome.word())]).inc();
    }

    pub fn batch(&self, pictures: usize, took: Duration) {
        self.batches.inc();
        self.pictures.inc_by(pictures as u64);
        self.engine_seconds.inc_by(took.as_secs_f64());
    }

    pub fn waited(&self, time: Duration) {
        self.waited.observe(time.as_secs_f64());
    }

    pub fn clients(&self, count: usize) {
        self.clients.set(count as i64);
    }

    pub fn client_refused(&self) {
        self.refused_clients.inc();
    }

    /// Prometheus' text.
    pub fn text(&self, waiting: usize, ready: bool) -> String {
        self.waiting.set(waiting as i64);
        self.ready.set(i64::from(ready));
        let mut text = String::new();
        if prometheus_text::encode(&mut text, &self.registry).is_err() {
            tracing::error!("the metrics could not be written");
        }
        text
    }
}

//! What became of a part, and when, as a trace for OpenTelemetry: one span from capture to the broker, and below it one for each
//! stage. The trace has the identifier of the event, without its dashes.
//!
//! Traces are an aid, not a record: they never hold up a verdict, and those that the collector does not take are left out.

#[cfg(feature = "otel")]
mod exporter;
mod spec;

use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use uuid::Uuid;

pub use spec::{TraceError, TraceSpec};

use super::mqtt::Published;

/// Whether this build can tell traces (feature `otel`).
pub const BUILT: bool = cfg!(feature = "otel");

/// Parts that may wait for the collector.
#[cfg(feature = "otel")]
const WAITING: usize = 2048;

/// Tells traces until it is stopped.
pub struct Traces {
    reports: Sender<Published>,
    /// Closed when everything was told.
    told: Receiver<()>,
    thread: JoinHandle<()>,
}

impl Traces {
    /// A collector that is away is no error: traces are left out until it is there.
    #[cfg(feature = "otel")]
    pub fn start(spec: TraceSpec, line: &str, session: Uuid) -> Result<Self, TraceError> {
        let (reports, waiting) = crossbeam_channel::bounded(WAITING);
        let (telling, told) = crossbeam_channel::bounded(0);
        let mut exporter = exporter::Exporter::new(spec, line, session)?;
        let thread = std::thread::Builder::new()
            .name("vcp-traces".into())
            .spawn(move || {
                exporter.run(&waiting);
                drop(telling);
            })
            .map_err(TraceError::Thread)?;
        Ok(Self { reports, told, thread })
    }

    /// See [`TraceError::NotBuilt`].
    #[cfg(not(feature = "otel"))]
    pub fn start(_: TraceSpec, _: &str, _: Uuid) -> Result<Self, TraceError> {
        Err(TraceError::NotBuilt)
    }

    /// Takes every verdict that is handed to the broker.
    pub fn reports(&self) -> Sender<Published> {
        self.reports.clone()
    }

    /// Tells what is left, until then. Whoever has [`Traces::reports`] must be gone.
    pub fn stop(self, until: Instant) {
        drop(self.reports);
        match self.told.recv_deadline(until) {
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => {
                tracing::warn!("stop: the collector has not taken all traces")
            }
            // A panic of the thread has been logged by its hook.
            _ => drop(self.thread.join()),
        }
    }
}

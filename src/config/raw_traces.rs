//! `[traces]` as it is written.

use serde::Deserialize;

use super::key::Key;

/// `[traces]`: what became of each part, and when, for OpenTelemetry.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTraces {
    /// A collector that takes OTLP over gRPC, `http://HOST:PORT`.
    pub endpoint: Key<String>,
    /// Share of parts that are told, 0 to 1.
    pub sample: Key<f64>,
}

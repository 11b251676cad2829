//! Where traces go, and why they cannot.

/// Where traces go.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSpec {
    /// A collector that takes OTLP over gRPC: `http://HOST:PORT`.
    pub endpoint: String,
    /// Share of parts that are told, in [0, 1]. Which ones follows from their identifiers.
    pub sample: f64,
}

/// Traces cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The program was built without them.
    #[error("this build tells no traces: build with the feature otel, or remove [traces]")]
    NotBuilt,
    /// What is to be sent to is no collector's address.
    #[error(
        "no traces can go to {endpoint}: {reason}; write http://HOST:PORT, as of a collector that takes OTLP over gRPC"
    )]
    Endpoint {
        /// As configured.
        endpoint: String,
        /// What the library says.
        reason: String,
    },
    /// The operating system gives no thread.
    #[error("the thread of the traces does not start")]
    Thread(#[source] std::io::Error),
}

//! What a server needs to know, resolved, and why it does not start.

use std::net::SocketAddr;
use std::time::Duration;

use crate::engine::{EngineError, EngineSpec};
use crate::secret::Secret;
use crate::tls::{ServerFiles, TlsError};

/// A server of one model.
#[derive(Clone, Debug)]
pub struct ServeSpec {
    /// What looks; `max_batch` is the most that is looked at together.
    pub engine: EngineSpec,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where `/live`, `/ready` and `/metrics` are asked.
    pub metrics: Option<SocketAddr>,
    /// Certificate files; without them nothing is encrypted.
    pub tls: Option<ServerFiles>,
    /// The word that clients send as `authorization: Bearer WORD`.
    pub token: Option<Secret>,
    /// How long a batch that is not full waits for more, from its oldest picture on.
    pub max_wait: Duration,
    /// Pictures that may wait for the engine.
    pub queue: usize,
    /// Connections at the same time.
    pub max_clients: usize,
    /// How long a stop waits for what was admitted.
    pub drain: Duration,
}

/// The server does not start, or ends.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The engine does not open.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address is taken, or not ours.
    #[error("{address}: {source}; choose another --listen or --metrics")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// No sockets or threads.
    #[error("the server cannot start: {0}")]
    Runtime(std::io::Error),
    /// The thread of the engine has ended by itself.
    #[error("the engine's thread has ended; start the server again")]
    EngineThread,
}

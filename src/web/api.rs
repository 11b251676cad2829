//! What the API speaks for, and what every request finds.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::gate::Gate;
use crate::archive::Archive;
use crate::command::Ack;

/// What the API speaks for. Implemented by `service`, and by tests.
pub trait Api: Send + Sync {
    /// A command as it came, not yet read; never waits. The answer is given through `answer`, or by dropping it when
    /// there is no room.
    fn command(&self, name: &str, payload: &[u8], answer: oneshot::Sender<Ack>);
    /// The line, as JSON.
    fn state(&self) -> serde_json::Value;
    /// What is kept of every part, if anything.
    fn archive(&self) -> Option<&Archive> {
        None
    }
    /// The line in numbers, in the text format of Prometheus.
    fn metrics(&self) -> String {
        String::new()
    }
    /// Whether the line inspects, and what is wrong when it does not.
    fn health(&self) -> Result<(), String>;
}

/// What every request is answered from.
pub(super) struct ApiState {
    pub api: Arc<dyn Api>,
    pub gate: Arc<Gate>,
    /// Every path but `/health` needs the token.
    pub guarded: bool,
}

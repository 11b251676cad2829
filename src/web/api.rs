//! What the API speaks for, and what every request finds.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use axum::response::Response;
use tokio::sync::{Semaphore, oneshot};

use super::drawing::{Pictures, Shown};
use super::gate::Gate;
use super::listener::Seat;
use super::news::News;
use super::session::Sessions;
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
    /// Where the line tells what happens, for those who look on.
    fn news(&self) -> Option<&News> {
        None
    }
    /// The newest part of this camera that has been inspected; never waits, and costs the line nothing but that the next
    /// part's map is fetched.
    fn shown(&self, _camera: &str) -> Option<Shown> {
        None
    }
    /// Called by each thread that draws: it is to leave the processor to those that parts wait for.
    fn give_way(&self) {}
}

/// What every request is answered from.
pub(super) struct ApiState {
    pub api: Arc<dyn Api>,
    pub gate: Arc<Gate>,
    pub sessions: Sessions,
    /// Every path but `/health` and the page itself needs the token.
    pub guarded: bool,
    /// Places for those who look on.
    pub lookers: Arc<Semaphore>,
    pub pictures: Pictures,
    /// One export at a time.
    pub exports: Arc<Semaphore>,
}

impl ApiState {
    /// `Err` is the answer to somebody who may not read.
    pub async fn may_read(&self, headers: &HeaderMap, seat: &Seat) -> Result<(), Response> {
        if !self.guarded || self.sessions.holds(headers) {
            return Ok(());
        }
        self.gate.admit(headers.get(header::AUTHORIZATION).cloned(), seat.peer.ip()).await
    }

    /// `Err` is the answer to somebody who may not change anything.
    pub async fn may_change(&self, headers: &HeaderMap, seat: &Seat) -> Result<(), Response> {
        if self.sessions.holds_on_our_page(headers) {
            return Ok(());
        }
        self.gate.admit(headers.get(header::AUTHORIZATION).cloned(), seat.peer.ip()).await
    }
}

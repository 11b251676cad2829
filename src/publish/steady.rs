//! Looks after the connection for verdicts over its many lives: whether it lasts, whether somebody else takes it away,
//! whether the certificates have been renewed, whether the broker refuses what the line says.

use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::door::PublisherState;
use super::reconnect::Reconnect;
use super::{PublishError, PublisherSpec};
use crate::error_chain;

/// Alarm kind: the broker's access list is in the way.
pub const REFUSED: &str = "broker_refuses";
/// Alarm kind: another client uses our client id.
pub const CLIENT_ID: &str = "client_id";
/// Alarm kind: the broker takes what it is sent and acknowledges nothing.
pub const SILENT: &str = "broker_silent";
/// Alarm kind: a message is larger than the broker takes.
pub const TOO_LARGE: &str = "verdict_too_large";
/// Alarm kind: the broker keeps no retained messages.
pub const RETAIN: &str = "broker_retains_nothing";
/// Alarm kind: renewed certificate files cannot be used.
pub const CERTIFICATE: &str = "certificate";

/// A message that was too large is told for so long.
const TOLD: Duration = Duration::from_secs(600);
/// So many connections lost one after the other soon after they were accepted are no accident.
const BRIEF: u32 = 3;

/// What is remembered from one connection to the next, for the alarms.
pub(super) struct Steady {
    /// A connection that has lasted so long counts as good. Longer than the longest pause, so that two clients that take
    /// the connection from each other never look good to themselves.
    lasting: Duration,
    /// When the broker accepted the present connection.
    since: Option<Instant>,
    /// When it first acknowledged something: one that never does is no good, however long it lasts.
    answering: Option<Instant>,
    brief: u32,
    /// When the last message was too large.
    too_large: Option<Instant>,
}

impl Steady {
    pub(super) fn new(spec: &PublisherSpec) -> Self {
        Self { lasting: spec.backoff_max * 2, since: None, answering: None, brief: 0, too_large: None }
    }

    pub(super) fn accepted(&mut self) {
        (self.since, self.answering) = (Some(Instant::now()), None);
    }

    /// The broker has acknowledged something.
    pub(super) fn answered(&mut self, shared: &PublisherState) {
        if self.answering.is_none() {
            self.answering = Some(Instant::now());
            shared.trouble(SILENT, None);
        }
    }

    fn has_lasted(&self) -> bool {
        self.answering.is_some_and(|since| since.elapsed() >= self.lasting)
    }

    /// The connection is given up with a goodbye, which is no loss.
    pub(super) fn left(&mut self) {
        (self.since, self.answering) = (None, None);
    }

    /// A connection has ended; pauses grow until one has lasted. True when the broker had accepted it.
    pub(super) fn lost(&mut self, error: &PublishError, backoff: &mut Backoff, shared: &PublisherState) -> bool {
        let was_up = self.since.is_some();
        if self.has_lasted() {
            backoff.reset();
            self.brief = 0;
        } else if was_up && !matches!(error, PublishError::Unacknowledged { .. }) {
            self.brief += 1;
        }
        self.left();
        match error {
            PublishError::Unacknowledged { .. } => {
                shared.trouble(SILENT, Some(error.to_string()));
            }
            PublishError::TakenOver { .. } => {
                shared.trouble(CLIENT_ID, Some(error.to_string()));
            }
            _ if self.brief >= BRIEF => {
                let message = format!(
                    "the broker has ended {} connections soon after it accepted them; unless it was restarted, another \
                     client uses the same client_id, or it refuses what this line does",
                    self.brief
                );
                if shared.trouble(CLIENT_ID, Some(message.clone())) && self.brief == BRIEF {
                    tracing::warn!("{message}");
                }
            }
            _ => {}
        }
        was_up
    }

    /// The broker has taken a message.
    pub(super) fn taken(&self, topic: &str, shared: &PublisherState) {
        if topic.ends_with("/verdict") {
            shared.trouble(REFUSED, None);
        }
    }

    /// The broker does not take a message.
    pub(super) fn refused(&self, error: &PublishError, shared: &PublisherState) {
        if shared.trouble(REFUSED, Some(error.to_string())) {
            tracing::error!("{error}");
        }
    }

    /// The broker does not take a message because of its size.
    pub(super) fn too_large(&mut self, message: String, shared: &PublisherState) {
        self.too_large = Some(Instant::now());
        tracing::error!("{message}");
        shared.trouble(TOO_LARGE, Some(message));
    }

    /// It is known why the broker has ended the last connections: nobody else takes them away.
    pub(super) fn explained(&mut self) {
        self.brief = 0;
    }

    /// Now and then while connected. True when the certificate files have changed and can be used.
    pub(super) fn look(&mut self, reconnect: &mut Reconnect, shared: &PublisherState) -> bool {
        if self.has_lasted() {
            reconnect.backoff.reset();
            self.brief = 0;
            shared.trouble(CLIENT_ID, None);
        }
        if self.too_large.is_some_and(|since| since.elapsed() >= TOLD) {
            self.too_large = None;
            shared.trouble(TOO_LARGE, None);
        }
        let Some(files) = &reconnect.spec.tls else { return false };
        match files.load() {
            Ok(loaded) => {
                shared.trouble(CERTIFICATE, None);
                Some(loaded.fingerprint) != reconnect.certificates
            }
            // The connection stands on what was read before; a renewal may also be half done.
            Err(error) => {
                let message = error_chain::one_line(&error);
                if shared.trouble(CERTIFICATE, Some(message.clone())) {
                    tracing::warn!("the connection goes on with the certificates it has: {message}");
                }
                false
            }
        }
    }
}

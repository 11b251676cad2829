//! What the broker does not take from this line, and how the rest goes on.

use super::VerdictConnection;
use crate::publish::PublishError;
use crate::publish::door::Cargo;
use crate::publish::outbox::RecordId;
use crate::publish::sizes::{Flight, Judgement};
use crate::publish::steady::{REFUSED, RETAIN};

impl VerdictConnection {
    /// The line works without: whoever listens hears of the state and of alarms when they change.
    pub(super) fn retains_nothing(&mut self) {
        self.retains = false;
        let error = PublishError::NoRetain { address: self.broker() };
        if self.shared.trouble(RETAIN, Some(error.to_string())) {
            tracing::warn!("{error}");
        }
    }

    /// The broker has hung up, and what was on the wire may be why.
    pub(super) fn judge(&mut self) {
        let on_the_wire: Vec<Flight> =
            self.flying.drain().map(|(_, flight)| flight).chain(self.handed.drain(..)).collect();
        let judgement = self.sizes.lost(&on_the_wire);
        let broker = self.broker();
        match judgement {
            Judgement::Nothing => return,
            Judgement::Shorten(Flight { topic, bytes, .. }) => {
                let message = format!(
                    "broker {broker} has hung up twice on a message of {bytes} bytes to {topic}: verdicts of this size are \
                     sent without their defects, and the outbox keeps this one whole; raise the broker's limit"
                );
                self.steady.too_large(message, &self.shared);
            }
            Judgement::SetAside(Flight { cargo: Cargo::Verdict(id), topic, bytes }) => {
                self.set_aside(id, &topic, format!("has hung up twice on {bytes} bytes"));
            }
            Judgement::SetAside(Flight { cargo: Cargo::Retained { topic, version }, bytes, .. }) => {
                let message = format!("broker {broker} has hung up twice on {bytes} bytes to {topic}; raise its limit");
                self.steady.too_large(message, &self.shared);
                self.unwanted.insert(topic, version);
            }
            Judgement::Topic(Flight { cargo, topic, .. }) => {
                if let Cargo::Retained { topic, version } = cargo {
                    self.unwanted.insert(topic, version);
                }
                let error = PublishError::HangsUp { address: broker, topic };
                if self.shared.trouble(REFUSED, Some(error.to_string())) {
                    tracing::error!("{error}");
                }
                self.steady.explained();
                return;
            }
        }
        self.steady.explained();
        self.reconnect.backoff.reset();
    }

    /// The others go on without this verdict, which the outbox keeps.
    pub(super) fn set_aside(&mut self, id: RecordId, topic: &str, why: String) {
        let place = if self.shared.set_aside(id) {
            "it is kept in the outbox (vcp-line outbox DIR) and sent once more at the next start"
        } else {
            "it is lost, because this line has no outbox"
        };
        let message =
            format!("broker {} {why} to {topic}, a verdict: {place}; raise the broker's limit", self.broker());
        self.steady.too_large(message, &self.shared);
    }
}

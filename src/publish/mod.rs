//! Verdicts leave the line here: over MQTT 3.1.1 or 5, QoS 1, kept until the broker has acknowledged them.
//!
//! ```text
//! inspection threads ─▶ Door (bounded) ─▶ Ledger (ours until PUBACK) ─▶ mqtt: one task on one named thread ─▶ broker
//!                                           ◀─▶ outbox: one thread, the log on disk
//! ```
//! The ledger of the [`outbox`] decides what is stored and sent next, and knows nothing of disks and sockets; [`door`]
//! lets threads in; the outbox thread and `mqtt` act. The MQTT client forgets un-acknowledged messages when the broker
//! reports no session, therefore the queue is ours and each connection starts with a fresh client.

pub mod backoff;
pub mod broker;
pub mod client;
pub mod commands;
pub mod door;
pub mod fault;
mod mqtt;
pub mod outbox;
pub mod payload;
pub mod probe;
pub mod sparkplug;
pub mod state;
mod steady;
pub mod tls;
pub mod topic;
pub mod url;
pub mod watch;

use std::time::Duration;

pub use client::Version;
pub use commands::{AckSender, AskError, CommandLink, CommandPort, ask};
pub use door::{Counters, Door, DoorError};
pub use fault::PublishError;
pub use mqtt::{Published, Publisher, StopReport};
pub use outbox::{OutboxSpec, OutboxStatus, OwedPart};
pub use payload::Outgoing;
pub use probe::probe;
pub use state::{Alarm, CameraState, LineState, StateWord};
pub use tls::{ClientFiles, TlsError, TlsFiles};
pub use topic::Topics;
pub use url::BrokerUrl;

pub use crate::secret::Secret;

/// Largest MQTT packet sent, bytes. A verdict with a thousand polygons stays below it; brokers commonly allow more.
pub const MAX_PACKET: usize = 256 * 1024;

/// Who the service is at the broker. The password is used only together with the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub user: String,
    /// Password.
    pub password: Secret,
}

/// Everything the publisher needs to know, resolved.
#[derive(Clone, Debug)]
pub struct PublisherSpec {
    /// Broker's name or address.
    pub host: String,
    /// Broker's port.
    pub port: u16,
    /// First part of every topic.
    pub prefix: String,
    /// Configured name of the line.
    pub line: String,
    /// The same at every start, so that the broker ends an old connection of this line. Unique per broker.
    pub client_id: String,
    /// `None` for a broker that asks nobody.
    pub credentials: Option<Credentials>,
    /// `None`: the connection is not encrypted.
    pub tls: Option<TlsFiles>,
    /// How often the TLS files are looked at; renewed ones are taken by connecting anew, between two verdicts.
    pub tls_look: Duration,
    /// The language spoken with the broker.
    pub version: Version,
    /// How long the broker remembers this client after the connection has ended, MQTT 5 only.
    pub session_expiry: Duration,
    /// How long the broker keeps a verdict for a reader that is away, MQTT 5 only; `None`: for ever.
    pub verdict_expiry: Option<Duration>,
    /// How often the connection proves it is alive, at least 1 s, with MQTT 5 at least 5 s.
    pub keep_alive: Duration,
    /// How long a connection attempt may take.
    pub connect_timeout: Duration,
    /// Pause after the first failed attempt.
    pub backoff_min: Duration,
    /// Longest pause between attempts.
    pub backoff_max: Duration,
    /// Verdicts that memory alone holds, and parts that are owed one, at least 1.
    pub max_queue: usize,
    /// Where they are kept on disk; `None`: in memory alone.
    pub outbox: Option<OutboxSpec>,
    /// Verdicts sent and not yet acknowledged, at least 1.
    pub max_in_flight: usize,
}

impl PublisherSpec {
    /// The defaults for a line: prefix `vcp-line`, client id `vcp-line-LINE`, a queue of 10 000 verdicts.
    pub fn new(host: impl Into<String>, port: u16, line: impl Into<String>) -> Self {
        let line = line.into();
        Self {
            host: host.into(),
            port,
            prefix: "vcp-line".into(),
            client_id: format!("vcp-line-{line}"),
            line,
            credentials: None,
            tls: None,
            tls_look: Duration::from_secs(10),
            version: Version::V4,
            session_expiry: Duration::from_secs(3600),
            verdict_expiry: None,
            keep_alive: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(5),
            backoff_min: Duration::from_millis(250),
            backoff_max: Duration::from_secs(30),
            max_queue: 10_000,
            outbox: None,
            max_in_flight: 64,
        }
    }

    /// The topics of this line.
    pub fn topics(&self) -> Topics {
        Topics::new(&self.prefix, &self.line)
    }

    /// `host:port`, for messages.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_never_reaches_a_log() {
        let mut spec = PublisherSpec::new("broker", 1883, "caps");
        spec.credentials = Some(Credentials { user: "line".into(), password: Secret::new("hunter2") });
        let shown = format!("{spec:?}");
        assert!(shown.contains("line") && !shown.contains("hunter2"), "{shown}");
    }
}

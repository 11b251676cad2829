//! Everything the connections to the broker need to know, resolved, and the bounds of what travels on them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::outbox::{OutboxBounds, OutboxSpec};
use super::topic::Topics;
use crate::secret::Secret;
use crate::tls::TlsFiles;

/// Largest MQTT packet sent, bytes. A verdict with a thousand polygons stays below it; brokers commonly allow more.
pub const MAX_PACKET: usize = 256 * 1024;

/// Largest packet taken from the broker, bytes. A larger one ends a 3.1.1 connection; over MQTT 5 the broker is told
/// this limit and keeps larger ones to itself.
pub const MAX_INCOMING: usize = 1024 * 1024;

/// The language spoken with the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1: every broker knows it; a refused message looks like an accepted one.
    #[default]
    V4,
    /// MQTT 5: the broker says why it refuses.
    V5,
}

/// Who the service is at the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub user: String,
    /// Password; `None` for a user without, such as an access token.
    pub password: Option<Secret>,
}

impl Credentials {
    /// The word that the client library takes; it sends no password at all for an empty one.
    pub fn password(&self) -> &str {
        self.password.as_ref().map_or("", Secret::reveal)
    }
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
    /// A broker that acknowledges nothing for so long, and for three times `keep_alive`, is taken for broken.
    pub ack_patience: Duration,
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
    /// What may change while the line runs.
    pub live: Live,
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
            ack_patience: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            backoff_min: Duration::from_millis(250),
            backoff_max: Duration::from_secs(30),
            max_queue: 10_000,
            outbox: None,
            max_in_flight: 64,
            live: Live::default(),
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

/// Where the broker is, and how it is spoken with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    host: String,
    port: u16,
    credentials: Option<Credentials>,
    tls: Option<TlsFiles>,
    version: Version,
    session_expiry: Duration,
    verdict_expiry: Option<Duration>,
    keep_alive: Duration,
    backoff_min: Duration,
    backoff_max: Duration,
}

impl Broker {
    /// That of these settings.
    pub fn of(spec: &PublisherSpec) -> Self {
        Self {
            host: spec.host.clone(),
            port: spec.port,
            credentials: spec.credentials.clone(),
            tls: spec.tls.clone(),
            version: spec.version,
            session_expiry: spec.session_expiry,
            verdict_expiry: spec.verdict_expiry,
            keep_alive: spec.keep_alive,
            backoff_min: spec.backoff_min,
            backoff_max: spec.backoff_max,
        }
    }

    /// In place of the one in `spec`; names and topics stay.
    pub(super) fn replace(&self, spec: &mut PublisherSpec) {
        let of = self.clone();
        (spec.host, spec.port, spec.credentials, spec.tls) = (of.host, of.port, of.credentials, of.tls);
        (spec.version, spec.keep_alive) = (of.version, of.keep_alive);
        (spec.session_expiry, spec.verdict_expiry) = (of.session_expiry, of.verdict_expiry);
        (spec.backoff_min, spec.backoff_max) = (of.backoff_min, of.backoff_max);
    }
}

/// The way to all connections and to the outbox of one line; a clone is the same way.
#[derive(Clone, Debug)]
pub struct Live {
    broker: watch::Sender<Option<Arc<Broker>>>,
    bounds: Arc<Mutex<Option<OutboxBounds>>>,
}

impl Default for Live {
    fn default() -> Self {
        Self { broker: watch::Sender::new(None), bounds: Arc::default() }
    }
}

impl Live {
    /// Every connection of the line goes there from now on; verdicts that the old one has not acknowledged go along.
    pub fn move_to(&self, broker: Broker) {
        self.broker.send_replace(Some(Arc::new(broker)));
    }

    /// The outbox has these bounds from now on.
    pub fn bound(&self, bounds: OutboxBounds) {
        *self.bounds.lock().unwrap_or_else(PoisonError::into_inner) = Some(bounds);
    }

    /// New bounds, once.
    pub(super) fn new_bounds(&self) -> Option<OutboxBounds> {
        self.bounds.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Hears of another broker.
    pub(super) fn listen(&self) -> watch::Receiver<Option<Arc<Broker>>> {
        self.broker.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_never_reaches_a_log() {
        let mut spec = PublisherSpec::new("broker", 1883, "caps");
        spec.credentials = Some(Credentials { user: "line".into(), password: Some(Secret::new("hunter2")) });
        let shown = format!("{spec:?}");
        assert!(shown.contains("line") && !shown.contains("hunter2"), "{shown}");
    }
}

//! What can go wrong between the line and its broker, in words an operator can act on, and a way to find out beforehand.

use std::io;
use std::time::Duration;

use rumqttc::{AsyncClient, ConnectReturnCode, ConnectionError, Event, MqttOptions, NetworkOptions, Outgoing, Packet};

use super::outbox::OutboxError;
use super::{MAX_PACKET, PublisherSpec};

/// The broker cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The name means nothing here.
    #[error("broker {address}: the name cannot be resolved; check the host in [mqtt] and the DNS of this computer")]
    Name {
        /// `host:port`
        address: String,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// Nobody listens there.
    #[error("broker {address} refuses connections; is it running, and is the port right?")]
    Refused {
        /// `host:port`
        address: String,
    },
    /// No answer in time.
    #[error("broker {address} does not answer; check cable, firewall and address")]
    Silent {
        /// `host:port`
        address: String,
    },
    /// The user or the password is wrong, or missing.
    #[error(
        "broker {address} does not accept {who}; check username and password_file in [mqtt] and the broker's user list"
    )]
    Credentials {
        /// `host:port`
        address: String,
        /// `user "NAME"` or `a connection without user`.
        who: String,
    },
    /// Another answer than "accepted".
    #[error("broker {address} rejected the connection: {code:?}; check client_id \"{client_id}\" and the broker's log")]
    Rejected {
        /// `host:port`
        address: String,
        /// As configured.
        client_id: String,
        /// The broker's answer.
        code: ConnectReturnCode,
    },
    /// Any other failure of the connection.
    #[error("connection to broker {address} failed; see the broker's log")]
    Connection {
        /// `host:port`
        address: String,
        /// What the client saw.
        #[source]
        source: Box<ConnectionError>,
    },
    /// The outbox on disk cannot be used.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The thread or its runtime could not be started.
    #[error("the publisher thread cannot be started; the system is out of threads or file descriptors")]
    Thread(#[source] io::Error),
}

impl PublishError {
    pub(super) fn of(spec: &PublisherSpec, error: ConnectionError) -> Self {
        let address = spec.address();
        match error {
            ConnectionError::NetworkTimeout => Self::Silent { address },
            ConnectionError::ConnectionRefused(
                ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
            ) => {
                let who = match &spec.credentials {
                    Some(credentials) => format!("user \"{}\"", credentials.user),
                    None => "a connection without user".into(),
                };
                Self::Credentials { address, who }
            }
            ConnectionError::ConnectionRefused(code) => {
                Self::Rejected { address, client_id: spec.client_id.clone(), code }
            }
            ConnectionError::Io(source) => match source.kind() {
                io::ErrorKind::ConnectionRefused => Self::Refused { address },
                io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                    Self::Silent { address }
                }
                // The standard library gives resolver failures no kind of their own, only this text.
                _ if source.to_string().contains("lookup address") => Self::Name { address, source },
                _ => Self::Connection { address, source: Box::new(ConnectionError::Io(source)) },
            },
            source => Self::Connection { address, source: Box::new(source) },
        }
    }
}

/// How rumqttc is to connect; the last will is the caller's.
pub(super) fn options(spec: &PublisherSpec) -> MqttOptions {
    // rumqttc appends ":PORT" to what it is given, so an IPv6 address needs its brackets.
    let host = if spec.host.contains(':') { format!("[{}]", spec.host) } else { spec.host.clone() };
    let mut options = MqttOptions::new(&spec.client_id, host, spec.port);
    options.set_keep_alive(spec.keep_alive.max(Duration::from_secs(1)));
    options.set_max_packet_size(MAX_PACKET, MAX_PACKET);
    if let Some(credentials) = &spec.credentials {
        options.set_credentials(&credentials.user, credentials.password.reveal());
    }
    options
}

/// Small packets leave at once, and an attempt ends after the configured time.
pub(super) fn network(spec: &PublisherSpec) -> NetworkOptions {
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(spec.connect_timeout.as_secs().max(1));
    network
}

/// Connects as the line would, publishes nothing, and disconnects.
///
/// A client id of its own keeps a running line connected.
pub fn probe(spec: &PublisherSpec) -> Result<(), PublishError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(PublishError::Thread)?;
    let mut options = options(spec);
    options.set_client_id(format!("{}-check-{}", spec.client_id, std::process::id()));
    options.set_clean_session(true);
    let (client, mut events) = AsyncClient::new(options, 1);
    events.set_network_options(network(spec));
    let silent = || PublishError::Silent { address: spec.address() };
    let answer = runtime.block_on(async {
        let polite = async {
            loop {
                match events.poll().await.map_err(|error| PublishError::of(spec, error))? {
                    Event::Incoming(Packet::ConnAck(_)) => {
                        // The channel has room for one request and this is the first.
                        client.try_disconnect().map_err(|_| silent())?;
                    }
                    Event::Outgoing(Outgoing::Disconnect) => return Ok(()),
                    _ => {}
                }
            }
        };
        // Twice the time of one attempt: name lookup is not covered by rumqttc's own limit on every platform.
        tokio::time::timeout(spec.connect_timeout * 2, polite).await.unwrap_or_else(|_| Err(silent()))
    });
    // A name lookup may hang for long; nobody waits for it.
    runtime.shutdown_background();
    answer
}

//! What can go wrong between the line and its broker, in words an operator can act on.

use std::error::Error;
use std::io;

use rumqttc::tokio_rustls::rustls::{self, AlertDescription, CertificateError};
use rumqttc::{ConnectReturnCode, ConnectionError, StateError, TlsError as ClientTlsError, v5};

use super::outbox::OutboxError;
use super::spec::{MAX_INCOMING, PublisherSpec};
use crate::tls::TlsError;

/// Why a connection ended, in the words of the MQTT library.
#[derive(Debug)]
pub(super) enum Failure {
    V4(rumqttc::ConnectionError),
    V5(v5::ConnectionError),
}

impl Failure {
    /// The broker hung up, or said nothing that can be read.
    pub(super) fn is_speechless(&self) -> bool {
        match self {
            Self::V4(_) => false,
            Self::V5(v5::ConnectionError::Timeout(_)) => true,
            Self::V5(v5::ConnectionError::MqttState(state)) => {
                !matches!(state, v5::StateError::ServerDisconnect { .. })
            }
            Self::V5(v5::ConnectionError::Io(error)) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::UnexpectedEof
            ),
            Self::V5(_) => false,
        }
    }

    /// The broker has answered the connection with a no; another version is not asked for.
    pub(super) fn is_answer(&self) -> bool {
        match self {
            Self::V4(ConnectionError::ConnectionRefused(code)) => {
                !matches!(code, ConnectReturnCode::RefusedProtocolVersion)
            }
            _ => false,
        }
    }
}

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
    #[error("broker {address} rejected the connection: {code}; check client_id \"{client_id}\" and the broker's log")]
    Rejected {
        /// `host:port`
        address: String,
        /// As configured.
        client_id: String,
        /// The broker's answer.
        code: String,
    },
    /// It knows no other version.
    #[error("broker {address} speaks MQTT 3.1.1 only; set version = 4 in [mqtt]")]
    OldOnly {
        /// `host:port`
        address: String,
    },
    /// It no longer knows this version.
    #[error("broker {address} does not speak MQTT 3.1.1; set version = 5 in [mqtt]")]
    NotOld {
        /// `host:port`
        address: String,
    },
    /// Nothing is ever acknowledged there.
    #[error(
        "broker {address} takes no messages with QoS 1 (its Maximum QoS is 0), so that nobody would know whether verdicts \
         arrive; allow QoS 1 there, or name another broker in [mqtt]"
    )]
    NoQos1 {
        /// `host:port`
        address: String,
    },
    /// Nothing is kept for later subscribers there.
    #[error(
        "broker {address} keeps no retained messages; allow them there, so that readers who come later see the state"
    )]
    NoRetain {
        /// `host:port`
        address: String,
    },
    /// Our own certificate files.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The broker shows a certificate that does not convince.
    #[error("broker {address} shows a certificate that is not trusted: {reason}")]
    Untrusted {
        /// `host:port`
        address: String,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// The broker does not like ours.
    #[error(
        "broker {address} does not accept this line's certificate ({alert}); \
         check client_certificate and client_key in [mqtt] and which authority the broker trusts for clients"
    )]
    OurCertificate {
        /// `host:port`
        address: String,
        /// The broker's word for it.
        alert: String,
    },
    /// Somebody listens and speaks something else.
    #[error(
        "broker {address} does not speak TLS on this port; name its TLS port (commonly 8883), or write mqtt:// where \
         the network is trusted"
    )]
    NoTls {
        /// `host:port`
        address: String,
        /// What was seen instead.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A second client uses our name.
    #[error(
        "broker {address} gave the connection to another client with client_id \"{client_id}\"; every line needs its own"
    )]
    TakenOver {
        /// `host:port`
        address: String,
        /// As configured.
        client_id: String,
    },
    /// It takes everything and answers nothing.
    #[error(
        "broker {address} has acknowledged nothing for {seconds} s; see its log and its disk, and what stands between"
    )]
    Unacknowledged {
        /// `host:port`
        address: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// A message that is larger than any of ours.
    #[error(
        "broker {address} sent a packet of more than {MAX_INCOMING} bytes; somebody publishes it to a topic of this line: \
         set message_size_limit at the broker, and an access list"
    )]
    TooLarge {
        /// `host:port`
        address: String,
    },
    /// The access list of the broker is in the way; only MQTT 5 tells.
    #[error("broker {address} does not let this line publish to {topic} ({reason}); check the broker's access list")]
    NotAllowed {
        /// `host:port`
        address: String,
        /// The refused topic.
        topic: String,
        /// The broker's word for it.
        reason: String,
    },
    /// It ends the connection whatever is published there, as brokers do that have no other way to refuse it.
    #[error(
        "broker {address} hangs up on what this line publishes to {topic}; check the broker's access list and its largest \
         message"
    )]
    HangsUp {
        /// `host:port`
        address: String,
        /// Where the messages went.
        topic: String,
    },
    /// Any other failure of the connection.
    #[error("connection to broker {address} failed; see the broker's log")]
    Connection {
        /// `host:port`
        address: String,
        /// What the client saw.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The outbox on disk cannot be used.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The thread or its runtime could not be started.
    #[error("the publisher thread cannot be started; the system is out of threads or file descriptors")]
    Thread(#[source] io::Error),
}

impl PublishError {
    /// Whether the broker knows the caller and says no: trying again with the same words changes nothing.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Credentials { .. }
                | Self::Rejected { .. }
                | Self::OldOnly { .. }
                | Self::NotOld { .. }
                | Self::NoQos1 { .. }
                | Self::Tls(_)
                | Self::Untrusted { .. }
        )
    }

    /// Whether the broker may have ended the connection because of what was on it.
    pub(super) fn may_be_about_a_message(&self) -> bool {
        matches!(self, Self::Connection { .. } | Self::NoTls { .. })
    }

    pub(super) fn of(spec: &PublisherSpec, failure: Failure) -> Self {
        let address = spec.address();
        match failure {
            Failure::V4(error) => match error {
                ConnectionError::NetworkTimeout => Self::Silent { address },
                ConnectionError::ConnectionRefused(ConnectReturnCode::RefusedProtocolVersion) => {
                    Self::NotOld { address }
                }
                ConnectionError::ConnectionRefused(code) => {
                    let bad = matches!(code, ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized);
                    Self::turned_away(spec, bad, format!("{code:?}"))
                }
                ConnectionError::MqttState(StateError::Deserialization(
                    rumqttc::mqttbytes::Error::PayloadSizeLimitExceeded(_),
                )) => Self::TooLarge { address },
                ConnectionError::Io(source) if source.get_ref().is_none_or(|inner| !inner.is::<rustls::Error>()) => {
                    Self::of_io(spec, source)
                }
                source => Self::of_any(spec, Box::new(source)),
            },
            Failure::V5(error) => match error {
                v5::ConnectionError::Timeout(_) => Self::Silent { address },
                v5::ConnectionError::ConnectionRefused(code) => {
                    use v5::mqttbytes::v5::ConnectReturnCode;
                    match code {
                        ConnectReturnCode::UnsupportedProtocolVersion => Self::OldOnly { address },
                        ConnectReturnCode::QoSNotSupported => Self::NoQos1 { address },
                        ConnectReturnCode::RetainNotSupported => Self::NoRetain { address },
                        ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => {
                            Self::turned_away(spec, true, format!("{code:?}"))
                        }
                        code => Self::turned_away(spec, false, format!("{code:?}")),
                    }
                }
                v5::ConnectionError::MqttState(state) => match state {
                    v5::StateError::ServerDisconnect {
                        reason_code: v5::mqttbytes::v5::DisconnectReasonCode::SessionTakenOver,
                        ..
                    } => Self::TakenOver { address, client_id: spec.client_id.clone() },
                    v5::StateError::IncomingPacketTooLarge { .. }
                    | v5::StateError::Deserialization(v5::mqttbytes::Error::PayloadSizeLimitExceeded { .. }) => {
                        Self::TooLarge { address }
                    }
                    // The library hides the cause of these; it is needed to tell TLS trouble from others.
                    v5::StateError::Deserialization(source) => Self::of_any(spec, Box::new(source)),
                    source => Self::of_any(spec, Box::new(source)),
                },
                v5::ConnectionError::Io(source)
                    if source.get_ref().is_none_or(|inner| !inner.is::<rustls::Error>()) =>
                {
                    Self::of_io(spec, source)
                }
                source => Self::of_any(spec, Box::new(source)),
            },
        }
    }

    fn turned_away(spec: &PublisherSpec, credentials: bool, code: String) -> Self {
        let address = spec.address();
        if !credentials {
            return Self::Rejected { address, client_id: spec.client_id.clone(), code };
        }
        let who = match &spec.credentials {
            Some(credentials) => format!("user \"{}\"", credentials.user),
            None => "a connection without user".into(),
        };
        Self::Credentials { address, who }
    }

    fn of_io(spec: &PublisherSpec, source: io::Error) -> Self {
        let address = spec.address();
        match source.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused { address },
            io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                Self::Silent { address }
            }
            // The standard library gives resolver failures no kind of their own, only this text.
            _ if source.to_string().contains("lookup address") => Self::Name { address, source },
            _ => Self::Connection { address, source: Box::new(source) },
        }
    }

    fn of_any(spec: &PublisherSpec, source: Box<dyn Error + Send + Sync>) -> Self {
        let address = spec.address();
        if spec.tls.is_none() {
            return Self::Connection { address, source };
        }
        if let Some(cause) = tls_cause(&*source) {
            return match cause {
                rustls::Error::InvalidCertificate(error) => {
                    Self::Untrusted { address, reason: distrust(error, &spec.host) }
                }
                rustls::Error::AlertReceived(alert) if is_about_us(*alert) => {
                    Self::OurCertificate { address, alert: format!("{alert:?}") }
                }
                rustls::Error::InvalidMessage(_) => Self::NoTls { address, source },
                _ => Self::Connection { address, source },
            };
        }
        // A broker without TLS hangs up at the first byte of a handshake.
        if let Some(ConnectionError::Tls(ClientTlsError::Io(_))) = source.downcast_ref::<ConnectionError>() {
            return Self::NoTls { address, source };
        }
        match source.downcast_ref::<v5::ConnectionError>() {
            Some(v5::ConnectionError::Tls(ClientTlsError::Io(_))) => Self::NoTls { address, source },
            _ => Self::Connection { address, source },
        }
    }
}

/// The TLS library's own error among the causes.
fn tls_cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An I/O error names as its source not the error that it wraps, but that one's source.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// Alerts that answer a client's certificate, or its absence.
fn is_about_us(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::HandshakeFailure
            | AlertDescription::DecryptError
    )
}

fn distrust(error: &CertificateError, host: &str) -> String {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "none of the authorities in ca has signed it; name the authority of the broker as ca".into()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired; renew it at the broker, and compare the clocks".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet; is the clock of this computer right?".into()
        }
        CertificateError::NotValidForName => {
            format!("it is not for \"{host}\"; write the name that stands in the certificate into url")
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            // The library writes them as DnsName("…").
            let bare = |name: &String| name.trim_start_matches("DnsName(\"").trim_end_matches("\")").to_owned();
            let names: Vec<String> = presented.iter().map(bare).collect();
            let names = if names.is_empty() { "no name".into() } else { names.join(", ") };
            format!("it is not for \"{host}\" but for {names}; write such a name into url, or issue it anew")
        }
        error => format!("{error}"),
    }
}

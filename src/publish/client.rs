//! One MQTT connection, whatever its protocol version: what the publishing tasks ask of it and hear from it.

use std::time::Duration;

use rumqttc::{NetworkOptions, Outgoing, QoS, TlsConfiguration, Transport, v5};

use super::attributes::{self, About, CONTENT_TYPE};
use super::fault::{Failure, PublishError};
use super::spec::{MAX_INCOMING, MAX_PACKET, PublisherSpec, Version};
use crate::tls::{Loaded, TlsFiles};

/// rumqttc accepts no shorter sign of life over MQTT 5.
pub const SHORTEST_KEEP_ALIVE_V5: Duration = Duration::from_secs(5);

/// A sign of life that nobody waits for.
const UNWATCHED: Duration = Duration::from_secs(3600);

/// What the broker publishes when the connection ends without a goodbye.
#[derive(Clone, Debug)]
pub(super) struct Will {
    pub topic: String,
    pub payload: Vec<u8>,
    pub retain: bool,
    /// What it says about itself.
    pub about: Option<About>,
}

/// How one connection differs from others of the same settings.
pub(super) struct Wish {
    pub client_id: String,
    /// Forget what the broker remembers of this client.
    pub clean: bool,
    pub will: Option<Will>,
    /// Requests that may wait for the connection.
    pub requests: usize,
    /// Packet ids in use at once.
    pub packet_ids: Option<u16>,
}

/// A request does not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotTaken {
    /// The client's queue takes no more, or a topic is no topic.
    #[error("the MQTT client does not take the request")]
    Queue,
    /// The broker would end the connection.
    #[error("it needs a packet of {needed} bytes, and the broker takes {most}")]
    TooLarge { needed: usize, most: usize },
}

/// What the broker grants a connection. MQTT 3.1.1 cannot say: there, everything is taken to be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    /// Largest packet, bytes.
    pub packet: usize,
    /// Messages are acknowledged (Maximum QoS).
    pub sure: bool,
    /// Messages are kept for later subscribers.
    pub retain: bool,
    /// Filters may have wildcards.
    pub wildcards: bool,
}

impl Default for Granted {
    fn default() -> Self {
        Self { packet: MAX_PACKET, sure: true, retain: true, wildcards: true }
    }
}

impl Granted {
    fn of_v5(properties: Option<&v5::mqttbytes::v5::ConnAckProperties>) -> Self {
        let Some(properties) = properties else { return Self::default() };
        let packet = properties.max_packet_size.and_then(|bytes| usize::try_from(bytes).ok());
        Self {
            packet: packet.map_or(MAX_PACKET, |bytes| bytes.min(MAX_PACKET)),
            sure: properties.max_qos != Some(0),
            retain: properties.retain_available != Some(0),
            wildcards: properties.wildcard_subscription_available != Some(0),
        }
    }
}

/// Bytes of a packet that publishes to this topic, the payload apart: type, length, topic, packet id, and the properties
/// that it does not go without.
pub(super) fn packet_head(topic: &str) -> usize {
    1 + 4 + 2 + topic.len() + 2 + 1 + 5
}

/// What happened on the connection.
#[derive(Debug)]
pub(super) enum Signal {
    /// The broker has accepted us.
    Connected(Granted),
    /// A publish left with this packet id (0: nobody will acknowledge it).
    Handed(u16),
    /// The broker has this publish.
    Acked(u16),
    /// The broker does not want this publish, and says why.
    Refused(u16, String),
    /// How many filters of a subscription were refused.
    Subscribed { refused: usize },
    /// Somebody published what we subscribed to.
    Message { topic: String, payload: Vec<u8>, retained: bool },
    /// Our goodbye has left.
    Goodbye,
    /// Nothing of interest.
    Other,
}

/// Takes requests.
pub(super) struct Client {
    side: ClientSide,
    /// Set when the broker has accepted the connection; nothing is asked for beyond it.
    pub granted: Granted,
}

enum ClientSide {
    V4(rumqttc::AsyncClient),
    V5(v5::AsyncClient, Option<u32>),
}

/// Makes the connection work while it is polled.
pub(super) struct Events {
    side: EventSide,
    /// The broker has accepted the connection.
    up: bool,
}

enum EventSide {
    V4(Box<rumqttc::EventLoop>),
    V5(Box<v5::EventLoop>),
}

/// A connection that is made when its events are polled. `tls` are the files as loaded for this connection.
pub(super) fn open(spec: &PublisherSpec, wish: Wish, tls: Option<&Loaded>) -> (Client, Events) {
    let transport = match tls {
        Some(loaded) => Transport::tls_with_config(TlsConfiguration::Rustls(loaded.config.clone())),
        None => Transport::tcp(),
    };
    // rumqttc appends ":PORT" to what it is given, so an IPv6 address needs its brackets.
    let host = if spec.host.contains(':') { format!("[{}]", spec.host) } else { spec.host.clone() };
    let (client, events) = match spec.version {
        Version::V4 => {
            let mut options = rumqttc::MqttOptions::new(wish.client_id, host, spec.port);
            options.set_keep_alive(spec.keep_alive.max(Duration::from_secs(1)));
            options.set_max_packet_size(MAX_INCOMING, MAX_PACKET);
            options.set_clean_session(wish.clean).set_transport(transport);
            if let Some(credentials) = &spec.credentials {
                options.set_credentials(&credentials.user, credentials.password());
            }
            if let Some(will) = wish.will {
                let will = rumqttc::LastWill::new(will.topic, will.payload, QoS::AtLeastOnce, will.retain);
                options.set_last_will(will);
            }
            if let Some(ids) = wish.packet_ids {
                options.set_inflight(ids);
            }
            let (client, mut events) = rumqttc::AsyncClient::new(options, wish.requests);
            events.set_network_options(network(spec));
            (ClientSide::V4(client), EventSide::V4(Box::new(events)))
        }
        Version::V5 => {
            let mut options = v5::MqttOptions::new(wish.client_id, host, spec.port);
            options.set_keep_alive(spec.keep_alive.max(SHORTEST_KEEP_ALIVE_V5));
            options.set_connection_timeout(timeout_s(spec)).set_network_options(network(spec));
            options.set_max_packet_size(Some(MAX_INCOMING as u32));
            let session = if wish.clean { 0 } else { seconds(spec.session_expiry) };
            options.set_session_expiry_interval(Some(session));
            options.set_clean_start(wish.clean).set_transport(transport);
            if let Some(credentials) = &spec.credentials {
                options.set_credentials(&credentials.user, credentials.password());
            }
            if let Some(will) = wish.will {
                let qos = v5::mqttbytes::QoS::AtLeastOnce;
                let told = will.about.map(|about| about.properties(&will.topic));
                let properties = told.map(|user_properties| v5::mqttbytes::v5::LastWillProperties {
                    delay_interval: None,
                    payload_format_indicator: None,
                    message_expiry_interval: None,
                    content_type: Some(CONTENT_TYPE.into()),
                    response_topic: None,
                    correlation_data: None,
                    user_properties,
                });
                let will = v5::mqttbytes::v5::LastWill::new(will.topic, will.payload, qos, will.retain, properties);
                options.set_last_will(will);
            }
            if let Some(ids) = wish.packet_ids {
                options.set_outgoing_inflight_upper_limit(ids);
            }
            let (client, events) = v5::AsyncClient::new(options, wish.requests);
            (ClientSide::V5(client, spec.verdict_expiry.map(seconds)), EventSide::V5(Box::new(events)))
        }
    };
    (Client { side: client, granted: Granted::default() }, Events { side: events, up: false })
}

/// Small packets leave at once, and an attempt ends after the configured time.
fn network(spec: &PublisherSpec) -> NetworkOptions {
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(timeout_s(spec));
    network
}

fn timeout_s(spec: &PublisherSpec) -> u64 {
    spec.connect_timeout.as_secs().max(1)
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// How surely and how long a message is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// At most once, for whoever listens now.
    Fleeting,
    /// At least once; expires as configured for verdicts.
    Sure,
    /// At least once, and shown to whoever subscribes later.
    Retained,
}

impl Client {
    /// What the message says `about` itself is left out where the broker takes no packet that large, and over MQTT 3.1.1.
    pub(super) fn try_publish(
        &self,
        topic: String,
        keep: Keep,
        payload: Vec<u8>,
        about: Option<About>,
    ) -> Result<(), NotTaken> {
        let (retain, sure) =
            (keep == Keep::Retained && self.granted.retain, keep != Keep::Fleeting && self.granted.sure);
        let needed = packet_head(&topic) + payload.len();
        if needed > self.granted.packet {
            return Err(NotTaken::TooLarge { needed, most: self.granted.packet });
        }
        match &self.side {
            ClientSide::V4(client) => {
                let qos = if sure { QoS::AtLeastOnce } else { QoS::AtMostOnce };
                client.try_publish(topic, qos, retain, payload).map_err(|_| NotTaken::Queue)
            }
            ClientSide::V5(client, expiry) => {
                use v5::mqttbytes::QoS;
                let qos = if sure { QoS::AtLeastOnce } else { QoS::AtMostOnce };
                let told = about.map(|about| about.properties(&topic));
                let told = told.filter(|told| needed + attributes::bytes(told) <= self.granted.packet);
                let properties = v5::mqttbytes::v5::PublishProperties {
                    message_expiry_interval: expiry.filter(|_| keep == Keep::Sure),
                    content_type: told.as_ref().map(|_| CONTENT_TYPE.into()),
                    user_properties: told.unwrap_or_default(),
                    ..Default::default()
                };
                client.try_publish_with_properties(topic, qos, retain, payload, properties).map_err(|_| NotTaken::Queue)
            }
        }
    }

    pub(super) fn try_subscribe(&self, filter: &str) -> Result<(), NotTaken> {
        let done = match &self.side {
            ClientSide::V4(client) => client.try_subscribe(filter, QoS::AtLeastOnce).is_ok(),
            ClientSide::V5(client, _) => client.try_subscribe(filter, v5::mqttbytes::QoS::AtLeastOnce).is_ok(),
        };
        done.then_some(()).ok_or(NotTaken::Queue)
    }

    pub(super) fn try_disconnect(&self) -> Result<(), NotTaken> {
        let done = match &self.side {
            ClientSide::V4(client) => client.try_disconnect().is_ok(),
            ClientSide::V5(client, _) => client.try_disconnect().is_ok(),
        };
        done.then_some(()).ok_or(NotTaken::Queue)
    }
}

impl Events {
    /// Moves the connection on. To be polled to its end: dropped half way it could lose a packet.
    pub(super) async fn next(&mut self) -> Result<Signal, Failure> {
        let signal = match &mut self.side {
            EventSide::V4(events) => events.poll().await.map(of_v4).map_err(Failure::V4),
            EventSide::V5(events) => {
                let signal = events.poll().await.map(of_v5).map_err(Failure::V5);
                // The broker may want no sign of life (Server Keep Alive 0), which the library takes for one at once.
                if matches!(signal, Ok(Signal::Connected(_))) && events.options.keep_alive().is_zero() {
                    events.options.set_keep_alive(UNWATCHED);
                }
                signal
            }
        };
        self.up |= matches!(signal, Ok(Signal::Connected(_)));
        signal
    }

    /// Why the connection ended, in words. A broker that hangs up on the first word of MQTT 5, or never answers it, is
    /// asked in MQTT 3.1.1: it may know no other, and then says nothing or what the library cannot read.
    pub(super) async fn error(&self, spec: &PublisherSpec, failure: Failure) -> PublishError {
        if spec.version == Version::V5 && !self.up && failure.is_speechless() && speaks_old(spec).await {
            return PublishError::OldOnly { address: spec.address() };
        }
        PublishError::of(spec, failure)
    }
}

/// Whether the broker answers a connection over MQTT 3.1.1, whatever it answers.
async fn speaks_old(spec: &PublisherSpec) -> bool {
    let Ok(loaded) = spec.tls.as_ref().map(TlsFiles::load).transpose() else { return false };
    let spec = PublisherSpec { version: Version::V4, ..spec.clone() };
    let client_id = format!("{}-check-{}", spec.client_id, std::process::id());
    let wish = Wish { client_id, clean: true, will: None, requests: 1, packet_ids: None };
    let (_client, mut events) = open(&spec, wish, loaded.as_ref());
    match events.next().await {
        Ok(_) => true,
        Err(failure) => failure.is_answer(),
    }
}

fn of_outgoing(outgoing: &Outgoing) -> Signal {
    match outgoing {
        Outgoing::Publish(id) => Signal::Handed(*id),
        Outgoing::Disconnect => Signal::Goodbye,
        _ => Signal::Other,
    }
}

fn of_v4(event: rumqttc::Event) -> Signal {
    use rumqttc::{Event, Packet, SubscribeReasonCode};
    match event {
        Event::Outgoing(outgoing) => of_outgoing(&outgoing),
        Event::Incoming(Packet::ConnAck(_)) => Signal::Connected(Granted::default()),
        Event::Incoming(Packet::PubAck(ack)) => Signal::Acked(ack.pkid),
        Event::Incoming(Packet::SubAck(ack)) => {
            let refused = ack.return_codes.iter().filter(|code| matches!(code, SubscribeReasonCode::Failure)).count();
            Signal::Subscribed { refused }
        }
        Event::Incoming(Packet::Publish(message)) => {
            Signal::Message { topic: message.topic, payload: message.payload.to_vec(), retained: message.retain }
        }
        Event::Incoming(_) => Signal::Other,
    }
}

fn of_v5(event: v5::Event) -> Signal {
    use v5::mqttbytes::v5::{Packet, PubAckReason, SubscribeReasonCode};
    match event {
        v5::Event::Outgoing(outgoing) => of_outgoing(&outgoing),
        v5::Event::Incoming(Packet::ConnAck(answer)) => Signal::Connected(Granted::of_v5(answer.properties.as_ref())),
        v5::Event::Incoming(Packet::PubAck(ack)) => match ack.reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Signal::Acked(ack.pkid),
            reason => Signal::Refused(ack.pkid, format!("{reason:?}")),
        },
        v5::Event::Incoming(Packet::SubAck(ack)) => {
            let refused = |code: &&SubscribeReasonCode| !matches!(code, SubscribeReasonCode::Success(_));
            Signal::Subscribed { refused: ack.return_codes.iter().filter(refused).count() }
        }
        v5::Event::Incoming(Packet::Publish(message)) => Signal::Message {
            topic: String::from_utf8_lossy(&message.topic).into_owned(),
            payload: message.payload.to_vec(),
            retained: message.retain,
        },
        v5::Event::Incoming(_) => Signal::Other,
    }
}

/// Loads the TLS files for one connection, says what is doubtful about them once per change, and opens it.
pub(super) fn open_now(
    spec: &PublisherSpec,
    wish: Wish,
    known: &mut Option<[u8; 32]>,
) -> Result<(Client, Events), PublishError> {
    let loaded = spec.tls.as_ref().map(TlsFiles::load).transpose()?;
    if let Some(loaded) = &loaded
        && known.replace(loaded.fingerprint) != Some(loaded.fingerprint)
    {
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
    }
    Ok(open(spec, wish, loaded.as_ref()))
}

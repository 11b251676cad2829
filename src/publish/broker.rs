//! A broker inside the program, for `demo` and for tests that need no real one.
//!
//! rumqttd 0.20, on loopback only, without users and without persistence. It lives until the process ends, because
//! rumqttd has no way to stop. A real line uses a real broker.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

use super::MAX_PACKET;

/// The broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The port is taken or not allowed.
    #[error("the embedded broker cannot listen on {address}; choose another port, or 0 for any")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It was started and does not answer.
    #[error("the embedded broker does not answer on {address}; see the log")]
    Silent {
        /// Where.
        address: SocketAddr,
    },
}

/// A running broker.
#[derive(Debug)]
pub struct EmbeddedBroker {
    address: SocketAddr,
}

impl EmbeddedBroker {
    /// Starts on `127.0.0.1:port`, on a free port when `port` is 0, and returns when it answers.
    pub fn start(port: u16) -> Result<Self, BrokerError> {
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let failed = |source| BrokerError::Listen { address: wanted, source };
        // rumqttd takes an address, not a socket, and only logs when it is taken: find out beforehand.
        let address = TcpListener::bind(wanted).and_then(|socket| socket.local_addr()).map_err(failed)?;
        let connections = ConnectionSettings {
            connection_timeout_ms: 5_000,
            max_payload_size: MAX_PACKET,
            max_inflight_count: 200,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        };
        let server = ServerSettings {
            name: "vcp-broker".into(),
            listen: address,
            tls: None,
            next_connection_delay_ms: 1,
            connections,
        };
        let config = Config {
            router: RouterConfig {
                max_connections: 64,
                max_outgoing_packet_count: 200,
                max_segment_size: 4 * 1024 * 1024,
                max_segment_count: 4,
                ..RouterConfig::default()
            },
            v4: Some(HashMap::from([("vcp-broker".to_string(), server)])),
            ..Config::default()
        };
        std::thread::Builder::new()
            .name("vcp-broker-main".into())
            .spawn(move || {
                if let Err(error) = Broker::new(config).start() {
                    tracing::error!(%error, "the embedded broker ended");
                }
            })
            .map_err(failed)?;
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if start.elapsed() > Duration::from_secs(5) {
                return Err(BrokerError::Silent { address });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Self { address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

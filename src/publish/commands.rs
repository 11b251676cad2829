//! Commands come in here, on a connection of their own: whatever is sent to a line, its verdicts do not wait behind it.
//!
//! The session is clean, so that the broker keeps no command for a line that is away; a command that it has retained is
//! handed on as such, to be refused.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rumqttc::{AsyncClient, ConnectionError, Event, Packet, QoS, StateError, SubscribeReasonCode};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::topic::Topics;
use super::{PublishError, PublisherSpec, probe};
use crate::command::Ack;

/// Largest packet that is read, to be refused in peace. A larger one ends the connection, which is this one alone.
const MAX_INCOMING: usize = 1024 * 1024;
/// Acknowledgements that may wait for the connection.
const ACKS: usize = 256;
/// A connection that has lasted this long was no accident of its own making.
const STEADY: Duration = Duration::from_secs(10);

/// Takes commands. Implemented by the service in `cli`, and by tests.
pub trait CommandPort: Send + Sync {
    /// A command as it came, not yet read; never waits. Its acknowledgement, if there is one, goes to `acks`.
    fn command(&self, name: &str, payload: &[u8], retained: bool, acks: &AckSender);
}

/// Where acknowledgements go; cheap to clone.
#[derive(Clone)]
pub struct AckSender(mpsc::Sender<Vec<u8>>);

impl AckSender {
    /// Sends it when the broker is there. One that finds no room is left out: nobody waits for it any more.
    pub fn send(&self, ack: &Ack) {
        let sent = serde_json::to_vec(ack).map(|bytes| self.0.try_send(bytes));
        if !matches!(sent, Ok(Ok(()))) {
            tracing::warn!(correlation_id = ack.correlation_id, "an acknowledgement was left out");
        }
    }
}

/// The connection that commands come in by; dropped, it is closed.
pub struct CommandLink {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl CommandLink {
    /// Listens in its own thread, connecting again for ever.
    pub fn start(mut spec: PublisherSpec, port: Arc<dyn CommandPort>) -> Result<Self, PublishError> {
        spec.client_id = format!("{}-commands", spec.client_id);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(PublishError::Thread)?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let (acks, outbox) = mpsc::channel(ACKS);
        let topics = spec.topics();
        let backoff = Backoff::new(spec.backoff_min, spec.backoff_max);
        let mut task = Task { spec, topics, port, acks: AckSender(acks), outbox, backoff, flooded: false };
        let thread = std::thread::Builder::new()
            .name("vcp-commands".into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        biased;
                        () = stopped.cancelled() => {}
                        () = task.run() => {}
                    }
                });
                // A name lookup may hang for long; nobody waits for it.
                runtime.shutdown_background();
            })
            .map_err(PublishError::Thread)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for CommandLink {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread for commands panicked");
        }
    }
}

struct Task {
    spec: PublisherSpec,
    topics: Topics,
    port: Arc<dyn CommandPort>,
    acks: AckSender,
    outbox: mpsc::Receiver<Vec<u8>>,
    backoff: Backoff,
    /// Said once, until commands come in again.
    flooded: bool,
}

impl Task {
    async fn run(&mut self) {
        loop {
            let began = Instant::now();
            match self.connection().await {
                ConnectionError::MqttState(StateError::Deserialization(
                    rumqttc::mqttbytes::Error::PayloadSizeLimitExceeded(bytes),
                )) => {
                    if !std::mem::replace(&mut self.flooded, true) {
                        tracing::error!(
                            bytes,
                            "a message too large to be read was sent to {}, which closes the connection for commands; if it \
                             was retained, clear it at the broker",
                            self.topics.commands()
                        );
                    }
                }
                // The connection for verdicts goes to the same broker, and says so for people.
                error => tracing::debug!("commands cannot come in: {}", PublishError::of(&self.spec, error)),
            }
            if began.elapsed() > STEADY {
                self.backoff.reset();
            }
            // What waits for a broker that is away is old when it is back.
            while self.outbox.try_recv().is_ok() {}
            tokio::time::sleep(self.backoff.pause(rand())).await;
        }
    }

    async fn connection(&mut self) -> ConnectionError {
        let mut options = probe::options(&self.spec);
        options.set_clean_session(true);
        options.set_max_packet_size(MAX_INCOMING, super::MAX_PACKET);
        let (client, mut events) = AsyncClient::new(options, ACKS);
        events.set_network_options(probe::network(&self.spec));
        loop {
            let event = {
                // Polled to its end: dropping it half way could lose a packet.
                let poll = events.poll();
                tokio::pin!(poll);
                loop {
                    tokio::select! {
                        biased;
                        event = &mut poll => break event,
                        Some(ack) = self.outbox.recv() => self.acknowledge(&client, ack),
                    }
                }
            };
            match event {
                Err(error) => return error,
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    let subscribed = client.try_subscribe(self.topics.commands(), QoS::AtLeastOnce);
                    if let Err(error) = subscribed {
                        tracing::error!(%error, "commands cannot be subscribed to");
                    }
                }
                Ok(Event::Incoming(Packet::SubAck(answer))) => self.subscribed(&answer.return_codes),
                Ok(Event::Incoming(Packet::Publish(message))) => {
                    self.flooded = false;
                    if let Some(name) = self.topics.command(&message.topic) {
                        self.port.command(name, &message.payload, message.retain, &self.acks);
                    }
                }
                Ok(_) => {}
            }
        }
    }

    fn subscribed(&self, codes: &[SubscribeReasonCode]) {
        if codes.iter().all(|code| matches!(code, SubscribeReasonCode::Success(_))) {
            tracing::info!(topic = self.topics.commands(), "commands can come in");
        } else {
            tracing::error!(
                "the broker does not let this line listen to {}; allow it in the broker's access list, or set mqtt = false in \
                 [commands]",
                self.topics.commands()
            );
        }
    }

    fn acknowledge(&self, client: &AsyncClient, ack: Vec<u8>) {
        if let Err(error) = client.try_publish(self.topics.ack(), QoS::AtLeastOnce, false, ack) {
            tracing::warn!(%error, "an acknowledgement was left out");
        }
    }
}

fn rand() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

//! Verdicts leave the line here: over MQTT 3.1.1 or 5, QoS 1, kept until the broker has acknowledged them.
//!
//! ```text
//! inspection threads ─▶ Door (bounded) ─▶ Ledger (ours until PUBACK) ─▶ mqtt: one task on one named thread ─▶ broker
//!                                           ◀─▶ outbox: one thread, the log on disk
//! ```
//! The ledger of the [`outbox`] decides what is stored and sent next, and knows nothing of disks and sockets; [`door`]
//! lets threads in; the outbox thread and `mqtt` act. The MQTT client forgets un-acknowledged messages when the broker
//! reports no session, therefore the queue is ours and each connection starts with a fresh client. Verdicts, commands
//! and the Sparkplug node have a connection each; `reconnect` makes all of them, again and again.

mod attributes;
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
mod publisher;
mod reconnect;
mod sizes;
pub mod sparkplug;
mod spec;
pub mod state;
mod steady;
pub mod topic;
mod traces;
pub mod url;
pub mod watch;

pub use commands::{AckSender, AskError, CommandLink, CommandPort, ask};
pub use door::{Counters, Door, DoorError};
pub use fault::PublishError;
pub use mqtt::Published;
pub use outbox::{OutboxBounds, OutboxSpec, OutboxStatus, OwedPart};
pub use payload::Outgoing;
pub use probe::probe;
pub use publisher::{Publisher, StopReport};
pub use spec::{Broker, Credentials, Live, MAX_PACKET, PublisherSpec, Version};
pub use state::{Activity, ActivityKind, Alarm, CameraState, LineState, StateWord};
pub use topic::Topics;
pub use traces::{BUILT as TRACES_BUILT, TraceError, TraceSpec, Traces};
pub use url::BrokerUrl;

pub use crate::secret::Secret;
pub use crate::tls::{ClientFiles, TlsError, TlsFiles};

//! The way in for commands: bounded, stamped on arrival, counted; never waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Sender;
use serde::Serialize;

use super::super::kept::Via;
use crate::clock::{Clock, Moment};
use crate::command::{self, Ack, Refusal, Request};
use crate::publish::{AckSender, CommandPort};

/// Answers one command; twice when it takes many parts, at its beginning and at its end.
pub type Reply = Arc<dyn Fn(Ack) + Send + Sync>;

/// A command as it came.
pub struct Order {
    pub name: String,
    pub payload: Vec<u8>,
    pub retained: bool,
    pub at: Moment,
    pub via: Via,
    pub reply: Reply,
}

/// How commands are doing, since the start.
#[derive(Default)]
pub struct Counters {
    pub done: AtomicU64,
    pub refused: AtomicU64,
    pub busy: AtomicU64,
}

/// One more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The counters as `GET /api/state` shows them.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CommandCounts {
    /// Carried out.
    pub done: u64,
    /// Malformed, unknown, stale, retained, impossible, or not kept.
    pub refused: u64,
    /// Left out because too many waited.
    pub busy: u64,
}

/// What someone is told whose command was left out because too many wait.
pub const BUSY: &str = "too many commands wait, or the line is stopping; send it again";

/// The way in for commands; never waits.
#[derive(Clone)]
pub struct Inbox {
    orders: Sender<Order>,
    counters: Arc<Counters>,
    clock: Arc<dyn Clock>,
}

impl Inbox {
    pub fn new(orders: Sender<Order>, counters: Arc<Counters>, clock: Arc<dyn Clock>) -> Self {
        Self { orders, counters, clock }
    }

    fn order(&self, name: &str, payload: &[u8], retained: bool, (via, reply): (Via, Reply)) {
        // What is too long is refused by its length alone.
        let read = &payload[..payload.len().min(command::MAX_PAYLOAD + 1)];
        let name = name.chars().take(command::MAX_ID).collect();
        let order = Order { name, payload: read.to_vec(), retained, at: self.clock.now(), via, reply };
        if let Err(error) = self.orders.try_send(order) {
            count(&self.counters.busy);
            let Order { payload, reply, .. } = error.into_inner();
            let correlation_id = match command::parse("", &payload) {
                Ok(Request { correlation_id, .. }) | Err(Refusal { correlation_id, .. }) => correlation_id,
            };
            reply(Ack::refused(correlation_id, BUSY));
        }
    }

    /// A command of the API or of the service itself, which waits for one answer.
    pub fn ask(&self, via: Via, name: &str, payload: &[u8], reply: impl FnOnce(Ack) + Send + 'static) {
        let reply = Mutex::new(Some(reply));
        let once = move |ack| {
            let reply = reply.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(reply) = reply {
                reply(ack);
            }
        };
        self.order(name, payload, false, (via, Arc::new(once)));
    }

    /// How commands are doing.
    pub fn counts(&self) -> CommandCounts {
        let Counters { done, refused, busy } = &*self.counters;
        let [done, refused, busy] = [done, refused, busy].map(|count| count.load(Ordering::Relaxed));
        CommandCounts { done, refused, busy }
    }
}

impl CommandPort for Inbox {
    fn command(&self, name: &str, payload: &[u8], retained: bool, acks: &AckSender) {
        let acks = acks.clone();
        let reply = move |ack: Ack| {
            // Without a correlation nobody could tell whose "done" it is; that something was refused is never kept silent.
            if ack.correlation_id.is_some() || !ack.ok {
                acks.send(&ack);
            }
        };
        self.order(name, payload, retained, (Via::Mqtt, Arc::new(reply)));
    }
}

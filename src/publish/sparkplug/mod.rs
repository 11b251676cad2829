//! The same verdicts for a host that speaks Sparkplug B 3.0: an edge node whose devices are the cameras.
//!
//! ```text
//! line's threads ─▶ SparkplugHandle ─▶ Session (births, seq, store; decides) ─▶ one task on one named thread ─▶ broker
//! ```
//! It has an MQTT connection of its own, because its last will is the death of the node, and a bounded store of its own:
//! whatever happens here, the JSON events neither wait nor fail. Sparkplug publishes with QoS 0, so what is on the wire
//! when a connection breaks is lost to it; the JSON events are the record, `Verdict/Event` names the one that belongs to
//! a value. A camera that is lost still owes verdicts, so its device lives on and says `Camera/State` = `lost`.

mod metrics;
mod proto;
mod session;

use std::fs;
use std::future::pending;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use self::session::{Names, Session, Step};
use super::client::{Client, Keep, Signal, Will, Wish};
use super::reconnect::{self, Connection, End, Reconnect};
use super::state::LineState;
use super::{PublishError, PublisherSpec};
use crate::clock::Clock;
use crate::event::InspectionEvent;

/// Messages given to the client and not yet on the wire; births of many cameras come in one go.
const CLIENT_QUEUE: usize = 64;

pub use session::asks_for_births;

/// Everything the edge node needs to know, resolved.
#[derive(Clone, Debug)]
pub struct SparkplugSpec {
    /// The broker, and who we are there; the client id is this connection's own.
    pub connection: PublisherSpec,
    /// Sparkplug group.
    pub group: String,
    /// Sparkplug edge node.
    pub node: String,
    /// Host application without which nothing is published, only stored.
    pub primary_host: Option<String>,
    /// Verdicts kept while nobody may be told, at least 1; then the oldest go.
    pub max_stored: usize,
    /// File that remembers the number of the last connection over restarts.
    pub bd_seq_file: Option<PathBuf>,
}

struct Inner {
    session: Session,
    /// Set by a stop: be gone by then.
    deadline: Option<Instant>,
}

/// The session, between the line's threads and the connection.
struct SharedSession {
    inner: Mutex<Inner>,
    wake: Notify,
}

impl SharedSession {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each method of the session leaves it whole, so a panic elsewhere leaves nothing half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the line's threads tell the node something; cheap to clone, never waits for the broker.
#[derive(Clone)]
pub struct SparkplugHandle(Arc<SharedSession>);

impl SparkplugHandle {
    /// A verdict was given.
    pub fn verdict(&self, event: &InspectionEvent) {
        self.0.lock().session.verdict(event);
        self.0.wake.notify_one();
    }

    /// The line has changed.
    pub fn line(&self, line: &LineState) {
        self.0.lock().session.line(line);
        self.0.wake.notify_one();
    }

    /// Verdicts that wait, and those that went because too many waited.
    pub fn stored(&self) -> (usize, u64) {
        self.0.lock().session.stored()
    }
}

/// Speaks until stopped. Dropped without [`Sparkplug::stop`] it vanishes like a killed process: the last will speaks.
pub struct Sparkplug {
    shared: Arc<SharedSession>,
    thread: Option<JoinHandle<()>>,
}

impl Sparkplug {
    /// Starts in a thread of its own. A broker that is away is no error: verdicts wait in the store.
    pub fn start(spec: SparkplugSpec, line: &LineState, clock: Arc<dyn Clock>) -> Result<Self, PublishError> {
        let SparkplugSpec { connection: spec, group, node, primary_host, max_stored, bd_seq_file } = spec;
        let names = Names { group, node, primary_host };
        let last = bd_seq_file.as_deref().and_then(remembered);
        let session = Session::new(names.clone(), line.clone(), last, max_stored.max(1));
        let inner = Mutex::new(Inner { session, deadline: None });
        let shared = Arc::new(SharedSession { inner, wake: Notify::new() });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("vcp-spark-dns")
            .build()
            .map_err(PublishError::Thread)?;
        let mut connection =
            NodeConnection { reconnect: Reconnect::new(spec), names, bd_seq_file, shared: shared.clone(), clock };
        let thread = std::thread::Builder::new()
            .name("vcp-sparkplug".into())
            .spawn(move || {
                runtime.block_on(reconnect::run(&mut connection));
                // A name lookup may hang for long; nobody waits for it.
                runtime.shutdown_background();
            })
            .map_err(PublishError::Thread)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Through which the line's threads speak.
    pub fn handle(&self) -> SparkplugHandle {
        SparkplugHandle(self.shared.clone())
    }

    /// The thread that has ended though nobody asked, if it has: from then on the node is silent.
    pub fn broken(&self) -> Option<&'static str> {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished).then_some("vcp-sparkplug")
    }

    /// Says what waits and the node's death, disconnects; gives up `deadline` from now. Returns the verdicts not sent.
    pub fn stop(mut self, deadline: Duration) -> usize {
        self.end(Instant::now() + deadline);
        self.shared.lock().session.stored().0
    }

    fn end(&mut self, deadline: Instant) {
        let Some(thread) = self.thread.take() else { return };
        {
            let mut inner = self.shared.lock();
            inner.deadline = Some(deadline);
            inner.session.stop();
        }
        self.shared.wake.notify_one();
        if thread.join().is_err() {
            tracing::error!("the Sparkplug thread panicked; the JSON events are not touched by it");
        }
    }
}

impl Drop for Sparkplug {
    fn drop(&mut self) {
        self.end(Instant::now());
    }
}

/// A file that is missing or damaged is that of a first start.
fn remembered(file: &Path) -> Option<u8> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn remember(file: &Path, number: u8) -> io::Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, format!("{number}\n"))?;
    fs::rename(new, file)
}

/// The node's connection to the broker.
struct NodeConnection {
    reconnect: Reconnect,
    names: Names,
    bd_seq_file: Option<PathBuf>,
    shared: Arc<SharedSession>,
    clock: Arc<dyn Clock>,
}

/// What belongs to one connection.
struct Link {
    client: Client,
    up: bool,
    /// Given to the client and not yet on the wire.
    handed: usize,
    /// Filters that the broker has not answered yet.
    unanswered: usize,
    since: Instant,
}

impl NodeConnection {
    fn now(&self) -> u64 {
        u64::try_from(self.clock.now().wall.as_millisecond()).unwrap_or(0)
    }

    fn is_stopping(&self) -> bool {
        self.shared.lock().deadline.is_some()
    }

    fn subscribe(&self, link: &mut Link) {
        let filters = [Some(self.names.commands()), self.names.host()];
        for filter in filters.into_iter().flatten() {
            // The client's queue is empty at this moment.
            match link.client.try_subscribe(&filter) {
                Ok(()) => link.unanswered += 1,
                Err(error) => tracing::error!(filter, %error, "Sparkplug: cannot subscribe"),
            }
        }
    }

    fn begin(&mut self) {
        self.reconnect.well();
        let mut inner = self.shared.lock();
        inner.session.subscribed();
        let (waiting, lost) = inner.session.stored();
        match &self.names.primary_host {
            Some(host) if inner.session.waits_for_host() => {
                tracing::info!(waiting, lost, host, "Sparkplug: connected, waiting for the primary host");
            }
            _ => tracing::info!(waiting, lost, node = self.names.node, "Sparkplug: connected"),
        }
    }

    fn not_allowed(&self, topic: String, reason: String) -> End {
        End::Lost(PublishError::NotAllowed { address: self.reconnect.spec.address(), topic, reason })
    }

    /// Resolves when a stop has used up its time.
    async fn limit(&self) {
        let deadline = self.shared.lock().deadline;
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
            None => pending().await,
        }
    }
}

impl Connection for NodeConnection {
    type Link = Link;

    fn reconnect(&mut self) -> &mut Reconnect {
        &mut self.reconnect
    }

    fn wish(&mut self) -> Wish {
        let (number, death) = self.shared.lock().session.connecting(self.now());
        if let Some(file) = &self.bd_seq_file
            && let Err(error) = remember(file, number)
        {
            tracing::warn!(file = %file.display(), %error, "the number of the Sparkplug connection cannot be kept");
        }
        Wish {
            client_id: self.reconnect.spec.client_id.clone(),
            clean: true,
            will: Some(Will { topic: self.names.death(), payload: death, retain: false, about: None }),
            requests: CLIENT_QUEUE,
            packet_ids: None,
        }
    }

    fn opened(&mut self, client: Client) -> Link {
        Link { client, up: false, handed: 0, unanswered: 0, since: Instant::now() }
    }

    async fn woken(&mut self, _: &mut Link) -> Option<End> {
        tokio::select! {
            biased;
            () = self.shared.wake.notified() => None,
            () = self.limit() => Some(End::Done),
        }
    }

    /// Pauses shrink again, and renewed certificates are taken, only on a connection that lasts.
    fn look(&mut self, link: &mut Link) -> Option<End> {
        if link.since.elapsed() >= self.reconnect.spec.backoff_max {
            self.reconnect.backoff.reset();
            // Files that cannot be used are told by the JSON connection, which has the same.
            if self.reconnect.renewed() {
                self.shared.lock().session.leave();
            }
        }
        None
    }

    /// Its death is told by the old broker.
    fn moved(&mut self, _: &mut Link) -> Option<End> {
        Some(End::Renewed)
    }

    fn heard(&mut self, link: &mut Link, signal: Signal) -> Option<End> {
        match signal {
            Signal::Connected(granted) => {
                link.client.granted = granted;
                (link.up, link.since) = (true, Instant::now());
                self.subscribe(link);
            }
            Signal::Subscribed { refused: 0 } => {
                link.unanswered = link.unanswered.saturating_sub(1);
                if link.unanswered == 0 {
                    self.begin();
                }
            }
            Signal::Subscribed { .. } => {
                return Some(self.not_allowed(self.names.commands(), "subscription refused".into()));
            }
            Signal::Message { topic, payload, retained } => {
                self.shared.lock().session.heard(&topic, &payload, retained);
            }
            Signal::Handed(_) => link.handed = link.handed.saturating_sub(1),
            Signal::Goodbye => return Some(End::Left),
            Signal::Refused(_, reason) => return Some(self.not_allowed(self.names.death(), reason)),
            Signal::Acked(_) | Signal::Other => {}
        }
        None
    }

    fn advance(&mut self, link: &mut Link) -> Option<End> {
        // The host learns of the end by the last will, or knows it already.
        if !link.up && self.is_stopping() {
            return Some(End::Done);
        }
        // One place stays free for the goodbye.
        while link.handed + 1 < CLIENT_QUEUE {
            let now = self.now();
            let step = self.shared.lock().session.next(now)?;
            let done = match step {
                Step::Publish { topic, payload, sure } => {
                    let keep = if sure { Keep::Sure } else { Keep::Fleeting };
                    let done = link.client.try_publish(topic, keep, payload, None);
                    link.handed += usize::from(done.is_ok());
                    done
                }
                Step::Goodbye => link.client.try_disconnect(),
            };
            if let Err(error) = done {
                tracing::error!(%error, "Sparkplug: a message is dropped");
            }
        }
        None
    }

    fn ended(&mut self) {
        self.shared.lock().session.disconnected();
    }

    fn lost(&mut self, error: &PublishError) {
        if let Some(text) = self.reconnect.news(error) {
            tracing::warn!("Sparkplug: {text}");
        }
    }

    /// A stop waits for no new connection.
    fn gives_up(&self) -> bool {
        self.is_stopping()
    }

    async fn hurried(&self) {
        while !self.is_stopping() {
            self.shared.wake.notified().await;
        }
    }
}

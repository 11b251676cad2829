//! The same verdicts for a host that speaks Sparkplug B 3.0: an edge node whose devices are the cameras.
//!
//! ```text
//! line's threads ─▶ Voice ─▶ Session (births, seq, store; decides) ─▶ one task on one named thread ─▶ broker
//! ```
//! It has an MQTT connection of its own, because its last will is the death of the node, and a bounded store of its own:
//! whatever happens here, the JSON events neither wait nor fail. Sparkplug publishes with QoS 0, so what is on the wire
//! when a connection breaks is lost to it; the JSON events are the record, `Verdict/Event` names the one that belongs to
//! a value. A camera that is lost still owes verdicts, so its device lives on and says `Camera/State` = `lost`.

mod metrics;
mod proto;
mod session;

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use self::session::{Names, Session, Step};
use super::backoff::Backoff;
use super::client::{self, Client, Keep, Signal, Will, Wish};
use super::state::LineState;
use super::{PublishError, PublisherSpec, TlsFiles};
use crate::clock::Clock;
use crate::error_chain;
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

struct Shared {
    inner: Mutex<Inner>,
    wake: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each method of the session leaves it whole, so a panic elsewhere leaves nothing half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the line's threads tell the node something; cheap to clone, never waits for the broker.
#[derive(Clone)]
pub struct Voice(Arc<Shared>);

impl Voice {
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
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Sparkplug {
    /// Starts in a thread of its own. A broker that is away is no error: verdicts wait in the store.
    pub fn start(spec: SparkplugSpec, line: &LineState, clock: Arc<dyn Clock>) -> Result<Self, PublishError> {
        let SparkplugSpec { connection, group, node, primary_host, max_stored, bd_seq_file } = spec;
        let names = Names { group, node, primary_host };
        let last = bd_seq_file.as_deref().and_then(remembered);
        let session = Session::new(names.clone(), line.clone(), last, max_stored.max(1));
        let inner = Mutex::new(Inner { session, deadline: None });
        let shared = Arc::new(Shared { inner, wake: Notify::new() });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("vcp-spark-dns")
            .build()
            .map_err(PublishError::Thread)?;
        let mut task = Task {
            backoff: Backoff::new(connection.backoff_min, connection.backoff_max),
            spec: connection,
            names,
            bd_seq_file,
            shared: shared.clone(),
            clock,
            certificates: None,
        };
        let thread = std::thread::Builder::new()
            .name("vcp-sparkplug".into())
            .spawn(move || {
                runtime.block_on(task.run());
                // A name lookup may hang for long; nobody waits for it.
                runtime.shutdown_background();
            })
            .map_err(PublishError::Thread)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Through which the line's threads speak.
    pub fn voice(&self) -> Voice {
        Voice(self.shared.clone())
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

struct Task {
    spec: PublisherSpec,
    names: Names,
    bd_seq_file: Option<PathBuf>,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    backoff: Backoff,
    certificates: Option<[u8; 32]>,
}

/// One connection.
struct Link {
    client: Client,
    up: bool,
    /// Given to the client and not yet on the wire.
    handed: usize,
    /// Filters that the broker has not answered yet.
    unanswered: usize,
    since: Instant,
}

impl Task {
    async fn run(&mut self) {
        let mut problem: Option<String> = None;
        loop {
            let ended = self.connection(&mut problem).await;
            self.shared.lock().session.disconnected();
            if let Err(error) = ended {
                // One line per change: a broker that is away for a night fills no log.
                let text = error_chain::one_line(&error);
                if problem.as_ref() != Some(&text) {
                    tracing::warn!("Sparkplug: {text}");
                    problem = Some(text);
                }
            }
            let stopping = self.shared.lock().deadline.is_some();
            // A stop waits for no new connection: the host learns of the end by the last will, or knows it already.
            if stopping {
                return;
            }
            let random = RandomState::new().build_hasher().finish();
            let until = tokio::time::Instant::now() + self.backoff.pause(random);
            while self.shared.lock().deadline.is_none() && tokio::time::Instant::now() < until {
                tokio::select! {
                    () = tokio::time::sleep_until(until) => {}
                    () = self.shared.wake.notified() => {}
                }
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.now().wall.as_millisecond()).unwrap_or(0)
    }

    async fn connection(&mut self, problem: &mut Option<String>) -> Result<(), PublishError> {
        let (number, death) = self.shared.lock().session.connecting(self.now());
        if let Some(file) = &self.bd_seq_file
            && let Err(error) = remember(file, number)
        {
            tracing::warn!(file = %file.display(), %error, "the number of the Sparkplug connection cannot be kept");
        }
        let wish = Wish {
            client_id: self.spec.client_id.clone(),
            clean: true,
            will: Some(Will { topic: self.names.death(), payload: death, retain: false }),
            requests: CLIENT_QUEUE,
            packet_ids: None,
        };
        let (client, mut events) = client::open_now(&self.spec, wish, &mut self.certificates)?;
        let mut look = tokio::time::interval(self.spec.tls_look.max(Duration::from_millis(10)));
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut link = Link { client, up: false, handed: 0, unanswered: 0, since: Instant::now() };
        loop {
            let signal = {
                // Polled to its end: dropping it half way could lose a packet.
                let next = events.next();
                tokio::pin!(next);
                loop {
                    tokio::select! {
                        biased;
                        signal = &mut next => break signal,
                        () = self.shared.wake.notified() => {}
                        () = self.limit() => return Ok(()),
                        _ = look.tick() => self.look(&link),
                    }
                    if !link.up && self.shared.lock().deadline.is_some() {
                        return Ok(());
                    }
                    self.advance(&mut link);
                }
            };
            match signal.map_err(|failure| PublishError::of(&self.spec, failure))? {
                Signal::Connected => {
                    link.up = true;
                    link.since = Instant::now();
                    self.subscribe(&mut link);
                }
                Signal::Subscribed { refused } => {
                    if refused > 0 {
                        let topic = self.names.commands();
                        let reason = "subscription refused".into();
                        return Err(PublishError::NotAllowed { address: self.spec.address(), topic, reason });
                    }
                    link.unanswered = link.unanswered.saturating_sub(1);
                    if link.unanswered == 0 {
                        *problem = None;
                        self.begin();
                    }
                }
                Signal::Message { topic, payload, retained } => {
                    self.shared.lock().session.heard(&topic, &payload, retained);
                }
                Signal::Handed(_) => link.handed = link.handed.saturating_sub(1),
                Signal::Goodbye => return Ok(()),
                Signal::Refused(_, reason) => {
                    let topic = self.names.death();
                    return Err(PublishError::NotAllowed { address: self.spec.address(), topic, reason });
                }
                Signal::Acked(_) | Signal::Other => {}
            }
            self.advance(&mut link);
        }
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

    fn begin(&self) {
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

    /// Pauses shrink again, and renewed certificates are taken, only on a connection that lasts.
    fn look(&mut self, link: &Link) {
        if link.since.elapsed() < self.spec.backoff_max {
            return;
        }
        self.backoff.reset();
        let renewed = self.spec.tls.as_ref().map(TlsFiles::load);
        // Files that cannot be used are told by the JSON connection, which has the same.
        if let Some(Ok(loaded)) = renewed
            && Some(loaded.fingerprint) != self.certificates
        {
            self.shared.lock().session.leave();
        }
    }

    /// Resolves when a stop has used up its time.
    async fn limit(&self) {
        let deadline = self.shared.lock().deadline;
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    }

    fn advance(&self, link: &mut Link) {
        // One place stays free for the goodbye.
        while link.handed + 1 < CLIENT_QUEUE {
            let now = self.now();
            let Some(step) = self.shared.lock().session.next(now) else { return };
            let done = match step {
                Step::Publish { topic, payload, sure } => {
                    link.handed += 1;
                    let keep = if sure { Keep::Sure } else { Keep::Fleeting };
                    link.client.try_publish(topic, keep, payload)
                }
                Step::Goodbye => link.client.try_disconnect(),
            };
            if let Err(error) = done {
                tracing::error!(%error, "Sparkplug: a message is dropped");
            }
        }
    }
}

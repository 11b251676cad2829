//! The task that owns the broker connection: one named thread, reconnecting until it is told to stop.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::client::{self, Client, Keep, Signal, Will, Wish};
use super::door::{Cargo, Door, Load, Mode, Shared};
use super::outbox::{Keeper, Store};
use super::payload::Parcel;
use super::state::LineState;
use super::steady::Steady;
use super::{MAX_PACKET, PublishError, PublisherSpec};
use crate::clock::Clock;
use crate::error_chain;

/// Requests given to the client and not yet on the wire. Small, so that what is late waits in our own queue.
const CLIENT_QUEUE: usize = 64;

/// Packet ids the client may use at once. Above every in-flight limit of ours, so that ids never collide.
const PACKET_IDS: u16 = 2048;

/// Largest useful [`PublisherSpec::max_in_flight`].
const MAX_IN_FLIGHT: usize = 1024;

/// After the stop deadline: time for `offline` and DISCONNECT to leave, nothing more.
const GRACE: Duration = Duration::from_millis(300);

/// What the outbox's last write may take at least.
const DISK: Duration = Duration::from_secs(2);

/// A verdict was handed to the broker connection (for `bench`).
#[derive(Clone, Debug)]
pub struct Published {
    /// Camera of the event.
    pub camera: String,
    /// `seq` of the event.
    pub seq: u64,
    /// When.
    pub at: Instant,
    /// Since its frame was captured.
    pub latency: Duration,
}

/// What an orderly stop left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct StopReport {
    /// Verdicts the broker has not acknowledged.
    pub unsent: usize,
}

/// Publishes until stopped. Dropped without [`Publisher::stop`] it vanishes like a killed process: the last will speaks.
pub struct Publisher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    keeper: Option<Keeper>,
}

impl Publisher {
    /// Starts publishing in its own thread. A broker that is away is no error here: verdicts wait in the queue, and with
    /// an outbox on disk. What an earlier start has left in the outbox is published first.
    ///
    /// `published` hears of every verdict handed to the connection; when it is full, reports are left out.
    pub fn start(
        spec: PublisherSpec,
        session: Uuid,
        state: LineState,
        clock: Arc<dyn Clock>,
        published: Option<crossbeam_channel::Sender<Published>>,
    ) -> Result<Self, PublishError> {
        let spec = PublisherSpec { max_in_flight: spec.max_in_flight.min(MAX_IN_FLIGHT), ..spec };
        let opened = spec.outbox.clone().map(|outbox| Store::open(&outbox, clock.now()).map(|opened| (outbox, opened)));
        let opened = opened.transpose()?;
        let inherited = opened.as_ref().map(|(_, (_, found))| found.inherited.clone());
        let shared = Arc::new(Shared::new(&spec, session, state, clock.clone(), inherited));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("vcp-mqtt-dns")
            .build()
            .map_err(PublishError::Thread)?;
        let keeper = opened.map(|(outbox, (store, found))| {
            found.say(&outbox.directory);
            Keeper::start(store, &found, outbox, shared.clone(), clock.clone())
        });
        let keeper = keeper.transpose().map_err(PublishError::Thread)?;
        let mut task = Task { steady: Steady::new(&spec), shared: shared.clone(), spec, clock, published };
        let thread = std::thread::Builder::new()
            .name("vcp-mqtt".into())
            .spawn(move || {
                // Closes the door also when the task panics.
                let closing = Closing(task.shared.clone());
                runtime.block_on(task.run());
                drop(closing);
                // A name lookup may hang for long; nobody waits for it.
                runtime.shutdown_background();
            })
            .map_err(PublishError::Thread)?;
        Ok(Self { shared, thread: Some(thread), keeper })
    }

    /// The door through which threads publish.
    pub fn door(&self) -> Door {
        Door(self.shared.clone())
    }

    /// Publishes what is left, then `offline`, then disconnects; gives up `deadline` from now.
    pub fn stop(mut self, deadline: Duration) -> StopReport {
        let deadline = Instant::now() + deadline;
        self.shared.set_mode(Mode::Draining(deadline));
        self.join();
        self.close_outbox(deadline);
        StopReport { unsent: self.shared.unsent() }
    }

    /// The disk is given a moment in any case: what it has not written by then is lost.
    fn close_outbox(&mut self, deadline: Instant) {
        if let Some(mut keeper) = self.keeper.take() {
            keeper.finish(deadline.max(Instant::now() + DISK));
        }
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the publisher thread panicked; verdicts it had not sent are lost");
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.shared.set_mode(Mode::Aborting);
            self.join();
            self.close_outbox(Instant::now());
        }
    }
}

struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.set_mode(Mode::Closed);
    }
}

/// How a connection ended.
enum End {
    /// On purpose.
    Done,
    /// By itself; `was_up` when the broker had accepted it.
    Lost { error: PublishError, was_up: bool },
    /// With a goodbye, to come back.
    Left(Leave),
}

/// Why a working connection is given up for another one.
enum Leave {
    /// The certificate files have been renewed.
    Renewed,
    /// The broker does not take a message; what it refused is sent again later, in order.
    Refused(PublishError),
}

struct Task {
    spec: PublisherSpec,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    published: Option<crossbeam_channel::Sender<Published>>,
    steady: Steady,
}

/// One connection: a fresh client, so that nothing of an earlier one is stashed in it.
struct Link {
    client: Client,
    up: bool,
    /// Handed to the client, packet id not known yet; the client takes them in this order.
    handed: VecDeque<(Cargo, String)>,
    /// On the wire under this packet id, with the topic.
    flying: HashMap<u16, (Cargo, String)>,
    /// Nothing more is handed over, and the connection ends when the broker has answered what it has.
    leaving: Option<Leave>,
    offline_said: bool,
    disconnecting: bool,
}

impl Task {
    async fn run(&mut self) {
        let mut problem: Option<String> = None;
        loop {
            match self.shared.mode() {
                Mode::Aborting | Mode::Closed => return,
                Mode::Draining(deadline) if Instant::now() >= deadline => return,
                _ => {}
            }
            let end = self.connection(&mut problem).await;
            self.shared.connection_lost();
            let (error, was_up) = match end {
                End::Done => return,
                End::Left(Leave::Renewed) => continue,
                End::Left(Leave::Refused(error)) => (error, false),
                End::Lost { error, was_up } => (error, was_up),
            };
            self.steady.lost(was_up, &error, &self.shared);
            // One line per change: a broker that is away for a night fills no log.
            let text = error_chain::one_line(&error);
            if problem.as_ref() != Some(&text) {
                let waiting = self.shared.unsent();
                tracing::warn!(waiting, "{}{text}", if was_up { "connection lost: " } else { "" });
                problem = Some(text);
            }
            if matches!(self.shared.mode(), Mode::Draining(_)) && self.shared.unsent() == 0 {
                // Nobody is there to be told, and nothing is owed.
                return;
            }
            self.pause().await;
        }
    }

    /// Sleeps between attempts, whatever failed; only a change of mode ends it early.
    async fn pause(&mut self) {
        let random = RandomState::new().build_hasher().finish();
        let until = Instant::now() + self.steady.pause(random);
        let mode = self.shared.mode();
        while self.shared.mode() == mode && Instant::now() < until {
            let end = match mode {
                Mode::Draining(deadline) => until.min(deadline),
                _ => until,
            };
            tokio::select! {
                () = tokio::time::sleep_until(end.into()) => return,
                () = self.shared.wake.notified() => {}
            }
        }
    }

    async fn connection(&mut self, problem: &mut Option<String>) -> End {
        let wish = Wish {
            client_id: self.spec.client_id.clone(),
            clean: false,
            will: Some(Will { topic: self.shared.topics.state(), payload: self.shared.will(), retain: true }),
            requests: CLIENT_QUEUE,
            packet_ids: Some(PACKET_IDS),
        };
        let (client, mut events) = match client::open_now(&self.spec, wish, &mut self.steady.certificates) {
            Ok(opened) => opened,
            Err(error) => return End::Lost { error, was_up: false },
        };
        let mut look = tokio::time::interval(self.spec.tls_look.max(Duration::from_millis(10)));
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut link = Link {
            client,
            up: false,
            handed: VecDeque::new(),
            flying: HashMap::new(),
            leaving: None,
            offline_said: false,
            disconnecting: false,
        };
        loop {
            let event = {
                // Polled to its end: dropping it half way could lose a packet.
                let poll = events.next();
                tokio::pin!(poll);
                loop {
                    tokio::select! {
                        biased;
                        event = &mut poll => break event,
                        () = self.shared.wake.notified() => {}
                        () = self.limit() => {}
                        _ = look.tick() => self.look(&mut link),
                    }
                    if self.advance(&mut link) {
                        return End::Done;
                    }
                }
            };
            match event {
                Err(error) => return End::Lost { error: PublishError::of(&self.spec, error), was_up: link.up },
                Ok(Signal::Connected) => {
                    link.up = true;
                    self.shared.connected();
                    self.steady.accepted();
                    *problem = None;
                    tracing::info!(
                        broker = self.spec.address(),
                        waiting = self.shared.unsent(),
                        "connected to the broker"
                    );
                }
                Ok(Signal::Handed(id)) => {
                    if let Some(cargo) = link.handed.pop_front() {
                        link.flying.insert(id, cargo);
                    }
                }
                Ok(Signal::Acked(id)) => {
                    if let Some((cargo, topic)) = link.flying.remove(&id) {
                        self.shared.acked(&cargo);
                        self.steady.taken(&topic, &self.shared);
                    }
                }
                Ok(Signal::Refused(id, reason)) => {
                    if let Some((cargo, topic)) = link.flying.remove(&id) {
                        let error = PublishError::NotAllowed { address: self.spec.address(), topic, reason };
                        self.steady.refused(&error, &self.shared);
                        match cargo {
                            Cargo::Verdict(_) => link.leaving = Some(Leave::Refused(error)),
                            // What is only shown must not keep verdicts from leaving.
                            retained @ Cargo::Retained { .. } => self.shared.acked(&retained),
                        }
                    }
                }
                Ok(Signal::Goodbye) => return link.leaving.map_or(End::Done, End::Left),
                Ok(_) => {}
            }
            if self.advance(&mut link) {
                return End::Done;
            }
        }
    }

    /// Looks after a connection that works: is it lasting, and are its certificates still those of the files?
    fn look(&mut self, link: &mut Link) {
        if link.up && link.leaving.is_none() && self.steady.look(&self.spec, &self.shared) {
            tracing::info!(broker = self.spec.address(), "certificate files have been renewed: connecting anew");
            link.leaving = Some(Leave::Renewed);
        }
    }

    /// Resolves when stopping has to move on; never while running.
    async fn limit(&self) {
        let end = match self.shared.mode() {
            Mode::Draining(deadline) if Instant::now() < deadline => deadline,
            Mode::Draining(deadline) => deadline + GRACE,
            _ => return std::future::pending().await,
        };
        tokio::time::sleep_until(end.into()).await;
    }

    /// Hands over what can be sent and moves an orderly stop forward. True when the connection is to be dropped now.
    fn advance(&self, link: &mut Link) -> bool {
        let now = Instant::now();
        let deadline = match self.shared.mode() {
            Mode::Aborting | Mode::Closed => return true,
            Mode::Running => None,
            Mode::Draining(deadline) if now >= deadline + GRACE => return true,
            Mode::Draining(deadline) if !link.up && now >= deadline => return true,
            Mode::Draining(deadline) => Some(deadline),
        };
        if !link.up || link.disconnecting {
            return false;
        }
        if deadline.is_some() {
            // A stop says `offline` on this connection: the next one might come too late for it.
            link.leaving = None;
        }
        if link.leaving.is_some() {
            link.disconnecting = link.handed.is_empty() && link.flying.is_empty();
            return link.disconnecting && link.client.try_disconnect().is_err();
        }
        self.hand_over(link);
        if let Some(deadline) = deadline {
            if !link.offline_said && (self.shared.all_acked() || now >= deadline) {
                link.offline_said = true;
                self.shared.say_offline(self.clock.now().wall);
                self.hand_over(link);
            } else if link.offline_said && (self.shared.all_acked() || now >= deadline) {
                link.disconnecting = true;
            }
            if now >= deadline {
                link.disconnecting = true;
            }
            if link.disconnecting && link.client.try_disconnect().is_err() {
                // The client's queue is stuck behind a dead connection: the last will has to do.
                return true;
            }
        }
        false
    }

    fn hand_over(&self, link: &mut Link) {
        // One place stays free for DISCONNECT.
        while link.handed.len() + 1 < CLIENT_QUEUE {
            let Some(load) = self.shared.next() else { return };
            let (topic, keep, payload, cargo) = match load {
                Load::Retained { topic, version, payload } => {
                    (topic.clone(), Keep::Retained, payload, Cargo::Retained { topic, version })
                }
                Load::Verdict { id, late, parcel } => {
                    let now = self.clock.now();
                    match parcel.encode(late, now, MAX_PACKET) {
                        Ok(payload) => {
                            self.report(&parcel, now.monotonic);
                            let topic = self.shared.topics.verdict(parcel.camera());
                            (topic, Keep::Sure, payload, Cargo::Verdict(id))
                        }
                        Err(error) => {
                            let camera = parcel.camera();
                            tracing::error!(camera, record = id.0, %error, "a verdict is no JSON and is dropped");
                            self.shared.give_up(id);
                            continue;
                        }
                    }
                }
            };
            match link.client.try_publish(topic.clone(), keep, payload) {
                Ok(()) => link.handed.push_back((cargo, topic)),
                // Cannot be full (counted above); a topic with a wildcard in it would stay in the way for ever.
                Err(error) => {
                    tracing::error!(%error, ?cargo, "the MQTT client refuses a message; it is dropped");
                    match cargo {
                        Cargo::Verdict(id) => self.shared.give_up(id),
                        retained @ Cargo::Retained { .. } => self.shared.acked(&retained),
                    }
                }
            }
        }
    }

    fn report(&self, parcel: &Parcel, at: Instant) {
        let (Some(published), Parcel::Live(outgoing)) = (&self.published, parcel) else { return };
        let report = Published {
            camera: outgoing.event.camera.clone(),
            seq: outgoing.event.seq,
            at,
            latency: at.saturating_duration_since(outgoing.captured),
        };
        if let Err(error) = published.try_send(report) {
            tracing::debug!(%error, "publish report left out");
        }
    }
}

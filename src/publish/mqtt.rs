//! The connection that verdicts, states and alarms leave by, until it is told to stop.

mod unwelcome;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::attributes::About;
use super::client::{Client, Granted, Keep, NotTaken, Signal, Will, Wish};
use super::door::{Cargo, Load, Mode, PublisherState};
use super::outbox::RecordId;
use super::payload::{Encoded, Outgoing, Parcel};
use super::reconnect::{Connection, End, Reconnect};
use super::sizes::{Flight, Sizes};
use super::steady::Steady;
use super::{PublishError, PublisherSpec};
use crate::clock::{Clock, Moment};

/// Requests given to the client and not yet on the wire. Small, so that what is late waits in our own queue.
const CLIENT_QUEUE: usize = 64;

/// Packet ids the client may use at once. Above every in-flight limit of ours, so that ids never collide.
const PACKET_IDS: u16 = 2048;

/// Largest useful [`PublisherSpec::max_in_flight`].
pub(super) const MAX_IN_FLIGHT: usize = 1024;

/// After the stop deadline: time for `offline` and DISCONNECT to leave, nothing more.
const GRACE: Duration = Duration::from_millis(300);

/// A verdict was handed to the broker connection: for `bench`, and for traces. After a lost connection it may be handed over again.
#[derive(Clone, Debug)]
pub struct Published {
    /// What was handed over, without the times of sending.
    pub outgoing: Arc<Outgoing>,
    /// When.
    pub at: Instant,
    /// The same moment by the wall clock.
    pub wall: Timestamp,
    /// Since its frame was captured.
    pub latency: Duration,
}

/// See the module.
pub(super) struct VerdictConnection {
    reconnect: Reconnect,
    steady: Steady,
    shared: Arc<PublisherState>,
    clock: Arc<dyn Clock>,
    published: Option<crossbeam_channel::Sender<Published>>,
    sizes: Sizes,
    /// False once the broker has said that it keeps no retained messages.
    retains: bool,
    /// Retained messages that the broker does not take, by topic: not sent again in the same version.
    unwanted: BTreeMap<String, u64>,
    /// Handed to the client, packet id not known yet; the client takes them in this order.
    handed: VecDeque<Flight>,
    /// On the wire under this packet id.
    flying: HashMap<u16, Flight>,
    /// A verdict that was shortened for the broker's sake was told on this connection.
    told: bool,
}

/// A message of ours, and what it is acknowledged as.
struct Packet {
    keep: Keep,
    payload: Vec<u8>,
    about: Option<About>,
    flight: Flight,
}

/// Why a working connection is given up for another one.
enum Leave {
    /// The certificate files have been renewed.
    Renewed,
    /// The broker does not take a message; what it refused is sent again later, in order.
    Refused(PublishError),
}

/// What belongs to one connection.
pub(super) struct Link {
    client: Client,
    up: bool,
    /// Since when the broker has been owing an acknowledgement without giving any.
    unanswered: Option<Instant>,
    /// Nothing more is handed over, and the connection ends when the broker has answered what it has.
    leaving: Option<Leave>,
    offline_said: bool,
    disconnecting: bool,
}

impl VerdictConnection {
    pub fn new(
        spec: PublisherSpec,
        shared: Arc<PublisherState>,
        clock: Arc<dyn Clock>,
        published: Option<crossbeam_channel::Sender<Published>>,
        once_more: impl IntoIterator<Item = RecordId>,
    ) -> Self {
        Self {
            steady: Steady::new(&spec),
            reconnect: Reconnect::new(spec),
            shared,
            clock,
            published,
            sizes: Sizes::new(once_more),
            retains: true,
            unwanted: BTreeMap::new(),
            handed: VecDeque::new(),
            flying: HashMap::new(),
            told: false,
        }
    }

    fn broker(&self) -> String {
        self.reconnect.spec.address()
    }

    fn connected(&mut self, link: &mut Link, granted: Granted) -> Option<End> {
        if !granted.sure {
            return Some(End::Lost(PublishError::NoQos1 { address: self.broker() }));
        }
        if !granted.retain {
            self.retains_nothing();
        }
        link.client.granted = granted;
        link.up = true;
        self.sizes.connected(granted.packet);
        self.shared.connected();
        self.steady.accepted();
        self.reconnect.well();
        tracing::info!(broker = self.broker(), waiting = self.shared.unsent(), "connected to the broker");
        None
    }

    fn acked(&mut self, flight: &Flight) {
        if let (true, Cargo::Verdict(id)) = (self.sizes.taken(flight), &flight.cargo) {
            self.shared.copy_aside(*id);
        }
        self.shared.acked(&flight.cargo);
        self.steady.taken(&flight.topic, &self.shared);
    }

    fn refused(&self, link: &mut Link, Flight { cargo, topic, .. }: Flight, reason: String) {
        let error = PublishError::NotAllowed { address: self.broker(), topic, reason };
        self.steady.refused(&error, &self.shared);
        match cargo {
            Cargo::Verdict(_) => link.leaving = Some(Leave::Refused(error)),
            // What is only shown must not keep verdicts from leaving.
            retained @ Cargo::Retained { .. } => self.shared.acked(&retained),
        }
    }

    /// Something was acknowledged, one way or the other.
    fn answered(&mut self, link: &mut Link) {
        self.steady.answered(&self.shared);
        link.unanswered = (!self.flying.is_empty()).then(Instant::now);
    }

    fn ack_patience(&self) -> Duration {
        let spec = &self.reconnect.spec;
        spec.ack_patience.max(spec.keep_alive * 3)
    }

    /// Resolves when the broker has acknowledged nothing for too long.
    async fn silence(&self, since: Option<Instant>) -> End {
        let (Some(since), patience) = (since, self.ack_patience()) else { return pending().await };
        tokio::time::sleep_until((since + patience).into()).await;
        End::Lost(PublishError::Unacknowledged { address: self.broker(), seconds: patience.as_secs() })
    }

    /// Our goodbye has left: for good, or for what the connection was given up for.
    fn left(&mut self, link: &mut Link) -> End {
        self.steady.left();
        match link.leaving.take() {
            None => End::Done,
            Some(Leave::Renewed) => End::Renewed,
            Some(Leave::Refused(error)) => End::Lost(error),
        }
    }

    /// Resolves when stopping has to move on; never while running.
    async fn limit(&self) {
        let end = match self.shared.mode() {
            Mode::Draining(deadline) if Instant::now() < deadline => deadline,
            Mode::Draining(deadline) => deadline + GRACE,
            _ => return pending().await,
        };
        tokio::time::sleep_until(end.into()).await;
    }

    /// Moves an orderly stop forward: what waits, then `offline`, then the goodbye, all of it at once when it is `late`.
    fn stop(&mut self, link: &mut Link, late: bool) {
        // `offline` is said on this connection: the next one might come too late for it.
        link.leaving = None;
        self.hand_over(link);
        let told = late || self.shared.all_acked();
        if told && !link.offline_said {
            link.offline_said = true;
            self.shared.say_offline(self.clock.now().wall);
            self.hand_over(link);
            link.disconnecting = late;
        } else {
            link.disconnecting = told;
        }
    }

    /// Gives the client whatever may be sent and it has room for.
    fn hand_over(&mut self, link: &mut Link) {
        // One place stays free for DISCONNECT.
        while self.handed.len() + 1 < CLIENT_QUEUE {
            // `offline` is not kept waiting: without it a goodbye would leave the state "online" for good.
            let careful = self.sizes.one_at_a_time() && !link.offline_said;
            if careful && !(self.handed.is_empty() && self.flying.is_empty()) {
                return;
            }
            let Some(load) = self.shared.next() else { return };
            let Some(Packet { keep, payload, about, flight }) = self.packet(load) else { continue };
            match (link.client.try_publish(flight.topic.clone(), keep, payload, about), &flight.cargo) {
                (Ok(()), _) => self.handed.push_back(flight),
                (Err(NotTaken::TooLarge { needed, most }), Cargo::Verdict(id)) => {
                    let why = format!("takes packets of {most} bytes, and not one of {needed}");
                    self.set_aside(*id, &flight.topic, why);
                }
                (Err(error @ NotTaken::TooLarge { .. }), retained @ Cargo::Retained { .. }) => {
                    self.shared.acked(retained);
                    let message =
                        format!("broker {} does not get {}: {error}; raise its limit", self.broker(), flight.topic);
                    self.steady.too_large(message, &self.shared);
                }
                // Cannot be full (counted above); a topic with a wildcard in it would stay in the way for ever.
                (Err(error), cargo) => {
                    tracing::error!(%error, ?cargo, "the MQTT client refuses a message; it is dropped");
                    match cargo {
                        Cargo::Verdict(id) => self.shared.give_up(*id),
                        retained @ Cargo::Retained { .. } => self.shared.acked(retained),
                    }
                }
            }
        }
    }

    /// `None` for a verdict that cannot be written as JSON, which is given up, and for what the broker does not want.
    fn packet(&mut self, load: Load) -> Option<Packet> {
        match load {
            Load::Retained { topic, version, payload } => {
                let cargo = Cargo::Retained { topic: topic.clone(), version };
                if self.unwanted.get(&topic) == Some(&version) {
                    self.shared.acked(&cargo);
                    return None;
                }
                let keep = if self.retains { Keep::Retained } else { Keep::Sure };
                // An empty one only takes back what was said.
                let about = (!payload.is_empty()).then(|| About::now(self.clock.now().wall));
                Some(Packet { keep, about, flight: Flight { cargo, topic, bytes: payload.len() }, payload })
            }
            Load::Verdict { id, late, parcel } => {
                let (now, camera) = (self.clock.now(), parcel.camera());
                let topic = self.shared.topics.verdict(camera);
                let encoded = parcel.encode(late, now, self.sizes.wanted(id, &topic));
                let encoded = encoded.and_then(|encoded| match self.sizes.shorter(encoded.bytes.len()) {
                    Some(bytes) => parcel.encode(late, now, bytes),
                    None => Ok(encoded),
                });
                match encoded {
                    Ok(Encoded { bytes: payload, whole }) => {
                        self.report(&parcel, now);
                        if let (Some(whole), false) = (whole, self.told) {
                            self.told = true;
                            tracing::warn!(
                                topic,
                                whole,
                                sent = payload.len(),
                                "verdicts too large for the broker are sent with fewer corners, defects or no polygons; \
                                 raise its limit, or the smallest defect area of the recipe"
                            );
                        }
                        let flight = Flight { cargo: Cargo::Verdict(id), topic, bytes: payload.len() };
                        Some(Packet { keep: Keep::Sure, payload, about: parcel.about(), flight })
                    }
                    Err(error) => {
                        tracing::error!(camera, record = id.0, %error, "a verdict is no JSON and is dropped");
                        self.shared.give_up(id);
                        None
                    }
                }
            }
        }
    }

    fn report(&self, parcel: &Parcel, now: Moment) {
        let (Some(published), Parcel::Live(outgoing)) = (&self.published, parcel) else { return };
        let report = Published {
            outgoing: Arc::clone(outgoing),
            at: now.monotonic,
            wall: now.wall,
            latency: now.monotonic.saturating_duration_since(outgoing.captured),
        };
        if let Err(error) = published.try_send(report) {
            tracing::debug!(%error, "publish report left out");
        }
    }
}

impl Connection for VerdictConnection {
    type Link = Link;

    fn reconnect(&mut self) -> &mut Reconnect {
        &mut self.reconnect
    }

    fn is_over(&self) -> bool {
        match self.shared.mode() {
            Mode::Running => false,
            Mode::Draining(deadline) => Instant::now() >= deadline,
            Mode::Aborting | Mode::Closed => true,
        }
    }

    fn wish(&mut self) -> Wish {
        Wish {
            client_id: self.reconnect.spec.client_id.clone(),
            clean: false,
            will: Some(Will {
                topic: self.shared.topics.state(),
                payload: self.shared.will(),
                retain: self.retains,
                about: Some(About::now(self.clock.now().wall)),
            }),
            requests: CLIENT_QUEUE,
            packet_ids: Some(PACKET_IDS),
        }
    }

    fn opened(&mut self, client: Client) -> Link {
        self.handed.clear();
        self.flying.clear();
        self.told = false;
        Link { client, up: false, unanswered: None, leaving: None, offline_said: false, disconnecting: false }
    }

    async fn woken(&mut self, link: &mut Link) -> Option<End> {
        tokio::select! {
            () = self.shared.wake.notified() => None,
            () = self.limit() => None,
            end = self.silence(link.unanswered) => Some(end),
        }
    }

    /// Is the connection lasting, and are its certificates still those of the files?
    fn look(&mut self, link: &mut Link) -> Option<End> {
        if link.up && link.leaving.is_none() && self.steady.look(&mut self.reconnect, &self.shared) {
            tracing::info!(broker = self.broker(), "certificate files have been renewed: connecting anew");
            link.leaving = Some(Leave::Renewed);
        }
        None
    }

    /// Without a goodbye: the old broker tells the line's readers that it is gone. What it has not acknowledged is sent to the
    /// new one.
    fn moved(&mut self, _: &mut Link) -> Option<End> {
        if matches!(self.shared.mode(), Mode::Running) {
            tracing::info!(broker = self.broker(), "the broker's settings have changed: connecting anew");
            self.steady = Steady::new(&self.reconnect.spec);
            return Some(End::Renewed);
        }
        None
    }

    fn heard(&mut self, link: &mut Link, signal: Signal) -> Option<End> {
        match signal {
            Signal::Connected(granted) => return self.connected(link, granted),
            Signal::Handed(id) => {
                if let Some(flight) = self.handed.pop_front() {
                    self.flying.insert(id, flight);
                    link.unanswered.get_or_insert_with(Instant::now);
                }
            }
            Signal::Acked(id) => {
                if let Some(flight) = self.flying.remove(&id) {
                    self.answered(link);
                    self.acked(&flight);
                }
            }
            Signal::Refused(id, reason) => {
                if let Some(flight) = self.flying.remove(&id) {
                    self.answered(link);
                    self.refused(link, flight, reason);
                }
            }
            Signal::Goodbye => return Some(self.left(link)),
            Signal::Subscribed { .. } | Signal::Message { .. } | Signal::Other => {}
        }
        None
    }

    fn advance(&mut self, link: &mut Link) -> Option<End> {
        let now = Instant::now();
        let deadline = match self.shared.mode() {
            Mode::Running => None,
            Mode::Draining(deadline) => Some(deadline),
            Mode::Aborting | Mode::Closed => return Some(End::Done),
        };
        // Only on a connection is there anything left to be said.
        let grace = if link.up { GRACE } else { Duration::ZERO };
        if deadline.is_some_and(|deadline| now >= deadline + grace) {
            return Some(End::Done);
        }
        if !link.up || link.disconnecting {
            return None;
        }
        match deadline {
            Some(deadline) => self.stop(link, now >= deadline),
            None if link.leaving.is_some() => link.disconnecting = self.handed.is_empty() && self.flying.is_empty(),
            None => self.hand_over(link),
        }
        if !link.disconnecting || link.client.try_disconnect().is_ok() {
            return None;
        }
        // The client's queue may be stuck behind a dead connection: then the last will has to do.
        Some(if deadline.is_some() { End::Done } else { self.left(link) })
    }

    fn ended(&mut self) {
        self.shared.connection_lost();
    }

    fn lost(&mut self, error: &PublishError) {
        let was_up = self.steady.lost(error, &mut self.reconnect.backoff, &self.shared);
        match error {
            PublishError::NoRetain { .. } => self.retains_nothing(),
            error if was_up && error.may_be_about_a_message() => self.judge(),
            _ => {}
        }
        if let Some(text) = self.reconnect.news(error) {
            let waiting = self.shared.unsent();
            tracing::warn!(waiting, "{}{text}", if was_up { "connection lost: " } else { "" });
        }
    }

    /// While stopping, nobody is there to be told; that is enough when nothing is owed.
    fn gives_up(&self) -> bool {
        matches!(self.shared.mode(), Mode::Draining(_)) && self.shared.unsent() == 0
    }

    /// A change of mode ends a pause early, and the deadline of a stop.
    async fn hurried(&self) {
        let mode = self.shared.mode();
        let changed = async {
            while self.shared.mode() == mode {
                self.shared.wake.notified().await;
            }
        };
        match mode {
            Mode::Draining(deadline) => tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(deadline.into()) => {}
            },
            _ => changed.await,
        }
    }
}

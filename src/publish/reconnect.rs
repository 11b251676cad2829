//! One connection to the broker after the other: opened, listened to, lost, and after a pause opened again, until there
//! is nothing more to be said.

use std::future::pending;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::backoff::Backoff;
use super::client::{self, Client, Signal, Wish};
use super::spec::Broker;
use super::{PublishError, PublisherSpec};
use crate::error_chain;

/// How a connection ended.
pub(super) enum End {
    /// For good.
    Done,
    /// On purpose, to come back at once: the certificate files have been renewed, or there is another broker.
    Renewed,
    /// On purpose, to come back after a pause.
    Left,
    /// By itself, or because the broker refuses what is said; the next one comes after a pause.
    Lost(PublishError),
}

/// What is remembered from one connection to the next.
pub(super) struct Reconnect {
    pub spec: PublisherSpec,
    pub backoff: Backoff,
    /// Fingerprint of the certificate files in use.
    pub certificates: Option<[u8; 32]>,
    /// What was last said about a broker that cannot be used.
    problem: Option<String>,
    /// Another broker.
    moves: watch::Receiver<Option<Arc<Broker>>>,
}

impl Reconnect {
    pub fn new(spec: PublisherSpec) -> Self {
        let (backoff, moves) = (Backoff::new(spec.backoff_min, spec.backoff_max), spec.live.listen());
        Self { backoff, certificates: None, problem: None, moves, spec }
    }

    /// The error with its causes, when it is not what was said last: a broker that is away for a night fills no log.
    pub fn news(&mut self, error: &PublishError) -> Option<String> {
        let text = error_chain::one_line(error);
        if self.problem.as_ref() == Some(&text) {
            return None;
        }
        self.problem = Some(text.clone());
        Some(text)
    }

    /// The broker can be used: the next error is news, whatever it is.
    pub fn well(&mut self) {
        self.problem = None;
    }

    /// Whether the next connection goes to another broker, or to the same with other settings.
    pub fn moves(&self) -> bool {
        self.moves.has_changed().unwrap_or(false)
    }

    /// From now on the broker is the one that was told last.
    fn arrive(&mut self) {
        let Some(broker) = self.moves().then(|| self.moves.borrow_and_update().clone()).flatten() else { return };
        broker.replace(&mut self.spec);
        self.backoff = Backoff::new(self.spec.backoff_min, self.spec.backoff_max);
        (self.certificates, self.problem) = (None, None);
    }

    /// Whether the certificate files have changed and can be used.
    pub fn renewed(&self) -> bool {
        let files = self.spec.tls.as_ref();
        files.and_then(|files| files.load().ok()).is_some_and(|loaded| Some(loaded.fingerprint) != self.certificates)
    }
}

/// What one of the line's connections says and hears: that for verdicts, that for commands, that of the Sparkplug node.
/// Where an [`End`] is returned, the connection ends with it.
pub(super) trait Connection {
    /// What belongs to one connection alone: a fresh client, so that nothing of an earlier one is stashed in it.
    type Link;

    /// What outlives each of them.
    fn reconnect(&mut self) -> &mut Reconnect;

    /// Whether no other connection is to be made.
    fn is_over(&self) -> bool {
        false
    }

    /// How the next connection is to be.
    fn wish(&mut self) -> Wish;

    /// It is going to be made, as soon as its events are polled.
    fn opened(&mut self, client: Client) -> Self::Link;

    /// Resolves when the line has something to say, or no more time to say it; may be dropped at any moment.
    async fn woken(&mut self, link: &mut Self::Link) -> Option<End>;

    /// Now and then.
    fn look(&mut self, link: &mut Self::Link) -> Option<End>;

    /// There is another broker, or the same is to be spoken with in another way.
    fn moved(&mut self, link: &mut Self::Link) -> Option<End>;

    /// Something happened on the connection.
    fn heard(&mut self, link: &mut Self::Link, signal: Signal) -> Option<End>;

    /// Says what can be said, whenever something may have changed.
    fn advance(&mut self, link: &mut Self::Link) -> Option<End>;

    /// The connection is gone, in whatever way.
    fn ended(&mut self) {}

    /// It is gone by itself.
    fn lost(&mut self, error: &PublishError);

    /// Whether an end that calls for another connection is the end of all.
    fn gives_up(&self) -> bool {
        false
    }

    /// Resolves when the pause before the next connection is to be cut short.
    async fn hurried(&self) {
        pending().await
    }
}

/// Connects again and again.
pub(super) async fn run(connection: &mut impl Connection) {
    while !connection.is_over() {
        connection.reconnect().arrive();
        let end = once(connection).await;
        connection.ended();
        match end {
            End::Done => return,
            End::Renewed => continue,
            End::Left => {}
            End::Lost(error) => connection.lost(&error),
        }
        if connection.gives_up() {
            return;
        }
        let random = RandomState::new().build_hasher().finish();
        let pause = connection.reconnect().backoff.pause(random);
        let mut moves = connection.reconnect().moves.clone();
        tokio::select! {
            Ok(()) = moves.changed() => {}
            () = tokio::time::sleep(pause) => {}
            () = connection.hurried() => {}
        }
    }
}

/// One connection, from the attempt to its end.
async fn once<C: Connection>(connection: &mut C) -> End {
    let wish = connection.wish();
    let Reconnect { spec, certificates, moves, .. } = connection.reconnect();
    let mut moves = moves.clone();
    let (client, mut events) = match client::open_now(spec, wish, certificates) {
        Ok(opened) => opened,
        Err(error) => return End::Lost(error),
    };
    let mut look = tokio::time::interval(spec.tls_look.max(Duration::from_millis(10)));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut link = connection.opened(client);
    loop {
        let signal = {
            // Polled to its end: dropping it half way could lose a packet.
            let next = events.next();
            tokio::pin!(next);
            loop {
                let end = tokio::select! {
                    biased;
                    signal = &mut next => break signal,
                    end = connection.woken(&mut link) => end,
                    _ = look.tick() => connection.look(&mut link),
                    Ok(()) = moves.changed() => connection.moved(&mut link),
                };
                if let Some(end) = end.or_else(|| connection.advance(&mut link)) {
                    return end;
                }
            }
        };
        let end = match signal {
            Ok(signal) => connection.heard(&mut link, signal),
            Err(failure) => {
                let spec = connection.reconnect().spec.clone();
                Some(End::Lost(events.error(&spec, failure).await))
            }
        };
        if let Some(end) = end.or_else(|| connection.advance(&mut link)) {
            return end;
        }
    }
}

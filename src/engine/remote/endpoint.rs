//! A server, its connection, and when it is left alone: three failures in a row end the connection, and only a server that has
//! passed the self-test again is asked again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::link::{Link, PULSE, Trouble};
use super::shared::Shared;
use super::spec::Address;

/// Failures in a row after which the connection is renewed.
const MOST_FAILURES: u32 = 3;
/// Pauses between attempts to connect: doubling from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));
/// The pause after somebody must do something.
const LONG_PAUSE: Duration = Duration::from_secs(1);
/// What a server is taken to need before it has answered.
const FIRST_GUESS: Duration = Duration::from_millis(20);
/// A time that was measured counts half as much after so long: a server that was slow is tried again.
const FORGOTTEN: Duration = Duration::from_secs(2);
/// Share of the newest answer in the mean time.
const NEWEST: f64 = 0.3;

pub(super) struct Endpoint {
    pub address: Address,
    inner: Mutex<Inner>,
    /// The connection is to be renewed.
    renew: Notify,
}

#[derive(Default)]
struct Inner {
    link: Option<Link>,
    trouble: Option<Trouble>,
    failures: u32,
    in_flight: usize,
    mean: Option<(Duration, Instant)>,
    answered: Option<Instant>,
    pause: Option<Duration>,
}

/// A question on its way; it counts until it is dropped.
pub(super) struct OnItsWay(Arc<Endpoint>);

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.0.inner().in_flight -= 1;
    }
}

impl Endpoint {
    pub fn new(address: Address) -> Self {
        Self { address, inner: Mutex::default(), renew: Notify::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long an answer will take, as far as is known; `None` when it is not to be asked.
    pub fn promise(&self) -> Option<Duration> {
        let inner = self.inner();
        if inner.link.as_ref().is_none_or(Link::is_closed) {
            return None;
        }
        let each = inner.mean.map_or(FIRST_GUESS, |(mean, at)| {
            mean.mul_f64(0.5f64.powf(at.elapsed().as_secs_f64() / FORGOTTEN.as_secs_f64()))
        });
        Some(each.max(Duration::from_micros(100)) * (inner.in_flight as u32 + 1))
    }

    /// The connection, and a place among those on their way.
    pub fn take(self: &Arc<Self>) -> Option<(Link, OnItsWay)> {
        let mut inner = self.inner();
        let link = inner.link.clone().filter(|link| !link.is_closed())?;
        inner.in_flight += 1;
        Some((link, OnItsWay(Arc::clone(self))))
    }

    /// Why it is not asked.
    pub fn trouble(&self) -> Option<Trouble> {
        self.inner().trouble.clone()
    }

    pub fn is_up(&self) -> bool {
        self.inner().link.is_some()
    }

    /// It has answered.
    pub fn answered(&self, took: Duration) {
        let mut inner = self.inner();
        let now = Instant::now();
        inner.measured(took, now);
        (inner.failures, inner.answered, inner.pause) = (0, Some(now), None);
    }

    /// It has not answered for so long, and nobody waits any more.
    pub fn took(&self, after: Duration) {
        self.inner().measured(after, Instant::now());
    }

    /// It has not answered, or not as it should.
    pub fn failed(&self, after: Duration, why: &str) {
        let mut inner = self.inner();
        inner.measured(after, Instant::now());
        inner.failures += 1;
        tracing::debug!(server = %self.address, failures = inner.failures, "{why}");
        if inner.failures >= MOST_FAILURES {
            inner.give_up(Trouble::Away(why.to_owned()));
            self.renew.notify_one();
        }
    }

    /// It says itself that it is not to be asked any more.
    pub fn leaves(&self, why: &str) {
        self.inner().give_up(Trouble::Away(why.to_owned()));
        self.renew.notify_one();
    }

    /// Keeps it connected, for ever.
    pub async fn keep(self: Arc<Self>, shared: Arc<Shared>) {
        let mut said: Option<Trouble> = None;
        loop {
            match Link::establish(&shared, &self.address).await {
                Ok((link, task)) => {
                    tracing::info!(server = %self.address, model = shared.model, "looks for this line");
                    said = None;
                    self.up(link.clone());
                    let why = self.watched(&link).await;
                    task.abort();
                    let mut inner = self.inner();
                    // Whoever gave it up has said why.
                    let why = inner.trouble.clone().unwrap_or(Trouble::Away(why));
                    tracing::warn!(server = %self.address, "is not asked for now: {}", why.text());
                    inner.give_up(why);
                }
                Err(trouble) => {
                    if said.as_ref() != Some(&trouble) {
                        match &trouble {
                            Trouble::Away(text) => tracing::warn!(server = %self.address, "is not asked: {text}"),
                            Trouble::Wrong(text) => tracing::error!(server = %self.address, "is not asked: {text}"),
                        }
                    }
                    said = Some(trouble.clone());
                    self.inner().give_up(trouble);
                }
            }
            let wrong = matches!(self.inner().trouble, Some(Trouble::Wrong(_)));
            let pause = if wrong { LONG_PAUSE } else { self.pause() };
            tokio::time::sleep(pause).await;
        }
    }

    /// Returns, with the reason, when the connection must be renewed.
    async fn watched(&self, link: &Link) -> String {
        loop {
            let pulse = async {
                tokio::time::sleep(PULSE.0).await;
                if link.is_closed() {
                    return Some("the connection has ended".into());
                }
                // Whoever answers questions lives.
                let quiet = self.inner().answered.is_none_or(|at| at.elapsed() >= PULSE.0);
                if quiet { link.is_alive(PULSE.1).await.err() } else { None }
            };
            tokio::select! {
                () = self.renew.notified() => match self.is_up() {
                    // Meant for a connection before this one.
                    true => continue,
                    false => return "the connection is renewed".into(),
                },
                why = pulse => if let Some(why) = why { return why },
            }
        }
    }

    fn up(&self, link: Link) {
        let mut inner = self.inner();
        (inner.link, inner.trouble, inner.failures) = (Some(link), None, 0);
    }

    /// Between half of the pause and all of it, so that a plant full of lines does not knock in step.
    fn pause(&self) -> Duration {
        let mut inner = self.inner();
        let pause = inner.pause.unwrap_or(PAUSES.0);
        inner.pause = Some((pause * 2).min(PAUSES.1));
        let nanos = std::process::id() ^ Instant::now().elapsed().subsec_nanos();
        pause.mul_f64(0.5 + 0.5 * f64::from(nanos % 1000) / 1000.0)
    }
}

impl Inner {
    fn measured(&mut self, took: Duration, now: Instant) {
        let mean = match self.mean {
            Some((mean, _)) => mean.mul_f64(1.0 - NEWEST) + took.mul_f64(NEWEST),
            None => took,
        };
        self.mean = Some((mean, now));
    }

    fn give_up(&mut self, why: Trouble) {
        self.link = None;
        self.trouble = Some(why);
    }
}

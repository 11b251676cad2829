//! Connections are few: those that ask nothing make room for others, and none is cut while it waits for its answer.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections at the same time; more wait in the system's queue while each of these waits for an answer.
const MOST: usize = 32;
/// Longest time for sending the head of a request, and for sending none.
const HEAD: Duration = Duration::from_secs(5);
/// Longest life of a connection; the request in hand is answered first.
const LIFE: Duration = Duration::from_secs(60);
/// Longest time for that answer, which itself takes at most ten seconds.
const LAST: Duration = Duration::from_secs(15);
/// Pause when the system has no connection to give, as without file descriptors.
const BREATH: Duration = Duration::from_secs(1);

/// A connection's place among [`MOST`].
pub(super) struct Seat {
    /// Who sits there.
    pub peer: SocketAddr,
    /// Since when nothing is owed to it; `None` while a command is carried out.
    idle_since: Mutex<Option<Instant>>,
    leave: CancellationToken,
    freed: Arc<Notify>,
    /// How long its last answer may take.
    patience: Mutex<Duration>,
}

/// While this lives, the connection is not pushed out.
pub(super) struct Working(Arc<Seat>);

impl Seat {
    /// A command of somebody who may ask has come.
    pub fn work(self: &Arc<Self>) -> Working {
        self.set(None);
        Working(Arc::clone(self))
    }

    /// Somebody who may ask gets an answer that may take so long, and ends its connection.
    pub fn work_long(self: &Arc<Self>, longest: Duration) -> Working {
        *self.patience.lock().unwrap_or_else(PoisonError::into_inner) = longest;
        self.work()
    }

    fn set(&self, since: Option<Instant>) {
        *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn idle_since(&self) -> Option<Instant> {
        *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.set(Some(Instant::now()));
        self.0.freed.notify_one();
    }
}

/// Answers whoever connects, until it is dropped. Every request finds its [`Seat`] among its extensions.
pub(super) async fn serve(socket: TcpListener, routes: Router) {
    let freed = Arc::new(Notify::new());
    let mut seats: Vec<Weak<Seat>> = Vec::new();
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MOST {
            if let Some(seat) = most_idle(&seats) {
                seat.leave.cancel();
            }
            tokio::select! {
                _ = connections.join_next() => {}
                () = freed.notified() => {}
            }
        }
        while connections.try_join_next().is_some() {}
        seats.retain(|seat| seat.strong_count() > 0);
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) if is_of_the_peer(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "the API cannot take a connection");
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        let seat = Seat {
            peer,
            idle_since: Mutex::new(Some(Instant::now())),
            leave: CancellationToken::new(),
            freed: Arc::clone(&freed),
            patience: Mutex::new(LAST),
        };
        let seat = Arc::new(seat);
        seats.push(Arc::downgrade(&seat));
        connections.spawn(converse(stream, seat, routes.clone()));
    }
}

/// Errors of one connection say nothing about the next.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionRefused | ConnectionAborted | ConnectionReset)
}

/// Whose place is taken first: that of the computer with the most idle connections, and there the oldest.
fn most_idle(seats: &[Weak<Seat>]) -> Option<Arc<Seat>> {
    let seats = seats.iter().filter_map(Weak::upgrade).filter(|seat| !seat.leave.is_cancelled());
    let idle: Vec<(Instant, Arc<Seat>)> = seats.filter_map(|seat| Some((seat.idle_since()?, seat))).collect();
    let mut held: HashMap<_, usize> = HashMap::new();
    for (_, seat) in &idle {
        *held.entry(seat.peer.ip()).or_default() += 1;
    }
    let rank = |since: &Instant, seat: &Seat| (held.get(&seat.peer.ip()).copied(), std::cmp::Reverse(*since));
    idle.into_iter().max_by_key(|(since, seat)| rank(since, seat)).map(|(_, seat)| seat)
}

async fn converse(stream: TcpStream, seat: Arc<Seat>, routes: Router) {
    let service = TowerToHyperService::new(routes.layer(Extension(Arc::clone(&seat))));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // How a connection ends is the peer's business: what was asked is answered or logged where it is carried out.
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        () = seat.leave.cancelled() => if seat.idle_since().is_some() { return },
        () = tokio::time::sleep(LIFE) => {}
    }
    connection.as_mut().graceful_shutdown();
    let patience = *seat.patience.lock().unwrap_or_else(PoisonError::into_inner);
    if tokio::time::timeout(patience, connection).await.is_err() {
        tracing::debug!(peer = %seat.peer, "closed: it does not read its answer");
    }
}

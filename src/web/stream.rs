//! `GET /api/events`: verdicts and the state as they happen, as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response, Sse};
use futures_util::stream;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::api::ApiState;
use super::gate::refusal;
use super::listener::{Seat, Working};
use super::news::Item;

/// Pages that look on at the same time; more than half of all connections stay for everything else.
const MOST: usize = 12;
/// A stream ends by itself before its connection is cut; the page opens the next one at once.
const LIFE: Duration = Duration::from_secs(50);
/// The state is told at most this often, and …
const OFTEN: Duration = Duration::from_millis(250);
/// … at least this often, because its counters run.
const SELDOM: Duration = Duration::from_secs(1);

/// Places for those who look on.
pub(super) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MOST))
}

struct Reader {
    shared: Arc<ApiState>,
    news: Receiver<Item>,
    pending: VecDeque<Event>,
    tick: Interval,
    changed: bool,
    told: Instant,
    since: Instant,
    _place: OwnedSemaphorePermit,
    _working: Working,
}

impl Reader {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            if self.since.elapsed() > LIFE {
                return None;
            }
            tokio::select! {
                item = self.news.recv() => match item {
                    Ok(Item::Verdict(told)) => return Some(Event::default().event("verdict").data(told.text())),
                    Ok(Item::Changed) => self.changed = true,
                    Err(RecvError::Lagged(missed)) => {
                        return Some(Event::default().event("missed").data(missed.to_string()));
                    }
                    Err(RecvError::Closed) => return None,
                },
                _ = self.tick.tick() => {
                    if self.changed || self.told.elapsed() >= SELDOM {
                        (self.changed, self.told) = (false, Instant::now());
                        return Some(state(&self.shared));
                    }
                }
            }
        }
    }
}

fn state(shared: &ApiState) -> Event {
    Event::default().event("state").data(shared.api.state().to_string())
}

/// The state, the last verdicts, then what happens.
pub(super) async fn events(
    State(shared): State<Arc<ApiState>>,
    Extension(seat): Extension<Arc<Seat>>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    shared.may_read(&headers, &seat).await?;
    let Some(news) = shared.api.news() else {
        return Err(refusal(StatusCode::NOT_FOUND, "this line tells no news"));
    };
    let Ok(place) = Arc::clone(&shared.lookers).try_acquire_owned() else {
        let message = format!("{MOST} pages look on already; close one of them");
        return Err(refusal(StatusCode::SERVICE_UNAVAILABLE, message));
    };
    let mut tick = interval(OFTEN);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // In this order: what happens between the two is told twice rather than never.
    let receiver = news.follow();
    let so_far = Event::default().event("recent").data(news.so_far()).retry(Duration::from_millis(300));
    let now = Instant::now();
    let reader = Reader {
        news: receiver,
        pending: [state(&shared), so_far].into(),
        shared,
        tick,
        changed: false,
        told: now,
        since: now,
        _place: place,
        _working: seat.work(),
    };
    let events = stream::unfold(reader, |mut reader| async {
        let event = reader.next().await?;
        Some((Ok::<_, Infallible>(event), reader))
    });
    Ok(Sse::new(events).into_response())
}

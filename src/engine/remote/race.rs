//! One question and the servers: the one that will answer soonest is asked, the next when it fails or is slow, until one
//! has answered or nobody needs the answer any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tonic::{Code, Status};

use super::endpoint::Endpoint;
use super::link::said;
use super::question::{Question, Wanted};
use super::reply;
use super::shared::Shared;
use crate::anomaly::Prediction;

/// Pause before servers that have all failed are asked once more.
const AGAIN: Duration = Duration::from_millis(10);
/// Time in which any server should have answered.
const ENOUGH: Duration = Duration::from_millis(100);

/// What became of one attempt.
struct Attempt {
    endpoint: Arc<Endpoint>,
    begun: Instant,
    answer: Result<Prediction, Status>,
}

/// The answer of the first server that has one before `until`.
pub(super) async fn ask(
    shared: Arc<Shared>,
    endpoints: Arc<[Arc<Endpoint>]>,
    question: Question,
    wanted: Wanted,
    until: Instant,
) -> Result<Prediction, String> {
    let mut attempts = FuturesUnordered::new();
    let mut running: Vec<(Arc<Endpoint>, Instant)> = Vec::new();
    let mut asked: Vec<Arc<Endpoint>> = Vec::new();
    let mut last: Option<String> = None;
    let mut second_at: Option<Instant> = None;
    let is_in =
        |list: &[Arc<Endpoint>], endpoint: &Arc<Endpoint>| list.iter().any(|other| Arc::ptr_eq(other, endpoint));
    loop {
        let free = endpoints.iter().filter(|endpoint| !is_in(&asked, endpoint));
        let best = free.filter_map(|endpoint| Some((endpoint.promise()?, endpoint))).min_by_key(|(time, _)| *time);
        if let Some((endpoint, (link, place))) = best.and_then(|(_, endpoint)| Some((endpoint, endpoint.take()?))) {
            let (endpoint, shared, question) = (Arc::clone(endpoint), Arc::clone(&shared), question.clone());
            let begun = Instant::now();
            asked.push(Arc::clone(&endpoint));
            running.push((Arc::clone(&endpoint), begun));
            second_at = shared.usual.slow().map(|slow| begun + slow);
            attempts.push(async move {
                let _place = place;
                let within = until.saturating_duration_since(begun);
                let answer = link
                    .ask(&shared, &question, wanted, within)
                    .await
                    .and_then(|answer| reply::prediction(&answer, shared.side, wanted).map_err(Status::data_loss));
                Attempt { endpoint, begun, answer }
            });
        }
        let over = tokio::time::sleep_until(until.into());
        let second = async {
            match second_at {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let nobody = attempts.is_empty();
        tokio::select! {
            biased;
            Some(attempt) = attempts.next(), if !nobody => {
                let Attempt { endpoint, begun, answer } = attempt;
                running.retain(|(other, _)| !Arc::ptr_eq(other, &endpoint));
                match answer {
                    Ok(prediction) => {
                        shared.usual.add(begun.elapsed());
                        endpoint.answered(begun.elapsed());
                        running.iter().for_each(|(slow, begun)| slow.took(begun.elapsed()));
                        return Ok(prediction);
                    }
                    Err(status) => {
                        last = Some(format!("{}: {}", endpoint.address, said(&status)));
                        told(&shared, &endpoint, begun, &status, until);
                    }
                }
            }
            () = over => {
                running.iter().for_each(|(slow, begun)| timed_out(&shared, slow, *begun, "no answer in time"));
                return Err(last.unwrap_or_else(|| nobody_answers(&endpoints)));
            }
            () = second, if !nobody => {
                second_at = None;
            }
            () = tokio::time::sleep(AGAIN), if nobody => {
                asked.clear();
            }
        }
    }
}

/// A server that was given little time has not failed.
fn timed_out(shared: &Shared, endpoint: &Endpoint, begun: Instant, why: &str) {
    let given = begun.elapsed();
    let enough = shared.usual.slow().map_or(ENOUGH, |slow| ENOUGH.max(2 * slow));
    if given >= enough { endpoint.failed(given, why) } else { endpoint.took(given) }
}

/// What a status means for the server that sent it.
fn told(shared: &Shared, endpoint: &Endpoint, begun: Instant, status: &Status, until: Instant) {
    match status.code() {
        // It lives, and has no time.
        Code::ResourceExhausted => {}
        // Refused at once because the deadline cannot be met; what came at the deadline itself was too slow.
        Code::DeadlineExceeded if Instant::now() < until => {}
        Code::Unavailable | Code::NotFound | Code::Unauthenticated => endpoint.leaves(&said(status)),
        Code::DeadlineExceeded => timed_out(shared, endpoint, begun, &said(status)),
        _ => endpoint.failed(begun.elapsed(), &said(status)),
    }
}

/// Why no server can be asked.
pub(super) fn nobody_answers(endpoints: &[Arc<Endpoint>]) -> String {
    let each = endpoints.iter().map(|endpoint| match endpoint.trouble() {
        Some(trouble) => format!("{} {}", endpoint.address, trouble.text()),
        None => format!("{} does not answer", endpoint.address),
    });
    each.collect::<Vec<_>>().join("; ")
}

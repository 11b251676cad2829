//! Which method of the protocol an HTTP request asks, and its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::{HeaderMap, Request as HttpRequest, Response as HttpResponse};
use tonic::body::Body;
use tonic::{Request, Response, Status};

use super::infer::{self, Asking};
use super::metrics::Outcome;
use super::state::{Model, State};
use crate::oip::{self, Empty, HealthRequest, HealthResponse, InferRequest, ModelName, ServerMetadata, Yes};
use crate::web::probes::Probed;

/// Requests without pictures are smaller.
const SMALL: usize = 64 << 10;
/// Longest time for receiving, waiting and answering.
const LONGEST: Duration = Duration::from_secs(60);

/// Answers one call of `client`.
pub(super) async fn answer(state: Arc<State>, client: u64, request: HttpRequest<Incoming>) -> HttpResponse<Body> {
    let arrived = Instant::now();
    let path = request.uri().path().to_owned();
    let method = path.strip_prefix(oip::SERVICE).unwrap_or(&path);
    // Whoever asks for the server's health may do so without a word.
    if method != oip::HEALTH_CHECK && !state.may_ask(request.headers()) {
        state.metrics.request(Outcome::Refused);
        return Status::unauthenticated("the token is missing or wrong").into_http();
    }
    let Ok(_permit) = state.requests.try_acquire() else {
        state.metrics.request(Outcome::Busy);
        return Status::resource_exhausted("as many requests wait as may; ask another server, or later").into_http();
    };
    match tokio::time::timeout(LONGEST, dispatch(&state, client, arrived, method, request)).await {
        Ok(answer) => answer,
        Err(_) => Status::deadline_exceeded("the request was not received in time").into_http(),
    }
}

async fn dispatch(
    state: &Arc<State>,
    client: u64,
    arrived: Instant,
    method: &str,
    request: HttpRequest<Incoming>,
) -> HttpResponse<Body> {
    let ready = state.is_ready();
    let yes = |yes: bool| Ok(Response::new(Yes { yes }));
    match method {
        "ServerLive" => oip::call(request, SMALL, move |_: Request<Empty>| std::future::ready(yes(true))).await,
        "ServerReady" => oip::call(request, SMALL, move |_: Request<Empty>| std::future::ready(yes(ready))).await,
        "ModelReady" => {
            let state = Arc::clone(state);
            let answer = move |asked: Request<ModelName>| {
                let known = known(&state, asked.get_ref()).map(|_| ());
                std::future::ready(match known {
                    Err(status) if status.code() == tonic::Code::NotFound => Err(status),
                    known => yes(ready && known.is_ok()),
                })
            };
            oip::call(request, SMALL, answer).await
        }
        "ServerMetadata" => {
            let about = || ServerMetadata {
                name: "vcp-line".into(),
                version: env!("CARGO_PKG_VERSION").into(),
                extensions: Vec::new(),
            };
            oip::call(request, SMALL, move |_: Request<Empty>| std::future::ready(Ok(Response::new(about())))).await
        }
        "ModelMetadata" => {
            let state = Arc::clone(state);
            let answer = move |asked: Request<ModelName>| {
                std::future::ready(known(&state, asked.get_ref()).map(|model| Response::new(model.metadata())))
            };
            oip::call(request, SMALL, answer).await
        }
        "ModelInfer" => {
            let most = infer::most_bytes(state.model().map_or(0, |model| model.info.image_size));
            let asking = Asking { client, arrived, timeout: timeout(request.headers()) };
            let state = Arc::clone(state);
            let answer = move |asked: Request<InferRequest>| {
                let state = Arc::clone(&state);
                async move { infer::infer(&state, asking, asked.into_inner()).await }
            };
            oip::call(request, most, answer).await
        }
        oip::HEALTH_CHECK => {
            let status = if ready { 1 } else { 2 };
            let answer =
                move |_: Request<HealthRequest>| std::future::ready(Ok(Response::new(HealthResponse { status })));
            oip::call(request, SMALL, answer).await
        }
        other => Status::unimplemented(format!("no method '{other}' here")).into_http(),
    }
}

fn known<'a>(state: &'a State, asked: &ModelName) -> Result<&'a Model, Status> {
    let model = state.model().ok_or_else(|| Status::unavailable("the model is being opened"))?;
    model.is(&asked.name, &asked.version)?;
    Ok(model)
}

/// The header `grpc-timeout`: a number of up to eight digits and its unit.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number.checked_mul(3600)?)),
        "M" => Some(Duration::from_secs(number.checked_mul(60)?)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_with_their_unit() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().expect("a header"));
            timeout(&headers)
        };
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("30000000u"), Some(Duration::from_secs(30)));
        assert_eq!(read("1H"), Some(Duration::from_secs(3600)));
        for wrong in ["", "m", "-1S", "5x", "1.5S", "5µ"] {
            let mut headers = HeaderMap::new();
            if let Ok(value) = hyper::header::HeaderValue::from_bytes(wrong.as_bytes()) {
                headers.insert("grpc-timeout", value);
            }
            assert_eq!(timeout(&headers), None, "{wrong}");
        }
    }
}

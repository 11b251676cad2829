//! The page and the API of a line on its own computer: `GET /`, `GET /health`, `GET /api/state`, what happens as a stream,
//! pictures, and the commands as `POST /api/NAME`.
//!
//! What changes something needs the token, always; from an address that other computers can reach, so does the state. A
//! session stands for the token: who has shown it once gets a cookie.

mod api;
mod archive;
mod browse;
mod drawing;
mod error;
mod export;
mod gate;
mod listener;
mod metrics;
mod news;
mod page;
mod picture;
pub mod runbook;
mod session;
mod stream;
mod texts;

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::command::MAX_PAYLOAD;
use crate::secret::{LEAST_TOKEN, Secret};
use api::ApiState;
use drawing::Pictures;
use gate::{Gate, refusal};
use listener::Seat;
use session::Sessions;

pub use api::Api;
pub use drawing::Shown;
pub use error::WebError;
pub use news::News;
pub use texts::Texts;

/// Longest time for reading a command, and for answering it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a [`probe`] waits for an answer at most, each way.
const LOOK: Duration = Duration::from_secs(2);

/// Threads that draw pictures or wait for a disk, at most.
const DRAWING: usize = 4;

/// Bytes of a body that are read at most.
const MOST_READ: usize = 1024 * 1024;

/// Where to listen, resolved.
#[derive(Clone, Debug)]
pub struct WebSpec {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Without it nothing can be changed.
    pub token: Option<Secret>,
    /// Names of this computer besides its own, `localhost` and its addresses.
    pub hosts: Vec<String>,
    /// What the page says.
    pub texts: Texts,
}

/// A running API; dropped, it is closed.
pub struct Web {
    address: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Web {
    /// Listens at once and answers in its own thread.
    pub fn start(spec: WebSpec, api: Arc<dyn Api>) -> Result<Self, WebError> {
        let WebSpec { listen, token, hosts, texts } = spec;
        let guarded = !listen.ip().is_loopback();
        if guarded && token.is_none() {
            return Err(WebError::Open { listen });
        }
        if token.as_ref().is_some_and(|token| token.reveal().len() < LEAST_TOKEN) {
            return Err(WebError::ShortToken);
        }
        let failed = |source| WebError::Listen { listen, source };
        let socket = std::net::TcpListener::bind(listen).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let gate = Arc::new(Gate::new(token.as_ref(), &hosts));
        let sessions = Sessions::new(address.port());
        let (lookers, pictures) = (stream::places(), Pictures::default());
        let exports = Arc::new(Semaphore::new(1));
        let routes = routes(Arc::new(ApiState { api, gate, sessions, guarded, lookers, pictures, exports }), &texts);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(DRAWING)
            .build()
            .map_err(WebError::Thread)?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("vcp-http".into())
            .spawn(move || {
                runtime.block_on(async {
                    match tokio::net::TcpListener::from_std(socket) {
                        Ok(socket) => tokio::select! {
                            () = stopped.cancelled() => {}
                            () = listener::serve(socket, routes) => {}
                        },
                        Err(error) => tracing::error!(%error, "the API has ended"),
                    }
                });
                runtime.shutdown_background();
            })
            .map_err(WebError::Thread)?;
        tracing::info!(%address, "API");
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Whether a line could listen there: what `check` says. An address that a running line has already is as good.
pub fn probe(listen: SocketAddr) -> Result<String, WebError> {
    match std::net::TcpListener::bind(listen) {
        Ok(_) => Ok(format!("{listen} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && answers(listen).unwrap_or(false) => {
            Ok(format!("{listen} in use by a running line"))
        }
        Err(source) => Err(WebError::Listen { listen, source }),
    }
}

/// Whether `GET /health` is answered there as a line answers it.
fn answers(listen: SocketAddr) -> io::Result<bool> {
    let local = |ip: IpAddr| match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    };
    let address = SocketAddr::new(local(listen.ip()), listen.port());
    let mut stream = TcpStream::connect_timeout(&address, LOOK)?;
    stream.set_read_timeout(Some(LOOK))?;
    write!(stream, "GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 ") && answer.contains("{\"status\":\""))
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the API panicked");
        }
    }
}

fn routes(shared: Arc<ApiState>, texts: &Texts) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/api/state", get(state))
        .route("/api/events", get(stream::events))
        .route("/api/session", get(session_is).post(begin_session).delete(end_session))
        .route("/api/cameras/{name}/picture.jpg", get(picture::picture))
        .route("/api/cameras/{name}/map.png", get(picture::map))
        .merge(browse::routes())
        .merge(archive::routes())
        .merge(export::routes())
        .merge(metrics::routes())
        .route("/api/{name}", post(command))
        .merge(page::routes(texts))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), at_home))
        .with_state(shared)
}

/// Only what was meant for this computer is looked at.
async fn at_home(
    State(shared): State<Arc<ApiState>>,
    Extension(seat): Extension<Arc<Seat>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response =
        match shared.gate.misdirected(request.uri(), request.version(), request.headers(), seat.peer.ip()) {
            Some(refused) => refused,
            None => next.run(request).await,
        };
    page::protect(response.headers_mut());
    response
}

/// Whether this browser need not show the token: for reading, and for changing something.
async fn session_is(State(shared): State<Arc<ApiState>>, headers: HeaderMap) -> Response {
    let held = shared.sessions.holds(&headers);
    Json(serde_json::json!({ "read": held || !shared.guarded, "change": held })).into_response()
}

/// The token, shown once, as `Authorization`.
async fn begin_session(
    State(shared): State<Arc<ApiState>>,
    Extension(seat): Extension<Arc<Seat>>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    shared.gate.admit(headers.get(header::AUTHORIZATION).cloned(), seat.peer.ip()).await?;
    let message = "this computer has no random numbers; show the token with every request";
    let cookie = shared.sessions.begin().ok_or_else(|| refusal(StatusCode::SERVICE_UNAVAILABLE, message))?;
    tracing::info!(peer = %seat.peer.ip(), "somebody has shown the token and may change the line from the page");
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

async fn end_session(State(shared): State<Arc<ApiState>>, headers: HeaderMap) -> Response {
    let cookie = shared.sessions.end(&headers).map(|cookie| (header::SET_COOKIE, cookie));
    (StatusCode::NO_CONTENT, cookie.into_iter().collect::<HeaderMap>()).into_response()
}

async fn health(State(shared): State<Arc<ApiState>>) -> Response {
    match shared.api.health() {
        Ok(()) => Json(serde_json::json!({ "status": "ok" })).into_response(),
        Err(reason) => {
            let body = Json(serde_json::json!({ "status": "degraded", "reason": reason }));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

async fn state(
    State(shared): State<Arc<ApiState>>,
    Extension(seat): Extension<Arc<Seat>>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    shared.may_read(&headers, &seat).await?;
    Ok(Json(shared.api.state()).into_response())
}

async fn command(
    State(shared): State<Arc<ApiState>>,
    Extension(seat): Extension<Arc<Seat>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Response> {
    // Before the body is read: whoever may not ask costs no more than the question.
    shared.may_change(request.headers(), &seat).await?;
    let _working = seat.work();
    // What is a little too long is read to its end, because closing on a sender loses the answer.
    let body = match timeout(PATIENCE, axum::body::to_bytes(request.into_body(), MOST_READ)).await {
        Ok(Ok(body)) if body.len() <= MAX_PAYLOAD => body,
        Ok(_) => {
            return Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, format!("a command has at most {MAX_PAYLOAD} bytes")));
        }
        Err(_) => return Err(refusal(StatusCode::REQUEST_TIMEOUT, "the command did not come whole; send it again")),
    };
    let (answer, answered) = oneshot::channel();
    shared.api.command(&name, &body, answer);
    match timeout(PATIENCE, answered).await {
        Ok(Ok(ack)) => Ok((if ack.ok { StatusCode::OK } else { StatusCode::CONFLICT }, Json(ack)).into_response()),
        Ok(Err(_)) => {
            let message = "the line has too many commands waiting, or is stopping";
            Err(refusal(StatusCode::SERVICE_UNAVAILABLE, message))
        }
        Err(_) => {
            let message =
                "no answer in time; the command may have been carried out: ask again with the same correlation_id";
            Err(refusal(StatusCode::GATEWAY_TIMEOUT, message))
        }
    }
}

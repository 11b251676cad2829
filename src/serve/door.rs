//! Connections: so many at a time, each with TLS where it is configured, all of them ended in order.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::calls;
use super::state::State;

/// Longest time for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Calls of one connection at the same time.
const MOST_CALLS: u32 = 32;
/// Bytes of a call that may be on their way before the server has read any: a picture of 518×518.
const STREAM_WINDOW: u32 = 1 << 20;
/// The same for all calls of a connection.
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Bytes of a call in one piece; in the protocol's usual ones of 16 KiB a picture takes as many turns as it has pieces.
const FRAME: u32 = 1 << 20;
/// Bytes of an answer that are taken over before the network has them: a map of 518×518 and its score.
const SEND_BUFFER: usize = 2 << 20;
/// How often a silent connection is asked for a sign of life, and how long it may take.
const ALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// Pause when the system has no connection to give, as without file descriptors.
const BREATH: Duration = Duration::from_millis(500);

/// Takes connections until `stop`; then lets each finish what was admitted, for `drain` at most.
pub(super) async fn open(socket: TcpListener, state: Arc<State>, stop: &CancellationToken, drain: Duration) {
    let mut connections = JoinSet::new();
    let mut client = 0u64;
    loop {
        while connections.try_join_next().is_some() {}
        state.metrics.clients(connections.len());
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) if connections.len() >= state.max_clients => {
                state.metrics.client_refused();
                tracing::debug!(%peer, "one connection too many");
                drop(stream);
            }
            Ok((stream, peer)) => {
                client += 1;
                connections.spawn(converse(stream, peer, client, Arc::clone(&state)));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be taken");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
    drop(socket);
    state.stopping.cancel();
    tracing::info!(clients = connections.len(), "no new requests; those in hand are answered");
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(drain, all).await.is_err() {
        tracing::warn!("the time for answering is over; the rest is cut off");
    }
}

async fn converse(stream: TcpStream, peer: SocketAddr, client: u64, state: Arc<State>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "answers may be late");
    }
    let Some(files) = &state.tls else { return speak(stream, peer, client, state).await };
    let config = match files.load(&[b"h2"]) {
        Ok(config) => config,
        Err(error) => return tracing::error!(%peer, "{error}"),
    };
    match tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)).await {
        Ok(Ok(stream)) => speak(stream, peer, client, state).await,
        Ok(Err(error)) => tracing::warn!(%peer, %error, "no TLS with this client"),
        Err(_) => tracing::debug!(%peer, "the handshake took too long"),
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    peer: SocketAddr,
    client: u64,
    state: Arc<State>,
) {
    let stopping = state.stopping.clone();
    let service = service_fn(move |request| {
        let answer = calls::answer(Arc::clone(&state), client, request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_CALLS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(ALIVE.0)
        .keep_alive_timeout(ALIVE.1)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended");
    }
}

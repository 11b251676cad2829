//! `GET /live`, `/ready` and `/metrics` of a server that has no API: what an orchestrator and Prometheus ask.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::listener;
use super::metrics::TEXT_FORMAT;

/// Who is asked. Implemented by `serve`.
pub trait Probed: Send + Sync {
    /// Whether requests should be sent here.
    fn is_ready(&self) -> bool;
    /// Prometheus' text.
    fn metrics(&self) -> String;
}

/// Answers whoever connects, until it is dropped.
pub async fn serve(socket: TcpListener, probed: Arc<dyn Probed>) {
    let routes = Router::new()
        .route("/live", get(async || "live\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(probed);
    listener::serve(socket, routes).await;
}

async fn ready(State(probed): State<Arc<dyn Probed>>) -> Response {
    let ready = probed.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(serde_json::json!({ "ready": ready }))).into_response()
}

async fn metrics(State(probed): State<Arc<dyn Probed>>) -> Response {
    ([(header::CONTENT_TYPE, TEXT_FORMAT)], probed.metrics()).into_response()
}

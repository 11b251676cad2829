//! `GET /metrics` for Prometheus and `GET /ready` for whoever waits until the line inspects.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use axum::{Extension, Router};

use super::api::ApiState;
use super::listener::Seat;

/// Prometheus' text format, as `GET /metrics` has it.
pub(super) const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn routes() -> Router<Arc<ApiState>> {
    Router::new().route("/metrics", get(metrics)).route("/ready", get(ready))
}

/// Needs the token where the state does: `authorization` in Prometheus' scrape_config.
async fn metrics(
    State(shared): State<Arc<ApiState>>,
    Extension(seat): Extension<Arc<Seat>>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    shared.may_read(&headers, &seat).await?;
    Ok(([(header::CONTENT_TYPE, TEXT_FORMAT)], shared.api.metrics()).into_response())
}

/// Says no more than that, and so needs no token.
async fn ready(State(shared): State<Arc<ApiState>>) -> Response {
    let ready = shared.api.health().is_ok();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(serde_json::json!({ "ready": ready }))).into_response()
}

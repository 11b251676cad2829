//! The pictures that events name: `GET /api/archive/EVENT_ID/frame.png`, `/map.png` and `/overlay.png`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use uuid::Uuid;

use super::api::ApiState;
use super::gate::refusal;
use super::listener::Seat;
use crate::archive::{ArchiveError, Reader};

/// What an event id stands for never changes.
const FOR_EVER: &str = "private, max-age=31536000, immutable";

type Ask = fn(&Reader, Uuid) -> Result<Option<Vec<u8>>, ArchiveError>;

pub(super) fn routes() -> Router<Arc<ApiState>> {
    Router::new().route("/api/archive/{event}/{picture}", get(picture))
}

async fn picture(
    State(shared): State<Arc<ApiState>>,
    Extension(seat): Extension<Arc<Seat>>,
    Path((event, picture)): Path<(Uuid, String)>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    shared.may_read(&headers, &seat).await?;
    let ask: Ask = match picture.as_str() {
        "frame.png" => Reader::frame,
        "map.png" => Reader::map,
        "overlay.png" => Reader::overlay,
        _ => return Err(refusal(StatusCode::NOT_FOUND, "a part has frame.png, map.png and overlay.png")),
    };
    let Some(archive) = shared.api.archive() else {
        return Err(refusal(StatusCode::NOT_FOUND, "this line has no archive; add [archive] to its settings"));
    };
    let reader = archive.reader().clone();
    let _working = seat.work();
    let read = tokio::task::spawn_blocking(move || ask(&reader, event)).await;
    match read {
        Ok(Ok(Some(bytes))) => {
            Ok(([(header::CONTENT_TYPE, "image/png"), (header::CACHE_CONTROL, FOR_EVER)], bytes).into_response())
        }
        Ok(Ok(None)) => Err(refusal(StatusCode::NOT_FOUND, "the archive has no such picture of this part")),
        Ok(Err(error)) => {
            tracing::warn!(%event, "{}", crate::error_chain::one_line(&error));
            Err(refusal(StatusCode::INTERNAL_SERVER_ERROR, "the archive cannot be read; the log says why"))
        }
        Err(_) => Err(refusal(StatusCode::INTERNAL_SERVER_ERROR, "the picture could not be made")),
    }
}

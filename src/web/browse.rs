//! The archive for the page: parts by filter, one part, scores, yield over time, and reviews.

use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use axum::{Extension, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::api::ApiState;
use super::gate::refusal;
use super::listener::Seat;
use crate::archive::{ArchiveError, Cursor, Filter, NewReview, Reader};
use crate::clock::{Clock, SystemClock};
use crate::error_chain;

/// Parts and reviews of one answer.
const MOST: usize = 1000;
const USUAL: usize = 50;
/// Parts like another one.
const SIMILAR: usize = 8;
/// Quarters of an hour in a period: at most a month.
const LONGEST: u32 = 31 * 96;
/// Bytes of a review.
const REVIEW: usize = 16 * 1024;

/// What the page asks for; filter and cursor are JSON.
#[derive(Deserialize)]
pub(super) struct Asked {
    filter: Option<String>,
    after: Option<String>,
    /// Parts at most.
    pub most: Option<usize>,
    step: Option<u32>,
}

impl Asked {
    pub fn filter(&self) -> Result<Filter, String> {
        self.filter.as_deref().map_or(Ok(Filter::default()), |text| read("filter", text))
    }

    fn most(&self) -> usize {
        self.most.unwrap_or(USUAL).clamp(1, MOST)
    }
}

fn read<T: for<'de> Deserialize<'de>>(what: &str, text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| format!("{what}: {error}"))
}

fn bad(message: String) -> Response {
    refusal(StatusCode::BAD_REQUEST, message)
}

pub(super) fn routes() -> Router<Arc<ApiState>> {
    Router::new()
        .route("/api/parts", get(parts))
        .route("/api/parts/{event}", get(part))
        .route("/api/scores", get(scores))
        .route("/api/periods", get(periods))
        .route("/api/reviews", get(reviews).post(review))
}

/// Reads beside the line, and answers.
async fn answer<T: Serialize + Send + 'static>(
    shared: &ApiState,
    seat: &Arc<Seat>,
    work: impl FnOnce(&Reader) -> Result<T, ArchiveError> + Send + 'static,
) -> Result<Response, Response> {
    let Some(archive) = shared.api.archive() else {
        return Err(refusal(StatusCode::NOT_FOUND, "this line has no archive; add [archive] to its settings"));
    };
    let reader = archive.reader().clone();
    let _working = seat.work();
    match tokio::task::spawn_blocking(move || work(&reader)).await {
        Ok(Ok(found)) => Ok(Json(found).into_response()),
        Ok(Err(error @ ArchiveError::Review(_))) => Err(refusal(StatusCode::BAD_REQUEST, error)),
        Ok(Err(error @ ArchiveError::Absent { .. })) => Err(refusal(StatusCode::NOT_FOUND, error)),
        Ok(Err(error)) => {
            tracing::warn!("{}", error_chain::one_line(&error));
            Err(refusal(StatusCode::INTERNAL_SERVER_ERROR, "the archive cannot be read; the log says why"))
        }
        Err(_) => Err(refusal(StatusCode::INTERNAL_SERVER_ERROR, "the archive could not be read")),
    }
}

async fn parts(
    State(shared): State<Arc<ApiState>>,
    Extension(seat): Extension<Arc<Seat>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    shared.may_read(&headers, &seat).await?;
    let (filter, most) = (asked.filter().map_err(bad)?, asked.most());
    let after: Option<Cursor> = asked.after.as_deref().map(|text| read("after", text)).transpose().map_err(bad)?;
    answer(&shared, &seat, move |reader| reader.list(&filter, after, most)).await
}

async fn part(
    State(shared): State<Arc<ApiState>>,
    Extension(seat): Extension<Arc<Seat>>,
    Path(event): Path<Uuid>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    shared.may_read(&headers, &seat).await?;
    let found = answer(&shared, &seat, move |reader| {
        let part = reader.get(event)?;
        let similar = if part.is_some() { reader.similar(event, SIMILAR)? } else { Vec::new() };
        Ok(part.map(|part| json!({ "part": part, "similar": similar })))
    });
    let response = found.await?;
    // A part that is not there is `null`.
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap_or_default();
    if &*body == b"null" {
        return Err(refusal(StatusCode::NOT_FOUND, "the archive does not know this part"));
    }
    Ok(([(axum::http::header::CONTENT_TYPE, "application/json")], body).into_response())
}

async fn scores(
    State(shared): State<Arc<ApiState>>,
    Extension(seat): Extension<Arc<Seat>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    shared.may_read(&headers, &seat).await?;
    let filter = asked.filter().map_err(bad)?;
    answer(&shared, &seat, move |reader| reader.scores(&filter)).await
}

async fn periods(
    State(shared): State<Arc<ApiState>>,
    Extension(seat): Extension<Arc<Seat>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    shared.may_read(&headers, &seat).await?;
    let (filter, step) = (asked.filter().map_err(bad)?, asked.step.unwrap_or(4).clamp(1, LONGEST));
    answer(&shared, &seat, move |reader| reader.periods(&filter, step)).await
}

async fn reviews(
    State(shared): State<Arc<ApiState>>,
    Extension(seat): Extension<Arc<Seat>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    shared.may_read(&headers, &seat).await?;
    let (filter, most) = (asked.filter().map_err(bad)?, asked.most());
    let work = move |reader: &Reader| {
        let (reviews, agreement) = (reader.reviews(most)?, reader.agreement(&filter)?);
        Ok(json!({ "reviews": reviews, "agreement": agreement }))
    };
    answer(&shared, &seat, work).await
}

async fn review(
    State(shared): State<Arc<ApiState>>,
    Extension(seat): Extension<Arc<Seat>>,
    request: Request,
) -> Result<Response, Response> {
    shared.may_change(request.headers(), &seat).await?;
    let too_long = |_| refusal(StatusCode::PAYLOAD_TOO_LARGE, format!("a review has at most {REVIEW} bytes"));
    let body = axum::body::to_bytes(request.into_body(), REVIEW).await.map_err(too_long)?;
    let review: NewReview = read("review", &String::from_utf8_lossy(&body)).map_err(bad)?;
    let at = SystemClock.now().wall;
    answer(&shared, &seat, move |reader| reader.review(&review, at)).await
}

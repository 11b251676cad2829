//! `GET /api/cameras/NAME/picture.jpg` and `map.png`: what was inspected last.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use image::ImageError;
use serde::Deserialize;

use super::api::{Api, ApiState};
use super::drawing::{Drawn, draw};
use super::gate::refusal;
use super::listener::Seat;

/// Which picture's map is asked for.
#[derive(Deserialize)]
pub(super) struct Which {
    seq: Option<u64>,
}

pub(super) async fn picture(
    State(shared): State<Arc<ApiState>>,
    Extension(seat): Extension<Arc<Seat>>,
    Path(camera): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    shared.may_read(&headers, &seat).await?;
    let drawn = newest(&shared, &camera).await?;
    Ok(answer(&drawn, "image/jpeg", drawn.jpeg.clone()))
}

pub(super) async fn map(
    State(shared): State<Arc<ApiState>>,
    Extension(seat): Extension<Arc<Seat>>,
    Path(camera): Path<String>,
    Query(which): Query<Which>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    shared.may_read(&headers, &seat).await?;
    let drawn = match which.seq {
        Some(seq) => {
            let gone = || refusal(StatusCode::NOT_FOUND, "this picture is not kept any more; ask for picture.jpg");
            shared.pictures.of_frame(&camera, seq).ok_or_else(gone)?
        }
        None => newest(&shared, &camera).await?,
    };
    Ok(answer(&drawn, "image/png", drawn.map.clone()))
}

fn answer(drawn: &Drawn, kind: &'static str, bytes: Bytes) -> Response {
    let Drawn { seq, size: (width, height), captured, figures, .. } = drawn;
    let values = [
        ("x-frame-seq", seq.to_string()),
        ("x-frame-width", width.to_string()),
        ("x-frame-height", height.to_string()),
        ("x-captured", captured.clone()),
        ("x-brightness", format!("{:.1}", figures.brightness)),
        ("x-clipped", format!("{:.2}", figures.clipped)),
        ("x-sharpness", format!("{:.2}", figures.sharpness)),
    ];
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in values {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

async fn newest(shared: &Arc<ApiState>, camera: &str) -> Result<Arc<Drawn>, Response> {
    let nothing = || refusal(StatusCode::NOT_FOUND, "no picture of this camera has been inspected yet");
    // Whoever comes while one is being drawn waits for that one.
    let _one = shared.pictures.one.acquire().await.map_err(|_| nothing())?;
    if let Some(drawn) = shared.pictures.fresh(camera) {
        return Ok(drawn);
    }
    let (api, of) = (Arc::clone(&shared.api), camera.to_owned());
    let newest = shared.pictures.newest(camera);
    let drawn = tokio::task::spawn_blocking(move || draw_newest(&*api, &of, newest)).await;
    let failed = |error: String| {
        tracing::warn!(camera, "the last picture cannot be drawn: {error}");
        refusal(StatusCode::INTERNAL_SERVER_ERROR, "the picture cannot be drawn; the log says why")
    };
    let drawn = drawn.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
    let drawn = drawn.ok_or_else(nothing)?;
    shared.pictures.keep(camera, Arc::clone(&drawn));
    Ok(drawn)
}

fn draw_newest(api: &dyn Api, camera: &str, newest: Option<Arc<Drawn>>) -> Result<Option<Arc<Drawn>>, ImageError> {
    api.give_way();
    let Some(shown) = api.shown(camera) else { return Ok(None) };
    match newest {
        Some(newest) if newest.seq == shown.frame.seq => Ok(Some(newest)),
        _ => draw(&shown).map(|drawn| Some(Arc::new(drawn))),
    }
}

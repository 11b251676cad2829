//! `GET /api/export.zip?filter={…}&most=N`: a selection of parts as a data set, made while it is sent and kept nowhere.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use futures_util::stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::timeout;

use super::api::ApiState;
use super::browse::Asked;
use super::gate::refusal;
use super::listener::Seat;
use crate::error_chain;

/// Parts of one export; more are exported by `vcp-line archive`.
const MOST: usize = 10_000;
/// Pieces that wait for the reader, and the bytes of each.
const PIECES: usize = 4;
const PIECE: usize = 256 * 1024;
/// A reader that takes nothing for so long has gone away.
const STALLED: Duration = Duration::from_secs(30);
/// Longest time of an export.
const LONGEST: Duration = Duration::from_secs(60 * 60);

pub(super) fn routes() -> Router<Arc<ApiState>> {
    Router::new().route("/api/export.zip", get(export))
}

/// Where the zip is written: a bounded way to whoever reads it.
struct Pieces {
    runtime: Handle,
    out: Sender<io::Result<Bytes>>,
    waiting: Vec<u8>,
}

impl Pieces {
    fn send(&mut self, piece: io::Result<Bytes>) -> io::Result<()> {
        match self.runtime.block_on(timeout(STALLED, self.out.send(piece))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the reader has gone away")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the reader takes nothing")),
        }
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= PIECE {
            let piece = Bytes::from(std::mem::take(&mut self.waiting));
            self.send(Ok(piece))?;
        }
        Ok(bytes.len())
    }

    /// Only at the end: a zip is flushed after each of its files.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn export(
    State(shared): State<Arc<ApiState>>,
    Extension(seat): Extension<Arc<Seat>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    shared.may_read(&headers, &seat).await?;
    let filter = asked.filter().map_err(|message| refusal(StatusCode::BAD_REQUEST, message))?;
    let most = asked.most.unwrap_or(MOST).clamp(1, MOST);
    let Some(archive) = shared.api.archive() else {
        return Err(refusal(StatusCode::NOT_FOUND, "this line has no archive; add [archive] to its settings"));
    };
    let Ok(one) = Arc::clone(&shared.exports).try_acquire_owned() else {
        return Err(refusal(StatusCode::SERVICE_UNAVAILABLE, "another export is being sent; wait for its end"));
    };
    let reader = archive.reader().clone();
    let (out, pieces) = channel(PIECES);
    let (working, api) = (seat.work_long(LONGEST), Arc::clone(&shared.api));
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let _places = (one, working);
        api.give_way();
        let mut writer = Pieces { runtime, out, waiting: Vec::new() };
        let last = match reader.export_to(&filter, most, &mut writer) {
            Ok(exported) => {
                tracing::info!(?exported, "parts exported from the page");
                Ok(Bytes::from(std::mem::take(&mut writer.waiting)))
            }
            Err(error) => {
                let error = error_chain::one_line(&error);
                tracing::warn!("an export was broken off: {error}");
                Err(io::Error::other(error))
            }
        };
        // Broken off, the connection is, too: nobody takes half a zip for a whole one.
        if writer.send(last).is_err() {
            tracing::debug!("whoever asked for the export has gone away");
        }
    });
    let body = Body::from_stream(stream::unfold(pieces, |mut pieces| async {
        let piece = pieces.recv().await?;
        Some((piece, pieces))
    }));
    let name = "attachment; filename=\"parts.zip\"";
    let headers = [(header::CONTENT_TYPE, "application/zip"), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, body).into_response())
}

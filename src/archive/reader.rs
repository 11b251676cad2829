//! What can be asked of an archive, also while a line writes it. Every question may wait for the disk: not for an async task.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::Value;
use uuid::Uuid;

use super::error::ArchiveError;
use super::filter::{Count, Cursor, Filter, verdict_code, verdict_of};
use super::picture;
use super::reviews::{self, Agreement, NewReview, Review};
use super::schema;
use super::spec::Why;
use super::totals::{self, Period, Scores};
use crate::event::VerdictWord;
use crate::overlay;

/// Parts on a page at most.
const MOST: usize = 1000;
/// Up to here parts are counted.
const COUNTED: i64 = 10_000;
/// Connections that wait for the next question.
const IDLE: usize = 4;

const COLUMNS: &str = "part.id, event_id, captured, (SELECT text FROM word WHERE word.id = camera), verdict, \
     (SELECT text FROM word WHERE word.id = reason), score, part, threshold, latency_ms, why, pictures, bytes";

/// A part as lists show it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct PartSummary {
    /// Its event.
    pub event_id: Uuid,
    /// When its frame was captured.
    pub captured: Timestamp,
    /// Configured name of the camera.
    pub camera: String,
    /// The part's id, where it has one.
    pub part: Option<String>,
    /// The verdict.
    pub verdict: VerdictWord,
    /// Why there is none.
    pub reason: Option<String>,
    /// Image score, raw model units.
    pub score: Option<f64>,
    /// What it was compared with.
    pub threshold: Option<f64>,
    /// Capture to publish, milliseconds.
    pub latency_ms: f64,
    /// Why its pictures are kept.
    pub why: Option<Why>,
    /// Its frame is here.
    pub has_frame: bool,
    /// Its map is here.
    pub has_map: bool,
    /// What it takes on disk, bytes.
    pub bytes: u64,
    /// Its place in the index.
    #[serde(skip)]
    pub(super) id: i64,
}

/// Parts, the newest first.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Page {
    /// As many as were asked for, or all that are left.
    pub parts: Vec<PartSummary>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<Cursor>,
}

/// Everything about one part but its pictures.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct StoredPart {
    /// As in lists.
    #[serde(flatten)]
    pub summary: PartSummary,
    /// Its event as it was published; `None` for a part that passed and has no pictures.
    pub event: Option<Value>,
    /// What people have said of it, the newest last.
    pub reviews: Vec<Review>,
}

/// Asks an archive; a clone asks the same one.
#[derive(Clone)]
pub struct Reader {
    directory: Arc<Path>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Reader {
    /// Of the archive in that directory, which need not be there yet.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.into(), idle: Arc::default() }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn ask<T>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, ArchiveError>,
    ) -> Result<T, ArchiveError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = idle.map_or_else(|| schema::open_to_read(&self.directory), Ok)?;
        let answer = question(&connection);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // One that has failed may belong to a directory that is gone.
        if answer.is_ok() && idle.len() < IDLE {
            idle.push(connection);
        }
        answer
    }

    /// The newest parts that the filter lets through, at most 1000.
    pub fn list(&self, filter: &Filter, after: Option<Cursor>, most: usize) -> Result<Page, ArchiveError> {
        let most = most.clamp(1, MOST);
        self.ask(|connection| {
            let query = filter.query(connection, after)?;
            if query.nothing {
                return Ok(Page { parts: Vec::new(), next: None });
            }
            let sql = format!(
                "SELECT {COLUMNS} FROM part JOIN \
                 (SELECT id AS found FROM part INDEXED BY {} WHERE {} ORDER BY captured DESC, id DESC LIMIT {}) \
                 ON part.id = found ORDER BY captured DESC, part.id DESC",
                query.index,
                query.conditions(),
                most + 1
            );
            let asked = || -> rusqlite::Result<Vec<PartSummary>> {
                let mut list = connection.prepare(&sql)?;
                let rows = list.query_map(rusqlite::params_from_iter(&query.values), summary)?;
                rows.collect()
            };
            let mut parts = asked().map_err(ArchiveError::index("listing parts"))?;
            let more = parts.len() > most;
            parts.truncate(most);
            let last = parts.last().filter(|_| more);
            let next = last.map(|last| Cursor { captured: last.captured.as_microsecond(), id: last.id });
            Ok(Page { parts, next })
        })
    }

    /// How many parts the filter lets through, counted as far as 10 000.
    pub fn count(&self, filter: &Filter) -> Result<Count, ArchiveError> {
        self.ask(|connection| {
            let query = filter.query(connection, None)?;
            if query.nothing {
                return Ok(Count { parts: 0, more: false });
            }
            let parts = query.count(connection, COUNTED + 1)?;
            Ok(Count { parts: parts.min(COUNTED) as u64, more: parts > COUNTED })
        })
    }

    /// One part.
    pub fn get(&self, event_id: Uuid) -> Result<Option<StoredPart>, ArchiveError> {
        self.ask(|connection| {
            let Some(summary) = find(connection, event_id)? else { return Ok(None) };
            let event: Option<String> = connection
                .prepare_cached("SELECT json FROM event WHERE id = ?1")
                .and_then(|mut ask| ask.query_row([summary.id], |row| row.get(0)).optional())
                .map_err(ArchiveError::index("reading an event"))?;
            let event = event.and_then(|text: String| serde_json::from_str(&text).ok());
            Ok(Some(StoredPart { reviews: reviews::of(connection, event_id)?, summary, event }))
        })
    }

    /// Parts of the same camera whose scores are nearest, without the part itself.
    pub fn similar(&self, event_id: Uuid, most: usize) -> Result<Vec<PartSummary>, ArchiveError> {
        self.ask(|connection| {
            let Some(part) = find(connection, event_id)? else { return Ok(Vec::new()) };
            let Some(score) = part.score else { return Ok(Vec::new()) };
            let near = || -> rusqlite::Result<Vec<PartSummary>> {
                let mut found = Vec::new();
                for verdict in [VerdictWord::Pass, VerdictWord::Fail].map(verdict_code) {
                    for (side, order) in [("score >= ?2", "ASC"), ("score < ?2", "DESC")] {
                        let sql = format!(
                            "SELECT {COLUMNS} FROM part INDEXED BY part_score WHERE verdict = {verdict} AND \
                             camera = (SELECT id FROM word WHERE text = ?1) AND score IS NOT NULL AND {side} \
                             ORDER BY score {order} LIMIT {}",
                            most + 1
                        );
                        let mut ask = connection.prepare_cached(&sql)?;
                        let rows = ask.query_map(rusqlite::params![part.camera, score], summary)?;
                        found.extend(rows.collect::<rusqlite::Result<Vec<_>>>()?);
                    }
                }
                Ok(found)
            };
            let mut found = near().map_err(ArchiveError::index("looking for similar parts"))?;
            found.retain(|other| other.event_id != event_id);
            let distance = |other: &PartSummary| (other.score.unwrap_or(f64::MAX) - score).abs();
            found.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
            found.truncate(most);
            Ok(found)
        })
    }

    /// The frame as PNG; `None` when it is not here.
    pub fn frame(&self, event_id: Uuid) -> Result<Option<Vec<u8>>, ArchiveError> {
        let Some(part) = self.ask(|connection| find(connection, event_id))? else { return Ok(None) };
        if !part.has_frame {
            return Ok(None);
        }
        read_if_there(&picture::frame_file(&self.directory, part.id, event_id))
    }

    /// The map as 16-bit PNG; `None` when it is not here.
    pub fn map(&self, event_id: Uuid) -> Result<Option<Vec<u8>>, ArchiveError> {
        let Some(part) = self.ask(|connection| find(connection, event_id))? else { return Ok(None) };
        if !part.has_map {
            return Ok(None);
        }
        read_if_there(&picture::map_file(&self.directory, part.id, event_id))
    }

    /// The frame with its map over it as PNG, drawn now; `None` when one of them is not here. Takes tenths of a second for
    /// a picture of 5 million pixels.
    pub fn overlay(&self, event_id: Uuid) -> Result<Option<Vec<u8>>, ArchiveError> {
        let Some(part) = self.get(event_id)? else { return Ok(None) };
        if !part.summary.has_map {
            return Ok(None);
        }
        let id = part.summary.id;
        let (frame, map) =
            (picture::frame_file(&self.directory, id, event_id), picture::map_file(&self.directory, id, event_id));
        if !frame.exists() || !map.exists() {
            return Ok(None);
        }
        let outline = part.event.and_then(|event| event["defect_threshold"].as_f64()).unwrap_or(1.0);
        let drawn = overlay::draw(&picture::read_frame(&frame)?, &picture::read_map(&map)?, outline as f32);
        picture::rgb_png(&drawn).map(Some)
    }

    /// The files of a part's frame and map, as far as they are here.
    pub fn files(&self, part: &PartSummary) -> (Option<PathBuf>, Option<PathBuf>) {
        let frame = || picture::frame_file(&self.directory, part.id, part.event_id);
        let map = || picture::map_file(&self.directory, part.id, part.event_id);
        (part.has_frame.then(frame), part.has_map.then(map))
    }

    /// Yield, reject rate and latency over time, from totals of every part that was inspected, whether it is still here or
    /// not. `filter`'s camera and times count, rounded to quarters of an hour; a period is `step` quarters long.
    pub fn periods(&self, filter: &Filter, step: u32) -> Result<Vec<Period>, ArchiveError> {
        self.ask(|connection| totals::periods(connection, filter, step))
    }

    /// How the scores of every inspected part are spread, and so what another threshold would have decided. `filter`'s
    /// camera and times count, rounded to quarters of an hour.
    pub fn scores(&self, filter: &Filter) -> Result<Scores, ArchiveError> {
        self.ask(|connection| totals::scores(connection, filter))
    }

    /// Configured names of all cameras that the archive knows.
    pub fn cameras(&self) -> Result<Vec<String>, ArchiveError> {
        self.ask(|connection| {
            let asked = || -> rusqlite::Result<Vec<String>> {
                let mut ask =
                    connection.prepare_cached("SELECT text FROM word JOIN camera USING (id) ORDER BY text")?;
                ask.query_map([], |row| row.get(0))?.collect()
            };
            asked().map_err(ArchiveError::index("reading the cameras"))
        })
    }

    /// Notes what somebody says of a part; a part may have several reviews, the newest counts.
    pub fn review(&self, review: &NewReview, at: Timestamp) -> Result<Review, ArchiveError> {
        let known = self.ask(|connection| find(connection, review.event_id))?;
        known.ok_or(ArchiveError::Review("no part of this event is in the archive"))?;
        reviews::add(&self.directory, review, at)
    }

    /// What people have said, the newest first.
    pub fn reviews(&self, most: usize) -> Result<Vec<Review>, ArchiveError> {
        self.ask(|connection| reviews::newest(connection, most.clamp(1, MOST)))
    }

    /// How often people and the line say the same, by each part's newest review.
    pub fn agreement(&self, filter: &Filter) -> Result<Agreement, ArchiveError> {
        self.ask(|connection| reviews::agreement(connection, filter))
    }
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, ArchiveError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        // Its row was there a moment ago: it has just made room for another.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ArchiveError::File { what: "reading", path: path.to_owned(), source }),
    }
}

fn find(connection: &Connection, event_id: Uuid) -> Result<Option<PartSummary>, ArchiveError> {
    let sql = format!("SELECT {COLUMNS} FROM part WHERE event_id = ?1");
    let asked = || connection.prepare_cached(&sql)?.query_row([event_id.as_bytes().as_slice()], summary).optional();
    asked().map_err(ArchiveError::index("looking for a part"))
}

fn summary(row: &Row<'_>) -> rusqlite::Result<PartSummary> {
    let event_id: Vec<u8> = row.get(1)?;
    let pictures: i64 = row.get(11)?;
    Ok(PartSummary {
        id: row.get(0)?,
        event_id: Uuid::from_slice(&event_id).unwrap_or_default(),
        captured: time(row.get(2)?),
        camera: row.get::<_, Option<String>>(3)?.unwrap_or_default(),
        verdict: verdict_of(row.get(4)?),
        reason: row.get(5)?,
        score: row.get(6)?,
        part: row.get(7)?,
        threshold: row.get(8)?,
        latency_ms: row.get(9)?,
        why: row.get::<_, Option<i64>>(10)?.and_then(Why::of),
        has_frame: pictures & 1 != 0,
        has_map: pictures & 2 != 0,
        bytes: row.get::<_, i64>(12)?.max(0) as u64,
    })
}

/// A time of the index.
pub(super) fn time(microseconds: i64) -> Timestamp {
    Timestamp::from_microsecond(microseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

//! The index in SQLite: its tables, and how it is opened.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::ArchiveError;

/// Layout of the index; goes up when a program that knows only the one before could not read it.
pub(super) const LAYOUT: i64 = 1;
/// Parts whose pictures share a folder.
pub(super) const FOLDER: i64 = 1000;
/// How long one connection waits for another that writes.
const PATIENCE: Duration = Duration::from_secs(2);

/// Times are microseconds since 1970, verdicts 0 pass, 1 fail, 2 no_verdict. `rank` is 0 for what goes first when room is
/// made, `bytes` what the pictures take, `pictures` 1 for the frame and 2 for the map. Cameras and reasons are words, so that a row is small. A part's `event` is absent where it passed and no picture
/// of it is kept. Scores are counted by quarters of an hour and by days: a month is read from its days.
const TABLES: &str = "
CREATE TABLE word (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE camera (id INTEGER PRIMARY KEY);
CREATE TABLE part (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  event_id BLOB NOT NULL UNIQUE,
  captured INTEGER NOT NULL,
  camera INTEGER NOT NULL,
  verdict INTEGER NOT NULL,
  reason INTEGER,
  score REAL,
  part TEXT,
  threshold REAL,
  latency_ms REAL NOT NULL,
  rank INTEGER NOT NULL,
  why INTEGER,
  pictures INTEGER NOT NULL,
  bytes INTEGER NOT NULL
);
CREATE INDEX part_time ON part (captured, camera, verdict, reason, score);
CREATE INDEX part_camera ON part (camera, verdict, captured, reason, score);
CREATE INDEX part_score ON part (verdict, camera, score, captured) WHERE score IS NOT NULL;
CREATE INDEX part_reason ON part (reason, camera, captured) WHERE reason IS NOT NULL;
CREATE INDEX part_part ON part (part) WHERE part IS NOT NULL;
CREATE INDEX part_kept ON part (rank, id, bytes) WHERE pictures > 0;
CREATE INDEX part_shown ON part (captured, camera, verdict, score) WHERE pictures > 0;
CREATE TABLE event (id INTEGER PRIMARY KEY, json TEXT NOT NULL);
CREATE TABLE leaving (event_id BLOB NOT NULL, folder INTEGER NOT NULL);
CREATE TABLE period (
  start INTEGER NOT NULL, camera INTEGER NOT NULL,
  pass INTEGER NOT NULL, fail INTEGER NOT NULL, no_verdict INTEGER NOT NULL,
  latency_sum_ms REAL NOT NULL, latency_max_ms REAL NOT NULL,
  PRIMARY KEY (start, camera)
) WITHOUT ROWID;
CREATE TABLE score (
  length INTEGER NOT NULL, start INTEGER NOT NULL, camera INTEGER NOT NULL, counts BLOB NOT NULL,
  PRIMARY KEY (length, start, camera)
) WITHOUT ROWID;
CREATE TABLE review (
  id INTEGER PRIMARY KEY, event_id BLOB NOT NULL, at INTEGER NOT NULL,
  good INTEGER NOT NULL, name TEXT NOT NULL, why TEXT NOT NULL
);
CREATE INDEX review_event ON review (event_id);
";

/// Pages that a connection keeps, KiB.
const CACHE: i64 = 16 << 10;

pub(super) fn index_file(directory: &Path) -> PathBuf {
    directory.join("index.sqlite")
}

/// The folder of a part's pictures.
pub(super) fn folder(directory: &Path, id: i64) -> PathBuf {
    directory.join("pictures").join(format!("{:06}", id / FOLDER))
}

/// For the one who writes; makes the tables.
pub(super) fn open_to_write(directory: &Path) -> Result<Connection, ArchiveError> {
    let path = index_file(directory);
    let mut connection = Connection::open(&path).map_err(ArchiveError::index("opening it"))?;
    let prepare = |connection: &Connection| {
        connection.busy_timeout(PATIENCE)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // A commit is on disk: what it says of files must not be lost, or older than they are.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -CACHE)
    };
    prepare(&connection).map_err(ArchiveError::index("preparing it"))?;
    let found = layout(&connection)?;
    match found {
        0 => {
            let make = |connection: &mut Connection| {
                let transaction = connection.transaction()?;
                transaction.execute_batch(TABLES)?;
                transaction.pragma_update(None, "user_version", LAYOUT)?;
                transaction.commit()
            };
            make(&mut connection).map_err(ArchiveError::index("making its tables"))?;
        }
        LAYOUT => {}
        _ => return Err(ArchiveError::Newer { path, found, known: LAYOUT }),
    }
    Ok(connection)
}

/// For those who ask.
pub(super) fn open_to_read(directory: &Path) -> Result<Connection, ArchiveError> {
    let path = index_file(directory);
    if !path.is_file() {
        return Err(ArchiveError::Absent { path: directory.to_owned() });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&path, flags).map_err(ArchiveError::index("opening it"))?;
    let prepare = |connection: &Connection| {
        connection.busy_timeout(PATIENCE)?;
        connection.pragma_update(None, "mmap_size", 1_i64 << 30)?;
        connection.pragma_update(None, "cache_size", -CACHE)
    };
    prepare(&connection).map_err(ArchiveError::index("preparing it"))?;
    match layout(&connection)? {
        LAYOUT => Ok(connection),
        0 => Err(ArchiveError::Absent { path: directory.to_owned() }),
        found => Err(ArchiveError::Newer { path, found, known: LAYOUT }),
    }
}

fn layout(connection: &Connection) -> Result<i64, ArchiveError> {
    connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(ArchiveError::index("reading its layout"))
}

//! An archive that is open for writing: files first, row last.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::error::ArchiveError;
use super::filter::{reason_word, verdict_code};
use super::picture;
use super::queue::Item;
use super::schema;
use super::spec::Why;
use super::totals;
use crate::event::VerdictWord;
use crate::output;

/// An archive that is open for writing.
pub(super) struct Store {
    pub directory: PathBuf,
    pub connection: Connection,
    pub next_id: i64,
    /// Folders of pictures that are there.
    made: Option<i64>,
    words: HashMap<String, i64>,
    _lock: File,
}

/// What has become of an item's pictures.
pub(super) struct Put {
    pub item: Item,
    pub id: i64,
    pub pictures: i64,
    pub bytes: u64,
}

impl Store {
    /// Makes it where it is not there; one process at a time.
    pub fn open(directory: &Path) -> Result<Self, ArchiveError> {
        let directory = directory.to_owned();
        fs::create_dir_all(directory.join("pictures")).map_err(ArchiveError::file("making", &directory))?;
        let path = directory.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(ArchiveError::file("opening", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ArchiveError::Taken { path: directory }),
            Err(TryLockError::Error(source)) => return Err(ArchiveError::File { what: "locking", path, source }),
        }
        let connection = schema::open_to_write(&directory)?;
        let last: Option<i64> = connection
            .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'part'", [], |row| row.get(0))
            .optional()
            .map_err(ArchiveError::index("reading its last part"))?;
        let next_id = last.unwrap_or(0) + 1;
        Ok(Self { directory, connection, next_id, made: None, words: HashMap::new(), _lock: lock })
    }

    /// Which pictures of a part are on disk now, and how many bytes they take. None, when one of them cannot be written.
    pub fn put_pictures(&mut self, id: i64, item: &Item) -> Result<(i64, u64), ArchiveError> {
        let Some(seen) = &item.seen else { return Ok((0, 0)) };
        self.make_folder(id)?;
        let event_id = item.event.event_id;
        let write = || -> Result<(i64, u64), ArchiveError> {
            let bytes = picture::write_frame(&picture::frame_file(&self.directory, id, event_id), &seen.image)?;
            let Some(map) = &seen.map else { return Ok((1, bytes)) };
            Ok((3, bytes + picture::write_map(&picture::map_file(&self.directory, id, event_id), map)?))
        };
        write().inspect_err(|_| self.remove_files(id, event_id))
    }

    fn make_folder(&mut self, id: i64) -> Result<(), ArchiveError> {
        if self.made == Some(id / schema::FOLDER) {
            return Ok(());
        }
        let folder = schema::folder(&self.directory, id);
        fs::create_dir_all(&folder).map_err(ArchiveError::file("making", &folder))?;
        let parent = self.directory.join("pictures");
        output::sync_folder(&parent).map_err(ArchiveError::file("syncing", parent))?;
        self.made = Some(id / schema::FOLDER);
        Ok(())
    }

    /// What stays is removed by the next start.
    pub fn remove_files(&self, id: i64, event_id: uuid::Uuid) {
        let files =
            [picture::frame_file(&self.directory, id, event_id), picture::map_file(&self.directory, id, event_id)];
        for path in files {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!("{}: {error}; it stays until the next start", path.display());
                }
                _ => {}
            }
        }
    }

    /// All or none.
    pub fn put_rows(&mut self, put: &[Put]) -> Result<(), ArchiveError> {
        // The names of new files are on disk before a row speaks of them.
        let mut folders: Vec<i64> =
            put.iter().filter(|put| put.pictures > 0).map(|put| put.id / schema::FOLDER).collect();
        folders.dedup();
        for number in folders {
            let folder = schema::folder(&self.directory, number * schema::FOLDER);
            output::sync_folder(&folder).map_err(ArchiveError::file("syncing", folder))?;
        }
        let Self { connection, words, .. } = self;
        let mut write = || -> rusqlite::Result<()> {
            let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            put.iter().try_for_each(|put| put_row(&transaction, words, put))?;
            transaction.commit()
        };
        let written = write();
        if written.is_err() {
            // It may know words that were rolled back.
            words.clear();
        }
        written.map_err(ArchiveError::index("writing parts"))
    }
}

fn put_row(transaction: &Transaction<'_>, words: &mut HashMap<String, i64>, put: &Put) -> rusqlite::Result<()> {
    let (event, id) = (&put.item.event, put.id);
    let camera = number(transaction, words, &event.camera)?;
    transaction.prepare_cached("INSERT OR IGNORE INTO camera VALUES (?1)")?.execute([camera])?;
    let reason = event.reason.map(|reason| number(transaction, words, &reason_word(reason))).transpose()?;
    let why = put.item.seen.as_ref().filter(|_| put.pictures > 0).map(|seen| seen.why);
    let rank = i64::from(event.verdict != VerdictWord::Pass);
    transaction
        .prepare_cached("INSERT INTO part VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)")?
        .execute(rusqlite::params![
            id,
            event.event_id.as_bytes().as_slice(),
            event.time.captured.as_microsecond(),
            camera,
            verdict_code(event.verdict),
            reason,
            event.score.map(f64::from),
            event.part.as_ref().map(|part| part.id.as_str()),
            event.threshold.map(f64::from),
            event.latency_ms.total,
            rank,
            why.map(Why::code),
            put.pictures,
            put.bytes as i64,
        ])?;
    if put.pictures > 0 || event.verdict != VerdictWord::Pass {
        let json =
            serde_json::to_string(event).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        transaction.prepare_cached("INSERT INTO event VALUES (?1, ?2)")?.execute(rusqlite::params![id, json])?;
    }
    totals::add(transaction, event, camera)
}

/// The number of a word, which is given to it when it is new.
fn number(transaction: &Transaction<'_>, words: &mut HashMap<String, i64>, text: &str) -> rusqlite::Result<i64> {
    if let Some(number) = words.get(text) {
        return Ok(*number);
    }
    transaction.prepare_cached("INSERT OR IGNORE INTO word (text) VALUES (?1)")?.execute([text])?;
    let number =
        transaction.prepare_cached("SELECT id FROM word WHERE text = ?1")?.query_row([text], |row| row.get(0))?;
    words.insert(text.to_owned(), number);
    Ok(number)
}

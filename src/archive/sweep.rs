//! What a killed process has left half done: files whose row was not written, or was taken back already.

use std::fs;
use std::io::ErrorKind;

use rusqlite::OptionalExtension;
use uuid::Uuid;

use super::error::ArchiveError;
use super::picture;
use super::schema;
use super::store::Store;

/// Removes it. Looks only where it can be: on the list of what is leaving, and in the folder of the last part and any later
/// one, because folders are filled in the order of rows.
pub(super) fn sweep(store: &mut Store) -> Result<(), ArchiveError> {
    finish_leaving(store)?;
    let last = (store.next_id - 1) / schema::FOLDER;
    let place = store.directory.join("pictures");
    let mut removed = 0;
    for folder in fs::read_dir(&place).map_err(ArchiveError::file("reading", &place))? {
        let folder = folder.map_err(ArchiveError::file("reading", &place))?.path();
        let number = folder.file_name().and_then(|name| name.to_str()?.parse::<i64>().ok());
        if number.is_none_or(|number| number < last) {
            continue;
        }
        for file in fs::read_dir(&folder).map_err(ArchiveError::file("reading", &folder))? {
            let file = file.map_err(ArchiveError::file("reading", &folder))?.path();
            let event = file.file_name().and_then(|name| picture::event_of(name.to_str()?));
            // What is not named like ours is not ours.
            let Some(event) = event else { continue };
            if !has_row(store, event)? {
                fs::remove_file(&file).map_err(ArchiveError::file("removing", &file))?;
                removed += 1;
            }
        }
    }
    if removed > 0 {
        tracing::info!(files = removed, "files of parts that were not yet in the index are removed");
    }
    Ok(())
}

fn has_row(store: &Store, event: Uuid) -> Result<bool, ArchiveError> {
    let asked = || -> rusqlite::Result<bool> {
        let mut ask = store.connection.prepare_cached("SELECT 1 FROM part WHERE event_id = ?1 AND pictures > 0")?;
        Ok(ask.query_row([event.as_bytes().as_slice()], |_| Ok(())).optional()?.is_some())
    };
    asked().map_err(ArchiveError::index("looking for a file's part"))
}

/// Removes the files of parts whose rows have been taken back, and forgets them.
pub(super) fn finish_leaving(store: &mut Store) -> Result<(), ArchiveError> {
    let asked = || -> rusqlite::Result<Vec<(Vec<u8>, i64)>> {
        let mut ask = store.connection.prepare_cached("SELECT event_id, folder FROM leaving")?;
        ask.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    };
    let leaving = asked().map_err(ArchiveError::index("reading what is leaving"))?;
    if leaving.is_empty() {
        return Ok(());
    }
    let mut folders = Vec::new();
    for (event, folder) in leaving {
        let Ok(event) = Uuid::from_slice(&event) else { continue };
        let id = folder * schema::FOLDER;
        for path in [picture::frame_file(&store.directory, id, event), picture::map_file(&store.directory, id, event)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(ArchiveError::File { what: "removing", path, source: error });
                }
                _ => {}
            }
        }
        folders.push(folder);
    }
    store.connection.execute("DELETE FROM leaving", []).map_err(ArchiveError::index("forgetting what has left"))?;
    folders.sort_unstable();
    folders.dedup();
    for number in folders.into_iter().filter(|number| *number < store.next_id / schema::FOLDER) {
        let folder = schema::folder(&store.directory, number * schema::FOLDER);
        // It stays while it holds anything.
        match fs::remove_dir(&folder) {
            Err(error) if !matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound) => {
                tracing::debug!("{}: {error}", folder.display());
            }
            _ => {}
        }
    }
    Ok(())
}

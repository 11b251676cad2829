//! Verdicts that the broker does not take in any form, kept beside the log: a JSON file each, for people and for the next
//! start, which sends them once more.
//!
//! The log itself goes on as if they had been acknowledged: nothing waits behind them, and earlier versions read it.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use uuid::Uuid;

use super::OutboxError;

/// Name of the folder within the outbox.
const FOLDER: &str = "set-aside";
/// End of the name of a verdict that was not sent, and of one that was sent without its details.
const UNSENT: &str = ".json";
const SHORTENED: &str = ".whole.json";
/// Files at most, each of at most 256 KiB; then the oldest go.
const MOST: usize = 1000;

/// A verdict that was set aside.
#[derive(Clone, Debug)]
pub struct SetAside {
    /// Its file.
    pub path: PathBuf,
    /// The event as JSON.
    pub json: Vec<u8>,
    /// It was sent without its details, so that only these are kept here.
    pub shortened: bool,
}

/// The folder beside the log.
#[derive(Clone, Debug)]
pub struct Aside {
    folder: PathBuf,
}

impl Aside {
    /// The one of this outbox; made when it is needed.
    pub fn new(outbox: &Path) -> Self {
        Self { folder: outbox.join(FOLDER) }
    }

    /// Returns when the event is on disk, with the path of its file. Setting it aside again changes nothing.
    pub fn keep(&self, json: &[u8], shortened: bool) -> Result<PathBuf, OutboxError> {
        #[derive(Deserialize)]
        struct Name {
            event_id: Uuid,
        }
        // Version 7 starts with the time: the order of the names is that of the events.
        let name = serde_json::from_slice::<Name>(json).map_or(Uuid::nil(), |Name { event_id }| event_id);
        let path = self.folder.join(format!("{name}{}", if shortened { SHORTENED } else { UNSENT }));
        let write = || {
            fs::create_dir_all(&self.folder)?;
            let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
            file.write_all(json)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            fs::File::open(&self.folder)?.sync_all()
        };
        write().map_err(OutboxError::io(&path, "setting a verdict aside"))?;
        Ok(path)
    }

    /// What was set aside, oldest first. What cannot be read is left out.
    pub fn list(&self) -> Vec<SetAside> {
        let read = |path: PathBuf| {
            let shortened = path.to_str()?.ends_with(SHORTENED);
            Some(SetAside { json: fs::read(&path).ok()?, path, shortened })
        };
        self.paths().unwrap_or_default().into_iter().filter_map(read).collect()
    }

    fn paths(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        let ours = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(is_ours);
        paths.retain(ours);
        paths.sort();
        Ok(paths)
    }

    /// Removes the oldest where there are too many. Returns how many of them were never sent. Their age does not count:
    /// it would be that of a clock which may jump.
    pub fn prune(&self) -> u64 {
        let paths = self.paths().unwrap_or_default();
        let beyond = paths.len().saturating_sub(MOST);
        let removed = paths.iter().take(beyond).filter(|path| fs::remove_file(path).is_ok());
        removed.filter(|path| !path.to_str().is_some_and(|path| path.ends_with(SHORTENED))).count() as u64
    }
}

fn is_ours(name: &str) -> bool {
    !name.starts_with('.') && name.ends_with(UNSENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_kept_by_their_event_and_never_too_many() {
        let outbox = tempfile::tempdir().expect("temp dir");
        let aside = Aside::new(outbox.path());
        assert!(aside.list().is_empty());
        let event = |n: u128| format!(r#"{{"event_id":"{}","n":{n}}}"#, Uuid::from_u128(n)).into_bytes();
        for (n, shortened) in [(2, false), (1, true), (2, false)] {
            aside.keep(&event(n), shortened).expect("kept");
        }
        fs::write(outbox.path().join(FOLDER).join(".tmp"), "half").expect("written");
        let found: Vec<_> = aside.list().into_iter().map(|one| (one.json, one.shortened)).collect();
        assert_eq!(found, [(event(1), true), (event(2), false)]);
        assert_eq!(aside.prune(), 0);
        for n in 3..=MOST as u128 + 2 {
            fs::write(outbox.path().join(FOLDER).join(format!("{}.json", Uuid::from_u128(n))), "{}").expect("written");
        }
        assert_eq!((aside.prune(), aside.list().len()), (1, MOST), "one of the two oldest had been sent");
    }
}

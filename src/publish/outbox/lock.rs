//! One process at a time uses a log: the lock in its directory, and who holds it.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::OutboxError;

/// Name of the lock within the directory.
const LOCK: &str = "lock";

/// Makes the directory, and locks it as long as the file is open. The file says which process that is.
pub fn lock(directory: &Path) -> Result<File, OutboxError> {
    let path = directory.join(LOCK);
    let refused = |source| OutboxError::Directory { path: directory.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o750).create(directory).map_err(refused)?;
    let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(refused)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(OutboxError::Locked { path: directory.to_owned(), owner: owner(&path) });
        }
        Err(TryLockError::Error(source)) => return Err(OutboxError::io(&path, "locking")(source)),
    }
    // For people only; on a full disk the file stays empty.
    if let Err(error) = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())) {
        tracing::debug!(%error, "the outbox's lock does not say who holds it");
    }
    Ok(file)
}

/// The process that uses the log of a directory, if one does. Makes and changes nothing; the lock is held for a moment.
pub fn holder(directory: &Path) -> Result<Option<String>, OutboxError> {
    let path = directory.join(LOCK);
    let file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|source| OutboxError::Directory { path: directory.to_owned(), source })?,
    };
    match file.try_lock() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(owner(&path))),
        Err(TryLockError::Error(source)) => Err(OutboxError::io(&path, "locking")(source)),
    }
}

fn owner(lock: &Path) -> String {
    let owner = fs::read_to_string(lock).unwrap_or_default().trim().to_owned();
    if owner.is_empty() { "unknown".into() } else { owner }
}

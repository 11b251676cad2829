//! One process at a time uses a log: the lock in its directory, and who holds it.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

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

/// The lock of a folder, held until the end of the process.
#[derive(Debug)]
pub struct Lock {
    directory: PathBuf,
    file: File,
    /// Where its file system was mounted.
    mounted: Option<PathBuf>,
}

impl Lock {
    /// Makes the directory where it is not there.
    pub fn take(directory: &Path) -> Result<Self, OutboxError> {
        let file = lock(directory)?;
        Ok(Self { directory: directory.to_owned(), file, mounted: mount_point(directory) })
    }

    /// Whether the lock still lies in the folder.
    pub fn holds(&self) -> bool {
        let there = fs::metadata(self.directory.join(LOCK));
        let (Ok(there), Ok(ours)) = (there, self.file.metadata()) else { return false };
        (there.dev(), there.ino()) == (ours.dev(), ours.ino())
    }

    /// The lock of what is there now; never makes the folder, and never takes the place of a mount for the mount.
    pub fn again(&self) -> Option<Self> {
        if self.holds() {
            let file = self.file.try_clone().ok()?;
            return Some(Self { directory: self.directory.clone(), file, mounted: self.mounted.clone() });
        }
        if !self.directory.is_dir() || mount_point(&self.directory) != self.mounted {
            return None;
        }
        Self::take(&self.directory).ok()
    }
}

/// Where the file system begins that the directory lies in, at it or above.
fn mount_point(directory: &Path) -> Option<PathBuf> {
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    let mut place = directory.canonicalize().ok()?;
    let own = device(&place)?;
    while let Some(above) = place.parent().filter(|above| device(above) == Some(own)) {
        place = above.to_owned();
    }
    Some(place)
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

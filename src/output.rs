//! Results on disk: each is made beside its place, hidden, and renamed into it when it is whole.
//!
//! What is under way is also known here, so that an interrupted process can take it away: see [`abandon`]. A process
//! that is killed outright leaves it behind.

use std::fs::{self, File, Permissions};
use std::io::{Error, ErrorKind, Result, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tempfile::{NamedTempFile, TempDir};

/// Results are for whoever may look at the folder they are in, where the umask allows it; temporary files are private.
const FILE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;
/// How often a folder is emptied into which other threads still write, and how long they are given each time.
const ATTEMPTS: usize = 50;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(10);

/// Everything that has no place yet. Held whenever something is made, put into its place or taken away, so that an
/// interruption finds each either whole or on this list.
static UNDER_WAY: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn under_way() -> MutexGuard<'static, Vec<PathBuf>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes away everything that has no place yet. From here on nothing new is made or put into its place: threads that
/// try wait for ever, so the process must end now.
pub fn abandon() {
    let under_way = under_way();
    for path in under_way.iter() {
        for _ in 0..ATTEMPTS {
            let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            match removed {
                Err(error) if error.kind() != ErrorKind::NotFound => thread::sleep(BETWEEN_ATTEMPTS),
                _ => break,
            }
        }
        if path.exists() {
            tracing::warn!("{} could not be removed", path.display());
        }
    }
    std::mem::forget(under_way);
}

/// The folder in which `path` will be.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}

/// Beginning of hidden names beside `path`.
fn hidden(path: &Path) -> String {
    format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy())
}

/// A path to a folder that is to appear by renaming, without trailing slashes and dots, which would make its parent the
/// folder itself. Errors when it has no name of its own (`.`, `..`, `/`).
pub fn folder(path: &Path) -> Result<PathBuf> {
    let path: PathBuf = path.components().collect();
    match path.file_name() {
        Some(_) => Ok(path),
        None => Err(Error::new(ErrorKind::InvalidInput, "a folder cannot take this place; name the folder itself")),
    }
}

/// Errors unless a file can be put at `path`, in the place of another file or of none: found now, not after the work.
pub fn check_file(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err(Error::new(ErrorKind::IsADirectory, "it is a folder; name a file"));
    }
    if path.file_name().is_none() {
        return Err(Error::new(ErrorKind::InvalidInput, "name a file"));
    }
    tempfile::tempfile_in(parent(path)).map(drop)
}

/// Errors unless a folder can be made at `path`, whose parents are made when it is.
pub fn check_folder(path: &Path) -> Result<()> {
    let path = folder(path)?;
    let mut there = parent(&path);
    while !there.exists() {
        there = parent(there);
    }
    if !fs::metadata(there)?.is_dir() {
        return Err(Error::new(ErrorKind::NotADirectory, format!("{} is no folder", there.display())));
    }
    Temporary::new(there, &hidden(&path), "").map(drop)
}

/// A folder that is gone, with all it holds, when this is dropped or the process is interrupted.
#[derive(Debug)]
pub struct Temporary(Option<TempDir>);

impl Temporary {
    /// In `place`, which is there; what is inside follows the umask, the folder itself is private.
    pub fn new(place: &Path, prefix: &str, suffix: &str) -> Result<Self> {
        Self::with_mode(place, prefix, suffix, 0o700)
    }

    fn with_mode(place: &Path, prefix: &str, suffix: &str, mode: u32) -> Result<Self> {
        let mut under_way = under_way();
        let mut make = tempfile::Builder::new();
        let folder = make.prefix(prefix).suffix(suffix).permissions(Permissions::from_mode(mode)).tempdir_in(place)?;
        under_way.push(folder.path().to_owned());
        Ok(Self(Some(folder)))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.as_ref().map_or(Path::new(""), TempDir::path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let Some(folder) = self.0.take() else { return };
        let mut under_way = under_way();
        forget(&mut under_way, folder.path());
        let path = folder.path().to_owned();
        if let Err(error) = folder.close() {
            tracing::warn!("{} could not be removed: {error}", path.display());
        }
    }
}

fn forget(under_way: &mut Vec<PathBuf>, path: &Path) {
    under_way.retain(|other| other != path);
}

/// A folder in the making.
#[derive(Debug)]
pub struct NewFolder {
    target: PathBuf,
    partial: Temporary,
}

impl NewFolder {
    /// Will be at `target`, whose parents are made if need be.
    pub fn beside(target: &Path) -> Result<Self> {
        let target = folder(target)?;
        let parent = parent(&target);
        fs::create_dir_all(parent)?;
        let partial = Temporary::with_mode(parent, &hidden(&target), ".partial", FOLDER_MODE)?;
        Ok(Self { target, partial })
    }

    /// Where it is for now.
    pub fn path(&self) -> &Path {
        self.partial.path()
    }

    /// Puts it into its place, and another folder that is there away. That takes two renames, between which there is
    /// none at the place; whoever is killed there leaves the old one in a hidden folder beside it.
    pub fn put(mut self) -> Result<()> {
        let parent = parent(&self.target);
        let aside = match fs::symlink_metadata(&self.target) {
            Ok(_) => Some(Temporary::new(parent, &hidden(&self.target), ".old")?),
            Err(_) => None,
        };
        {
            let mut under_way = under_way();
            let old = aside.as_ref().map(|aside| aside.path().join("old"));
            if let Some(old) = &old {
                fs::rename(&self.target, old)?;
            }
            if let Err(error) = fs::rename(self.partial.path(), &self.target) {
                if let Some(old) = &old
                    && let Err(worse) = fs::rename(old, &self.target)
                {
                    // It must not go away with the folder it is in.
                    forget(&mut under_way, aside.as_ref().map_or(Path::new(""), Temporary::path));
                    let kept = aside.and_then(|mut aside| aside.0.take()).map(TempDir::keep).unwrap_or_default();
                    let text = format!("{error}; what was there before is kept in {}: {worse}", kept.display());
                    return Err(Error::new(error.kind(), text));
                }
                return Err(error);
            }
            forget(&mut under_way, self.partial.path());
            // It has moved: there is nothing to take away under the old name.
            if let Some(moved) = self.partial.0.take() {
                let _moved = moved.keep();
            }
        }
        if let Err(error) = sync_folder(parent) {
            // It is in place; only a power failure within the next seconds could bring the old state back.
            tracing::warn!("{} is in place, its folder not yet on disk: {error}", self.target.display());
        }
        Ok(())
    }
}

/// Returns when the names in a folder are on disk.
pub fn sync_folder(path: &Path) -> Result<()> {
    File::open(path)?.sync_all()
}

/// A file in the making.
#[derive(Debug)]
pub struct NewFile {
    target: PathBuf,
    partial: Option<NamedTempFile>,
}

impl NewFile {
    /// Will be at `target`, in a folder that is there.
    pub fn beside(target: &Path) -> Result<Self> {
        let mut under_way = under_way();
        let mut make = tempfile::Builder::new();
        make.suffix(".partial").permissions(Permissions::from_mode(FILE_MODE));
        let partial = make.prefix(&hidden(target)).tempfile_in(parent(target))?;
        under_way.push(partial.path().to_owned());
        Ok(Self { target: target.to_owned(), partial: Some(partial) })
    }

    /// Puts it into its place, in that of another file or of none, when its contents are on disk.
    pub fn put(mut self) -> Result<()> {
        let Some(partial) = &self.partial else { return Ok(()) };
        partial.as_file().sync_all()?;
        let mut under_way = under_way();
        let Some(partial) = self.partial.take() else { return Ok(()) };
        forget(&mut under_way, partial.path());
        partial.persist(&self.target)?;
        Ok(())
    }

    /// The file itself.
    pub fn file(&self) -> Result<&File> {
        self.partial.as_ref().map(NamedTempFile::as_file).ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.file()?.write(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        self.file()?.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        let Some(partial) = self.partial.take() else { return };
        forget(&mut under_way(), partial.path());
    }
}

/// Puts a file of these bytes at `path`.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = NewFile::beside(path)?;
    file.write_all(bytes)?;
    file.put()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn places_that_cannot_be_taken_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let inside = |name: &str| home.path().join(name);
        fs::write(inside("a file"), "").unwrap();
        assert!(check_file(&inside("new")).is_ok());
        assert!(check_file(&inside("a file")).is_ok());
        assert_eq!(check_file(home.path()).unwrap_err().kind(), ErrorKind::IsADirectory);
        assert_eq!(check_file(&inside("missing/new")).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(check_folder(&inside("missing/new")).is_ok());
        assert!(check_folder(&inside("a file/new")).is_err());
        assert_eq!(names(home.path()), ["a file"], "nothing is left behind");
    }

    #[test]
    fn a_folder_has_a_name() {
        assert_eq!(folder(Path::new("a/b/./")).unwrap(), Path::new("a/b"));
        for path in [".", "..", "/", "a/.."] {
            assert_eq!(folder(Path::new(path)).unwrap_err().kind(), ErrorKind::InvalidInput, "{path}");
        }
    }

    #[test]
    fn a_folder_appears_whole_and_replaces_another_or_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("new/report");
        drop(NewFolder::beside(&target).unwrap());
        assert!(names(&home.path().join("new")).is_empty());
        for number in ["1", "2"] {
            let folder = NewFolder::beside(&target).unwrap();
            fs::write(folder.path().join(number), "").unwrap();
            folder.put().unwrap();
            assert_eq!(names(&target), [number]);
        }
        assert_eq!(names(&home.path().join("new")), ["report"]);
        // Its place was taken away under it.
        let folder = NewFolder::beside(&target).unwrap();
        fs::remove_dir_all(folder.path()).unwrap();
        folder.put().unwrap_err();
        assert_eq!(names(&target), ["2"], "the old one is back");
        assert_eq!(names(&home.path().join("new")), ["report"]);
    }

    #[test]
    fn a_file_appears_whole_and_replaces_another_or_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("file");
        write(&target, b"old").unwrap();
        let mut file = NewFile::beside(&target).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"old");
        file.put().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o600, 0o600);
        drop(NewFile::beside(&target).unwrap());
        assert_eq!(names(home.path()), ["file"]);
    }
}

//! Where results will go, looked at before the work is done rather than after.

use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// The folder in which `path` will be.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
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

/// Errors unless a file can be put at `path`, in the place of another file or of none.
pub fn file(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err(Error::new(ErrorKind::IsADirectory, "it is a folder; name a file"));
    }
    if path.file_name().is_none() {
        return Err(Error::new(ErrorKind::InvalidInput, "name a file"));
    }
    tempfile::tempfile_in(parent(path)).map(drop)
}

/// Errors unless a folder can be made at `path`, whose parents are made when it is.
pub fn new_folder(path: &Path) -> Result<()> {
    let path = folder(path)?;
    let mut there = parent(&path);
    while !there.exists() {
        there = parent(there);
    }
    if !fs::metadata(there)?.is_dir() {
        return Err(Error::new(ErrorKind::NotADirectory, format!("{} is no folder", there.display())));
    }
    tempfile::tempdir_in(there).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_cannot_be_taken_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let inside = |name: &str| home.path().join(name);
        fs::write(inside("a file"), "").unwrap();
        assert!(file(&inside("new")).is_ok());
        assert!(file(&inside("a file")).is_ok());
        assert_eq!(file(home.path()).unwrap_err().kind(), ErrorKind::IsADirectory);
        assert_eq!(file(&inside("missing/new")).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(new_folder(&inside("missing/new")).is_ok());
        assert!(new_folder(&inside("a file/new")).is_err());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn a_folder_has_a_name() {
        assert_eq!(folder(Path::new("a/b/./")).unwrap(), Path::new("a/b"));
        for path in [".", "..", "/", "a/.."] {
            assert_eq!(folder(Path::new(path)).unwrap_err().kind(), ErrorKind::InvalidInput, "{path}");
        }
    }
}

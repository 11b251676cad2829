//! Where a watched folder is: whether it is still the same one, and on which mounted file system.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A folder as it was when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    device: u64,
    inode: u64,
}

impl Place {
    /// Of the folder that has this path now.
    pub fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        if !metadata.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// Whether a file system is mounted at this path.
pub fn is_mounted(path: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    let above = path.parent().and_then(device);
    device(path).is_some_and(|own| above.is_none_or(|above| above != own))
}

/// Where the file system that holds this folder is mounted; `None` when that is where everything is.
pub fn mount(path: &Path) -> Option<PathBuf> {
    let path = fs::canonicalize(path).ok()?;
    path.ancestors().find(|place| place.parent().is_some() && is_mounted(place)).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounted_file_systems_are_found() {
        assert_eq!(mount(Path::new("/proc/self")), Some("/proc".into()));
        assert_eq!(mount(Path::new("/")), None);
        assert!(is_mounted(Path::new("/proc")) && !is_mounted(Path::new("/proc/self/fd/absent")));
        let folder = tempfile::tempdir().expect("temporary folder");
        let before = Place::of(folder.path()).expect("there");
        assert_eq!(Place::of(folder.path()).expect("there"), before);
        fs::write(folder.path().join("file"), "").expect("written");
        assert!(Place::of(&folder.path().join("file")).is_err());
    }
}

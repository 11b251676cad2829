//! A settings file that is watched: when it has changed and then stood still.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often it is looked at; as long it has to stand still, so that what an editor or a copy writes in parts is read once.
const PAUSE: Duration = Duration::from_secs(1);

/// Looks by asking for the file's size, times and number: it may be replaced by another of its name, and lie where the kernel tells
/// nobody of changes (network, overlay).
pub struct SettingsFile {
    path: PathBuf,
    /// As it was when it was read.
    read: Option<Stamp>,
    /// As it was when it was looked at last.
    seen: Option<Stamp>,
    next: Instant,
}

/// Device, number, size, and when contents and entry changed, in nanoseconds.
type Stamp = (u64, u64, u64, [i64; 4]);

impl SettingsFile {
    /// As it is now, it has been read.
    pub fn new(path: PathBuf) -> Self {
        let mut file = Self { path, read: None, seen: None, next: Instant::now() };
        file.read = file.stamp();
        file.seen = file.read;
        file
    }

    /// Whether it is to be read again. One that is not there is not looked at until it is back.
    pub fn has_changed(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        self.next = now + PAUSE;
        let Some(stamp) = self.stamp() else { return false };
        let still = self.seen.replace(stamp) == Some(stamp);
        still && self.read.replace(stamp) != Some(stamp)
    }

    fn stamp(&self) -> Option<Stamp> {
        let file = fs::metadata(&self.path).ok()?;
        let times = [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()];
        Some((file.dev(), file.ino(), file.len(), times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once_when_it_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("line.toml");
        fs::write(&path, "a").unwrap();
        let mut file = SettingsFile::new(path.clone());
        let start = Instant::now();
        let mut seconds = 0;
        let mut look = || {
            seconds += 1;
            file.has_changed(start + PAUSE * seconds)
        };
        assert!(!look(), "nothing has changed");
        for text in ["ab", "abc", "abcd"] {
            fs::write(&path, text).unwrap();
            assert!(!look(), "it is being written");
        }
        assert!(look(), "it stands still");
        assert!(!look(), "once");
        // Replaced by one of the same size.
        fs::write(folder.path().join("new"), "wxyz").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert!(!look() && look() && !look(), "a new file of that name");
        fs::remove_file(&path).unwrap();
        assert!(!look() && !look(), "gone");
        fs::write(&path, "back").unwrap();
        assert!(!look() && look(), "back");
    }

    #[test]
    fn it_is_not_looked_at_more_often() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("line.toml");
        fs::write(&path, "a").unwrap();
        let mut file = SettingsFile::new(path.clone());
        let now = Instant::now() + PAUSE;
        assert!(!file.has_changed(now));
        fs::write(&path, "ab").unwrap();
        assert!(!file.has_changed(now + PAUSE / 2) && !file.has_changed(now + PAUSE), "seen for the first time");
        assert!(!file.has_changed(now + PAUSE * 3 / 2) && file.has_changed(now + PAUSE * 2));
    }
}

//! A small disk of one's own, and somebody who fills it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Unmounts when dropped, also when the test fails; lazily, because the program may still be there then.
pub struct Mount(PathBuf);

impl Mount {
    /// A file system in memory of this size, as `2m`; `None`, said, where nothing can be mounted. Under CI that fails.
    pub fn tmpfs(place: &Path, size: &str) -> Option<Self> {
        let size = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(place).output().unwrap();
        if mounted.status.success() {
            return Some(Self(place.to_owned()));
        }
        let reason = String::from_utf8_lossy(&mounted.stderr).into_owned();
        assert!(std::env::var_os("CI").is_none(), "no file system can be mounted: {reason}");
        eprintln!("skipped, no file system can be mounted: {reason}");
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        assert!(Command::new("umount").arg("-l").arg(&self.0).status().unwrap().success());
    }
}

/// Takes whatever is free, to the last byte.
pub fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    for size in [65_536, 4_096, 512, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
}

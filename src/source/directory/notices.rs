//! News of a folder from the kernel (inotify), so that nobody has to look at tens of thousands of files to find none new.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// Room for some hundred events with names of the usual length.
const BUFFER: usize = 64 << 10;
/// Events taken at once: whoever writes faster than they are read must not keep the camera from everything else.
const MOST: usize = 20_000;

/// File systems whose every change this kernel makes itself, by the number in `statfs(2)`. On all others (NFS, SMB, 9p,
/// FUSE) other computers write without an event here.
const LOCAL: [(u32, &str); 13] = [
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x0102_1994, "tmpfs"),
    (0x8584_58f6, "ramfs"),
    (0x794c_7630, "overlay"),
    (0xf2f5_2010, "f2fs"),
    (0x2fc1_2fc1, "zfs"),
    (0xca45_1a4e, "bcachefs"),
    (0x4d44, "vfat"),
    (0x2011_bab0, "exfat"),
    (0x7366_746e, "ntfs3"),
    (0x3153_464a, "jfs"),
];

/// What has happened to a file or folder, relative to the watched one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A file was closed by somebody who wrote it.
    Written(PathBuf),
    /// A file or folder was renamed.
    Renamed {
        /// Its name before, when that was in a watched folder, too.
        from: Option<PathBuf>,
        /// Its name now.
        to: PathBuf,
    },
    /// A file or folder is new, or who may read it has changed.
    Appeared(PathBuf),
    /// Nothing has this name any more.
    Gone(PathBuf),
    /// More has happened than the kernel keeps: look at everything.
    Overflow,
    /// The watched folder itself was deleted, moved, or unmounted.
    Lost(&'static str),
}

/// The events of a folder and of those in it that are watched, too.
pub struct Notices {
    queue: OwnedFd,
    folders: HashMap<i32, PathBuf>,
    /// The folders, and those that cannot be watched.
    known: HashSet<PathBuf>,
}

impl Notices {
    /// Whether changes below this folder are told. The error says why not.
    pub fn are_told(folder: &Path) -> Result<(), String> {
        let found = rustix::fs::statfs(folder).map_err(|error| io::Error::from(error).to_string())?;
        // The kernel's numbers have 32 bits, whatever the field has.
        let kind = found.f_type as u32;
        if LOCAL.iter().any(|(local, _)| *local == kind) {
            return Ok(());
        }
        Err(format!("its file system (number {kind:#x}) may be written by others without an event here"))
    }

    /// Begins with no folder.
    pub fn start() -> io::Result<Self> {
        let queue = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self { queue, folders: HashMap::new(), known: HashSet::new() })
    }

    /// Watches `root/folder` from now on. Fails with `ENOSPC` when the user has too many watches.
    pub fn watch(&mut self, root: &Path, folder: &Path) -> io::Result<()> {
        let own = if folder.as_os_str().is_empty() {
            WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF
        } else {
            WatchFlags::DONT_FOLLOW
        };
        let what = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::CREATE
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::ONLYDIR
            | WatchFlags::EXCL_UNLINK;
        let number = inotify::add_watch(&self.queue, root.join(folder), what | own)?;
        self.folders.insert(number, folder.to_owned());
        self.known.insert(folder.to_owned());
        Ok(())
    }

    /// A folder that cannot be watched is not tried again before it appears anew.
    pub fn pass_over(&mut self, folder: &Path) {
        self.known.insert(folder.to_owned());
    }

    /// Whether this folder is watched, or passed over.
    pub fn is_watched(&self, folder: &Path) -> bool {
        self.known.contains(folder)
    }

    /// What has happened since the last call, in order; never waits.
    pub fn read(&mut self) -> io::Result<Vec<Notice>> {
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(&self.queue, &mut buffer);
        let mut notices = Vec::new();
        // The two halves of a renaming follow each other.
        let mut moving = None;
        loop {
            if notices.len() >= MOST && reader.is_buffer_empty() {
                return Ok(notices);
            }
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::WOULDBLOCK) => return Ok(notices),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let happened = event.events();
            if happened.contains(ReadFlags::QUEUE_OVERFLOW) {
                notices.push(Notice::Overflow);
                continue;
            }
            let Some(folder) = self.folders.get(&event.wd()) else { continue };
            let is_root = folder.as_os_str().is_empty();
            let Some(name) = event.file_name() else {
                let why = match happened {
                    _ if happened.contains(ReadFlags::UNMOUNT) => "its file system was unmounted",
                    _ if happened.contains(ReadFlags::DELETE_SELF) => "it was deleted",
                    _ if happened.contains(ReadFlags::MOVE_SELF) => "it was moved away",
                    _ if happened.contains(ReadFlags::IGNORED) => "it is not there any more",
                    _ => continue,
                };
                if is_root {
                    notices.push(Notice::Lost(why));
                } else if happened.contains(ReadFlags::IGNORED)
                    && let Some(folder) = self.folders.remove(&event.wd())
                {
                    self.known.remove(&folder);
                }
                continue;
            };
            let path = folder.join(OsStr::from_bytes(name.to_bytes()));
            let moved_before = std::mem::take(&mut moving);
            let notice = match happened {
                _ if happened.contains(ReadFlags::DELETE) => Notice::Gone(path),
                _ if happened.contains(ReadFlags::MOVED_FROM) => {
                    if happened.contains(ReadFlags::ISDIR) {
                        // Wherever it is now, these are its names no more, and others may get them.
                        self.known.retain(|folder| !folder.starts_with(&path));
                        self.folders.retain(|_, folder| !folder.starts_with(&path));
                    }
                    moving = Some(event.cookie());
                    Notice::Gone(path)
                }
                _ if happened.contains(ReadFlags::MOVED_TO) => {
                    let same = moved_before == Some(event.cookie());
                    let from = match notices.pop_if(|last| same && matches!(last, Notice::Gone(_))) {
                        Some(Notice::Gone(from)) => Some(from),
                        _ => None,
                    };
                    Notice::Renamed { from, to: path }
                }
                _ if happened.contains(ReadFlags::CLOSE_WRITE) => Notice::Written(path),
                _ => Notice::Appeared(path),
            };
            notices.push(notice);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_in_a_folder_is_told_in_order() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let root = folder.path();
        let mut notices = Notices::start().expect("inotify");
        notices.watch(root, Path::new("")).expect("watched");
        assert_eq!(notices.read().expect("read"), []);
        std::fs::write(root.join("a.tmp"), "x").expect("written");
        std::fs::rename(root.join("a.tmp"), root.join("a.png")).expect("renamed");
        std::fs::remove_file(root.join("a.png")).expect("deleted");
        let path = |name: &str| PathBuf::from(name);
        let told = notices.read().expect("read");
        let expected = [
            Notice::Appeared(path("a.tmp")),
            Notice::Written(path("a.tmp")),
            Notice::Renamed { from: Some(path("a.tmp")), to: path("a.png") },
            Notice::Gone(path("a.png")),
        ];
        assert_eq!(told, expected);
        std::fs::remove_dir(root).expect("deleted");
        assert_eq!(notices.read().expect("read")[0], Notice::Lost("it was deleted"));
    }
}

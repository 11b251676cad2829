//! Keeps a file that a runtime maps from counting as this process's memory longer than it is being read.
#![allow(unsafe_code)] // calls of madvise and malloc_trim, see below

use std::path::Path;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};

/// How often the pages are given back; at a few GB/s of reading, some ten megabytes lie between two rounds.
const ROUND: Duration = Duration::from_millis(5);

/// Runs `work` while the resident pages of every read-only mapping of `file` are given back again and again, and once
/// more after it. What is read again comes from the page cache, so this changes memory, never results.
///
/// The file must stay mapped until this returns: whoever maps it unmaps it only afterwards.
pub fn kept_small<R>(file: &Path, work: impl FnOnce() -> R) -> R {
    let (done, finished) = bounded::<()>(0);
    std::thread::scope(|scope| {
        let keeper = move || {
            while finished.recv_timeout(ROUND) == Err(RecvTimeoutError::Timeout) {
                give_back(file);
            }
            give_back(file);
        };
        if let Err(error) = std::thread::Builder::new().name("memory".into()).spawn_scoped(scope, keeper) {
            tracing::warn!(%error, "no thread to keep memory small; opening the model takes more of it");
        }
        let result = work();
        drop(done);
        result
    })
}

/// Gives memory back that was freed and that the C library keeps for later: what compiling a large network leaves is never needed again.
pub fn give_back_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim touches free memory alone, under the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Drops the resident pages of read-only mappings of `file`.
fn give_back(file: &Path) {
    // Without /proc nothing is given back, which costs memory and nothing else.
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    for (start, end) in maps.lines().filter_map(|line| read_only_mapping(line, file)) {
        // SAFETY: MADV_DONTNEED on a mapping of a file that cannot be written through (`r--`) only drops pages that the
        // kernel reads again from the same file, so the memory stays the same for everyone who looks at it. That the
        // range still is that mapping is kept by the callers of `kept_small`: they hold the model that owns the
        // mapping until it has returned, and a mapping that exists is not replaced by another.
        let result = unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
        if result != 0 {
            tracing::debug!(error = %std::io::Error::last_os_error(), "madvise");
        }
    }
}

/// The range of a line of /proc/self/maps when it is a read-only mapping of `file`.
fn read_only_mapping(line: &str, file: &Path) -> Option<(usize, usize)> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let rights = fields.next()?;
    // Behind offset, device and inode stands the path, which may hold spaces.
    let path = line.split_once('/')?.1;
    let ours = file.to_str()?.strip_prefix('/')?;
    (rights.starts_with("r--") && path == ours)
        .then(|| Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_read_only_mappings_of_the_file_are_meant() {
        let file = Path::new("/var/tmp/a b/weights.f32");
        let line = |rights: &str, path: &str| format!("7f0000000000-7f0000002000 {rights} 00000000 08:01 42    {path}");
        let meant = Some((0x7f00_0000_0000, 0x7f00_0000_2000));
        assert_eq!(read_only_mapping(&line("r--p", "/var/tmp/a b/weights.f32"), file), meant);
        assert_eq!(read_only_mapping(&line("r--s", "/var/tmp/a b/weights.f32"), file), meant);
        assert_eq!(read_only_mapping(&line("rw-p", "/var/tmp/a b/weights.f32"), file), None);
        assert_eq!(read_only_mapping(&line("r--p", "/var/tmp/other"), file), None);
        assert_eq!(read_only_mapping("7f0000000000-7f0000002000 r--p 00000000 00:00 0", file), None);
    }

    #[test]
    fn a_mapped_file_reads_the_same_afterwards() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..1 << 20).map(|i| (i % 251) as u8).collect();
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        let path = file.path().canonicalize().unwrap();
        // SAFETY: nobody else knows this file.
        let map = unsafe { memmap2::Mmap::map(file.as_file()) }.unwrap();
        let sum = kept_small(&path, || map.iter().map(|&b| u64::from(b)).sum::<u64>());
        assert_eq!(sum, bytes.iter().map(|&b| u64::from(b)).sum::<u64>());
        assert_eq!(&map[..], &bytes[..]);
    }
}

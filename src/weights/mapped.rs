//! A read-only file in memory, paged in as it is read.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

/// The bytes of a file.
#[derive(Debug)]
pub(super) struct Mapped(Option<Mmap>);

impl Mapped {
    /// Maps the whole of `path`. An empty file has no bytes.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(Self(None));
        }
        // SAFETY: nothing in this process writes to or shortens a mapped file: bundles are written under another name and
        // replaced by renaming folders, never changed in place. Against other processes nothing protects: the operator
        // must keep them from the file, as for every program that maps its model. One that rewrites bytes makes wrong
        // numbers (readers take them as plain data and check every bound first); one that shortens the file ends this
        // process with SIGBUS at the next read beyond the new end.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self(Some(map)))
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or(&[])
    }
}

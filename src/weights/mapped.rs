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
        // SAFETY: the mapping is read-only and this process never writes to a mapped file: bundles are replaced by
        // renaming folders, never changed in place. That no other process shortens or rewrites the file meanwhile is
        // the operator's promise, as for every program that maps its model; all readers treat the bytes as plain data
        // and check every bound, so a changed byte is a wrong number, not undefined behaviour of ours.
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

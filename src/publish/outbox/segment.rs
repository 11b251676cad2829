//! One file of the log: allocated when it is made, written at its end, cut to its length when it is left.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, retry_on_intr};

use super::OutboxError;
use super::record::{Kind, RecordId, SEGMENT_HEAD, segment_head};

/// What a segment holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Number of its last record.
    pub last: RecordId,
    /// Number of its last event, 0 when it has none.
    pub last_event: RecordId,
    /// How many events.
    pub events: u64,
    /// Time of its first and last record.
    pub times: Option<(i64, i64)>,
}

impl Summary {
    /// One more record.
    pub fn add(&mut self, kind: Kind, id: RecordId, time: i64) {
        self.last = self.last.max(id);
        if kind == Kind::Event {
            self.last_event = self.last_event.max(id);
            self.events += 1;
        }
        self.times = Some((self.times.map_or(time, |(first, _)| first), time));
    }
}

/// A segment that is not written any more.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Where.
    pub path: PathBuf,
    /// Number in its name; grows with every segment.
    pub number: u64,
    /// What is in it.
    pub summary: Summary,
    /// Bytes up to the end of its last record.
    pub used: u64,
}

impl Segment {
    /// `DIRECTORY/NUMBER.log`
    pub fn path(directory: &Path, number: u64) -> PathBuf {
        directory.join(format!("{number:016x}.log"))
    }

    /// The number in a file's name, when it is a segment's.
    pub fn number(path: &Path) -> Option<u64> {
        let name = path.file_name()?.to_str()?.strip_suffix(".log")?;
        let mut number = [0; size_of::<u64>()];
        hex::decode_to_slice(name, &mut number).ok()?;
        Some(u64::from_be_bytes(number))
    }
}

/// The segment that is being written.
#[derive(Debug)]
pub struct Active {
    file: File,
    segment: Segment,
    /// As far as it is known to be on disk.
    synced: (Summary, u64),
    size: u64,
}

/// Share of a segment that only answers to recorded debts may use, so that they find room on a full disk.
const RESERVE: u64 = 8;

impl Active {
    /// Makes a file of `size` bytes, allocated as far as the file system can; `durable` makes its name durable, too.
    pub fn create(directory: &Path, number: u64, size: u64, durable: bool) -> Result<Self, OutboxError> {
        let path = Segment::path(directory, number);
        // A file that is there already is somebody's, and stays.
        let file = File::options().create_new(true).read(true).write(true).open(&path);
        let file = file.map_err(OutboxError::io(&path, "making a segment"))?;
        let prepared = Self::prepare(&file, number, size).map_err(OutboxError::io(&path, "making a segment"));
        let named = if durable { prepared.and_then(|()| sync_directory(directory)) } else { prepared };
        if let Err(error) = named {
            // Half a segment would be in the way of the next attempt.
            remove(&path);
            return Err(error);
        }
        let segment = Segment { path, number, summary: Summary::default(), used: SEGMENT_HEAD as u64 };
        Ok(Self { file, synced: (segment.summary, segment.used), segment, size })
    }

    fn prepare(file: &File, number: u64, size: u64) -> io::Result<()> {
        allocate(file, size)?;
        file.write_all_at(&segment_head(number), 0)
    }

    /// Whether so many bytes more have room.
    pub fn has_room(&self, bytes: u64, reserved: bool) -> bool {
        let kept = if reserved { 0 } else { self.size / RESERVE };
        self.segment.used + bytes + kept <= self.size
    }

    /// Writes records that have room.
    pub fn write(&mut self, bytes: &[u8], summary: Summary) -> Result<(), OutboxError> {
        if let Err(source) = self.file.write_all_at(bytes, self.segment.used) {
            self.cut(self.segment.used);
            return Err(OutboxError::io(&self.segment.path, "writing")(source));
        }
        self.segment.used += bytes.len() as u64;
        self.segment.summary = summary;
        Ok(())
    }

    /// Returns when everything written is on disk. After an error nobody knows what of it is: it has to be written
    /// again, elsewhere; here it is cut off.
    pub fn sync(&mut self) -> Result<(), OutboxError> {
        if let Err(source) = self.file.sync_data() {
            self.discard();
            return Err(OutboxError::io(&self.segment.path, "fsync")(source));
        }
        self.synced = (self.segment.summary, self.segment.used);
        Ok(())
    }

    /// Cuts off what is not known to be on disk.
    pub fn discard(&mut self) {
        (self.segment.summary, self.segment.used) = self.synced;
        self.cut(self.segment.used);
    }

    /// What is written so far.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Leaves the file, as long as what is in it.
    pub fn leave(self) -> Segment {
        self.cut(self.segment.used);
        self.segment
    }

    fn cut(&self, length: u64) {
        if let Err(error) = self.file.set_len(length) {
            tracing::warn!(path = %self.segment.path.display(), %error, "a segment cannot be cut to its length");
        }
    }
}

/// Bytes of a segment from one place to another.
pub fn read(path: &Path, from: u64, to: u64) -> Result<Vec<u8>, OutboxError> {
    let read = || {
        let mut bytes = vec![0; usize::try_from(to.saturating_sub(from)).map_err(io::Error::other)?];
        File::open(path)?.read_exact_at(&mut bytes, from)?;
        Ok(bytes)
    };
    read().map_err(OutboxError::io(path, "reading"))
}

/// Deletes a file; one that stays is found and tried again by the next start.
pub fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "a segment of the outbox cannot be deleted");
        }
        _ => {}
    }
}

/// Makes the names of new files durable.
pub fn sync_directory(directory: &Path) -> Result<(), OutboxError> {
    File::open(directory).and_then(|folder| folder.sync_all()).map_err(OutboxError::io(directory, "fsync"))
}

/// Gives the file its size in blocks that are really there; merely its length where the file system cannot.
fn allocate(file: &File, size: u64) -> io::Result<()> {
    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, size)) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(size),
        allocated => Ok(allocated?),
    }
}

//! A look at a log without changing it: what waits, who is owed, what cannot be read.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::lock::holder;
use super::record::{self, Kind, Record, RecordId, SEGMENT_HEAD, Step, Walk, leading_number};
use super::segment::{Segment, Summary};
use super::{OutboxError, OutboxSpec, OwedPart};

/// Unreadable stretches of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// How many, the torn end of the last write not among them.
    pub stretches: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// Debts by the number of their record.
type OpenDebts = BTreeMap<RecordId, OwedPart>;

/// A file and a place in it.
type Place = (PathBuf, Range<u64>);

/// What lies in a directory.
#[derive(Debug, Default)]
pub struct Survey {
    /// The last record's number.
    pub last: RecordId,
    /// Every event up to here was acknowledged.
    pub acked_to: RecordId,
    /// What cannot be read, the torn end of the last write not among it.
    pub damage: Damage,
    pub(super) segments: Vec<Segment>,
    /// The torn end of the last write.
    pub(super) torn: Option<Place>,
    open: OpenDebts,
    /// Events after the last acknowledgement that was read, by number.
    waiting: VecDeque<u64>,
    /// Numbers of the records that may have been in damaged stretches.
    missing: Vec<Range<u64>>,
    /// A stretch of damage is being walked over.
    gap: bool,
}

/// Whether an outbox can be used, and what is in it.
#[derive(Debug)]
pub struct Look {
    /// What lies there.
    pub survey: Survey,
    /// Bytes free on its file system, for this user.
    pub free: u64,
    /// The process that uses it, if one does.
    pub used_by: Option<String>,
}

/// Looks whether the outbox can be used: whether files can be made in its directory, or in the nearest one above that is
/// there. Leaves nothing behind.
pub fn look(spec: &OutboxSpec) -> Result<Look, OutboxError> {
    let refused = |source| OutboxError::Directory { path: spec.directory.clone(), source };
    // A relative one begins in the working directory, which has no name in its path.
    let named = |place: &&Path| place.exists() && !place.as_os_str().is_empty();
    let place = spec.directory.ancestors().find(named).unwrap_or(Path::new("."));
    tempfile::tempfile_in(place).map_err(refused)?;
    let used_by = holder(&spec.directory)?;
    let free = free_bytes(place).map_err(OutboxError::io(place, "asking for free space"))?;
    Ok(Look { survey: read(&spec.directory)?, free, used_by })
}

fn free_bytes(directory: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(directory)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Reads a whole log, one segment in memory at a time. A directory that is not there holds nothing.
pub fn read(directory: &Path) -> Result<Survey, OutboxError> {
    let mut survey = Survey::default();
    let paths = paths(directory)?;
    for (index, path) in paths.iter().enumerate() {
        survey.segment(path, index + 1 == paths.len())?;
    }
    survey.close();
    Ok(survey)
}

/// The segments in their order.
pub(super) fn paths(directory: &Path) -> Result<Vec<PathBuf>, OutboxError> {
    let list = || {
        let entries = fs::read_dir(directory)?;
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<PathBuf>>>()
    };
    let mut paths = match list() {
        Ok(paths) => paths,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(OutboxError::Directory { path: directory.to_owned(), source }),
    };
    paths.retain(|path| Segment::number(path).is_some());
    paths.sort();
    Ok(paths)
}

impl Survey {
    fn segment(&mut self, path: &Path, newest: bool) -> Result<(), OutboxError> {
        let bytes = fs::read(path).map_err(OutboxError::io(path, "reading"))?;
        match record::segment_format(&bytes) {
            Some(record::FORMAT) => {}
            Some(found) => return Err(OutboxError::Version { path: path.to_owned(), found }),
            // Made and not yet written when the process ended.
            None if bytes.iter().all(|byte| *byte == 0) => {}
            None => self.damaged(0..SEGMENT_HEAD.min(bytes.len())),
        }
        let number = Segment::number(path).unwrap_or_default();
        let mut summary = Summary::default();
        let mut used = SEGMENT_HEAD.min(bytes.len());
        for step in Walk::new(&bytes, SEGMENT_HEAD) {
            match step {
                Step::Record(record, place) => {
                    used = place.end;
                    // Written again elsewhere after a failed fsync.
                    if record.id > self.last || record.kind == Kind::Acked {
                        summary.add(record.kind, record.id, record.time);
                        self.record(record);
                    }
                }
                Step::Damage(place) => self.damaged(place),
                Step::Tail(place) if newest => {
                    // Up to the last byte that is not one of the allocated zeros.
                    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(place.start, |last| last + 1);
                    self.torn = Some((path.to_owned(), place.start as u64..end as u64));
                    self.gap = true;
                }
                Step::Tail(place) => {
                    used = place.end;
                    self.damaged(place);
                }
            }
        }
        self.segments.push(Segment { path: path.to_owned(), number, summary, used: used as u64 });
        Ok(())
    }

    fn damaged(&mut self, place: Range<usize>) {
        self.damage.stretches += 1;
        self.damage.bytes += place.len() as u64;
        self.gap = true;
    }

    fn record(&mut self, Record { kind, id, payload, .. }: Record<'_>) {
        // An acknowledgement has no number of its own, but that of the record written before it.
        let lost = self.last.0 + 1..if kind == Kind::Acked { id.0 + 1 } else { id.0 };
        if std::mem::take(&mut self.gap) && !lost.is_empty() {
            self.missing.push(lost);
        }
        self.last = self.last.max(id);
        match (kind, leading_number(payload)) {
            (Kind::Owed, _) => match serde_json::from_slice::<OwedPart>(payload) {
                Ok(part) => drop(self.open.insert(id, part)),
                Err(error) => {
                    tracing::warn!(record = id.0, %error, "an owed part in the outbox cannot be understood");
                    self.damage.stretches += 1;
                }
            },
            (Kind::Event, Some((debt, _))) => {
                self.open.remove(&RecordId(debt));
                self.waiting.push_back(id.0);
            }
            (Kind::Acked, Some((to, _))) => {
                self.acked_to = self.acked_to.max(RecordId(to));
                while self.waiting.front().is_some_and(|event| *event <= self.acked_to.0) {
                    self.waiting.pop_front();
                }
            }
            (Kind::Settled, Some((debt, _))) => drop(self.open.remove(&RecordId(debt))),
            (Kind::Event | Kind::Acked | Kind::Settled, None) => self.damage.stretches += 1,
        }
    }

    /// A debt whose answer may have stood in a damaged stretch is taken for answered when all of that was acknowledged;
    /// otherwise it stays open, because a part answered twice does less harm than one never answered.
    fn close(&mut self) {
        // Events that were acknowledged without ever being written had numbers, too.
        self.last = self.last.max(self.acked_to);
        let (missing, acked_to) = (&self.missing, self.acked_to.0);
        self.open.retain(|debt, _| {
            let mut after = missing.iter().filter(|lost| lost.end > debt.0).peekable();
            after.peek().is_none() || after.any(|lost| lost.end - 1 > acked_to)
        });
    }

    /// Events that nobody has acknowledged.
    pub fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Parts without an event, oldest first.
    pub fn owed(&self) -> impl Iterator<Item = &OwedPart> {
        self.open.values()
    }

    pub(super) fn into_debts(self) -> OpenDebts {
        self.open
    }

    /// Files of the log.
    pub fn files(&self) -> usize {
        self.segments.len()
    }

    /// Bytes of its records.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.used).sum()
    }

    /// When the oldest event that waits, or a record near it, was written, milliseconds since 1970.
    pub fn oldest(&self) -> Option<i64> {
        let first = RecordId(*self.waiting.front()?);
        let holds = |segment: &&Segment| segment.summary.last_event >= first;
        self.segments.iter().find(holds)?.summary.times.map(|(first, _)| first)
    }

    /// Bytes of the last write, which was cut short; the next start removes them.
    pub fn torn(&self) -> u64 {
        self.torn.as_ref().map_or(0, |(_, place)| place.end - place.start)
    }
}

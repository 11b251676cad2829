//! What a watched folder has given: remembered in the line's state folder, so that each file is taken once, also across a
//! restart and a kill.
//!
//! A file is noted before the line has it, with the number of its frame; what the outbox knows of that frame tells the
//! next start whether the file was answered ([`open_files`], [`settle`]).

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::journal::{self, Journal};
use super::listing::Look;
use super::taken::{Fate, Open, Taken, answered_line, done_line, fate_line, taken_line};

/// How long after its event was given a frame counts as answered whatever happens: the outbox has it on disk by then, or
/// the disk fails, and then nothing is promised.
const SURE: Duration = Duration::from_secs(2);
/// Lines of the file beyond twice what it tells.
const SLACK: usize = 10_000;

/// Where a camera's memory is.
#[derive(Clone, Debug, PartialEq)]
pub struct MemorySpec {
    /// The file; its folder is made when it is not there.
    pub file: PathBuf,
}

/// A file of which its start did not learn whether it has its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFile {
    /// Relative to the folder.
    pub name: PathBuf,
    /// Its frame.
    pub open: Open,
    look: Look,
}

/// What an earlier start has left open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Files whose fate nobody has looked up yet, in the order of their frames.
    pub open: Vec<OpenFile>,
    /// Files whose parts were accepted, and when; these may still wait for their events.
    pub owed: Vec<(PathBuf, Open)>,
}

/// Reads what is left open in a memory. The folder has to be the camera's.
pub fn open_files(file: &Path, folder: &Path) -> io::Result<Left> {
    let Some(read) = journal::read(file)?.filter(|read| read.folder == folder) else { return Ok(Left::default()) };
    let open = |(name, look, open): (&Path, Look, Open)| OpenFile { name: name.to_owned(), look, open };
    let mut open: Vec<OpenFile> = read.taken.open().map(open).collect();
    open.sort_by_key(|file| (file.open.session, file.open.frame));
    Ok(Left { open, owed: read.taken.owed().map(|(name, open)| (name.to_owned(), open)).collect() })
}

/// Notes what has become of open files. On disk when it returns: the outbox forgets what was answered.
pub fn settle(file: &Path, fates: &[(OpenFile, Fate)]) -> io::Result<()> {
    let line = |(file, fate): &(OpenFile, Fate)| fate_line(&file.name, file.look, file.open, *fate);
    if fates.is_empty() { Ok(()) } else { journal::amend(file, &fates.iter().map(line).collect::<String>()) }
}

/// What was taken, and the file that tells the next start.
pub struct Memory {
    taken: Taken,
    journal: Option<Journal>,
    folder: PathBuf,
    mount: Option<PathBuf>,
    /// Lines of the file.
    lines: usize,
    /// Frames that wait for their events to be surely on disk: their numbers and files.
    open: VecDeque<(u64, PathBuf)>,
    /// Up to which frame events were given, and when.
    given: VecDeque<(Instant, u64)>,
    session: Uuid,
    /// The file has names that folders do not have any more.
    stale: bool,
    /// When the whole was written last.
    written: Instant,
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.stale {
            self.whole();
        }
    }
}

impl Memory {
    /// Reads what an earlier start has left for this folder. `mounted` says whether something is mounted at a place; the
    /// inner error is the place where the folder's file system was and is not now.
    pub fn open(
        spec: Option<&MemorySpec>,
        folder: &Path,
        mount: Option<PathBuf>,
        mounted: impl Fn(&Path) -> bool,
    ) -> io::Result<Result<Self, PathBuf>> {
        let mut taken = Taken::default();
        if let Some(spec) = spec
            && let Some(read) = journal::read(&spec.file)?.filter(|read| read.folder == folder)
        {
            if let Some(was) = read.mount.filter(|was| !mounted(was)) {
                return Ok(Err(was));
            }
            taken = read.taken;
        }
        let text = taken.text(folder, mount.as_deref());
        let journal = spec.map(|spec| Journal::start(&spec.file, text)).transpose()?;
        let (lines, folder) = (taken.len(), folder.to_owned());
        let (open, given, session) = (VecDeque::new(), VecDeque::new(), Uuid::nil());
        let (stale, written) = (false, Instant::now());
        Ok(Ok(Self { taken, journal, folder, mount, lines, open, given, session, stale, written }))
    }

    /// Whether this very file was taken.
    pub fn has(&self, name: &Path, look: Look) -> bool {
        self.taken.has(name, look)
    }

    /// A file is taken; until [`Memory::hand_over`] in memory alone.
    pub fn take(&mut self, name: &Path, look: Look) {
        self.taken.mark(name, look, None);
    }

    /// A file was taken too early.
    pub fn untake(&mut self, name: &Path) {
        self.taken.forget(name);
    }

    /// The file becomes this frame. Returns when the system knows it.
    pub fn hand_over(&mut self, name: &Path, look: Look, open: Open) {
        self.session = open.session;
        self.taken.mark(name, look, Some(open));
        self.open.push_back((open.frame, name.to_owned()));
        self.add(taken_line(name, look, open));
    }

    /// A file has another name now, and is no other file for it. True when it was taken.
    pub fn renamed(&mut self, from: &Path, to: &Path, look: Look) -> bool {
        if !self.taken.has(from, look) {
            return false;
        }
        self.taken.mark(to, look, None);
        self.add(done_line(to, look));
        true
    }

    /// A folder has another name now, and so has what was taken from it.
    pub fn folder_renamed(&mut self, from: &Path, to: &Path) {
        self.stale |= self.taken.folder_renamed(from, to);
    }

    /// Events were given for all frames up to this one.
    pub fn answered(&mut self, to: u64) {
        let now = Instant::now();
        match self.given.back_mut() {
            // Not one entry for each frame.
            Some((at, last)) if now.duration_since(*at) < SURE / 10 => *last = to,
            _ => self.given.push_back((now, to)),
        }
    }

    /// Now and then: notes what is sure by now, and writes again what could not be written.
    pub fn tick(&mut self) {
        let mut sure = None;
        while let Some((at, to)) = self.given.front().copied()
            && at.elapsed() >= SURE
        {
            sure = Some(to);
            self.given.pop_front();
        }
        if let Some(to) = sure {
            let mut some = false;
            while self.open.front().is_some_and(|(frame, _)| *frame <= to) {
                if let Some((_, name)) = self.open.pop_front() {
                    self.taken.close(&name);
                    some = true;
                }
            }
            if some {
                self.add(answered_line(self.session, to));
            }
        }
        let behind = self.journal.as_mut().is_some_and(Journal::is_behind);
        let due = behind || self.stale || self.lines > 2 * self.taken.len() + SLACK;
        // Not again and again while folders are renamed by the thousand.
        if due && self.written.elapsed() >= SURE {
            self.whole();
        }
    }

    /// The whole folder was looked at, and this is in it.
    pub fn seen<'a>(&mut self, names: impl Iterator<Item = &'a Path>) {
        self.taken.seen(names);
    }

    fn add(&mut self, line: String) {
        self.lines += 1;
        if let Some(journal) = &mut self.journal {
            journal.add(line);
        }
    }

    fn whole(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.whole(self.taken.text(&self.folder, self.mount.as_deref()));
            (self.lines, self.stale, self.written) = (self.taken.len(), false, Instant::now());
        }
    }
}

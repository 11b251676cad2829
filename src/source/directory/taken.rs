//! Which files of a folder were taken, as text that another start reads: one line for each, with a checksum.
//!
//! ```text
//! CRC h FOLDER MOUNT                              whose files, and where its file system was mounted (`-`: nowhere else)
//! CRC t SESSION FRAME TIME CHANGED LENGTH NAME    about to become a frame of this session
//! CRC a SESSION FRAME                             every frame of this session up to this one has its event
//! CRC f CHANGED LENGTH NAME                       done with
//! CRC o SESSION FRAME TIME CHANGED LENGTH NAME    its part was accepted at this time, and is answered by the next start
//! CRC l NAME                                      neither: to be taken again
//! ```
//! Names are bytes, percent-encoded. A line that was cut short or does not fit its checksum is passed over.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use uuid::Uuid;

use super::listing::Look;

/// What stands for itself in a name.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'_').remove(b'-');
/// Files that are remembered though they are not in the folder any more: they may come back with it (a share that is
/// mounted again, a backup). Some ten megabytes.
const MOST_GONE: usize = 100_000;

/// A frame of which nobody knows yet whether it has its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// The service start.
    pub session: Uuid,
    /// The line's number of the frame.
    pub frame: u64,
    /// When it was taken, milliseconds since 1970.
    pub at: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    look: Look,
    open: Option<Open>,
    /// Its part was accepted (its time is when) by a start that has ended since.
    owed: Option<Open>,
    /// Grows with every mark.
    order: u64,
    /// The last look at the whole folder in which the file was there.
    round: u64,
}

/// The files that were taken, by name, each as it was then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    marks: HashMap<PathBuf, Mark>,
    order: u64,
    round: u64,
}

/// What a file of earlier marks says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// The marks.
    pub taken: Taken,
    /// The folder they belong to.
    pub folder: PathBuf,
    /// Where its file system was mounted, when that is not where everything is.
    pub mount: Option<PathBuf>,
    /// Lines that cannot be understood, a cut end among them.
    pub damaged: usize,
    /// All lines.
    pub lines: usize,
}

impl Taken {
    /// Whether this very file was taken: the same name, length and time of change.
    pub fn has(&self, name: &Path, look: Look) -> bool {
        self.marks.get(name).is_some_and(|mark| mark.look == look)
    }

    /// Marks a file as taken, in place of an older one of its name.
    pub fn mark(&mut self, name: &Path, look: Look, open: Option<Open>) {
        self.order += 1;
        self.marks.insert(name.to_owned(), Mark { look, open, owed: None, order: self.order, round: self.round });
    }

    /// Files that may have no event.
    pub fn open(&self) -> impl Iterator<Item = (&Path, Look, Open)> {
        self.marks.iter().filter_map(|(name, mark)| Some((name.as_path(), mark.look, mark.open?)))
    }

    /// Files whose parts an earlier start has accepted and may not have answered.
    pub fn owed(&self) -> impl Iterator<Item = (&Path, Open)> {
        self.marks.iter().filter_map(|(name, mark)| Some((name.as_path(), mark.owed?)))
    }

    /// Every frame of this session up to this one has its event.
    pub fn answered(&mut self, session: Uuid, to: u64) {
        for mark in self.marks.values_mut() {
            if mark.open.is_some_and(|open| open.session == session && open.frame <= to) {
                mark.open = None;
            }
        }
    }

    /// What was taken from a folder has other names now. False when that is nothing.
    pub fn folder_renamed(&mut self, from: &Path, to: &Path) -> bool {
        let inside = |name: &&PathBuf| name.starts_with(from);
        let names: Vec<PathBuf> = self.marks.keys().filter(inside).cloned().collect();
        for name in &names {
            if let (Some(mark), Ok(rest)) = (self.marks.remove(name), name.strip_prefix(from)) {
                self.marks.insert(to.join(rest), mark);
            }
        }
        !names.is_empty()
    }

    /// A file of this name is new again.
    pub fn forget(&mut self, name: &Path) {
        self.marks.remove(name);
    }

    /// This file's frame has its event.
    pub fn close(&mut self, name: &Path) {
        if let Some(mark) = self.marks.get_mut(name) {
            mark.open = None;
        }
    }

    /// The whole folder was looked at, and this is in it. Forgets the oldest of what is not, beyond a bound.
    pub fn seen<'a>(&mut self, names: impl Iterator<Item = &'a Path>) {
        self.round += 1;
        let mut present = 0;
        for name in names {
            if let Some(mark) = self.marks.get_mut(name) {
                mark.round = self.round;
                present += 1;
            }
        }
        let surplus = (self.marks.len() - present).saturating_sub(MOST_GONE);
        if surplus > 0 {
            let gone = self.marks.values().filter(|mark| mark.round != self.round);
            let mut orders: Vec<u64> = gone.map(|mark| mark.order).collect();
            orders.sort_unstable();
            let until = orders[surplus - 1];
            self.marks.retain(|_, mark| mark.round == self.round || mark.order > until);
        }
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// All of it, for a new file.
    pub fn text(&self, folder: &Path, mount: Option<&Path>) -> String {
        let mut text = String::new();
        let mount = mount.map_or_else(|| "-".into(), encoded);
        line(&mut text, &format!("h {} {mount}", encoded(folder)));
        let mut marks: Vec<(&PathBuf, &Mark)> = self.marks.iter().collect();
        marks.sort_by_key(|(_, mark)| mark.order);
        for (name, Mark { look, open, .. }) in marks {
            match open {
                Some(open) => line(&mut text, &taken(name, *look, *open)),
                None => line(&mut text, &done(name, *look)),
            }
        }
        text
    }
}

/// The line that a file is about to become a frame.
pub fn taken_line(name: &Path, look: Look, open: Open) -> String {
    let mut text = String::new();
    line(&mut text, &taken(name, look, open));
    text
}

/// The line that a file is done with.
pub fn done_line(name: &Path, look: Look) -> String {
    let mut text = String::new();
    line(&mut text, &done(name, look));
    text
}

/// What has become of an open file, as found out by the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It has its event.
    Answered,
    /// Its part was accepted at this time, milliseconds since 1970, and is answered now.
    Owed(i64),
    /// Nobody knows of it: it is to be taken again.
    Lost,
}

/// The line that says so.
pub fn fate_line(name: &Path, look: Look, open: Open, fate: Fate) -> String {
    let mut text = String::new();
    match fate {
        Fate::Answered => line(&mut text, &done(name, look)),
        Fate::Owed(at) => line(&mut text, &taken(name, look, Open { at, ..open }).replacen('t', "o", 1)),
        Fate::Lost => line(&mut text, &format!("l {}", encoded(name))),
    }
    text
}

/// The line that every frame of this session up to this one has its event.
pub fn answered_line(session: Uuid, to: u64) -> String {
    let mut text = String::new();
    line(&mut text, &format!("a {session} {to}"));
    text
}

fn done(name: &Path, look: Look) -> String {
    format!("f {} {} {}", look.changed, look.length, encoded(name))
}

fn taken(name: &Path, look: Look, Open { session, frame, at }: Open) -> String {
    format!("t {session} {frame} {at} {} {} {}", look.changed, look.length, encoded(name))
}

fn encoded(path: &Path) -> String {
    percent_encode(path.as_os_str().as_bytes(), PLAIN).to_string()
}

fn decoded(text: &str) -> PathBuf {
    OsString::from_vec(percent_decode_str(text).collect()).into()
}

fn line(text: &mut String, rest: &str) {
    // Writing to a string cannot fail.
    writeln!(text, "{:08x} {rest}", crc32fast::hash(rest.as_bytes())).ok();
}

/// Reads what [`Taken::text`] and the single lines have written. Never fails, whatever the bytes are.
pub fn read(bytes: &[u8]) -> Read {
    let mut read = Read::default();
    let mut answered: BTreeMap<Uuid, u64> = BTreeMap::new();
    for bytes in bytes.split(|byte| *byte == b'\n').filter(|bytes| !bytes.is_empty()) {
        read.lines += 1;
        if understood(bytes, &mut read, &mut answered).is_none() {
            read.damaged += 1;
        }
    }
    for (session, to) in answered {
        read.taken.answered(session, to);
    }
    read
}

fn understood(bytes: &[u8], read: &mut Read, answered: &mut BTreeMap<Uuid, u64>) -> Option<()> {
    let (crc, rest) = std::str::from_utf8(bytes).ok()?.split_once(' ')?;
    (u32::from_str_radix(crc, 16).ok()? == crc32fast::hash(rest.as_bytes())).then_some(())?;
    let mut fields = rest.split(' ');
    let mut next = || fields.next();
    match next()? {
        "h" => {
            read.folder = decoded(next()?);
            read.mount = Some(next()?).filter(|mount| *mount != "-").map(decoded);
        }
        kind @ ("t" | "o") => {
            let open = Open { session: next()?.parse().ok()?, frame: next()?.parse().ok()?, at: next()?.parse().ok()? };
            let look = Look { changed: next()?.parse().ok()?, length: next()?.parse().ok()? };
            let name = decoded(next()?);
            read.taken.mark(&name, look, Some(open).filter(|_| kind == "t"));
            if let Some(mark) = read.taken.marks.get_mut(&name).filter(|_| kind == "o") {
                mark.owed = Some(open);
            }
        }
        "a" => {
            let (session, to): (Uuid, u64) = (next()?.parse().ok()?, next()?.parse().ok()?);
            let known = answered.entry(session).or_default();
            *known = to.max(*known);
        }
        "f" => {
            let look = Look { changed: next()?.parse().ok()?, length: next()?.parse().ok()? };
            read.taken.mark(&decoded(next()?), look, None);
        }
        "l" => read.taken.forget(&decoded(next()?)),
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    const LOOK: Look = Look { changed: 17, length: 4 };

    fn session(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    fn open(frame: u64) -> Option<Open> {
        Some(Open { session: session(1), frame, at: 5 })
    }

    #[test]
    fn what_is_written_is_read_whatever_the_names_are() {
        let names = ["a b.png", "sub/ü%.png", "line\nfeed.png"].map(PathBuf::from);
        let odd = PathBuf::from(OsStr::from_bytes(b"gr\xfc\xdfe.png"));
        let mut taken = Taken::default();
        for (name, frame) in names.iter().chain([&odd]).zip(0..) {
            taken.mark(name, LOOK, (frame > 1).then(|| open(frame)).flatten());
        }
        let text = taken.text(Path::new("/data/in folder"), Some(Path::new("/data")));
        let found = read(text.as_bytes());
        assert_eq!((&found.taken, found.damaged, found.lines), (&taken, 0, 5));
        assert_eq!((found.folder, found.mount), ("/data/in folder".into(), Some("/data".into())));
        assert!(found.taken.has(&odd, LOOK) && !found.taken.has(&odd, Look { changed: 18, ..LOOK }));
    }

    #[test]
    fn a_cut_end_and_a_damaged_line_cost_themselves_alone() {
        let mut text = Taken::default().text(Path::new("/in"), None);
        for (name, frame) in [("1", 1), ("2", 2), ("3", 3)] {
            text += &taken_line(Path::new(name), LOOK, Open { session: session(1), frame, at: 5 });
        }
        let cut = read(&text.as_bytes()[..text.len() - 3]);
        assert_eq!((cut.taken.len(), cut.damaged), (2, 1));
        let damaged = read(text.replace(" 2 5 17 4 2", " 2 5 18 4 2").as_bytes());
        assert_eq!((damaged.taken.len(), damaged.damaged), (2, 1));
        assert_eq!(read(b"\xff\xfe\nnothing\n").damaged, 2);
    }

    #[test]
    fn frames_are_open_until_their_events_are_known() {
        let mut text = Taken::default().text(Path::new("/in"), None);
        for (name, frame) in [("1", 1), ("2", 2), ("3", 3), ("4", 4)] {
            text += &taken_line(Path::new(name), LOOK, Open { session: session(1), frame, at: 5 });
        }
        text += &answered_line(session(1), 2);
        text += &answered_line(session(2), 9);
        let taken = read(text.as_bytes()).taken;
        let mut names: Vec<&Path> = taken.open().map(|(name, ..)| name).collect();
        names.sort();
        assert_eq!(names, ["3", "4"].map(Path::new));
        // The next start has found out.
        for (name, fate) in [("3", Fate::Owed(9)), ("4", Fate::Lost)] {
            text += &fate_line(Path::new(name), LOOK, open(3).expect("open"), fate);
        }
        let taken = read(text.as_bytes()).taken;
        assert_eq!(taken.open().count(), 0);
        let owed: Vec<_> = taken.owed().collect();
        assert_eq!(owed, [(Path::new("3"), Open { session: session(1), frame: 3, at: 9 })]);
        let has = |name: &str| taken.has(Path::new(name), LOOK);
        assert_eq!(["1", "2", "3", "4"].map(has), [true, true, true, false]);
    }

    #[test]
    fn the_oldest_that_are_gone_are_forgotten() {
        let mut taken = Taken::default();
        let name = |number: usize| PathBuf::from(number.to_string());
        (0..MOST_GONE + 10).for_each(|number| taken.mark(&name(number), LOOK, None));
        let there = [name(0), name(1)];
        taken.seen(there.iter().map(PathBuf::as_path));
        assert_eq!(taken.len(), MOST_GONE + 2);
        assert!(taken.has(&name(0), LOOK) && !taken.has(&name(2), LOOK) && taken.has(&name(10), LOOK));
    }
}

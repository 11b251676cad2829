//! Which files of a watched folder are complete, in which order they come, and which never become whole: a pure state
//! machine that is told what was seen, and when.
//!
//! A file is complete once it was renamed to its name, or closed by its writer 100 ms ago, or has kept length and time for
//! half a second; one that was last changed more than ten seconds ago at once. Whether it is a whole picture shows when it
//! is read: one that is not waits until it changes, and is given up when it has not for five seconds. It holds up no other.
//! Complete files come in the order of their times of change, those of one time in the order of their names.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::listing::Look;
use super::names::natural_order;

/// Copying programs close a file and then give it the time of the original; an FTP client needs a round trip for that.
const CLOSED: Duration = Duration::from_millis(100);
/// How long a file must stay as it is when nobody saw its writer close it.
const SETTLED: Duration = Duration::from_millis(500);
/// A file that was changed longer ago than this is finished, or its writer has died.
pub const OLD: Duration = Duration::from_secs(10);
/// How long a file that is no whole picture is waited for after its last change.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a file came to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It was renamed to its name.
    Renamed,
    /// Its writer has closed it.
    Closed,
    /// It is there. Whoever writes it may still do so, unless its last change is long past.
    Found {
        /// Last changed more than [`OLD`] ago.
        old: bool,
    },
}

#[derive(Clone, Debug)]
enum Stage {
    /// For its end.
    Waits,
    Complete,
    /// It was read, and this is why it is no picture.
    Unwhole(String),
}

#[derive(Clone, Debug)]
struct Candidate {
    look: Look,
    /// Since when it looks as it does.
    since: Instant,
    /// When it is to be looked at again.
    due: Instant,
    stage: Stage,
}

/// The place of a complete file: by time, then by name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place(i64, PathBuf);

impl Ord for Place {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0).then_with(|| natural_order(&self.1, &other.1))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A file that will not become a picture any more.
#[derive(Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// Relative to the folder.
    pub name: PathBuf,
    /// As it is.
    pub look: Look,
    /// Why it is none.
    pub reason: String,
}

/// The files that are not taken yet.
#[derive(Debug, Default)]
pub struct Candidates {
    all: HashMap<PathBuf, Candidate>,
    complete: BTreeSet<Place>,
    due: BTreeSet<(Instant, PathBuf)>,
}

impl Candidates {
    /// A file that was not taken was seen.
    pub fn note(&mut self, name: &Path, look: Look, how: How, now: Instant) {
        let known = self.all.get(name);
        let same = known.filter(|known| known.look == look);
        if matches!(how, How::Found { .. }) && same.is_some() {
            return;
        }
        let since = same.map_or(now, |known| known.since);
        let due = match how {
            How::Renamed | How::Found { old: true } => now,
            How::Closed => now + CLOSED,
            How::Found { old: false } => since + SETTLED,
        };
        self.forget(name);
        self.wait(name, Candidate { look, since, due, stage: Stage::Waits });
    }

    fn wait(&mut self, name: &Path, candidate: Candidate) {
        self.due.insert((candidate.due, name.to_owned()));
        self.all.insert(name.to_owned(), candidate);
    }

    /// A file is not there any more, or was taken. True when it was complete.
    pub fn forget(&mut self, name: &Path) -> bool {
        let Some(candidate) = self.all.remove(name) else { return false };
        self.due.remove(&(candidate.due, name.to_owned()));
        matches!(candidate.stage, Stage::Complete) && self.complete.remove(&Place(candidate.look.changed, name.into()))
    }

    /// A file is not there any more. One that is complete keeps its place: that nobody can read it will be told. False
    /// when it does.
    pub fn forget_unless_complete(&mut self, name: &Path) -> bool {
        let complete = self.all.get(name).is_some_and(|known| matches!(known.stage, Stage::Complete));
        if !complete {
            self.forget(name);
        }
        !complete
    }

    /// Files that are waited for and are not complete yet.
    pub fn names(&self) -> impl Iterator<Item = &Path> {
        let waits = |(_, candidate): &(&PathBuf, &Candidate)| !matches!(candidate.stage, Stage::Complete);
        self.all.iter().filter(waits).map(|(name, _)| name.as_path())
    }

    /// Decides about what is due; `look` looks at a file again. Returns a file that is given up: ask again.
    pub fn settle(&mut self, now: Instant, look: impl Fn(&Path) -> Option<Look>) -> Option<GivenUp> {
        while self.due.first().is_some_and(|(due, _)| *due <= now)
            && let Some((_, name)) = self.due.pop_first()
        {
            let Some(mut candidate) = self.all.remove(&name) else { continue };
            let Some(look) = look(&name) else {
                tracing::info!("{}: deleted before it was complete", name.display());
                continue;
            };
            if look != candidate.look {
                // Somebody writes.
                let stage = Stage::Waits;
                self.wait(&name, Candidate { look, since: now, due: now + SETTLED, stage });
                continue;
            }
            candidate.due = now + SETTLED;
            let patient = now.duration_since(candidate.since) < PATIENCE;
            match candidate.stage {
                Stage::Unwhole(reason) if !patient => return Some(GivenUp { name, look, reason }),
                Stage::Waits if look.length > 0 => {
                    self.complete.insert(Place(look.changed, name.clone()));
                    self.all.insert(name, Candidate { stage: Stage::Complete, ..candidate });
                }
                Stage::Waits => {
                    let stage = Stage::Unwhole("the file is empty".into());
                    self.wait(&name, Candidate { stage, ..candidate });
                }
                _ => self.wait(&name, candidate),
            }
        }
        None
    }

    /// The next complete file, and how it was when it was found so.
    pub fn next(&mut self) -> Option<(PathBuf, Look, Instant)> {
        let Place(_, name) = self.complete.pop_first()?;
        let candidate = self.all.remove(&name)?;
        Some((name, candidate.look, candidate.since))
    }

    /// A complete file is no whole picture: it waits for its next change.
    pub fn unwhole(&mut self, name: &Path, (look, since): (Look, Instant), reason: String, now: Instant) {
        self.wait(name, Candidate { look, since, due: now + SETTLED, stage: Stage::Unwhole(reason) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn look(changed: i64, length: u64) -> Look {
        Look { changed, length }
    }

    fn names(candidates: &mut Candidates) -> Vec<String> {
        std::iter::from_fn(|| candidates.next()).map(|(name, ..)| name.display().to_string()).collect()
    }

    #[test]
    fn files_come_when_they_are_complete_by_time_then_name() {
        let (mut candidates, t) = (Candidates::default(), Instant::now());
        let still = look(7, 3);
        for (name, how) in [
            ("renamed10", How::Renamed),
            ("renamed9", How::Renamed),
            ("closed", How::Closed),
            ("old", How::Found { old: true }),
            ("found", How::Found { old: false }),
        ] {
            candidates.note(Path::new(name), still, how, t);
        }
        candidates.note(Path::new("earlier"), look(6, 3), How::Renamed, t);
        let at = |candidates: &mut Candidates, ms: u32| {
            let same = |name: &Path| Some(if name == Path::new("earlier") { look(6, 3) } else { still });
            assert_eq!(candidates.settle(t + ms * MS, same), None);
            names(candidates)
        };
        assert_eq!(at(&mut candidates, 0), ["earlier", "old", "renamed9", "renamed10"]);
        assert_eq!(at(&mut candidates, 99), [""; 0]);
        assert_eq!(at(&mut candidates, 100), ["closed"]);
        assert_eq!(at(&mut candidates, 500), ["found"]);
    }

    #[test]
    fn one_that_changes_is_waited_for_and_one_that_goes_is_forgotten() {
        let (mut candidates, t) = (Candidates::default(), Instant::now());
        candidates.note(Path::new("a"), look(1, 1), How::Closed, t);
        candidates.note(Path::new("b"), look(1, 1), How::Closed, t);
        let grown = |name: &Path| (name == Path::new("a")).then_some(look(2, 9));
        assert_eq!(candidates.settle(t + 100 * MS, grown), None);
        assert_eq!(candidates.settle(t + 599 * MS, grown), None);
        assert_eq!(names(&mut candidates), [""; 0]);
        assert_eq!(candidates.settle(t + 600 * MS, grown), None);
        assert_eq!(names(&mut candidates), ["a"]);
        assert!(candidates.due.is_empty() && candidates.all.is_empty());
    }

    #[test]
    fn one_that_is_not_whole_is_given_up_once_and_keeps_nobody_waiting() {
        let (mut candidates, t) = (Candidates::default(), Instant::now());
        let same = |_: &Path| Some(look(1, 1));
        candidates.note(Path::new("a"), look(1, 1), How::Renamed, t);
        candidates.note(Path::new("b"), look(1, 1), How::Renamed, t);
        assert_eq!(candidates.settle(t, same), None);
        let (name, look_then, since) = candidates.next().expect("complete");
        candidates.unwhole(&name, (look_then, since), "cut off".into(), t);
        assert_eq!(names(&mut candidates), ["b"]);
        // Seen again as it is: nothing new.
        candidates.note(Path::new("a"), look(1, 1), How::Found { old: true }, t + 500 * MS);
        assert_eq!(candidates.settle(t + 4_900 * MS, same), None);
        let given_up = candidates.settle(t + 5_400 * MS, same).expect("given up");
        assert_eq!((given_up.name.as_path(), given_up.reason.as_str()), (Path::new("a"), "cut off"));
        assert_eq!(candidates.settle(t + 60_000 * MS, same), None);
        // An empty one is waited for in the same way, and is whole as soon as it was written.
        candidates.note(Path::new("c"), look(1, 0), How::Closed, t);
        assert_eq!(candidates.settle(t + 100 * MS, |_| Some(look(1, 0))), None);
        candidates.note(Path::new("c"), look(2, 5), How::Closed, t + 200 * MS);
        assert_eq!(candidates.settle(t + 300 * MS, |_| Some(look(2, 5))), None);
        assert_eq!(names(&mut candidates), ["c"]);
    }
}

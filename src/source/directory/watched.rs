//! A folder into which others put pictures: what is new there, told by the kernel or found by looking.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::candidates::{Candidates, GivenUp, How, OLD};
use super::listing::{Listing, Look, Wanted};
use super::memory::{Memory, MemorySpec};
use super::names::{is_folder_set_aside, is_picture};
use super::notices::{Notice, Notices};
use super::place::{Place, is_mounted, mount};
use super::taken::Open;
use crate::clock::Clock;

/// How often the kernel is asked for news, and complete files are looked for: the delay it adds to a part.
pub const ASK: Duration = Duration::from_millis(10);
/// How often a folder is looked at whose changes nobody tells, when that is quick.
const LOOK: Duration = Duration::from_millis(200);
/// Share of the time that may be spent on looking, where nobody tells and where somebody does.
const LOOKING: u32 = 20;
const MAKING_SURE: u32 = 200;
/// How often a folder is looked at whose changes are told: to be sure.
const SURE: Duration = Duration::from_secs(60);
/// How often it is looked whether the folder is still there.
const STILL_THERE: Duration = Duration::from_secs(1);

/// The folder cannot be watched, for now.
#[derive(Debug, thiserror::Error)]
#[error("{0}; the line goes on by itself when it is back")]
pub struct Fault(String);

/// What a watched folder has.
#[derive(Debug)]
pub enum New {
    /// A complete file.
    File {
        /// Relative to the folder.
        name: PathBuf,
        /// As it was when it was complete.
        look: Look,
        /// Since when.
        since: Instant,
    },
    /// A file that has not become whole.
    GivenUp(GivenUp),
}

/// Who tells what is new.
enum Teller {
    Kernel(Notices),
    Nobody,
}

/// A watched folder.
pub struct Watched {
    root: PathBuf,
    wanted: Wanted,
    camera: Arc<str>,
    clock: Arc<dyn Clock>,
    place: Place,
    teller: Teller,
    candidates: Candidates,
    memory: Memory,
    /// When the whole folder is looked at next.
    look_at: Instant,
    /// When it is next looked whether it is there.
    check_at: Instant,
    unreadable: BTreeSet<PathBuf>,
}

impl Watched {
    /// Begins to watch, and finds what is there.
    pub fn open(
        root: &Path,
        wanted: Wanted,
        memory: Option<&MemorySpec>,
        camera: Arc<str>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Fault> {
        let gone = |error: io::Error| Fault(format!("{error}: make or mount the folder"));
        let place = Place::of(root).map_err(gone)?;
        // Whatever the working directory is at the next start.
        let own = std::path::absolute(root).map_err(gone)?;
        let memory = match Memory::open(memory, &own, mount(root), is_mounted) {
            Ok(Ok(memory)) => memory,
            Ok(Err(was)) => {
                let file = memory.map(|memory| memory.file.display().to_string()).unwrap_or_default();
                return Err(Fault(format!(
                    "nothing is mounted at {}, where the folder's pictures were: mount it, or delete {file} if they are \
                     somewhere else now",
                    was.display()
                )));
            }
            Err(error) => {
                let file = memory.map(|memory| memory.file.display().to_string()).unwrap_or_default();
                return Err(Fault(format!("what was taken of it cannot be read or written: {file}: {error}")));
            }
        };
        let teller = match Notices::are_told(root).and_then(|()| Notices::start().map_err(|error| error.to_string())) {
            Ok(notices) => Teller::Kernel(notices),
            Err(why) => {
                tracing::info!(%camera, "{}: looked at again and again, because {why}", root.display());
                Teller::Nobody
            }
        };
        let now = Instant::now();
        let mut watched = Self {
            root: root.to_owned(),
            wanted,
            camera,
            clock,
            place,
            teller,
            candidates: Candidates::default(),
            memory,
            look_at: now,
            check_at: now,
            unreadable: BTreeSet::new(),
        };
        watched.look(now)?;
        Ok(watched)
    }

    /// What is complete, or given up; never waits.
    pub fn next(&mut self) -> Result<Option<New>, Fault> {
        let now = Instant::now();
        self.memory.tick();
        if now >= self.check_at {
            self.check_at = now + STILL_THERE;
            self.still_there()?;
        }
        self.hear(now)?;
        if now >= self.look_at {
            self.look(now)?;
        }
        let root = &self.root;
        if let Some(given_up) = self.candidates.settle(now, |name| Look::at(&root.join(name))) {
            self.memory.take(&given_up.name, given_up.look);
            return Ok(Some(New::GivenUp(given_up)));
        }
        Ok(self.candidates.next().map(|(name, look, since)| {
            self.memory.take(&name, look);
            New::File { name, look, since }
        }))
    }

    /// The file that came last has shown not to be whole: it is waited for.
    pub fn put_back(&mut self, name: &Path, (look, since): (Look, Instant), reason: String) {
        self.memory.untake(name);
        self.candidates.unwhole(name, (look, since), reason, Instant::now());
    }

    /// The file that came last was written while it was read.
    pub fn put_back_changed(&mut self, name: &Path, look: Look) {
        self.memory.untake(name);
        self.candidates.note(name, look, How::Found { old: false }, Instant::now());
    }

    /// The file that came last becomes this frame.
    pub fn hand_over(&mut self, name: &Path, look: Look, session: Uuid, frame: u64) {
        let at = self.clock.now().wall.as_millisecond();
        self.memory.hand_over(name, look, Open { session, frame, at });
    }

    /// Every frame up to this one has its event.
    pub fn answered(&mut self, to: u64) {
        self.memory.answered(to);
    }

    fn still_there(&self) -> Result<(), Fault> {
        match Place::of(&self.root) {
            Ok(place) if place == self.place => Ok(()),
            Ok(_) => Err(Fault("another folder or file system lies there now".into())),
            Err(error) => Err(Fault(format!("{error}: make or mount the folder"))),
        }
    }

    /// What the kernel tells.
    fn hear(&mut self, now: Instant) -> Result<(), Fault> {
        let Teller::Kernel(notices) = &mut self.teller else { return Ok(()) };
        let notices = notices.read().map_err(|error| Fault(format!("its changes are not told any more: {error}")))?;
        for notice in notices {
            match notice {
                Notice::Written(name) => self.changed(&name, How::Closed, now),
                Notice::Renamed { from, to } => self.renamed(from.as_deref(), &to, now)?,
                Notice::Appeared(name) => {
                    let how = self.found(Look::at(&self.root.join(&name)));
                    self.changed(&name, how, now);
                    self.entered(&name, now)?;
                }
                Notice::Gone(name) => {
                    if !self.candidates.forget_unless_complete(&name) {
                        tracing::debug!(camera = %self.camera, "{}: gone", name.display());
                    }
                }
                Notice::Overflow => {
                    tracing::warn!(camera = %self.camera, "{}: more has changed than the kernel tells; looked at as a whole", self.root.display());
                    self.look_at = now;
                }
                Notice::Lost(why) => return Err(Fault(format!("{why}: make or mount the folder"))),
            }
        }
        Ok(())
    }

    fn is_wanted(&self, name: &Path) -> bool {
        name.file_name().is_some_and(|name| is_picture(name, &self.wanted.endings))
    }

    fn changed(&mut self, name: &Path, how: How, now: Instant) {
        if self.is_wanted(name)
            && let Some(look) = Look::at(&self.root.join(name))
        {
            self.note(name, look, how, now);
        }
    }

    fn note(&mut self, name: &Path, look: Look, how: How, now: Instant) {
        if !self.memory.has(name, look) {
            self.candidates.note(name, look, how, now);
        }
    }

    /// A picture that was taken, or is about to be, is no other one under another name.
    fn renamed(&mut self, from: Option<&Path>, to: &Path, now: Instant) -> Result<(), Fault> {
        let look = Look::at(&self.root.join(to));
        if let (Some(from), Some(look)) = (from, look) {
            self.candidates.forget(from);
            if self.is_wanted(from) && self.memory.renamed(from, to, look) {
                return Ok(());
            }
        } else if let Some(from) = from {
            self.memory.folder_renamed(from, to);
        }
        self.changed(to, How::Renamed, now);
        self.entered(to, now)
    }

    /// When this is a folder, and those are wanted, what is in it is new as well.
    fn entered(&mut self, name: &Path, now: Instant) -> Result<(), Fault> {
        let is_folder = |path: &Path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
        let set_aside = name.components().any(|step| is_folder_set_aside(step.as_os_str()));
        if self.wanted.recursive && !set_aside && is_folder(&self.root.join(name)) {
            self.look_below(name, now)?;
        }
        Ok(())
    }

    fn look_below(&mut self, below: &Path, now: Instant) -> Result<Vec<PathBuf>, Fault> {
        let listing = loop {
            // First watched, then listed: nothing falls between.
            self.watch(below);
            let listing = match Listing::of(&self.root, below, &self.wanted) {
                Ok(listing) => listing,
                // It is gone again.
                Err(_) if !below.as_os_str().is_empty() => Listing::default(),
                Err(error) => return Err(Fault(error.to_string())),
            };
            let new: Vec<&PathBuf> = listing.folders.iter().filter(|folder| !self.is_watched(folder)).collect();
            if new.is_empty() {
                break listing;
            }
            for folder in new.into_iter().cloned().collect::<Vec<_>>() {
                self.watch(&folder);
            }
        };
        for (folder, error) in &listing.unreadable {
            if self.unreadable.insert(folder.clone()) {
                tracing::error!(camera = %self.camera, "{}: {error}; its pictures are not seen", self.root.join(folder).display());
            }
        }
        let mut names = Vec::with_capacity(listing.files.len());
        for (name, look) in listing.files {
            let how = self.found(Some(look));
            self.note(&name, look, how, now);
            names.push(name);
        }
        Ok(names)
    }

    fn is_watched(&self, folder: &Path) -> bool {
        match &self.teller {
            Teller::Kernel(notices) => notices.is_watched(folder),
            Teller::Nobody => true,
        }
    }

    fn watch(&mut self, folder: &Path) {
        let Teller::Kernel(notices) = &mut self.teller else { return };
        match notices.watch(&self.root, folder) {
            Ok(()) => {}
            // It is gone again, or not to be read, which is told elsewhere.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
                notices.pass_over(folder);
            }
            Err(error) => {
                tracing::warn!(
                    camera = %self.camera,
                    "{}: {error}; looked at again and again from now on (sysctl fs.inotify.max_user_watches)",
                    self.root.join(folder).display()
                );
                self.teller = Teller::Nobody;
            }
        }
    }

    fn found(&self, look: Option<Look>) -> How {
        let now = self.clock.now().wall.as_nanosecond();
        let age = look.map_or(0, |look| now - i128::from(look.changed));
        How::Found { old: age > OLD.as_nanos() as i128 }
    }

    /// Looks at everything.
    fn look(&mut self, now: Instant) -> Result<(), Fault> {
        self.still_there()?;
        let names = self.look_below(Path::new(""), now)?;
        self.memory.seen(names.iter().map(PathBuf::as_path));
        let names: BTreeSet<&Path> = names.iter().map(PathBuf::as_path).collect();
        let gone: Vec<PathBuf> =
            self.candidates.names().filter(|name| !names.contains(name)).map(Path::to_owned).collect();
        for name in gone {
            self.candidates.forget(&name);
        }
        let took = now.elapsed();
        let pause = match self.teller {
            Teller::Kernel(_) => SURE.max(took * MAKING_SURE),
            Teller::Nobody => LOOK.max(took * LOOKING),
        };
        self.look_at = Instant::now() + pause;
        Ok(())
    }
}

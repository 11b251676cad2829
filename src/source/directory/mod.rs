//! A folder of images as a camera: recorded parts, test data, or pictures that another program drops there.
//!
//! ```text
//! once:    listing ─ names ─▶ natural order ─▶ read ─▶ frame
//! watched: notices (inotify) or listing ─▶ candidates: complete, in order ─▶ read ─▶ frame
//!                                            └─ memory (taken, journal): each file once, also across a restart
//! ```

mod candidates;
mod journal;
mod listing;
mod memory;
mod names;
mod notices;
mod once;
mod place;
mod spec;
mod taken;
mod watched;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use image::ImageReader;
use uuid::Uuid;

use super::image_file::{self, EXTENSIONS};
use super::{Source, SourceContext, SourceError};
use crate::clock::ClockSource;
use crate::frame::{Frame, Image};
use candidates::GivenUp;
use once::Once;
use watched::{ASK, New, Watched};

pub use listing::{Listing, Look, Wanted};
pub use memory::{Left, MemorySpec, OpenFile, open_files, settle};
pub use names::{is_folder_set_aside, is_picture, natural_order};
pub use spec::DirectorySpec;
pub use taken::{Fate, Open};

/// Slowest and fastest rate, frames per second: one an hour, and more than any disk gives.
const MIN_FPS: f64 = 1.0 / 3600.0;
const MAX_FPS: f64 = 10_000.0;

/// How often an empty folder is looked at that is to be repeated once there is something in it.
const EMPTY: Duration = Duration::from_millis(200);

/// Delivers the images of a folder, one frame each: in natural order, or, when it is watched, as they become complete.
///
/// An image that cannot be read takes a sequence number and is told as [`SourceError::Damaged`]. Pictures are read once
/// they are asked for, never ahead.
pub struct DirectorySource {
    spec: DirectorySpec,
    context: SourceContext,
    feed: Feed,
    seq: u64,
    /// Frames of the current round: a round without any would repeat for ever.
    delivered: u64,
    due: Option<Instant>,
    /// The watched file that came last.
    last: Option<(PathBuf, Look)>,
    stopped: bool,
}

enum Feed {
    Once(Once),
    Watched(Box<Watched>),
}

impl DirectorySource {
    /// Opens the folder. One that is missing, or holds no image, is an error, unless it is watched: then a missing one is
    /// lost for now.
    pub fn open(spec: DirectorySpec, context: SourceContext) -> Result<Self, SourceError> {
        if let Some(fps) = spec.fps.filter(|fps| !(MIN_FPS..=MAX_FPS).contains(fps)) {
            let reason = format!("fps = {fps} must be {MIN_FPS:.5} to {MAX_FPS}");
            return Err(SourceError::Pipeline { camera: context.camera.to_string(), reason });
        }
        let wanted = Wanted { endings: spec.extensions.clone(), recursive: spec.recursive };
        let feed = if spec.watch && !spec.repeat {
            let (camera, clock) = (Arc::clone(&context.camera), Arc::clone(&context.clock));
            let watched = Watched::open(&spec.path, wanted, spec.memory.as_ref(), camera, clock);
            Feed::Watched(Box::new(watched.map_err(|fault| lost(&context, &spec.path, fault))?))
        } else {
            let once = Once::open(&spec.path, wanted).map_err(|error| refuse(&context, &spec.path, error))?;
            if once.is_empty() && !spec.watch {
                let endings = endings(&spec.extensions);
                return Err(refuse(&context, &spec.path, format!("holds no image ({endings})")));
            }
            Feed::Once(once)
        };
        Ok(Self { spec, context, feed, seq: 0, delivered: 0, due: None, last: None, stopped: false })
    }

    /// The next file of the folder. `Ok(None)`: nothing for now.
    fn file(&mut self) -> Result<Option<New>, SourceError> {
        let Self { spec, context, feed, delivered, .. } = self;
        let once = match feed {
            Feed::Watched(watched) => {
                return watched.next().map_err(|fault| lost(context, &spec.path, fault));
            }
            Feed::Once(once) => once,
        };
        if once.is_empty() {
            if !spec.repeat {
                return Err(SourceError::Ended { camera: context.camera.to_string() });
            }
            if *delivered == 0 && !spec.watch {
                return Err(refuse(context, &spec.path, "holds no image that can be read"));
            }
            *delivered = 0;
            once.list().map_err(|error| refuse(context, &spec.path, error))?;
            if once.is_empty() && !spec.watch {
                return Err(SourceError::Ended { camera: context.camera.to_string() });
            }
        }
        let new = |name: PathBuf| New::File {
            look: Look::at(&spec.path.join(&name)).unwrap_or(Look { changed: 0, length: 0 }),
            name,
            since: Instant::now(),
        };
        Ok(once.next().map(new))
    }

    /// Reads a file. `Ok(None)`: it has to be waited for.
    fn read(&mut self, name: PathBuf, look: Look, since: Instant) -> Result<Option<Frame>, SourceError> {
        let path = self.spec.path.join(&name);
        let read = image_file::load_of_sensor(&path);
        if let Feed::Watched(watched) = &mut self.feed {
            match (&read, Look::at(&path)) {
                (_, Some(now)) if now != look => {
                    watched.put_back_changed(&name, now);
                    return Ok(None);
                }
                (Err(error), Some(_)) => {
                    watched.put_back(&name, (look, since), error.to_string());
                    return Ok(None);
                }
                (Err(_), None) => return Err(self.damaged(&name, look, "deleted before it was read".into())),
                (Ok(_), _) => {}
            }
        }
        match read {
            Ok(image) => Ok(Some(self.frame(&name, look, image))),
            Err(error) => Err(self.damaged(&name, look, error.to_string())),
        }
    }

    fn frame(&mut self, name: &Path, look: Look, image: Image) -> Frame {
        self.delivered += 1;
        self.last = Some((name.to_owned(), look));
        Frame {
            camera: Arc::clone(&self.context.camera),
            seq: self.number(),
            part: None,
            captured: self.context.clock.now(),
            clock: ClockSource::System,
            file: Some(name.to_string_lossy().into()),
            image,
        }
    }

    fn number(&mut self) -> u64 {
        self.seq += 1;
        self.seq - 1
    }

    /// A file that gives no frame, and never will as it is.
    fn damaged(&mut self, name: &Path, look: Look, reason: String) -> SourceError {
        self.last = Some((name.to_owned(), look));
        let seq = self.number();
        let size = image_size(&self.spec.path.join(name));
        let (camera, file) = (self.context.camera.to_string(), name.to_string_lossy().into());
        SourceError::Damaged { camera, seq, file, size, reason }
    }

    /// Counted from the previous due time, so that the rate holds on average; never in a burst.
    fn pace(&mut self) {
        self.due = self.spec.fps.map(|fps| {
            let now = Instant::now();
            let gap = Duration::from_secs_f64(1.0 / fps);
            self.due.map_or(now + gap, |due| (due + gap).max(now))
        });
    }
}

impl Source for DirectorySource {
    fn next(&mut self, timeout: Duration) -> Result<Option<Frame>, SourceError> {
        let deadline = Instant::now() + timeout;
        loop {
            if self.stopped {
                return Err(SourceError::Ended { camera: self.context.camera.to_string() });
            }
            let now = Instant::now();
            if let Some(due) = self.due.filter(|due| *due > now) {
                std::thread::sleep(due.min(deadline).saturating_duration_since(now));
                if due > deadline {
                    return Ok(None);
                }
            }
            let pause = match self.file()? {
                Some(New::File { name, look, since }) => {
                    if let Some(frame) = self.read(name, look, since)? {
                        self.pace();
                        return Ok(Some(frame));
                    }
                    Duration::ZERO
                }
                Some(New::GivenUp(GivenUp { name, look, reason })) => return Err(self.damaged(&name, look, reason)),
                None if matches!(self.feed, Feed::Watched(_)) => ASK,
                None => EMPTY,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            std::thread::sleep(pause.min(left));
        }
    }

    fn hand_over(&mut self, session: Uuid, frame: u64) {
        if let (Feed::Watched(watched), Some((name, look))) = (&mut self.feed, self.last.take()) {
            watched.hand_over(&name, look, session, frame);
        }
    }

    fn answered(&mut self, to: u64) {
        if let Feed::Watched(watched) = &mut self.feed {
            watched.answered(to);
        }
    }

    fn stop(&mut self) {
        self.stopped = true;
    }
}

/// Columns and rows that the head of a file tells, whatever follows it.
pub fn image_size(path: &Path) -> Option<(u32, u32)> {
    let size = ImageReader::open(path).ok()?.with_guessed_format().ok()?.into_dimensions().ok()?;
    (size.0 > 0 && size.1 > 0).then_some(size)
}

fn endings(wanted: &[String]) -> String {
    if wanted.is_empty() { EXTENSIONS.join(", ") } else { wanted.join(", ").replace('.', "") }
}

fn refuse(context: &SourceContext, path: &Path, reason: impl ToString) -> SourceError {
    let reason = reason.to_string();
    SourceError::File { camera: context.camera.to_string(), path: path.to_owned(), reason }
}

/// Trying again later helps.
fn lost(context: &SourceContext, path: &Path, fault: impl ToString) -> SourceError {
    let (camera, address) = (context.camera.to_string(), path.display().to_string());
    SourceError::Lost { camera, address, reason: fault.to_string() }
}

#[cfg(test)]
mod tests;

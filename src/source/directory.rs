//! A folder of images as a camera: recorded parts, test data, or pictures that another program drops there.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::image_file::{self, EXTENSIONS};
use super::{Source, SourceContext, SourceError};
use crate::clock::ClockSource;
use crate::frame::Frame;

/// How often a watched folder is looked at, and how long a file there must stay as it is before it is taken: whoever
/// writes a picture does not pause that long.
const POLL: Duration = Duration::from_millis(200);

/// Slowest and fastest rate, frames per second: one an hour, and more than any disk gives.
const MIN_FPS: f64 = 1.0 / 3600.0;
const MAX_FPS: f64 = 10_000.0;

/// Which folder, and how to go through it.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectorySpec {
    /// The folder; its subfolders are not entered.
    pub path: PathBuf,
    /// File name endings to take, in any letter case; empty takes all that can be read.
    pub extensions: Vec<String>,
    /// Starts over after the last image.
    pub repeat: bool,
    /// Frames per second at most; `None` delivers as fast as frames are taken.
    pub fps: Option<f64>,
    /// Waits for new files after the last image instead of ending.
    pub watch: bool,
}

/// Length and time of the last change: when both stay, nobody is writing.
type Look = (u64, SystemTime);

/// Delivers the images of a folder in natural order (`img2` before `img10`), one frame each.
///
/// An image that cannot be read gives no frame: it is logged with its reason and takes a sequence number, so the
/// gap shows in the events. Pictures are read once they are asked for, never ahead. In a watched folder a file is taken
/// when it has stopped changing, and again when it was written anew.
pub struct DirectorySource {
    spec: DirectorySpec,
    context: SourceContext,
    waiting: VecDeque<(PathBuf, Look)>,
    /// Files that were queued before and are still listed, as they were then; anything else is new.
    seen: BTreeMap<PathBuf, Look>,
    /// Files of a watched folder, and since when they look as they do.
    settling: BTreeMap<PathBuf, (Look, Instant)>,
    seq: u64,
    /// Frames of the current round: a round without any would repeat for ever.
    delivered: u64,
    due: Option<Instant>,
    stopped: bool,
}

impl DirectorySource {
    /// Lists the folder. A folder that is missing, or holds no image and is not watched, is an error.
    pub fn open(spec: DirectorySpec, context: SourceContext) -> Result<Self, SourceError> {
        if let Some(fps) = spec.fps.filter(|fps| !(MIN_FPS..=MAX_FPS).contains(fps)) {
            let reason = format!("fps = {fps} must be {MIN_FPS:.5} to {MAX_FPS}");
            return Err(SourceError::Pipeline { camera: context.camera.to_string(), reason });
        }
        let mut source = Self {
            spec,
            context,
            waiting: VecDeque::new(),
            seen: BTreeMap::new(),
            settling: BTreeMap::new(),
            seq: 0,
            delivered: 0,
            due: None,
            stopped: false,
        };
        source.look_for_new()?;
        if source.waiting.is_empty() && !source.spec.watch {
            let endings = source.endings().join(", ");
            return Err(source.refuse(&source.spec.path, format!("holds no image ({endings})")));
        }
        Ok(source)
    }

    fn refuse(&self, path: &Path, reason: impl ToString) -> SourceError {
        SourceError::File { camera: self.context.camera.to_string(), path: path.to_owned(), reason: reason.to_string() }
    }

    fn endings(&self) -> Vec<&str> {
        if self.spec.extensions.is_empty() {
            EXTENSIONS.to_vec()
        } else {
            self.spec.extensions.iter().map(|ending| ending.trim_start_matches('.')).collect()
        }
    }

    fn look_for_new(&mut self) -> Result<(), SourceError> {
        let endings = self.endings();
        let refused = |error: std::io::Error| self.refuse(&self.spec.path, error);
        let mut listed = BTreeMap::new();
        for entry in std::fs::read_dir(&self.spec.path).map_err(refused)? {
            let path = entry.map_err(refused)?.path();
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            // What is gone again since it was listed is not there.
            if endings.iter().any(|wanted| wanted.eq_ignore_ascii_case(ending))
                && let Some(look) = look_at(&path)
            {
                listed.insert(path, look);
            }
        }
        self.seen.retain(|path, _| listed.contains_key(path));
        self.settling.retain(|path, _| listed.contains_key(path));
        let mut new: Vec<(PathBuf, Look)> = listed
            .into_iter()
            .filter(|(path, look)| self.seen.get(path) != Some(look) && (!self.spec.watch || self.settled(path, *look)))
            .collect();
        new.sort_by(|(a, _), (b, _)| natural_order(&a.to_string_lossy(), &b.to_string_lossy()).then_with(|| a.cmp(b)));
        self.seen.extend(new.iter().cloned());
        self.waiting.extend(new);
        Ok(())
    }

    /// Has this file looked like that for long enough? One without content is still to be written.
    fn settled(&mut self, path: &Path, look: Look) -> bool {
        let now = Instant::now();
        let (before, since) = self.settling.entry(path.to_owned()).or_insert((look, now));
        if *before != look {
            (*before, *since) = (look, now);
        }
        look.0 > 0 && now.duration_since(*since) >= POLL
    }

    /// Was this file of a watched folder changed while it waited? Then a later look queues it again.
    fn changed(&mut self, path: &Path, look: Look) -> bool {
        let changed = self.spec.watch && look_at(path).is_some_and(|now| now != look);
        if changed {
            self.seen.remove(path);
        }
        changed
    }

    /// Refills the queue when it ran dry. `Ok(false)` is a watched folder with nothing new.
    fn refill(&mut self) -> Result<bool, SourceError> {
        if self.spec.repeat && !self.seen.is_empty() {
            if self.delivered == 0 {
                return Err(self.refuse(&self.spec.path, "holds no image that can be read"));
            }
            self.delivered = 0;
            self.seen.clear();
        } else if !self.spec.watch {
            return Err(SourceError::Ended { camera: self.context.camera.to_string() });
        }
        self.look_for_new()?;
        if self.waiting.is_empty() && !self.spec.watch {
            return Err(SourceError::Ended { camera: self.context.camera.to_string() });
        }
        Ok(!self.waiting.is_empty())
    }

    fn frame(&mut self, path: &Path) -> Option<Frame> {
        let seq = self.seq;
        self.seq += 1;
        match image_file::load(path) {
            Ok(image) => {
                self.delivered += 1;
                Some(Frame {
                    camera: self.context.camera.clone(),
                    seq,
                    part: None,
                    captured: self.context.clock.now(),
                    clock: ClockSource::System,
                    image,
                })
            }
            Err(error) => {
                tracing::warn!(camera = %self.context.camera, seq, "skipped: {error}");
                None
            }
        }
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
            if self.waiting.is_empty() && !self.refill()? {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(None);
                }
                std::thread::sleep(POLL.min(left));
                continue;
            }
            let Some((path, look)) = self.waiting.pop_front() else { continue };
            if self.changed(&path, look) {
                continue;
            }
            if let Some(frame) = self.frame(&path) {
                // Counted from the previous due time, so that the rate holds on average; never in a burst.
                self.due = self.spec.fps.map(|fps| {
                    let now = Instant::now();
                    let gap = Duration::from_secs_f64(1.0 / fps);
                    self.due.map_or(now + gap, |due| (due + gap).max(now))
                });
                return Ok(Some(frame));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
        }
    }

    fn stop(&mut self) {
        self.stopped = true;
        self.waiting.clear();
    }
}

/// A regular file's length and time of change; `None` when there is none.
fn look_at(path: &Path) -> Option<Look> {
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    Some((metadata.len(), metadata.modified().ok()?))
}

/// Compares runs of digits by their value and everything else by character.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (digits_a, rest_a) = split_digits(a);
        let (digits_b, rest_b) = split_digits(b);
        if digits_a.is_empty() || digits_b.is_empty() {
            let (mut chars_a, mut chars_b) = (a.chars(), b.chars());
            match (chars_a.next(), chars_b.next()) {
                (Some(x), Some(y)) if x == y => (a, b) = (chars_a.as_str(), chars_b.as_str()),
                (x, y) => return x.cmp(&y),
            }
            continue;
        }
        let (value_a, value_b) = (digits_a.trim_start_matches('0'), digits_b.trim_start_matches('0'));
        let order = value_a.len().cmp(&value_b.len()).then_with(|| value_a.cmp(value_b));
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;

    const SOON: Duration = Duration::from_secs(5);

    fn spec(path: &Path) -> DirectorySpec {
        DirectorySpec { path: path.to_owned(), extensions: Vec::new(), repeat: false, fps: None, watch: false }
    }

    fn open(spec: DirectorySpec) -> Result<DirectorySource, SourceError> {
        let context = SourceContext { camera: Arc::from("top"), clock: Arc::new(SystemClock) };
        DirectorySource::open(spec, context)
    }

    /// A grey picture of one pixel, its level telling which file it came from.
    fn write(folder: &Path, name: &str, level: u8) {
        image::GrayImage::from_raw(1, 1, vec![level]).expect("one pixel").save(folder.join(name)).expect("writable");
    }

    fn next(source: &mut DirectorySource) -> (u64, u8) {
        let frame = source.next(SOON).expect("readable").expect("in time");
        (frame.seq, frame.image.data()[0])
    }

    #[test]
    fn images_come_in_natural_order_and_end() {
        let folder = tempfile::tempdir().expect("temporary folder");
        for (name, level) in [("img10.png", 10), ("img2.png", 2), ("IMG1.PNG", 1), ("notes.txt.png", 99)] {
            write(folder.path(), name, level);
        }
        std::fs::write(folder.path().join("notes.txt"), "no image").expect("writable");
        let mut source = open(spec(folder.path())).expect("images");
        let frames: Vec<_> = (0..4).map(|_| next(&mut source)).collect();
        assert_eq!(frames, [(0, 1), (1, 2), (2, 10), (3, 99)]);
        assert!(matches!(source.next(SOON), Err(SourceError::Ended { .. })));
    }

    #[test]
    fn an_unreadable_image_leaves_a_gap() {
        let folder = tempfile::tempdir().expect("temporary folder");
        write(folder.path(), "1.png", 1);
        std::fs::write(folder.path().join("2.png"), b"\x89PNG\r\n\x1a\n").expect("writable");
        write(folder.path(), "3.png", 3);
        let mut source = open(spec(folder.path())).expect("images");
        assert_eq!([next(&mut source), next(&mut source)], [(0, 1), (2, 3)]);
    }

    #[test]
    fn a_repeated_folder_starts_over_and_never_spins_on_nothing() {
        let folder = tempfile::tempdir().expect("temporary folder");
        write(folder.path(), "1.png", 1);
        let repeated = DirectorySpec { repeat: true, ..spec(folder.path()) };
        let mut source = open(repeated.clone()).expect("images");
        assert_eq!([next(&mut source), next(&mut source)], [(0, 1), (1, 1)]);
        std::fs::write(folder.path().join("1.png"), "damaged").expect("writable");
        let mut source = open(repeated).expect("a file");
        let error = source.next(SOON).expect_err("nothing readable").to_string();
        assert!(error.ends_with("holds no image that can be read"), "{error}");
    }

    #[test]
    fn a_watched_folder_delivers_what_arrives() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut source = open(DirectorySpec { watch: true, ..spec(folder.path()) }).expect("may be empty");
        assert!(source.next(Duration::ZERO).expect("idle").is_none());
        write(folder.path(), "1.png", 7);
        assert_eq!(next(&mut source), (0, 7));
        assert!(source.next(Duration::ZERO).expect("idle").is_none());
        source.stop();
        assert!(matches!(source.next(SOON), Err(SourceError::Ended { .. })));
    }

    #[test]
    fn a_file_still_being_written_is_waited_for() {
        let folder = tempfile::tempdir().expect("temporary folder");
        write(folder.path(), "whole.png", 5);
        let whole = std::fs::read(folder.path().join("whole.png")).expect("written");
        std::fs::remove_file(folder.path().join("whole.png")).expect("written");
        let mut source = open(DirectorySpec { watch: true, ..spec(folder.path()) }).expect("may be empty");
        let path = folder.path().join("1.png");
        for part in [&whole[..0], &whole[..10], &whole[..30]] {
            std::fs::write(&path, part).expect("writable");
            assert!(source.next(Duration::ZERO).expect("idle").is_none());
        }
        std::fs::write(&path, &whole).expect("writable");
        assert_eq!(next(&mut source), (0, 5));
    }

    #[test]
    fn a_file_written_anew_is_delivered_again_and_one_that_went_is_forgotten() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut source = open(DirectorySpec { watch: true, ..spec(folder.path()) }).expect("may be empty");
        write(folder.path(), "1.png", 7);
        assert_eq!(next(&mut source), (0, 7));
        write(folder.path(), "1.png", 8);
        assert_eq!(next(&mut source), (1, 8));
        std::fs::remove_file(folder.path().join("1.png")).expect("there");
        assert!(source.next(Duration::ZERO).expect("idle").is_none());
        assert!(source.seen.is_empty() && source.settling.is_empty());
    }

    #[test]
    fn unreadable_images_do_not_outlast_the_timeout() {
        let folder = tempfile::tempdir().expect("temporary folder");
        for name in ["1.png", "2.png"] {
            std::fs::write(folder.path().join(name), "damaged").expect("writable");
        }
        write(folder.path(), "3.png", 3);
        let mut source = open(spec(folder.path())).expect("files");
        assert!(source.next(Duration::ZERO).expect("not yet").is_none());
        assert!(source.next(Duration::ZERO).expect("not yet").is_none());
        assert_eq!(next(&mut source), (2, 3));
    }

    #[test]
    fn empty_and_missing_folders_are_errors() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let error = open(spec(folder.path())).err().expect("empty").to_string();
        assert!(error.contains("camera 'top'") && error.contains("holds no image (png, jpg"), "{error}");
        let missing = folder.path().join("absent");
        let error = open(spec(&missing)).err().expect("missing").to_string();
        assert!(error.contains("absent: No such file"), "{error}");
        write(folder.path(), "1.png", 1);
        assert!(open(DirectorySpec { fps: Some(0.0), ..spec(folder.path()) }).is_err());
    }

    #[test]
    fn the_rate_is_an_upper_limit() {
        let folder = tempfile::tempdir().expect("temporary folder");
        write(folder.path(), "1.png", 1);
        write(folder.path(), "2.png", 2);
        let mut source = open(DirectorySpec { fps: Some(20.0), ..spec(folder.path()) }).expect("images");
        next(&mut source);
        let first = Instant::now();
        assert!(source.next(Duration::from_millis(1)).expect("not yet").is_none());
        next(&mut source);
        assert!(first.elapsed() >= Duration::from_millis(45));
    }
}

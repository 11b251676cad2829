//! The file with what was taken of a folder, written by a thread of its own: a disk that hangs must not stop a camera.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::taken::{self, Read};
use crate::output;

/// How long a camera waits until the system has what it took; longer than any disk that works takes.
const PATIENCE: Duration = Duration::from_secs(1);
/// A power cut forgets what was taken within this time; those files come again.
const SYNC: Duration = Duration::from_secs(1);
/// Lines that may wait for the disk. Beyond, the whole is written once it works again.
const MOST: usize = 1024;
/// Longest wait for the last lines when the camera is given back.
const LAST: Duration = Duration::from_secs(2);

enum Work {
    /// Added at the end; told when the system has it.
    Line(String, Sender<()>),
    /// In place of everything.
    Whole(String),
}

/// What the writing thread says back.
enum News {
    /// What was not written and why; the whole has to be.
    Failed(String),
    Works,
}

/// The file, open for adding.
pub struct Journal {
    path: PathBuf,
    work: Option<Sender<Work>>,
    news: Receiver<News>,
    /// The thread ends with it.
    done: Receiver<()>,
    /// The disk did not answer in time: nobody waits for it until it has answered to this, the last line.
    unanswered: Option<Receiver<()>>,
    /// What is on disk is not all of it.
    behind: bool,
    failing: bool,
}

/// What an earlier start has written. Damage is told and passed over: files that it held come again.
pub fn read(path: &Path) -> io::Result<Option<Read>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let read = taken::read(&bytes);
    // The end of the last write may be cut off by a kill.
    if read.damaged > usize::from(!bytes.ends_with(b"\n")) {
        tracing::error!(
            lines = read.damaged,
            "{}: damaged lines; the files of which they told are taken again, check the disk",
            path.display()
        );
    }
    Ok(Some(read))
}

/// Adds what an earlier start did not know yet; returns when it is on disk.
pub fn amend(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options().append(true).open(path)?;
    // The last line of a killed process may have no end.
    file.write_all(format!("\n{text}").as_bytes())?;
    file.sync_data()
}

impl Journal {
    /// Begins with this text in place of what is at `path`.
    pub fn start(path: &Path, text: String) -> io::Result<Self> {
        let ((work, waiting), (tell, news), (over, done)) = (bounded(MOST), bounded(4), bounded(0));
        let place = path.to_owned();
        let thread = move || {
            let _over: Sender<()> = over;
            Disk { path: place, file: None, unsynced: None }.run(&waiting, &tell);
        };
        drop(std::thread::Builder::new().name("vcp-taken".into()).spawn(thread)?);
        let path = path.to_owned();
        let mut journal = Self { path, work: Some(work), news, done, unanswered: None, behind: false, failing: false };
        journal.whole(text);
        Ok(journal)
    }

    /// Everything anew.
    pub fn whole(&mut self, text: String) {
        self.behind = !self.send(Work::Whole(text));
    }

    /// Adds a line. Returns when the operating system has it, so that it survives the end of this process; or after a
    /// second, when the disk does not answer.
    pub fn add(&mut self, line: String) {
        let (told, has_it) = bounded(1);
        if !self.send(Work::Line(line, told)) {
            self.behind = true;
            return;
        }
        // The thread does one thing after another: what is answered last is all of it.
        let hung = self.unanswered.take_if(|last| last.try_recv().is_err()).is_some();
        let answer = !hung && has_it.recv_timeout(PATIENCE).is_ok();
        self.hear();
        self.unanswered = (!answer).then_some(has_it);
        if !answer && !hung && !self.failing {
            tracing::error!(
                "{}: the disk does not answer; what is taken of the folder is kept in memory, and comes again after a kill",
                self.path.display()
            );
        }
    }

    /// Whether the file has to be written anew, because something was not.
    pub fn is_behind(&mut self) -> bool {
        self.hear();
        self.behind
    }

    fn send(&mut self, work: Work) -> bool {
        self.work.as_ref().is_some_and(|sender| sender.try_send(work).is_ok())
    }

    fn hear(&mut self) {
        for news in self.news.try_iter() {
            match news {
                News::Failed(why) => {
                    self.behind = true;
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::error!(
                            "{}: {why}; what is taken of the folder is kept in memory, and comes again after a restart: \
                             check the disk and its rights",
                            self.path.display()
                        );
                    }
                }
                News::Works => self.failing = false,
            }
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.work.take();
        // Nothing is ever sent: the channel's end is the message.
        if self.done.recv_timeout(LAST) == Err(RecvTimeoutError::Timeout) {
            tracing::error!("{}: the disk does not answer; the last lines are not written", self.path.display());
        }
    }
}

/// What the thread works with.
struct Disk {
    path: PathBuf,
    file: Option<File>,
    unsynced: Option<Instant>,
}

impl Disk {
    fn run(mut self, work: &Receiver<Work>, tell: &Sender<News>) {
        let mut failing = false;
        loop {
            let done = match work.recv_timeout(SYNC) {
                Ok(Work::Line(line, told)) => {
                    let done = self.add(&line);
                    // Whoever waits no longer has gone on.
                    told.try_send(()).ok();
                    done
                }
                Ok(Work::Whole(text)) => self.whole(&text),
                Err(RecvTimeoutError::Timeout) => Ok(()),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let done = done.and_then(|()| if self.is_due() { self.sync() } else { Ok(()) });
            let news = match done {
                Err(error) => {
                    self.file = None;
                    Some(News::Failed(error.to_string()))
                }
                Ok(()) => (failing && self.file.is_some()).then_some(News::Works),
            };
            if let Some(news) = news {
                failing = matches!(news, News::Failed(_));
                // One that is not heard in time repeats what was said.
                tell.try_send(news).ok();
            }
        }
        if let Err(error) = self.sync() {
            tracing::error!("{}: {error}", self.path.display());
        }
    }

    fn add(&mut self, line: &str) -> io::Result<()> {
        let file = self.file.as_mut().ok_or_else(|| io::Error::other("an earlier line is missing"))?;
        file.write_all(line.as_bytes())?;
        self.unsynced.get_or_insert_with(Instant::now);
        Ok(())
    }

    fn whole(&mut self, text: &str) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        output::write(&self.path, text.as_bytes())?;
        output::sync_folder(folder)?;
        self.file = Some(File::options().append(true).open(&self.path)?);
        self.unsynced = None;
        Ok(())
    }

    fn is_due(&self) -> bool {
        self.unsynced.is_some_and(|since| since.elapsed() >= SYNC)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.unsynced.take().is_some()
            && let Some(file) = &self.file
        {
            file.sync_data()?;
            // A file that somebody has deleted takes lines as well.
            fs::metadata(&self.path)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_stall_lines_are_waited_for_again() {
        let ((work, waiting), (_tell, news), (_over, done)) = (bounded(MOST), bounded(4), bounded(0));
        let (path, unanswered) = (PathBuf::from("taken"), None);
        let mut journal = Journal { path, work: Some(work), news, done, unanswered, behind: false, failing: false };
        let take = || match waiting.recv() {
            Ok(Work::Line(_, told)) => told,
            _ => panic!("a line"),
        };
        let start = Instant::now();
        journal.add("1".into());
        assert!(start.elapsed() >= PATIENCE, "it waited once");
        let start = Instant::now();
        journal.add("2".into());
        assert!(start.elapsed() < PATIENCE / 2, "and not again");
        // Nobody asks for the first any more.
        take().send(()).ok();
        take().send(()).expect("asked for by the next line");
        std::thread::scope(|scope| {
            let answering = scope.spawn(|| {
                let told = take();
                std::thread::sleep(PATIENCE / 4);
                let at = Instant::now();
                told.send(()).expect("waited for");
                at
            });
            journal.add("3".into());
            assert!(Instant::now() >= answering.join().expect("no panic"), "the disk works: its answer comes first");
        });
        assert!(journal.unanswered.is_none());
    }
}

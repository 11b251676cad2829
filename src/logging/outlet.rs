//! The bounded queue of lines and the one thread that writes them.

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

use super::journal::Journal;
use super::rate::PerMessage;
use super::text::{self, Style};

/// Lines that may wait for a slow reader.
const LINES: usize = 1024;
/// How often messages that were held back are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// A log that has lost nothing for so long is well again.
const RECENT: Duration = Duration::from_secs(60);

/// How the log is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogHealth {
    /// Lines that never reached standard error, since the start.
    pub lost: u64,
    /// Why, while lines are being lost or have been within the last minute.
    pub trouble: Option<String>,
}

#[derive(Default)]
struct Losses {
    count: u64,
    told: u64,
    last: Option<(Instant, String)>,
}

/// Where lines go.
pub enum Target {
    /// A file, a pipe, a terminal; nowhere if there is none.
    Stream(Option<File>),
    /// systemd's journal, by its own protocol.
    Journal(Journal),
}

impl Target {
    fn put(&mut self, line: &str) -> io::Result<()> {
        match self {
            Self::Stream(Some(file)) => file.write_all(line.as_bytes()),
            Self::Stream(None) => Err(io::Error::other("it is closed")),
            Self::Journal(journal) => journal.put(line),
        }
    }
}

enum Item {
    Line(String),
    /// Everything before it has been written when the sender is dropped.
    Mark(#[expect(dead_code, reason = "dropping it is the message")] Sender<()>),
}

/// Takes lines from any thread, never waits.
#[derive(Clone)]
pub struct Outlet {
    queue: Sender<Item>,
    losses: Arc<Mutex<Losses>>,
}

impl Outlet {
    /// Starts the thread; without a stream every line is lost.
    pub fn start(target: Target, style: Style, rate: PerMessage) -> io::Result<Self> {
        let (queue, items) = bounded(LINES);
        let outlet = Self { queue, losses: Arc::default() };
        let writer = LogThread { target, style, rate, losses: Arc::clone(&outlet.losses) };
        std::thread::Builder::new().name("log".into()).spawn(move || writer.run(&items))?;
        Ok(outlet)
    }

    /// Takes the line, or counts it as lost.
    pub fn offer(&self, line: String) {
        if self.queue.try_send(Item::Line(line)).is_err() {
            lose(&self.losses, || "nobody reads standard error as fast as lines are logged".into());
        }
    }

    /// Waits until everything offered so far has been written, or `deadline` has come.
    pub fn flush(&self, deadline: Instant) {
        let (mark, passed) = bounded::<()>(0);
        if self.queue.send_deadline(Item::Mark(mark), deadline).is_ok() {
            // Nothing is ever sent: the channel's end is the message.
            passed.recv_deadline(deadline).ok();
        }
    }

    /// How it is going.
    pub fn health(&self) -> LogHealth {
        let losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = losses.last.as_ref().filter(|(when, _)| when.elapsed() < RECENT);
        LogHealth { lost: losses.count, trouble: recent.map(|(_, why)| why.clone()) }
    }
}

fn lose(losses: &Mutex<Losses>, why: impl FnOnce() -> String) {
    let mut losses = losses.lock().unwrap_or_else(PoisonError::into_inner);
    losses.count += 1;
    losses.last = Some((Instant::now(), why()));
}

struct LogThread {
    target: Target,
    style: Style,
    rate: PerMessage,
    losses: Arc<Mutex<Losses>>,
}

impl LogThread {
    fn run(mut self, items: &Receiver<Item>) {
        loop {
            match items.recv_timeout(LOOK) {
                Ok(Item::Line(line)) => self.write(&line),
                Ok(Item::Mark(_)) => {}
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            for (place, count) in self.rate.held_back() {
                let words = format!("{count} more lines like those from {place} were not logged");
                self.write(&text::line(self.style, Level::WARN, &words));
            }
        }
    }

    fn write(&mut self, line: &str) {
        self.tell_losses();
        if let Err(error) = self.target.put(line) {
            lose(&self.losses, || format!("standard error takes nothing: {error}"));
        }
    }

    /// Once lines get through again, the first one says how many did not.
    fn tell_losses(&mut self) {
        let (count, told) = {
            let losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
            (losses.count, losses.told)
        };
        if count == told {
            return;
        }
        let words = format!("{} lines of the log were lost before this one", count - told);
        if self.target.put(&text::line(self.style, Level::WARN, &words)).is_ok() {
            self.losses.lock().unwrap_or_else(PoisonError::into_inner).told = count;
        }
    }
}

/// One event's line on its way to the queue.
pub struct Pending<'a> {
    outlet: &'a Outlet,
    line: Vec<u8>,
}

impl Write for Pending<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.outlet.offer(String::from_utf8_lossy(&self.line).into_owned());
        }
    }
}

impl<'a> MakeWriter<'a> for Outlet {
    type Writer = Pending<'a>;

    fn make_writer(&'a self) -> Pending<'a> {
        Pending { outlet: self, line: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;

    use super::super::rate::RateLimit;
    use super::*;

    fn outlet(target: Option<File>) -> Outlet {
        Outlet::start(Target::Stream(target), Style::Journal, PerMessage::new(RateLimit::default())).unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn a_full_disk_costs_lines_and_nothing_else() {
        let log = outlet(File::options().write(true).open("/dev/full").ok());
        for _ in 0..5 {
            log.offer("x\n".into());
        }
        log.flush(soon());
        let health = log.health();
        assert_eq!(health.lost, 5);
        assert!(health.trouble.unwrap().contains("No space left"), "the reason is said");
        let closed = outlet(None);
        closed.offer("x\n".into());
        closed.flush(soon());
        assert_eq!(closed.health().lost, 1);
    }

    #[test]
    fn a_reader_that_stalls_holds_nobody_up_and_is_told_what_it_missed() {
        let (mut reader, writer) = io::pipe().unwrap();
        let log = outlet(Some(File::from(OwnedFd::from(writer))));
        let line = format!("{}\n", "x".repeat(1023));
        let began = Instant::now();
        for _ in 0..4 * LINES {
            log.offer(line.clone());
        }
        log.flush(Instant::now() + Duration::from_millis(50));
        assert!(began.elapsed() < Duration::from_secs(10), "nobody waited for the reader");
        let lost = log.health().lost;
        assert!(lost >= 2 * LINES as u64, "{lost}");
        let read = std::thread::Builder::new().name("reader".into()).spawn(move || {
            let mut all = String::new();
            reader.read_to_string(&mut all).unwrap();
            all
        });
        log.flush(soon());
        log.offer("<6> INFO after\n".into());
        log.flush(soon());
        drop(log);
        let all = read.unwrap().join().unwrap();
        // Once, unless the writer was so slow that lines were lost again after it had begun to say so.
        let said = all.lines().filter_map(|line| {
            line.strip_prefix("<4> WARN ")?.strip_suffix(" lines of the log were lost before this one")
        });
        let said: u64 = said.map(|number| number.parse::<u64>().unwrap()).sum();
        assert_eq!(said, lost, "what was missed is told");
        assert!(all.ends_with("<6> INFO after\n"));
    }
}

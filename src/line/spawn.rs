//! Threads with names that say when they are done, so that whoever is late at the stop can be named.

use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

/// How soon a thread that has said farewell is surely finished.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The running threads of a line.
pub(super) struct Crew {
    done: (Sender<String>, Receiver<String>),
    members: Vec<(String, JoinHandle<()>)>,
}

/// Sends the name however the thread ends.
struct Farewell {
    name: String,
    done: Sender<String>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        // The channel has room for every member; it is closed only when nobody waits any more.
        if self.done.try_send(std::mem::take(&mut self.name)).is_err() {
            tracing::debug!("a thread ended after the line was given up");
        }
    }
}

impl Crew {
    /// Room for `size` threads.
    pub fn new(size: usize) -> Self {
        Self { done: bounded(size), members: Vec::with_capacity(size) }
    }

    /// Starts a thread.
    pub fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let farewell = Farewell { name: name.to_owned(), done: self.done.0.clone() };
        let handle = Builder::new().name(name.to_owned()).spawn(move || {
            let _farewell = farewell;
            work();
        })?;
        self.members.push((name.to_owned(), handle));
        Ok(())
    }

    /// Waits until all threads whose name `is` accepts have ended, or until `deadline`.
    pub fn wait(&self, deadline: Instant, is: impl Fn(&str) -> bool) {
        while self.members.iter().any(|(name, handle)| is(name) && !handle.is_finished()) {
            // The notice comes a moment before the thread is finished, hence the second look after a short while.
            let look_again = Instant::now() + LOOK_AGAIN;
            if self.done.1.recv_deadline(deadline.min(look_again)).is_err() && Instant::now() >= deadline {
                break;
            }
        }
    }

    /// Like [`Crew::wait`], and lets these threads go. Returns who panicked and who is still running.
    pub fn join(&mut self, deadline: Instant, is: impl Fn(&str) -> bool) -> Joined {
        self.wait(deadline, &is);
        let mut joined = Joined::default();
        for index in (0..self.members.len()).rev() {
            if !is(&self.members[index].0) {
                continue;
            }
            let (name, handle) = self.members.swap_remove(index);
            if !handle.is_finished() {
                joined.late.push(name);
            } else if handle.join().is_err() {
                joined.panicked.push(name);
            }
        }
        joined
    }

    /// A thread that has panicked, `except` one.
    pub fn panicked(&mut self, except: &str) -> Option<String> {
        let ended = |(name, handle): &(String, JoinHandle<()>)| name != except && handle.is_finished();
        while let Some(at) = self.members.iter().position(ended) {
            let (name, handle) = self.members.swap_remove(at);
            if handle.join().is_err() {
                return Some(name);
            }
        }
        None
    }

    /// Whether the thread of this name has ended.
    pub fn has_ended(&self, name: &str) -> bool {
        self.members.iter().find(|(member, _)| member == name).is_none_or(|(_, handle)| handle.is_finished())
    }
}

/// How threads ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Joined {
    /// Still running at the deadline.
    pub late: Vec<String>,
    /// Ended by a panic.
    pub panicked: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_late_are_named_and_the_others_joined() {
        let (hold, held) = bounded::<()>(0);
        let mut crew = Crew::new(3);
        crew.spawn("quick", || {}).expect("spawned");
        crew.spawn("slow", move || assert!(held.recv().is_err())).expect("spawned");
        crew.spawn("broken", || panic!("on purpose")).expect("spawned");
        let joined = crew.join(Instant::now() + Duration::from_secs(20), |name| name != "slow");
        assert_eq!(joined, Joined { late: Vec::new(), panicked: vec!["broken".into()] });
        let joined = crew.join(Instant::now() + Duration::from_millis(20), |_| true);
        assert_eq!(joined, Joined { late: vec!["slow".into()], panicked: Vec::new() });
        drop(hold);
    }
}

//! What the service tells systemd: ready, status, stopping, and that the inference thread is alive.
//!
//! The protocol is one datagram per message to the socket that `NOTIFY_SOCKET` names (`sd_notify(3)`), a path or, with
//! a leading `@`, an abstract name. Without that variable, every message goes nowhere and nothing fails. The crate
//! `sd-notify` knows no socket but that of the variable, which it opens anew for every message, and its errors name neither
//! socket nor message.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

/// The service manager cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// `NOTIFY_SOCKET` holds no address.
    #[error("NOTIFY_SOCKET=\"{address}\" is no socket; start the service with Type=notify, or unset the variable")]
    Address {
        /// Its value.
        address: String,
    },
    /// The datagram was not taken.
    #[error("systemd does not take \"{message}\" at {address}; does the unit say NotifyAccess=main?")]
    Send {
        /// The socket.
        address: String,
        /// What was to be said.
        message: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// No thread for the watchdog.
    #[error("the watchdog thread cannot be started; the system is out of threads")]
    Thread(#[source] io::Error),
}

/// The way to the service manager, or to nobody.
#[derive(Clone, Debug)]
pub struct Notifier(Option<Arc<Socket>>);

#[derive(Debug)]
struct Socket {
    datagram: UnixDatagram,
    to: SocketAddr,
    address: String,
}

impl Notifier {
    /// The socket named by `NOTIFY_SOCKET`; nobody when the variable is absent or empty.
    pub fn from_env() -> Result<Self, NotifyError> {
        match std::env::var("NOTIFY_SOCKET") {
            Ok(address) if !address.is_empty() => Self::to(&address),
            _ => Ok(Self(None)),
        }
    }

    /// A socket by path, or by abstract name after `@`.
    pub fn to(address: &str) -> Result<Self, NotifyError> {
        let wrong = |_| NotifyError::Address { address: address.into() };
        let to = match address.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name).map_err(wrong)?,
            None if address.starts_with('/') => SocketAddr::from_pathname(address).map_err(wrong)?,
            None => return Err(NotifyError::Address { address: address.into() }),
        };
        let datagram = UnixDatagram::unbound().map_err(wrong)?;
        Ok(Self(Some(Arc::new(Socket { datagram, to, address: address.into() }))))
    }

    /// Whether anybody listens.
    pub fn is_listening(&self) -> bool {
        self.0.is_some()
    }

    /// Everything is open, warmed up and inspecting.
    pub fn ready(&self, status: &str) -> Result<(), NotifyError> {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)))
    }

    /// One line for `systemctl status`.
    pub fn status(&self, status: &str) -> Result<(), NotifyError> {
        self.send(&format!("STATUS={}", one_line(status)))
    }

    /// An orderly stop has begun.
    pub fn stopping(&self) -> Result<(), NotifyError> {
        self.send("STOPPING=1")
    }

    /// Starting takes longer than `TimeoutStartSec` allows: this much more from now.
    pub fn extend_timeout(&self, more: Duration) -> Result<(), NotifyError> {
        self.send(&format!("EXTEND_TIMEOUT_USEC={}", more.as_micros()))
    }

    fn send(&self, message: &str) -> Result<(), NotifyError> {
        let Some(socket) = &self.0 else { return Ok(()) };
        let failed = |source| NotifyError::Send { address: socket.address.clone(), message: message.into(), source };
        socket.datagram.send_to_addr(message.as_bytes(), &socket.to).map(drop).map_err(failed)
    }
}

/// A newline would begin another message.
fn one_line(status: &str) -> String {
    status.replace(['\n', '\r'], " ")
}

/// How far one inference thread has come. It calls [`Progress::step`] after each batch and [`Progress::waiting`] each
/// time its wait for frames times out; a thread that hangs inside the engine calls neither.
#[derive(Debug, Default)]
pub struct Progress(AtomicU64);

impl Progress {
    /// A batch is done.
    pub fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Idle by right: there was nothing to inspect. To be called several times per watchdog interval.
    pub fn waiting(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The interval the unit asks for (`WatchdogSec=`); `None` when it asks for none or means another process.
pub fn watchdog_interval() -> Option<Duration> {
    let variable = |name: &str| std::env::var(name).ok();
    interval_of(variable("WATCHDOG_USEC").as_deref(), variable("WATCHDOG_PID").as_deref(), std::process::id())
}

fn interval_of(usec: Option<&str>, pid: Option<&str>, own_pid: u32) -> Option<Duration> {
    let usec: u64 = usec?.parse().ok().filter(|usec| *usec > 0)?;
    let meant = pid.is_none_or(|pid| pid.parse() == Ok(own_pid));
    meant.then(|| Duration::from_micros(usec))
}

/// Feeds systemd's watchdog from its own thread, only while every inference thread makes progress.
#[derive(Debug)]
pub struct Watchdog {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Starts feeding; `interval` is systemd's, see [`watchdog_interval`]. Start it when the line is ready.
    ///
    /// Progress is looked at four times per interval, so a thread may take up to three quarters of the interval for
    /// one batch before the service is restarted.
    pub fn start(notifier: Notifier, interval: Duration, threads: Vec<Arc<Progress>>) -> Result<Self, NotifyError> {
        let (stop, stopped) = bounded::<()>(0);
        let thread = std::thread::Builder::new()
            .name("vcp-watchdog".into())
            .spawn(move || {
                let mut last: Vec<Option<u64>> = vec![None; threads.len()];
                let mut failing = false;
                while stopped.recv_timeout(interval / 4) == Err(RecvTimeoutError::Timeout) {
                    // Every thread must have moved since the last feeding, not merely one of them.
                    let moved = threads.iter().zip(&last).all(|(thread, last)| Some(thread.count()) != *last);
                    if !moved {
                        continue;
                    }
                    last = threads.iter().map(|thread| Some(thread.count())).collect();
                    match notifier.send("WATCHDOG=1") {
                        Ok(()) => failing = false,
                        Err(error) if !failing => {
                            failing = true;
                            tracing::warn!("{error}");
                        }
                        Err(_) => {}
                    }
                }
            })
            .map_err(NotifyError::Thread)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the watchdog thread panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_for_another_process_is_not_ours() {
        let seconds = |s| Some(Duration::from_secs(s));
        assert_eq!(interval_of(Some("30000000"), None, 7), seconds(30));
        assert_eq!(interval_of(Some("30000000"), Some("7"), 7), seconds(30));
        assert_eq!(interval_of(Some("30000000"), Some("8"), 7), None);
        assert_eq!(interval_of(Some("0"), None, 7), None);
        assert_eq!(interval_of(Some("soon"), None, 7), None);
        assert_eq!(interval_of(None, None, 7), None);
    }

    #[test]
    fn an_address_that_is_none_is_named() {
        let error = Notifier::to("relative/path").expect_err("no socket").to_string();
        assert!(error.starts_with("NOTIFY_SOCKET=\"relative/path\" is no socket"), "{error}");
    }
}

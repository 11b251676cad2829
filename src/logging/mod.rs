//! The program's log on standard error: it may be lost, it never holds up or ends whoever writes it.
//!
//! ```text
//! tracing event ─▶ level, rate per message ─▶ one line, nothing of others' control characters ─▶ bounded queue ─▶ thread "log" ─▶ standard error, or journald
//! ```
//! A reader that stalls, a full disk or a closed pipe cost lines, which are counted ([`LogHealth`]); the line goes on.

mod harmless;
mod journal;
mod outlet;
mod rate;
mod text;

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use journal::Journal;
pub use outlet::LogHealth;
use outlet::{Outlet, Target};
use rate::{PerMessage, RateLimit};
use text::{OneLine, Style};

use crate::event::LOG_TARGET;

/// The log cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is none.
    #[error("--log '{filter}': {source}; write for instance warn,vcp_line=debug")]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// No thread for it.
    #[error("the log's thread cannot be started; the system is out of threads")]
    Thread(#[source] io::Error),
}

/// The way to the log for those who look after it; cheap to clone.
#[derive(Clone)]
pub struct Log {
    outlet: Outlet,
    style: Style,
}

impl Log {
    /// Begins to log what `filter` lets through, for the whole process. Panics are logged as errors from then on.
    pub fn start(filter: &str) -> Result<Self, LogError> {
        // A file of its own: nobody who prints to standard error can hold the log up by the lock of std, or be held up.
        let stderr = io::stderr().as_fd().try_clone_to_owned().map(std::fs::File::from).ok();
        let style = Style::from_env(io::stderr().is_terminal(), stderr.as_ref());
        // Verdicts go to MQTT; only the journal can be asked for those of a part.
        let filter = if style == Style::Fields { filter.to_owned() } else { format!("{LOG_TARGET}=off,{filter}") };
        let wanted = EnvFilter::try_new(&filter).map_err(|source| LogError::Filter { filter, source })?;
        let target = match style {
            Style::Fields => {
                Journal::new(Path::new(journal::SOCKET), stderr).map_or(Target::Stream(None), Target::Journal)
            }
            _ => Target::Stream(stderr),
        };
        let rate = PerMessage::new(RateLimit::default());
        let outlet = Outlet::start(target, style, rate.clone()).map_err(LogError::Thread)?;
        let lines = tracing_subscriber::fmt::layer()
            .event_format(OneLine::new(style))
            .with_ansi(false)
            // Otherwise a write that fails is told with `eprintln!`, which panics for the same reason.
            .log_internal_errors(false)
            .with_writer(outlet.clone());
        tracing_subscriber::registry()
            .with(lines.with_filter(tracing_subscriber::filter::FilterExt::and(wanted, rate)))
            .init();
        log_panics();
        Ok(Self { outlet, style })
    }

    /// How the log is doing.
    pub fn health(&self) -> LogHealth {
        self.outlet.health()
    }

    /// Waits until what was logged so far has been written, at most until `patience` is over.
    pub fn flush(&self, patience: Duration) {
        self.outlet.flush(Instant::now() + patience);
    }

    /// The last words of a command, without time and level; like any line they may be lost, and never block.
    pub fn last_words(&self, words: &str) {
        words.lines().for_each(|words| self.outlet.offer(text::plain(self.style, words)));
    }
}

/// The hook of std writes to standard error and would wait there; whoever panics must not hang before it unwinds.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("without a name");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let said = panic.payload_as_str().unwrap_or("no message");
        tracing::error!("thread '{name}' panicked at {place}: {said}; please report this line");
    }));
}

//! Ctrl-C in the middle of work: a training is kept first, and whatever has no place yet is taken away.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level;
use tokio_util::sync::CancellationToken;

use crate::cli::terminal::note;
use crate::output;

/// A shell's code for a process that a signal ended: this plus the signal.
const ENDED_BY_SIGNAL: i32 = 128;
/// The first process of a container, which no signal ends.
const FIRST_PROCESS: u32 = 1;

/// What SIGINT and SIGTERM do to a command that works towards a result.
#[derive(Clone, Default)]
pub struct Interrupts(Arc<OnSignal>);

#[derive(Default)]
struct OnSignal {
    keep_first: Mutex<KeepFirst>,
    /// How to go on, for whoever ends the process.
    advice: OnceLock<String>,
}

/// Who may keep a run before the process ends.
#[derive(Default)]
struct KeepFirst {
    stop: Option<CancellationToken>,
    /// The signal that has asked.
    signal: Option<i32>,
}

impl Interrupts {
    /// From here on either signal ends the process as it would have by itself, but leaves nothing half made behind.
    pub fn watch() -> anyhow::Result<Self> {
        let interrupts = Self::default();
        let mut signals =
            signal_hook::iterator::Signals::new([SIGTERM, SIGINT]).context("installing signal handlers")?;
        let watched = interrupts.clone();
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || signals.forever().for_each(|signal| watched.caught(signal)))
            .context("starting the signal thread")?;
        Ok(interrupts)
    }

    /// What to say at an interruption about going on.
    pub fn advise(&self, advice: String) {
        // Said once, by the one command that has something to go on with.
        self.0.advice.get_or_init(|| advice);
    }

    /// From here on the first signal asks `stop`, whose holder ends soon, with [`Self::end`]; the second ends the process.
    /// `None` takes that back.
    pub fn ask_first(&self, stop: Option<&CancellationToken>) {
        self.keep_first().stop = stop.cloned();
    }

    fn caught(&self, signal: i32) {
        // Behind what a bar on the terminal shows.
        if std::io::stderr().is_terminal() {
            note!("");
        }
        {
            let mut first = self.keep_first();
            if let KeepFirst { stop: Some(stop), signal: None } = &*first {
                note!("vcp-line: ends as soon as the run is kept; a second signal ends it at once");
                stop.cancel();
                first.signal = Some(signal);
                return;
            }
        }
        output::abandon();
        match self.0.advice.get() {
            Some(advice) => note!("vcp-line: interrupted; {advice}"),
            None => note!("vcp-line: interrupted; nothing half made is left"),
        }
        end(signal);
    }

    /// Ends the process as the signal does that was asked to wait; returns when there was none.
    pub fn end(&self) {
        let signal = self.keep_first().signal;
        if let Some(signal) = signal {
            end(signal);
        }
    }

    fn keep_first(&self) -> MutexGuard<'_, KeepFirst> {
        self.0.keep_first.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the process by `signal`, so that whoever started it knows: a shell then also ends the script it runs.
fn end(signal: i32) {
    if std::process::id() != FIRST_PROCESS
        && let Err(error) = low_level::emulate_default_handler(signal)
    {
        tracing::debug!("signal {signal}: {error}");
    }
    low_level::exit(ENDED_BY_SIGNAL + signal);
}

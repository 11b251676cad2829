//! The request to stop, from whoever sends a signal.

use std::time::Duration;

use crossbeam_channel::{Receiver, TrySendError, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tokio_util::sync::CancellationToken;

use super::error::ServiceError;
use crate::output;

/// What the log may take when the process ends at once.
const LAST_LINES: Duration = Duration::from_millis(100);

/// A stop on request, shared by everything that waits. The first SIGTERM or SIGINT asks, the second ends the process.
/// SIGHUP, which would end the program by default, is taken and said.
pub fn stop_on_signal() -> Result<CancellationToken, ServiceError> {
    signals().map(|(stop, _)| stop)
}

/// As [`stop_on_signal`], and the requests to read the settings again: several that nobody has looked at yet are one.
pub fn signals() -> Result<(CancellationToken, Receiver<()>), ServiceError> {
    let (reread, asked) = bounded(1);
    let token = CancellationToken::new();
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(ServiceError::Signals)?;
    let stop = token.clone();
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                if signal == SIGHUP {
                    match reread.try_send(()) {
                        Ok(()) | Err(TrySendError::Full(())) => tracing::info!("SIGHUP: the settings are read again"),
                        Err(TrySendError::Disconnected(())) => {
                            tracing::warn!("SIGHUP: there are no settings to read again")
                        }
                    }
                } else if stop.is_cancelled() {
                    output::abandon();
                    tracing::warn!("second signal: leaving at once, verdicts not yet published wait in the outbox");
                    // The log is written by a thread of its own, which gets a moment.
                    std::thread::sleep(LAST_LINES);
                    signal_hook::low_level::exit(1);
                } else {
                    // Whatever becomes of the log, the stop has begun.
                    stop.cancel();
                    tracing::info!(signal, "stop requested; a second signal leaves at once");
                }
            }
        })
        .map_err(|source| ServiceError::Thread { thread: "the signal thread", source })?;
    Ok((token, asked))
}

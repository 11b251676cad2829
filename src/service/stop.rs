//! The request to stop, from whoever sends a signal.

use signal_hook::consts::{SIGINT, SIGTERM};
use tokio_util::sync::CancellationToken;

use super::error::ServiceError;
use crate::output;

/// A stop on request, shared by everything that waits. The first SIGTERM or SIGINT asks, the second ends the process.
pub fn stop_on_signal() -> Result<CancellationToken, ServiceError> {
    let token = CancellationToken::new();
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT]).map_err(ServiceError::Signals)?;
    let stop = token.clone();
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                if stop.is_cancelled() {
                    tracing::warn!("second signal: leaving at once, verdicts not yet published wait in the outbox");
                    output::abandon();
                    signal_hook::low_level::exit(1);
                }
                tracing::info!(signal, "stop requested; a second signal leaves at once");
                stop.cancel();
            }
        })
        .map_err(|source| ServiceError::Thread { thread: "the signal thread", source })?;
    Ok(token)
}

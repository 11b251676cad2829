//! Time as a parameter: what "now" is comes from whoever starts the line, so that tests can choose it.

use std::time::{Instant, SystemTime};

use jiff::Timestamp;

/// One instant read from both clocks at once: `wall` goes into events, `monotonic` into durations.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// UTC, may jump when the system clock is set.
    pub wall: Timestamp,
    /// Never goes back; differences of it are latencies.
    pub monotonic: Instant,
}

/// Which clock stamped a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockSource {
    /// The clock of this computer, read when the frame arrived.
    System,
    /// A camera clock disciplined by PTP (IEEE 1588).
    Ptp,
    /// The free-running clock of the camera.
    Camera,
}

/// Where [`Moment`]s come from. Implemented by [`SystemClock`] and by the clocks that tests wind by hand.
pub trait Clock: Send + Sync {
    /// The current instant.
    fn now(&self) -> Moment;
}

/// The clocks of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        // The one place where the system clock is read (clippy.toml forbids it elsewhere).
        #[allow(clippy::disallowed_methods)]
        let wall = Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH);
        Moment { wall, monotonic: Instant::now() }
    }
}

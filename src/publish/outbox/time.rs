//! Time as the log counts it: what is known to have passed, whatever the clock on the wall says.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::clock::Moment;

/// Name of the file, beside the lock, that says how far the log's time was at which uptime.
const FILE: &str = "time";
/// How often it is written. A killed process counts so much too little.
const EVERY: Duration = Duration::from_secs(10);

/// Milliseconds since 1970 that never go back, and go on only as fast as real time does.
#[derive(Debug)]
pub struct LogTime {
    file: PathBuf,
    anchor: (i64, Instant),
    noted: Option<Instant>,
}

impl LogTime {
    /// Goes on from the log's last record; an empty log begins with the clock on the wall.
    pub fn resume(directory: &Path, last: Option<i64>, now: Moment) -> Self {
        let file = directory.join(FILE);
        let time = match last {
            None => now.wall.as_millisecond(),
            // Without a note, or after a boot, nobody knows how much time has passed: none, then.
            Some(last) => noted(&file, uptime().ok()).map_or(last, |noted| noted.max(last)),
        };
        Self { file, anchor: (time, now.monotonic), noted: None }
    }

    /// What time it is.
    pub fn at(&self, now: Moment) -> i64 {
        let passed = now.monotonic.saturating_duration_since(self.anchor.1).as_millis();
        self.anchor.0.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
    }

    /// Writes down, now and then, what the next start goes on from. Lost, it costs the time between two starts.
    pub fn note(&mut self, now: Moment) {
        if self.noted.is_some_and(|noted| now.monotonic.saturating_duration_since(noted) < EVERY) {
            return;
        }
        self.noted = Some(now.monotonic);
        let written = uptime().and_then(|(boot, up)| {
            let new = self.file.with_extension("new");
            fs::write(&new, format!("{boot} {up} {}\n", self.at(now)))?;
            fs::rename(&new, &self.file)
        });
        if let Err(error) = written {
            tracing::debug!(%error, "the time of the outbox is not noted");
        }
    }
}

/// The log's time now, when the note is of this boot.
fn noted(file: &Path, uptime: Option<(String, i64)>) -> Option<i64> {
    let (boot, up) = uptime?;
    let text = fs::read_to_string(file).ok()?;
    let mut words = text.split_whitespace();
    let same = words.next()? == boot;
    let (then, time) = (words.next()?.parse::<i64>().ok()?, words.next()?.parse::<i64>().ok()?);
    same.then(|| time.checked_add(up.checked_sub(then)?.max(0)))?
}

/// Which boot this is, and the milliseconds since then, those asleep included.
fn uptime() -> io::Result<(String, i64)> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
    let text = fs::read_to_string("/proc/uptime")?;
    let seconds = text.split_whitespace().next().and_then(|first| first.parse::<f64>().ok());
    let seconds = seconds.ok_or_else(|| io::Error::other("/proc/uptime holds no number"))?;
    Ok((boot, (seconds * 1000.0) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_within_a_boot_and_stands_still_across_boots() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(FILE);
        fs::write(&file, "this 5000 1000000\n").expect("written");
        assert_eq!(noted(&file, Some(("this".into(), 8_000))), Some(1_003_000));
        assert_eq!(noted(&file, Some(("this".into(), 4_000))), Some(1_000_000));
        assert_eq!(noted(&file, Some(("another".into(), 8_000))), None);
        assert_eq!(noted(&file, None), None);
        for damaged in ["", "this", "this x 3", "this 5000 9223372036854775807"] {
            fs::write(&file, damaged).expect("written");
            assert_eq!(noted(&file, Some(("this".into(), 8_000))), None, "{damaged}");
        }
    }
}

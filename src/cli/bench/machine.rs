//! What a measurement was made on.

use crate::clock::{Clock, SystemClock};

/// Program, processor and date in one line.
pub fn describe() -> String {
    let processor = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let date = SystemClock.now().wall.to_string();
    format!(
        "{} {}, {}, {cores} cores, {}",
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_VERSION"),
        processor.as_deref().unwrap_or("unknown processor"),
        date.split('T').next().unwrap_or_default()
    )
}

/// The largest resident size of this process so far.
pub fn peak_memory_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

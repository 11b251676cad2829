//! Memory of the card and of this process before and after many frames.

use vcp_line::cuda::Gpu;

/// Host memory that may come and go without being a leak, bytes: a hundredth of a frame's map each time would be more.
const HOST_ROOM: usize = 8 << 20;

/// Bytes free on the card and resident on the host.
pub struct Memory {
    free: usize,
    resident: usize,
}

/// At this moment.
pub fn now(gpu: &Gpu) -> Memory {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    let resident = line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10;
    Memory { free: gpu.memory().unwrap().0, resident }
}

/// Panics when memory grew; prints by how much in any case.
pub fn assert_no_more(what: &str, before: &Memory, after: &Memory) {
    println!("measured: {what}_device_growth_bytes = {}", before.free as i64 - after.free as i64);
    println!("measured: {what}_host_growth_bytes = {}", after.resident as i64 - before.resident as i64);
    assert!(after.free >= before.free, "the card has {} bytes free, {} before", after.free, before.free);
    let most = before.resident + HOST_ROOM;
    assert!(after.resident <= most, "{} bytes resident, {} before", after.resident, before.resident);
}

//! What a process holds: memory and open files.

use std::fs;

use super::line::Running;

/// What a process holds.
#[derive(Clone, Copy)]
pub struct Held {
    /// Resident bytes.
    pub memory: u64,
    /// Open descriptors.
    pub files: usize,
}

impl Held {
    pub fn by(service: &Running) -> Self {
        let process = format!("/proc/{}", service.id());
        let pages: u64 =
            fs::read_to_string(format!("{process}/statm")).unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        Self { memory: pages * 4096, files: fs::read_dir(format!("{process}/fd")).unwrap().count() }
    }

    /// Of many, what lies in the middle.
    fn median(samples: &[Self]) -> Self {
        let mut memory: Vec<u64> = samples.iter().map(|held| held.memory).collect();
        let mut files: Vec<usize> = samples.iter().map(|held| held.files).collect();
        memory.sort_unstable();
        files.sort_unstable();
        Self { memory: memory[memory.len() / 2], files: files[files.len() / 2] }
    }

    /// The first and the last quarter of samples without their first third: until then what a process needs finds its place.
    pub fn first_and_last(samples: &[Self]) -> [Self; 2] {
        let warm = &samples[samples.len() / 3..];
        let quarter = (warm.len() / 4).max(1);
        [Self::median(&warm[..quarter]), Self::median(&warm[warm.len() - quarter..])]
    }

    /// As a share.
    pub fn growth([first, last]: &[Self; 2]) -> f64 {
        last.memory as f64 / first.memory as f64 - 1.0
    }

    pub fn mib(&self) -> f64 {
        self.memory as f64 / 1_048_576.0
    }
}

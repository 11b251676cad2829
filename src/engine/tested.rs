//! What an engine's self-test has said on this computer, so that it is not asked again at every start. Kept beside the network that
//! it was about, and gone with it.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::output;

const FILE: &str = "tested";
/// What the kernels that a runtime chooses depend on, as /proc/cpuinfo names it on x86 and on ARM.
const PROCESSOR: [&str; 12] = [
    "vendor_id",
    "cpu family",
    "model",
    "model name",
    "stepping",
    "microcode",
    "flags",
    "CPU implementer",
    "CPU part",
    "CPU variant",
    "CPU revision",
    "Features",
];

/// The self-test of a network that stays for the next start.
pub(super) struct Tested {
    file: PathBuf,
    circumstances: String,
}

impl Tested {
    /// Of the network in `folder`, computed by `runtime`, its version and what it was told, on this processor. `None` where that
    /// cannot be told.
    pub fn of(folder: &Path, runtime: &str) -> Option<Self> {
        let processor = processor(&fs::read_to_string("/proc/cpuinfo").ok()?)?;
        let mut hash = Sha256::new();
        for part in [runtime, &processor] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Some(Self { file: folder.join(FILE), circumstances: hex::encode(hash.finalize()) })
    }

    /// Whether it was right under the same circumstances.
    pub fn was_right(&self) -> bool {
        fs::read_to_string(&self.file).is_ok_and(|known| known == self.circumstances)
    }

    /// It was right. Where that cannot be written the next start asks again.
    pub fn is_right(&self) {
        if let Err(error) = output::write(&self.file, self.circumstances.as_bytes()) {
            tracing::debug!(file = %self.file.display(), %error, "the self-test is not remembered");
        }
    }
}

/// What is said of the first processor.
fn processor(cpuinfo: &str) -> Option<String> {
    let first = cpuinfo.split("\n\n").find(|block| !block.trim().is_empty())?;
    let named = |line: &&str| line.split_once(':').is_some_and(|(name, _)| PROCESSOR.contains(&name.trim()));
    let lines: Vec<&str> = first.lines().filter(named).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_remembered_for_the_same_circumstances_alone() {
        let folder = tempfile::tempdir().unwrap();
        let tested = |runtime: &str| Tested::of(folder.path(), runtime).unwrap();
        assert!(!tested("one").was_right());
        tested("one").is_right();
        assert!(tested("one").was_right() && !tested("another").was_right());
        tested("another").is_right();
        assert!(!tested("one").was_right() && tested("another").was_right());
    }

    #[test]
    fn a_processor_is_what_decides_on_kernels_and_not_its_clock() {
        let block = |mhz: &str, flags: &str| {
            format!("processor\t: 0\nmodel name\t: A CPU\ncpu MHz\t\t: {mhz}\nflags\t\t: {flags}\n\nprocessor\t: 1\n")
        };
        assert_eq!(processor(&block("2000.1", "avx2")), processor(&block("3100.7", "avx2")));
        assert_ne!(processor(&block("2000.1", "avx2")), processor(&block("2000.1", "avx2 avx512_vnni")));
        assert_eq!(processor("processor : 0\n"), None);
    }
}

//! Checksums of a large file: whether it still is what was written, at the speed of memory. For files of our own, which nobody
//! forges; what comes from others has a SHA-256.

#[cfg(any(feature = "openvino", test))]
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// Bytes under one CRC-32.
const BLOCK: usize = 1 << 20;

/// CRC-32 (IEEE) of each MiB, one after the other, of the bytes so far.
#[derive(Default)]
pub struct Sums {
    done: Vec<u32>,
    block: crc32fast::Hasher,
    filled: usize,
}

impl Sums {
    /// More bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(BLOCK - self.filled));
            self.block.update(now);
            self.filled += now.len();
            if self.filled == BLOCK {
                self.done.push(std::mem::take(&mut self.block).finalize());
                self.filled = 0;
            }
            bytes = rest;
        }
    }

    /// The last one is of what is left, of nothing where nothing is.
    pub fn finish(mut self) -> Vec<u32> {
        self.done.push(self.block.finalize());
        self.done
    }

    /// Those of a file.
    #[cfg(any(feature = "openvino", test))]
    pub fn of(path: &Path) -> io::Result<Vec<u32>> {
        let (mut file, mut sums, mut buffer) = (File::open(path)?, Self::default(), vec![0; BLOCK]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(sums.finish()),
                read => sums.update(&buffer[..read]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_bytes_come_each_mebibyte_has_its_sum() {
        let bytes: Vec<u8> = (0..2 * BLOCK + 77).map(|i| (i * 7 % 253) as u8).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let whole = Sums::of(file.path()).unwrap();
        assert_eq!(whole.len(), 3);
        for piece in [1000, BLOCK, BLOCK + 1] {
            let mut sums = Sums::default();
            bytes.chunks(piece).for_each(|bytes| sums.update(bytes));
            assert_eq!(sums.finish(), whole, "{piece}");
        }
        assert_eq!(whole[0], crc32fast::hash(&bytes[..BLOCK]));
        let mut shorter = Sums::default();
        shorter.update(&bytes[..2 * BLOCK]);
        assert_eq!(shorter.finish(), [whole[0], whole[1], crc32fast::hash(&[])]);
    }
}

//! The header of a safetensors file, read from the file alone: nothing is mapped, so whoever shortens the file meanwhile
//! makes an error and no signal.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use safetensors::tensor::Metadata;

/// Bytes of a header; the format's own limit.
pub(super) const MAX_HEADER: u64 = 100_000_000;

/// Why a header was not read.
#[derive(Debug)]
pub(super) enum HeaderError {
    Io(io::Error),
    /// What does not fit.
    Damaged(String),
}

/// Where the data begins in a file of `length` bytes, and which tensors lie there without a gap up to the end.
pub(super) fn read(file: &File, length: u64) -> Result<(u64, Metadata), HeaderError> {
    let damaged = |reason: String| HeaderError::Damaged(reason);
    if length < 8 {
        return Err(damaged(format!("{length} bytes hold no header")));
    }
    let mut size = [0; 8];
    read_at(file, &mut size, 0)?;
    let size = u64::from_le_bytes(size);
    if size > MAX_HEADER || size > length - 8 {
        return Err(damaged(format!("a header of {size} bytes in a file of {length}")));
    }
    let mut text = vec![0; size as usize];
    read_at(file, &mut text, 8)?;
    let metadata: Metadata = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    let (data, needed) = (8 + size, metadata.data_len() as u64);
    match data.checked_add(needed) {
        Some(end) if end == length => Ok((data, metadata)),
        _ => Err(damaged(format!("its tensors take {needed} bytes behind the first {data}, and it has {length}"))),
    }
}

fn read_at(file: &File, bytes: &mut [u8], at: u64) -> Result<(), HeaderError> {
    file.read_exact_at(bytes, at).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => HeaderError::Damaged("it became shorter while it was read".to_owned()),
        _ => HeaderError::Io(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said about a file of these bytes.
    fn said(bytes: &[u8], length: u64) -> String {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, bytes).unwrap();
        match read(&file, length) {
            Ok((data, metadata)) => format!("{} tensors from {data}", metadata.tensors().len()),
            Err(HeaderError::Damaged(reason)) => reason,
            Err(HeaderError::Io(error)) => error.to_string(),
        }
    }

    #[test]
    fn a_header_fits_its_file_or_is_refused() {
        let header = br#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let file = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 4]].concat();
        let length = file.len() as u64;
        assert_eq!(said(&file, length), "1 tensors from 62");
        assert_eq!(said(&file[..20], length), "it became shorter while it was read");
        assert_eq!(said(&file[..64], 64), "its tensors take 4 bytes behind the first 62, and it has 64");
        assert_eq!(said(&file[..7], 7), "7 bytes hold no header");
        assert_eq!(said(&[0xff; 16], 16), "a header of 18446744073709551615 bytes in a file of 16");
    }
}

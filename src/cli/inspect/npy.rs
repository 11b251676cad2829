//! Anomaly maps as NumPy files.

use std::fs::File;
use std::io::{BufWriter, Result, Write};
use std::path::Path;

use crate::anomaly::AnomalyMap;

/// NumPy's format, version 1.0: a header padded to 64 bytes, then the values, little endian, row by row.
pub fn write(path: &Path, map: &AnomalyMap) -> Result<()> {
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", map.height(), map.width())
            .into_bytes();
    const PREFIX: usize = 10;
    let padded = (PREFIX + header.len() + 1).next_multiple_of(64);
    header.resize(padded - PREFIX - 1, b' ');
    header.push(b'\n');
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(b"\x93NUMPY\x01\x00")?;
    file.write_all(&(header.len() as u16).to_le_bytes())?;
    file.write_all(&header)?;
    file.write_all(bytemuck::cast_slice(map.values()))?;
    file.flush()
}

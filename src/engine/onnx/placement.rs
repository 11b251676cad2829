//! Which weight of a typed graph lies where in the file beside it, and in which numbers.

use half::{bf16, f16};

use super::proto::{BFLOAT16, FLOAT, FLOAT8, FLOAT16, INT8};

/// Name of that file.
pub const WEIGHTS_FILE: &str = "weights.typed";
/// Alignment of every tensor; a cache line.
pub(super) const ALIGNMENT: u64 = 64;

/// Numbers in the bytes of a graph.
pub(super) fn bytes(values: &[f32], kind: i32) -> Vec<u8> {
    match kind {
        FLOAT16 => values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
        BFLOAT16 => values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    }
}

/// Which tensor lies where in [`WEIGHTS_FILE`], in which type.
#[derive(Default)]
pub(super) struct Placement {
    /// Name and element type, in the order of the file.
    pub tensors: Vec<(String, i32)>,
    end: u64,
}

impl Placement {
    /// Offset and length in bytes of a tensor's place.
    pub fn place(&mut self, name: &str, elements: usize, kind: i32) -> (u64, usize) {
        let offset = self.end.next_multiple_of(ALIGNMENT);
        let length = elements
            * match kind {
                FLOAT => size_of::<f32>(),
                INT8 | FLOAT8 => 1,
                _ => size_of::<f16>(),
            };
        self.tensors.push((name.to_owned(), kind));
        self.end = offset + length as u64;
        (offset, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_lie_where_the_writer_puts_them() {
        let mut placement = Placement::default();
        assert_eq!(placement.place("a", 3, FLOAT), (0, 12));
        assert_eq!(placement.place("b", 3, FLOAT16), (64, 6));
        assert_eq!(placement.place("c", 1, BFLOAT16), (128, 2));
        assert_eq!(placement.place("d", 65, INT8), (192, 65));
        assert_eq!(placement.place("e", 2, FLOAT8), (320, 2));
        assert_eq!(bytes(&[1.0, -2.0], FLOAT16), [0x00, 0x3c, 0x00, 0xc0]);
        assert_eq!(bytes(&[1.0], BFLOAT16), [0x80, 0x3f]);
    }
}

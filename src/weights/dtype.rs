//! How numbers lie in a weight file, and how they become 32-bit floats.

use half::{bf16, f16};

/// Element type of a stored tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F16,
    Bf16,
    F32,
    F64,
    /// Integers and booleans, of this many bytes and name.
    Other(usize, &'static str),
}

impl Element {
    /// By the name of a torch storage class.
    pub(super) fn from_torch(storage: &str) -> Option<Self> {
        Some(match storage {
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::Bf16,
            "FloatStorage" => Self::F32,
            "DoubleStorage" => Self::F64,
            "LongStorage" => Self::Other(8, "I64"),
            "IntStorage" => Self::Other(4, "I32"),
            "ShortStorage" => Self::Other(2, "I16"),
            "CharStorage" => Self::Other(1, "I8"),
            "ByteStorage" => Self::Other(1, "U8"),
            "BoolStorage" => Self::Other(1, "BOOL"),
            "UntypedStorage" => Self::Other(1, "untyped"),
            "ComplexHalfStorage" => Self::Other(4, "C32"),
            "ComplexFloatStorage" => Self::Other(8, "C64"),
            "ComplexDoubleStorage" => Self::Other(16, "C128"),
            "QInt8Storage" => Self::Other(1, "QI8"),
            "QUInt8Storage" => Self::Other(1, "QU8"),
            "QInt32Storage" => Self::Other(4, "QI32"),
            _ => return None,
        })
    }

    /// Bytes of one element.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
            Self::Other(bytes, _) => bytes,
        }
    }

    /// Turns the bytes of every element round.
    pub(super) fn swap(self, bytes: &mut [u8]) {
        // Of a complex number, each part.
        let size = match self {
            Self::Other(size, name) if name.starts_with('C') => size / 2,
            other => other.bytes(),
        };
        bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }

    /// Is this a kind of floating-point number?
    pub(super) fn is_float(self) -> bool {
        !matches!(self, Self::Other(..))
    }

    /// The name errors use.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::F32 => "F32",
            Self::F64 => "F64",
            Self::Other(_, name) => name,
        }
    }

    /// The element at the start of `at` as a 32-bit float; `None` for integers or too few bytes.
    fn read(self, at: &[u8]) -> Option<f32> {
        Some(match self {
            Self::F16 => f16::from_le_bytes(*at.first_chunk()?).to_f32(),
            Self::Bf16 => bf16::from_le_bytes(*at.first_chunk()?).to_f32(),
            Self::F32 => f32::from_le_bytes(*at.first_chunk()?),
            Self::F64 => f64::from_le_bytes(*at.first_chunk()?) as f32,
            Self::Other(..) => return None,
        })
    }
}

/// Elements along one axis; sums and products of a few of them stay far from overflow.
pub(super) const MAX_AXIS: usize = 1 << 40;

/// Elements of a tensor that repeats those of its storage: what is repeated are vectors, and small matrices.
const MAX_REPEATED: usize = 1 << 22;

/// Where the elements of a tensor lie in its storage, in elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

impl View {
    /// All of a storage, in C order.
    pub(super) fn contiguous(shape: Vec<usize>) -> Self {
        let strides = contiguous_strides(&shape);
        Self { offset: 0, shape, strides }
    }

    /// Elements of the tensor, `None` on overflow.
    pub(super) fn elements(&self) -> Option<usize> {
        elements(&self.shape)
    }

    /// Does every element lie within `storage` elements?
    pub(super) fn fits(&self, storage: usize) -> bool {
        let Some(count) = self.elements() else { return false };
        if self.shape.len() != self.strides.len() || self.shape.iter().any(|&size| size > MAX_AXIS) {
            return false;
        }
        if count == 0 {
            return self.offset <= storage;
        }
        let last = self
            .shape
            .iter()
            .zip(&self.strides)
            .try_fold(self.offset, |at, (&size, &stride)| at.checked_add((size - 1).checked_mul(stride)?));
        // A view with more elements than its storage repeats some of them, as `expand` makes it. The bound is on the
        // memory that a small file can ask for.
        last.is_some_and(|last| last < storage) && count <= storage.max(MAX_REPEATED)
    }

    /// The tensor in C order as 32-bit floats; `None` if bytes are too few or no floats.
    pub(super) fn gather(&self, element: Element, bytes: &[u8]) -> Option<Vec<f32>> {
        let size = element.bytes();
        if !element.is_float() || !self.fits(bytes.len() / size) {
            return None;
        }
        let count = self.elements()?;
        if self.strides == contiguous_strides(&self.shape) {
            let from = self.offset * size;
            return bytes[from..from + count * size].chunks_exact(size).map(|at| element.read(at)).collect();
        }
        let mut out = Vec::with_capacity(count);
        let mut index = vec![0; self.shape.len()];
        for _ in 0..count {
            let at: usize = self.offset + index.iter().zip(&self.strides).map(|(i, stride)| i * stride).sum::<usize>();
            out.push(element.read(&bytes[at * size..])?);
            for (i, &size) in index.iter_mut().zip(&self.shape).rev() {
                *i += 1;
                if *i < size {
                    break;
                }
                *i = 0;
            }
        }
        Some(out)
    }
}

/// Product of the sizes, `None` on overflow.
pub(super) fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size))
}

fn contiguous_strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (0..shape.len().saturating_sub(1)).rev() {
        strides[axis] = strides[axis + 1].saturating_mul(shape[axis + 1]);
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transposed_view_is_read_in_c_order() {
        let bytes: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let view = View { offset: 0, shape: vec![3, 2], strides: vec![1, 3] };
        assert_eq!(view.gather(Element::F32, &bytes).unwrap(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    }

    #[test]
    fn views_outside_their_storage_do_not_fit() {
        let view = |offset, shape: &[usize], strides: &[usize]| View {
            offset,
            shape: shape.to_vec(),
            strides: strides.to_vec(),
        };
        assert!(view(0, &[2, 3], &[3, 1]).fits(6));
        assert!(!view(1, &[2, 3], &[3, 1]).fits(6));
        assert!(!view(0, &[2, 3], &[usize::MAX, 1]).fits(6));
        assert!(!view(0, &[usize::MAX, 2], &[0, 0]).fits(6));
        assert!(view(0, &[7], &[0]).fits(6));
        assert!(!view(0, &[1 << 23], &[0]).fits(6));
        assert!(view(6, &[0], &[1]).fits(6));
        assert!(!view(0, &[2], &[]).fits(6));
        assert!(!view(0, &[0, usize::MAX], &[1, 1]).fits(6));
    }
}

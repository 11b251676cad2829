//! Tensors in and out of messages: raw little-endian bytes, or numbers that are written out.

use prost::bytes::Bytes;

use super::messages::{Contents, InferResponse, Tensor};

/// A tensor cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The server left it out.
    #[error("output '{name}' is missing")]
    Missing {
        /// Its name.
        name: String,
    },
    /// Numbers of a kind that is not taken here.
    #[error("'{name}' is {found}; {allowed} can be used")]
    Datatype {
        /// Its name.
        name: String,
        /// What it is.
        found: String,
        /// What may be.
        allowed: &'static str,
    },
    /// Sizes other than the model's.
    #[error("'{name}' is {found:?}, {expected} is the model's")]
    Shape {
        /// Its name.
        name: String,
        /// What it is.
        found: Vec<i64>,
        /// What would do.
        expected: String,
    },
    /// Another number of values than the sizes say.
    #[error("'{name}' has {found} bytes or values, {expected} belong to its shape")]
    Length {
        /// Its name.
        name: String,
        /// What came.
        found: usize,
        /// What should have.
        expected: usize,
    },
}

/// FP32 numbers as raw bytes.
pub fn floats(values: &[f32]) -> Bytes {
    bytes([values].into_iter(), f32::to_le_bytes)
}

/// Numbers of several slices, each as bytes, one after the other.
pub fn bytes<'a, const N: usize>(slices: impl Iterator<Item = &'a [f32]>, as_bytes: impl Fn(f32) -> [u8; N]) -> Bytes {
    let mut all = Vec::new();
    // A slice at a time: so the length is known, and the compiler copies many numbers at once.
    slices.for_each(|values| all.extend(values.iter().map(|&value| as_bytes(value))));
    all.into_flattened().into()
}

/// A tensor's head, with numbers that travel raw.
pub fn head(name: &str, datatype: &str, shape: &[usize]) -> Tensor {
    let shape = shape.iter().map(|&size| size as i64).collect();
    Tensor { name: name.to_owned(), datatype: datatype.to_owned(), shape, ..Tensor::default() }
}

/// An output's values as FP32, whether they came raw or written out, as FP32, FP16 or UINT16 (1 … [`super::model::U16_ONE`]).
pub fn output(response: &InferResponse, name: &str, count: usize) -> Result<Vec<f32>, TensorError> {
    let missing = || TensorError::Missing { name: name.to_owned() };
    let at = response.outputs.iter().position(|output| output.name == name).ok_or_else(missing)?;
    let tensor = &response.outputs[at];
    // A response has all of its numbers raw, or none.
    if let Some(raw) = response.raw_output_contents.get(at) {
        return unpacked(name, &tensor.datatype, raw, count);
    }
    let Contents { floats, uints, .. } = tensor.contents.clone().ok_or_else(missing)?;
    let values = match tensor.datatype.as_str() {
        "FP32" => floats,
        "UINT16" => uints.iter().map(|&value| value as f32 / super::model::U16_ONE).collect(),
        _ => return Err(datatype(name, &tensor.datatype)),
    };
    if values.len() == count { Ok(values) } else { Err(length(name, values.len(), count)) }
}

fn unpacked(name: &str, kind: &str, raw: &[u8], count: usize) -> Result<Vec<f32>, TensorError> {
    let fits =
        |size: usize| if raw.len() == count * size { Ok(()) } else { Err(length(name, raw.len(), count * size)) };
    match kind {
        "FP32" => {
            fits(4)?;
            Ok(raw.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
        }
        "FP16" => {
            fits(2)?;
            Ok(raw.as_chunks::<2>().0.iter().map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()).collect())
        }
        "UINT16" => {
            fits(2)?;
            let one = super::model::U16_ONE;
            Ok(raw.as_chunks::<2>().0.iter().map(|bytes| f32::from(u16::from_le_bytes(*bytes)) / one).collect())
        }
        _ => Err(datatype(name, kind)),
    }
}

fn datatype(name: &str, found: &str) -> TensorError {
    TensorError::Datatype { name: name.to_owned(), found: found.to_owned(), allowed: "FP32, FP16 and UINT16" }
}

fn length(name: &str, found: usize, expected: usize) -> TensorError {
    TensorError::Length { name: name.to_owned(), found, expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(kind: &str, raw: Option<Vec<u8>>, contents: Option<Contents>) -> InferResponse {
        let tensor = Tensor { contents, ..head("map", kind, &[1, 2]) };
        let raw_output_contents = raw.map(Bytes::from).into_iter().collect();
        InferResponse { outputs: vec![tensor], raw_output_contents, ..InferResponse::default() }
    }

    #[test]
    fn numbers_come_raw_or_written_out() {
        let raw = response("FP32", Some(floats(&[0.25, 1.0]).to_vec()), None);
        assert_eq!(output(&raw, "map", 2), Ok(vec![0.25, 1.0]));
        let written = response("FP32", None, Some(Contents { floats: vec![0.25, 1.0], ..Contents::default() }));
        assert_eq!(output(&written, "map", 2), Ok(vec![0.25, 1.0]));
        let halves = [half::f16::from_f32(0.25), half::f16::ONE].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(output(&response("FP16", Some(halves), None), "map", 2), Ok(vec![0.25, 1.0]));
        let whole = response("UINT16", Some(vec![0, 0, 255, 255]), None);
        assert_eq!(output(&whole, "map", 2), Ok(vec![0.0, 1.0]));
    }

    #[test]
    fn what_is_not_all_there_is_no_answer() {
        let short = response("FP32", Some(vec![0; 7]), None);
        assert!(matches!(output(&short, "map", 2), Err(TensorError::Length { found: 7, expected: 8, .. })));
        assert!(matches!(output(&short, "score", 1), Err(TensorError::Missing { .. })));
        assert!(matches!(
            output(&response("INT8", Some(vec![0; 2]), None), "map", 2),
            Err(TensorError::Datatype { .. })
        ));
        assert!(matches!(output(&response("FP32", None, None), "map", 2), Err(TensorError::Missing { .. })));
    }
}

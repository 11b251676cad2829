//! An ONNX file around a recorded graph.

use prost::Message;

use super::proto::{Dimension, Entry, Graph, Model, OperatorSet, Shape, TensorType, Type, ValueInfo};
use crate::weights::bundle::Bundle;

/// An operator set of ONNX, by its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operators {
    /// The first with LayerNormalization.
    V17,
    /// The first with floats of 8 bits.
    V19,
}

impl Operators {
    fn version(self) -> i64 {
        match self {
            Self::V17 => 17,
            Self::V19 => 19,
        }
    }

    /// Version of the ONNX file format that belongs to it.
    fn format(self) -> i64 {
        match self {
            Self::V17 => 8,
            Self::V19 => 9,
        }
    }
}

/// The bytes of an `.onnx` file with the first of the operator sets.
pub(super) fn file(bundle: &Bundle, graph: Graph) -> Vec<u8> {
    file_with(Operators::V17, bundle, graph)
}

/// The same with the set that a graph was recorded for.
pub(super) fn file_with(operators: Operators, bundle: &Bundle, mut graph: Graph) -> Vec<u8> {
    graph.name = bundle.manifest().name.clone();
    Model {
        ir_version: operators.format(),
        producer_name: env!("CARGO_PKG_NAME").into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph),
        opset_import: vec![OperatorSet { domain: String::new(), version: operators.version() }],
        metadata_props: vec![Entry { key: "model_sha256".into(), value: bundle.sha256().into() }],
    }
    .encode_to_vec()
}

/// An input or output whose leading axis is the batch.
pub(super) fn value_info(name: &str, elem_type: i32, behind_batch: &[usize]) -> ValueInfo {
    let batch = Dimension { dim_param: Some("batch".into()), dim_value: None };
    info(name, elem_type, std::iter::once(batch).chain(fixed(behind_batch)).collect())
}

/// An output without a batch.
pub(super) fn unbatched(name: &str, elem_type: i32, dims: &[usize]) -> ValueInfo {
    info(name, elem_type, fixed(dims).collect())
}

fn fixed(dims: &[usize]) -> impl Iterator<Item = Dimension> {
    dims.iter().map(|&d| Dimension { dim_value: Some(d as i64), dim_param: None })
}

fn info(name: &str, elem_type: i32, dim: Vec<Dimension>) -> ValueInfo {
    ValueInfo {
        name: name.into(),
        r#type: Some(Type { tensor_type: Some(TensorType { elem_type, shape: Some(Shape { dim }) }) }),
    }
}

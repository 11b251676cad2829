//! The recording implementation of the network's operations: each call appends ONNX nodes instead of computing.

use std::collections::{HashMap, HashSet};

use crate::engine::eight_bits::EightBits;
use crate::engine::scales::Scales;
use crate::vcp_clip::ops::Ops;
use crate::weights::bundle::{Bundle, BundleError, Dtype};

use super::expanded::Expanded;
use super::file::Operators;
use super::names::INPUT;
use super::placement::{Placement, WEIGHTS_FILE, bytes};
use super::proto::{
    ATTRIBUTE_FLOAT, ATTRIBUTE_INT, ATTRIBUTE_INTS, Attribute, FLOAT, FLOAT16, Graph, INT64, Node, Tensor,
};

/// Where a graph's weights are.
#[derive(Clone, Copy)]
pub enum Storage<'a> {
    /// In the graph.
    Inline,
    /// In a file of this name beside the graph: a copy of the bundle's weights file.
    Beside(&'a str),
    /// In float32 in a file beside the graph.
    Expanded(&'a Expanded),
}

/// A value in the graph.
#[derive(Clone)]
pub struct Value {
    /// Its name.
    pub name: String,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Its elements, as `TensorProto.DataType`.
    pub(super) kind: i32,
}

/// Writes a graph; see [`Ops`].
pub struct Recorder<'a> {
    pub(super) bundle: &'a Bundle,
    pub(super) storage: Storage<'a>,
    image_size: usize,
    /// The graph's first input; its leading axis is the batch.
    first_input: String,
    pub(super) graph: Graph,
    pub(super) known: HashSet<String>,
    /// Element type of matrix products and attention; everything that sums or normalises stays in float32.
    pub(super) products: i32,
    /// Element type of the image.
    image: i32,
    /// Values that were brought to another type, by name and type.
    converted: HashMap<(String, i32), String>,
    /// Where the weights of a typed graph go, in place of `storage`.
    pub(super) placement: Option<Placement>,
    /// Layers that are computed in 8 bits.
    pub(super) scales: Option<&'a Scales>,
    /// In which numbers.
    pub(super) eight_bits: EightBits,
    /// Operator set.
    pub(super) operators: Operators,
    /// Outputs that watch layers, with their dimensions; `None` where nobody asked for them.
    pub(super) watched: Option<Vec<(String, [usize; 2])>>,
    /// The first weight that could not be read: no operation can fail, so the graph does at its end.
    pub(super) failed: Option<BundleError>,
}

pub(super) fn int(name: &str, value: i64) -> Attribute {
    Attribute { name: name.into(), i: Some(value), r#type: ATTRIBUTE_INT, ..Attribute::default() }
}

pub(super) fn ints(name: &str, values: &[i64]) -> Attribute {
    Attribute { name: name.into(), ints: values.to_vec(), r#type: ATTRIBUTE_INTS, ..Attribute::default() }
}

pub(super) fn float(name: &str, value: f32) -> Attribute {
    Attribute { name: name.into(), f: Some(value), r#type: ATTRIBUTE_FLOAT, ..Attribute::default() }
}

impl<'a> Recorder<'a> {
    /// Starts an empty graph over the tensors of `bundle`.
    pub fn new(bundle: &'a Bundle, storage: Storage<'a>) -> Self {
        let image_size = bundle.manifest().architecture.image_size;
        Self {
            bundle,
            storage,
            image_size,
            first_input: INPUT.into(),
            graph: Graph::default(),
            known: HashSet::new(),
            products: FLOAT,
            image: FLOAT,
            converted: HashMap::new(),
            placement: None,
            scales: None,
            eight_bits: EightBits::Integers,
            operators: Operators::V17,
            watched: None,
            failed: None,
        }
    }

    /// As [`Self::new`] with matrix products of `products` elements and an image of `image` elements. Every type is in
    /// the graph, for runtimes that compute as written.
    pub fn typed(bundle: &'a Bundle, products: i32, image: i32) -> Self {
        Self { products, image, placement: Some(Placement::default()), ..Self::new(bundle, Storage::Inline) }
    }

    /// An input of the graph, `[batch, rows, columns]`, in place of the image.
    pub fn input(&mut self, name: &str, rows: usize, columns: usize) -> Value {
        self.first_input = name.into();
        Value { name: name.into(), rows, columns, kind: FLOAT }
    }

    /// The same numbers as `[batch, rows, columns]`.
    pub fn reshaped(&mut self, x: &Value, [rows, columns]: [usize; 2]) -> Value {
        let shape = self.shape(&[0, rows as i64, columns as i64]);
        self.node("Reshape", &[&x.name, &shape], vec![], [rows, columns], x.kind)
    }

    /// The same numbers as `[batch, count]`.
    pub fn flat(&mut self, x: &Value, count: usize) -> Value {
        let shape = self.shape(&[0, count as i64]);
        self.node("Reshape", &[&x.name, &shape], vec![], [1, count], x.kind)
    }

    /// `matrix · x · matrixᵀ` with a matrix `[rows, columns]`.
    pub fn both_sides(&mut self, matrix: &[f32], x: &Value, [rows, columns]: [usize; 2]) -> Value {
        let turned: Vec<f32> = (0..columns).flat_map(|c| (0..rows).map(move |r| matrix[r * columns + c])).collect();
        let left = self.floats(&[rows, columns], matrix);
        let right = self.floats(&[columns, rows], &turned);
        let half = self.node("MatMul", &[&left, &x.name], vec![], [rows, x.columns], FLOAT);
        self.node("MatMul", &[&half.name, &right], vec![], [rows, rows], FLOAT)
    }

    /// An operation of one value that keeps its shape.
    pub fn unary(&mut self, op: &str, x: &Value) -> Value {
        self.node(op, &[&x.name], vec![], [x.rows, x.columns], x.kind)
    }

    /// An operation over the values of each row.
    pub fn reduced(&mut self, op: &str, x: &Value, attributes: Vec<Attribute>) -> Value {
        self.node(op, &[&x.name], attributes, [1, 1], x.kind)
    }

    /// The `count` largest of `[batch, …]`, in any order.
    pub fn largest(&mut self, x: &Value, count: usize) -> Value {
        let many = self.shape(&[count as i64]);
        let top = self.node("TopK", &[&x.name, &many], vec![int("axis", -1), int("sorted", 0)], [1, count], x.kind);
        // The places of the largest, which nobody needs and the operation has.
        if let Some(node) = self.graph.node.last_mut() {
            node.output.push(format!("{}/places", top.name));
        }
        top
    }

    /// The graph so far; an error when one of its weights could not be read.
    pub fn into_graph(self) -> Result<Graph, BundleError> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok(self.graph),
        }
    }

    /// The graph so far, and where its weights belong; an error when one of its weights could not be read.
    pub fn into_typed(self) -> Result<(Graph, Placement), BundleError> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok((self.graph, self.placement.unwrap_or_default())),
        }
    }

    /// The same value with elements of another type.
    pub fn convert(&mut self, x: &Value, kind: i32) -> Value {
        if x.kind == kind {
            return x.clone();
        }
        let key = (x.name.clone(), kind);
        if let Some(name) = self.converted.get(&key) {
            return Value { name: name.clone(), kind, ..x.clone() };
        }
        let cast = self.node("Cast", &[&x.name], vec![int("to", i64::from(kind))], [x.rows, x.columns], kind);
        self.converted.insert(key, cast.name.clone());
        cast
    }

    /// Both in float32 unless they agree already.
    fn agree(&mut self, a: &Value, b: &Value) -> (Value, Value) {
        if a.kind == b.kind { (a.clone(), b.clone()) } else { (self.convert(a, FLOAT), self.convert(b, FLOAT)) }
    }

    /// Gives a value a name of its own, for the graph's outputs.
    pub fn name(&mut self, value: &Value, name: &str) {
        self.graph.node.push(Node {
            input: vec![value.name.clone()],
            output: vec![name.into()],
            name: format!("output/{name}"),
            op_type: "Identity".into(),
            attribute: vec![],
        });
    }

    pub(super) fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: Vec<Attribute>,
        [rows, columns]: [usize; 2],
        kind: i32,
    ) -> Value {
        let name = format!("{op}_{}", self.graph.node.len());
        self.graph.node.push(Node {
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: op.into(),
            attribute: attributes,
        });
        Value { name, rows, columns, kind }
    }

    pub(super) fn floats(&mut self, dims: &[usize], values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.inline("constant", dims, FLOAT, bytes)
    }

    pub(super) fn shape(&mut self, values: &[i64]) -> String {
        let name = format!("shape/{values:?}");
        if self.known.insert(name.clone()) {
            self.graph.initializer.push(Tensor {
                dims: vec![values.len() as i64],
                data_type: INT64,
                name: name.clone(),
                raw_data: Some(values.iter().flat_map(|v| v.to_le_bytes()).collect()),
                ..Tensor::default()
            });
        }
        name
    }

    pub(super) fn inline(&mut self, prefix: &str, dims: &[usize], data_type: i32, bytes: Vec<u8>) -> String {
        let name = format!("{prefix}_{}", self.graph.initializer.len());
        self.graph.initializer.push(Tensor {
            dims: dims.iter().map(|&d| d as i64).collect(),
            data_type,
            name: name.clone(),
            raw_data: Some(bytes),
            ..Tensor::default()
        });
        name
    }

    /// A stored tensor under the given shape (same numbers) with elements of type `kind`; other than float32 only in
    /// a typed graph.
    pub(super) fn stored(&mut self, name: &str, dims: &[usize], kind: i32) -> String {
        if let Some(placement) = &mut self.placement {
            let value = format!("{name}{dims:?}/{kind}");
            if self.known.insert(value.clone()) {
                let (offset, length) = placement.place(name, dims.iter().product(), kind);
                let dims = dims.iter().map(|&d| d as i64).collect();
                let mut tensor = Tensor { dims, data_type: kind, name: value.clone(), ..Tensor::default() };
                tensor.place(WEIGHTS_FILE, offset, length);
                self.graph.initializer.push(tensor);
            }
            return value;
        }
        let stored = self.bundle.tensor(name).expect("the bundle was checked against its layout when it was opened");
        let value = format!("{name}{dims:?}");
        let raw = format!("{value}.f16");
        if !self.known.insert(value.clone()) {
            return value;
        }
        let half = stored.dtype == Dtype::F16 && !matches!(self.storage, Storage::Expanded(_));
        let elements: usize = dims.iter().product();
        let mut tensor = Tensor {
            dims: dims.iter().map(|&d| d as i64).collect(),
            data_type: if half { FLOAT16 } else { FLOAT },
            name: if half { raw.clone() } else { value.clone() },
            ..Tensor::default()
        };
        match self.storage {
            Storage::Inline => match self.bundle.bytes(name) {
                Ok(bytes) => tensor.raw_data = Some(bytes),
                Err(error) => self.failed = self.failed.take().or(Some(error)),
            },
            Storage::Beside(file) => {
                tensor.place(file, stored.offset_in_file, stored.length);
            }
            Storage::Expanded(expanded) => {
                tensor.place(Expanded::FILE, expanded.offset(name), elements * size_of::<f32>());
            }
        }
        self.graph.initializer.push(tensor);
        if half {
            self.graph.node.push(Node {
                input: vec![raw],
                output: vec![value.clone()],
                name: format!("float/{value}"),
                op_type: "Cast".into(),
                attribute: vec![int("to", i64::from(FLOAT))],
            });
        }
        value
    }

    fn stored_shape(&self, name: &str) -> Vec<usize> {
        self.bundle.tensor(name).expect("the bundle was checked against its layout when it was opened").shape
    }

    pub(super) fn matrix_shape(&self, name: &str) -> [usize; 2] {
        crate::vcp_clip::eager::as_matrix(&self.stored_shape(name))
    }

    pub(super) fn scalar(&mut self, value: f32, kind: i32) -> String {
        let name = format!("scalar/{value}/{kind}");
        if self.known.insert(name.clone()) {
            self.graph.initializer.push(Tensor {
                data_type: kind,
                name: name.clone(),
                raw_data: Some(bytes(&[value], kind)),
                ..Tensor::default()
            });
        }
        name
    }

    fn slice(&mut self, x: &Value, axis: i64, [from, to]: [usize; 2], shape: [usize; 2]) -> Value {
        let from = self.shape(&[from as i64]);
        let to = self.shape(&[to as i64]);
        let axis = self.shape(&[axis]);
        self.node("Slice", &[&x.name, &from, &to, &axis], vec![], shape, x.kind)
    }
}

impl Ops for Recorder<'_> {
    type Tensor = Value;

    fn patches(&mut self, patch: usize) -> Value {
        let grid = (self.image_size / patch) as i64;
        let side = patch as i64;
        let shape = [(grid * grid) as usize, 3 * patch * patch];
        let kind = self.image;
        let cut = self.shape(&[0, 3, grid, side, grid, side]);
        let x = self.node("Reshape", &[INPUT, &cut], vec![], shape, kind);
        let x = self.node("Transpose", &[&x.name], vec![ints("perm", &[0, 2, 4, 1, 3, 5])], shape, kind);
        let rows = self.shape(&[0, grid * grid, shape[1] as i64]);
        self.node("Reshape", &[&x.name, &rows], vec![], shape, kind)
    }

    fn weight(&mut self, name: &str) -> Value {
        let [rows, columns] = self.matrix_shape(name);
        Value { name: self.stored(name, &[1, rows, columns], FLOAT), rows, columns, kind: FLOAT }
    }

    fn constant(&mut self, rows: usize, columns: usize, values: Vec<f32>) -> Value {
        Value { name: self.floats(&[1, rows, columns], &values), rows, columns, kind: FLOAT }
    }

    fn linear(&mut self, x: &Value, weight: &str, bias: Option<&str>) -> Value {
        // Gemm reads the matrix as it lies. A MatMul would need it transposed, and a runtime that folds the transposition
        // holds a second copy of all weights.
        let [out, columns] = self.matrix_shape(weight);
        if let Some(layer) = self.scales.and_then(|scales| scales.layers.get(weight)) {
            return self.linear_in_8_bits(x, weight, bias, layer);
        }
        let kind = self.products;
        let x = self.convert(x, kind);
        let matrix = self.stored(weight, &[out, columns], kind);
        let flat = self.shape(&[-1, columns as i64]);
        let flat = self.node("Reshape", &[&x.name, &flat], vec![], [x.rows, columns], kind);
        self.watch(&flat, weight);
        let mut inputs = vec![flat.name, matrix];
        inputs.extend(bias.map(|bias| self.stored(bias, &[out], kind)));
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let y = self.node("Gemm", &inputs, vec![int("transB", 1)], [x.rows, out], kind);
        let whole = self.shape(&[-1, x.rows as i64, out as i64]);
        self.node("Reshape", &[&y.name, &whole], vec![], [x.rows, out], kind)
    }

    fn project(&mut self, x: &Value, weight: &str) -> Value {
        let [rows, columns] = self.matrix_shape(weight);
        let x = self.convert(x, self.products);
        let stored = self.stored(weight, &[rows, columns], x.kind);
        self.node("MatMul", &[&x.name, &stored], vec![], [x.rows, columns], x.kind)
    }

    fn matmul_transposed(&mut self, a: &Value, b: &Value) -> Value {
        let (a, b) = self.agree(a, b);
        let turned = self.node("Transpose", &[&b.name], vec![ints("perm", &[0, 2, 1])], [b.columns, b.rows], b.kind);
        self.node("MatMul", &[&a.name, &turned.name], vec![], [a.rows, b.rows], a.kind)
    }

    fn add(&mut self, a: &Value, b: &Value) -> Value {
        let (a, b) = self.agree(a, b);
        self.node("Add", &[&a.name, &b.name], vec![], [a.rows.max(b.rows), a.columns], a.kind)
    }

    fn scale(&mut self, x: &Value, factor: f32) -> Value {
        let factor = self.scalar(factor, x.kind);
        self.node("Mul", &[&x.name, &factor], vec![], [x.rows, x.columns], x.kind)
    }

    fn layer_norm(&mut self, x: &Value, prefix: &str, eps: f64) -> Value {
        let x = self.convert(x, FLOAT);
        let gamma = self.stored(&format!("{prefix}.weight"), &[x.columns], FLOAT);
        let beta = self.stored(&format!("{prefix}.bias"), &[x.columns], FLOAT);
        let attributes = vec![int("axis", -1), float("epsilon", eps as f32)];
        self.node("LayerNormalization", &[&x.name, &gamma, &beta], attributes, [x.rows, x.columns], FLOAT)
    }

    fn gelu(&mut self, x: &Value) -> Value {
        // The form in which runtimes recognise and fuse the exact GELU.
        let shape = [x.rows, x.columns];
        let x = self.convert(x, FLOAT);
        let scalar = |this: &mut Self, value| this.scalar(value, FLOAT);
        let (root, one, half) = (scalar(self, std::f32::consts::SQRT_2), scalar(self, 1.0), scalar(self, 0.5));
        let y = self.node("Div", &[&x.name, &root], vec![], shape, FLOAT);
        let y = self.node("Erf", &[&y.name], vec![], shape, FLOAT);
        let y = self.node("Add", &[&y.name, &one], vec![], shape, FLOAT);
        let y = self.node("Mul", &[&x.name, &y.name], vec![], shape, FLOAT);
        self.node("Mul", &[&y.name, &half], vec![], shape, FLOAT)
    }

    fn l2_normalize(&mut self, x: &Value) -> Value {
        let x = self.convert(x, FLOAT);
        let keep = int("keepdims", 1);
        let length = match self.operators {
            Operators::V17 => self.node("ReduceL2", &[&x.name], vec![ints("axes", &[-1]), keep], [x.rows, 1], FLOAT),
            Operators::V19 => {
                let axes = self.shape(&[-1]);
                self.node("ReduceL2", &[&x.name, &axes], vec![keep], [x.rows, 1], FLOAT)
            }
        };
        self.node("Div", &[&x.name, &length.name], vec![], [x.rows, x.columns], FLOAT)
    }

    fn attention(&mut self, q: &Value, k: &Value, v: &Value, heads: usize, mask: Option<&Value>) -> Value {
        self.attention_of_three(q, k, v, heads, mask)
    }

    fn self_attention(&mut self, joint: &Value, width: usize, heads: usize, mask: Option<&Value>) -> Value {
        self.attention_of_joint(joint, width, heads, mask)
    }

    fn conv_columns(&mut self, x: &Value, weight: &str, bias: &str, kernel: usize) -> Value {
        let x = self.convert(x, FLOAT);
        let shape = self.stored_shape(weight);
        let bias_shape = self.stored_shape(bias);
        let out: usize = bias_shape.iter().product();
        let weight = self.stored(weight, &shape, FLOAT);
        let bias = self.stored(bias, &bias_shape, FLOAT);
        let pad = (kernel / 2) as i64;
        let attributes = vec![ints("kernel_shape", &[kernel as i64]), ints("pads", &[pad, pad])];
        self.node("Conv", &[&x.name, &weight, &bias], attributes, [out, x.columns], FLOAT)
    }

    fn rows(&mut self, x: &Value, from: usize, to: usize) -> Value {
        self.slice(x, 1, [from, to], [to - from, x.columns])
    }

    fn columns(&mut self, x: &Value, from: usize, to: usize) -> Value {
        self.slice(x, 2, [from, to], [x.rows, to - from])
    }

    fn concat_rows(&mut self, parts: &[Value]) -> Value {
        let kind = if parts.iter().all(|part| part.kind == parts[0].kind) { parts[0].kind } else { FLOAT };
        let parts: Vec<Value> = parts.iter().map(|part| self.convert(part, kind)).collect();
        let names: Vec<&str> = parts.iter().map(|p| p.name.as_str()).collect();
        let shape = [parts.iter().map(|p| p.rows).sum(), parts[0].columns];
        self.node("Concat", &names, vec![int("axis", 1)], shape, kind)
    }

    fn repeat_like(&mut self, x: &Value, _like: &Value) -> Value {
        // Every batch in the graph is the input's.
        const BATCH: &str = "batch_by_one_by_one";
        if self.known.insert(BATCH.into()) {
            let attributes = vec![int("start", 0), int("end", 1)];
            let input = self.first_input.clone();
            let batch = self.node("Shape", &[&input], attributes, [0, 0], INT64);
            let ones = self.shape(&[1, 1]);
            self.graph.node.push(Node {
                input: vec![batch.name, ones],
                output: vec![BATCH.into()],
                name: BATCH.into(),
                op_type: "Concat".into(),
                attribute: vec![int("axis", 0)],
            });
        }
        self.node("Expand", &[&x.name, BATCH], vec![], [x.rows, x.columns], x.kind)
    }
}

//! Linear layers in 8 bits, and what is watched of them while their scales are being found.

use crate::engine::eight_bits::{EightBits, Matrix};
use crate::engine::scales::{Layer, Scales, Watched, candidates};

use super::expanded::Expanded;
use super::file::Operators;
use super::proto::{FLOAT, FLOAT8, INT8, INT64, Tensor};
use super::recorder::{Recorder, Storage, Value, int, ints};

/// Rows of every layer's input that a watching graph hands out for each picture.
const ROWS: usize = 24;

impl<'a> Recorder<'a> {
    /// `x · Wᵀ + b` with x and W rounded to 8 bits; see [`crate::engine::scales`]. Written as QuantizeLinear and DequantizeLinear,
    /// which OpenVINO's CPU plug-in fuses into a product of integers and TensorRT into one of the numbers that they round to.
    pub(super) fn linear_in_8_bits(&mut self, x: &Value, weight: &str, bias: Option<&str>, layer: &Layer) -> Value {
        let [out, columns] = self.matrix_shape(weight);
        // Also in a typed graph: a step may be too small for float16, and sums, GELU and rounding come from float32.
        let kind = FLOAT;
        let x = self.convert(x, kind);
        let flat = self.shape(&[-1, columns as i64]);
        let flat = self.node("Reshape", &[&x.name, &flat], vec![], [x.rows, columns], kind);
        // OpenVINO fuses the one form, TensorRT the other; floats of 8 bits are fused by TensorRT alone.
        let as_written = self.placement.is_some() || self.eight_bits == EightBits::Floats;
        let x8 = if as_written { self.rounded_as_written(&flat, layer) } else { self.rounded_integers(&flat, layer) };

        let (stored, steps) = self.stored_in_8_bits(weight, [out, columns], layer);
        let steps = self.floats(&[out], &steps);
        let zeros = self.inline("constant", &[out], self.element_in_8_bits(), vec![0; out]);
        let w8 = self.node("DequantizeLinear", &[&stored, &steps, &zeros], vec![int("axis", 0)], [out, columns], kind);

        let mut inputs = vec![x8.name, w8.name];
        inputs.extend(bias.map(|bias| self.stored(bias, &[out], kind)));
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let y = self.node("Gemm", &inputs, vec![int("transB", 1)], [x.rows, out], kind);
        let whole = self.shape(&[-1, x.rows as i64, out as i64]);
        self.node("Reshape", &[&y.name, &whole], vec![], [x.rows, out], kind)
    }

    /// Layers that have scales are computed by them from here on, in these numbers.
    pub(super) fn compute_in(&mut self, scales: Option<&'a Scales>, eight_bits: EightBits) {
        self.scales = scales;
        self.eight_bits = eight_bits;
        if scales.is_some() && eight_bits == EightBits::Floats {
            self.operators = Operators::V19;
        }
    }

    fn element_in_8_bits(&self) -> i32 {
        match self.eight_bits {
            EightBits::Integers => INT8,
            EightBits::Floats => FLOAT8,
        }
    }

    /// x / m, rounded to integers. The migration lies in steps of its own for each channel.
    fn rounded_integers(&mut self, flat: &Value, layer: &Layer) -> Value {
        let shape = [flat.rows, flat.columns];
        let steps = self.floats(&[flat.columns], &layer.steps());
        let zeros = self.inline("constant", &[flat.columns], INT8, vec![0; flat.columns]);
        let rounded = self.node("QuantizeLinear", &[&flat.name, &steps, &zeros], vec![int("axis", 1)], shape, INT8);
        let step = self.floats(&[], &[layer.step]);
        let zero = self.inline("constant", &[], INT8, vec![0]);
        self.node("DequantizeLinear", &[&rounded.name, &step, &zero], vec![], shape, FLOAT)
    }

    /// The same for TensorRT, which fuses a rounding only where both of its sides have one step: the migration is a product of its
    /// own.
    fn rounded_as_written(&mut self, flat: &Value, layer: &Layer) -> Value {
        let (kind, shape) = (self.element_in_8_bits(), [flat.rows, flat.columns]);
        let shares: Vec<f32> = layer.migration.iter().map(|m| m.recip()).collect();
        let shares = self.floats(&[flat.columns], &shares);
        let moved = self.node("Mul", &[&flat.name, &shares], vec![], shape, FLOAT);
        let step = self.floats(&[], &[self.eight_bits.step(layer)]);
        // Zero has the same byte in both.
        let zero = self.inline("constant", &[], kind, vec![0]);
        let rounded = self.node("QuantizeLinear", &[&moved.name, &step, &zero], vec![], shape, kind);
        self.node("DequantizeLinear", &[&rounded.name, &step, &zero], vec![], shape, FLOAT)
    }

    /// The weight in 8 bits, and the size of a step of each of its rows.
    fn stored_in_8_bits(&mut self, name: &str, [out, columns]: [usize; 2], layer: &Layer) -> (String, Vec<f32>) {
        let kind = self.element_in_8_bits();
        if let Storage::Expanded(expanded) = self.storage
            && let Some(steps) = expanded.steps(name)
        {
            let value = format!("{name}/8 bits");
            let dims = vec![out as i64, columns as i64];
            let mut tensor = Tensor { dims, data_type: kind, name: value.clone(), ..Tensor::default() };
            tensor.place(Expanded::FILE, expanded.offset(name), out * columns);
            self.graph.initializer.push(tensor);
            return (value, steps.to_vec());
        }
        let Matrix { bytes, steps } = match self.bundle.f32(name) {
            Ok((_, values)) => self.eight_bits.weight(layer, &values),
            Err(error) => {
                self.failed = self.failed.take().or(Some(error));
                Matrix { bytes: vec![0; out * columns], steps: vec![1.0; out] }
            }
        };
        // The file beside a typed graph is written later.
        let typed = self.placement.is_some();
        let stored = if typed {
            self.stored(name, &[out, columns], kind)
        } else {
            self.inline("8 bits", &[out, columns], kind, bytes)
        };
        (stored, steps)
    }

    /// Hands out what goes into a layer that may be computed in 8 bits, where the graph is one that watches.
    pub(super) fn watch(&mut self, x: &Value, weight: &str) {
        let candidate =
            |this: &Self| candidates(&this.bundle.manifest().architecture).iter().any(|name| name == weight);
        if self.watched.is_none() || !candidate(self) {
            return;
        }
        let names = Watched::new(weight);
        let absolute = self.node("Abs", &[&x.name], vec![], [x.rows, x.columns], FLOAT);
        let over_rows = vec![ints("axes", &[0]), int("keepdims", 1)];
        let largest = self.node("ReduceMax", &[&absolute.name], over_rows, [1, x.columns], FLOAT);
        let along_rows = vec![ints("axes", &[1]), int("keepdims", 0)];
        let of_rows = self.node("ReduceMax", &[&absolute.name], along_rows, [1, x.rows], FLOAT);
        let first = vec![int("axis", 0), int("keepdims", 1)];
        let widest = self.node("ArgMax", &[&of_rows.name], first, [1, 1], INT64);
        let rows = ROWS.min(x.rows);
        let which: Vec<u8> = (0..rows).flat_map(|at| ((at * x.rows / rows) as i64).to_le_bytes()).collect();
        let which = self.inline("rows", &[rows], INT64, which);
        // The row of the largest value last.
        let rows = rows + 1;
        let which = self.node("Concat", &[&which, &widest.name], vec![int("axis", 0)], [1, rows], INT64);
        let some = self.node("Gather", &[&x.name, &which.name], vec![int("axis", 0)], [rows, x.columns], FLOAT);
        self.name(&largest, &names.largest);
        self.name(&some, &names.rows);
        let outputs = [(names.largest, [1, x.columns]), (names.rows, [rows, x.columns])];
        self.watched.get_or_insert_default().extend(outputs);
    }
}

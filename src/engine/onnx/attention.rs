//! Attention as ONNX nodes, in the forms that runtimes are quickest with.

use crate::vcp_clip::ops::Ops;

use super::proto::{INT64, Tensor};
use super::recorder::{Recorder, Value, int, ints};

impl Recorder<'_> {
    /// Queries, keys and values that lie apart.
    pub(super) fn attention_of_three(
        &mut self,
        q: &Value,
        k: &Value,
        v: &Value,
        heads: usize,
        mask: Option<&Value>,
    ) -> Value {
        let kind = self.products;
        let [q, k, v] = [q, k, v].map(|value| self.convert(value, kind));
        let q = self.heads(&q, heads, [0, 2, 1, 3]);
        let k = self.heads(&k, heads, [0, 2, 3, 1]);
        let v = self.heads(&v, heads, [0, 2, 1, 3]);
        self.attend([&q, &k, &v], heads, mask)
    }

    /// Queries, keys and values side by side.
    pub(super) fn attention_of_joint(
        &mut self,
        joint: &Value,
        width: usize,
        heads: usize,
        mask: Option<&Value>,
    ) -> Value {
        if self.placement.is_some() {
            // TensorRT knows attention by the other form.
            let [q, k, v] = [0, 1, 2].map(|at| self.columns(joint, at * width, (at + 1) * width));
            return self.attention(&q, &k, &v, heads, mask);
        }
        // Turned as a whole and then taken apart: OpenVINO's CPU plug-in (2026.4.1) copies each third of the other form, which
        // takes a fifth of an attention's time.
        let (kind, shape) = (self.products, [joint.rows, width]);
        let joint = self.convert(joint, kind);
        let split = self.shape(&[0, 0, 3, heads as i64, (width / heads) as i64]);
        let turned = self.node("Reshape", &[&joint.name, &split], vec![], [joint.rows, joint.columns], kind);
        let perm = vec![ints("perm", &[2, 0, 3, 1, 4])];
        let turned = self.node("Transpose", &[&turned.name], perm, [joint.rows, joint.columns], kind);
        let [q, k, v] = [0, 1, 2].map(|at| {
            let at = self.index(at);
            self.node("Gather", &[&turned.name, &at], vec![int("axis", 0)], shape, kind)
        });
        let k = self.node("Transpose", &[&k.name], vec![ints("perm", &[0, 1, 3, 2])], shape, kind);
        self.attend([&q, &k, &v], heads, mask)
    }

    /// An index without axes.
    fn index(&mut self, at: i64) -> String {
        let name = format!("index/{at}");
        if self.known.insert(name.clone()) {
            let raw_data = Some(at.to_le_bytes().to_vec());
            self.graph.initializer.push(Tensor { data_type: INT64, name: name.clone(), raw_data, ..Tensor::default() });
        }
        name
    }

    /// Attention of queries and values `[B, heads, rows, d]` and keys `[B, heads, d, rows]` → `[B, rows, heads·d]`.
    fn attend(&mut self, [q, k, v]: [&Value; 3], heads: usize, mask: Option<&Value>) -> Value {
        let kind = self.products;
        let scale = self.scalar(1.0 / ((q.columns / heads) as f32).sqrt(), kind);
        let (shape, scores) = ([q.rows, q.columns], [q.rows, k.rows]);
        let q = self.node("Mul", &[&q.name, &scale], vec![], shape, kind);
        let mut logits = self.node("MatMul", &[&q.name, &k.name], vec![], scores, kind);
        if let Some(mask) = mask {
            let mask = self.convert(mask, kind);
            logits = self.node("Add", &[&logits.name, &mask.name], vec![], scores, kind);
        }
        let weights = self.node("Softmax", &[&logits.name], vec![int("axis", -1)], scores, kind);
        let seen = self.node("MatMul", &[&weights.name, &v.name], vec![], shape, kind);
        let seen = self.node("Transpose", &[&seen.name], vec![ints("perm", &[0, 2, 1, 3])], shape, kind);
        let joined = self.shape(&[0, 0, shape[1] as i64]);
        self.node("Reshape", &[&seen.name, &joined], vec![], shape, kind)
    }

    /// `[B, rows, heads·d]` → four axes in the given order of (batch, row, head, column).
    fn heads(&mut self, x: &Value, heads: usize, order: [i64; 4]) -> Value {
        let shape = [x.rows, x.columns];
        let split = self.shape(&[0, 0, heads as i64, (x.columns / heads) as i64]);
        let y = self.node("Reshape", &[&x.name, &split], vec![], shape, x.kind);
        self.node("Transpose", &[&y.name], vec![ints("perm", &order)], shape, x.kind)
    }
}

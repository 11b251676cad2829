//! The operations of the network, each leaving behind what its derivative needs.

use super::{Source, Tape, Value, kernels};
use crate::learn::clip_text::CaptionOps;
use crate::vcp_clip::matrix::{View, multiply};
use crate::vcp_clip::ops::Ops;

/// One head of one image within `[B, rows, heads·d]`.
pub(super) fn head(rows: usize, columns: usize, heads: usize, image: usize, head: usize) -> View {
    let width = columns / heads;
    View { rows, columns: width, offset: image * rows * columns + head * width, row: columns, column: 1 }
}

impl Ops for Tape {
    type Tensor = Value;

    fn patches(&mut self, patch: usize) -> Value {
        let images = self.images.as_ref().expect("set_images comes before the network");
        let (batch, size) = (images.batch, images.size);
        let grid = size / patch;
        let mut values = Vec::with_capacity(images.values.len());
        for image in images.values.chunks_exact(3 * size * size) {
            for place in 0..grid * grid {
                let (top, left) = (place / grid * patch, place % grid * patch);
                for plane in image.chunks_exact(size * size) {
                    for y in top..top + patch {
                        values.extend_from_slice(&plane[y * size + left..][..patch]);
                    }
                }
            }
        }
        self.push([batch, grid * grid, 3 * patch * patch], values, Source::Given, false)
    }

    fn weight(&mut self, name: &str) -> Value {
        let at = self.weights.at(name);
        let weight = &self.weights.entries[at];
        let (dims, values) = ([1, weight.rows, weight.columns], weight.values.clone());
        self.push(dims, values, Source::Weight(at), true)
    }

    fn constant(&mut self, rows: usize, columns: usize, values: Vec<f32>) -> Value {
        self.push([1, rows, columns], values, Source::Given, false)
    }

    fn linear(&mut self, x: &Value, weight: &str, bias: Option<&str>) -> Value {
        let [batch, rows, columns] = self.dims(*x);
        let weight = self.weights.at(weight);
        let bias = bias.map(|bias| self.weights.at(bias));
        let w = &self.weights.entries[weight];
        let out = w.rows;
        let all = batch * rows;
        let mut values = match bias {
            Some(bias) => self.weights.entries[bias].values.repeat(all),
            None => vec![0.0; all * out],
        };
        let to = (values.as_mut_slice(), View::tight(all, out));
        let right = View::tight(out, columns).transposed();
        multiply(to, (self.values(*x), View::tight(all, columns)), (&w.values, right), 1.0, bias.is_some());
        self.push([batch, rows, out], values, Source::Linear { x: *x, weight, bias }, true)
    }

    fn project(&mut self, x: &Value, weight: &str) -> Value {
        let [batch, rows, columns] = self.dims(*x);
        let weight = self.weights.at(weight);
        let w = &self.weights.entries[weight];
        let (all, out) = (batch * rows, w.columns);
        let mut values = vec![0.0; all * out];
        let to = (values.as_mut_slice(), View::tight(all, out));
        multiply(to, (self.values(*x), View::tight(all, columns)), (&w.values, View::tight(columns, out)), 1.0, false);
        self.push([batch, rows, out], values, Source::Project { x: *x, weight }, true)
    }

    fn matmul_transposed(&mut self, a: &Value, b: &Value) -> Value {
        let ([batch, m, c], [_, k, _]) = (self.dims(*a), self.dims(*b));
        let mut values = vec![0.0; batch * m * k];
        for (image, out) in values.chunks_exact_mut(m * k).enumerate() {
            let a = (&self.values(*a)[image * m * c..], View::tight(m, c));
            let b = (&self.values(*b)[image * k * c..], View::tight(k, c).transposed());
            multiply((out, View::tight(m, k)), a, b, 1.0, false);
        }
        let learned = self.learned(&[*a, *b]);
        self.push([batch, m, k], values, Source::MatmulTransposed { a: *a, b: *b }, learned)
    }

    fn add(&mut self, a: &Value, b: &Value) -> Value {
        let dims = self.dims(*a);
        let (left, right) = (self.values(*a), self.values(*b));
        let mut values = left.to_vec();
        if self.dims(*b) == dims {
            kernels::add(&mut values, right);
        } else {
            let [batch, rows, columns] = dims;
            let [b_batch, b_rows, _] = self.dims(*b);
            for (at, row) in values.chunks_exact_mut(columns).enumerate() {
                let (image, line) = (at / rows % batch, at % rows);
                let from = (image % b_batch) * b_rows + line % b_rows;
                kernels::add(row, &right[from * columns..][..columns]);
            }
        }
        let learned = self.learned(&[*a, *b]);
        self.push(dims, values, Source::Add { a: *a, b: *b }, learned)
    }

    fn scale(&mut self, x: &Value, factor: f32) -> Value {
        let values = self.values(*x).iter().map(|x| x * factor).collect();
        self.push(self.dims(*x), values, Source::Scale { x: *x, factor }, self.learned(&[*x]))
    }

    fn layer_norm(&mut self, x: &Value, prefix: &str, eps: f64) -> Value {
        let gamma = self.weights.at(&format!("{prefix}.weight"));
        let beta = self.weights.at(&format!("{prefix}.bias"));
        let dims = self.dims(*x);
        let x_values = self.values(*x);
        let mut normal = vec![0.0; x_values.len()];
        let inverse = kernels::standardize(x_values, dims[2], eps as f32, &mut normal);
        let mut values = vec![0.0; normal.len()];
        let entries = &self.weights.entries;
        kernels::affine(&normal, &entries[gamma].values, &entries[beta].values, &mut values);
        self.push(dims, values, Source::LayerNorm { x: *x, gamma, beta, normal, inverse }, true)
    }

    fn gelu(&mut self, x: &Value) -> Value {
        let from = self.values(*x);
        let (mut values, mut slope) = (vec![0.0; from.len()], vec![0.0; from.len()]);
        kernels::gelu(from, &mut values, &mut slope);
        self.push(self.dims(*x), values, Source::Gelu { x: *x, slope }, self.learned(&[*x]))
    }

    fn l2_normalize(&mut self, x: &Value) -> Value {
        let dims = self.dims(*x);
        let mut values = self.values(*x).to_vec();
        let mut inverse = Vec::with_capacity(dims[0] * dims[1]);
        for row in values.chunks_exact_mut(dims[2]) {
            let scale = 1.0 / row.iter().map(|x| x * x).sum::<f32>().sqrt();
            row.iter_mut().for_each(|x| *x *= scale);
            inverse.push(scale);
        }
        self.push(dims, values, Source::Normalize { x: *x, inverse }, self.learned(&[*x]))
    }

    fn attention(&mut self, q: &Value, k: &Value, v: &Value, heads: usize, mask: Option<&Value>) -> Value {
        let ([batch, rows, columns], [_, keys, _]) = (self.dims(*q), self.dims(*k));
        let scale = ((columns / heads) as f32).powf(-0.5);
        let mut shares = vec![0.0; batch * heads * rows * keys];
        let mut values = vec![0.0; batch * rows * columns];
        for (at, shares) in shares.chunks_exact_mut(rows * keys).enumerate() {
            let (image, which) = (at / heads, at % heads);
            let (queries, others) =
                (head(rows, columns, heads, image, which), head(keys, columns, heads, image, which));
            if let Some(mask) = mask {
                shares.copy_from_slice(self.values(*mask));
            }
            let to = View::tight(rows, keys);
            let right = (self.values(*k), others.transposed());
            multiply((shares, to), (self.values(*q), queries), right, scale, mask.is_some());
            kernels::softmax(shares, keys);
            multiply((&mut values, queries), (shares, to), (self.values(*v), others), 1.0, false);
        }
        let learned = self.learned(&[*q, *k, *v]);
        let source = Source::Attention { q: *q, k: *k, v: *v, heads, shares };
        self.push([batch, rows, columns], values, source, learned)
    }

    fn conv_columns(&mut self, x: &Value, weight: &str, bias: &str, kernel: usize) -> Value {
        let [batch, _, columns] = self.dims(*x);
        let (weight, bias) = (self.weights.at(weight), self.weights.at(bias));
        let (w, b) = (&self.weights.entries[weight].values, &self.weights.entries[bias].values);
        let mut values = Vec::with_capacity(batch * b.len() * columns);
        for row in self.values(*x).chunks_exact(columns) {
            for (w, b) in w.chunks_exact(kernel).zip(b) {
                let inside = |at: usize, tap: usize| (at + tap).checked_sub(kernel / 2).and_then(|i| row.get(i));
                let sum = |at| (0..kernel).map(|tap| w[tap] * inside(at, tap).unwrap_or(&0.0)).sum::<f32>();
                values.extend((0..columns).map(|at| b + sum(at)));
            }
        }
        let out = b.len();
        self.push([batch, out, columns], values, Source::Convolve { x: *x, weight, bias, kernel }, true)
    }

    fn rows(&mut self, x: &Value, from: usize, to: usize) -> Value {
        let [batch, rows, columns] = self.dims(*x);
        let image = |image: &[f32]| image[from * columns..to * columns].to_vec();
        let values = self.values(*x).chunks_exact(rows * columns).flat_map(image).collect();
        self.push([batch, to - from, columns], values, Source::Rows { x: *x, from }, self.learned(&[*x]))
    }

    fn columns(&mut self, x: &Value, from: usize, to: usize) -> Value {
        let [batch, rows, columns] = self.dims(*x);
        let mut values = Vec::with_capacity(batch * rows * (to - from));
        for row in self.values(*x).chunks_exact(columns) {
            values.extend_from_slice(&row[from..to]);
        }
        self.push([batch, rows, to - from], values, Source::Columns { x: *x, from }, self.learned(&[*x]))
    }

    fn concat_rows(&mut self, parts: &[Value]) -> Value {
        let [_, _, columns] = self.dims(parts[0]);
        let batch = self.dims(parts[0])[0];
        let rows = parts.iter().map(|&part| self.dims(part)[1]).sum();
        let mut values = Vec::with_capacity(batch * rows * columns);
        for image in 0..batch {
            for &part in parts {
                let length = self.dims(part)[1] * columns;
                values.extend_from_slice(&self.values(part)[image * length..][..length]);
            }
        }
        self.push([batch, rows, columns], values, Source::ConcatRows(parts.to_vec()), self.learned(parts))
    }

    fn repeat_like(&mut self, x: &Value, like: &Value) -> Value {
        let [_, rows, columns] = self.dims(*x);
        let [batch, _, _] = self.dims(*like);
        let values = self.values(*x).repeat(batch);
        self.push([batch, rows, columns], values, Source::Repeat { x: *x }, self.learned(&[*x]))
    }
}

impl CaptionOps for Tape {
    fn embed(&mut self, table: &str, batch: usize, ids: &[usize]) -> Value {
        let table = self.weights.at(table);
        let weight = &self.weights.entries[table];
        let columns = weight.columns;
        let mut values = Vec::with_capacity(ids.len() * columns);
        for id in ids {
            values.extend_from_slice(&weight.values[id * columns..][..columns]);
        }
        let source = Source::Embed { table, ids: ids.to_vec() };
        self.push([batch, ids.len() / batch, columns], values, source, true)
    }

    fn pick(&mut self, x: &Value, rows: &[usize]) -> Value {
        let [batch, length, columns] = self.dims(*x);
        let mut values = Vec::with_capacity(batch * columns);
        for (image, &row) in rows.iter().enumerate() {
            values.extend_from_slice(&self.values(*x)[(image * length + row) * columns..][..columns]);
        }
        let learned = self.learned(&[*x]);
        self.push([batch, 1, columns], values, Source::Pick { x: *x, rows: rows.to_vec() }, learned)
    }
}

//! From the derivative with respect to one value back to every learned tensor.

use super::forward::head;
use super::{Gradients, Node, Source, Tape, Value, kernels};
use crate::vcp_clip::matrix::{View, multiply};

impl Tape {
    /// Adds to `gradients` what the loss's derivative `grad` with respect to `output` means for each learned tensor.
    /// The tape is used up.
    ///
    /// # Panics
    /// When `grad` is not as long as the value.
    pub fn backward(self, output: Value, grad: Vec<f32>, gradients: &mut Gradients) {
        assert_eq!(grad.len(), self.values(output).len(), "one derivative for each number");
        let pending = (0..self.nodes.len()).map(|_| None).collect();
        let mut sweep = Sweep { tape: &self, pending, learned: &mut gradients.0 };
        sweep.pending[output.0] = Some(grad);
        for at in (0..=output.0).rev() {
            let node = &self.nodes[at];
            if let Some(grad) = sweep.pending[at].take()
                && node.learned
            {
                sweep.through(node, grad);
            }
        }
    }
}

/// One way back over a tape. Each operation's derivative is a method: it takes the node, the derivative with respect to
/// the node's values, and what [`Source`] kept for it.
struct Sweep<'a> {
    tape: &'a Tape,
    /// Derivatives with respect to the values of the tape, made when they are first needed.
    pending: Vec<Option<Vec<f32>>>,
    /// Derivatives with respect to the learned tensors.
    learned: &'a mut [Vec<f32>],
}

impl<'a> Sweep<'a> {
    fn through(&mut self, node: &'a Node, grad: Vec<f32>) {
        match &node.source {
            Source::Given => {}
            Source::Weight(at) => kernels::add(&mut self.learned[*at], &grad),
            Source::Linear { x, weight, bias } => self.linear(node, &grad, *x, *weight, *bias),
            Source::Project { x, weight } => self.project(node, &grad, *x, *weight),
            Source::MatmulTransposed { a, b } => self.matmul_transposed(node, &grad, *a, *b),
            Source::Add { a, b } => self.add(node, grad, *a, *b),
            Source::Scale { x, factor } => self.pass(*x, grad.iter().map(|g| g * factor).collect()),
            Source::LayerNorm { x, gamma, beta, normal, inverse } => {
                self.layer_norm(&grad, *x, (*gamma, *beta), (normal, inverse));
            }
            Source::Gelu { x, slope } => kernels::add_product(self.to(*x), &grad, slope),
            Source::Normalize { x, inverse } => self.normalize(node, &grad, *x, inverse),
            Source::Attention { q, k, v, heads, shares } => self.attention(node, &grad, [*q, *k, *v], *heads, shares),
            Source::Convolve { x, weight, bias, kernel } => self.convolve(node, &grad, *x, (*weight, *bias), *kernel),
            Source::Rows { x, from } => self.rows(node, &grad, *x, *from),
            Source::Columns { x, from } => self.columns(node, &grad, *x, *from),
            Source::ConcatRows(parts) => self.concat_rows(node, &grad, parts),
            Source::Repeat { x } => {
                let mut sum = vec![0.0; node.rows * node.columns];
                kernels::add_rows(&mut sum, &grad);
                self.pass(*x, sum);
            }
            Source::Embed { table, ids } => self.embed(node, &grad, *table, ids),
            Source::Pick { x, rows } => self.pick(node, &grad, *x, rows),
        }
    }

    fn needs(&self, value: Value) -> bool {
        self.tape.nodes[value.0].learned
    }

    /// The derivative with respect to `value` so far, to be added to.
    fn to(&mut self, value: Value) -> &mut [f32] {
        let length = self.tape.values(value).len();
        self.pending[value.0].get_or_insert_with(|| vec![0.0; length])
    }

    /// Adds `grad` to the derivative of `value`; the first one is moved there.
    fn pass(&mut self, value: Value, grad: Vec<f32>) {
        if !self.needs(value) {
            return;
        }
        match &mut self.pending[value.0] {
            Some(sum) => kernels::add(sum, &grad),
            empty => *empty = Some(grad),
        }
    }

    /// Adds `left · right` to the derivative of `x`, if anything learned stands behind it.
    fn product(&mut self, x: Value, view: View, left: (&[f32], View), right: (&[f32], View)) {
        if self.needs(x) {
            let there = self.pending[x.0].is_some();
            multiply((self.to(x), view), left, right, 1.0, there);
        }
    }

    fn linear(&mut self, node: &Node, grad: &[f32], x: Value, weight: usize, bias: Option<usize>) {
        let tape = self.tape;
        let weight_view = View::tight(node.columns, tape.nodes[x.0].columns);
        let all = View::tight(node.batch * node.rows, node.columns);
        let x_view = View::tight(all.rows, weight_view.columns);
        let to = (self.learned[weight].as_mut_slice(), weight_view);
        multiply(to, (grad, all.transposed()), (tape.values(x), x_view), 1.0, true);
        if let Some(bias) = bias {
            kernels::add_rows(&mut self.learned[bias], grad);
        }
        self.product(x, x_view, (grad, all), (&tape.weights.entries[weight].values, weight_view));
    }

    fn project(&mut self, node: &Node, grad: &[f32], x: Value, weight: usize) {
        let tape = self.tape;
        let weight_view = View::tight(tape.nodes[x.0].columns, node.columns);
        let all = View::tight(node.batch * node.rows, node.columns);
        let x_view = View::tight(all.rows, weight_view.rows);
        let to = (self.learned[weight].as_mut_slice(), weight_view);
        multiply(to, (tape.values(x), x_view.transposed()), (grad, all), 1.0, true);
        self.product(x, x_view, (grad, all), (&tape.weights.entries[weight].values, weight_view.transposed()));
    }

    fn matmul_transposed(&mut self, node: &Node, grad: &[f32], a: Value, b: Value) {
        let tape = self.tape;
        let (m, k, c) = (node.rows, node.columns, tape.nodes[a.0].columns);
        for image in 0..node.batch {
            let grad = (&grad[image * m * k..], View::tight(m, k));
            let (a_view, b_view) = (
                View { offset: image * m * c, ..View::tight(m, c) },
                View { offset: image * k * c, ..View::tight(k, c) },
            );
            if self.needs(a) {
                multiply((self.to(a), a_view), grad, (tape.values(b), b_view), 1.0, true);
            }
            if self.needs(b) {
                let grad = (grad.0, grad.1.transposed());
                multiply((self.to(b), b_view), grad, (tape.values(a), a_view), 1.0, true);
            }
        }
    }

    /// The summand that may have been broadcast gets the sum over what it was broadcast to.
    fn add(&mut self, node: &Node, grad: Vec<f32>, a: Value, b: Value) {
        if self.needs(b) {
            let inner = &self.tape.nodes[b.0];
            let to_b = self.to(b);
            if to_b.len() == grad.len() {
                kernels::add(to_b, &grad);
            } else {
                for (at, row) in grad.chunks_exact(node.columns).enumerate() {
                    let to = (at / node.rows % inner.batch) * inner.rows + at % node.rows % inner.rows;
                    kernels::add(&mut to_b[to * node.columns..][..node.columns], row);
                }
            }
        }
        self.pass(a, grad);
    }

    fn layer_norm(
        &mut self,
        grad: &[f32],
        x: Value,
        (gamma, beta): (usize, usize),
        (normal, inverse): (&[f32], &[f32]),
    ) {
        let scale = &self.tape.weights.entries[gamma].values;
        let (mut to_gamma, mut to_beta) =
            (std::mem::take(&mut self.learned[gamma]), std::mem::take(&mut self.learned[beta]));
        kernels::layer_norm_back(grad, (normal, inverse), scale, self.to(x), (&mut to_gamma, &mut to_beta));
        (self.learned[gamma], self.learned[beta]) = (to_gamma, to_beta);
    }

    fn normalize(&mut self, node: &Node, grad: &[f32], x: Value, inverse: &[f32]) {
        let width = node.columns;
        let rows = grad.chunks_exact(width).zip(node.values.chunks_exact(width)).zip(inverse);
        for (((grad, unit), inverse), to_x) in rows.zip(self.to(x).chunks_exact_mut(width)) {
            let along: f32 = grad.iter().zip(unit).map(|(g, u)| g * u).sum();
            for ((to_x, g), u) in to_x.iter_mut().zip(grad).zip(unit) {
                *to_x += inverse * (g - u * along);
            }
        }
    }

    fn attention(&mut self, node: &Node, grad: &[f32], [q, k, v]: [Value; 3], heads: usize, shares: &[f32]) {
        let tape = self.tape;
        let (rows, columns, keys) = (node.rows, node.columns, tape.nodes[k.0].rows);
        let scale = ((columns / heads) as f32).powf(-0.5);
        let (mut to_q, mut to_k, mut to_v) = (
            vec![0.0; node.batch * rows * columns],
            vec![0.0; node.batch * keys * columns],
            vec![0.0; node.batch * keys * columns],
        );
        let mut to_shares = vec![0.0; rows * keys];
        for (at, shares) in shares.chunks_exact(rows * keys).enumerate() {
            let (image, which) = (at / heads, at % heads);
            let (queries, others) =
                (head(rows, columns, heads, image, which), head(keys, columns, heads, image, which));
            let view = View::tight(rows, keys);
            multiply((&mut to_v, others), (shares, view.transposed()), (grad, queries), 1.0, false);
            multiply((&mut to_shares, view), (grad, queries), (tape.values(v), others.transposed()), 1.0, false);
            kernels::softmax_back(shares, &mut to_shares, keys);
            multiply((&mut to_q, queries), (&to_shares, view), (tape.values(k), others), scale, false);
            multiply((&mut to_k, others), (&to_shares, view.transposed()), (tape.values(q), queries), scale, false);
        }
        self.pass(q, to_q);
        self.pass(k, to_k);
        self.pass(v, to_v);
    }

    fn convolve(&mut self, node: &Node, grad: &[f32], x: Value, (weight, bias): (usize, usize), kernel: usize) {
        let (out, columns) = (node.rows, node.columns);
        let weights = &self.tape.weights.entries[weight].values;
        let mut to_x = vec![0.0; node.batch * columns];
        for (image, to_x) in to_x.chunks_exact_mut(columns).enumerate() {
            let row = &self.tape.values(x)[image * columns..][..columns];
            for channel in 0..out {
                let grad = &grad[(image * out + channel) * columns..][..columns];
                self.learned[bias][channel] += grad.iter().sum::<f32>();
                for tap in 0..kernel {
                    let from = |at: usize| (at + tap).checked_sub(kernel / 2).filter(|&i| i < columns);
                    for (i, g) in grad.iter().enumerate().filter_map(|(at, g)| Some((from(at)?, g))) {
                        self.learned[weight][channel * kernel + tap] += g * row[i];
                        to_x[i] += g * weights[channel * kernel + tap];
                    }
                }
            }
        }
        self.pass(x, to_x);
    }

    fn rows(&mut self, node: &Node, grad: &[f32], x: Value, from: usize) {
        let inner = &self.tape.nodes[x.0];
        let length = node.rows * node.columns;
        let images = self.to(x).chunks_exact_mut(inner.rows * inner.columns).zip(grad.chunks_exact(length));
        for (to_x, grad) in images {
            kernels::add(&mut to_x[from * node.columns..][..length], grad);
        }
    }

    fn columns(&mut self, node: &Node, grad: &[f32], x: Value, from: usize) {
        let width = self.tape.nodes[x.0].columns;
        for (to_x, grad) in self.to(x).chunks_exact_mut(width).zip(grad.chunks_exact(node.columns)) {
            kernels::add(&mut to_x[from..][..node.columns], grad);
        }
    }

    fn concat_rows(&mut self, node: &Node, grad: &[f32], parts: &[Value]) {
        let mut row = 0;
        for &part in parts {
            let rows = self.tape.nodes[part.0].rows;
            if self.needs(part) {
                let slice = |image: &[f32]| image[row * node.columns..(row + rows) * node.columns].to_vec();
                let grad = grad.chunks_exact(node.rows * node.columns).flat_map(slice).collect();
                self.pass(part, grad);
            }
            row += rows;
        }
    }

    fn embed(&mut self, node: &Node, grad: &[f32], table: usize, ids: &[usize]) {
        for (id, grad) in ids.iter().zip(grad.chunks_exact(node.columns)) {
            kernels::add(&mut self.learned[table][id * node.columns..][..node.columns], grad);
        }
    }

    fn pick(&mut self, node: &Node, grad: &[f32], x: Value, rows: &[usize]) {
        let length = self.tape.nodes[x.0].rows;
        let to_x = self.to(x);
        for ((image, row), grad) in rows.iter().enumerate().zip(grad.chunks_exact(node.columns)) {
            kernels::add(&mut to_x[(image * length + row) * node.columns..][..node.columns], grad);
        }
    }
}

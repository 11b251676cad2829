//! From the derivative with respect to one value back to every learned tensor.

use super::forward::head;
use super::matrix::{View, multiply};
use super::{Gradients, Node, Source, Tape, Value, kernels};

/// Derivatives with respect to the values of a tape, made when they are first needed.
struct Pending(Vec<Option<Vec<f32>>>);

impl Pending {
    fn of(&mut self, value: Value, length: usize) -> &mut Vec<f32> {
        self.0[value.0].get_or_insert_with(|| vec![0.0; length])
    }
}

impl Tape {
    /// Adds to `gradients` what the loss's derivative `grad` with respect to `output` means for each learned tensor.
    /// The tape is used up.
    ///
    /// # Panics
    /// When `grad` is not as long as the value.
    pub fn backward(self, output: Value, grad: Vec<f32>, gradients: &mut Gradients) {
        assert_eq!(grad.len(), self.values(output).len(), "one derivative for each number");
        let mut pending = Pending((0..self.nodes.len()).map(|_| None).collect());
        pending.0[output.0] = Some(grad);
        for at in (0..=output.0).rev() {
            let node = &self.nodes[at];
            if let Some(grad) = pending.0[at].take()
                && node.learned
            {
                self.through(node, grad, &mut pending, gradients);
            }
        }
    }

    fn needs(&self, value: Value) -> bool {
        self.nodes[value.0].learned
    }

    /// Adds `grad` to the derivative of `value`; the first one is moved there.
    fn pass(&self, value: Value, grad: Vec<f32>, pending: &mut Pending) {
        if !self.needs(value) {
            return;
        }
        match &mut pending.0[value.0] {
            Some(sum) => kernels::add(sum, &grad),
            empty => *empty = Some(grad),
        }
    }

    fn through(&self, node: &Node, grad: Vec<f32>, pending: &mut Pending, gradients: &mut Gradients) {
        let learned = &mut gradients.0;
        match &node.source {
            Source::Given => {}
            Source::Weight(at) => kernels::add(&mut learned[*at], &grad),
            Source::Linear { x, weight, bias } => {
                let weight_view = View::tight(node.columns, self.nodes[x.0].columns);
                let all = View::tight(node.batch * node.rows, node.columns);
                let x_view = View::tight(all.rows, weight_view.columns);
                let to = (learned[*weight].as_mut_slice(), weight_view);
                multiply(to, (&grad, all.transposed()), (self.values(*x), x_view), 1.0, true);
                if let Some(bias) = bias {
                    kernels::add_rows(&mut learned[*bias], &grad);
                }
                if self.needs(*x) {
                    let right = (self.weights.entries[*weight].values.as_slice(), weight_view);
                    self.product(*x, x_view, (&grad, all), right, pending);
                }
            }
            Source::Project { x, weight } => {
                let weight_view = View::tight(self.nodes[x.0].columns, node.columns);
                let all = View::tight(node.batch * node.rows, node.columns);
                let x_view = View::tight(all.rows, weight_view.rows);
                let to = (learned[*weight].as_mut_slice(), weight_view);
                multiply(to, (self.values(*x), x_view.transposed()), (&grad, all), 1.0, true);
                if self.needs(*x) {
                    let right = (self.weights.entries[*weight].values.as_slice(), weight_view.transposed());
                    self.product(*x, x_view, (&grad, all), right, pending);
                }
            }
            Source::MatmulTransposed { a, b } => self.matmul_back(node, (*a, *b), &grad, pending),
            Source::Add { a, b } => {
                if self.needs(*b) {
                    self.add_back(node, *b, &grad, pending);
                }
                self.pass(*a, grad, pending);
            }
            Source::Scale { x, factor } => self.pass(*x, grad.iter().map(|g| g * factor).collect(), pending),
            Source::LayerNorm { x, gamma, beta, normal, inverse } => {
                let scale = &self.weights.entries[*gamma].values;
                let (mut to_gamma, mut to_beta) =
                    (std::mem::take(&mut learned[*gamma]), std::mem::take(&mut learned[*beta]));
                let to_x = pending.of(*x, grad.len());
                kernels::layer_norm_back(&grad, (normal, inverse), scale, to_x, (&mut to_gamma, &mut to_beta));
                (learned[*gamma], learned[*beta]) = (to_gamma, to_beta);
            }
            Source::Gelu { x, slope } => kernels::add_product(pending.of(*x, grad.len()), &grad, slope),
            Source::Normalize { x, inverse } => {
                let width = node.columns;
                let to_x = pending.of(*x, grad.len());
                let rows = grad.chunks_exact(width).zip(node.values.chunks_exact(width)).zip(inverse);
                for (((grad, unit), inverse), to_x) in rows.zip(to_x.chunks_exact_mut(width)) {
                    let along: f32 = grad.iter().zip(unit).map(|(g, u)| g * u).sum();
                    for ((to_x, g), u) in to_x.iter_mut().zip(grad).zip(unit) {
                        *to_x += inverse * (g - u * along);
                    }
                }
            }
            Source::Attention { q, k, v, heads, shares } => {
                self.attention_back(node, [*q, *k, *v], *heads, shares, &grad, pending);
            }
            Source::Convolve { x, weight, bias, kernel } => {
                let (out, columns) = (node.rows, node.columns);
                let weights = &self.weights.entries[*weight].values;
                let mut to_x = vec![0.0; node.batch * columns];
                for (image, to_x) in to_x.chunks_exact_mut(columns).enumerate() {
                    let row = &self.values(*x)[image * columns..][..columns];
                    for channel in 0..out {
                        let grad = &grad[(image * out + channel) * columns..][..columns];
                        learned[*bias][channel] += grad.iter().sum::<f32>();
                        for tap in 0..*kernel {
                            let from = |at: usize| (at + tap).checked_sub(kernel / 2).filter(|&i| i < columns);
                            for (i, g) in grad.iter().enumerate().filter_map(|(at, g)| Some((from(at)?, g))) {
                                learned[*weight][channel * kernel + tap] += g * row[i];
                                to_x[i] += g * weights[channel * kernel + tap];
                            }
                        }
                    }
                }
                self.pass(*x, to_x, pending);
            }
            Source::Rows { x, from } => {
                let inner = &self.nodes[x.0];
                let to_x = pending.of(*x, inner.values.len());
                let length = node.rows * node.columns;
                let images = to_x.chunks_exact_mut(inner.rows * inner.columns).zip(grad.chunks_exact(length));
                for (to_x, grad) in images {
                    kernels::add(&mut to_x[from * node.columns..][..length], grad);
                }
            }
            Source::Columns { x, from } => {
                let inner = &self.nodes[x.0];
                let to_x = pending.of(*x, inner.values.len());
                for (to_x, grad) in to_x.chunks_exact_mut(inner.columns).zip(grad.chunks_exact(node.columns)) {
                    kernels::add(&mut to_x[*from..][..node.columns], grad);
                }
            }
            Source::ConcatRows(parts) => {
                let mut row = 0;
                for part in parts {
                    let rows = self.nodes[part.0].rows;
                    if self.needs(*part) {
                        let slice = |image: &[f32]| image[row * node.columns..(row + rows) * node.columns].to_vec();
                        let grad = grad.chunks_exact(node.rows * node.columns).flat_map(slice).collect();
                        self.pass(*part, grad, pending);
                    }
                    row += rows;
                }
            }
            Source::Repeat { x } => {
                let mut sum = vec![0.0; node.rows * node.columns];
                kernels::add_rows(&mut sum, &grad);
                self.pass(*x, sum, pending);
            }
            Source::Embed { table, ids } => {
                for (id, grad) in ids.iter().zip(grad.chunks_exact(node.columns)) {
                    kernels::add(&mut learned[*table][id * node.columns..][..node.columns], grad);
                }
            }
            Source::Pick { x, rows } => {
                let inner = &self.nodes[x.0];
                let to_x = pending.of(*x, inner.values.len());
                for ((image, row), grad) in rows.iter().enumerate().zip(grad.chunks_exact(node.columns)) {
                    kernels::add(&mut to_x[(image * inner.rows + row) * node.columns..][..node.columns], grad);
                }
            }
        }
    }

    /// Adds `left · right` to the derivative of `x`.
    fn product(&self, x: Value, view: View, left: (&[f32], View), right: (&[f32], View), pending: &mut Pending) {
        let there = pending.0[x.0].is_some();
        let to_x = pending.of(x, view.rows * view.columns);
        multiply((to_x, view), left, right, 1.0, there);
    }

    fn matmul_back(&self, node: &Node, (a, b): (Value, Value), grad: &[f32], pending: &mut Pending) {
        let (m, k, c) = (node.rows, node.columns, self.nodes[a.0].columns);
        for image in 0..node.batch {
            let grad = (&grad[image * m * k..], View::tight(m, k));
            let (a_view, b_view) = (
                View { offset: image * m * c, ..View::tight(m, c) },
                View { offset: image * k * c, ..View::tight(k, c) },
            );
            if self.needs(a) {
                let to = pending.of(a, node.batch * m * c);
                multiply((to, a_view), grad, (self.values(b), b_view), 1.0, true);
            }
            if self.needs(b) {
                let to = pending.of(b, node.batch * k * c);
                multiply((to, b_view), (grad.0, grad.1.transposed()), (self.values(a), a_view), 1.0, true);
            }
        }
    }

    /// The summand that may have been broadcast gets the sum over what it was broadcast to.
    fn add_back(&self, node: &Node, b: Value, grad: &[f32], pending: &mut Pending) {
        let inner = &self.nodes[b.0];
        let to_b = pending.of(b, inner.values.len());
        if inner.values.len() == grad.len() {
            kernels::add(to_b, grad);
            return;
        }
        for (at, row) in grad.chunks_exact(node.columns).enumerate() {
            let to = (at / node.rows % inner.batch) * inner.rows + at % node.rows % inner.rows;
            kernels::add(&mut to_b[to * node.columns..][..node.columns], row);
        }
    }

    fn attention_back(
        &self,
        node: &Node,
        [q, k, v]: [Value; 3],
        heads: usize,
        shares: &[f32],
        grad: &[f32],
        pending: &mut Pending,
    ) {
        let (rows, columns, keys) = (node.rows, node.columns, self.nodes[k.0].rows);
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
            multiply((&mut to_shares, view), (grad, queries), (self.values(v), others.transposed()), 1.0, false);
            kernels::softmax_back(shares, &mut to_shares, keys);
            multiply((&mut to_q, queries), (&to_shares, view), (self.values(k), others), scale, false);
            multiply((&mut to_k, others), (&to_shares, view.transposed()), (self.values(q), queries), scale, false);
        }
        self.pass(q, to_q, pending);
        self.pass(k, to_k, pending);
        self.pass(v, to_v, pending);
    }
}

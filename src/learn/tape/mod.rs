//! A second differentiation beside burn's, because it is faster on a processor, where CLIP learns from nothing: the
//! operations of [`crate::vcp_clip::ops::Ops`] computed at once and remembered, with one fused pass for each derivative.
//!
//! The gradients of 64 views of 64×64 pixels (8 blocks of width 128) took 1.5 s on tapes and 2.2 s with burn on the same
//! threads, median of nine (2 busy cores, dev profile, 2026-11-28). burn's stays for the VCP modules, which learn on any
//! of its devices, and as what the tape's derivatives are tested against. A tape works on the thread that calls it; a
//! batch is spread over threads by giving each a tape of its own.

use std::collections::HashMap;
use std::sync::Arc;

mod backward;
mod forward;
mod kernels;
#[cfg(test)]
mod tests;

use crate::vcp_clip::eager::as_matrix;

/// The learned tensors of a step, shared by the tapes that compute with them.
#[derive(Debug, Default)]
pub struct Weights {
    index: HashMap<String, usize>,
    entries: Vec<Weight>,
}

#[derive(Debug)]
struct Weight {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

impl Weights {
    /// Takes `(name, shape, values)`; gradients come back in this order.
    ///
    /// # Panics
    /// When values do not fill their shape.
    pub fn new(tensors: impl IntoIterator<Item = (String, Vec<usize>, Vec<f32>)>) -> Self {
        let mut weights = Self::default();
        for (name, shape, values) in tensors {
            let [rows, columns] = as_matrix(&shape);
            assert_eq!(values.len(), rows * columns, "'{name}' fills its shape");
            weights.index.insert(name, weights.entries.len());
            weights.entries.push(Weight { rows, columns, values });
        }
        weights
    }

    fn at(&self, name: &str) -> usize {
        let index = self.index.get(name);
        *index.unwrap_or_else(|| panic!("the model's layout has no tensor '{name}'"))
    }

    /// The numbers of a tensor.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn values(&self, name: &str) -> &[f32] {
        &self.entries[self.at(name)].values
    }

    /// Zeros for every tensor: where gradients are added up.
    pub fn zeros(&self) -> Gradients {
        Gradients(self.entries.iter().map(|weight| vec![0.0; weight.values.len()]).collect())
    }
}

/// Derivatives of a loss with respect to every tensor of [`Weights`], in their order.
pub struct Gradients(pub Vec<Vec<f32>>);

impl Gradients {
    /// The derivative with respect to one tensor.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn of_mut(&mut self, weights: &Weights, name: &str) -> &mut [f32] {
        &mut self.0[weights.at(name)]
    }

    /// Adds another part of the batch.
    pub fn add(&mut self, other: &Self) {
        for (sum, part) in self.0.iter_mut().zip(&other.0) {
            kernels::add(sum, part);
        }
    }
}

/// A value on a tape.
#[derive(Clone, Copy, Debug)]
pub struct Value(usize);

/// The computation so far.
pub struct Tape {
    weights: Arc<Weights>,
    images: Option<Images>,
    nodes: Vec<Node>,
}

struct Images {
    batch: usize,
    size: usize,
    values: Vec<f32>,
}

/// `[batch, rows, columns]`, row by row, and where it came from.
struct Node {
    batch: usize,
    rows: usize,
    columns: usize,
    values: Vec<f32>,
    source: Source,
    /// Does a learned tensor stand behind it?
    learned: bool,
}

/// How a value was made, with what its derivative needs.
enum Source {
    Given,
    Weight(usize),
    Linear { x: Value, weight: usize, bias: Option<usize> },
    Project { x: Value, weight: usize },
    MatmulTransposed { a: Value, b: Value },
    Add { a: Value, b: Value },
    Scale { x: Value, factor: f32 },
    LayerNorm { x: Value, gamma: usize, beta: usize, normal: Vec<f32>, inverse: Vec<f32> },
    Gelu { x: Value, slope: Vec<f32> },
    Normalize { x: Value, inverse: Vec<f32> },
    Attention { q: Value, k: Value, v: Value, heads: usize, shares: Vec<f32> },
    Convolve { x: Value, weight: usize, bias: usize, kernel: usize },
    Rows { x: Value, from: usize },
    Columns { x: Value, from: usize },
    ConcatRows(Vec<Value>),
    Repeat { x: Value },
    Embed { table: usize, ids: Vec<usize> },
    Pick { x: Value, rows: Vec<usize> },
}

impl Tape {
    /// An empty tape.
    pub fn new(weights: Arc<Weights>) -> Self {
        Self { weights, images: None, nodes: Vec::new() }
    }

    /// The batch to compute: `batch` images of `3 × size × size`, planes in the order red, green, blue.
    pub fn set_images(&mut self, batch: usize, size: usize, values: Vec<f32>) {
        self.images = Some(Images { batch, size, values });
    }

    /// The numbers of a value, row by row.
    pub fn values(&self, value: Value) -> &[f32] {
        &self.nodes[value.0].values
    }

    fn push(&mut self, [batch, rows, columns]: [usize; 3], values: Vec<f32>, source: Source, learned: bool) -> Value {
        debug_assert_eq!(values.len(), batch * rows * columns);
        self.nodes.push(Node { batch, rows, columns, values, source, learned });
        Value(self.nodes.len() - 1)
    }

    fn dims(&self, value: Value) -> [usize; 3] {
        let node = &self.nodes[value.0];
        [node.batch, node.rows, node.columns]
    }

    fn learned(&self, values: &[Value]) -> bool {
        values.iter().any(|value| self.nodes[value.0].learned)
    }
}

//! What is learned: named tensors with their Adam moments, entering the network as leaves of a differentiation.

use burn::tensor::{Device, Gradients, Tensor, TensorData};

use super::adam::{Adam, Moments};
use crate::vcp_clip::eager::{Eager, as_matrix};

/// The trainable tensors of one training, in the order they were added.
pub struct Parameters {
    device: Device,
    entries: Vec<Parameter>,
    steps: u64,
}

struct Parameter {
    name: String,
    shape: Vec<usize>,
    value: Tensor<2>,
    moments: Moments,
    /// The leaf of the step under way.
    leaf: Option<Tensor<2>>,
}

/// How one tensor is to be moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Learning rate.
    pub rate: f64,
    /// Decoupled weight decay.
    pub decay: f64,
}

/// Name, shape and values, row by row.
pub type Named = (String, Vec<usize>, Vec<f32>);

/// Endings of the two moments' names in a checkpoint.
const FIRST: &str = "#first";
const SECOND: &str = "#second";

impl Parameters {
    /// Nothing to learn yet; values will lie on `device`, which need not differentiate.
    pub fn new(device: &Device) -> Self {
        Self { device: device.clone().inner(), entries: Vec::new(), steps: 0 }
    }

    /// Adds a tensor with its first values, row by row.
    ///
    /// # Panics
    /// When `values` does not fill `shape`.
    pub fn add(&mut self, name: &str, shape: &[usize], values: Vec<f32>) {
        let matrix = as_matrix(shape);
        let value = Tensor::from_data(TensorData::new(values, matrix), &self.device);
        let zeros = Tensor::zeros(matrix, &self.device);
        let moments = Moments { first: zeros.clone(), second: zeros };
        self.entries.push(Parameter { name: name.to_owned(), shape: shape.to_vec(), value, moments, leaf: None });
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// Puts each tensor into `eager` as a leaf whose gradient will be asked for.
    pub fn enter(&mut self, eager: &mut Eager) {
        for entry in &mut self.entries {
            let leaf = entry.value.clone().autodiff().require_grad();
            eager.set(&entry.name, leaf.clone());
            entry.leaf = Some(leaf);
        }
    }

    /// The leaf of the step under way, for what is computed outside of the [`Eager`] network.
    ///
    /// # Panics
    /// When there is no such tensor or [`Self::enter`] was not called: a mistake of the caller's code.
    pub fn leaf(&self, name: &str) -> Tensor<2> {
        let entry = self.entries.iter().find(|entry| entry.name == name);
        let leaf = entry.and_then(|entry| entry.leaf.clone());
        leaf.unwrap_or_else(|| panic!("'{name}' is no leaf of this step"))
    }

    /// Gradient of each leaf by name, zeros where the loss does not depend on it.
    pub fn gradients(&self, gradients: &Gradients) -> Vec<Tensor<2>> {
        let gradient = |entry: &Parameter| {
            let leaf = entry.leaf.as_ref().expect("enter comes before gradients");
            leaf.grad(gradients).unwrap_or_else(|| entry.value.zeros_like())
        };
        self.entries.iter().map(gradient).collect()
    }

    /// Moves every tensor against its gradient (in the order of [`Self::names`]); `rate` may differ by name.
    pub fn step(&mut self, adam: &Adam, gradients: Vec<Tensor<2>>, rate: impl Fn(&str) -> Rate) {
        self.steps += 1;
        for (entry, gradient) in self.entries.iter_mut().zip(gradients) {
            let Rate { rate, decay } = rate(&entry.name);
            let (value, moments) =
                adam.step(self.steps, rate, decay, entry.value.clone(), gradient, entry.moments.clone());
            entry.value = value;
            entry.moments = moments;
            entry.leaf = None;
        }
    }

    /// Holds the values of a tensor at or below `most`.
    pub fn at_most(&mut self, name: &str, most: f32) {
        for entry in self.entries.iter_mut().filter(|entry| entry.name == name) {
            entry.value = entry.value.clone().clamp_max(most);
        }
    }

    /// Interpolates linearly between the values and `others`, which [`Self::values`] gave before: `(1 − share)·value + share·other`, with a
    /// `share` of 0 to 1.
    ///
    /// # Panics
    /// When `others` holds other tensors: a mistake of the caller's code.
    pub fn interpolate(&mut self, others: &[Named], share: f32) {
        assert!(self.names().eq(others.iter().map(|(name, ..)| name.as_str())), "values of other parameters");
        for (entry, (_, _, other)) in self.entries.iter_mut().zip(others) {
            let other = Tensor::from_data(TensorData::new(other.clone(), entry.value.dims()), &self.device);
            entry.value = entry.value.clone().mul_scalar(1.0 - share) + other.mul_scalar(share);
        }
    }

    /// Are all values numbers?
    pub fn finite(&self) -> bool {
        self.entries.iter().all(|entry| numbers(&entry.value).iter().all(|value| value.is_finite()))
    }

    /// The values alone.
    pub fn values(&self) -> Vec<Named> {
        self.entries.iter().map(|e| (e.name.clone(), e.shape.clone(), numbers(&e.value))).collect()
    }

    /// Values and moments, enough to go on with [`Self::restore`] as if nothing had happened.
    pub fn snapshot(&self) -> Vec<Named> {
        let three = |e: &Parameter| {
            [
                (e.name.clone(), e.shape.clone(), numbers(&e.value)),
                (format!("{}{FIRST}", e.name), e.shape.clone(), numbers(&e.moments.first)),
                (format!("{}{SECOND}", e.name), e.shape.clone(), numbers(&e.moments.second)),
            ]
        };
        self.entries.iter().flat_map(three).collect()
    }

    /// Takes back what [`Self::snapshot`] gave after `steps` steps. Errors with the name of a tensor that is missing
    /// or has another shape.
    pub fn restore(&mut self, steps: u64, tensors: &[Named]) -> Result<(), String> {
        let find = |name: &str, shape: &[usize]| {
            let found = tensors.iter().find(|(n, s, _)| n == name && s == shape);
            let (_, shape, values) = found.ok_or_else(|| name.to_owned())?;
            Ok::<_, String>(Tensor::from_data(TensorData::new(values.clone(), as_matrix(shape)), &self.device))
        };
        for entry in &mut self.entries {
            entry.value = find(&entry.name, &entry.shape)?;
            entry.moments = Moments {
                first: find(&format!("{}{FIRST}", entry.name), &entry.shape)?,
                second: find(&format!("{}{SECOND}", entry.name), &entry.shape)?,
            };
        }
        self.steps = steps;
        Ok(())
    }
}

fn numbers(tensor: &Tensor<2>) -> Vec<f32> {
    tensor.to_data().try_into_vec::<f32>().expect("parameters are float32")
}

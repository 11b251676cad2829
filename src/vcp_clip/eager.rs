//! The network computed at once, with burn: plain Rust on the flex device, or whatever device the weights lie on.

use std::collections::HashMap;

use burn::tensor::module::{attention, layer_norm};
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Device, Tensor, TensorData, activation};

use super::ops::Ops;

/// Weights on a device, and the images of the batch being computed.
pub struct Eager {
    device: Device,
    weights: HashMap<String, Weight>,
    images: Option<Tensor<4>>,
}

struct Weight {
    /// `[out, in]`; scalars and vectors lie in one row.
    matrix: Tensor<2>,
}

impl Eager {
    /// Takes `(name, shape, values)` of every tensor the network reads, row by row.
    pub fn new(device: Device, tensors: impl IntoIterator<Item = (String, Vec<usize>, Vec<f32>)>) -> Self {
        let weights = tensors
            .into_iter()
            .map(|(name, shape, values)| {
                let [rows, columns] = as_matrix(&shape);
                (name, Weight { matrix: Tensor::from_data(TensorData::new(values, [rows, columns]), &device) })
            })
            .collect();
        Self { device, weights, images: None }
    }

    /// Replaces a weight, or adds one; `matrix` is `[out, in]`, scalars and vectors lie in one row. A leaf of a
    /// differentiation enters the network this way.
    pub fn set(&mut self, name: &str, matrix: Tensor<2>) {
        self.weights.insert(name.to_owned(), Weight { matrix });
    }

    /// The batch to compute: `batch` images of `3 × size × size`, planes in the order red, green, blue.
    pub fn set_images(&mut self, batch: usize, size: usize, values: Vec<f32>) {
        let data = TensorData::new(values, [batch, 3, size, size]);
        self.images = Some(Tensor::from_data(data, &self.device));
    }

    /// The values of a tensor, row by row.
    pub fn read(tensor: &Tensor<3>) -> Vec<f32> {
        tensor.to_data().try_into_vec::<f32>().expect("the network computes in float32")
    }

    fn matrix(&self, name: &str) -> Tensor<2> {
        let weight = self.weights.get(name);
        weight.unwrap_or_else(|| panic!("the bundle's layout has no tensor '{name}'")).matrix.clone()
    }

    fn vector(&self, name: &str) -> Tensor<1> {
        self.matrix(name).flatten(0, 1)
    }

    /// `[B, rows, heads·d] → [B, heads, rows, d]`
    fn split_heads(x: &Tensor<3>, heads: usize) -> Tensor<4> {
        let [batch, rows, columns] = x.dims();
        x.clone().reshape([batch, rows, heads, columns / heads]).swap_dims(1, 2)
    }
}

/// Two axes for any shape: the last axis is the columns, but an image convolution `[out, in, kh, kw]` keeps its first
/// axis as rows.
pub fn as_matrix(shape: &[usize]) -> [usize; 2] {
    match shape {
        [out, _, _, _] => [*out, shape[1..].iter().product()],
        [rows @ .., columns] => [rows.iter().product(), *columns],
        [] => [1, 1],
    }
}

impl Ops for Eager {
    type Tensor = Tensor<3>;

    fn patches(&mut self, patch: usize) -> Tensor<3> {
        let images = self.images.clone().expect("set_images comes before the network");
        let [batch, channels, size, _] = images.dims();
        let grid = size / patch;
        images.reshape([batch, channels, grid, patch, grid, patch]).permute([0, 2, 4, 1, 3, 5]).reshape([
            batch,
            grid * grid,
            channels * patch * patch,
        ])
    }

    fn weight(&mut self, name: &str) -> Tensor<3> {
        self.matrix(name).unsqueeze()
    }

    fn constant(&mut self, rows: usize, columns: usize, values: Vec<f32>) -> Tensor<3> {
        Tensor::from_data(TensorData::new(values, [1, rows, columns]), &self.device)
    }

    fn linear(&mut self, x: &Tensor<3>, weight: &str, bias: Option<&str>) -> Tensor<3> {
        let [batch, rows, columns] = x.dims();
        let y = x.clone().reshape([batch * rows, columns]).matmul(self.matrix(weight).transpose());
        let [_, out] = y.dims();
        let y = y.reshape([batch, rows, out]);
        match bias {
            Some(bias) => y + self.vector(bias).unsqueeze(),
            None => y,
        }
    }

    fn project(&mut self, x: &Tensor<3>, weight: &str) -> Tensor<3> {
        x.clone().matmul(self.matrix(weight).unsqueeze())
    }

    fn matmul_transposed(&mut self, a: &Tensor<3>, b: &Tensor<3>) -> Tensor<3> {
        a.clone().matmul(b.clone().swap_dims(1, 2))
    }

    fn add(&mut self, a: &Tensor<3>, b: &Tensor<3>) -> Tensor<3> {
        a.clone() + b.clone()
    }

    fn scale(&mut self, x: &Tensor<3>, factor: f32) -> Tensor<3> {
        x.clone().mul_scalar(factor)
    }

    fn layer_norm(&mut self, x: &Tensor<3>, prefix: &str, eps: f64) -> Tensor<3> {
        let gamma = self.vector(&format!("{prefix}.weight"));
        let beta = self.vector(&format!("{prefix}.bias"));
        layer_norm(x.clone(), gamma, Some(beta), eps)
    }

    fn gelu(&mut self, x: &Tensor<3>) -> Tensor<3> {
        activation::gelu(x.clone())
    }

    fn l2_normalize(&mut self, x: &Tensor<3>) -> Tensor<3> {
        let length = x.clone().square().sum_dim(2).sqrt();
        x.clone() / length
    }

    fn attention(
        &mut self,
        q: &Tensor<3>,
        k: &Tensor<3>,
        v: &Tensor<3>,
        heads: usize,
        mask: Option<&Tensor<3>>,
    ) -> Tensor<3> {
        let [batch, rows, columns] = q.dims();
        let [_, keys, _] = k.dims();
        let bias = mask.map(|m| m.clone().unsqueeze::<4>().expand([batch, heads, rows, keys]));
        attention(
            Self::split_heads(q, heads),
            Self::split_heads(k, heads),
            Self::split_heads(v, heads),
            None,
            bias,
            AttentionModuleOptions::default(),
        )
        .swap_dims(1, 2)
        .reshape([batch, rows, columns])
    }

    fn conv_columns(&mut self, x: &Tensor<3>, weight: &str, bias: &str, kernel: usize) -> Tensor<3> {
        let [batch, _, columns] = x.dims();
        let pad = kernel / 2;
        let zeros = Tensor::zeros([batch, 1, pad], &self.device);
        let padded = Tensor::cat(vec![zeros.clone(), x.clone(), zeros], 2);
        let windows: Vec<_> = (0..kernel).map(|k| padded.clone().narrow(2, k, columns)).collect();
        let windows = Tensor::cat(windows, 1);
        let weight: Tensor<3> = self.matrix(weight).unsqueeze();
        let [_, out, _] = weight.dims();
        let bias = self.vector(bias).reshape([1, out, 1]);
        weight.expand([batch, out, kernel]).matmul(windows) + bias
    }

    fn rows(&mut self, x: &Tensor<3>, from: usize, to: usize) -> Tensor<3> {
        x.clone().narrow(1, from, to - from)
    }

    fn columns(&mut self, x: &Tensor<3>, from: usize, to: usize) -> Tensor<3> {
        x.clone().narrow(2, from, to - from)
    }

    fn concat_rows(&mut self, parts: &[Tensor<3>]) -> Tensor<3> {
        Tensor::cat(parts.to_vec(), 1)
    }

    fn repeat_like(&mut self, x: &Tensor<3>, like: &Tensor<3>) -> Tensor<3> {
        let [_, rows, columns] = x.dims();
        let [batch, _, _] = like.dims();
        x.clone().expand([batch, rows, columns])
    }
}

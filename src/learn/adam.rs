//! Adam (Kingma and Ba 2015, arXiv 1412.6980) in the order of operations of PyTorch, with decoupled weight decay
//! (Loshchilov and Hutter 2019, arXiv 1711.05101) when it is asked for.

use burn::tensor::Tensor;

/// Numbers of the optimiser that hold for every tensor and step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Memory of the mean gradient.
    pub beta1: f64,
    /// Memory of the mean squared gradient.
    pub beta2: f64,
    /// Added to the root of the mean squared gradient.
    pub epsilon: f64,
}

impl Default for Adam {
    /// The released training of VCP-CLIP.
    fn default() -> Self {
        Self { beta1: 0.5, beta2: 0.999, epsilon: 1e-8 }
    }
}

/// Running means of one tensor's gradient and its square.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Mean of the gradient.
    pub first: Tensor<2>,
    /// Mean of its square.
    pub second: Tensor<2>,
}

impl Adam {
    /// One step of one tensor: `step` counts from 1; `rate` is the learning rate, `decay` the weight decay (0: none).
    pub fn step(
        &self,
        step: u64,
        rate: f64,
        decay: f64,
        value: Tensor<2>,
        gradient: Tensor<2>,
        moments: Moments,
    ) -> (Tensor<2>, Moments) {
        let first = moments.first.mul_scalar(self.beta1) + gradient.clone().mul_scalar(1.0 - self.beta1);
        let second = moments.second.mul_scalar(self.beta2) + gradient.square().mul_scalar(1.0 - self.beta2);
        let step = step as f64;
        let correction1 = 1.0 - self.beta1.powf(step);
        let correction2 = 1.0 - self.beta2.powf(step);
        let denominator = second.clone().sqrt().div_scalar(correction2.sqrt()).add_scalar(self.epsilon);
        let value = if decay == 0.0 { value } else { value.mul_scalar(1.0 - rate * decay) };
        let value = value - first.clone().div(denominator).mul_scalar(rate / correction1);
        (value, Moments { first, second })
    }
}

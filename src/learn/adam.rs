//! Adam (Kingma and Ba 2015, arXiv 1412.6980) in the order of operations of PyTorch, with decoupled weight decay
//! (Loshchilov and Hutter 2019, arXiv 1711.05101) when it is asked for.

use burn::tensor::Tensor;
use serde::Serialize;

/// Numbers of the optimiser that hold for every tensor and step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Adam {
    /// Memory of the mean gradient.
    pub beta1: f64,
    /// Memory of the mean squared gradient.
    pub beta2: f64,
    /// Added to the root of the mean squared gradient.
    pub epsilon: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Self::RELEASED
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
    /// The released training of VCP-CLIP.
    pub const RELEASED: Self = Self { beta1: 0.5, beta2: 0.999, epsilon: 1e-8 };
    /// The training of CLIP (Radford et al. 2021, arXiv 2103.00020, appendix F).
    pub const CLIP: Self = Self { beta1: 0.9, beta2: 0.98, epsilon: 1e-6 };

    /// Errors with the argument that makes no sense, and what it may be.
    pub fn check(&self) -> Result<(), String> {
        let betas = [("--beta1", self.beta1), ("--beta2", self.beta2)];
        if let Some((name, beta)) = betas.iter().find(|(_, beta)| !(0.0..1.0).contains(beta)) {
            return Err(format!("{name} {beta}: give a number from 0, less than 1"));
        }
        if !(self.epsilon.is_finite() && self.epsilon > 0.0) {
            return Err(format!("--epsilon {}: give a number above 0", self.epsilon));
        }
        Ok(())
    }

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

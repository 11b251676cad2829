//! One step of learning the VCP modules: losses of a batch, gradients, Adam.

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;

use super::LearnError;
use super::adam::Adam;
use super::features::{Features, Sample};
use super::map_loss::{LossRule, MapLoss};
use super::parameters::{Named, Parameters, Rate};
use super::vcp::{Dropout, Seen, differences};
use crate::dice::Dice;
use crate::vcp_clip::Architecture;
use crate::vcp_clip::eager::Eager;
use crate::vcp_clip::network::prompt_states;
use crate::vcp_clip::text::State;
use crate::weights::{Bundle, layout};

/// Pictures that a processor differentiates together. They fit its caches, and every core has its own; the number is
/// fixed, so that sums do not depend on how many cores there are.
const TOGETHER: usize = 8;
/// Adding a constant to every score of a softmax changes nothing, so the bias of the keys cannot learn: in the released
/// training it only follows rounding errors. It stays at its first value here.
const IDLE: &str = "Zero_try.k_proj_pre_1.bias";

/// What a batch costs: sums over the layers of focal + Dice.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Losses {
    /// Of the Pre-VCP maps.
    pub raw: f64,
    /// Of the Post-VCP maps.
    pub new: f64,
}

impl Losses {
    /// Both together, which is what is minimised.
    pub fn total(self) -> f64 {
        self.raw + self.new
    }
}

/// Learning rates of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Of everything but the temperatures.
    pub rate: f64,
    /// Of the logarithms of the two temperatures.
    pub temperature: f64,
}

/// The VCP modules being learned.
pub struct VcpTraining {
    architecture: Architecture,
    states: [State; 2],
    /// The frozen text tower.
    eager: Eager,
    device: Device,
    parameters: Parameters,
    loss: MapLoss,
    adam: Adam,
    together: usize,
}

impl VcpTraining {
    /// Takes the text tower and the modules' first values from `bundle`. `apart` says whether pictures of a batch are
    /// differentiated side by side (a processor), or all at once (a graphics card).
    pub fn new(bundle: &Bundle, device: &Device, adam: Adam, loss: LossRule, apart: bool) -> Result<Self, LearnError> {
        let manifest = bundle.manifest();
        let architecture = manifest.architecture.clone();
        let learned = |name: &str| layout::vcp(&architecture).iter().any(|(other, _)| other == name);
        let mut parameters = Parameters::new(device);
        let mut frozen = Vec::new();
        for name in bundle.names().filter(|name| !name.starts_with("visual.") && *name != IDLE) {
            let (shape, values) = bundle.f32(name)?;
            if learned(name) {
                parameters.add(name, &shape, values);
            } else {
                frozen.push((name.to_owned(), shape, values));
            }
        }
        let prompts = [&manifest.prompts.normal.tokens[..], &manifest.prompts.abnormal.tokens];
        let states = prompt_states(prompts, &manifest.token_ids)
            .ok_or_else(|| bundle.damaged("a prompt token has no embedding row"))?;
        let device = device.clone().autodiff();
        let eager = Eager::new(device.clone(), frozen);
        let loss = MapLoss::new(loss, architecture.grid(), architecture.image_size);
        let together = if apart { TOGETHER } else { usize::MAX };
        Ok(Self { architecture, states, eager, device, parameters, loss, adam, together })
    }

    /// What is learned.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Goes on from a checkpoint; see [`Parameters::restore`].
    pub fn restore(&mut self, steps: u64, tensors: &[Named]) -> Result<(), String> {
        self.parameters.restore(steps, tensors)
    }

    /// Losses of a batch, and the gradient of each parameter. `dropout` is the share of the prompts' numbers that are
    /// left out, and one stream of chance per picture.
    pub fn differentiate(&mut self, batch: &[Sample], dropout: Option<(f32, Vec<Dice>)>) -> (Losses, Vec<Tensor<2>>) {
        let together = self.together.min(batch.len());
        let names: Vec<String> = self.parameters.names().map(str::to_owned).collect();
        let mut dropouts: Vec<Option<Dropout>> = Vec::new();
        match dropout {
            Some((share, dice)) => {
                let mut dice = dice.into_iter();
                for part in batch.chunks(together) {
                    dropouts.push(Some(Dropout { share, dice: dice.by_ref().take(part.len()).collect() }));
                }
            }
            None => dropouts.resize_with(batch.len().div_ceil(together), || None),
        }
        // Every part has leaves of its own: differentiations that share one would wait for each other.
        let mut parts = Vec::new();
        for (samples, dropout) in batch.chunks(together).zip(dropouts) {
            let mut eager = self.eager.clone();
            self.parameters.enter(&mut eager);
            let leaves: Vec<Tensor<2>> = names.iter().map(|name| self.parameters.leaf(name)).collect();
            parts.push((samples, dropout, eager, leaves));
        }
        let part = |(samples, dropout, eager, leaves)| self.part(samples, batch.len(), dropout, eager, leaves);
        let parts: Vec<(Vec<f64>, Vec<Tensor<2>>)> = parts.into_par_iter().map(part).collect();

        let mut losses = Losses::default();
        let layers = self.architecture.taps.len();
        let mut sum: Option<Vec<Tensor<2>>> = None;
        for (values, gradients) in parts {
            losses.raw += values[..layers].iter().sum::<f64>();
            losses.new += values[layers..].iter().sum::<f64>();
            sum = Some(match sum {
                None => gradients,
                Some(sum) => sum.into_iter().zip(gradients).map(|(sum, gradient)| sum + gradient).collect(),
            });
        }
        (losses, sum.unwrap_or_default())
    }

    /// Part of a batch: the loss of each map, and the gradient of each leaf.
    fn part(
        &self,
        samples: &[Sample],
        batch: usize,
        dropout: Option<Dropout>,
        mut eager: Eager,
        leaves: Vec<Tensor<2>>,
    ) -> (Vec<f64>, Vec<Tensor<2>>) {
        let features: Vec<&Features> = samples.iter().map(|sample| &sample.features).collect();
        let masks: Vec<&[u8]> = samples.iter().map(|sample| sample.mask.as_slice()).collect();
        let seen = Seen::new(&self.architecture, &features, &self.device);
        let maps = differences(&mut eager, &self.architecture, &self.states, &seen, dropout);
        let found = self.loss.run(&Eager::read(&maps), &masks, batch);
        // The derivatives by the maps are known, so the rest is the gradient of a sum of products.
        let derivatives = Tensor::from_data(TensorData::new(found.gradient, maps.dims()), &self.device);
        let mut gradients = (maps * derivatives).sum().backward();
        let gradient = |leaf: Tensor<2>| {
            let zeros = || leaf.clone().inner().zeros_like();
            leaf.grad_remove(&mut gradients).unwrap_or_else(zeros)
        };
        (found.values, leaves.into_iter().map(gradient).collect())
    }

    /// Moves the parameters against their gradients.
    pub fn step(&mut self, gradients: Vec<Tensor<2>>, rates: Rates) {
        let rate = |name: &str| {
            let temperature = layout::TEMPERATURES.contains(&name);
            Rate { rate: if temperature { rates.temperature } else { rates.rate }, decay: 0.0 }
        };
        self.parameters.step(&self.adam, gradients, rate);
    }

    /// What some pictures cost as the modules are now, without dropout, and their maps; see [`Self::maps`].
    pub fn look(&self, batch: &[Sample]) -> (Losses, Vec<f32>) {
        let features: Vec<&Features> = batch.iter().map(|sample| &sample.features).collect();
        let masks: Vec<&[u8]> = batch.iter().map(|sample| sample.mask.as_slice()).collect();
        let maps = self.maps(&features);
        let values = self.loss.run(&maps, &masks, batch.len()).values;
        let (raw, new) = values.split_at(self.architecture.taps.len());
        (Losses { raw: raw.iter().sum(), new: new.iter().sum() }, maps)
    }

    /// The maps of some pictures as the modules are now, without dropout: the differences of their logits
    /// `[2·layers, pictures, G·G]`, the layers of the Pre-VCP path first.
    pub fn maps(&self, pictures: &[&Features]) -> Vec<f32> {
        let device = self.device.clone().inner();
        let mut eager = self.eager.without_gradients();
        for (name, shape, values) in self.parameters.values() {
            eager.set_values(&name, &shape, values);
        }
        let arch = &self.architecture;
        let (kinds, cells) = (2 * arch.taps.len(), arch.patches());
        let part = |pictures: &[&Features]| {
            let seen = Seen::new(arch, pictures, &device);
            Eager::read(&differences(&mut eager.clone(), arch, &self.states, &seen, None))
        };
        let together = self.together.min(pictures.len()).max(1);
        let parts: Vec<Vec<f32>> = pictures.par_chunks(together).map(part).collect();
        let of_kind = |kind: usize| {
            let share = move |part: &Vec<f32>| {
                let length = part.len() / kinds;
                part[kind * length..(kind + 1) * length].to_vec()
            };
            parts.iter().flat_map(share)
        };
        let maps: Vec<f32> = (0..kinds).flat_map(of_kind).collect();
        debug_assert_eq!(maps.len(), kinds * pictures.len() * cells);
        maps
    }

    /// The modules' tensors in the released layout; see [`layout::vcp`].
    pub fn file(&self, bundle: &Bundle) -> Result<Vec<Named>, LearnError> {
        let values = self.parameters.values();
        let tensor = |(name, shape): layout::Named| match values.iter().find(|(other, _, _)| *other == name) {
            Some((_, _, values)) => Ok((name, shape, values.clone())),
            None => {
                let (_, values) = bundle.f32(&name)?;
                Ok((name, shape, values))
            }
        };
        layout::vcp(&self.architecture).into_iter().map(tensor).collect()
    }
}

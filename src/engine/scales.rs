//! What an engine needs to compute the vision tower's linear layers in 8 bits: a small file beside the bundle, made by
//! `vcp-line model quantize`.
//!
//! Scheme: y = Σ_c (x_c / m_c) · (W_oc · m_c). The migration m moves the range of a few large channels from the activations
//! into the weights (Xiao et al., "SmoothQuant", ICML 2023); then activations are rounded to steps of one size for the whole
//! tensor, weights to steps of one size for each output, both symmetric in −127 … 127.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::choice::Precision;
use super::expected::Expected;
use crate::output;
use crate::vcp_clip::Architecture;
use crate::weights::bundle::Bundle;

/// Version of the file's format.
pub const FORMAT: u32 = 1;
/// Largest value of a rounded number.
pub const LARGEST: f32 = 127.0;
/// Name of the file in the bundle's folder, where engines look for it.
pub const FILE: &str = "int8.json";
/// Larger files are none of ours: a ViT-L/14's has 3 MB.
const MOST_BYTES: u64 = 64 << 20;

/// The scales of one linear layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// m, one number above 0 for each input channel.
    pub migration: Vec<f32>,
    /// Size of a step of x / m.
    pub step: f32,
    /// Share of the range that the migration moved, 0 … 1.
    pub alpha: f32,
    /// ‖y − ŷ‖ / ‖y‖ on the rows that the scales were chosen by.
    pub error: f32,
}

/// A layer that stays as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Name of its weight.
    pub layer: String,
    /// Mean deviation of the map when it alone is computed in 8 bits.
    pub map: f32,
    /// The same of the image score.
    pub score: f32,
}

/// The pictures that the scales were found with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pictures {
    /// Those that ranges were taken from.
    pub calibrated: usize,
    /// Those that were held out, and compared.
    pub held_out: usize,
    /// SHA-256 of the hashes of all, in their order.
    pub sha256: String,
}

/// How far the maps in 8 bits were from those in float32 on the pictures that were held out, and what was allowed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Allowed for the mean deviation of maps, twice for that of scores, which go to 2, and as loss of each figure; 0.005 is half a
    /// point.
    pub allowed: f32,
    /// Mean deviation of a map's value.
    pub map: f32,
    /// Largest deviation of a map's value.
    pub worst: f32,
    /// Mean deviation of the image score, which goes to 2.
    pub score: f32,
    /// Figures of a labelled data set, in float32 and in 8 bits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<Figure>,
}

impl Gate {
    /// A map's largest deviation may be so many times the mean that is allowed.
    const WORST: f32 = 20.0;
    /// A score's, because it is a sum of two means of maps and goes to 2.
    const SCORE: f32 = 2.0;

    /// Whether what was found is allowed; what is no number is not.
    pub fn holds(&self) -> bool {
        let lost = |figure: &Figure| figure.fp32 - figure.int8;
        self.map <= self.allowed
            && self.score <= Self::SCORE * self.allowed
            && self.worst <= Self::WORST * self.allowed
            && self.figures.iter().all(|figure| lost(figure) <= f64::from(self.allowed))
    }
}

/// A figure of a labelled data set, mean of its classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// In float32.
    pub fp32: f64,
    /// In 8 bits.
    pub int8: f64,
}

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scales {
    /// [`FORMAT`].
    pub format: u32,
    /// SHA-256 of the bundle's weights.
    pub model_sha256: String,
    /// What they were found with.
    pub pictures: Pictures,
    /// By the name of the weight.
    pub layers: BTreeMap<String, Layer>,
    /// What stays as it is because it cost too much.
    pub kept: Vec<Kept>,
    /// What was allowed and found.
    pub gate: Gate,
    /// The same with floats of 8 bits in the same layers, which nothing was chosen by; `None` where that was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fp8: Option<Gate>,
    /// What float32 says about the picture of the self-test.
    pub expected: Expected,
}

/// A file of scales that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScalesError {
    /// There is none.
    #[error(
        "precisions 'int8' and 'fp8' need {path}; `vcp-line model quantize {bundle} --data GOOD_PICTURES` makes it"
    )]
    Absent {
        /// Where it was looked for.
        path: PathBuf,
        /// The bundle.
        bundle: PathBuf,
    },
    /// It cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is damaged, or not such a file, or of another version.
    #[error("{path}: {reason}; `vcp-line model quantize {bundle} --data GOOD_PICTURES` makes it anew")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// The bundle.
        bundle: PathBuf,
    },
}

/// A matrix in 8 bits, row by row.
pub struct Int8 {
    /// W · m / step, rounded.
    pub values: Vec<i8>,
    /// Size of a step of each row.
    pub steps: Vec<f32>,
}

impl Layer {
    /// The weight `[out, columns]` with its migration in 8 bits.
    pub fn weight(&self, values: &[f32]) -> Int8 {
        let columns = self.migration.len().max(1);
        let rows = values.len() / columns;
        let mut int8 = Int8 { values: Vec::with_capacity(values.len()), steps: Vec::with_capacity(rows) };
        for row in values.chunks_exact(columns) {
            let largest = row.iter().zip(&self.migration).fold(0.0_f32, |most, (w, m)| most.max((w * m).abs()));
            // A row of zeros has any step.
            let step = if largest > 0.0 { largest / LARGEST } else { 1.0 };
            int8.steps.push(step);
            int8.values.extend(row.iter().zip(&self.migration).map(|(w, m)| round(w * m / step)));
        }
        int8
    }

    /// Steps of the activations themselves, one for each channel: `step · m`.
    pub fn steps(&self) -> Vec<f32> {
        self.migration.iter().map(|m| m * self.step).collect()
    }
}

/// To the nearest, halves to even as ONNX's QuantizeLinear has it, within ±[`LARGEST`].
pub fn round(x: f32) -> i8 {
    x.round_ties_even().clamp(-LARGEST, LARGEST) as i8
}

/// Names of the weights that may be computed in 8 bits: the four linear layers of every block of the vision tower. Everything else
/// is either small (the text tower sees a few rows) or decides the map itself (Pre-VCP).
pub fn candidates(arch: &Architecture) -> Vec<String> {
    let kinds = ["attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"];
    (0..arch.vision_layers)
        .flat_map(|layer| kinds.map(|kind| format!("visual.transformer.resblocks.{layer}.{kind}")))
        .collect()
}

/// Where the scales of a bundle are looked for.
pub fn default_path(bundle: &Path) -> PathBuf {
    bundle.join(FILE)
}

impl Scales {
    /// Reads and checks the file of a bundle; `None` is [`default_path`].
    pub fn load(bundle: &Bundle, path: Option<&Path>) -> Result<Self, ScalesError> {
        let path = path.map_or_else(|| default_path(bundle.path()), Path::to_owned);
        let mut bytes = Vec::new();
        let read = std::fs::File::open(&path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ScalesError::Absent { path, bundle: bundle.path().to_owned() });
            }
            Err(source) => return Err(ScalesError::Io { path, source }),
        }
        let damaged =
            |reason: String| ScalesError::Damaged { path: path.clone(), reason, bundle: bundle.path().to_owned() };
        let scales: Self =
            serde_json::from_slice(&bytes).map_err(|error| damaged(format!("not a file of scales ({error})")))?;
        scales.check(bundle).map_err(damaged)?;
        Ok(scales)
    }

    /// Writes the file; it appears whole or not at all.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        output::write(path, &self.bytes()?)
    }

    /// SHA-256 of the file as [`Self::write`] writes it, hexadecimal.
    pub fn sha256(&self) -> std::io::Result<String> {
        Ok(hex::encode(Sha256::digest(self.bytes()?)))
    }

    fn bytes(&self) -> std::io::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self).map_err(std::io::Error::other)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// As [`Self::load`], for a precision of 8 bits of which the gate has to hold.
    pub fn load_for(precision: Precision, bundle: &Bundle, path: Option<&Path>) -> Result<Self, ScalesError> {
        let scales = Self::load(bundle, path)?;
        if precision == Precision::Fp8 && !scales.floats_hold() {
            let reason = match &scales.fp8 {
                None => "nothing was measured with floats of 8 bits".to_owned(),
                Some(gate) => format!(
                    "with floats of 8 bits maps are off by {:.4} on average, {:.4} at most, scores by {:.4}; {} was allowed: take int8",
                    gate.map, gate.worst, gate.score, gate.allowed
                ),
            };
            let path = path.map_or_else(|| default_path(bundle.path()), Path::to_owned);
            return Err(ScalesError::Damaged { path, reason, bundle: bundle.path().to_owned() });
        }
        Ok(scales)
    }

    /// Whether the gate has held with floats of 8 bits.
    pub fn floats_hold(&self) -> bool {
        self.fp8.as_ref().is_some_and(Gate::holds)
    }

    fn check(&self, bundle: &Bundle) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("format {}, this program reads {FORMAT}", self.format));
        }
        if self.model_sha256 != bundle.sha256() {
            let short = |sha256: &str| sha256.chars().take(12).collect::<String>();
            return Err(format!(
                "made for the model with SHA-256 {}…, this one has {}…",
                short(&self.model_sha256),
                short(bundle.sha256())
            ));
        }
        if !self.gate.holds() {
            return Err("its maps are further from float32's than its own gate allows".to_owned());
        }
        let candidates = candidates(&bundle.manifest().architecture);
        for (name, layer) in &self.layers {
            if !candidates.contains(name) {
                return Err(format!("'{name}' is no layer that may be computed in 8 bits"));
            }
            let columns = bundle.tensor(name).ok().and_then(|tensor| tensor.shape.get(1).copied());
            let usable = |x: f32| x.is_finite() && x >= f32::MIN_POSITIVE;
            if columns != Some(layer.migration.len()) {
                return Err(format!("'{name}' has {} channels", layer.migration.len()));
            }
            if !usable(layer.step) || !layer.migration.iter().all(|&m| usable(m) && usable(m * layer.step)) {
                return Err(format!("'{name}' has a scale that is no number above 0"));
            }
        }
        Ok(())
    }
}

/// Hears what a picture brings a watched layer: name of its weight, largest absolute value of each channel, some rows.
pub type Hear<'a> = dyn FnMut(&str, &[f32], &[f32]) + 'a;

/// Names of what a graph that watches a layer says about it.
pub struct Watched {
    /// Largest absolute value of each channel, `[1, columns]`.
    pub largest: String,
    /// Some rows as they are, `[rows, columns]`.
    pub rows: String,
}

impl Watched {
    /// The outputs of the layer with this weight.
    pub fn new(weight: &str) -> Self {
        Self { largest: format!("{weight}/largest"), rows: format!("{weight}/rows") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_in_8_bits_is_the_weight_to_half_a_step() {
        let layer = Layer { migration: vec![1.0, 4.0, 0.5], step: 0.1, alpha: 0.5, error: 0.0 };
        let values = [0.5, -0.25, 1.0, 0.0, 0.0, 0.0];
        let int8 = layer.weight(&values);
        assert_eq!(int8.values[3..], [0, 0, 0]);
        for (at, (&q, m)) in int8.values.iter().zip(layer.migration.iter().cycle()).enumerate() {
            let step = int8.steps[at / 3];
            assert!((f32::from(q) * step - values[at] * m).abs() <= step / 2.0 + 1e-7);
        }
        assert_eq!(int8.values[1], -127);
        assert_eq!(layer.steps(), [0.1, 0.4, 0.05]);
    }

    #[test]
    fn rounding_is_onnxs() {
        assert_eq!([0.5, 1.5, -0.5, -2.5, 300.0, -300.0].map(round), [0, 2, 0, -2, 127, -127]);
    }
}

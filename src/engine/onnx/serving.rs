//! The whole model as a graph that any server of the Open Inference Protocol can run: bytes of a picture in, map and score out.
//!
//! Input `image` `[batch, S, S, 3]` UINT8; outputs `map` `[batch, S, S]` and `score` `[batch, 1]`, float32. Post-VCP and the
//! fusion of the maps are in the graph. Upsampling and smoothing are linear along each axis, so each is a matrix from the left
//! and its transpose from the right; borders are exact.

use super::file::{file, value_info};
use super::names::INPUT;
use super::proto::{Attribute, FLOAT, Node, Tensor, UINT8};
use super::recorder::{Recorder, Storage, Value, int, ints};
use crate::vcp_clip::maps::{smoothing_matrix, upsampling};
use crate::vcp_clip::network::{self, TextConstants};
use crate::vcp_clip::ops::Ops;
use crate::vcp_clip::{Architecture, Constants};
use crate::weights::bundle::{Bundle, BundleError};

/// The image behind the bytes.
const NORMALISED: &str = "normalised";

/// Records the whole model of `bundle`; the bytes of an `.onnx` file.
pub fn encode(bundle: &Bundle, text: &TextConstants, storage: Storage<'_>) -> Result<Vec<u8>, BundleError> {
    let manifest = bundle.manifest();
    let (arch, constants) = (&manifest.architecture, &manifest.constants);
    let temperature = bundle.f32("Zero_try.prompt_temp_l1")?.1;
    let temperature = temperature.first().copied().unwrap_or_default().exp();
    let mut recorder = Recorder::new(bundle, storage);
    let outputs = network::forward(&mut recorder, arch, text);
    let mut fusion = Fusion { recorder: &mut recorder, arch, constants };
    let new: Vec<Value> =
        outputs.tokens.iter().map(|tokens| fusion.post_vcp(tokens, &outputs.text, temperature)).collect();
    let raw: Vec<Value> = outputs.raw.iter().map(|logits| fusion.difference(logits)).collect();
    let (map, score) = fusion.fuse(&raw, &new);
    recorder.name(&map, "map");
    recorder.name(&score, "score");
    let mut graph = recorder.into_graph()?;
    for node in &mut graph.node {
        node.input.iter_mut().filter(|input| *input == INPUT).for_each(|input| *input = NORMALISED.into());
    }
    let size = arch.image_size;
    let (nodes, numbers) = normalise(constants.mean, constants.std);
    graph.node.splice(0..0, nodes);
    graph.initializer.extend(numbers);
    graph.input = vec![value_info(INPUT, UINT8, &[size, size, 3])];
    graph.output = vec![value_info("map", FLOAT, &[size, size]), value_info("score", FLOAT, &[1])];
    Ok(file(bundle, graph))
}

/// The bytes of a picture as the network's image: `(x / 255 − mean) / std`, channel first.
fn normalise(mean: [f32; 3], std: [f32; 3]) -> ([Node; 4], [Tensor; 2]) {
    let [floats, turned, scaled] = ["image/floats", "image/turned", "image/scaled"];
    let [times, plus] = ["image/times", "image/plus"];
    let node = |op: &str, inputs: &[&str], output: &str, attribute: Vec<Attribute>| Node {
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.into()],
        name: output.into(),
        op_type: op.into(),
        attribute,
    };
    let numbers = |name: &str, values: [f32; 3]| Tensor {
        dims: vec![1, 3, 1, 1],
        data_type: FLOAT,
        name: name.into(),
        raw_data: Some(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        ..Tensor::default()
    };
    let nodes = [
        node("Cast", &[INPUT], floats, vec![int("to", i64::from(FLOAT))]),
        node("Transpose", &[floats], turned, vec![ints("perm", &[0, 3, 1, 2])]),
        node("Mul", &[turned, times], scaled, vec![]),
        node("Add", &[scaled, plus], NORMALISED, vec![]),
    ];
    let shift = [0, 1, 2].map(|channel| -mean[channel] / std[channel]);
    (nodes, [numbers(times, std.map(|std| 1.0 / (255.0 * std))), numbers(plus, shift)])
}

struct Fusion<'r, 'b> {
    recorder: &'r mut Recorder<'b>,
    arch: &'r Architecture,
    constants: &'r Constants,
}

impl Fusion<'_, '_> {
    /// As [`crate::vcp_clip::post_vcp`] says it, with keys and values formed: N×1 per layer.
    fn post_vcp(&mut self, tokens: &Value, text: &Value, temperature: f32) -> Value {
        let ops = &mut *self.recorder;
        let tokens = ops.l2_normalize(tokens);
        let query = ops.linear(text, "Zero_try.q_proj_pre.weight", Some("Zero_try.q_proj_pre.bias"));
        // Scores are not divided by the root of a head's width here, as attention elsewhere in the network does.
        let width = self.arch.vision_width / self.arch.post_heads;
        let query = ops.scale(&query, (width as f32).sqrt());
        let key = ops.linear(&tokens, "Zero_try.k_proj_pre_1.weight", None);
        let value = ops.linear(&tokens, "Zero_try.v_proj_pre_1.weight", Some("Zero_try.v_proj_pre_1.bias"));
        let seen = ops.attention(&query, &key, &value, self.arch.post_heads, None);
        let adjusted = ops.linear(&seen, "Zero_try.proj_post_t.weight", Some("Zero_try.proj_post_t.bias"));
        let adjusted = ops.l2_normalize(&adjusted);
        let logits = ops.matmul_transposed(&tokens, &adjusted);
        let logits = ops.scale(&logits, temperature);
        self.difference(&logits)
    }

    /// Abnormal less normal, N×1.
    fn difference(&mut self, logits: &Value) -> Value {
        let signs = self.recorder.constant(1, 2, vec![-1.0, 1.0]);
        self.recorder.matmul_transposed(logits, &signs)
    }

    fn fuse(&mut self, raw: &[Value], new: &[Value]) -> (Value, Value) {
        let size = self.arch.image_size;
        let [raw, new] = [raw, new].map(|layers| self.mean_map(layers));
        let weight = self.constants.raw_weight;
        let top = [&raw, &new].map(|map| self.top_mean(map));
        let score = self.recorder.add(&top[0], &top[1]);
        let (raw, new) = (self.recorder.scale(&raw, weight), self.recorder.scale(&new, 1.0 - weight));
        let blend = self.recorder.add(&raw, &new);
        let smoothing = smoothing_matrix(size, self.constants.sigma);
        let map = self.recorder.both_sides(&smoothing, &blend, [size, size]);
        (map, score)
    }

    /// Mean over the layers of the sigmoid of the upsampled difference, S×S.
    fn mean_map(&mut self, layers: &[Value]) -> Value {
        let (grid, size) = (self.arch.grid(), self.arch.image_size);
        let mut matrix = vec![0.0; size * grid];
        for (row, (low, weight)) in matrix.chunks_exact_mut(grid).zip(upsampling(grid, size)) {
            row[low] += 1.0 - weight;
            row[(low + 1).min(grid - 1)] += weight;
        }
        let mut sum: Option<Value> = None;
        for layer in layers {
            let square = self.recorder.reshaped(layer, [grid, grid]);
            let large = self.recorder.both_sides(&matrix, &square, [size, grid]);
            let map = self.recorder.unary("Sigmoid", &large);
            sum = Some(match sum {
                None => map,
                Some(sum) => self.recorder.add(&sum, &map),
            });
        }
        let sum = sum.unwrap_or_else(|| self.recorder.constant(size, size, vec![0.0; size * size]));
        self.recorder.scale(&sum, 1.0 / layers.len() as f32)
    }

    /// Mean of the largest values, `[batch, 1]`.
    fn top_mean(&mut self, map: &Value) -> Value {
        let pixels = self.arch.image_size * self.arch.image_size;
        let count = self.constants.top_k.clamp(1, pixels);
        let flat = self.recorder.flat(map, pixels);
        let top = self.recorder.largest(&flat, count);
        self.recorder.reduced("ReduceMean", &top, vec![ints("axes", &[1]), int("keepdims", 1)])
    }
}

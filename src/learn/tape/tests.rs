//! Values and derivatives of the tape against burn's, which knows nothing of it.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use super::{Tape, Weights};
use crate::dice::Dice;
use crate::learn::clip_text;
use crate::learn::parameters::{Named, Parameters};
use crate::vcp_clip::eager::Eager;
use crate::vcp_clip::ops::Ops;
use crate::vcp_clip::{Architecture, pre_vcp, vision};
use crate::weights::layout;

/// Of the largest derivative of a tensor: both compute in float32, in another order.
const TOLERANCE: f32 = 2e-4;

fn sizes() -> Architecture {
    Architecture {
        image_size: 24,
        patch: 8,
        vision_width: 128,
        vision_layers: 2,
        text_width: 64,
        text_layers: 2,
        context_length: 77,
        class_vectors: 2,
        prompt_tokens: 1,
        deep_prompts: 1,
        taps: vec![1, 2],
        post_heads: 8,
        direct_prompts: false,
    }
}

fn normal(dice: &mut Dice, count: usize, scale: f64) -> Vec<f32> {
    (0..count).map(|_| (dice.normal() * scale) as f32).collect()
}

/// Random numbers for every tensor; norms near one, so that nothing is switched off.
fn tensors(sizes: &Architecture) -> Vec<Named> {
    let mut shapes: Vec<layout::Named> = layout::clip_file(sizes, sizes.grid(), 12)
        .into_iter()
        .map(|(name, shape)| (name.replace("token_embedding.weight", "token_embedding.rows"), shape))
        .collect();
    let (r, text, vision) = (sizes.class_vectors, sizes.text_width, sizes.vision_width);
    shapes.push(("New_Lan_Embed.prompt_query".to_owned(), vec![1, r, text]));
    shapes.push(("New_Lan_Embed.prompt_linear1.fc.weight".to_owned(), vec![r, 1, 3]));
    shapes.push(("New_Lan_Embed.prompt_linear1.fc.bias".to_owned(), vec![r]));
    for tap in 0..sizes.taps.len() {
        shapes.push((format!("trainable_linearlayer.fc.{tap}.weight"), vec![text, vision]));
        shapes.push((format!("trainable_linearlayer.fc.{tap}.bias"), vec![text]));
    }
    let mut dice = Dice::new(11, [0; 3]);
    shapes
        .into_iter()
        .map(|(name, shape)| {
            let count = shape.iter().product();
            let width = *shape.last().unwrap_or(&1) as f64;
            let mut values = normal(&mut dice, count, if shape.len() > 1 { width.powf(-0.5) } else { 0.2 });
            if name.contains("ln_") && name.ends_with("weight") {
                values.iter_mut().for_each(|value| *value += 1.0);
            }
            (name, shape, values)
        })
        .collect()
}

/// Runs `network` on both and compares its output and every derivative of a random weighting of it.
fn compare(tape_network: impl Fn(&mut Tape) -> super::Value, burn_network: impl Fn(&mut Eager) -> Tensor<3>) {
    let sizes = sizes();
    let named = tensors(&sizes);
    let pixels = normal(&mut Dice::new(12, [0; 3]), 2 * 3 * sizes.image_size * sizes.image_size, 1.0);

    let weights = Arc::new(Weights::new(named.clone()));
    let mut tape = Tape::new(Arc::clone(&weights));
    tape.set_images(2, sizes.image_size, pixels.clone());
    let out = tape_network(&mut tape);
    let found = tape.values(out).to_vec();
    let weighting = normal(&mut Dice::new(13, [0; 3]), found.len(), 1.0);
    let mut gradients = weights.zeros();
    tape.backward(out, weighting.clone(), &mut gradients);

    let device = Device::flex();
    let mut parameters = Parameters::new(&device);
    for (name, shape, values) in &named {
        parameters.add(name, shape, values.clone());
    }
    let mut eager = Eager::new(device.clone(), []);
    parameters.enter(&mut eager);
    eager.set_images(2, sizes.image_size, pixels);
    let out = burn_network(&mut eager);
    let dims = out.dims();
    for (found, expected) in found.iter().zip(Eager::read(&out)) {
        assert!((found - expected).abs() < 1e-4, "value {found}, burn has {expected}");
    }
    let weighting = Tensor::<3>::from_data(TensorData::new(weighting, dims), &device);
    let expected = parameters.gradients(&(out * weighting).sum().backward());
    for (((name, _, _), found), expected) in named.iter().zip(&gradients.0).zip(expected) {
        let expected = expected.to_data().try_into_vec::<f32>().unwrap();
        let largest = expected.iter().fold(1e-3f32, |most, value| most.max(value.abs()));
        let error = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(error <= TOLERANCE * largest, "{name}: derivative off by {error}, the largest is {largest}");
    }
}

#[test]
fn vision_tower_and_maps_are_differentiated() {
    fn network<O: Ops>(ops: &mut O) -> O::Tensor {
        let sizes = sizes();
        let vision::Vision { tokens, feature } = vision::encode(ops, &sizes);
        let classes = pre_vcp::class_vectors(ops, &sizes, &feature);
        let text = ops.l2_normalize(&classes);
        let logits = pre_vcp::logits(ops, &sizes, &tokens, &text, 3.0);
        ops.add(&logits[0], &logits[1])
    }
    compare(network, network);
}

#[test]
fn captions_are_differentiated() {
    let captions: [&[usize]; 3] = [&[0, 3, 4, 11], &[0, 5, 11], &[0, 3, 6, 7, 8, 11]];
    compare(|tape| clip_text::encode(tape, &sizes(), &captions), |eager| clip_text::encode(eager, &sizes(), &captions));
}

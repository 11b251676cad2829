//! Where training starts: the VCP modules as the released code initialises them, by a seed.

use super::parameters::Named;
use crate::dice::Dice;
use crate::vcp_clip::Architecture;
use crate::weights::layout;

/// What the stream of initial values is for; tells it from the other streams of a seed.
const PURPOSE: u64 = u64::from_le_bytes(*b"first   ");
/// Logit scale of CLIP before its training, of which both temperatures start as the logarithm.
const LOGIT_SCALE: f64 = 1.0 / 0.07;
/// Bounds within which the released code redraws the class vectors' query.
const TRUNCATED: f64 = 2.0;

/// Every tensor of a VCP-CLIP file, under its flattened name, in the layout of the released file.
///
/// As PyTorch initialises the released modules: linear layers and convolutions, with their biases, uniform within
/// ±1/√(inputs); `prompt_query` a normal distribution cut off at ±2; prompts uniform in ±1; the weight of
/// `prompt_proj` normal with the deviation √(2/outputs); `prompt_norm` 1 and 0; temperatures ln(1/0.07).
pub fn initial(sizes: &Architecture, seed: u64) -> Vec<Named> {
    let shapes = layout::vcp(sizes);
    let inputs_of = |name: &str| {
        let weight = name.replace(".bias", ".weight");
        let shape = shapes.iter().find(|(other, _)| *other == weight).map(|(_, shape)| shape[1..].iter().product());
        shape.unwrap_or(1_usize)
    };
    let values = |(name, shape): &layout::Named| {
        let count: usize = shape.iter().product();
        let mut dice = Dice::new(seed, [PURPOSE, number_of(name), 0]);
        let values: Vec<f32> = match name.as_str() {
            name if layout::TEMPERATURES.contains(&name) => vec![LOGIT_SCALE.ln() as f32],
            "prompt_norm.weight" => vec![1.0; count],
            "prompt_norm.bias" => vec![0.0; count],
            "New_Lan_Embed.prompt_query" => (0..count).map(|_| truncated_normal(&mut dice)).collect(),
            "prompt_embeddings" | "deep_prompt_embeddings" => (0..count).map(|_| dice.between(-1.0, 1.0)).collect(),
            "prompt_proj.weight" => {
                let deviation = (2.0 / shape[0] as f64).sqrt();
                (0..count).map(|_| (deviation * dice.normal()) as f32).collect()
            }
            name => {
                let reach = 1.0 / (inputs_of(name) as f32).sqrt();
                (0..count).map(|_| dice.between(-reach, reach)).collect()
            }
        };
        (name.clone(), shape.clone(), values)
    };
    shapes.iter().map(values).collect()
}

/// The number of a name (FNV-1a).
fn number_of(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

fn truncated_normal(dice: &mut Dice) -> f32 {
    loop {
        let value = dice.normal();
        if value.abs() <= TRUNCATED {
            return value as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tensor_has_its_distribution() {
        let sizes = Architecture::vit_l_14_336_at_518();
        let tensors = initial(&sizes, 333);
        let get = |name: &str| &tensors.iter().find(|(other, _, _)| other == name).unwrap().2;
        let deviation =
            |values: &[f32]| (values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
        let most = |values: &[f32]| values.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let linear = get("trainable_linearlayer.fc.2.weight");
        assert!(most(linear) <= 1.0 / 32.0 && most(linear) > 0.031);
        assert!(most(get("trainable_linearlayer.fc.2.bias")) <= 1.0 / 32.0);
        assert!((deviation(get("prompt_proj.weight")) - (2.0_f64 / 768.0).sqrt()).abs() < 1e-3);
        assert!(most(get("New_Lan_Embed.prompt_query")) <= 2.0);
        assert!(most(get("New_Lan_Embed.prompt_linear1.fc.weight")) <= 0.57736);
        assert!(most(get("Zero_try.q_proj_pre.bias")) <= 0.0361);
        assert_eq!(get("New_Lan_Embed.prompt_temp")[..], [2.659_26]);
        assert_eq!(tensors, initial(&sizes, 333));
        assert_ne!(get("prompt_embeddings"), &initial(&sizes, 334)[tensors.len() - 6].2);
        for (name, shape, values) in &tensors {
            assert_eq!(values.len(), shape.iter().product::<usize>(), "{name}");
        }
    }
}

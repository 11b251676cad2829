//! Checkpoints of VCP-CLIP+ become a bundle that computes what its own code computes.

use crate::support::seeded::{self, Store, Tensors, write};
use crate::support::tiny::{assert_near, fixture, frame, request};
use vcp_line::engine::{self, EngineChoice, EngineSpec, PlanSpec, Precision};
use vcp_line::frame::{Image, PixelFormat};
use vcp_line::vcp_clip::pre_vcp::{DIRECT_BIAS, DIRECT_WEIGHT};
use vcp_line::weights::import;

/// The tensors that VCP-CLIP+ adds, in the order of the formula `0.2 sin(0.37 i + k)`.
const ADDED: [(&str, &[usize]); 7] = [
    ("prompt_tokens", &[1, 3, 64]),
    ("projector.weight", &[1, 3]),
    ("projector.bias", &[1]),
    ("norm.weight", &[64]),
    ("norm.bias", &[64]),
    ("fusion_proj.weight", &[64, 128]),
    ("fusion_proj.bias", &[64]),
];

fn checkpoint() -> Tensors {
    let mut tensors = seeded::vcp("tiny", &seeded::tiny());
    for (k, (name, shape)) in (0u32..).zip(ADDED) {
        let count = shape.iter().product::<usize>() as u32;
        let values = (0..count).map(|i| (0.2 * (0.37 * f64::from(i) + f64::from(k)).sin()) as f32).collect();
        tensors.insert(format!("model.prompt_token_embedding.{name}"), (shape.to_vec(), values));
    }
    tensors.insert("alpha".to_owned(), (vec![], vec![0.8]));
    // The whole CLIP is in the file as well, with a token more and positions of another size.
    tensors.insert("model.token_embedding.weight".to_owned(), (vec![3, 64], vec![0.0; 192]));
    tensors.insert("model.visual.positional_embedding".to_owned(), (vec![50, 64], vec![0.0; 3200]));
    tensors
}

#[test]
fn a_checkpoint_of_vcp_clip_plus_computes_what_its_code_does() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(&dir.path().join("plus"), &checkpoint(), Store::F32, false);
    let bundle = import(&request(&fixture("clip.pt"), &file, &dir.path().join("b")), &mut |_, _, _| {}).unwrap();
    let manifest = bundle.manifest();
    assert_eq!(manifest.sources[1].kind, "safetensors, VCP-CLIP+");
    assert!(manifest.architecture.direct_prompts);
    assert_eq!(manifest.architecture.class_vectors, 1);
    // 1 − sigmoid(0.8), by torch.
    assert!((manifest.constants.raw_weight - 0.310_025_5).abs() < 1e-7, "{}", manifest.constants.raw_weight);
    // `PromptTokenEmbedding` of its repository at c1ae2a8 under torch 2.15 in float64, for x = cos(0.11 i).
    let expected = [1.657_860_864, -1.916_504_894, 2.134_858_243, -1.898_711_141, 2.117_745_415, -1.510_091_774];
    let (shape, weight) = bundle.f32(DIRECT_WEIGHT).unwrap();
    let (_, bias) = bundle.f32(DIRECT_BIAS).unwrap();
    assert_eq!(shape, [64, 64]);
    let x: Vec<f64> = (0..64u32).map(|i| (0.11 * f64::from(i)).cos()).collect();
    let vector: Vec<f64> = weight
        .chunks_exact(64)
        .zip(&bias)
        .map(|(row, bias)| f64::from(*bias) + row.iter().zip(&x).map(|(w, x)| f64::from(*w) * x).sum::<f64>())
        .collect();
    for (found, expected) in vector.iter().zip(expected) {
        assert!((found - expected).abs() < 2e-6, "{found}, torch has {expected}");
    }
    assert!((vector.iter().sum::<f64>() - 1.734_517_697).abs() < 2e-5);

    // Every engine runs it, and they agree.
    let data = (0..98 * 98 * 3usize).map(|i| (i * i % 251) as u8).collect();
    let image = frame(Image::new(98, 98, PixelFormat::Rgb8, data).unwrap());
    let run = |engine| {
        let (bundle, plan) = (dir.path().join("b"), PlanSpec::default());
        let spec = EngineSpec {
            bundle,
            engine,
            precision: Precision::Fp32,
            max_batch: 1,
            threads: None,
            plan,
            remote: None,
            scales: None,
        };
        engine::open(&spec).unwrap().infer(&[&image]).unwrap().remove(0)
    };
    let reference = run(EngineChoice::Reference);
    assert!(reference.map.values().iter().all(|value| value.is_finite()));
    if cfg!(feature = "openvino") {
        let other = run(EngineChoice::Openvino);
        let expected: Vec<f64> = reference.map.values().iter().map(|&value| f64::from(value)).collect();
        assert_near("map", other.map.values(), &expected, 2e-5);
    }
}

#[test]
fn what_vcp_clip_plus_lacks_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let said = |name: &str| {
        let mut tensors = checkpoint();
        assert!(tensors.remove(name).is_some());
        let file = write(&dir.path().join("plus"), &tensors, Store::F32, false);
        import(&request(&fixture("clip.pt"), &file, &dir.path().join("b")), &mut |_, _, _| {}).unwrap_err().to_string()
    };
    for name in ["alpha", "model.prompt_token_embedding.norm.bias", "model.prompt_token_embedding.fusion_proj.weight"] {
        let short = name.trim_start_matches("model.");
        assert!(said(name).starts_with(&format!("tensor '{short}' is missing from ")), "{}", said(name));
    }
}

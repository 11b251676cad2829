//! A model of unusual sizes against numbers computed the long way in numpy (tests/fixtures/oracle/odd/generate.py).

use std::path::Path;

use crate::support::seeded::{self, Store, write};
use crate::support::tiny::{self, Golden, assert_near, frame};
use vcp_line::engine::reference::ReferenceEngine;
use vcp_line::engine::{self, EngineChoice, EngineSpec, PlanSpec, Precision};
use vcp_line::frame::{Image, PixelFormat};
use vcp_line::vcp_clip::Architecture;
use vcp_line::weights::random::uniform;
use vcp_line::weights::{ImportRequest, import};

/// Position embedding shrunk, three class vectors, two prompt tokens, five taps, heads of 32 and 64 channels.
fn sizes() -> Architecture {
    Architecture {
        image_size: 70,
        patch: 10,
        vision_width: 192,
        vision_layers: 7,
        text_width: 128,
        text_layers: 3,
        context_length: 19,
        class_vectors: 3,
        prompt_tokens: 2,
        deep_prompts: 2,
        taps: vec![1, 2, 4, 5, 7],
        post_heads: 6,
        direct_prompts: false,
    }
}
/// Patches along one side at the size that the weights are for.
const NATIVE_GRID: usize = 9;

/// Logits, whose values reach 40: float32 through seven blocks.
const LOGITS: f64 = 2e-4;
/// Unit vectors and maps.
const UNIT: f64 = 2e-5;

/// A ramp per channel with noise, of the model's own size, so that nothing is resized.
fn picture() -> Image {
    let size = sizes().image_size;
    let noise = uniform("odd/picture", size * size * 3, (32.0, 32.0), seeded::SEED);
    let byte = |(i, noise): (usize, f32)| {
        let (y, x, c) = (i / 3 / size, i / 3 % size, i % 3);
        (((2 + c) * x + (4 - c) * y + noise as usize) % 256) as u8
    };
    let data = noise.into_iter().enumerate().map(byte).collect();
    Image::new(size as u32, size as u32, PixelFormat::Rgb8, data).unwrap()
}

fn spec(folder: &Path, engine: EngineChoice) -> EngineSpec {
    EngineSpec {
        bundle: folder.join("bundle"),
        engine,
        precision: Precision::Fp32,
        max_batch: 1,
        threads: None,
        plan: PlanSpec::default(),
        remote: None,
        scales: None,
    }
}

#[test]
fn every_size_is_read_and_none_assumed() {
    let folder = tempfile::tempdir().unwrap();
    let golden =
        Golden::file(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/oracle/odd/golden.safetensors"));
    let sizes = sizes();
    let clip = write(&folder.path().join("clip"), &seeded::clip("odd", &sizes, NATIVE_GRID), Store::F16, false);
    let vcp = write(&folder.path().join("vcp"), &seeded::vcp("odd", &sizes), Store::F32, false);
    let request = ImportRequest {
        clip,
        second_tower: None,
        vcp,
        image_size: sizes.image_size,
        taps: Some(sizes.taps.clone()),
        post_heads: sizes.post_heads,
        name: None,
        out: folder.path().join("bundle"),
        force: false,
    };
    assert_eq!(import(&request, &mut |_, _, _| {}).unwrap().manifest().architecture, sizes);

    let mut reference = ReferenceEngine::open(&spec(folder.path(), EngineChoice::Reference)).unwrap();
    let mut input = vec![0.0; 3 * sizes.image_size * sizes.image_size];
    tiny::preprocessor(sizes.image_size).run(&picture(), &mut input);
    let trace = reference.trace(1, input).remove(0);
    assert_near("text", &trace.text, &golden.get("text_embeddings"), UNIT);
    let tokens: Vec<&[f32]> = trace.tokens.iter().map(Vec::as_slice).collect();
    let maps = reference.finish().post_vcp.difference_maps(&tokens, &trace.text);
    for (at, layer) in sizes.taps.iter().enumerate() {
        assert_near(&format!("raw {layer}"), &trace.raw[at], &golden.get(&format!("raw.layer{layer}")), LOGITS);
        let new = golden.get(&format!("new.layer{layer}"));
        let difference: Vec<f64> = new.chunks_exact(2).map(|pair| pair[1] - pair[0]).collect();
        assert_near(&format!("new {layer}"), &maps[at], &difference, LOGITS);
    }

    let mut engines = vec![EngineChoice::Reference];
    if cfg!(feature = "openvino") {
        engines.push(EngineChoice::Openvino);
    }
    let image = frame(picture());
    for choice in engines {
        let prediction = engine::open(&spec(folder.path(), choice)).unwrap().infer(&[&image]).unwrap().remove(0);
        assert_near(&format!("{choice} final"), prediction.map.values(), &golden.get("final"), UNIT);
        assert_near(&format!("{choice} score"), &[prediction.score], &golden.get("image_score"), UNIT);
    }
}

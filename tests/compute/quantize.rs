//! Scales for 8 bits: found on pictures, held to a gate, refused where they do not belong, and really computed with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::tiny;
use vcp_line::engine::openvino::{self, OpenvinoEngine};
use vcp_line::engine::scales::{LARGEST, Layer, Scales, candidates};
use vcp_line::engine::{self, Engine, EngineChoice, EngineError, EngineSpec, Precision, self_test};
use vcp_line::quantize::{self, QuantizeError, Request};
use vcp_line::vcp_clip::Architecture;
use vcp_line::weights::Bundle;
use vcp_line::weights::bundle::{Draft, write};

/// Of the tiny model, whose numbers are random; a trained one is held to half a point.
const ALLOWED: f32 = 0.02;
/// What all of its layers together pass at once, so that none is measured alone.
const GENEROUS: f32 = 0.06;

fn pictures(folder: &Path, count: u64) -> Vec<PathBuf> {
    let save = |seed: u64| {
        let image = self_test::picture(tiny::SIZE, seed);
        let path = folder.join(format!("{seed}.png"));
        image::save_buffer(&path, image.data(), image.width, image.height, image::ColorType::Rgb8).unwrap();
        path
    };
    (0..count).map(save).collect()
}

fn request<'a>(bundle: &'a Path, pictures: &[PathBuf]) -> Request<'a> {
    Request { bundle, pictures: pictures.to_vec(), labelled: None, allowed: ALLOWED, threads: Some(2) }
}

fn spec(bundle: &Path, precision: Precision) -> EngineSpec {
    tiny::spec(bundle, EngineChoice::Openvino, precision)
}

/// Mean deviation of the map from float32's on a picture that no scales have seen.
fn map_off(bundle: &Path, engine: &mut dyn Engine) -> f32 {
    let frame = tiny::frame(tiny::picture(tiny::IMAGES[3]));
    let mut exact = OpenvinoEngine::open(&spec(bundle, Precision::Fp32)).unwrap();
    let exact = exact.infer(&[&frame]).unwrap().remove(0);
    let other = engine.infer(&[&frame]).unwrap().remove(0);
    let off: f32 = exact.map.values().iter().zip(other.map.values()).map(|(a, b)| (a - b).abs()).sum();
    off / exact.map.values().len() as f32
}

#[test]
fn scales_are_found_written_and_computed_with() {
    let (folder, bundle) = tiny::bundle();
    let pictures = pictures(folder.path(), 12);
    let outcome =
        quantize::run(&Request { allowed: GENEROUS, ..request(&bundle, &pictures) }, &mut |_, _, _| {}).unwrap();
    let gate = &outcome.scales.gate;
    assert!(outcome.holds && gate.map <= GENEROUS && gate.score <= 2.0 * GENEROUS, "{gate:?}");
    assert_eq!((outcome.scales.pictures.calibrated, outcome.scales.pictures.held_out), (9, 3));
    let all = outcome.scales.layers.len() + outcome.scales.kept.len();
    assert_eq!(all, candidates(&Bundle::open(&bundle).unwrap().manifest().architecture).len());

    let path = engine::scales::default_path(&bundle);
    outcome.scales.write(&path).unwrap();
    assert_eq!(Scales::load(&Bundle::open(&bundle).unwrap(), None).unwrap(), outcome.scales);
    let mut int8 = OpenvinoEngine::open(&spec(&bundle, Precision::Int8)).unwrap();
    assert_eq!(int8.info().precision, Precision::Int8);
    let off = map_off(&bundle, &mut int8);
    assert!(off > 1e-6 && off < 2.0 * GENEROUS, "rounding shows, and not by much: {off}");

    // Weights beside the graph give what weights inside give.
    let auto = OpenvinoEngine::open(&spec(&bundle, Precision::Auto)).unwrap();
    let took = auto.info().precision;
    assert!(took == Precision::Int8 || took == openvino::usual_precision(), "{took}");
}

/// CLIP's published weights have a few channels many times larger than the others; random ones have none.
#[test]
fn channels_fifty_times_the_others_do_not_ruin_the_maps() {
    let (folder, plain) = tiny::bundle();
    let pictures = pictures(folder.path(), 12);
    let stretched = folder.path().join("stretched");
    stretch(&plain, &stretched);
    let usual = OpenvinoEngine::open(&spec(&plain, openvino::usual_precision())).unwrap();
    assert!(
        map_off(&stretched, &mut OpenvinoEngine::open(&spec(&plain, Precision::Fp32)).unwrap()) < 1e-4,
        "the same model"
    );
    drop(usual);

    let outcome = quantize::run(&request(&stretched, &pictures), &mut |_, _, _| {}).unwrap();
    let found = outcome.scales;
    assert!(outcome.holds, "{:?}", found.gate);
    let mut careful = OpenvinoEngine::with_scales(&spec(&stretched, Precision::Int8), found.clone()).unwrap();
    // The same layers without migration: what rounding to the largest value of the tensor does.
    let careless = |layer: &Layer| {
        let widest = layer.migration.iter().fold(0.0_f32, |most, m| most.max(m * layer.step * LARGEST));
        Layer { migration: vec![1.0; layer.migration.len()], step: widest / LARGEST, ..layer.clone() }
    };
    let layers = found.layers.iter().map(|(name, layer)| (name.clone(), careless(layer))).collect();
    let careless = Scales { layers, ..found };
    let mut careless = OpenvinoEngine::with_scales(&spec(&stretched, Precision::Int8), careless).unwrap();
    let (careful, careless) = (map_off(&stretched, &mut careful), map_off(&stretched, &mut careless));
    println!("mean deviation of the map: {careful} with migration, {careless} without");
    assert!(careful < ALLOWED && careless > 2.0 * careful, "{careful} {careless}");
}

/// The same function with some channels of every layer normalisation fifty times as large, and the columns of the weights that
/// read them a fiftieth.
fn stretch(from: &Path, to: &Path) {
    const TIMES: f32 = 50.0;
    let bundle = Bundle::open(from).unwrap();
    let manifest = bundle.manifest();
    let draft = Draft {
        name: "stretched".into(),
        architecture: manifest.architecture.clone(),
        constants: manifest.constants.clone(),
        prompts: manifest.prompts.clone(),
        sources: Vec::new(),
        licence_note: String::new(),
    };
    let large = |channel: usize| channel % 23 == 5;
    write::<vcp_line::weights::BundleError>(to, false, draft, &mut |name, _| {
        let (shape, mut values) = bundle.f32(name)?;
        let in_block = name.starts_with("visual.transformer.resblocks.");
        if in_block && (name.contains(".ln_1.") || name.contains(".ln_2.")) {
            values.iter_mut().enumerate().filter(|(at, _)| large(*at)).for_each(|(_, value)| *value *= TIMES);
        }
        if in_block && (name.ends_with("in_proj_weight") || name.ends_with("c_fc.weight")) {
            let columns = shape[1];
            values.iter_mut().enumerate().filter(|(at, _)| large(at % columns)).for_each(|(_, value)| *value /= TIMES);
        }
        Ok(values)
    })
    .unwrap();
}

#[test]
fn scales_that_do_not_belong_are_refused_with_the_command() {
    let (folder, bundle) = tiny::bundle();
    let refused = |precision: Precision| OpenvinoEngine::open(&spec(&bundle, precision)).err().unwrap().to_string();
    let said = refused(Precision::Int8);
    assert!(said.contains("int8.json") && said.contains("`vcp-line model quantize"), "{said}");
    // Without a file `auto` goes on without.
    let auto = OpenvinoEngine::open(&spec(&bundle, Precision::Auto)).unwrap();
    assert_eq!(auto.info().precision, openvino::usual_precision());

    let file = engine::scales::default_path(&bundle);
    for (text, expected) in
        [("{", "not a file of scales"), ("{\"format\": 1}", "not a file of scales"), ("", "not a file")]
    {
        fs::write(&file, text).unwrap();
        let said = refused(Precision::Int8);
        assert!(said.contains(expected) && said.contains("makes it anew"), "{said}");
    }
    let pictures = pictures(folder.path(), 8);
    let scales =
        quantize::run(&Request { allowed: GENEROUS, ..request(&bundle, &pictures) }, &mut |_, _, _| {}).unwrap().scales;
    let write = |change: &dyn Fn(&mut Scales)| {
        let mut changed = scales.clone();
        change(&mut changed);
        changed.write(&file).unwrap();
        refused(Precision::Int8)
    };
    let first = scales.layers.keys().next().unwrap().clone();
    let said = write(&|scales| scales.model_sha256 = "00".repeat(32));
    assert!(said.contains("made for the model with SHA-256 000000000000"), "{said}");
    let said = write(&|scales| scales.format = 2);
    assert!(said.contains("format 2, this program reads 1"), "{said}");
    let said = write(&|scales| scales.layers.get_mut(&first).unwrap().step = 0.0);
    assert!(said.contains("no number above 0"), "{said}");
    let said = write(&|scales| scales.layers.get_mut(&first).unwrap().migration.truncate(3));
    assert!(said.contains("channels"), "{said}");
    let said = write(&|scales| {
        let layer = scales.layers.remove(&first).unwrap();
        scales.layers.insert("visual.proj".into(), layer);
    });
    assert!(said.contains("'visual.proj' is no layer"), "{said}");
    // Scales that a processor computes wrongly with do not go online.
    let said = write(&|scales| scales.expected.samples.iter_mut().for_each(|value| *value += 0.5));
    assert!(said.contains("failed its self-test"), "{said}");

    let reference = tiny::spec(&bundle, EngineChoice::Reference, Precision::Int8);
    let error = engine::open(&reference).err().unwrap();
    assert!(matches!(error, EngineError::Precision { .. }), "{error}");
    assert_eq!(error.to_string(), "engine 'reference' has no precision 'int8'; it has fp32");
    let few = quantize::run(&request(&bundle, &pictures[..7]), &mut |_, _, _| {}).err().unwrap();
    assert!(matches!(few, QuantizeError::TooFew { found: 7 }), "{few}");
}

/// Nothing is written where the gate does not hold.
#[test]
fn what_does_not_hold_the_gate_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    vcp_line::weights::random(&bundle, &Architecture::smallest(), 11).unwrap();
    let data = folder.path().join("good");
    fs::create_dir(&data).unwrap();
    pictures(&data, 8);
    let run = |gate: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vcp-line"));
        command.args(["model", "quantize", "--gate", gate, "--threads", "2"]).arg(&bundle).arg("--data").arg(&data);
        command.output().unwrap()
    };
    let strict = run("0.00001");
    assert_eq!(strict.status.code(), Some(1));
    let said = String::from_utf8(strict.stderr).unwrap();
    assert!(said.contains("nothing was written"), "{said}");
    let report = String::from_utf8(strict.stdout).unwrap();
    assert!(report.contains("layer         visual.transformer.resblocks."), "{report}");
    assert!(!engine::scales::default_path(&bundle).exists());
    let fine = run("20");
    assert!(fine.status.success(), "{}", String::from_utf8_lossy(&fine.stderr));
    assert!(engine::scales::default_path(&bundle).exists());
}

/// What `tests/gpu` times the published sizes with.
#[test]
fn seeded_weights_have_scales_without_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bundle");
    let wider = Architecture { vision_layers: 4, taps: vec![1, 2, 3, 4], ..Architecture::smallest() };
    vcp_line::weights::random(&path, &wider, 7).unwrap();
    let scales = tiny::scales_of_seeded_weights(&Bundle::open(&path).unwrap());
    for precision in [Precision::Int8, Precision::Fp8] {
        let mut engine = OpenvinoEngine::with_scales(&spec(&path, precision), scales.clone()).unwrap();
        let off = map_off(&path, &mut engine);
        println!("mean deviation of the map in {precision}: {off}");
        assert!(off > 1e-6 && off < GENEROUS, "{precision}: {off}");
    }
}

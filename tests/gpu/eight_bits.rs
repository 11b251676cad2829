//! Plans in 8 bits on a card: how far their maps are from what they should be, which scales they open with, how long they take.

use std::path::{Path, PathBuf};

use vcp_line::cuda::{Gpu, Machine};
use vcp_line::engine::plan::{PlanError, PlanIdentity};
use vcp_line::engine::reference::ReferenceEngine;
use vcp_line::engine::scales::{self, Gate, Scales};
use vcp_line::engine::tensorrt::{self, BuildRequest, TensorrtEngine};
use vcp_line::engine::{Engine, EngineChoice, EngineError, EngineSpec, PlanSpec, Precision, self_test};
use vcp_line::frame::Frame;
use vcp_line::vcp_clip::Architecture;
use vcp_line::weights::Bundle;

use crate::engine::{build, golden_frames, infer, open, spec, time};
use crate::tiny;

/// The first architecture with floats of 8 bits.
const FIRST_WITH_FLOATS: u32 = 89;
/// A gate is held on the pictures that it was found on; others may be so many times as far off.
const OTHER_PICTURES: f32 = 2.0;
/// Pictures that the shipped model is compared on.
const PICTURES: u64 = 6;

/// What this card computes.
fn eight_bits() -> Vec<Precision> {
    let sm = Machine::properties(&*Gpu::open(0).unwrap()).sm;
    if sm < FIRST_WITH_FLOATS {
        println!("fp8 is left out: SM {sm} has no floats of 8 bits");
        return vec![Precision::Int8];
    }
    vec![Precision::Int8, Precision::Fp8]
}

/// What the scales beside a bundle were allowed.
fn gate(bundle: &Path) -> Gate {
    Scales::load(&Bundle::open(bundle).unwrap(), None).unwrap().gate
}

/// Mean and largest deviation of a map, and that of its score.
#[derive(Default)]
struct Off {
    sum: f64,
    count: usize,
    worst: f64,
    score: f64,
    scores: usize,
}

impl Off {
    fn add(&mut self, map: &[f32], wanted: &[f64], score: f32, wanted_score: f64) {
        for (&found, wanted) in map.iter().zip(wanted) {
            let off = (f64::from(found) - wanted).abs();
            assert!(off.is_finite(), "{found}");
            self.sum += off;
            self.worst = self.worst.max(off);
        }
        self.count += map.len();
        self.score += (f64::from(score) - wanted_score).abs();
        self.scores += 1;
    }

    /// Prints what was found, and holds it to `times` what a gate allows.
    fn hold(&self, what: &str, gate: &Gate, times: f32) {
        let (map, score) = (self.sum / self.count as f64, self.score / self.scores as f64);
        println!("measured: {what}_map_mean_error = {map:.3e}");
        println!("measured: {what}_map_error = {:.3e}", self.worst);
        println!("measured: {what}_score_error = {score:.3e}");
        let times = |x: f32| x * times;
        let found = Gate { map: map as f32, worst: self.worst as f32, score: score as f32, ..gate.clone() };
        let held = Gate { allowed: times(gate.allowed), ..found };
        assert!(held.holds(), "{what}: {held:?}");
    }
}

/// Of random numbers: what floats of 8 bits make of them is further off than the self-test allows, so that this is for integers.
#[test]
fn maps_of_the_small_model_are_within_its_gate() {
    let (_folder, bundle) = tiny::bundle();
    std::fs::copy(tiny::scales("tiny"), scales::default_path(&bundle)).unwrap();
    let frames = golden_frames();
    let precision = Precision::Int8;
    build(&bundle, precision, frames.len());
    let mut engine = open(&spec(&bundle, precision, frames.len()));
    assert_eq!(engine.info().precision, precision);
    let mut off = Off::default();
    for batch in [1, 2, frames.len()] {
        for (first, chunk) in frames.chunks(batch).enumerate() {
            // Piece by piece, captured, replayed.
            for _ in 0..3 {
                for (answer, name) in infer(&mut engine, chunk).iter().zip(&tiny::IMAGES[first * batch..]) {
                    let golden = tiny::Golden::exact(name);
                    let score = golden.get("image_score")[0];
                    off.add(answer.map.values(), &golden.get("final"), answer.score, score);
                }
            }
        }
    }
    assert!(engine.has_graphs(), "nothing was captured");
    assert!(off.worst > 1e-4, "no rounding shows: is it computed in {precision}?");
    off.hold(&format!("tiny_{precision}"), &gate(&bundle), OTHER_PICTURES);
}

#[test]
fn maps_of_the_shipped_model_are_within_its_gate() {
    let (_folder, bundle) = shipped();
    let exact = EngineSpec { engine: EngineChoice::Reference, ..EngineSpec::new(&bundle) };
    let mut exact = ReferenceEngine::open(&exact).unwrap();
    let frames: Vec<Frame> = (0..PICTURES).map(|seed| tiny::frame(self_test::picture(256, seed))).collect();
    let wanted: Vec<_> = frames.iter().map(|frame| exact.infer(&[frame]).unwrap().remove(0)).collect();
    for precision in [Precision::Fp16].into_iter().chain(eight_bits()) {
        build(&bundle, precision, 1);
        let mut engine = open(&spec(&bundle, precision, 1));
        let mut off = Off::default();
        for (frame, wanted) in frames.iter().zip(&wanted) {
            let answer = infer(&mut engine, std::slice::from_ref(frame)).remove(0);
            let map: Vec<f64> = wanted.map.values().iter().map(|&value| value.into()).collect();
            off.add(answer.map.values(), &map, answer.score, wanted.score.into());
        }
        off.hold(&format!("demo_{precision}"), &gate(&bundle), OTHER_PICTURES);
    }
}

#[test]
fn a_plan_of_other_scales_is_refused_or_built_anew() {
    let (_folder, bundle) = tiny::bundle();
    let file = scales::default_path(&bundle);
    std::fs::copy(tiny::scales("tiny"), &file).unwrap();
    let (path, built) = build(&bundle, Precision::Int8, 1);
    // `auto` takes it where it belongs to the scales that are there.
    let auto = spec(&bundle, Precision::Auto, 1);
    assert_eq!(open(&auto).info().precision, Precision::Int8);
    let mut scales = Scales::load(&Bundle::open(&bundle).unwrap(), None).unwrap();
    scales.pictures.calibrated += 1;
    scales.write(&file).unwrap();
    let plan = PlanSpec { file: Some(path.clone()), rebuild: false };
    let other = EngineSpec { plan, ..spec(&bundle, Precision::Int8, 1) };
    let refused = TensorrtEngine::open(&other, &|_| {}).err();
    assert!(matches!(refused, Some(EngineError::Plan(PlanError::Misfit { .. }))), "{refused:?}");
    let other = EngineSpec { plan: PlanSpec { file: Some(path.clone()), rebuild: true }, ..other };
    assert_eq!(open(&other).info().precision, Precision::Int8);
    let anew = PlanIdentity::read(&path, "").unwrap();
    assert_eq!(anew.scales_sha256, Some(scales.sha256().unwrap()));
    assert_ne!(anew.scales_sha256, built.scales_sha256);
}

#[test]
fn fp8_is_refused_where_there_is_none() {
    if eight_bits().contains(&Precision::Fp8) {
        println!("this card has it");
        return;
    }
    let (_folder, bundle) = tiny::bundle();
    std::fs::copy(tiny::scales("tiny"), scales::default_path(&bundle)).unwrap();
    let sm = Machine::properties(&*Gpu::open(0).unwrap()).sm;
    let request =
        BuildRequest { bundle, sms: vec![sm], precision: Precision::Fp8, max_batch: 1, output: None, scales: None };
    let error = tensorrt::build(&request, tensorrt::unwatched()).unwrap_err();
    assert!(matches!(error, EngineError::Precision { .. }), "{error}");
}

/// The shipped model with scales beside it, in a folder that can be written.
fn shipped() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("vcp-demo");
    std::fs::create_dir(&bundle).unwrap();
    for entry in std::fs::read_dir(tiny::root().join("engines/vcp-demo")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), bundle.join(entry.file_name())).unwrap();
    }
    std::fs::copy(tiny::scales("vcp-demo"), scales::default_path(&bundle)).unwrap();
    (folder, bundle)
}

#[test]
fn time_of_the_shipped_model_in_8_bits() {
    let (_folder, bundle) = shipped();
    for precision in eight_bits() {
        time("demo", &bundle, precision, &[1, 8]);
    }
}

fn full_size() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("full");
    vcp_line::weights::random(&bundle, &Architecture::vit_l_14_336_at_518(), 7).unwrap();
    let scales = tiny::scales_of_seeded_weights(&Bundle::open(&bundle).unwrap());
    scales.write(&scales::default_path(&bundle)).unwrap();
    (folder, bundle)
}

fn time_of_the_published_size(precision: Precision) {
    if !eight_bits().contains(&precision) {
        return;
    }
    let (_folder, bundle): (_, PathBuf) = full_size();
    let bundle: &Path = &bundle;
    time("vit_l_14_336_at_518", bundle, precision, &[1, 8]);
}

#[test]
fn time_of_the_published_size_in_int8() {
    time_of_the_published_size(Precision::Int8);
}

#[test]
fn time_of_the_published_size_in_fp8() {
    time_of_the_published_size(Precision::Fp8);
}

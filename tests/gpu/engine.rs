//! The TensorRT engine on a card: golden numbers, graphs, self-test, refusals, memory, time.

use std::path::{Path, PathBuf};
use std::time::Instant;

use vcp_line::anomaly::{AnomalyMap, Prediction, StageTimes};
use vcp_line::cuda::{Gpu, Machine};
use vcp_line::engine::plan::{self, PlanError, PlanIdentity};
use vcp_line::engine::tensorrt::{self, BuildRequest, TensorrtEngine};
use vcp_line::engine::{Engine, EngineChoice, EngineError, EngineSpec, PlanSpec, Precision, nothing_comes, self_test};
use vcp_line::frame::{Frame, Image};
use vcp_line::tokens::PatchTokens;
use vcp_line::vcp_clip::Architecture;

use crate::cases::TENSOR_CORE_WHOLE_TOLERANCE;
use crate::{memory, remembered, tiny};

/// Frames of the run that looks for leaks.
const MANY: usize = 10_000;
/// Frames before memory is looked at: contexts, graphs and the C library's pools have their size then.
const WARM: usize = 500;
/// Batches that a median is taken of.
const ROUNDS: usize = 200;

/// tests/gpu-check.sh asks this one first, and leaves the others out when it says that this build is not for this card.
#[test]
fn this_tensorrt_makes_plans_for_this_card() {
    let sm = Machine::properties(&*Gpu::open(0).unwrap()).sm;
    if let Err(error) = tensorrt::FLAVOUR.covers(sm) {
        panic!("not covered: {error}");
    }
}

pub fn build(bundle: &Path, precision: Precision, max_batch: usize) -> (PathBuf, PlanIdentity) {
    let sm = Machine::properties(&*Gpu::open(0).unwrap()).sm;
    let request =
        BuildRequest { bundle: bundle.to_owned(), sms: vec![sm], precision, max_batch, output: None, scales: None };
    tensorrt::build(&request, tensorrt::unwatched()).unwrap()
}

pub fn spec(bundle: &Path, precision: Precision, max_batch: usize) -> EngineSpec {
    EngineSpec { engine: EngineChoice::Tensorrt, precision, max_batch, ..EngineSpec::new(bundle) }
}

pub fn open(spec: &EngineSpec) -> TensorrtEngine {
    TensorrtEngine::open(spec, &|_| {}).unwrap()
}

pub fn infer(engine: &mut TensorrtEngine, frames: &[Frame]) -> Vec<Prediction> {
    let frames: Vec<&Frame> = frames.iter().collect();
    engine.infer(&frames).unwrap()
}

pub fn golden_frames() -> Vec<Frame> {
    tiny::IMAGES.iter().map(|name| tiny::frame(tiny::picture(name))).collect()
}

#[test]
fn maps_are_the_golden_ones_alone_in_batches_and_as_a_graph() {
    let (_folder, bundle) = tiny::bundle();
    let frames = golden_frames();
    for precision in [Precision::Fp32, Precision::Fp16, Precision::Bf16] {
        build(&bundle, precision, frames.len());
        let mut engine = open(&spec(&bundle, precision, frames.len()));
        let tolerance = f64::from(self_test::tolerance(precision));
        let mut worst = 0.0_f64;
        for batch in 1..=frames.len() {
            for (first, chunk) in frames.chunks(batch).enumerate() {
                let answers = infer(&mut engine, chunk);
                for (answer, name) in answers.iter().zip(&tiny::IMAGES[first * batch..]) {
                    let golden = tiny::Golden::exact(name);
                    let what = format!("{name} in {precision}, {batch} at once");
                    tiny::assert_near(&what, answer.map.values(), &golden.get("final"), tolerance);
                    tiny::assert_near(&what, &[answer.score], &golden.get("image_score"), 2.0 * tolerance);
                    worst = worst.max(tiny::off(answer.map.values(), &golden.get("final")));
                }
                // The first batch of a kind is launched piece by piece, the second captured, the third replayed.
                for _ in 0..2 {
                    let again = infer(&mut engine, chunk);
                    for (first, second) in answers.iter().zip(&again) {
                        assert!(first.map == second.map && first.score == second.score, "a replay differs");
                    }
                }
            }
        }
        assert!(engine.has_graphs(), "nothing was captured");
        println!("measured: tiny_map_error_{precision} = {worst:.3e}");
    }
}

/// The same answer with everything on the host, so that the processor compares.
fn brought_here(answer: &Prediction) -> Prediction {
    let tokens = answer.tokens.as_ref().unwrap();
    let tokens = PatchTokens::new(tokens.grid(), tokens.width(), tokens.taps().to_vec());
    let map = AnomalyMap::new(answer.map.size(), answer.map.values().to_vec());
    Prediction { map, score: answer.score, times: StageTimes::default(), tokens: Some(tokens) }
}

#[test]
fn a_memory_is_asked_on_the_card_and_nothing_but_the_answer_comes_from_there() {
    let (_folder, bundle) = tiny::bundle();
    let frames = golden_frames();
    for precision in [Precision::Fp32, Precision::Fp16, Precision::Bf16] {
        build(&bundle, precision, 2);
        let mut engine = open(&spec(&bundle, precision, 2));
        let fetches = engine.fetches();
        let fetched = || fetches.load(std::sync::atomic::Ordering::Relaxed);
        let [few, all] = [..2, ..4].map(|good| remembered::of(&mut engine, &frames[good], remembered::SIZE));
        engine.hand_out_tokens(true);
        let mut held = Vec::new();
        for pair in frames.windows(2) {
            let answers = infer(&mut engine, pair);
            let before = fetched();
            let joined: Vec<[Prediction; 2]> = answers
                .iter()
                .map(|answer| [&few, &all].map(|memory| memory.look(answer.clone(), remembered::SIZE).unwrap()))
                .collect();
            // The first memory's map goes for the second's while somebody holds it; nothing else comes over.
            assert_eq!(fetched() - before, 2, "{precision}: on the card");
            for (answer, joined) in answers.iter().zip(joined) {
                for (memory, joined) in [&few, &all].iter().zip(joined) {
                    let wanted = memory.look(brought_here(answer), remembered::SIZE).unwrap();
                    assert!((joined.score - wanted.score).abs() < TENSOR_CORE_WHOLE_TOLERANCE, "{precision}: score");
                    let worst = joined.map.values().iter().zip(wanted.map.values()).map(|(a, b)| (a - b).abs());
                    let worst = worst.fold(0.0, f32::max);
                    assert!(worst < TENSOR_CORE_WHOLE_TOLERANCE, "{precision}: joined maps differ by {worst}");
                    assert!((joined.map.peak() - wanted.map.peak()).abs() < TENSOR_CORE_WHOLE_TOLERANCE);
                }
            }
            // Maps and tokens of a batch that is over are compared by the processor.
            held.push((answers[0].clone(), few.look(answers[0].clone(), remembered::SIZE).unwrap()));
        }
        infer(&mut engine, &frames[..1]);
        for (answer, joined) in held {
            let again = few.look(answer, remembered::SIZE).unwrap();
            let worst = again.map.values().iter().zip(joined.map.values()).map(|(a, b)| (a - b).abs());
            assert!(worst.fold(0.0, f32::max) < TENSOR_CORE_WHOLE_TOLERANCE, "{precision}: a batch that is over");
        }
    }
}

#[test]
fn a_map_of_an_earlier_batch_keeps_its_values() {
    let (_folder, bundle) = tiny::bundle();
    build(&bundle, Precision::Fp16, 1);
    let mut engine = open(&spec(&bundle, Precision::Fp16, 1));
    let frames = golden_frames();
    let held = infer(&mut engine, &frames[..1]).remove(0);
    let other = infer(&mut engine, &frames[3..4]).remove(0);
    let again = infer(&mut engine, &frames[..1]).remove(0);
    assert!(held.map == again.map && held.map != other.map);
    assert_eq!(held.map.peak(), held.map.values().iter().copied().fold(f32::MIN, f32::max));
}

#[test]
fn frames_sent_ahead_are_answered_as_if_they_had_not_been() {
    let (_folder, bundle) = tiny::bundle();
    build(&bundle, Precision::Fp16, 2);
    let mut engine = open(&spec(&bundle, Precision::Fp16, 2));
    let frames = golden_frames();
    let last = frames.len() - 1;
    let alone: Vec<Prediction> =
        frames.iter().map(|frame| infer(&mut engine, std::slice::from_ref(frame)).remove(0)).collect();
    // A batch of two may be computed by other kernels than one frame.
    let together = infer(&mut engine, &frames[1..3]);
    let same = |found: &Prediction, wanted: &Prediction| found.map == wanted.map && found.score == wanted.score;
    let image = |at: usize| frames[at.min(last)].image.clone();
    // What comes next was sent; something else was sent; two were, the wrong one first. Each way twice, so that one is a
    // graph's replay.
    let sent: [&dyn Fn(usize) -> Vec<Image>; 3] =
        [&|at| vec![image(at + 1)], &|at| vec![image(at + 2)], &|at| vec![image(at + 2), image(at + 1)]];
    for coming in sent.iter().cycle().take(2 * sent.len()) {
        for (at, frame) in frames.iter().enumerate() {
            let answers = engine.infer_looking_ahead(&[frame], &|_| coming(at)).unwrap();
            assert!(same(&answers[0], &alone[at]), "{}", tiny::IMAGES[at]);
        }
        // Of a batch only the second was sent, and more than a batch may be named.
        engine.infer_looking_ahead(&[&frames[0]], &|_| vec![image(2), image(3), image(4)]).unwrap();
        let answers = engine.infer_looking_ahead(&[&frames[1], &frames[2]], &nothing_comes).unwrap();
        assert!(answers.iter().zip(&together).all(|(found, wanted)| same(found, wanted)), "two frames");
    }
}

#[test]
fn an_engine_that_answers_otherwise_does_not_open() {
    let (_folder, bundle) = tiny::bundle();
    let (path, mut identity) = build(&bundle, Precision::Fp16, 1);
    let bytes = std::fs::read(&path).unwrap();
    identity.self_test.samples[100] += 0.1;
    identity.write(&path, &bytes).unwrap();
    let Err(error) = TensorrtEngine::open(&spec(&bundle, Precision::Fp16, 1), &|_| {}) else { panic!("opened") };
    assert!(matches!(error, EngineError::SelfTest { map, .. } if (0.09..0.11).contains(&map)), "{error}");
}

#[test]
fn a_plan_that_does_not_fit_is_refused_or_built_anew() {
    let (_folder, bundle) = tiny::bundle();
    let (path, identity) = build(&bundle, Precision::Fp16, 1);
    std::fs::write(&path, b"no plan").unwrap();
    let mut spec = spec(&bundle, Precision::Fp16, 2);
    let refused = TensorrtEngine::open(&spec, &|_| {}).err();
    assert!(matches!(refused, Some(EngineError::Plan(PlanError::Damaged { .. }))), "{refused:?}");
    spec.plan = PlanSpec { file: None, rebuild: true };
    let told = std::sync::Mutex::new(Vec::new());
    let engine = TensorrtEngine::open(&spec, &|what| told.lock().unwrap().push(what.to_owned())).unwrap();
    assert_eq!(
        (engine.info().max_batch, told.into_inner().unwrap()),
        (2, vec!["building engine".into(), String::new()])
    );
    let anew = PlanIdentity::read(&plan::default_path(&bundle, tensorrt::FLAVOUR, Precision::Fp16), "").unwrap();
    assert_eq!((anew.model_sha256, anew.max_batch), (identity.model_sha256, 2));
}

#[test]
fn ten_thousand_frames_need_no_more_memory_than_five_hundred() {
    let (_folder, bundle) = tiny::bundle();
    build(&bundle, Precision::Fp16, 4);
    let gpu = Gpu::open(0).unwrap();
    let mut engine = open(&spec(&bundle, Precision::Fp16, 4));
    let frames = golden_frames();
    let memory = remembered::of(&mut engine, &frames[..2], remembered::SIZE);
    engine.hand_out_tokens(true);
    let mut at = 0;
    let mut batches = (1..=4).cycle();
    let mut run = |count: usize| {
        let end = at + count;
        while at < end {
            let batch = batches.next().unwrap();
            let from = at % (frames.len() - batch);
            let answers = infer(&mut engine, &frames[from..from + batch]);
            // Every third map is asked for, as of a part that fails.
            assert!(at % 3 != 0 || answers[0].map.values().iter().all(|value| value.is_finite()));
            // A memory is asked about every other, and some of its maps are asked for.
            for answer in answers.into_iter().filter(|_| at % 2 == 0) {
                let joined = memory.look(answer, remembered::SIZE).unwrap();
                assert!(at % 3 != 0 || joined.map.values().iter().all(|value| value.is_finite()));
            }
            at += batch;
        }
    };
    run(WARM);
    let before = memory::now(&gpu);
    run(MANY);
    memory::assert_no_more("engine", &before, &memory::now(&gpu));
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub fn time(name: &str, bundle: &Path, precision: Precision, batches: &[usize]) {
    let start = Instant::now();
    let most = batches.iter().copied().max().unwrap();
    let (_, identity) = build(bundle, precision, most);
    println!("measured: {name}_{precision}_build_s = {:.1}", start.elapsed().as_secs_f64());
    println!("measured: {name}_{precision}_plan_mb = {:.1}", identity.plan_bytes as f64 / 1e6);
    let start = Instant::now();
    let mut engine = open(&spec(bundle, precision, most));
    println!("measured: {name}_{precision}_open_s = {:.1}", start.elapsed().as_secs_f64());
    let image = self_test::picture(1024, 3);
    let frames: Vec<Frame> = (0..most).map(|_| tiny::frame(image.clone())).collect();
    for &batch in batches {
        for _ in 0..10 {
            infer(&mut engine, &frames[..batch]);
        }
        let (mut whole, mut card) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let start = Instant::now();
            infer(&mut engine, &frames[..batch]);
            whole.push(start.elapsed().as_secs_f64() * 1e3);
            card.push(f64::from(engine.gpu_times().unwrap().total));
        }
        println!("measured: {name}_{precision}_batch{batch}_ms = {:.3}", median(whole));
        println!("measured: {name}_{precision}_batch{batch}_gpu_ms = {:.3}", median(card));
    }
    let picture = |seed| tiny::frame(self_test::picture(1024, seed));
    let memory = remembered::of(&mut engine, &(4..8).map(picture).collect::<Vec<_>>(), remembered::SIZE);
    engine.hand_out_tokens(true);
    // With launches and the wait for the answer, which `bench kernels` leaves out.
    let mut looks = Vec::new();
    for _ in 0..ROUNDS {
        let answer = infer(&mut engine, &frames[..1]).remove(0);
        let start = Instant::now();
        memory.look(answer, remembered::SIZE).unwrap();
        looks.push(start.elapsed().as_secs_f64() * 1e3);
    }
    println!("measured: {name}_{precision}_memory_look_ms = {:.3}", median(looks));
}

#[test]
fn time_of_the_shipped_model() {
    // Plans go beside the model: it is copied, the checkout may be read-only.
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(tiny::root().join("engines/vcp-demo")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    time("demo", folder.path(), Precision::Fp16, &[1, 8]);
}

#[test]
fn time_of_the_published_size() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("full");
    vcp_line::weights::random(&bundle, &Architecture::vit_l_14_336_at_518(), 7).unwrap();
    time("vit_l_14_336_at_518", &bundle, Precision::Fp16, &[1, 8]);
}

//! TensorRT without a graphics card: real plans are built, identified and refused; the graph they are built from
//! computes the golden numbers; what is missing on this machine is named with the next step.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use crate::support::tiny;
use vcp_line::engine::onnx::typed;
use vcp_line::engine::plan::{self, Card, PlanError, PlanIdentity};
use vcp_line::engine::reference::ReferenceEngine;
use vcp_line::engine::tensorrt::{self, BuildRequest, FLAVOUR};
use vcp_line::engine::{EngineChoice, EngineError, EngineSpec, Precision, finish, self_test};
use vcp_line::weights::Bundle;

const SMS: [u32; 4] = [80, 86, 89, 120];

fn build(bundle: &Path, precision: Precision, sms: &[u32]) -> (PathBuf, PlanIdentity) {
    let request = BuildRequest {
        bundle: bundle.to_owned(),
        sms: sms.to_vec(),
        precision,
        max_batch: 2,
        output: None,
        scales: None,
    };
    tensorrt::build(&request, tensorrt::unwatched()).unwrap()
}

fn spec(bundle: &Path, precision: Precision) -> EngineSpec {
    EngineSpec { engine: EngineChoice::Tensorrt, precision, ..EngineSpec::new(bundle) }
}

fn card(sm: u32) -> Card<'static> {
    Card { name: "a card", sm, driver: "13.0" }
}

fn refusal(spec: &EngineSpec, sm: u32) -> (PlanError, String) {
    match tensorrt::check_plan(spec, card(sm)).unwrap_err() {
        EngineError::Plan(error) => {
            let said = error.to_string();
            let wanted = format!("vcp-line model build {} --engine tensorrt --precision", spec.bundle.display());
            assert!(said.contains(&wanted), "{said}");
            (error, said)
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_plan_of_the_tiny_model_is_built_identified_and_refused_where_it_does_not_fit() {
    let (folder, bundle) = tiny::bundle();
    assert!(matches!(refusal(&spec(&bundle, Precision::Fp16), 89).0, PlanError::Absent { .. }));

    let phases = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&phases);
    let request = BuildRequest {
        bundle: bundle.clone(),
        sms: vec![],
        precision: Precision::Fp16,
        max_batch: 2,
        output: None,
        scales: None,
    };
    let progress = move |phase: &str, done: u64, total: u64| {
        assert!(done <= total, "{phase}: {done} of {total}");
        seen.lock().unwrap().push(phase.to_owned());
    };
    let (path, identity) = tensorrt::build(&request, Box::new(progress)).unwrap();
    assert_eq!(path, plan::default_path(&bundle, FLAVOUR, Precision::Fp16));
    assert!(phases.lock().unwrap().iter().any(|phase| phase.starts_with("Building")), "{phases:?}");
    assert_eq!((identity.sms.as_slice(), identity.max_batch, identity.driver.as_ref()), (&SMS[..], 2, None));
    assert_eq!(identity.model_sha256, Bundle::open(&bundle).unwrap().sha256());
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!((bytes.len() as u64, plan::sha256(&bytes)), (identity.plan_bytes, identity.plan_sha256.clone()));
    // The weights are in it, in half precision.
    assert!(bytes.len() > 500_000, "{} bytes", bytes.len());
    let reference = EngineSpec { engine: EngineChoice::Reference, ..EngineSpec::new(&bundle) };
    let said = self_test::expect(&mut ReferenceEngine::open(&reference).unwrap()).unwrap();
    assert!(said.samples.iter().zip(&identity.self_test.samples).all(|(a, b)| (a - b).abs() < 1e-6));

    let fits = spec(&bundle, Precision::Fp16);
    assert_eq!(tensorrt::check_plan(&fits, card(89)).unwrap(), identity);
    let (error, said) = refusal(&fits, 121);
    assert!(matches!(error, PlanError::Misfit { .. }));
    assert!(
        said.contains("it covers SM 8.0, 8.6, 8.9, 12.0, this card is SM 12.1") && said.contains("--sm 121"),
        "{said}"
    );
    // Not a command that could not succeed either.
    let said = tensorrt::check_plan(&fits, card(90)).unwrap_err().to_string();
    assert!(said.contains("makes no plans for SM 9.0") && said.contains("--features tensorrt-enterprise"), "{said}");
    let other = EngineSpec { precision: Precision::Fp32, ..fits.clone() };
    let other = EngineSpec { plan: vcp_line::engine::PlanSpec { file: Some(path.clone()), rebuild: false }, ..other };
    assert!(refusal(&other, 89).1.contains("it computes in fp16, fp32 is asked for"));

    // Built by another TensorRT, or for another model.
    let file = plan::identity_path(&path);
    let text = std::fs::read_to_string(&file).unwrap();
    let (version, hash) = (&identity.version, &identity.model_sha256);
    for (from, to, reason) in [
        (version.as_str(), "1.6.1", "tensorrt-rtx 1.6.1 built it"),
        (hash, &"0".repeat(64), "it was built from model 000000000000…"),
    ] {
        std::fs::write(&file, text.replacen(from, to, 1)).unwrap();
        let said = refusal(&fits, 89).1;
        assert!(said.contains(reason), "{said}");
    }
    std::fs::write(&file, &text).unwrap();

    // One bit, and the end cut off.
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 1;
    for bytes in [&damaged[..], &bytes[..bytes.len() - 1]] {
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(refusal(&fits, 89).0, PlanError::Damaged { .. }));
    }
    drop(folder);
}

#[test]
fn a_plan_of_the_shipped_model_is_built() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/vcp-demo");
    let output = folder.path().join("demo.plan");
    let request = BuildRequest {
        bundle: bundle.clone(),
        sms: vec![89],
        precision: Precision::Fp16,
        max_batch: 4,
        output: Some(output.clone()),
        scales: None,
    };
    let (path, identity) = tensorrt::build(&request, tensorrt::unwatched()).unwrap();
    assert_eq!((path, identity.sms.as_slice(), identity.max_batch), (output.clone(), &[89][..], 4));
    let plan = vcp_line::engine::PlanSpec { file: Some(output), rebuild: false };
    let spec = EngineSpec { plan, ..spec(&bundle, Precision::Fp16) };
    assert_eq!(tensorrt::check_plan(&spec, card(89)).unwrap(), identity);
    // Nothing but the plan and its identity is left.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn every_precision_can_be_built() {
    let (_folder, bundle) = tiny::bundle();
    for precision in [Precision::Fp32, Precision::Bf16] {
        let (path, identity) = build(&bundle, precision, &[86]);
        assert_eq!(tensorrt::check_plan(&spec(&bundle, precision), card(86)).unwrap(), identity);
        let file = Some(path);
        let plan = vcp_line::engine::PlanSpec { file, rebuild: false };
        let said = refusal(&EngineSpec { plan, ..spec(&bundle, Precision::Fp16) }, 86).1;
        assert!(said.contains(&format!("it computes in {precision}, fp16 is asked for")), "{said}");
    }
}

/// The typed graph, computed by OpenVINO in float32 wherever it may, and finished by our own code: shows that the graph
/// is the network. How float16 rounds shows on a card only.
#[cfg(feature = "openvino")]
#[test]
fn the_typed_graph_is_the_network() {
    use half::f16;
    use openvino::{Core, DeviceType, ElementType, RwPropertyKey, Shape, Tensor};
    use vcp_line::engine::onnx::OutputNames;
    use vcp_line::engine::scales::Scales;

    let exact = [(Precision::Fp32, 1e-4), (Precision::Fp16, 5e-3), (Precision::Bf16, 4e-2)];
    for (precision, tolerance) in exact.into_iter().chain([(Precision::Int8, 1e-1), (Precision::Fp8, 2e-1)]) {
        let (folder, path) = tiny::bundle();
        let bundle = Bundle::open(&path).unwrap();
        let scales = Scales::load(&bundle, Some(&tiny::scales("tiny"))).unwrap();
        let constants = finish::text_constants(&bundle).unwrap();
        let graph = typed::write(&bundle, &constants, precision, Some(&scales), folder.path()).unwrap();
        let mut core = Core::new().unwrap();
        core.set_property(&DeviceType::CPU, &RwPropertyKey::HintInferencePrecision, "f32").unwrap();
        let model = core.read_model_from_file(graph.to_str().unwrap(), "").unwrap();
        let mut compiled = core.compile_model(&model, DeviceType::CPU).unwrap();
        let mut request = compiled.create_infer_request().unwrap();
        let pixels = tiny::input(&tiny::IMAGES[..2]);
        let shape = Shape::new(&[2, 3, tiny::SIZE as i64, tiny::SIZE as i64]).unwrap();
        let edges = if precision == Precision::Fp32 { ElementType::F32 } else { ElementType::F16 };
        let mut tensor = Tensor::new(edges, &shape).unwrap();
        let raw = tensor.get_raw_data_mut().unwrap();
        match precision {
            Precision::Fp32 => raw.copy_from_slice(bytemuck::cast_slice(&pixels)),
            _ => {
                let halves: Vec<f16> = pixels.iter().map(|&pixel| f16::from_f32(pixel)).collect();
                raw.copy_from_slice(bytemuck::cast_slice(&halves));
            }
        }
        request.set_input_tensor(&tensor).unwrap();
        request.infer().unwrap();
        let read = |name: &str| -> Vec<f32> {
            let tensor = request.get_tensor(name).unwrap();
            let bytes = tensor.get_raw_data().unwrap();
            match tensor.get_element_type().unwrap() {
                ElementType::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
                ElementType::F16 => {
                    bytes.chunks_exact(2).map(|b| f16::from_le_bytes(b.try_into().unwrap()).to_f32()).collect()
                }
                other => panic!("{name} holds {other:?}"),
            }
        };
        let names = OutputNames::new(&tiny::TAPS);
        let finish = finish::Finish::new(&bundle).unwrap();
        let tokens: Vec<Vec<f32>> = names.tokens.iter().map(|name| read(name)).collect();
        let raw: Vec<Vec<f32>> = names.raw.iter().map(|name| read(name)).collect();
        let text = read(&names.text);
        for (at, image) in tiny::IMAGES[..2].iter().enumerate() {
            let half = |values: &Vec<f32>| -> Vec<f32> {
                let length = values.len() / 2;
                values[at * length..(at + 1) * length].to_vec()
            };
            let (tokens, raw): (Vec<_>, Vec<_>) = (tokens.iter().map(half).collect(), raw.iter().map(half).collect());
            let tokens: Vec<&[f32]> = tokens.iter().map(Vec::as_slice).collect();
            let raw: Vec<&[f32]> = raw.iter().map(Vec::as_slice).collect();
            let fused = finish.run(&tokens, &half(&text), &raw);
            let golden = tiny::Golden::exact(image);
            tiny::assert_near(&format!("{image} in {precision}"), &fused.map, &golden.get("final"), tolerance);
            let worst = tiny::off(&fused.map, &golden.get("final"));
            println!("{precision} {image}: map off by {worst:.1e}, score by {:.1e}", {
                tiny::off(&[fused.score], &golden.get("image_score"))
            });
        }
    }
}

/// The real program; `libraries` in place of the test's own LD_LIBRARY_PATH.
fn program(arguments: &[&str], libraries: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vcp-line"));
    command.args(arguments).env_remove("JOURNAL_STREAM");
    if let Some(libraries) = libraries {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    command.output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_is_missing_is_named_with_the_next_step() {
    let (folder, bundle) = tiny::bundle();
    let bundle = bundle.to_str().unwrap();

    let output = program(&["model", "build", bundle, "--sm", "8.9"], Some(""));
    assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
    assert!(stderr(&output).contains("libtensorrt_rtx.so.1 could not be loaded"), "{}", stderr(&output));
    assert!(stderr(&output).contains("run scripts/tensorrt.sh"), "{}", stderr(&output));

    for (sm, reason) in
        [("9.0", "--features tensorrt-enterprise"), ("7.5", "makes no plans for SM 7.5"), ("8.x", "compute capability")]
    {
        let output = program(&["model", "build", bundle, "--sm", sm], None);
        assert!(!output.status.success() && stderr(&output).contains(reason), "{}", stderr(&output));
    }
    let nowhere = folder.path().join("none/x.plan");
    let output = program(&["model", "build", bundle, "-o", nowhere.to_str().unwrap()], None);
    assert!(stderr(&output).contains("cannot write") && stderr(&output).contains("none/x.plan"), "{}", stderr(&output));

    let output = program(&["model", "build", bundle, "--sm", "89", "--max-batch", "1"], None);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("reading the graph …"), "{}", stderr(&output));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("tensorrt-rtx-fp16.plan") && said.contains("SM 8.9"), "{said}");
}

/// On a machine without a card: the engine that was named is refused, `auto` takes another and says why.
#[test]
fn without_a_card_the_engine_says_what_to_install() {
    if Path::new("/proc/driver/nvidia/version").exists() {
        println!("there is a driver here: tests/gpu looks at it");
        return;
    }
    let (_folder, bundle) = tiny::bundle();
    let (bundle, picture) = (bundle.to_str().unwrap(), tiny::fixture(&format!("images/{}.png", tiny::IMAGES[0])));
    let picture = picture.to_str().unwrap();
    let output = program(&["inspect", "--model", bundle, "--engine", "tensorrt", picture], None);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("engine 'tensorrt': no NVIDIA driver"), "{}", stderr(&output));
    assert!(stderr(&output).contains("install the driver"), "{}", stderr(&output));

    let output = program(&["bench", "kernels"], None);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("no NVIDIA driver") && output.stdout.is_empty(), "{}", stderr(&output));

    let output = program(&["--log", "debug", "inspect", "--model", bundle, "--engine", "auto", picture], None);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("passed over") && stderr(&output).contains("no NVIDIA driver"),
        "{}",
        stderr(&output)
    );
}

/// The published size: 24 blocks of width 1024 at 518 pixels, seeded weights. Two GB of disk, some minutes.
#[test]
#[ignore = "takes minutes; run it with `cargo test --test compute tensorrt:: -- --ignored --nocapture`"]
fn a_plan_of_the_full_size() {
    use vcp_line::vcp_clip::Architecture;

    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let bundle = folder.path().join("full");
    vcp_line::weights::random(&bundle, &Architecture::vit_l_14_336_at_518(), 7).unwrap();
    let start = std::time::Instant::now();
    let mut last = String::new();
    let progress = move |phase: &str, _: u64, _: u64| {
        if last != phase {
            println!("{:6.1} s {phase}", start.elapsed().as_secs_f64());
            phase.clone_into(&mut last);
        }
    };
    let request =
        BuildRequest { bundle, sms: vec![89], precision: Precision::Fp16, max_batch: 4, output: None, scales: None };
    let (_, identity) = tensorrt::build(&request, Box::new(progress)).unwrap();
    println!("{:6.1} s, a plan of {:.0} MB", start.elapsed().as_secs_f64(), identity.plan_bytes as f64 / 1e6);
    // The vision tower alone has 304 million weights of two bytes.
    assert!(identity.plan_bytes > 600_000_000);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap());
}

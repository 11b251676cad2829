//! TensorRT plans in 8 bits without a graphics card: built by the scales of a bundle, named by them, refused with others. How fast they
//! are, and how their arithmetic rounds, shows on a card only; which tensors TensorRT holds in which numbers stands in the plan.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::tiny;
use vcp_line::engine::plan::{self, Card, PlanError, PlanIdentity};
use vcp_line::engine::scales::{self, Gate, Scales, ScalesError};
use vcp_line::engine::tensorrt::{self, BuildRequest, FLAVOUR};
use vcp_line::engine::{EngineChoice, EngineError, EngineSpec, PlanSpec, Precision};
use vcp_line::weights::Bundle;

const EIGHT_BITS: [Precision; 2] = [Precision::Int8, Precision::Fp8];

fn request(bundle: &Path, precision: Precision, sms: &[u32]) -> BuildRequest {
    BuildRequest { bundle: bundle.to_owned(), sms: sms.to_vec(), precision, max_batch: 2, output: None, scales: None }
}

fn build(bundle: &Path, precision: Precision, sms: &[u32]) -> Result<(PathBuf, PlanIdentity), EngineError> {
    tensorrt::build(&request(bundle, precision, sms), tensorrt::unwatched())
}

fn spec(bundle: &Path, precision: Precision) -> EngineSpec {
    EngineSpec { engine: EngineChoice::Tensorrt, precision, ..EngineSpec::new(bundle) }
}

fn check(spec: &EngineSpec) -> Result<PlanIdentity, EngineError> {
    tensorrt::check_plan(spec, Card { name: "a card", sm: 89, driver: "13.0" })
}

/// The tiny model with its scales beside it.
fn tiny_with_scales() -> (tempfile::TempDir, PathBuf) {
    let (folder, bundle) = tiny::bundle();
    fs::copy(tiny::scales("tiny"), scales::default_path(&bundle)).unwrap();
    (folder, bundle)
}

/// TensorRT-RTX 1.7's list of a plan's tensors, which it holds as text: how many matrices of weights have elements of `kind`, and how
/// many tensors between layers.
fn listed(plan: &[u8], kind: &str) -> (usize, usize) {
    let text = String::from_utf8_lossy(plan);
    let of_kind = format!(" type={kind} ");
    let tensors = text.lines().filter(|line| line.trim_start().starts_with("tensor={") && line.contains(&of_kind));
    let (mut weights, mut between) = (0, 0);
    for line in tensors {
        let dims = line.split("dims={ ").nth(1).and_then(|dims| dims.split(" }").next()).unwrap_or_default();
        let matrix = dims.split(' ').filter(|dim| *dim != "1").count() >= 2;
        if line.contains("const_payload_size") {
            weights += usize::from(matrix);
        } else if !line.contains("is_scratchspace") {
            between += usize::from(matrix);
        }
    }
    (weights, between)
}

#[test]
fn plans_in_8_bits_are_built_by_the_scales_and_named_by_them() {
    let (_folder, bundle) = tiny_with_scales();
    let file = scales::default_path(&bundle);
    let scales = Scales::load(&Bundle::open(&bundle).unwrap(), None).unwrap();
    let hash = scales.sha256().unwrap();
    assert_eq!(hash, plan::sha256(&fs::read(&file).unwrap()), "what sha256sum says of the file");
    for (precision, kind, sms) in
        [(Precision::Int8, "int8", &[80, 86, 89, 120][..]), (Precision::Fp8, "fp8_e4m3", &[89, 120])]
    {
        let (path, identity) = build(&bundle, precision, &[]).unwrap();
        assert_eq!(path, bundle.join(format!("{FLAVOUR}-{precision}-{}.plan", &hash[..12])));
        assert_eq!((identity.precision, identity.scales_sha256.as_ref()), (precision, Some(&hash)));
        assert_eq!(identity.sms, sms);
        assert_eq!(check(&spec(&bundle, precision)).unwrap(), identity);
        // On one architecture, so that each tensor is listed once.
        let alone = BuildRequest { output: Some(bundle.join("alone")), ..request(&bundle, precision, &[89]) };
        let (path, _) = tensorrt::build(&alone, tensorrt::unwatched()).unwrap();
        let (weights, between) = listed(&fs::read(path).unwrap(), kind);
        println!("{precision}: {weights} matrices of weights and {between} tensors between layers are {kind}");
        assert_eq!(weights, scales.layers.len(), "{precision}: every layer that has scales");
        assert!(between >= scales.layers.len(), "{precision}: and what goes into it: {between}");
    }
    let (path, _) = build(&bundle, Precision::Fp16, &[89]).unwrap();
    let plan = fs::read(path).unwrap();
    assert_eq!((listed(&plan, "int8").0, listed(&plan, "fp8_e4m3")), (0, (0, 0)));
}

/// A plan holds kernels as well, so that sizes are compared by what they differ in: a byte for each weight of the layers.
#[test]
fn plans_of_the_shipped_model_weigh_less_in_8_bits() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = tiny::root().join("engines/vcp-demo");
    let size = |precision: Precision| {
        let request = BuildRequest {
            scales: Some(tiny::scales("vcp-demo")),
            output: Some(folder.path().join(format!("{precision}.plan"))),
            ..request(&bundle, precision, &[89])
        };
        let (path, identity) = tensorrt::build(&request, tensorrt::unwatched()).unwrap();
        let spec = EngineSpec {
            plan: PlanSpec { file: Some(path), rebuild: false },
            scales: Some(tiny::scales("vcp-demo")),
            ..spec(&bundle, precision)
        };
        assert_eq!(check(&spec).unwrap(), identity);
        // A plan that is named decides what `auto` is.
        assert_eq!(check(&EngineSpec { precision: Precision::Auto, ..spec }).unwrap(), identity);
        println!("{precision}: {:.2} MB", identity.plan_bytes as f64 / 1e6);
        identity.plan_bytes as f64
    };
    let opened = Bundle::open(&bundle).unwrap();
    let scales = Scales::load(&opened, Some(&tiny::scales("vcp-demo"))).unwrap();
    let shape = |name: &String| opened.tensor(name).unwrap().shape;
    let weights: usize = scales.layers.keys().map(|name| shape(name).iter().product::<usize>()).sum();
    let half = size(Precision::Fp16);
    for precision in EIGHT_BITS {
        let less = half - size(precision);
        assert!(less > 0.9 * weights as f64, "{precision}: {less} bytes less, {weights} weights in 8 bits");
    }
}

#[test]
fn auto_takes_8_bits_only_where_there_is_a_plan_of_the_scales_that_are_there() {
    let (_folder, bundle) = tiny_with_scales();
    let auto = spec(&bundle, Precision::Auto);
    let took = || check(&auto).unwrap().precision;
    assert!(matches!(check(&auto), Err(EngineError::Plan(PlanError::Absent { .. }))), "no plan at all");
    build(&bundle, Precision::Fp16, &[89]).unwrap();
    assert_eq!(took(), Precision::Fp16, "scales alone are no plan");
    build(&bundle, Precision::Fp8, &[89]).unwrap();
    assert_eq!(took(), Precision::Fp8);
    build(&bundle, Precision::Int8, &[89]).unwrap();
    assert_eq!(took(), Precision::Int8);
    // Neither floats of 8 bits nor a plan for another card stand in the way of one that fits.
    let older = Card { name: "an older card", sm: 86, driver: "13.0" };
    assert!(
        matches!(tensorrt::check_plan(&auto, older), Err(EngineError::Plan(PlanError::Misfit { .. }))),
        "none fits"
    );
    build(&bundle, Precision::Fp16, &[86]).unwrap();
    assert_eq!(tensorrt::check_plan(&auto, older).unwrap().precision, Precision::Fp16);
    let file = scales::default_path(&bundle);
    build(&bundle, Precision::Fp16, &[89]).unwrap();
    let text = fs::read(&file).unwrap();
    change(&file, |scales| scales.pictures.calibrated += 1);
    assert_eq!(took(), Precision::Fp16, "the plan is of other scales");
    fs::write(&file, "{").unwrap();
    assert!(matches!(check(&auto), Err(EngineError::Scales(ScalesError::Damaged { .. }))), "not in silence");
    fs::remove_file(&file).unwrap();
    assert_eq!(took(), Precision::Fp16);
    fs::write(&file, text).unwrap();
    assert_eq!(took(), Precision::Int8);
}

fn change(file: &Path, what: impl Fn(&mut Scales)) {
    let mut scales: Scales = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    what(&mut scales);
    scales.write(file).unwrap();
}

#[test]
fn scales_and_plans_that_do_not_belong_are_refused_with_the_command() {
    let (folder, bundle) = tiny::bundle();
    let file = scales::default_path(&bundle);
    let command = format!("`vcp-line model quantize {} --data GOOD_PICTURES`", bundle.display());
    for precision in EIGHT_BITS {
        let refused = |expected: &str| {
            for error in [build(&bundle, precision, &[89]).unwrap_err(), check(&spec(&bundle, precision)).unwrap_err()]
            {
                let said = error.to_string();
                assert!(matches!(error, EngineError::Scales(_)), "{said}");
                assert!(said.contains(expected) && said.contains(&command), "{said}");
            }
        };
        refused("need ");
        fs::copy(tiny::scales("vcp-demo"), &file).unwrap();
        refused("made for the model with SHA-256");
        let whole = fs::read(tiny::scales("tiny")).unwrap();
        fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        refused("not a file of scales");
        fs::write(&file, &whole).unwrap();
        change(&file, |scales| scales.gate.map = 2.0 * scales.gate.allowed);
        refused("than its own gate allows");
        if precision == Precision::Fp8 {
            fs::write(&file, &whole).unwrap();
            change(&file, |scales| scales.fp8 = None);
            refused("nothing was measured with floats of 8 bits");
            change(&file, |scales| scales.fp8 = Some(Gate { map: 1.0, ..scales.gate.clone() }));
            refused("with floats of 8 bits maps are off by 1.0000 on average");
        }
        fs::write(&file, &whole).unwrap();

        // Scales somewhere else are in the command that builds the plan.
        let elsewhere = folder.path().join("other.json");
        fs::copy(&file, &elsewhere).unwrap();
        change(&elsewhere, |scales| scales.pictures.held_out += 1);
        let (path, _) = build(&bundle, precision, &[89]).unwrap();
        let plan = PlanSpec { file: Some(path.clone()), rebuild: false };
        let other = EngineSpec { scales: Some(elsewhere.clone()), plan, ..spec(&bundle, precision) };
        let said = check(&other).unwrap_err().to_string();
        let command = format!("--precision {precision} --scales {} --sm 89 -o {}", elsewhere.display(), path.display());
        assert!(said.contains("it was built with the scales ") && said.contains(&command), "{said}");
        let absent = check(&EngineSpec { plan: PlanSpec::default(), ..other }).unwrap_err();
        assert!(matches!(absent, EngineError::Plan(PlanError::Absent { .. })), "{absent}");
        let exact =
            EngineSpec { plan: PlanSpec { file: Some(path), rebuild: false }, ..spec(&bundle, Precision::Fp16) };
        let said = check(&exact).unwrap_err().to_string();
        assert!(said.contains(&format!("it computes in {precision}, fp16 is asked for")), "{said}");
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn floats_of_8_bits_are_for_cards_that_have_them() {
    let (_folder, bundle) = tiny_with_scales();
    for sm in [80, 86] {
        let said = build(&bundle, Precision::Fp8, &[89, sm]).unwrap_err().to_string();
        let wanted =
            "engine 'tensorrt' has no precision 'fp8'; it has fp32, bf16, fp16 and int8 for cards before SM 8.9";
        assert_eq!(said, wanted);
    }
    let engine = EngineSpec { engine: EngineChoice::Reference, ..spec(&bundle, Precision::Fp8) };
    let said = vcp_line::engine::open(&engine).err().unwrap().to_string();
    assert_eq!(said, "engine 'reference' has no precision 'fp8'; it has fp32");
}

#[test]
fn the_program_builds_them() {
    let (folder, bundle) = tiny::bundle();
    let (scales, plan) = (tiny::scales("tiny"), folder.path().join("x.plan"));
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vcp-line"));
        command.args(["model", "build"]).arg(&bundle).args(arguments).arg("-o").arg(&plan);
        let output = command.output().unwrap();
        let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (output.status.code(), out, err)
    };
    let (code, _, said) = run(&["--precision", "int8"]);
    assert!(code == Some(78) && said.contains("int8.json") && said.contains("model quantize"), "{said}");
    let scales = scales.to_str().unwrap();
    let (code, out, said) = run(&["--precision", "fp8", "--sm", "8.9", "--scales", scales]);
    assert_eq!(code, Some(0), "{said}");
    let hash = plan::sha256(&fs::read(scales).unwrap());
    assert!(out.contains("precision     fp8") && out.contains(&format!("scales        {hash}")), "{out}");
    assert_eq!(PlanIdentity::read(&plan, "").unwrap().scales_sha256, Some(hash));
}

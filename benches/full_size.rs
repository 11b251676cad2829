//! A ViT-L/14-336 at 518 pixels with seeded weights, through the real program: import, export, inference; time and peak
//! memory of every step as a Markdown table. `make full-size` runs it; it is no test, because it takes minutes and gigabytes.
#![allow(clippy::print_stdout)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vcp_line::clock::{Clock, SystemClock};
use vcp_line::engine::{self, EngineChoice, EngineSpec, PlanSpec, Precision};
use vcp_line::frame::{Frame, Image, PixelFormat};
use vcp_line::memory::{Learner, Memory, Settings};
use vcp_line::vcp_clip::Architecture;

#[path = "../tests/support/seeded.rs"]
#[allow(clippy::unwrap_used, reason = "test code")]
mod seeded;

/// Patches along one side of the published model's own 336 pixels.
const NATIVE_GRID: usize = 24;

/// Runs the program and prints a row: seconds and peak resident memory, read from /proc while it runs.
fn step(what: &str, arguments: &[&str]) {
    let start = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_vcp-line"))
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the program starts");
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    while child.try_wait().expect("a child of ours").is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let peak = text.lines().find_map(|l| l.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
        peak_kib = peak_kib.max(peak.unwrap_or(0_u64));
        std::thread::sleep(Duration::from_millis(20));
    }
    let seconds = start.elapsed().as_secs_f64();
    assert!(child.wait().expect("a child of ours").success(), "{what} failed");
    println!("| {what} | {seconds:.1} | {} |", peak_kib / 1024);
}

/// What `vcp-line bench` prints.
fn bench(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_vcp-line")).args(arguments).output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn main() {
    let folder = tempfile::Builder::new().prefix("vcp-line-full-size-").tempdir_in("/var/tmp").expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (clip, vcp, bundle, onnx) =
        (path("clip.safetensors"), path("vcp.safetensors"), path("bundle"), path("vcp.onnx"));
    let architecture = Architecture::vit_l_14_336_at_518();
    seeded::write(Path::new(&clip), &seeded::clip("full", &architecture, NATIVE_GRID), seeded::Store::F16, false);
    seeded::write(Path::new(&vcp), &seeded::vcp("full", &architecture), seeded::Store::F32, false);

    println!("| step | seconds | peak memory MiB |\n|---|---|---|");
    step("import", &["model", "import", "--clip", &clip, "--vcp", &vcp, "--image-size", "518", "-o", &bundle]);
    std::fs::remove_file(&clip).expect("ours");
    step("export", &["model", "export", &bundle, "-o", &onnx]);
    let picture = path("picture.png");
    image::RgbImage::from_fn(1920, 1080, |x, y| image::Rgb([(x / 8) as u8, (y / 5) as u8, (x ^ y) as u8]))
        .save(&picture)
        .expect("a picture");
    let mut tables = vec![];
    for precision in ["fp32", "bf16"] {
        let on = ["--model", &bundle, "--engine", "openvino", "--precision", precision];
        step(&format!("inspect one picture, {precision}"), &[&["inspect"], &on[..], &[&picture]].concat());
        tables.push(bench(&[&["bench", "engine"], &on[..], &["--frames", "8"]].concat()));
    }
    for table in tables {
        println!("\n{table}");
    }
    println!(
        "\n| precision | memory of | MB | read ms | frame ms without it | its part ms | share |\n|---|---|---|---|---|---|---|"
    );
    for precision in [Precision::Fp32, Precision::Bf16] {
        memories(&bundle, precision, &folder.path().join("parts.memory"));
    }
}

/// A part as a camera shows it.
fn part(number: u32) -> Frame {
    let rgb = (0..1080u32 * 1920).flat_map(|at| {
        let (x, y) = (at % 1920, at / 1920);
        [((x * 3 + y * number) % 251) as u8, (y / 5) as u8, (x ^ y) as u8]
    });
    let image = Image::new(1920, 1080, PixelFormat::Rgb8, rgb.collect()).expect("the size fits");
    Frame::alone("bench", SystemClock.now(), image)
}

/// What a memory of 4 pictures costs, and one of 12 whose tokens are thinned to the number of 4: frames without and with it
/// take turns, medians.
fn memories(bundle: &str, precision: Precision, file: &Path) {
    const ROUNDS: u32 = 9;
    let plan = PlanSpec { file: None, rebuild: false };
    let engine = EngineChoice::Openvino;
    let spec = EngineSpec {
        bundle: bundle.into(),
        engine,
        precision,
        max_batch: 1,
        threads: None,
        plan,
        remote: None,
        scales: None,
    };
    let mut engine = engine::open(&spec).expect("the engine");
    let info = engine.info().clone();
    for parts in [4, 12] {
        engine.hand_out_tokens(true);
        let mut learner = Learner::new(Settings {
            model: info.model(),
            size: info.image_size,
            sigma: info.sigma,
            pictures_of_tokens: 4,
            by: "full_size".into(),
            now: SystemClock.now().wall,
        });
        for number in 0..parts {
            let seen = engine.infer(&[&part(number)]).expect("an answer").remove(0);
            learner.take(&seen.tokens.expect("tokens"), seen.score, (1920, 1080)).expect("a good part");
        }
        learner.finish().expect("a memory").write(file).expect("written");
        let start = Instant::now();
        let memory = Memory::read(file).expect("read");
        let read = start.elapsed();
        let (mut alone, mut looks) = (vec![], vec![]);
        for number in 0..ROUNDS {
            let frame = part(100 + number);
            engine.hand_out_tokens(false);
            let start = Instant::now();
            engine.infer(&[&frame]).expect("an answer");
            alone.push(start.elapsed().as_secs_f64() * 1e3);
            engine.hand_out_tokens(true);
            let seen = engine.infer(&[&frame]).expect("an answer").remove(0);
            let start = Instant::now();
            memory.look(seen, (1920, 1080)).expect("it fits");
            looks.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let (alone, look) = (median(alone), median(looks));
        println!(
            "| {precision} | {parts} | {:.0} | {:.0} | {alone:.0} | {look:.0} | {:.1} % |",
            memory.bytes() as f64 / 1e6,
            read.as_secs_f64() * 1e3,
            look / alone * 100.0
        );
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

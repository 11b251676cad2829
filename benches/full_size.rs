//! A ViT-L/14-336 at 518 pixels with seeded weights, through the real program: import, export, inference; time and peak
//! memory of every step as a Markdown table. `make full-size` runs it; it is no test, because it takes minutes and gigabytes.
#![allow(clippy::print_stdout)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
}

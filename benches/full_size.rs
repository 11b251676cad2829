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
    // What a memory costs, in the same run: of 4 pictures, and of 12 that are thinned to the room of 4.
    let pictures: Vec<String> = (0..12u32)
        .map(|number| {
            let picture = path(&format!("part-{number}.png"));
            let shade = |x: u32, y: u32| image::Rgb([((x * 3 + y * number) % 251) as u8, (y / 5) as u8, (x ^ y) as u8]);
            image::RgbImage::from_fn(1920, 1080, shade).save(&picture).expect("a picture");
            picture
        })
        .collect();
    let all: Vec<&str> = pictures.iter().map(String::as_str).collect();
    let on = ["--model", &bundle, "--engine", "openvino"];
    println!("\n| memory | frame ms | behind the network ms |\n|---|---|---|");
    told("none", &[&["inspect", "--json"], &on[..], &all[..6]].concat());
    for good in [4, 12] {
        let memory = path(&format!("{good}.memory"));
        step(
            &format!("learn {good} pictures"),
            &[&["learn", "-o", &memory], &on[..], &["--good"], &all[..good]].concat(),
        );
        let arguments = [&["inspect", "--json", "--memory", &memory], &on[..], &all[..6]].concat();
        told(&format!("of {good} pictures"), &arguments);
    }
}

/// Medians of what `inspect` says of its pictures.
fn told(memory: &str, arguments: &[&str]) {
    let said = bench(arguments);
    let times = |stages: &[&str]| {
        let mut sums: Vec<f64> = said
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
            .map(|frame| stages.iter().map(|stage| frame["latency_ms"][*stage].as_f64().expect("a time")).sum())
            .collect();
        sums.sort_by(f64::total_cmp);
        sums[sums.len() / 2]
    };
    let (whole, behind) = (times(&["preprocess", "inference", "postprocess"]), times(&["postprocess"]));
    println!("| {memory} | {whole:.0} | {behind:.0} |");
}

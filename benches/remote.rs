//! What asking a server on this machine costs beside looking here, and whether eight clients get their share of one server.
//! The first with a small model of random weights, so that the way is what is measured and not the model; the second with the one
//! that ships. Both look at 192 pixels, on OpenVINO; tables as Markdown. No test, because it looks at the clock for
//! minutes. For a release build on a machine that has nothing else to do.
#![allow(clippy::print_stdout)]

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use vcp_line::clock::{Clock, SystemClock};
use vcp_line::engine::remote::RemoteSpec;
use vcp_line::engine::{self, Engine, EngineChoice, EngineSpec, nothing_comes};
use vcp_line::frame::{Frame, Image, PixelFormat};
use vcp_line::line::stats::Histogram;
use vcp_line::vcp_clip::Architecture;
use vcp_line::weights;

/// Parts for the overhead; each is looked at here and by the server.
const PARTS: u32 = 600;
/// Between two parts.
const PACE: Duration = Duration::from_millis(50);
const CLIENTS: usize = 8;
/// Of each client in a second, where clients have a pace.
const RATE: f64 = 10.0;
/// How long clients ask.
const ASKING: Duration = Duration::from_secs(20);
/// Pictures that a client without a pace has on their way; the greedy one has more.
const ON_THEIR_WAY: (usize, usize) = (2, 8);

struct Server(Child);

impl Server {
    fn start(bundle: &Path, more: &[&str]) -> (Self, String) {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        let listen = format!("127.0.0.1:{port}");
        let child = Command::new(env!("CARGO_BIN_EXE_vcp-line"))
            .arg("serve")
            .arg(bundle)
            .args(["--listen", &listen, "--engine", "openvino", "--precision", "fp32"])
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        while TcpStream::connect(&listen).is_err() {
            std::thread::sleep(Duration::from_millis(50));
        }
        (Self(child), format!("grpc://{listen}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("ours");
    }
}

fn local(bundle: &Path, max_batch: usize) -> Box<dyn Engine> {
    let engine = EngineChoice::Openvino;
    engine::open(&EngineSpec { engine, max_batch, ..EngineSpec::new(bundle) }).expect("the engine opens")
}

fn remote(bundle: &Path, address: &str, max_batch: usize) -> Box<dyn Engine> {
    let remote = Some(RemoteSpec::new(vec![address.parse().expect("an address")]));
    let engine = EngineChoice::Remote;
    engine::open(&EngineSpec { engine, max_batch, remote, ..EngineSpec::new(bundle) }).expect("the server is asked")
}

fn frame() -> Frame {
    let pixels = (0..640 * 480 * 3u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let image = Image::new(640, 480, PixelFormat::Rgb8, pixels).expect("the size fits");
    Frame::alone("bench", SystemClock.now(), image)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The same parts here and there, in turn; the difference is what asking costs.
fn overhead(bundle: &Path, more: &[&str], what: &str) {
    let (_server, address) = Server::start(bundle, more);
    let mut engines = [local(bundle, 1), remote(bundle, &address, 1)];
    let mut times = [Histogram::default(), Histogram::default()];
    let (frame, mut due) = (frame(), Instant::now());
    for part in 0..PARTS + 20 {
        due += PACE;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        // Who comes first changes, so that neither has always the warm processor.
        for at in [part as usize % 2, (part as usize + 1) % 2] {
            let begin = Instant::now();
            engines[at].infer(&[&frame]).expect("looked at");
            if part >= 20 {
                times[at].record(begin.elapsed());
            }
        }
    }
    let [here, there] = times.each_ref().map(|times| [0.5, 0.9, 0.99].map(|share| ms(times.percentile(share))));
    for (name, [p50, p90, p99]) in [("here", here), ("remote", there)] {
        println!("| {what}, {name} | {p50:.1} | {p90:.1} | {p99:.1} |");
    }
    let more = [0, 1, 2].map(|at| there[at] - here[at]);
    println!("| {what}, overhead | {:.1} | {:.1} | {:.1} |", more[0], more[1], more[2]);
}

/// Answers of each client in a second; each has so many pictures on their way, or one at this rate.
fn asked(bundle: &Path, address: &str, on_their_way: &[usize], rate: Option<f64>) -> (Vec<f64>, u64) {
    let barrier = Barrier::new(on_their_way.len());
    let ask = |&most: &usize| {
        let mut engine = remote(bundle, address, most);
        let (frame, mut answers, mut failed) = (frame(), 0u64, 0u64);
        let frames = vec![&frame; most];
        barrier.wait();
        let begin = Instant::now();
        while begin.elapsed() < ASKING {
            if let Some(rate) = rate {
                let due = begin + Duration::from_secs_f64((answers + failed) as f64 / rate);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            let due = vec![Some(Instant::now() + Duration::from_secs(2)); most];
            let looked = engine.infer_until(&frames, &due, &nothing_comes).expect("a batch that fits");
            let good = looked.iter().filter(|answer| answer.is_ok()).count() as u64;
            (answers, failed) = (answers + good, failed + most as u64 - good);
        }
        (answers as f64 / begin.elapsed().as_secs_f64(), failed)
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = on_their_way.iter().map(|most| scope.spawn(|| ask(most))).collect();
        let each = clients.into_iter().map(|client| client.join().expect("no panic"));
        let (rates, failed): (Vec<f64>, Vec<u64>) = each.unzip();
        (rates, failed.iter().sum())
    })
}

/// What the engine does at most here, in full batches, pictures in a second.
fn most_here(bundle: &Path) -> f64 {
    let mut engine = local(bundle, CLIENTS);
    let frame = frame();
    let frames = vec![&frame; engine.info().max_batch];
    engine.infer(&frames).expect("looked at");
    let (begin, mut looked) = (Instant::now(), 0);
    while begin.elapsed() < ASKING / 2 {
        looked += engine.infer(&frames).expect("looked at").len();
    }
    looked as f64 / begin.elapsed().as_secs_f64()
}

fn fairness(bundle: &Path) {
    let before = most_here(bundle);
    let (_server, address) = Server::start(bundle, &[]);
    let paced = asked(bundle, &address, &[1; CLIENTS], Some(RATE));
    let equal = asked(bundle, &address, &[ON_THEIR_WAY.0; CLIENTS], None);
    let mut ways = [ON_THEIR_WAY.0; CLIENTS];
    ways[0] = ON_THEIR_WAY.1;
    let greedy = asked(bundle, &address, &ways, None);
    drop(_server);
    // The machine has other work: before and after tell how steady it was.
    let most = (before + most_here(bundle)) / 2.0;
    println!(
        "\n| {CLIENTS} clients | pictures/s | of the local {most:.1} | least client, of its fair share | failed |"
    );
    println!("|---|---|---|---|---|");
    let wanted = RATE * CLIENTS as f64;
    for (what, (rates, failed), fair) in [
        (format!("{RATE} parts/s each, {wanted} wanted"), paced, Some(wanted.min(most))),
        (format!("{} on their way each", ON_THEIR_WAY.0), equal, None),
        (format!("the same, one with {}", ON_THEIR_WAY.1), greedy, None),
    ] {
        let all: f64 = rates.iter().sum();
        let share = fair.unwrap_or(all) / CLIENTS as f64;
        let least = rates.iter().copied().fold(f64::INFINITY, f64::min) / share;
        println!("| {what} | {all:.1} | {:.2} | {least:.2} | {failed} |", all / most);
    }
    println!("local: {before:.1} before, {:.1} in the mean", most);
}

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let bundle: PathBuf = folder.path().join("vcp-demo");
    std::fs::create_dir(&bundle).expect("ours");
    for file in ["manifest.json", "weights.safetensors"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/vcp-demo").join(file);
        std::fs::copy(from, bundle.join(file)).expect("it ships");
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load before: {load}\n| 20 parts/s, batch 1, 192 px | p50 ms | p90 ms | p99 ms |\n|---|---|---|---|");
    let small = folder.path().join("small");
    let architecture = Architecture { image_size: 192, patch: 16, ..Architecture::smallest() };
    weights::random(&small, &architecture, 7).expect("the sizes fit");
    overhead(&small, &["--max-batch", "1"], "--max-batch 1");
    overhead(&small, &[], "--max-wait-ms 2");
    fairness(&bundle);
    println!("load after: {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default());
}

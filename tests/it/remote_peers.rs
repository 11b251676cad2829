//! Software of others, pinned (`scripts/inference.sh`): a standard client asks `vcp-line serve`, the exported graph runs in ONNX
//! Runtime, and an engine asks MLServer with that graph.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use vcp_line::clock::{Clock, SystemClock};
use vcp_line::engine::{self, EngineChoice, EngineSpec};
use vcp_line::frame::{Frame, Image, PixelFormat};
use vcp_line::oip;
use vcp_line::weights::Bundle;

use crate::support::line::{Running, finished, model};
use crate::support::mosquitto::free_port;
use crate::support::serve::{Server, remote};

/// float32, summed in another order.
const TOLERANCE: f32 = 1e-4;
const SIDE: usize = 56;

/// A script of `tests/support/inference` in the pinned environment.
pub fn python(script: &str) -> Command {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/inference.sh");
        let output = Command::new(script).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "scripts/inference.sh cannot bring the programs");
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
    });
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/inference");
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", made).env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    if !script.is_empty() {
        command.arg(folder.join(script));
    }
    command
}

fn name() -> String {
    let bundle = Bundle::open(model()).unwrap();
    oip::model::name(&bundle.manifest().name, bundle.sha256())
}

/// Pictures of the model's size, so that nothing is resized.
fn pictures() -> Vec<Image> {
    let image = |seed: u32| {
        let data = (0..(SIDE * SIDE * 3) as u32).map(|i| (i.wrapping_mul(2_654_435_761 + seed) >> 24) as u8).collect();
        Image::new(SIDE as u32, SIDE as u32, PixelFormat::Rgb8, data).unwrap()
    };
    (0..3).map(image).collect()
}

/// Maps, then scores, as the reference engine has them.
fn expected() -> Vec<f32> {
    let spec = EngineSpec { engine: EngineChoice::Reference, max_batch: 4, ..EngineSpec::new(model()) };
    let mut engine = engine::open(&spec).unwrap();
    answers(engine.as_mut())
}

fn answers(engine: &mut dyn vcp_line::engine::Engine) -> Vec<f32> {
    let frames: Vec<Frame> =
        pictures().into_iter().map(|image| Frame::alone("test", SystemClock.now(), image)).collect();
    let found = engine.infer(&frames.iter().collect::<Vec<_>>()).unwrap();
    let scores: Vec<f32> = found.iter().map(|prediction| prediction.score).collect();
    found.iter().flat_map(|prediction| prediction.map.values().to_vec()).chain(scores).collect()
}

fn assert_near(found: &[f32], what: &str) {
    let expected = expected();
    assert_eq!(found.len(), expected.len(), "{what}");
    let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("{what}: off by {worst:.1e}");
    assert!(worst <= TOLERANCE, "{what}: off by {worst}");
}

/// Lets a script look at the pictures: its arguments, then images, their number and side, and where the answer goes.
fn looked(script: &str, arguments: &[&str]) -> Vec<f32> {
    let folder = tempfile::tempdir().unwrap();
    let (images, out) = (folder.path().join("images.bin"), folder.path().join("out.bin"));
    let pictures = pictures();
    fs::write(&images, pictures.iter().flat_map(|image| image.data().to_vec()).collect::<Vec<u8>>()).unwrap();
    let mut command = python(script);
    command.args(arguments).arg(&images).args([pictures.len().to_string(), SIDE.to_string()]).arg(&out);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    let bytes = fs::read(out).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// The model as a repository; the folder of the one model in it.
fn repository(folder: &Path) -> PathBuf {
    let done = finished(&["model", "export", model().to_str().unwrap(), "--triton", folder.to_str().unwrap()]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let model = folder.join(name());
    let printed = String::from_utf8(done.stdout).unwrap();
    assert!(printed.lines().any(|line| Path::new(line) == model.join("config.pbtxt")), "{printed}");
    model
}

#[test]
fn tritonclient_asks_serve() {
    let server = Server::start(&[]);
    let found = looked("client.py", &[&format!("127.0.0.1:{}", server.port), &name()]);
    assert_near(&found, "tritonclient and serve");
}

#[test]
fn onnx_runtime_runs_the_exported_model() {
    let folder = tempfile::tempdir().unwrap();
    let model = repository(folder.path());
    let found = looked("graph.py", &[model.join("1/model.onnx").to_str().unwrap()]);
    assert_near(&found, "ONNX Runtime and the exported graph");
}

#[test]
fn the_exported_configuration_fits_its_schema_and_the_graph() {
    let folder = tempfile::tempdir().unwrap();
    let model = repository(folder.path());
    let output = python("config.py").arg(&model).arg(name()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output.stdout == b"fits\n", "config.py: {said}");
}

/// OpenVINO Model Server opens a repository's graph with this runtime.
#[cfg(feature = "openvino")]
#[test]
fn openvino_reads_the_exported_model() {
    use openvino::{Core, DeviceType, ElementType, RwPropertyKey, Shape, Tensor};
    let folder = tempfile::tempdir().unwrap();
    let graph = repository(folder.path()).join("1/model.onnx");
    let mut core = Core::new().unwrap();
    core.set_property(&DeviceType::CPU, &RwPropertyKey::HintInferencePrecision, "f32").unwrap();
    let model = core.read_model_from_file(graph.to_str().unwrap(), "").unwrap();
    let mut compiled = core.compile_model(&model, DeviceType::CPU).unwrap();
    let mut request = compiled.create_infer_request().unwrap();
    let pictures = pictures();
    let side = SIDE as i64;
    let shape = Shape::new(&[pictures.len() as i64, side, side, 3]).unwrap();
    let mut input = Tensor::new(ElementType::U8, &shape).unwrap();
    let bytes: Vec<u8> = pictures.iter().flat_map(|image| image.data().to_vec()).collect();
    input.get_data_mut::<u8>().unwrap().copy_from_slice(&bytes);
    request.set_tensor("image", &input).unwrap();
    request.infer().unwrap();
    let [maps, scores] =
        ["map", "score"].map(|name| request.get_tensor(name).unwrap().get_data::<f32>().unwrap().to_vec());
    assert_near(&[maps, scores].concat(), "OpenVINO and the exported graph");
}

#[test]
fn an_engine_asks_mlserver() {
    let folder = tempfile::tempdir().unwrap();
    let graph = repository(folder.path()).join("1/model.onnx");
    let served = tempfile::tempdir().unwrap();
    let [http, grpc, metrics] = [free_port(), free_port(), free_port()];
    let settings = serde_json::json!({
        "host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": metrics, "parallel_workers": 0,
    });
    let tensor = |name: &str, datatype: &str, shape: &[i64]| serde_json::json!({ "name": name, "datatype": datatype, "shape": shape });
    let side = SIDE as i64;
    let about = serde_json::json!({
        "name": name(),
        "implementation": "runtime.Graph",
        "platform": "onnxruntime",
        "inputs": [tensor("image", "UINT8", &[-1, side, side, 3])],
        "outputs": [tensor("map", "FP32", &[-1, side, side]), tensor("score", "FP32", &[-1, 1])],
        "parameters": { "uri": graph },
    });
    fs::write(served.path().join("settings.json"), settings.to_string()).unwrap();
    fs::write(served.path().join("model-settings.json"), about.to_string()).unwrap();
    let runtime = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/inference/runtime.py");
    fs::copy(runtime, served.path().join("runtime.py")).unwrap();
    let mut command = python("");
    command.args(["-c", "from mlserver.cli import main; main()", "start", "."]).current_dir(served.path());
    let mut server = Running::start(command);
    let address = [format!("grpc://127.0.0.1:{grpc}")];
    // Python takes seconds to start on a busy machine; an engine waits for its first server.
    let mut engine = (0..4).find_map(|_| remote(&address, |_| {}).ok());
    let Some(engine) = engine.as_mut() else {
        panic!("MLServer is not asked: {}\n{}", server.stdout(), server.stderr());
    };
    assert_near(&answers(engine.as_mut()), "an engine and MLServer");
    server.signal("TERM");
    server.end();
}

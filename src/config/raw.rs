//! The settings as they are written. Nothing is decided here: an absent key is `None`, and `resolve` knows the rest.

use std::path::PathBuf;

use serde::Deserialize;

pub use super::key::Key;
pub use super::raw_remote::RawRemote;
pub use super::raw_self_test::RawSelfTest;
pub use super::raw_traces::RawTraces;
use crate::engine::{EngineChoice, Precision};
use crate::line::locating::Missing;
use crate::line::parts::{Pairing, TriggerMode};
use crate::line::queue::WhenFull;
use crate::view::Flip;

/// The whole file.
#[derive(Clone, Debug, Default)]
pub struct RawLine {
    /// Name of the line; letters, digits, `_` and `-`.
    pub line: Key<String>,
    /// `[model]`
    pub model: RawModel,
    /// `[recipe]`
    pub recipe: RawRecipe,
    /// `[mqtt]`
    pub mqtt: RawMqtt,
    /// `[commands]`
    pub commands: RawCommands,
    /// `[http]`
    pub http: RawHttp,
    /// `[sparkplug]`
    pub sparkplug: Option<RawSparkplug>,
    /// `[outbox]`
    pub outbox: RawOutbox,
    /// `[archive]`
    pub archive: Option<RawArchive>,
    /// `[self_test]`
    pub self_test: Option<RawSelfTest>,
    /// `[traces]`
    pub traces: Option<RawTraces>,
    /// `[stop]`
    pub stop: RawStop,
    /// `[[camera]]`
    pub cameras: Vec<RawCamera>,
}

/// Keys and tables of the top level.
#[rustfmt::skip] // one name a line would say no more
pub const TOP_LEVEL: &[&str] = &[
    "line", "model", "recipe", "mqtt", "outbox", "archive", "self_test", "sparkplug", "traces", "commands", "http", "stop", "camera",
];

/// `[model]`: what looks.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawModel {
    /// Folder that `vcp-line model import` wrote.
    pub bundle: Key<PathBuf>,
    /// `auto`, `reference`, `openvino`, `tensorrt` or `remote`.
    pub engine: Key<EngineChoice>,
    /// `auto`, `fp32`, `bf16`, `fp16`, `int8` or `fp8`.
    pub precision: Key<Precision>,
    /// Most frames in one inference.
    pub max_batch: Key<usize>,
    /// CPU threads of the engine.
    pub threads: Key<usize>,
    /// Plan of the TensorRT engine, as `vcp-line model build` wrote it.
    pub plan: Key<PathBuf>,
    /// Scales for 8 bits, as `vcp-line model quantize` wrote them.
    pub scales: Key<PathBuf>,
    /// Build the TensorRT plan at start when it is absent, damaged or does not fit.
    pub rebuild_plan: Key<bool>,
    /// `[model.remote]`
    #[serde(skip)]
    pub remote: Option<RawRemote>,
}

/// `[recipe]` and `[camera.recipe]`: how a frame is judged.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRecipe {
    /// Name, goes into every event.
    pub id: Key<String>,
    /// Version, goes into every event.
    pub version: Key<u32>,
    /// Image scores from here on fail, raw model units 0 … 2.
    pub threshold: Key<f32>,
    /// Map values from here on belong to a defect, 0 … 1.
    pub defect_threshold: Key<f32>,
    /// Smaller defects do not count, pixels of the captured frame.
    pub min_area_px: Key<u32>,
    /// Polygons inside of which defects count, `[[x, y], …]` in pixels of the captured frame.
    pub regions: Key<Vec<Vec<[f32; 2]>>>,
    /// Memory of good parts, which joins the model's maps.
    pub memory: Key<PathBuf>,
    /// Calibration file whose good parts later pictures are compared with.
    pub calibration: Key<PathBuf>,
}

/// `[mqtt]`: where events go.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawMqtt {
    /// `mqtt://HOST[:PORT]`, or `mqtts://HOST[:PORT]` with TLS.
    pub url: Key<String>,
    /// 4 for MQTT 3.1.1, or 5.
    pub version: Key<u8>,
    /// Authorities that may have signed the broker's certificate, PEM; absent: those of the system.
    pub ca: Key<PathBuf>,
    /// Certificate of this line for brokers that ask for one, PEM.
    pub client_certificate: Key<PathBuf>,
    /// Its private key, PEM.
    pub client_key: Key<PathBuf>,
    /// How long the broker remembers this line, seconds; MQTT 5 only.
    pub session_expiry_s: Key<u32>,
    /// How long the broker keeps a verdict for absent readers, seconds; MQTT 5 only.
    pub verdict_expiry_s: Key<u32>,
    /// First part of every topic.
    pub prefix: Key<String>,
    /// Name of this line at the broker, unique there.
    pub client_id: Key<String>,
    /// User name.
    pub username: Key<String>,
    /// File whose first line is the password; a bare name is looked for among systemd's credentials first.
    pub password_file: Key<PathBuf>,
    /// How often the connection proves that it is alive, seconds.
    pub keep_alive_s: Key<u64>,
    /// Pause after the first failed connection, milliseconds.
    pub reconnect_min_ms: Key<u64>,
    /// Longest pause between connections, milliseconds.
    pub reconnect_max_ms: Key<u64>,
    /// Events that memory alone holds, and parts that are owed one.
    pub max_queue: Key<usize>,
}

/// `[outbox]`: what waits for the broker, on disk.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawOutbox {
    /// Directory, this line's own.
    pub directory: Key<PathBuf>,
    /// Largest size on disk, bytes.
    pub max_bytes: Key<u64>,
    /// Older events are deleted, hours.
    pub max_age_h: Key<u64>,
    /// `always`, `batch` or `never`.
    pub fsync: Key<String>,
    /// Least time between two fsyncs of `batch`, milliseconds.
    pub fsync_ms: Key<u64>,
    /// `refuse` or `drop-oldest`.
    pub when_full: Key<String>,
    /// `refuse` or `memory`.
    pub when_unkept: Key<String>,
}

/// `[archive]`: what is kept of every part.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawArchive {
    /// Directory, this line's own.
    pub directory: Key<PathBuf>,
    /// Share of the parts that pass whose pictures are kept, 0 … 1.
    pub sample: Key<f64>,
    /// Largest size on disk, bytes.
    pub max_bytes: Key<u64>,
    /// Older parts go, hours.
    pub max_age_h: Key<u64>,
    /// Bytes of the disk that stay free.
    pub reserve_bytes: Key<u64>,
    /// Bytes that may wait in memory to be written.
    pub max_queue_bytes: Key<u64>,
}

/// `[commands]`: what others may ask of the line.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCommands {
    /// Whether commands are taken from the broker.
    pub mqtt: Key<bool>,
    /// Commands that say when they were sent are not carried out after this time, seconds.
    pub max_age_s: Key<f64>,
    /// Folder for the pictures of `snapshot`.
    pub snapshots: Key<PathBuf>,
    /// Folder in which recipes that came by command are kept.
    pub directory: Key<PathBuf>,
    /// Folder of recipes that are prepared, `ID.toml`.
    pub recipes: Key<PathBuf>,
    /// Whether settings that have changed are read again without being asked.
    pub watch: Key<bool>,
}

/// `[http]`: the API on this computer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawHttp {
    /// `ADDRESS:PORT`
    pub listen: Key<String>,
    /// File whose first line is the token; a bare name is looked for among systemd's credentials first.
    pub token_file: Key<PathBuf>,
    /// Names under which browsers may call this computer, besides its own.
    pub hosts: Key<Vec<String>>,
    /// File with more texts of the page.
    pub texts: Key<PathBuf>,
}

/// `[sparkplug]`: the same verdicts for a host that speaks Sparkplug B, through the broker of `[mqtt]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSparkplug {
    /// Sparkplug group.
    pub group: Key<String>,
    /// Sparkplug edge node; absent: the name of the line.
    pub node: Key<String>,
    /// Host application without which verdicts are stored.
    pub primary_host: Key<String>,
    /// Verdicts kept in memory while the broker or the primary host is away.
    pub max_stored: Key<usize>,
}

/// `[stop]`: how the service ends.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawStop {
    /// Longest time for draining and flushing, seconds.
    pub deadline_s: Key<f64>,
}

/// `[[camera]]`: the keys that every kind has.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCamera {
    /// Name of the camera; letters, digits, `_` and `-`.
    pub name: Key<String>,
    /// Kind: `directory`, `v4l2`, `rtsp`, `aravis`, `file`, `launch` or `synthetic`.
    pub source: Key<String>,
    /// Frames that may wait for the engine.
    pub queue: Key<usize>,
    /// `drop-oldest`, `reject`, or `wait` (directory and file only).
    pub when_full: Key<WhenFull>,
    /// Pause before a lost camera is opened again, milliseconds; doubles each time.
    pub reopen_min_ms: Key<u64>,
    /// Longest such pause, milliseconds.
    pub reopen_max_ms: Key<u64>,
    /// `[width, height]` of the frames, so that polygons can be checked before the camera is there.
    pub frame_size: Key<[u32; 2]>,
    /// `[camera.recipe]`: replaces single keys of `[recipe]` for this camera.
    #[serde(skip)]
    pub recipe: RawRecipe,
    /// `[camera.locate]`: how this camera's parts are found.
    #[serde(skip)]
    pub locate: Option<RawLocate>,
    /// `[camera.trigger]`: where this camera's parts come from.
    #[serde(skip)]
    pub trigger: RawTrigger,
    /// `[camera.view]`: what of its frames is looked at.
    #[serde(skip)]
    pub view: RawView,
    /// `[camera.levels]`: what the values of its sensor mean.
    #[serde(skip)]
    pub levels: Option<RawLevels>,
    /// The keys of its kind.
    #[serde(skip)]
    pub kind: Option<RawKind>,
    /// Where its table begins, bytes into the file.
    #[serde(skip)]
    pub at: usize,
}

/// `[camera.locate]`: how a camera's parts are found when they do not lie still.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLocate {
    /// File with a frame of a good part, as captured.
    pub picture: Key<PathBuf>,
    /// `[x, y, width, height]`: the piece of it that is looked for.
    pub rectangle: Key<[u32; 4]>,
    /// Largest shift along either axis, pixels.
    pub shift_px: Key<u32>,
    /// Largest turn either way, degrees.
    pub turn_degrees: Key<f32>,
    /// Least correlation of what is found with what was taught.
    pub least_score: Key<f32>,
    /// `no_verdict` or `fail`: what becomes of a part that is not found.
    pub missing: Key<Missing>,
}

/// `[camera.view]`: what of a camera's frames is looked at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawView {
    /// `[x, y, width, height]` in pixels of the captured frame.
    pub crop: Key<[u32; 4]>,
    /// 0, 90, 180 or 270 degrees clockwise.
    pub rotate: Key<u32>,
    /// `none`, `horizontal` or `vertical`, after the turn.
    pub flip: Key<Flip>,
    /// File with camera matrix and distortion, as OpenCV or ROS writes it.
    pub undistort: Key<PathBuf>,
    /// `{ size_px, overlap }` or `{ grid, overlap }`.
    pub tiles: Key<RawTiles>,
}

/// `tiles` in `[camera.view]`: one of both, and the overlap.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTiles {
    /// Side of the square tiles, pixels of the view.
    pub size_px: Option<u32>,
    /// Columns and rows of tiles over the whole view.
    pub grid: Option<[u32; 2]>,
    /// Least share of a tile that it has in common with the next one.
    pub overlap: Option<f32>,
}

/// `[camera.trigger]`: where a camera's parts come from.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTrigger {
    /// `free`, `hardware`, `software` or `matched`.
    pub mode: Key<TriggerMode>,
    /// `time` or `counter`; only with `matched`.
    #[serde(rename = "match")]
    pub pairing: Key<Pairing>,
    /// Longest time between a frame and the command that names it, milliseconds; only with `matched`.
    pub window_ms: Key<u64>,
    /// From trigger or capture until the part is given up, milliseconds.
    pub deadline_ms: Key<u64>,
}

/// `[camera.levels]`: from the values of the sensor to what the model sees.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLevels {
    /// Value that is black, and all below.
    pub black: Key<u16>,
    /// Value that is white, and all above.
    pub white: Key<u16>,
    /// Curve between them; above 1 brightens.
    pub gamma: Key<f32>,
}

/// The keys that only one kind of camera has.
#[derive(Clone, Debug)]
pub enum RawKind {
    /// A folder of images.
    Directory(RawDirectory),
    /// Video4Linux.
    V4l2(RawV4l2),
    /// RTSP.
    Rtsp(RawRtsp),
    /// GigE Vision or USB3 Vision.
    Aravis(RawAravis),
    /// A video file.
    File(RawFile),
    /// A GStreamer pipeline.
    Launch(RawLaunch),
    /// Synthetic products.
    Synthetic(RawSynthetic),
}

/// `source = "directory"`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawDirectory {
    /// Folder of images, taken in the order of their names; watched, in that of their times.
    pub path: Key<PathBuf>,
    /// Its subfolders, too.
    pub recursive: Key<bool>,
    /// Start again at the end.
    #[serde(rename = "loop")]
    pub repeat: Key<bool>,
    /// File name endings to take; absent: all that can be read.
    pub extensions: Key<Vec<String>>,
    /// Frames per second at most; absent: as fast as they are inspected.
    pub fps: Key<f64>,
    /// Wait for new files instead of ending; each is taken once, also across a restart.
    pub watch: Key<bool>,
}

/// `source = "v4l2"`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawV4l2 {
    /// Device node, best one of `/dev/v4l/by-id/`.
    pub device: Key<PathBuf>,
    /// Columns.
    pub width: Key<u32>,
    /// Rows.
    pub height: Key<u32>,
    /// Frames per second.
    pub fps: Key<u32>,
    /// `MJPG`, or GStreamer's name of a raw format such as `GRAY8` or `GRAY16_LE`, or of a mosaic such as `rggb`.
    pub format: Key<String>,
}

/// `source = "rtsp"`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRtsp {
    /// `rtsp://HOST[:PORT]/PATH`
    pub url: Key<String>,
    /// Jitter buffer, milliseconds.
    pub latency_ms: Key<u32>,
    /// `tcp` or `udp`.
    pub transport: Key<String>,
    /// User name.
    pub username: Key<String>,
    /// File whose first line is the password; a bare name is looked for among systemd's credentials first.
    pub password_file: Key<PathBuf>,
}

/// `source = "aravis"`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawAravis {
    /// Serial number, device id or IP address; absent: the first camera found.
    pub camera: Key<String>,
    /// Columns.
    pub width: Key<u32>,
    /// Rows.
    pub height: Key<u32>,
    /// Frames per second.
    pub fps: Key<u32>,
    /// Exposure, microseconds.
    pub exposure_us: Key<f64>,
    /// Gain, decibels.
    pub gain: Key<f64>,
    /// GenICam name, such as `Mono8`.
    pub pixel_format: Key<String>,
    /// GigE Vision packet, bytes.
    pub packet_size: Key<u32>,
    /// Find the largest packet that gets through.
    pub auto_packet_size: Key<bool>,
    /// GenICam trigger source such as `Line1`; absent: the camera runs free.
    pub trigger_source: Key<String>,
}

/// `source = "file"`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawFile {
    /// Video file.
    pub path: Key<PathBuf>,
    /// Start again at the end.
    #[serde(rename = "loop")]
    pub repeat: Key<bool>,
    /// At the file's frame rate, else as fast as frames are inspected.
    pub realtime: Key<bool>,
}

/// `source = "launch"`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLaunch {
    /// Pipeline in the language of `gst-launch-1.0`.
    pub description: Key<String>,
}

/// `source = "synthetic"`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSynthetic {
    /// Products that come along in turn, named as in `vcp-line synth`.
    pub classes: Key<Vec<String>>,
    /// Kinds of defects that may come; absent: all.
    pub defects: Key<Vec<String>>,
    /// Share of defective parts, 0 … 1.
    pub defective: Key<f64>,
    /// `[easiest, hardest]` defect, 0 obvious … 1 barely visible.
    pub difficulty: Key<[f32; 2]>,
    /// Side of the square pictures, pixels.
    pub size: Key<u32>,
    /// `[smallest, largest]` defect in pixels; with it, parts lie in large frames of `frame_size`.
    pub defect_px: Key<[f32; 2]>,
    /// Largest shift of a part in a large frame along either axis, pixels.
    pub shift_px: Key<f32>,
    /// Largest turn of a part in a large frame either way, degrees.
    pub turn_degrees: Key<f32>,
    /// All parts of a class in large frames are one product.
    pub one_product: Key<bool>,
    /// How the sensor delivers them: `rgb8`, `gray8` to `gray16`, `bayer_rggb8` and its kin.
    pub pixel_format: Key<String>,
    /// Parts per second.
    pub fps: Key<f64>,
    /// Trigger of the first part.
    pub first: Key<u64>,
    /// Parts until the line ends; absent: for ever.
    pub count: Key<u64>,
    /// Different pictures, made at the start; then they come again.
    pub pool: Key<u32>,
    /// Other numbers give other parts.
    pub seed: Key<u64>,
    /// File to which what every part really is is appended, a JSON line each.
    pub truth_file: Key<PathBuf>,
}

//! What a GStreamer camera is called and how it is set, whether or not GStreamer is in this build.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::levels::Glance;
pub use crate::secret::Secret;

/// How long opening a camera may take.
pub const START_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a free-running camera may be silent before it counts as lost: several times the interval of the slowest
/// cameras in use, and short enough that a part is not waved through unseen for long.
pub const MAX_SILENCE: Duration = Duration::from_secs(5);

/// Exposure that a GigE Vision or USB3 Vision camera may be set to, microseconds.
pub const EXPOSURE_US: RangeInclusive<f64> = 1.0..=60e6;

/// Gain likewise, decibels; the lower end is that of Aravis.
pub const GAIN: RangeInclusive<f64> = 0.0..=100.0;

/// GenICam names of the pixel formats that are taken from such a camera.
pub const PIXEL_FORMATS: &str = "Mono8, Mono10, Mono12, Mono14, Mono16, RGB8, BGR8, YUV422_8, YUV422_8_UYVY, BayerRG8, \
     BayerGR8, BayerGB8, BayerBG8";

/// Everything needed to open a camera through GStreamer.
#[derive(Clone, Debug, PartialEq)]
pub struct GStreamerSpec {
    /// Which camera, and its settings.
    pub input: GStreamerInput,
    /// Longest time from nothing to the first frame (to an open camera, where frames wait for a trigger).
    pub start_timeout: Duration,
    /// Longest time without a frame before the camera counts as lost; `None` lets it be silent for ever.
    pub max_silence: Option<Duration>,
}

/// One variant per kind of camera.
#[derive(Clone, PartialEq)]
pub enum GStreamerInput {
    /// A camera behind Video4Linux.
    V4l2(V4l2Spec),
    /// A network camera that speaks RTSP.
    Rtsp(RtspSpec),
    /// A GigE Vision or USB3 Vision camera, through Aravis.
    Aravis(AravisSpec),
    /// A video file.
    File(FileSpec),
    /// A pipeline in the language of `gst-launch-1.0`.
    Launch {
        /// The pipeline. Without an `appsink` in it, `! videoconvert ! appsink` is appended.
        description: String,
    },
}

/// Settings of a Video4Linux camera; `None` leaves the driver's choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct V4l2Spec {
    /// Device node, best one of `/dev/v4l/by-id/`, which survives plugging.
    pub device: PathBuf,
    /// Columns, pixels.
    pub width: Option<u32>,
    /// Rows, pixels.
    pub height: Option<u32>,
    /// Frames per second.
    pub fps: Option<u32>,
    /// `MJPG`, GStreamer's name of a raw format such as `GRAY8`, `GRAY16_LE` or `YUY2`, or of a mosaic such as `rggb`.
    pub format: Option<String>,
}

/// Settings of an RTSP camera.
#[derive(Clone, PartialEq, Eq)]
pub struct RtspSpec {
    /// `rtsp://HOST[:PORT]/PATH`; a `user:password@` in it is used and never shown.
    pub url: String,
    /// Size of the jitter buffer, milliseconds; 0 for a cabled network.
    pub latency_ms: u32,
    /// How the packets travel.
    pub transport: RtspTransport,
    /// User name, instead of the one in the URL.
    pub user: Option<String>,
    /// Password, instead of the one in the URL.
    pub password: Option<Secret>,
}

impl RtspSpec {
    /// An RTSP camera over TCP with a jitter buffer of 100 ms.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), latency_ms: 100, transport: RtspTransport::default(), user: None, password: None }
    }

    /// The URL without user and password, and these two: from their own settings, else from the URL.
    pub fn credentials(&self) -> (String, Option<String>, Option<Secret>) {
        let url = RtspUrl::split(&self.url);
        let (name, secret) = url.userinfo.split_once(':').unwrap_or((url.userinfo, ""));
        let in_url = |text: &str| (!text.is_empty()).then(|| percent_decode_str(text).decode_utf8_lossy().into_owned());
        let user = self.user.clone().or_else(|| in_url(name));
        let password = self.password.clone().or_else(|| in_url(secret).map(Secret::new));
        (format!("{}{}{}", url.scheme, url.host, url.path), user, password)
    }

    /// False when what stands between host and path is no port number, as when a `/` of the password ends the host.
    pub fn has_a_number_for_port(&self) -> bool {
        // The colons of an IPv6 address stand in brackets.
        let behind = RtspUrl::split(&self.url).host.rsplit(']').next().unwrap_or_default();
        behind.split_once(':').is_none_or(|(_, port)| port.bytes().all(|digit| digit.is_ascii_digit()))
    }
}

/// The parts of an RTSP URL, none of them changed: a camera gets the path exactly as it was written, and passwords
/// need not be escaped as strictly as a reader of URLs by the standard would have it.
struct RtspUrl<'a> {
    /// With its `://`; empty when there is none, and then everything is the path.
    scheme: &'a str,
    /// `user:password` without the `@` behind it.
    userinfo: &'a str,
    /// `host[:port]`
    host: &'a str,
    path: &'a str,
}

impl<'a> RtspUrl<'a> {
    fn split(url: &'a str) -> Self {
        let Some(at) = url.find("://") else { return Self { scheme: "", userinfo: "", host: "", path: url } };
        let (scheme, rest) = url.split_at(at + "://".len());
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (userinfo, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        Self { scheme, userinfo, host, path }
    }
}

/// How RTP packets travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RtspTransport {
    /// Inside the RTSP connection: no packet is lost, firewalls agree.
    #[default]
    Tcp,
    /// Datagrams: a late packet is a lost packet.
    Udp,
}

/// Settings of a GigE Vision or USB3 Vision camera; `None` leaves what is stored in the camera.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AravisSpec {
    /// Serial number, device id or IP address as `arv-tool` prints it; `None` takes the first camera found.
    pub camera: Option<String>,
    /// Columns, pixels.
    pub width: Option<u32>,
    /// Rows, pixels.
    pub height: Option<u32>,
    /// Frames per second.
    pub fps: Option<u32>,
    /// Exposure time, microseconds.
    pub exposure_us: Option<f64>,
    /// Gain, decibels.
    pub gain: Option<f64>,
    /// GenICam name, one of [`PIXEL_FORMATS`]; required, because aravissrc writes one in any case.
    pub pixel_format: Option<String>,
    /// Size of a GigE Vision packet, bytes; must fit the MTU of every device between here and the camera.
    pub packet_size: Option<u32>,
    /// Let Aravis find the largest packet that gets through. Off where `packet_size` is given.
    pub auto_packet_size: bool,
    /// GenICam trigger source such as `Line1`; nobody here sends the signal of `Software`. `None` lets the camera run free.
    pub trigger_source: Option<String>,
}

/// A video file as a camera.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSpec {
    /// The file; every container and codec that is installed.
    pub path: PathBuf,
    /// Start again at the end.
    pub repeat: bool,
    /// Deliver at the file's frame rate, else as fast as frames are taken.
    pub realtime: bool,
}

impl GStreamerSpec {
    /// The usual deadlines for this kind of camera: triggered cameras, files and hand-written pipelines may be silent.
    pub fn new(input: GStreamerInput) -> Self {
        let free_running = match &input {
            GStreamerInput::V4l2(_) | GStreamerInput::Rtsp(_) => true,
            GStreamerInput::Aravis(camera) => camera.trigger_source.is_none(),
            GStreamerInput::File(_) | GStreamerInput::Launch { .. } => false,
        };
        Self { input, start_timeout: START_TIMEOUT, max_silence: free_running.then_some(MAX_SILENCE) }
    }

    /// Bits of a value that the camera uses, where its format says so.
    pub fn significant_bits(&self) -> Option<u32> {
        match &self.input {
            GStreamerInput::Aravis(camera) => match camera.pixel_format.as_deref() {
                Some("Mono10") => Some(10),
                Some("Mono12") => Some(12),
                Some("Mono14") => Some(14),
                _ => None,
            },
            _ => None,
        }
    }

    /// The camera's address for messages: device, URL, serial number or pipeline, without passwords.
    pub fn address(&self) -> String {
        match &self.input {
            GStreamerInput::V4l2(camera) => camera.device.display().to_string(),
            GStreamerInput::Rtsp(camera) => redacted(&camera.credentials().0),
            GStreamerInput::Aravis(camera) => camera.camera.clone().unwrap_or_else(|| "first Aravis camera".to_owned()),
            GStreamerInput::File(file) => file.path.display().to_string(),
            GStreamerInput::Launch { description } => redacted(description),
        }
    }
}

/// What a camera delivers, as found by trying it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Columns and rows of a frame, pixels; `None` when the camera waits for its trigger and none came.
    pub size: Option<(u32, u32)>,
    /// For people, such as `640x480 Gray8 at 25/1 fps`.
    pub description: String,
    /// What its first pictures say of their levels.
    pub glance: Glance,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description)
    }
}

impl fmt::Debug for GStreamerInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4l2(settings) => settings.fmt(f),
            Self::Rtsp(settings) => settings.fmt(f),
            Self::Aravis(settings) => settings.fmt(f),
            Self::File(settings) => settings.fmt(f),
            Self::Launch { description } => {
                f.debug_struct("Launch").field("description", &redacted(description)).finish()
            }
        }
    }
}

impl fmt::Debug for RtspSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RtspSpec")
            .field("url", &redacted(&self.url))
            .field("latency_ms", &self.latency_ms)
            .field("transport", &self.transport)
            .field("user", &self.user)
            .field("password", &self.password)
            .finish()
    }
}

/// Endings of the names of secret settings.
const SECRETS: [&str; 5] = ["-pw", "password", "passwd", "passphrase", "-key"];

/// The text, its white space collapsed, with every `user:password@` of a URL and every `…-pw=`, `password=` or `…-key=`
/// property hidden. Where quotes or a `/` in a password make it doubtful what is secret, more is hidden, never less.
pub fn redacted(text: &str) -> String {
    let mut plain = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for (spaced, tight) in [(" =", "="), ("= ", "=")] {
        plain = plain.replace(spaced, tight);
    }
    words(&plain).into_iter().map(hidden).collect::<Vec<_>>().join(" ")
}

/// Splits at spaces that are neither quoted nor escaped.
fn words(text: &str) -> Vec<&str> {
    let (mut words, mut from) = (Vec::new(), 0);
    let (mut quote, mut escaped) = (None, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' | '\'' if quote.is_none() => quote = Some(letter),
            _ if quote == Some(letter) => quote = None,
            ' ' if quote.is_none() => {
                words.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    words.push(&text[from..]);
    words
}

fn hidden(word: &str) -> String {
    let mut word = word.to_owned();
    if let Some((before, rest)) = word.split_once("://")
        && let Some(at) = rest.rfind('@')
    {
        word = format!("{before}://***@{}", &rest[at + 1..]);
    }
    let is_secret = |key: &str| SECRETS.iter().any(|ending| key.to_ascii_lowercase().ends_with(ending));
    if let Some((at, _)) = word.match_indices('=').find(|(at, _)| is_secret(&word[..*at])) {
        word.truncate(at);
        word.push_str("=***");
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_leave_the_url() {
        let spec = RtspSpec::new("rtsp://ann:p%40ss@10.0.0.5:8554/a@b");
        let (url, user, password) = spec.credentials();
        assert_eq!(url, "rtsp://10.0.0.5:8554/a@b");
        assert_eq!(user.as_deref(), Some("ann"));
        assert_eq!(password.as_ref().map(Secret::reveal), Some("p@ss"));
        let own = RtspSpec { user: Some("bob".into()), password: Some(Secret::new("x")), ..spec };
        assert_eq!(own.credentials().1.as_deref(), Some("bob"));
    }

    #[test]
    fn passwords_are_never_shown() {
        let mut rtsp = RtspSpec::new("rtsp://10.0.0.5/stream");
        rtsp.password = Some(Secret::new("hunter2"));
        assert!(!format!("{rtsp:?}").contains("hunter2"));
        let in_url = GStreamerSpec::new(GStreamerInput::Rtsp(RtspSpec::new("rtsp://ann:hunter2@10.0.0.5/stream")));
        assert_eq!(in_url.address(), "rtsp://10.0.0.5/stream");
        assert!(!format!("{in_url:?}").contains("hunter2"));
        let launch = GStreamerInput::Launch { description: "rtspsrc user-pw=hunter2".into() };
        assert!(!format!("{launch:?}").contains("hunter2"));
        assert_eq!(
            redacted("rtspsrc location=rtsp://ann:hunter2@10.0.0.5/s user-pw=hunter2 latency=0 ! decodebin"),
            "rtspsrc location=rtsp://***@10.0.0.5/s user-pw=*** latency=0 ! decodebin"
        );
    }

    #[test]
    fn passwords_are_hidden_however_they_are_written() {
        for (text, shown) in [
            ("rtspsrc user-id=ann\nuser-pw=hunter2\n\t! decodebin", "rtspsrc user-id=ann user-pw=*** ! decodebin"),
            ("rtspsrc user-pw = hunter2 latency=0", "rtspsrc user-pw=*** latency=0"),
            ("rtspsrc user-pw=\"hunter two\" latency=0", "rtspsrc user-pw=*** latency=0"),
            ("rtspsrc user-pw=hunter\\ two ! x", "rtspsrc user-pw=*** ! x"),
            ("rtspsrc \"user-pw=hunter two\" ! x", "rtspsrc \"user-pw=*** ! x"),
            ("rtspsrc user-pw='hunter two never closed", "rtspsrc user-pw=***"),
            ("rtspsrc location=rtsp://ann:hun/ter@host/x ! y", "rtspsrc location=rtsp://***@host/x ! y"),
            (
                "souphttpsrc location=http://host/?user=ann&Password=hunter2",
                "souphttpsrc location=http://host/?user=ann&Password=***",
            ),
        ] {
            assert_eq!(redacted(text), shown);
        }
        let slash = RtspSpec::new("rtsp://ann:hun/ter@host/x");
        assert!(!slash.has_a_number_for_port());
        assert!(
            !format!("{slash:?}").contains("hun")
                && !GStreamerSpec::new(GStreamerInput::Rtsp(slash)).address().contains("hun")
        );
        for fine in ["rtsp://host/x", "rtsp://host:8554/a:b@c", "rtsp://[::1]/x", "rtsp://ann:p:w@[::1]:554/x"] {
            assert!(RtspSpec::new(fine).has_a_number_for_port(), "{fine}");
        }
    }

    #[test]
    fn only_free_running_cameras_must_not_be_silent() {
        let triggered = AravisSpec { trigger_source: Some("Line1".into()), ..AravisSpec::default() };
        assert_eq!(GStreamerSpec::new(GStreamerInput::Aravis(triggered)).max_silence, None);
        assert_eq!(
            GStreamerSpec::new(GStreamerInput::Aravis(AravisSpec::default())).max_silence,
            Some(Duration::from_secs(5))
        );
    }
}

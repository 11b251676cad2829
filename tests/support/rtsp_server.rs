//! A real RTSP camera on loopback: a small C program around libgstrtspserver, compiled once per test run.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// How the pictures travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Motion JPEG (gstreamer1.0-plugins-good on both sides).
    Jpeg,
    /// H.264 (x264enc of gstreamer1.0-plugins-ugly, or openh264enc of -bad).
    H264,
}

/// A running server; ends with the value, and also when the test process dies.
pub struct RtspServer {
    child: Child,
    address: String,
    port: u16,
}

impl RtspServer {
    /// Serves a red picture on 127.0.0.1, on a port the system chooses.
    pub fn start(codec: Codec, width: u32, height: u32, fps: u32) -> Self {
        Self::start_with(&red(width, height, fps), codec)
    }

    /// The same on a port that a client already knows.
    pub fn start_at(port: u16, codec: Codec, width: u32, height: u32, fps: u32) -> Self {
        Self::listening(port, &red(width, height, fps), codec)
    }

    /// Serves whatever `picture`, a launch line that ends in raw video, shows.
    pub fn start_with(picture: &str, codec: Codec) -> Self {
        Self::listening(0, picture, codec)
    }

    fn listening(port: u16, picture: &str, codec: Codec) -> Self {
        let coded = match codec {
            Codec::Jpeg => "jpegenc quality=95 ! rtpjpegpay name=pay0 pt=26".to_owned(),
            Codec::H264 => format!("{} ! rtph264pay name=pay0 pt=96 config-interval=1", h264_encoder()),
        };
        let address = "127.0.0.1".to_owned();
        let mut child = Command::new(program())
            .args([
                &address,
                &port.to_string(),
                &format!("( {picture} ! videoconvert ! video/x-raw,format=I420 ! {coded} )"),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the RTSP server starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("the RTSP server prints its port");
        Self { child, address, port }
    }

    /// Where the stream is.
    pub fn url(&self) -> String {
        format!("rtsp://{}:{}/line", self.address, self.port)
    }

    /// Stops sending without closing anything, as a pulled cable does.
    pub fn freeze(&self) {
        signal(self.child.id(), "STOP");
    }

    /// Sends again.
    pub fn thaw(&self) {
        signal(self.child.id(), "CONT");
    }
}

impl Drop for RtspServer {
    fn drop(&mut self) {
        self.child.kill().expect("the RTSP server can be killed");
        self.child.wait().expect("the RTSP server ends");
    }
}

fn red(width: u32, height: u32, fps: u32) -> String {
    format!("videotestsrc is-live=true pattern=red ! video/x-raw,width={width},height={height},framerate={fps}/1")
}

fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().unwrap();
    assert!(status.success());
}

fn h264_encoder() -> &'static str {
    let exists = |element: &str| {
        Command::new("gst-inspect-1.0")
            .args(["--exists", element])
            .status()
            .expect("gst-inspect-1.0 of the Debian package gstreamer1.0-tools")
            .success()
    };
    if exists("x264enc") {
        "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25"
    } else if exists("openh264enc") {
        "openh264enc gop-size=25"
    } else {
        panic!("no H.264 encoder: install the Debian package gstreamer1.0-plugins-ugly")
    }
}

/// The compiled server, under cargo's directory for test files. Each process compiles its own copy, because tests of
/// several binaries may run side by side.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("rtsp_server-{}", env!("CARGO_CRATE_NAME")));
        let flags = Command::new("pkg-config")
            .args(["--cflags", "--libs", "gstreamer-rtsp-server-1.0"])
            .output()
            .expect("pkg-config is installed");
        assert!(flags.status.success(), "install the Debian package libgstrtspserver-1.0-dev");
        let flags = String::from_utf8(flags.stdout).unwrap();
        let status = Command::new("cc")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/rtsp_server.c"))
            .arg("-o")
            .arg(&program)
            .args(flags.split_whitespace())
            .status()
            .expect("a C compiler is installed");
        assert!(status.success(), "tests/support/rtsp_server.c does not compile");
        program
    })
}

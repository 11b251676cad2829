//! The GStreamer source against real pipelines, files and an RTSP server.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::rtsp_server::{Codec, RtspServer};
use vcp_line::clock::SystemClock;
use vcp_line::frame::{Frame, PixelFormat};
use vcp_line::source::gstreamer::{GStreamerSource, probe};
use vcp_line::source::gstreamer_spec::{
    FileSpec, GStreamerInput, GStreamerSpec, RtspSpec, RtspTransport, Secret, V4l2Spec,
};
use vcp_line::source::{Source, SourceContext, SourceError};

const PATIENCE: Duration = Duration::from_secs(10);

fn context() -> SourceContext {
    SourceContext { camera: "top".into(), clock: Arc::new(SystemClock) }
}

fn launch(description: &str) -> GStreamerSpec {
    GStreamerSpec::new(GStreamerInput::Launch { description: description.to_owned() })
}

fn file(path: &Path, repeat: bool) -> GStreamerSpec {
    GStreamerSpec::new(GStreamerInput::File(FileSpec { path: path.to_owned(), repeat, realtime: false }))
}

fn open(spec: GStreamerSpec) -> GStreamerSource {
    GStreamerSource::open(spec, context()).unwrap()
}

fn refusal(spec: GStreamerSpec) -> SourceError {
    match GStreamerSource::open(spec, context()) {
        Ok(_) => panic!("the camera opened"),
        Err(error) => error,
    }
}

fn frame(source: &mut GStreamerSource) -> Frame {
    source.next(PATIENCE).unwrap().expect("a frame within ten seconds")
}

/// Takes frames until the source reports why there are no more.
fn drain(source: &mut GStreamerSource) -> (Vec<Frame>, SourceError) {
    let mut frames = Vec::new();
    loop {
        match source.next(PATIENCE) {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => panic!("silence after {} frames", frames.len()),
            Err(end) => return (frames, end),
        }
    }
}

/// A file of raw bytes as frames: what goes in is known byte by byte.
fn raw_source(dir: &Path, format: &str, width: usize, height: usize, bytes: &[u8]) -> GStreamerSpec {
    let path = dir.join(format!("{format}-{width}x{height}.raw"));
    std::fs::write(&path, bytes).unwrap();
    launch(&format!(
        "filesrc location={} ! rawvideoparse format={format} width={width} height={height} framerate=5/1",
        path.display()
    ))
}

fn round_up_4(bytes: usize) -> usize {
    bytes.div_ceil(4) * 4
}

#[test]
fn grey_rgb_and_bgr_arrive_byte_for_byte_at_odd_sizes() {
    let dir = tempfile::tempdir().unwrap();
    for (format, bytes_per_pixel, expected) in
        [("gray8", 1, PixelFormat::Gray8), ("rgb", 3, PixelFormat::Rgb8), ("bgr", 3, PixelFormat::Bgr8)]
    {
        for (width, height) in [(641, 479), (33, 17), (1, 1), (64, 48), (7, 3)] {
            let row = width * bytes_per_pixel;
            let tight: Vec<u8> = (0..row * height).map(|i| (i * 31 + i / row * 7) as u8).collect();
            // Rows as GStreamer lays them out: each begins at a multiple of four bytes.
            let mut padded = Vec::new();
            for line in tight.chunks(row) {
                padded.extend_from_slice(line);
                padded.resize(padded.len() + round_up_4(row) - row, 0xEE);
            }
            let mut source = open(raw_source(dir.path(), format, width, height, &padded));
            let (frames, end) = drain(&mut source);
            assert!(matches!(end, SourceError::Ended { .. }), "{end}");
            assert_eq!(frames.len(), 1, "{format} {width}x{height}");
            let image = &frames[0].image;
            assert_eq!((image.width as usize, image.height as usize, image.format), (width, height, expected));
            assert_eq!(image.data(), tight, "{format} {width}x{height}");
        }
    }
}

#[test]
fn solid_colours_survive_every_wire_format() {
    for (wire, expected) in [("GRAY8", PixelFormat::Gray8), ("RGB", PixelFormat::Rgb8), ("BGR", PixelFormat::Bgr8)]
        .into_iter()
        .chain(["NV12", "I420", "YUY2", "BGRx", "RGBA"].map(|wire| (wire, PixelFormat::Bgr8)))
    {
        for (width, height) in [(641, 479), (33, 17)] {
            // Two pixels of YUY2 share their colour: no camera sends an odd width of it, and GStreamer 1.22 gets the
            // colour of a lone last column wrong.
            let width = if wire == "YUY2" { width + 1 } else { width };
            let description = format!(
                "videotestsrc num-buffers=2 pattern=solid-color foreground-color=0xff2864c8 ! \
                 video/x-raw,format={wire},width={width},height={height},framerate=30/1"
            );
            let mut source = open(launch(&description));
            let image = frame(&mut source).image;
            assert_eq!((image.width, image.height, image.format), (width, height, expected), "{wire}");
            let grey = expected == PixelFormat::Gray8;
            for (x, y) in [(0, 0), (width - 1, 0), (width / 2, height / 2), (0, height - 1), (width - 1, height - 1)] {
                let [r, g, b] = image.rgb_at(x, y);
                // Luminance of the colour is 93 or 94; YUV with 8 bits cannot hold the colour more exactly than this.
                let wanted = if grey { [94; 3] } else { [0x28, 0x64, 0xc8] };
                let tolerance = if matches!(wire, "RGB" | "BGR" | "BGRx" | "RGBA") { 0 } else { 5 };
                for (got, wanted) in [r, g, b].into_iter().zip(wanted) {
                    assert!(got.abs_diff(wanted) <= tolerance, "{wire} at {x},{y}: {r},{g},{b}");
                }
            }
        }
    }
}

#[test]
fn frames_are_numbered_named_and_stamped() {
    let mut source = open(launch("videotestsrc num-buffers=20 ! video/x-raw,format=GRAY8,width=32,height=32"));
    let (frames, end) = drain(&mut source);
    assert_eq!(end.to_string(), "camera 'top': no more frames");
    assert_eq!(frames.iter().map(|frame| frame.seq).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
    assert!(frames.iter().all(|frame| &*frame.camera == "top" && frame.part.is_none()));
    assert!(frames.is_sorted_by_key(|frame| frame.captured.monotonic));
}

#[test]
fn a_slow_reader_of_a_live_camera_sees_the_newest_frames_and_the_gap() {
    let mut source = open(launch("videotestsrc is-live=true ! video/x-raw,width=32,height=32,framerate=50/1"));
    let first = frame(&mut source);
    std::thread::sleep(Duration::from_millis(600));
    let (second, third) = (frame(&mut source), frame(&mut source));
    assert!(second.seq > first.seq + 10, "{} after {}", second.seq, first.seq);
    assert_eq!(third.seq, second.seq + 1);
    assert!(third.captured.monotonic.elapsed() < Duration::from_millis(200));
}

#[test]
fn an_appsink_of_the_users_own_is_used() {
    for sink in
        ["appsink", "appsink name=sink sync=false", "tee name=t ! queue ! fakesink t. ! queue ! appsink name=other"]
    {
        let description = format!("videotestsrc num-buffers=3 ! video/x-raw,format=RGB,width=33,height=17 ! {sink}");
        let (frames, _) = drain(&mut open(launch(&description)));
        assert_eq!(frames.len(), 3, "{sink}");
    }
}

#[test]
fn a_pipeline_that_waits_for_its_trigger_is_idle_not_lost() {
    let mut spec = launch("appsrc is-live=true caps=video/x-raw,format=GRAY8,width=8,height=8,framerate=0/1");
    spec.start_timeout = Duration::from_millis(300);
    let mut source = open(spec);
    assert!(source.next(Duration::from_millis(200)).unwrap().is_none());
    source.stop();
    source.stop();
    assert!(source.next(Duration::from_millis(10)).unwrap().is_none());
}

fn video_file(dir: &Path, frames: u32) -> std::path::PathBuf {
    let path = dir.join("part.avi");
    let status = std::process::Command::new("gst-launch-1.0")
        .args(["-q", "videotestsrc", &format!("num-buffers={frames}"), "pattern=ball", "!"])
        .args(["video/x-raw,width=160,height=120,framerate=30/1", "!", "jpegenc", "!", "avimux", "!", "filesink"])
        .arg(format!("location={}", path.display()))
        .status()
        .expect("gst-launch-1.0 of the Debian package gstreamer1.0-tools");
    assert!(status.success());
    path
}

#[test]
fn a_video_file_gives_all_its_frames_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = video_file(dir.path(), 30);
    let (frames, end) = drain(&mut open(file(&path, false)));
    assert_eq!(frames.len(), 30);
    assert!(matches!(end, SourceError::Ended { .. }), "{end}");
    assert_eq!(frames[29].seq, 29);
    assert_ne!(frames[0].image, frames[29].image);
}

#[test]
fn a_repeated_file_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = video_file(dir.path(), 10);
    let mut source = open(file(&path, true));
    let frames: Vec<_> = (0..25).map(|_| frame(&mut source)).collect();
    assert_eq!(frames.iter().map(|frame| frame.seq).collect::<Vec<_>>(), (0..25).collect::<Vec<_>>());
    assert_eq!(frames[3].image, frames[13].image);
    assert_eq!(frames[4].image, frames[24].image);
    assert_ne!(frames[3].image, frames[14].image);
}

#[test]
fn a_file_in_real_time_takes_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = video_file(dir.path(), 30);
    let spec = FileSpec { path, repeat: false, realtime: true };
    let began = Instant::now();
    let (frames, _) = drain(&mut open(GStreamerSpec::new(GStreamerInput::File(spec))));
    assert_eq!(frames.len(), 30);
    assert!(began.elapsed() > Duration::from_millis(900), "{:?}", began.elapsed());
}

#[test]
fn files_that_are_no_video_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent.avi");
    assert_eq!(
        refusal(file(&absent, false)).to_string(),
        format!("camera 'top': {}: No such file or directory (os error 2)", absent.display())
    );
    let text = dir.path().join("notes.txt");
    std::fs::write(&text, "not a video\n".repeat(100)).unwrap();
    let error = refusal(file(&text, false)).to_string();
    assert!(error.starts_with(&format!("camera 'top': {}: ", text.display())), "{error}");
}

#[test]
fn a_missing_decoder_is_named_only_where_the_pictures_need_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sound.avi");
    let status = std::process::Command::new("gst-launch-1.0")
        .args("-q videotestsrc num-buffers=10 ! video/x-raw,width=64,height=48 ! jpegenc ! avimux name=file".split(' '))
        .args("audiotestsrc num-buffers=10 ! alawenc ! file. file. ! filesink".split(' '))
        .arg(format!("location={}", path.display()))
        .status()
        .expect("gst-launch-1.0 of the Debian package gstreamer1.0-tools");
    assert!(status.success());
    let mut bytes = std::fs::read(&path).unwrap();
    // A sound format that does not exist: the number behind the header of the second stream's format.
    let formats: Vec<usize> = bytes.windows(4).enumerate().filter(|(_, w)| w == b"strf").map(|(at, _)| at).collect();
    let sound = formats[1] + 8;
    assert_eq!(bytes[sound..sound + 2], [6, 0]);
    bytes[sound..sound + 2].fill(0x7e);
    std::fs::write(&path, &bytes).unwrap();
    let (frames, end) = drain(&mut open(file(&path, false)));
    assert!(frames.len() == 10 && matches!(end, SourceError::Ended { .. }), "{} frames, {end}", frames.len());

    while let Some(at) = bytes.windows(4).position(|window| window == b"MJPG") {
        bytes[at..at + 4].copy_from_slice(b"XQZW");
    }
    std::fs::write(&path, &bytes).unwrap();
    let error = refusal(file(&path, false));
    assert!(matches!(&error, SourceError::ElementMissing { element, .. } if element.contains("video")), "{error}");
}

#[test]
fn wrong_pipelines_are_explained() {
    for (description, expected) in [
        ("", "camera 'top': the pipeline is empty; a first try is `videotestsrc`".to_owned()),
        (
            "videotestsrc ! nosuchelement",
            "camera 'top' needs the GStreamer element 'nosuchelement': install the Debian package that contains it \
             (`apt-file search`, or gstreamer1.0-plugins-bad and -ugly to begin with)"
                .to_owned(),
        ),
        (
            "videotestsrc colour=red",
            "camera 'top': the pipeline 'videotestsrc colour=red ! videoconvert ! appsink name=vcp_line_sink \
             sync=false': no property \"colour\" in element \"videotestsrc\""
                .to_owned(),
        ),
        (
            "videotestsrc ! fakesink",
            "camera 'top': the pipeline 'videotestsrc ! fakesink ! videoconvert ! appsink name=vcp_line_sink \
             sync=false': could not link fakesink0 to videoconvert0"
                .to_owned(),
        ),
    ] {
        let said = refusal(launch(description)).to_string();
        // Elements are counted per process, so the number behind a name depends on the tests before.
        let without_digits = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
        assert_eq!(without_digits(&said), without_digits(&expected));
    }
    let error = refusal(launch("videotestsrc ! video/x-raw,format=NV12 ! appsink caps=video/x-raw,format=NV12"));
    assert!(error.to_string().contains("put `videoconvert` before it"), "{error}");
    assert!(!error.is_transient());
}

#[test]
fn an_absent_v4l2_camera_is_named() {
    let device = "/dev/v4l/by-id/absent".into();
    let error = refusal(GStreamerSpec::new(GStreamerInput::V4l2(V4l2Spec { device, ..V4l2Spec::default() })));
    assert_eq!(
        error.to_string(),
        "camera 'top' (/dev/v4l/by-id/absent) is not reachable: there is no such device; `v4l2-ctl --list-devices` \
         lists those there are"
    );
    assert!(error.is_transient());
}

#[test]
fn an_unreachable_rtsp_camera_is_named_without_its_password() {
    // A port that was free a moment ago: nobody listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut camera = RtspSpec::new(format!("rtsp://ann:hunter2@127.0.0.1:{port}/line"));
    camera.password = Some(Secret::new("hunter3"));
    let began = Instant::now();
    let error = refusal(GStreamerSpec::new(GStreamerInput::Rtsp(camera)));
    assert!(began.elapsed() < Duration::from_secs(11), "{:?}", began.elapsed());
    assert_eq!(
        error.to_string(),
        format!(
            "camera 'top' (rtsp://127.0.0.1:{port}/line) is not reachable: Could not open resource for reading and \
             writing. Failed to connect. (Generic error)"
        )
    );
    assert!(error.is_transient() && !format!("{error:?}").contains("hunter"));
}

#[test]
fn an_rtsp_camera_that_never_answers_ends_the_wait() {
    // Accepts connections by its backlog and says nothing.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("rtsp://{}/line", mute.local_addr().unwrap());
    let mut spec = GStreamerSpec::new(GStreamerInput::Rtsp(RtspSpec::new(&url)));
    spec.start_timeout = Duration::from_secs(2);
    let began = Instant::now();
    let error = refusal(spec);
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    assert_eq!(error.to_string(), format!("camera 'top' ({url}) is not reachable: no frame for 2 s"));
}

#[test]
fn an_rtsp_camera_delivers_over_tcp_and_udp() {
    for (codec, transport) in
        [(Codec::Jpeg, RtspTransport::Tcp), (Codec::H264, RtspTransport::Tcp), (Codec::Jpeg, RtspTransport::Udp)]
    {
        let server = RtspServer::start(codec, 320, 240, 25);
        let camera = RtspSpec { transport, ..RtspSpec::new(server.url()) };
        let mut source = open(GStreamerSpec::new(GStreamerInput::Rtsp(camera)));
        let frames: Vec<_> = (0..10).map(|_| frame(&mut source)).collect();
        for frame in &frames {
            assert_eq!((frame.image.width, frame.image.height), (320, 240), "{codec:?} {transport:?}");
            // The server paints red; what lossy coding leaves of it is still unmistakable.
            let [r, g, b] = frame.image.rgb_at(160, 120);
            assert!(r > 220 && g < 40 && b < 40, "{codec:?} {transport:?}: {r},{g},{b}");
        }
    }
}

#[test]
fn an_rtsp_camera_that_goes_away_is_lost_soon() {
    let server = RtspServer::start(Codec::Jpeg, 160, 120, 25);
    let url = server.url();
    let mut source = open(GStreamerSpec::new(GStreamerInput::Rtsp(RtspSpec::new(&url))));
    frame(&mut source);
    drop(server);
    let began = Instant::now();
    let (_, error) = drain(&mut source);
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    assert!(matches!(&error, SourceError::Lost { address, .. } if *address == url), "{error}");
    assert!(error.is_transient());
}

#[test]
fn an_rtsp_camera_that_falls_silent_is_lost() {
    let server = RtspServer::start(Codec::Jpeg, 160, 120, 25);
    let mut spec = GStreamerSpec::new(GStreamerInput::Rtsp(RtspSpec::new(server.url())));
    spec.max_silence = Some(Duration::from_secs(1));
    let mut source = open(spec);
    frame(&mut source);
    server.freeze();
    let (_, error) = drain(&mut source);
    assert!(error.to_string().ends_with("is not reachable: no frame for 1 s"), "{error}");
}

#[test]
fn probing_describes_the_camera() {
    let spec = launch("videotestsrc ! video/x-raw,format=GRAY8,width=641,height=479,framerate=30/1");
    let found = probe(spec, context()).unwrap();
    assert_eq!((found.size, found.to_string().as_str()), (Some((641, 479)), "641x479 Gray8 at 30/1 fps"));
    let mut idle = launch("appsrc is-live=true caps=video/x-raw,format=GRAY8,width=8,height=8,framerate=0/1");
    idle.start_timeout = Duration::from_millis(200);
    let found = probe(idle, context()).unwrap();
    assert_eq!(found.size, None);
    assert!(found.description.starts_with("open, no frame within"), "{found}");
}

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

/// Why a camera delivers nothing, at once or after it was opened.
fn ending(spec: GStreamerSpec) -> String {
    match GStreamerSource::open(spec, context()) {
        Ok(mut source) => drain(&mut source).1.to_string(),
        Err(error) => error.to_string(),
    }
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

/// A pipeline that shows one frame of these bytes with these caps, as a driver hands them on.
fn bytes_as(dir: &Path, caps: &str, bytes: &[u8]) -> GStreamerSpec {
    std::fs::write(dir.join("frame0.raw"), bytes).unwrap();
    launch(&format!(
        "multifilesrc location={}/frame%d.raw stop-index=0 caps=\"{caps},framerate=(fraction)5/1\"",
        dir.display()
    ))
}

/// What is deep stays deep, byte for byte, in either order of bytes and at odd sizes.
#[test]
fn grey_of_16_bits_arrives_whole() {
    let dir = tempfile::tempdir().unwrap();
    for (width, height) in [(5usize, 3usize), (64, 48), (1, 1)] {
        let values: Vec<u16> = (0..width * height).map(|at| (at * 709 + 3) as u16 % 4096).collect();
        for big_endian in [false, true] {
            let word = |value: &u16| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
            let mut padded = Vec::new();
            for row in values.chunks(width) {
                padded.extend(row.iter().flat_map(word));
                padded.resize(padded.len() + round_up_4(width * 2) - width * 2, 0xEE);
            }
            let format = if big_endian { "GRAY16_BE" } else { "GRAY16_LE" };
            let caps = format!("video/x-raw,format={format},width={width},height={height}");
            let spec = bytes_as(dir.path(), &caps, &padded);
            let (frames, end) = drain(&mut open(spec));
            assert!(matches!(end, SourceError::Ended { .. }), "{end}");
            let image = &frames[0].image;
            let found: Vec<u16> = image.data().chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
            assert_eq!((image.format, &image.levels, found), (PixelFormat::Gray16, &None, values.clone()), "{format}");
        }
    }
    // Who converts by hand has chosen how.
    let by_hand = "videotestsrc num-buffers=2 ! video/x-raw,format=GRAY16_LE,width=64,height=48 ! videoconvert ! \
                   video/x-raw,format=GRAY8";
    assert_eq!(frame(&mut open(launch(by_hand))).image.format, PixelFormat::Gray8);
}

/// Colours and grey of 10 and 12 bits come through the converter with 16, and nothing of them is lost.
#[test]
fn deep_formats_keep_their_depth_through_the_converter() {
    for (wire, expected, white) in [
        ("I420_10LE", PixelFormat::Rgb16, Some(65_535)),
        ("Y444_12LE", PixelFormat::Rgb16, Some(65_535)),
        ("GRAY10_LE32", PixelFormat::Gray16, Some(65_535)),
        ("ARGB64", PixelFormat::Rgb16, None),
        ("GRAY16_BE", PixelFormat::Gray16, None),
    ] {
        let description =
            format!("videotestsrc num-buffers=2 pattern=smpte ! video/x-raw,format={wire},width=64,height=48");
        let image = frame(&mut open(launch(&description))).image;
        assert_eq!((image.format, image.levels.as_ref().map(|levels| levels.white())), (expected, white), "{wire}");
        // The left bar is 75 % white, the second yellow.
        let [r, g, b] = image.rgb_at(2, 10);
        assert!(r.abs_diff(g) <= 2 && g.abs_diff(b) <= 2 && r > 170, "{wire}: {r} {g} {b}");
        if expected == PixelFormat::Rgb16 {
            let [r, g, b] = image.rgb_at(14, 10);
            assert!(r > 170 && g > 170 && b < 30, "{wire}: {r} {g} {b}");
        }
    }
}

/// All four orders, in 8 bits as every GStreamer names them, in 12 as 1.24 does, and by GenICam's names where there is none.
#[cfg(feature = "opencv")]
#[test]
fn mosaics_of_every_order_and_depth_show_their_colours() {
    use vcp_line::source::sensor_format::{BayerOrder, mosaic};
    let dir = tempfile::tempdir().unwrap();
    let (width, height) = (32usize, 8usize);
    let areas = [[200u8, 10, 30], [20, 180, 40], [15, 35, 220], [250, 200, 20]];
    let rgb: Vec<u8> = (0..width * height).flat_map(|at| areas[at % width / 8]).collect();
    for (order, genicam) in BayerOrder::ALL.into_iter().zip(["RG", "GR", "GB", "BG"]) {
        let seen = mosaic(order, width, &rgb);
        let words = |white: u32| -> Vec<u16> {
            seen.iter().map(|byte| ((u32::from(*byte) * white + 127) / 255) as u16).collect()
        };
        let little: Vec<u8> = words(4095).into_iter().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = words(1023).into_iter().flat_map(u16::to_be_bytes).collect();
        let pairs = words(4095);
        let packed: Vec<u8> = pairs
            .chunks(2)
            .flat_map(|two| [two[0] as u8, (two[0] >> 8) as u8 | ((two[1] & 0xF) << 4) as u8, (two[1] >> 4) as u8])
            .collect();
        for (media, format, bytes, depth) in [
            ("video/x-bayer", order.name().to_owned(), &seen, PixelFormat::Rgb8),
            ("video/x-bayer", format!("{}12le", order.name()), &little, PixelFormat::Rgb16),
            ("video/x-bayer", format!("{}10be", order.name()), &big, PixelFormat::Rgb16),
            ("video/x-genicam", format!("Bayer{genicam}12"), &little, PixelFormat::Rgb16),
            ("video/x-genicam", format!("Bayer{genicam}12p"), &packed, PixelFormat::Rgb16),
        ] {
            let caps = format!("{media},format={format},width={width},height={height}");
            let image = frame(&mut open(bytes_as(dir.path(), &caps, bytes))).image;
            assert_eq!(image.format, depth, "{format}");
            for (area, colour) in areas.iter().enumerate() {
                let found = image.rgb_at(area as u32 * 8 + 4, 4);
                assert!(
                    found.iter().zip(colour).all(|(a, b)| a.abs_diff(*b) <= 1),
                    "{format}: {found:?} for {colour:?}"
                );
            }
        }
    }
}

#[test]
fn what_cannot_be_taken_names_what_can() {
    let dir = tempfile::tempdir().unwrap();
    let version = {
        let (major, minor, micro, _) = gstreamer::version();
        format!("GStreamer {major}.{minor}.{micro}")
    };
    for caps in ["video/x-bayer,format=rggb9le,width=4,height=4", "video/x-genicam,format=Confidence8,width=4,height=4"]
    {
        let error = ending(bytes_as(dir.path(), caps, &[0; 64]));
        assert!(error.contains("is not taken; taken are") && error.contains(&version), "{error}");
    }
    let camera = V4l2Spec { device: "/dev/null".into(), format: Some("mono99".into()), ..V4l2Spec::default() };
    let error = refusal(GStreamerSpec::new(GStreamerInput::V4l2(camera))).to_string();
    assert!(error.contains("format 'mono99' is not known; MJPG, and taken are") && error.contains(&version), "{error}");
    // A driver that announces 12 packed bits as 16.
    let packed = bytes_as(dir.path(), "video/x-raw,format=GRAY16_LE,width=64,height=48", &[7; 64 * 48 * 3 / 2]);
    let error = ending(packed);
    assert!(error.contains("as many as 12 packed bits have"), "{error}");
}

/// Somebody sets the camera to 16 bits while it delivers: those frames have them all.
#[test]
fn a_camera_that_changes_to_16_bits_is_followed() {
    let part = |format: &str, count: u32| {
        format!("videotestsrc num-buffers={count} ! video/x-raw,format={format},width=64,height=48 ! c.")
    };
    let spec = launch(&format!("{} {} concat name=c", part("GRAY8", 4), part("GRAY16_LE", 6)));
    let (frames, end) = drain(&mut open(spec));
    assert!(matches!(end, SourceError::Ended { .. }), "{end}");
    let formats: Vec<PixelFormat> = frames.iter().map(|frame| frame.image.format).collect();
    assert_eq!(formats, [[PixelFormat::Gray8; 4].as_slice(), &[PixelFormat::Gray16; 6]].concat());
}

/// Recordings of 10 bits of colour, and of 16 of grey.
#[test]
fn a_video_file_of_more_than_8_bits_keeps_them() {
    let dir = tempfile::tempdir().unwrap();
    for (format, expected) in [("I420_10LE", PixelFormat::Rgb16), ("GRAY16_LE", PixelFormat::Gray16)] {
        let path = dir.path().join(format!("{format}.mkv"));
        let made = std::process::Command::new("gst-launch-1.0")
            .args(["-q", "videotestsrc", "num-buffers=5", "!"])
            .arg(format!("video/x-raw,format={format},width=64,height=48"))
            .args(["!", "avenc_ffv1", "!", "matroskamux", "!", "filesink"])
            .arg(format!("location={}", path.display()))
            .status()
            .unwrap();
        assert!(made.success());
        let (frames, end) = drain(&mut open(file(&path, false)));
        assert!(matches!(end, SourceError::Ended { .. }), "{end}");
        assert_eq!((frames.len(), frames[0].image.format), (5, expected), "{format}");
        assert!(frames[0].image.data().chunks(2).any(|pair| pair[0] != pair[1] && pair[1] > 0x80), "{format}");
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

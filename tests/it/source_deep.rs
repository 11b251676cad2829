//! The GStreamer source with pictures of more than 8 bits and mosaics: byte for byte, and what is refused by name.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use vcp_line::clock::SystemClock;
use vcp_line::frame::{Frame, PixelFormat};
use vcp_line::source::gstreamer::GStreamerSource;
use vcp_line::source::gstreamer_spec::{FileSpec, GStreamerInput, GStreamerSpec, V4l2Spec};
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

fn round_up_4(bytes: usize) -> usize {
    bytes.div_ceil(4) * 4
}

/// Why a camera delivers nothing, at once or after it was opened.
fn ending(spec: GStreamerSpec) -> String {
    match GStreamerSource::open(spec, context()) {
        Ok(mut source) => drain(&mut source).1.to_string(),
        Err(error) => error.to_string(),
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
        assert!(frames[0].image.data().chunks(2).any(|pair| pair[1] > 0x80), "{format}");
    }
}

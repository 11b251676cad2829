//! Videos and streams with holes: each frame that does not show what was there says so, and each file has a clear end.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use vcp_line::clock::SystemClock;
use vcp_line::source::gstreamer::GStreamerSource;
use vcp_line::source::gstreamer_spec::{FileSpec, GStreamerInput, GStreamerSpec};
use vcp_line::source::{Source, SourceContext, SourceError};

const PATIENCE: Duration = Duration::from_secs(20);

fn file(path: &Path) -> GStreamerInput {
    GStreamerInput::File(FileSpec { path: path.to_owned(), repeat: false, realtime: false })
}

/// Number and damage of each frame, and why there are no more.
fn frames(input: GStreamerInput) -> (Vec<(u64, bool)>, SourceError) {
    let context = SourceContext { camera: "top".into(), clock: Arc::new(SystemClock) };
    let mut source = match GStreamerSource::open(GStreamerSpec::new(input), context) {
        Ok(source) => source,
        Err(error) => return (Vec::new(), error),
    };
    let mut frames = Vec::new();
    loop {
        match source.next(PATIENCE) {
            Ok(Some(frame)) => frames.push((frame.seq, frame.image.damaged)),
            Ok(None) => panic!("silence after {} frames", frames.len()),
            Err(end) => return (frames, end),
        }
    }
}

fn damaged(frames: &[(u64, bool)]) -> usize {
    frames.iter().filter(|frame| frame.1).count()
}

/// Runs a pipeline whose last element writes to `path`.
fn made(path: PathBuf, pipeline: &str) -> PathBuf {
    let words = pipeline.split_whitespace().chain(["!", "filesink"]);
    let made =
        Command::new("gst-launch-1.0").arg("-q").args(words).arg(format!("location={}", path.display())).status();
    assert!(made.unwrap().success(), "{pipeline}");
    path
}

const MOVING: &str =
    "videotestsrc num-buffers=60 pattern=ball ! video/x-raw,format=I420,width=320,height=240,framerate=30/1";

#[test]
fn frames_of_a_stream_with_lost_bytes_are_damaged_and_those_of_a_whole_one_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let snow = MOVING.replace("ball", "snow");
    let encoder = "x264enc key-int-max=20 bitrate=2000 ! video/x-h264,stream-format=byte-stream";
    let whole = made(folder.path().join("whole.h264"), &format!("{snow} ! {encoder}"));
    let (seen, end) = frames(file(&whole));
    assert!(matches!(end, SourceError::Ended { .. }), "{end}");
    assert_eq!((seen.len(), damaged(&seen)), (60, 0));
    let bytes = std::fs::read(&whole).unwrap();
    let (third, lost) = (bytes.len() / 3, 1200);
    let holed = [&bytes[..third], &bytes[third + lost..third * 2], &bytes[third * 2 + lost..]].concat();
    std::fs::write(&whole, holed).unwrap();
    let (seen, end) = frames(file(&whole));
    assert!(matches!(end, SourceError::Ended { .. }), "{end}");
    assert!(seen.len() > 40 && damaged(&seen) >= 2, "{} of {}", damaged(&seen), seen.len());
}

/// A JPEG of noise, so that its data is longer than its headers.
fn jpeg(seed: u32) -> Vec<u8> {
    let mut state = seed + 1;
    let mut level = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 25) as u8
    };
    let picture = RgbImage::from_fn(64, 48, |_, _| image::Rgb([0; 3].map(|_: u8| level())));
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 90).encode_image(&picture).unwrap();
    bytes
}

/// Six JPEGs: the second is cut, the third is cut and ended, of the fifth only the beginning of the headers is there.
fn jpegs(folder: &Path) -> String {
    for number in 0..6 {
        let whole = jpeg(number);
        let half = whole.len() * 6 / 10;
        let bytes = match number {
            1 => whole[..half].to_vec(),
            2 => [&whole[..half], &[0xFF, 0xD9]].concat(),
            4 => whole[..40].to_vec(),
            _ => whole,
        };
        std::fs::write(folder.join(format!("{number}.jpg")), bytes).unwrap();
    }
    format!("multifilesrc location={}/%d.jpg stop-index=5 caps=image/jpeg,framerate=5/1", folder.display())
}

/// As the six JPEGs are seen: the fifth gives no frame at all, and its number is left out.
const SEEN: [(u64, bool); 5] = [(0, false), (1, true), (2, true), (3, false), (5, false)];

#[test]
fn a_video_of_jpegs_with_damaged_ones_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let video = made(
        folder.path().join("video.avi"),
        &format!("{} ! image/jpeg,width=64,height=48 ! avimux", jpegs(folder.path())),
    );
    let copied = format!("filesrc location={} ! avidemux", video.display());
    let others = ["matroskamux", "qtmux"].map(|muxer| made(folder.path().join(muxer), &format!("{copied} ! {muxer}")));
    for video in [&video].into_iter().chain(&others) {
        let (seen, end) = frames(file(video));
        assert!(matches!(end, SourceError::Ended { .. }), "{}: {end}", video.display());
        assert_eq!(seen, SEEN, "{}", video.display());
    }
    for decoder in ["jpegdec", "avdec_mjpeg", "queue ! jpegdec ! queue", "decodebin"] {
        let (seen, end) = frames(GStreamerInput::Launch { description: format!("{copied} ! {decoder}") });
        assert!(matches!(end, SourceError::Ended { .. }), "{decoder}: {end}");
        assert_eq!(seen, SEEN, "{decoder}");
    }
}

#[test]
fn a_video_that_is_cut_ends_clearly_and_its_cut_frame_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let kinds = [
        ("h264.mkv", "x264enc key-int-max=15 ! h264parse ! matroskamux"),
        ("h264.mp4", "x264enc key-int-max=15 ! h264parse ! mp4mux"),
        ("mjpeg.avi", "jpegenc ! avimux"),
        ("mjpeg.mkv", "jpegenc ! matroskamux"),
        ("mpeg4.avi", "avenc_mpeg4 ! avimux"),
        ("h264.ts", "x264enc key-int-max=15 ! h264parse ! mpegtsmux"),
    ];
    for (name, rest) in kinds {
        let video = made(folder.path().join(name), &format!("{MOVING} ! {rest}"));
        let (all, _) = frames(file(&video));
        assert_eq!((all.len(), damaged(&all)), (60, 0), "{name}");
        let bytes = std::fs::read(&video).unwrap();
        for share in [5, 50, 81] {
            std::fs::write(&video, &bytes[..bytes.len() * share / 100]).unwrap();
            let (seen, end) = frames(file(&video));
            assert!(seen.len() < 60 || seen.iter().any(|frame| frame.1), "{name} {share} %");
            // An orderly end, or an error that names the file; nothing to wait for.
            assert!(!end.is_transient(), "{name} {share} %: {end}");
            if name.ends_with("mp4") {
                assert!(matches!(&end, SourceError::File { path, .. } if *path == video), "{share} %: {end}");
            }
        }
    }
}

#[test]
fn a_frame_that_was_made_up_for_a_gap_is_damaged() {
    let description = "videotestsrc num-buffers=4 ! video/x-raw,width=32,height=32,framerate=5/1 ! videorate ! \
                       video/x-raw,framerate=10/1";
    let (seen, _) = frames(GStreamerInput::Launch { description: description.to_owned() });
    assert!(seen.len() >= 6 && damaged(&seen) >= 3 && damaged(&seen) < seen.len(), "{seen:?}");
}

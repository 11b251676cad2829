//! The GStreamer source against Aravis's fake GigE Vision camera, over a cable between two network namespaces.
//!
//! A process sees the network of one namespace, so each scene below runs in a copy of this test program inside the
//! near namespace: the outer test makes the network and starts the copy with [`SCENE`] set.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::netns::{FakeCamera, Network, or_skip};
use vcp_line::clock::SystemClock;
use vcp_line::frame::PixelFormat;
use vcp_line::source::gstreamer::{GStreamerSource, probe};
use vcp_line::source::gstreamer_spec::{AravisSpec, GStreamerInput, GStreamerSpec};
use vcp_line::source::{Source, SourceContext, SourceError};

/// Names the scene to play, in the environment of the inner process.
const SCENE: &str = "VCP_LINE_TEST_SCENE";
/// The camera's address, in the environment of the inner process.
const CAMERA: &str = "VCP_LINE_TEST_CAMERA";
/// The inner process prints this line when its camera delivers and the outer one may pull the cable.
const STREAMING: &str = "the camera streams";

const PATIENCE: Duration = Duration::from_secs(10);

fn context() -> SourceContext {
    SourceContext { camera: "top".into(), clock: Arc::new(SystemClock) }
}

fn camera(settings: AravisSpec) -> GStreamerSpec {
    GStreamerSpec::new(GStreamerInput::Aravis(AravisSpec {
        camera: settings.camera.or_else(|| Some(std::env::var(CAMERA).unwrap())),
        packet_size: Some(8000),
        pixel_format: settings.pixel_format.or_else(|| Some("Mono8".into())),
        ..settings
    }))
}

/// Plays a scene in the near namespace; `when_streaming` is called when it prints [`STREAMING`].
fn play(network: &Network, scene: &str, when_streaming: impl FnOnce()) {
    let program = std::env::current_exe().unwrap();
    let mut child = network
        .near(program.to_str().unwrap())
        .args(["--exact", "source_gige::scene", "--nocapture", "--ignored"])
        .env(SCENE, scene)
        .env(CAMERA, network.far_address())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut act = Some(when_streaming);
    let mut said = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.contains(STREAMING)
            && let Some(act) = act.take()
        {
            act();
        }
        said.push_str(&line);
        said.push('\n');
    }
    println!("{said}");
    assert!(child.wait().unwrap().success(), "scene {scene}:\n{said}");
    assert!(said.contains("1 passed"), "scene {scene} did not run:\n{said}");
}

#[test]
#[ignore = "the inner half of the other tests, which start it inside a namespace"]
fn scene() {
    match std::env::var(SCENE).as_deref() {
        Ok("formats") => formats(),
        Ok("settings") => settings(),
        Ok("absent") => absent(),
        Ok("unplugged") => unplugged(),
        Ok("triggered") => triggered(),
        other => println!("no scene ({other:?}): run by the other tests only"),
    }
}

#[test]
fn a_gige_vision_camera_delivers_grey_colour_and_bayer() {
    let Some(network) = or_skip(Network::isolated()) else { return };
    let Some(_camera) = or_skip(FakeCamera::start(&network)) else { return };
    play(&network, "formats", || {});
}

fn formats() {
    for (pixel_format, expected) in [
        ("Mono8", PixelFormat::Gray8),
        ("Mono16", PixelFormat::Gray16),
        ("RGB8", PixelFormat::Rgb8),
        ("BayerBG8", PixelFormat::Rgb8),
    ] {
        let settings = AravisSpec { pixel_format: Some(pixel_format.to_owned()), ..AravisSpec::default() };
        let mut source = opened(camera(settings));
        let frames: Vec<_> = (0..10).map(|_| source.next(PATIENCE).unwrap().expect("a frame")).collect();
        for pair in frames.windows(2) {
            assert!(pair[1].seq > pair[0].seq);
        }
        let image = &frames[9].image;
        assert_eq!((image.width, image.height, image.format), (512, 512, expected), "{pixel_format:?}");
        // The fake camera shows a moving gradient: no two rows of bytes are alike, and no two frames.
        let row = 512 * image.format.bytes_per_pixel();
        assert!(image.data()[..row].iter().any(|&byte| byte != image.data()[0]), "{pixel_format:?} is uniform");
        assert_ne!(frames[0].image, frames[9].image, "{pixel_format:?} stands still");
    }
}

fn opened(spec: GStreamerSpec) -> GStreamerSource {
    patiently(|| GStreamerSource::open(spec.clone(), context()))
}

/// A camera that was just closed may refuse its next controller until it has noticed, and Aravis 0.8.26 ends a stream that
/// brings no whole picture for two seconds, which a starved machine reaches. The line opens such a camera again; so is it here.
fn patiently<T>(mut attempt: impl FnMut() -> Result<T, SourceError>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(error) if error.is_transient() && Instant::now() < deadline => {
                println!("once more: {error}");
                std::thread::sleep(Duration::from_millis(500));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn size_rate_exposure_and_gain_are_set() {
    let Some(network) = or_skip(Network::isolated()) else { return };
    let Some(_camera) = or_skip(FakeCamera::start(&network)) else { return };
    play(&network, "settings", || {});
}

fn settings() {
    let settings = AravisSpec {
        camera: Some(format!("Aravis-Fake-{}", FakeCamera::SERIAL)),
        width: Some(128),
        height: Some(64),
        fps: Some(10),
        exposure_us: Some(5000.0),
        gain: Some(2.0),
        pixel_format: Some("Mono8".into()),
        ..AravisSpec::default()
    };
    assert_eq!(probe(camera(settings), context()).unwrap().to_string(), "128x64 Gray8 at 10/1 fps");
}

#[test]
fn settings_that_no_camera_takes_are_refused() {
    let (long, loud) = (Some(2e8), Some(f64::NAN));
    for (settings, expected) in [
        (
            AravisSpec { exposure_us: long, ..AravisSpec::default() },
            "exposure 200000000 is not from 1 to 60000000 microseconds",
        ),
        (AravisSpec { gain: loud, ..AravisSpec::default() }, "gain NaN is not from 0 to 100 decibels"),
        (
            AravisSpec { trigger_source: Some("Line 1".into()), ..AravisSpec::default() },
            "trigger source 'Line 1': letters, digits and _ only, as in Line1",
        ),
        (AravisSpec { packet_size: Some(10), ..AravisSpec::default() }, "packet_size must be 36 to 65500 bytes"),
        (
            AravisSpec { pixel_format: Some(String::new()), ..AravisSpec::default() },
            "pixel_format is missing; write the one that the camera is set to: Mono8, Mono10, Mono12, Mono14, Mono16, RGB8, \
             BGR8, YUV422_8, YUV422_8_UYVY, BayerRG8, BayerGR8, BayerGB8, BayerBG8",
        ),
    ] {
        let settings = AravisSpec {
            pixel_format: match settings.pixel_format.as_deref() {
                None => Some("Mono8".into()),
                Some("") => None,
                Some(name) => Some(name.to_owned()),
            },
            ..settings
        };
        let Err(error) = GStreamerSource::open(GStreamerSpec::new(GStreamerInput::Aravis(settings)), context()) else {
            panic!("it opened")
        };
        assert_eq!(error.to_string(), format!("camera 'top': {expected}"));
        assert!(!error.is_transient());
    }
}

/// What aravissrc 0.8.26 cannot hand on, by name: why, and what it can.
#[test]
fn formats_that_aravis_does_not_hand_on_are_refused_by_name() {
    for (name, reason) in [
        ("BayerRG12", "it has no caps for mosaics of more than 8 bits"),
        ("BayerGB10p", "it has no caps for mosaics of more than 8 bits"),
        ("Mono12Packed", "it announces packed samples as GRAY16_LE, which they are not"),
        ("Mono10p", "it announces packed samples as GRAY16_LE, which they are not"),
        ("Coord3D_C16", "it is not one that is known here"),
    ] {
        let settings = AravisSpec { pixel_format: Some(name.into()), ..AravisSpec::default() };
        let spec = GStreamerSpec::new(GStreamerInput::Aravis(settings));
        let Err(error) = GStreamerSource::open(spec, context()) else { panic!("it opened") };
        let error = error.to_string();
        assert!(
            error.starts_with(&format!("camera 'top': pixel format '{name}' cannot be taken through aravissrc 0.8.")),
            "{error}"
        );
        assert!(error.contains(reason) && error.contains("set the camera to one of Mono8, Mono10, Mono12"), "{error}");
    }
}

#[test]
fn an_absent_gige_vision_camera_is_named() {
    let Some(network) = or_skip(Network::isolated()) else { return };
    play(&network, "absent", || {});
}

fn absent() {
    let began = Instant::now();
    let Err(error) = GStreamerSource::open(camera(AravisSpec::default()), context()) else { panic!("it opened") };
    assert_eq!(
        error.to_string(),
        "camera 'top' (10.213.77.2) is not reachable: Could not find camera \"10.213.77.2\": Can't connect to device at \
         address '10.213.77.2'"
    );
    assert!(error.is_transient());
    assert!(began.elapsed() < Duration::from_secs(11), "{:?}", began.elapsed());
}

#[test]
fn a_gige_vision_camera_that_is_unplugged_is_lost() {
    let Some(network) = or_skip(Network::isolated()) else { return };
    let Some(_camera) = or_skip(FakeCamera::start(&network)) else { return };
    play(&network, "unplugged", || network.unplug());
}

fn unplugged() {
    let mut source = opened(camera(AravisSpec::default()));
    source.next(PATIENCE).unwrap().expect("a frame");
    println!("{STREAMING}");
    let began = Instant::now();
    let error = loop {
        match source.next(PATIENCE) {
            Ok(Some(_)) => {}
            Ok(None) => panic!("silence is not a loss"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SourceError::Lost { .. }), "{error}");
    assert!(error.to_string().contains("is not reachable: it stopped delivering"), "{error}");
    println!("lost after {:?}: {error}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[test]
fn a_triggered_camera_without_triggers_is_idle_and_unplugged_it_is_lost() {
    let Some(network) = or_skip(Network::isolated()) else { return };
    let Some(_camera) = or_skip(FakeCamera::start(&network)) else { return };
    play(&network, "triggered", || network.unplug());
}

/// The fake camera in trigger mode knows no input but the software's, whose signal nobody sends: the stream ends after two seconds,
/// the camera is asked, and answers.
fn triggered() {
    let settings = AravisSpec { trigger_source: Some("Software".into()), ..AravisSpec::default() };
    let mut source = opened(camera(settings));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(7) {
        let frame = source.next(Duration::from_millis(500)).expect("an idle camera is not lost");
        assert!(frame.is_none(), "nobody pulled the trigger");
    }
    println!("{STREAMING}");
    let unplugged = Instant::now();
    let error = loop {
        match source.next(PATIENCE) {
            Ok(_) => assert!(unplugged.elapsed() < Duration::from_secs(40), "the loss is not noticed"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SourceError::Lost { .. }), "{error}");
    println!("lost after {:?}: {error}", unplugged.elapsed());
}

#[test]
fn a_camera_is_reached_from_the_hosts_own_network_too() {
    let Some(network) = or_skip(Network::from_host()) else { return };
    let Some(_camera) = or_skip(FakeCamera::start(&network)) else { return };
    let settings = AravisSpec { camera: Some(network.far_address()), ..AravisSpec::default() };
    let probed = patiently(|| probe(camera(settings.clone()), context()));
    assert_eq!(probed.to_string(), "512x512 Gray8 at 25/1 fps");
}

//! One engine for many boxes: `vcp-line serve` and engines that ask it, over a real connection.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use vcp_line::clock::{Clock, SystemClock};
use vcp_line::engine::remote::MapForm;
use vcp_line::engine::{self, Engine, EngineChoice, EngineSpec, nothing_comes};
use vcp_line::frame::{Frame, Image, PixelFormat};
use vcp_line::look::{Asked, LookError, Looker};
use vcp_line::tls::{ClientFiles, TlsFiles};
use vcp_line::view::{TileSpec, ViewSpec};

use crate::support::certs::Authority;
use crate::support::line::{finished, model};
use crate::support::mosquitto::free_port;
use crate::support::serve::{Server, remote, until};

fn frame(width: u32, height: u32, format: PixelFormat, seed: u32) -> Frame {
    let bytes = width * height * format.bytes_per_pixel() as u32;
    let data = (0..bytes).map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed * 97) >> 23) as u8).collect();
    Frame::alone("test", SystemClock.now(), Image::new(width, height, format, data).unwrap())
}

fn frames() -> Vec<Frame> {
    [
        (64, 48, PixelFormat::Rgb8),
        (201, 99, PixelFormat::Gray8),
        (56, 56, PixelFormat::Bgr8),
        (120, 90, PixelFormat::Rgb16),
    ]
    .into_iter()
    .zip(0..)
    .map(|((width, height, format), seed)| frame(width, height, format, seed))
    .collect()
}

fn local() -> Box<dyn Engine> {
    let engine = EngineChoice::Reference;
    engine::open(&EngineSpec { engine, max_batch: 4, ..EngineSpec::new(model()) }).unwrap()
}

fn off(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn maps_scores_paths_and_tokens_are_those_of_the_local_engine() {
    let server = Server::start(&[]);
    let frames = frames();
    let frames: Vec<&Frame> = frames.iter().collect();
    let mut local = local();
    for (form, allowed) in [(MapForm::Fp32, 1e-5), (MapForm::Uint16, 2e-5)] {
        let mut remote = remote(&[server.address()], |spec| spec.map = form).unwrap();
        for engine in [&mut local, &mut remote] {
            engine.hand_out_paths(true);
            engine.hand_out_tokens(true);
        }
        let expected = local.infer(&frames).unwrap();
        for (found, expected) in remote.infer(&frames).unwrap().iter().zip(&expected) {
            let worst = off(found.map.values(), expected.map.values());
            assert!(worst <= allowed && (found.score - expected.score).abs() <= 1e-5, "{form:?}: {worst}");
            // Before smoothing; a picture of 16 bits travels with an error of 1/131070.
            for (found, expected) in found.map.paths().unwrap().iter().zip(expected.map.paths().unwrap()) {
                assert!(off(found, expected) <= 1e-4);
            }
            let (found, expected) = (found.tokens.as_ref().unwrap(), expected.tokens.as_ref().unwrap());
            assert_eq!(
                (found.grid(), found.width(), found.layers()),
                (expected.grid(), expected.width(), expected.layers())
            );
            found.taps().iter().zip(expected.taps()).for_each(|(a, b)| assert!(off(a, b) <= 1e-3));
        }
    }
}

#[test]
fn another_model_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other");
    vcp_line::weights::random(&other, &vcp_line::vcp_clip::Architecture::smallest(), 8).unwrap();
    let (wrong, right) = (Server::of(&other, &[]), Server::start(&[]));
    let output = finished(&[
        "bench",
        "engine",
        "--model",
        model().to_str().unwrap(),
        "--engine",
        "remote",
        "--endpoint",
        &wrong.address(),
        "--frames",
        "2",
    ]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("does not serve 'random-demo-") && said.contains("this is 'random-demo-"), "{said}");
    // Beside the right one it is only not asked.
    let mut engine = remote(&[wrong.address(), right.address()], |_| {}).unwrap();
    assert_eq!(engine.infer(&[&frames()[0]]).unwrap().len(), 1);
    assert_eq!(wrong.running.times_logged("ERROR"), 0);
}

fn tls(server: &Path, client: Option<ClientFiles>) -> TlsFiles {
    TlsFiles { ca: Some(server.to_owned()), client }
}

#[test]
fn certificates_of_both_sides_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (plant, stranger) = (Authority::new(folder.path(), "plant"), Authority::new(folder.path(), "stranger"));
    let server_files = plant.sign("gpu-1", "localhost");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (certificate, key, ca) = (text(&server_files.certificate), text(&server_files.key), text(&plant.pem()));
    let token = folder.path().join("token");
    crate::support::line::write_token(folder.path(), "a-word-of-sixteen-letters");
    let server = Server::start(&[
        "--certificate",
        &certificate,
        "--key",
        &key,
        "--client-ca",
        &ca,
        "--token-file",
        token.to_str().unwrap(),
    ]);
    let address = [format!("grpcs://localhost:{}", server.port)];
    let files =
        |signed: crate::support::certs::Signed| ClientFiles { certificate: signed.certificate, key: signed.key };
    let (own, foreign) = (files(plant.sign("line", "localhost")), files(stranger.sign("line", "localhost")));
    let open = |ca: &Path, client: Option<&ClientFiles>, token: Option<&Path>| {
        remote(&address, |spec| {
            spec.tls = tls(ca, client.cloned());
            spec.token_file = token.map(Path::to_owned);
        })
    };
    let mut engine = open(&plant.pem(), Some(&own), Some(&token)).unwrap();
    assert!(engine.infer(&[&frames()[0]]).is_ok());
    // Each of these waits for a server in vain; side by side.
    std::thread::scope(|scope| {
        let refused = |ca, client, token, what: &'static str| {
            let open = &open;
            scope.spawn(move || {
                let said = open(ca, client, token).err().unwrap().to_string();
                assert!(said.contains(what), "{what}: {said}");
            });
        };
        let (plant_pem, stranger_pem) = (plant.pem(), stranger.pem());
        let (plant_pem, stranger_pem) = (Box::leak(Box::new(plant_pem)), Box::leak(Box::new(stranger_pem)));
        refused(stranger_pem, Some(&own), Some(&token), "no TLS");
        refused(plant_pem, None, Some(&token), "");
        refused(plant_pem, Some(&foreign), Some(&token), "");
        refused(plant_pem, Some(&own), None, "set token_file");
    });
}

#[test]
fn an_expired_certificate_is_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let plant = Authority::new(folder.path(), "plant");
    let expired = plant.sign_expired("gpu-1", "localhost");
    let (certificate, key) = (expired.certificate.to_str().unwrap(), expired.key.to_str().unwrap());
    let server = Server::start(&["--certificate", certificate, "--key", key]);
    let good = Server::start(&[]);
    let addresses = [format!("grpcs://localhost:{}", server.port), good.address()];
    let mut engine = remote(&addresses, |spec| spec.tls = tls(&plant.pem(), None)).unwrap();
    assert!(engine.infer(&[&frames()[0]]).is_ok());
    let said = remote(&addresses[..1], |spec| spec.tls = tls(&plant.pem(), None)).err().unwrap().to_string();
    assert!(said.contains("no TLS") && said.to_lowercase().contains("expired"), "{said}");
}

#[test]
fn a_deadline_is_kept_whatever_the_server_does() {
    let server = Server::start(&[]);
    let mut engine = remote(&[server.address()], |_| {}).unwrap();
    let frame = frame(64, 48, PixelFormat::Rgb8, 1);
    for _ in 0..20 {
        engine.infer(&[&frame]).unwrap();
    }
    server.running.signal("STOP");
    for _ in 0..8 {
        let begin = Instant::now();
        let due = [Some(begin + Duration::from_millis(150)); 2];
        let answers = engine.infer_until(&[&frame, &frame], &due, &nothing_comes).unwrap();
        assert!(answers.len() == 2 && answers.iter().all(Result::is_err));
        let took = begin.elapsed();
        assert!(took < Duration::from_millis(400), "{took:?}");
    }
    server.running.signal("CONT");
    let recovered = until("it is asked again", || engine.infer(&[&frame]).is_ok());
    println!("asked again {recovered:?} after SIGCONT");
}

#[test]
fn tiles_have_the_deadline_of_their_part() {
    const TIMEOUT: Duration = Duration::from_secs(30);
    let server = Server::start(&[]);
    let mut engine = remote(&[server.address()], |spec| spec.timeout = TIMEOUT).unwrap();
    let frame = frame(120, 90, PixelFormat::Rgb8, 1);
    let tiles = Some(TileSpec::Size { size_px: 64, overlap: 0.25 });
    for view in [ViewSpec { tiles, ..ViewSpec::default() }, ViewSpec::default()] {
        let mut looker = Looker::new(view);
        let mut look = |until| looker.look(engine.as_mut(), &frame, Asked { until, ..Asked::default() }, None);
        look(None).unwrap();
        server.running.signal("STOP");
        let begin = Instant::now();
        let failed = look(Some(begin + Duration::from_secs(2))).unwrap_err();
        let took = begin.elapsed();
        assert!(matches!(failed, LookError::Engine(_) | LookError::Unwanted), "{failed}");
        assert!(took < TIMEOUT / 3, "{took:?}");
        server.running.signal("CONT");
        until("the server answers again", || look(None).is_ok());
    }
}

#[test]
fn this_computer_looks_when_no_server_does() {
    let mut server = Server::start(&[]);
    let mut engine = remote(&[server.address()], |spec| {
        spec.fallback = Some(EngineChoice::Reference);
        spec.timeout = Duration::from_millis(300);
    })
    .unwrap();
    let frames = frames();
    let frames: Vec<&Frame> = frames.iter().collect();
    let expected = local().infer(&frames).unwrap();
    server.kill();
    let found = engine.infer(&frames).unwrap();
    found.iter().zip(&expected).for_each(|(a, b)| assert_eq!(a.map.values(), b.map.values()));
    // Without time there is no prediction either.
    let late = engine.infer_until(&frames[..1], &[Some(Instant::now())], &nothing_comes).unwrap();
    assert!(late[0].is_err());
}

#[test]
fn without_any_server_there_is_an_error_that_names_it() {
    let address = format!("grpc://127.0.0.1:{}", free_port());
    let said = remote(std::slice::from_ref(&address), |_| {}).err().unwrap().to_string();
    assert!(said.contains(&address) && said.contains("refused"), "{said}");
}

fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_stop_answers_what_was_admitted() {
    let probes = free_port();
    let mut server = Server::start(&["--metrics", &format!("127.0.0.1:{probes}")]);
    let other = Server::start(&[]);
    let mut engine = remote(&[server.address(), other.address()], |_| {}).unwrap();
    let frames = frames();
    let frames: Vec<&Frame> = frames.iter().collect();
    for round in 0..30 {
        if round == 10 {
            assert!(get(probes, "/live").contains("200 OK") && get(probes, "/ready").contains("\"ready\":true"));
            let metrics = get(probes, "/metrics");
            for name in
                ["vcp_serve_requests_total{outcome=\"answered\"}", "vcp_serve_pictures_total", "vcp_serve_ready 1"]
            {
                assert!(metrics.contains(name), "{name}: {metrics}");
            }
            server.running.signal("TERM");
        }
        engine.infer(&frames).unwrap();
    }
    assert_eq!(server.running.end().code(), Some(0), "{}", server.running.stderr());
}

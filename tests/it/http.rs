//! The API against those who hold its connections, guess its token or come through somebody's browser.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::commands::{http, part, raw};
use crate::support::line::{Line, PATIENCE, finished, settings, write_token};
use crate::support::mosquitto::{Mosquitto, Rules, free_port};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use vcp_line::command::Ack;
use vcp_line::secret::Secret;
use vcp_line::web::{Api, Texts, Web, WebError, WebSpec};

const TOKEN: &str = "correct-horse-battery";
const CAMERA: &str = "[[camera]]\nname = \"top\"\nsource = \"synthetic\"\nclasses = [\"pill\"]\nsize = 64\npool = 4\n\
                      fps = 20.0\n[camera.trigger]\nmode = \"software\"\n";

/// A line with the API on this port; `extra` are more keys of `[http]`.
fn start(broker: u16, api: u16, extra: &str) -> Line {
    let folder = tempfile::tempdir().unwrap();
    write_token(folder.path(), TOKEN);
    let http = format!("[http]\nlisten = \"127.0.0.1:{api}\"\ntoken_file = \"token\"\n{extra}{CAMERA}");
    let line = Line::run_in(folder, &settings(broker, &http), |_| {});
    line.service.logged("1 camera, engine reference");
    line
}

/// Status in answer to `GET` of this path with these headers, each with its line end.
fn get(api: u16, path: &str, headers: &str) -> (u16, String) {
    raw(api, format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n").as_bytes())
}

#[test]
fn idle_connections_keep_nobody_out() {
    let broker = Mosquitto::start(Rules::default());
    let api = free_port();
    let _line = start(broker.port, api, "");
    // Silent ones, and ones that never come to the end of their request's head.
    let mut idle: Vec<TcpStream> = (0..80).map(|_| TcpStream::connect(("127.0.0.1", api)).unwrap()).collect();
    idle.iter_mut().step_by(2).for_each(|stream| stream.write_all(b"POST /api/tri").unwrap());
    for _ in 0..40 {
        let began = Instant::now();
        assert_eq!(http(api, "GET", "/health", None, ""), (200, json!({ "status": "ok" })));
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    let (status, ack) = http(api, "POST", "/api/trigger", Some(TOKEN), &part("H-1").to_string());
    assert_eq!(status, 200, "{ack}");
    // All of them are closed in the end, not only those that were in the way.
    for mut stream in idle {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let closed = stream.read_to_end(&mut Vec::new());
        assert!(closed.is_ok() || closed.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    }
}

#[test]
fn a_page_of_another_site_gets_no_answer() {
    let broker = Mosquitto::start(Rules::default());
    let api = free_port();
    let _line = start(broker.port, api, "hosts = [\"line3.plant.example\"]\n");
    let own = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let fine = ["localhost", "LocalHost.", "127.0.0.1", "[::1]", "192.168.7.3", "line3.plant.example", own.trim()];
    for name in fine {
        for host in [name.to_owned(), format!("{name}:{api}")] {
            assert_eq!(get(api, "/api/state", &format!("Host: {host}\r\n")).0, 200, "{host}");
            let same = format!("Host: {host}\r\nOrigin: http://{host}\r\n");
            assert_eq!(get(api, "/api/state", &same).0, 200, "{host}");
        }
    }
    for path in ["/health", "/api/state", "/api/trigger", "/nothing"] {
        let (status, said) = get(api, path, "Host: rebound.attacker.example\r\n");
        assert_eq!(status, 421, "{path}: {said}");
        let said: Value = serde_json::from_str(&said).unwrap();
        let expected =
            "'rebound.attacker.example' is no name of this computer that is known here; add it to hosts in [http]";
        assert_eq!(said["error"], expected);
        assert_eq!(get(api, path, "").0, 421, "{path} without Host");
    }
    for origin in ["http://attacker.example", "null", "http://localhost:1", "https://localhost.attacker.example"] {
        let (status, said) = get(api, "/api/state", &format!("Host: localhost:{api}\r\nOrigin: {origin}\r\n"));
        assert_eq!(status, 403, "{origin}: {said}");
    }
    // Old tools on this computer know no Host.
    assert_eq!(raw(api, b"GET /health HTTP/1.0\r\n\r\n").0, 200);
    // The scheme's letters are of any case.
    for scheme in ["bearer", "BEARER", "Bearer"] {
        let request = format!(
            "POST /api/resume HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: {scheme} {TOKEN}\r\n\
             Content-Length: 2\r\n\r\n{{}}"
        );
        assert_eq!(raw(api, request.as_bytes()).0, 200, "{scheme}");
    }
}

#[test]
fn wrong_tokens_are_told_and_slow() {
    let broker = Mosquitto::start(Rules::default());
    let api = free_port();
    let line = start(broker.port, api, "");
    let guess = || http(api, "POST", "/api/pause", Some("correct-horse-batterx"), "{}").0;
    assert_eq!(guess(), 401);
    line.service.logged("wrong tokens at the API");
    (1..10).for_each(|_| assert_eq!(guess(), 401));
    for _ in 0..2 {
        let began = Instant::now();
        assert_eq!(guess(), 401);
        assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    }
    // Who has the token does not pay for who has not, even from the same computer.
    let began = Instant::now();
    assert_eq!(http(api, "POST", "/api/resume", Some(TOKEN), "{}").0, 200);
    assert!(began.elapsed() < Duration::from_millis(900));
    let log = line.service.stderr();
    assert_eq!(log.matches("wrong tokens at the API").count(), 1, "{log}");
    assert!(log.contains("127.0.0.1") && !log.contains("batterx"), "{log}");
}

#[test]
fn a_token_that_can_be_guessed_or_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("line.toml");
    let http = format!("[http]\nlisten = \"127.0.0.1:{}\"\ntoken_file = \"token\"\n{CAMERA}", free_port());
    fs::write(&file, settings(free_port(), &http)).unwrap();
    let token = folder.path().join("token");
    let said = |command: &str| {
        let done = finished(&[command, file.to_str().unwrap()]);
        assert_ne!(done.status.code(), Some(0), "{command}");
        String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr)
    };
    for command in ["check", "run"] {
        write_token(folder.path(), "fifteen-letters");
        let short = said(command);
        assert!(
            short.contains("the token has less than 16 characters; make one with `openssl rand -hex 32`"),
            "{short}"
        );
        write_token(folder.path(), TOKEN);
        fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
        let open = said(command);
        assert!(open.contains("every user of this computer can read or change the token; `chmod 640 "), "{open}");
    }
}

/// Answers each command after this time, or never.
struct Slow(Option<Duration>, Arc<AtomicUsize>);

impl Api for Slow {
    fn command(&self, _: &str, _: &[u8], answer: oneshot::Sender<Ack>) {
        self.1.fetch_add(1, Ordering::Relaxed);
        let Some(delay) = self.0 else {
            std::mem::forget(answer);
            return;
        };
        let answering = std::thread::Builder::new().name("slow".into()).spawn(move || {
            std::thread::sleep(delay);
            answer.send(Ack::refused(None, "slowly")).ok();
        });
        answering.unwrap();
    }

    fn state(&self) -> Value {
        json!({})
    }

    fn health(&self) -> Result<(), String> {
        Ok(())
    }
}

fn slow(delay: Option<Duration>) -> (Web, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let spec = WebSpec { listen, token: Some(Secret::new(TOKEN)), hosts: Vec::new(), texts: Texts::default() };
    (Web::start(spec, Arc::new(Slow(delay, Arc::clone(&asked)))).unwrap(), asked)
}

#[test]
fn a_command_without_an_answer_may_have_been_carried_out() {
    let (web, asked) = slow(None);
    let (status, said) = http(web.address().port(), "POST", "/api/trigger", Some(TOKEN), "{}");
    assert_eq!((status, asked.load(Ordering::Relaxed)), (504, 1));
    let expected = "no answer in time; the command may have been carried out: ask again with the same correlation_id";
    assert_eq!(said["error"], expected);
    let spec = WebSpec {
        listen: web.address(),
        token: Some(Secret::new("short")),
        hosts: Vec::new(),
        texts: Texts::default(),
    };
    assert!(matches!(Web::start(spec, Arc::new(Slow(None, asked))), Err(WebError::ShortToken)));
}

/// Commands one after the other over one connection until it ends: each that was carried out has its answer. They take
/// three seconds each, so that one is in hand when the connection's minute is over.
#[test]
fn the_end_of_a_connection_cuts_no_command() {
    let (web, asked) = slow(Some(Duration::from_secs(3)));
    let mut stream = TcpStream::connect(web.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "POST /api/trigger HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    let (began, mut answers) = (Instant::now(), 0);
    loop {
        assert!(began.elapsed() < Duration::from_secs(90), "the connection has no end");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).unwrap();
            assert!(count > 0, "cut after {answers} answers and {:?}", began.elapsed());
            answer.extend_from_slice(&bytes[..count]);
        }
        answers += 1;
        let answer = String::from_utf8(answer).unwrap().to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 409"), "{answer}");
        if answer.contains("connection: close") {
            break;
        }
    }
    assert!(began.elapsed() > Duration::from_secs(55), "{:?}", began.elapsed());
    assert_eq!(asked.load(Ordering::Relaxed), answers);
}

/// Thirty-two commands in hand fill every place; who comes then waits for one of them, and none is cut.
#[test]
fn commands_in_hand_are_not_pushed_out() {
    let (web, _) = slow(Some(Duration::from_secs(3)));
    let port = web.address().port();
    let asking: Vec<_> = (0..40)
        .map(|number| {
            let ask = move || http(port, "POST", "/api/trigger", Some(TOKEN), "{}").0;
            std::thread::Builder::new().name(format!("ask-{number}")).spawn(ask).unwrap()
        })
        .collect();
    let statuses: Vec<u16> = asking.into_iter().map(|asking| asking.join().unwrap()).collect();
    assert_eq!(statuses, [409; 40]);
}

//! What the page is behind: cookies, policy, bounded streams; and names that would like to be more than text.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::chromium::Browser;
use crate::support::commands::{http, raw};
use crate::support::events::VERDICTS;
use crate::support::line::{Line, settings, write_token};
use crate::support::mosquitto::{Mosquitto, PATIENCE, Rules, Subscriber, free_port};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use vcp_line::anomaly::AnomalyMap;
use vcp_line::clock::{Clock, SystemClock};
use vcp_line::command::Ack;
use vcp_line::event::InspectionEvent;
use vcp_line::frame::{Frame, Image, PixelFormat};
use vcp_line::secret::Secret;
use vcp_line::web::{Api, News, Shown, Texts, Web, WebSpec};

const TOKEN: &str = "correct-horse-battery";

/// A line that is only told of.
#[derive(Default)]
struct Told {
    news: News,
    state: Mutex<Value>,
}

impl Api for Told {
    fn command(&self, name: &str, _: &[u8], answer: oneshot::Sender<Ack>) {
        answer.send(Ack::done(None, json!(name))).ok();
    }

    fn state(&self) -> Value {
        self.state.lock().unwrap().clone()
    }

    fn health(&self) -> Result<(), String> {
        Ok(())
    }

    fn news(&self) -> Option<&News> {
        Some(&self.news)
    }

    fn shown(&self, camera: &str) -> Option<Shown> {
        let image = Image::new(64, 48, PixelFormat::Gray8, vec![90; 64 * 48]).unwrap();
        let frame = Frame { seq: 1, ..Frame::alone(camera, SystemClock.now(), image) };
        Some(Shown { frame, map: AnomalyMap::new(2, vec![0.0, 0.9, 0.0, 0.0]), defect_threshold: 0.5 })
    }
}

fn start(told: &Arc<Told>, host: [u8; 4]) -> Web {
    let spec = WebSpec {
        listen: SocketAddr::from((host, 0)),
        token: Some(Secret::new(TOKEN)),
        hosts: Vec::new(),
        texts: Texts::default(),
    };
    Web::start(spec, told.clone()).unwrap()
}

fn event(camera: &str, part: &str, seq: u64) -> InspectionEvent {
    let event = json!({
        "schema": 1, "event_id": uuid::Uuid::now_v7(), "session": uuid::Uuid::nil(), "seq": seq, "line": "caps",
        "camera": camera, "part": { "id": part, "trigger": seq }, "verdict": "fail", "reason": null, "score": 0.8,
        "threshold": 0.5, "defect_threshold": 0.5,
        "defects": [{ "box": [4, 4, 9, 9], "area_px": 81, "centroid": [8.0, 8.0], "peak": 0.9, "mean": 0.7,
                      "polygon": [[4, 4], [13, 4], [13, 13], [4, 13]] }],
        "frame": { "seq": 1, "width": 64, "height": 48, "skipped_before": 0 },
        "time": { "captured": "2026-01-01T00:00:00Z", "clock": "system", "published": "2026-01-01T00:00:00Z" },
        "latency_ms": { "queue": 1.0, "preprocess": 1.0, "inference": 1.0, "postprocess": 1.0, "total": 4.0 },
        "recipe": { "id": "cap", "version": 1 },
        "model": { "name": "m", "sha256": "0", "engine": "reference", "precision": "fp32" }, "historical": false,
    });
    serde_json::from_value(event).unwrap()
}

/// The whole answer, head and body, of a request with these headers.
fn ask(port: u16, method: &str, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn from_elsewhere_the_token_gives_a_cookie_that_only_our_page_can_use() {
    let told = Arc::new(Told::default());
    let web = start(&told, [0, 0, 0, 0]);
    let port = web.address().port();
    // The page itself says nothing and is there for everybody, with its rules; nothing else is.
    let page = ask(port, "GET", "/", "");
    assert_eq!(status(&page), 200);
    let head = page.split("\r\n\r\n").next().unwrap().to_ascii_lowercase();
    let policy = head.lines().find(|line| line.starts_with("content-security-policy: ")).expect("a policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(
        head.contains("x-content-type-options: nosniff") && head.contains("referrer-policy: no-referrer"),
        "{head}"
    );
    for path in ["/api/state", "/api/events", "/api/cameras/top/picture.jpg", "/api/cameras/top/map.png"] {
        assert_eq!(status(&ask(port, "GET", path, "")), 401, "{path}");
    }
    let session = ask(port, "GET", "/api/session", "");
    assert!(session.contains("\"change\":false") && session.contains("\"read\":false"), "{session}");
    assert_eq!(status(&ask(port, "POST", "/api/session", "Authorization: Bearer wrong-wrong-wrong\r\n")), 401);
    let begun = ask(port, "POST", "/api/session", &format!("Authorization: Bearer {TOKEN}\r\n"));
    assert_eq!(status(&begun), 204);
    let cookie = begun.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
    assert!(cookie.contains("; HttpOnly; SameSite=Strict") && !cookie.contains(TOKEN), "{cookie}");
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(status(&ask(port, "GET", "/api/state", &cookie)), 200);
    let picture = ask(port, "GET", "/api/cameras/top/picture.jpg", &cookie);
    assert!(status(&picture) == 200 && picture.contains("x-frame-seq: 1"), "{picture}");
    assert_eq!(status(&ask(port, "GET", "/api/cameras/top/map.png?seq=1", &cookie)), 200);
    assert_eq!(status(&ask(port, "GET", "/api/cameras/top/map.png?seq=2", &cookie)), 404);
    // A form of another site would send the cookie in an old browser, and never this header.
    let post = |headers: String| status(&ask(port, "POST", "/api/pause", &format!("Content-Length: 0\r\n{headers}")));
    assert_eq!(post(cookie.clone()), 401);
    assert_eq!(post(format!("{cookie}x-vcp-line-page: 1\r\n")), 200);
    assert_eq!(post(format!("{cookie}x-vcp-line-page: 1\r\nOrigin: http://attacker.example\r\n")), 403);
    assert_eq!(status(&ask(port, "DELETE", "/api/session", &cookie)), 204);
    assert_eq!(status(&ask(port, "GET", "/api/state", &cookie)), 401);
}

#[test]
fn a_slow_page_misses_verdicts_and_holds_up_nobody() {
    let told = Arc::new(Told::default());
    let web = start(&told, [127, 0, 0, 1]);
    let port = web.address().port();
    let follow = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        (stream, String::from_utf8_lossy(&head[9..]).into_owned())
    };
    let mut slow: Vec<_> = (0..12).map(|_| follow()).collect();
    assert!(slow.iter().all(|(_, status)| status == "200"));
    assert_eq!(follow().1, "503", "places are bounded");
    // Everything else is answered all the same.
    assert_eq!(raw(port, b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").0, 200);
    // None of them reads a byte; the one who tells does not notice.
    let part = "p".repeat(400);
    let mut longest = Duration::ZERO;
    for seq in 0..20_000 {
        let event = event("top", &part, seq);
        let began = Instant::now();
        told.news.verdict(event, Duration::from_millis(4), jiff::Timestamp::UNIX_EPOCH);
        longest = longest.max(began.elapsed());
    }
    println!("longest telling of 20,000 to twelve pages that do not read: {longest:?}");
    assert!(longest < Duration::from_millis(500), "{longest:?}");
    // Who reads again learns that it has missed some, and then what is new.
    let (stream, _) = &mut slow[0];
    let mut text = String::new();
    let mut bytes = [0; 65536];
    while !text.contains("event: missed") {
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0, "ended");
        text = text[text.len().saturating_sub(100)..].to_owned() + &String::from_utf8_lossy(&bytes[..count]);
    }
    drop(slow);
    // Their places are free again.
    let since = Instant::now();
    while follow().1 != "200" {
        assert!(since.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn hostile_names_appear_as_text() {
    let told = Arc::new(Told::default());
    let long = "x".repeat(10_000);
    let names = [
        "<script>window.pwned=1</script>",
        "\"><img src=x onerror=window.pwned=1>",
        "a\u{202e}gnp.exe",
        "\u{1b}[2Jline\r\nfeed\u{7}",
        "'; window.pwned=1; //",
        "{{constructor}}${7*7}",
        long.as_str(),
    ];
    let cameras: Vec<Value> = names
        .iter()
        .map(|name| {
            json!({ "camera": name, "state": "online", "trigger": "free", "paused": false,
                    "recipe": { "id": name, "version": 1 }, "parts": {}, "damaged": 0, "memory": null,
                    "limits": { "threshold": 0.5, "defect_threshold": 0.5, "min_area_px": 1, "regions": [] },
                    "activity": null, "last_activity": null })
        })
        .collect();
    let alarm = |name: &str| json!({ "camera": name, "kind": name, "message": name, "since": "2026-01-01T00:00:00Z", "help": name });
    *told.state.lock().unwrap() = json!({
        "line": names[0], "state": "online", "activity": names[1], "model": { "engine": names[0], "precision": names[1] },
        "cameras": cameras, "alarms": names.map(alarm), "outbox": null,
        "mqtt": { "connected": true, "queued": 0 },
    });
    for name in names {
        told.news.verdict(event(name, name, 1), Duration::from_millis(4), jiff::Timestamp::UNIX_EPOCH);
    }
    let web = start(&told, [127, 0, 0, 1]);
    let mut browser = Browser::start();
    browser.screen(390, 844);
    for view in ["now", "commission"] {
        browser.open(&format!("http://{}/?{view}#{view}", web.address()));
        browser.until("document.getElementById('states').textContent.includes('window.pwned')");
        if view == "now" {
            browser.until("document.querySelectorAll('.tile .verdict .word').length === 7");
            let text = browser.value("document.querySelector('main').textContent");
            let text = text.as_str().unwrap();
            for expected in
                [names[0], names[1], "a\\u{202e}gnp.exe", "\\u{1b}[2Jline\\u{d}\\u{a}feed\\u{7}", names[4], "… (10000)"]
            {
                assert!(text.contains(expected), "{expected}: {text}");
            }
            assert!(!text.contains('\u{202e}') && !text.contains('\u{1b}'));
        } else {
            browser.until("document.querySelectorAll('.missing li').length > 5");
        }
        browser.shoot(&format!("hostile-{view}"));
        assert_eq!(browser.value("document.documentElement.scrollWidth > innerWidth"), false, "{view}");
        let foreign = "document.querySelectorAll('main script, main img[src=x], body [onerror]').length";
        assert_eq!(browser.value(foreign), 0);
        assert_eq!(browser.value("window.pwned ?? null"), Value::Null);
    }
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
}

/// A browser has six connections for a host, and keeps pages that were left for the way back; the stream ends by itself after 50 s.
#[test]
fn pages_that_were_left_hold_no_connection() {
    let told = Arc::new(Told::default());
    *told.state.lock().unwrap() = json!({ "line": "caps", "state": "online", "cameras": [], "alarms": [], "outbox": null,
                                          "mqtt": { "connected": true, "queued": 0 } });
    let web = start(&told, [127, 0, 0, 1]);
    let mut browser = Browser::start();
    let began = Instant::now();
    for visit in 0..9 {
        browser.open(&format!("http://{}/?{visit}", web.address()));
        browser.until("document.getElementById('states').textContent.length > 0");
    }
    assert!(began.elapsed() < Duration::from_secs(45), "{:?}", began.elapsed());
}

/// The same on the way that parts take: what a controller, a reviewer and a file are called comes back from the archive and the self test.
#[test]
fn hostile_names_of_kept_parts_appear_as_text() {
    let names = [
        "<script>window.pwned=1</script>",
        "\"><img src=x onerror=window.pwned=1>",
        "a\u{202e}gnp.exe",
        "'; window.pwned=1; //",
    ];
    let golden = "<img src=x onerror=window.pwned=1>.png";
    let (broker, page) = (Mosquitto::start(Rules::default()), free_port());
    let verdicts = Subscriber::start(broker.port, VERDICTS, &[]);
    let folder = tempfile::tempdir().unwrap();
    write_token(folder.path(), TOKEN);
    let place = folder.path().join("golden/top/test/good");
    std::fs::create_dir_all(&place).unwrap();
    image::GrayImage::new(64, 64).save(place.join(golden)).unwrap();
    let tables = format!(
        "[http]\nlisten = \"127.0.0.1:{page}\"\ntoken_file = \"token\"\n[self_test]\ndirectory = \"golden\"\n\
         [archive]\ndirectory = \"kept\"\nsample = 1.0\nreserve_bytes = 1048576\n\
         [[camera]]\nname = \"top\"\nsource = \"synthetic\"\nclasses = [\"pill\"]\nsize = 64\npool = 6\nfps = 10.0\n\
         [camera.trigger]\nmode = \"software\"\n[camera.recipe]\nid = \"cap\"\nthreshold = 0.0\n"
    );
    let line = Line::run_in(folder, &settings(broker.port, &tables), |_| {});
    line.service.logged("1 camera, engine reference");
    let post = |path: &str, body: Value| {
        let (status, answer) = http(page, "POST", path, Some(TOKEN), &body.to_string());
        assert_eq!(status, 200, "{path} {answer}");
    };
    let parts = names.map(|name| {
        post("/api/trigger", json!({ "camera": "top", "part_id": name }));
        let event = verdicts.next(PATIENCE).expect("a verdict").json();
        assert_eq!(event["part"]["id"], name);
        event["event_id"].as_str().unwrap().to_owned()
    });
    post("/api/self_test", json!({ "camera": "top" }));
    line.service.logged("golden parts wrong");
    let mut browser = Browser::start();
    browser.screen(390, 844);
    let views =
        parts.iter().map(|part| format!("part/{part}")).chain(["history", "review", "commission"].map(String::from));
    for (at, view) in views.enumerate() {
        let end = Instant::now() + PATIENCE;
        while let Some(part) = parts.get(at) {
            // The archive writes a moment after the verdict has left.
            if http(page, "GET", &format!("/api/parts/{part}"), None, "").0 == 200 {
                let said = names[at];
                post("/api/reviews", json!({ "event_id": part, "opinion": "bad", "name": said, "reason": said }));
                break;
            }
            assert!(Instant::now() < end, "{said} is not kept", said = names[at]);
            std::thread::sleep(Duration::from_millis(50));
        }
        browser.open(&format!("http://127.0.0.1:{page}/?{at}#{view}"));
        let shown: Vec<String> = match view.as_str() {
            "commission" => vec![golden.into()],
            "history" | "review" => names.map(|name| name.replace('\u{202e}', "\\u{202e}")).into(),
            _ => vec![names[at].replace('\u{202e}', "\\u{202e}")],
        };
        for name in shown {
            let name = serde_json::to_string(&name).unwrap();
            browser.until(&format!("document.querySelector('main').textContent.includes({name})"));
        }
        browser.shoot(&format!("hostile-{}", view.split('/').next().unwrap()));
        assert_eq!(browser.value("document.documentElement.scrollWidth > innerWidth"), false, "{view}");
        assert_eq!(
            browser.value("document.querySelectorAll('main script, main img[src=x], body [onerror]').length"),
            0
        );
        assert_eq!(browser.value("document.body.textContent.includes('\\u202e')"), false, "{view}");
        assert_eq!(browser.value("window.pwned ?? null"), Value::Null, "{view}");
    }
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
}

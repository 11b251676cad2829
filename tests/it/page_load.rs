//! What pages that look on cost the line: ten readers of its events with their pictures and a browser, against none, in turns
//! within one run.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::chromium::Browser;
use crate::support::commands::raw;
use crate::support::events::is_verdict;
use crate::support::line::{Line, settings};
use crate::support::mosquitto::{Mosquitto, Rules, Subscriber, free_port};
use serde_json::Value;

const READERS: usize = 10;
const TURN: Duration = Duration::from_secs(6);
const TURNS: usize = 9;
/// A browser that makes a page takes both cores of a small machine for a moment, and it is not the line's.
const SETTLING: Duration = Duration::from_millis(1500);

/// Reads the stream, and asks for a picture and its map as often as the page does, until `stop`.
fn reader(port: u16, stop: Arc<AtomicBool>, heard: Arc<AtomicU64>) -> thread::JoinHandle<()> {
    let read = move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        stream.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let (mut bytes, mut next) = ([0; 65536], Instant::now());
        while !stop.load(Ordering::Relaxed) {
            if let Ok(count) = stream.read(&mut bytes) {
                assert!(count > 0, "the stream has ended");
                let text = String::from_utf8_lossy(&bytes[..count]);
                heard.fetch_add(text.matches("event: verdict").count() as u64, Ordering::Relaxed);
            }
            if Instant::now() >= next {
                next = Instant::now() + Duration::from_millis(400);
                let request = "GET /api/cameras/top/map.png HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
                let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                stream.write_all(request.as_bytes()).unwrap();
                stream.read_to_end(&mut Vec::new()).unwrap();
            }
        }
    };
    thread::Builder::new().name("reader".into()).spawn(read).unwrap()
}

fn p99(latencies: &mut [f64]) -> f64 {
    latencies.sort_by(f64::total_cmp);
    latencies[latencies.len() * 99 / 100]
}

#[test]
#[ignore = "a measurement: wants the machine for itself; cargo test --test it page_load:: -- --ignored --nocapture"]
fn ten_readers_make_no_verdict_late() {
    let broker = Mosquitto::start(Rules::default());
    let verdicts = Subscriber::start(broker.port, "vcp-line/caps/top/verdict", &[]);
    let page = free_port();
    let camera = "[[camera]]\nname = \"top\"\nsource = \"synthetic\"\nclasses = [\"pill\"]\nsize = 512\npool = 6\nfps = 20.0\n\
                  [camera.trigger]\nmode = \"hardware\"\ndeadline_ms = 500\n";
    let http = format!("[http]\nlisten = \"127.0.0.1:{page}\"\n");
    let line = Line::run(&settings(broker.port, &(http + camera)));
    line.service.logged("1 camera, engine reference");
    assert_eq!(raw(page, b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").0, 200);
    let (mut latencies, mut late, mut late_while_opening) = ([const { Vec::new() }; 3], 0, 0);
    let mut browser = Browser::start();
    let heard = Arc::new(AtomicU64::new(0));
    for turn in 0..TURNS {
        // Nobody, ten readers, ten readers and a browser.
        let (kind, stop) = (turn % 3, Arc::new(AtomicBool::new(false)));
        let looks = kind == 2;
        browser.open(&if looks { format!("http://127.0.0.1:{page}/?{turn}") } else { "about:blank".into() });
        if looks {
            browser.until("document.querySelector('.tile .verdict .word')");
        }
        let count = if kind > 0 { READERS } else { 0 };
        let readers: Vec<_> = (0..count).map(|_| reader(page, Arc::clone(&stop), Arc::clone(&heard))).collect();
        let (settled, until) = (Instant::now() + SETTLING, Instant::now() + SETTLING + TURN);
        while Instant::now() < until {
            let Some(message) = verdicts.next(Duration::from_millis(200)).filter(is_verdict) else { continue };
            let event: Value = message.json();
            let is_late = u64::from(event["reason"] == "deadline" || event["historical"] == true);
            if Instant::now() < settled {
                late_while_opening += is_late;
                continue;
            }
            late += is_late;
            latencies[kind].push(event["latency_ms"]["total"].as_f64().unwrap());
        }
        stop.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    }
    let [alone, read, looked] = latencies.each_mut().map(|latencies| p99(latencies));
    println!(
        "20 parts/s: p99 capture to publish {alone:.1} ms without readers, {read:.1} ms with {READERS} ({:.2} times), {looked:.1} ms with a \
         browser on the same cores besides ({:.2} times); {late} late, {late_while_opening} while the browser opened a page; {} verdicts \
         heard by them",
        read / alone,
        looked / alone,
        heard.load(Ordering::Relaxed)
    );
    assert_eq!(late, 0);
    assert!(read <= (1.15 * alone).max(alone + 2.0));
}

//! What is asked of the archive of a running line: parts that are to be kept, and a selection as one file.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::commands::{ACK, http, publish};
use crate::support::line::{Line, PATIENCE, settings, write_token};
use crate::support::mosquitto::{Mosquitto, Rules, Subscriber, free_port};
use serde_json::{Value, json};

const TOKEN: &str = "correct-horse-battery";

/// A line of one camera that keeps pictures of this share of the parts that pass; nearly all of them do.
fn start(broker: u16, page: u16, archive: &str) -> Line {
    let folder = tempfile::tempdir().unwrap();
    write_token(folder.path(), TOKEN);
    let tables = format!(
        "[http]\nlisten = \"127.0.0.1:{page}\"\ntoken_file = \"token\"\n{archive}\
         [[camera]]\nname = \"top\"\nsource = \"synthetic\"\nclasses = [\"pill\"]\nsize = 64\npool = 6\nfps = 10.0\n\
         [camera.trigger]\nmode = \"hardware\"\n[camera.recipe]\nid = \"cap\"\ndefect_threshold = 1.0\n"
    );
    let line = Line::run_in(folder, &settings(broker, &tables), |_| {});
    line.service.logged("1 camera, engine reference");
    line
}

/// Head and body of the answer to `GET path`.
fn fetch(port: u16, path: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end + 4..].to_vec())
}

fn requested(page: u16) -> Vec<Value> {
    let filter = "%7B%22pictures%22:true%7D";
    let (status, found) = http(page, "GET", &format!("/api/parts?filter={filter}&most=1000"), None, "");
    assert_eq!(status, 200, "{found}");
    let parts = found["parts"].as_array().unwrap().iter();
    parts.filter(|part| part["why"] == "requested").cloned().collect()
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_next_parts_are_kept_on_request_and_leave_as_one_zip() {
    let broker = Mosquitto::start(Rules::default());
    let page = free_port();
    let archive = "[archive]\ndirectory = \"kept\"\nsample = 0.0\nreserve_bytes = 1048576\n";
    let _line = start(broker.port, page, archive);
    // Over HTTP with the token, and over the broker; exactly as many as were asked for, all of which passed.
    assert_eq!(http(page, "POST", "/api/keep", None, "{}").0, 401);
    let (status, ack) = http(page, "POST", "/api/keep", Some(TOKEN), "{\"parts\":3}");
    assert_eq!((status, &ack["applied"]), (200, &json!({ "keep": ["top"], "parts": 3 })));
    until("three parts", || requested(page).len() == 3);
    let acks = Subscriber::start(broker.port, ACK, &[]);
    publish(broker.port, "keep", br#"{"correlation_id":"k","camera":"top"}"#, &[]);
    assert_eq!(acks.next(PATIENCE).unwrap().json()["applied"]["parts"], 1);
    until("four parts", || requested(page).len() == 4);
    for (wrong, said) in [("{\"parts\":0}", "out of range"), ("{\"camera\":\"side\"}", "no camera 'side'")] {
        let (status, ack) = http(page, "POST", "/api/keep", Some(TOKEN), wrong);
        assert!(status == 409 && ack["error"].as_str().unwrap().contains(said), "{ack}");
    }
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(requested(page).len(), 4, "no more than that");

    let path = "/api/export.zip?filter=%7B%22verdict%22:%22pass%22%7D";
    // Somebody who goes away in the middle keeps nobody else from exporting.
    let mut gone = TcpStream::connect(("127.0.0.1", page)).unwrap();
    write!(gone, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    gone.read_exact(&mut [0; 12]).unwrap();
    drop(gone);
    let mut answer = fetch(page, path);
    until("the export", || {
        if answer.0.starts_with("HTTP/1.0 503") {
            answer = fetch(page, path);
        }
        answer.0.starts_with("HTTP/1.0 200")
    });
    assert!(answer.0.contains("content-disposition: attachment; filename=\"parts.zip\""), "{}", answer.0);
    let mut zip = zip::ZipArchive::new(Cursor::new(&answer.1)).unwrap();
    let names: Vec<String> = zip.file_names().map(|name| name.unwrap().into_owned()).collect();
    let pictures = names.iter().filter(|name| name.starts_with("top/test/good/") && name.ends_with(".png"));
    assert!(pictures.count() == 4 && names.len() == 5, "{names:?}");
    let mut lines = String::new();
    zip.by_name("parts.jsonl").unwrap().read_to_string(&mut lines).unwrap();
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let mut picture = Vec::new();
        zip.by_name(line["file"].as_str().unwrap()).unwrap().read_to_end(&mut picture).unwrap();
        assert_eq!(image::load_from_memory(&picture).unwrap().width(), 64);
    }
    assert_eq!(lines.lines().count(), 4);
    let (head, _) = fetch(page, "/api/export.zip?filter=%7B%22no%22:1%7D");
    assert!(head.starts_with("HTTP/1.0 400"), "{head}");
}

#[test]
fn a_line_without_archive_says_so() {
    let broker = Mosquitto::start(Rules::default());
    let page = free_port();
    let _line = start(broker.port, page, "");
    let (status, ack) = http(page, "POST", "/api/keep", Some(TOKEN), "{}");
    let said = "this line has no archive; add [archive] to its settings";
    assert_eq!((status, ack["error"].as_str()), (409, Some(said)));
    let (head, body) = fetch(page, "/api/export.zip");
    assert!(head.starts_with("HTTP/1.0 404") && String::from_utf8_lossy(&body).contains(said), "{head}");
}

/// Somebody's own words, and a language that the page does not have.
#[test]
fn texts_come_from_a_file_too() {
    let broker = Mosquitto::start(Rules::default());
    let page = free_port();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("texts.json"), r#"{"fr":{"now":"Maintenant"},"en":{"now":"Right now","own":"x"}}"#)
        .unwrap();
    let camera =
        "[[camera]]\nname = \"top\"\nsource = \"synthetic\"\nclasses = [\"pill\"]\nsize = 64\npool = 6\nfps = 5.0\n";
    let tables = format!("[http]\nlisten = \"127.0.0.1:{page}\"\ntexts = \"texts.json\"\n{camera}");
    let line = Line::run_in(folder, &settings(broker.port, &tables), |_| {});
    line.service.logged("1 camera, engine reference");
    let (_, texts) = http(page, "GET", "/page/texts.json", None, "");
    assert_eq!((&texts["fr"]["now"], &texts["en"]["now"]), (&json!("Maintenant"), &json!("Right now")));
    assert_eq!((&texts["en"]["history"], &texts["de"]["now"]), (&json!("History"), &json!("Jetzt")));
}

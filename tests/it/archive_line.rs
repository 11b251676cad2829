//! The archive of a running line: events name pictures that are there, a nearly full or slow disk costs no verdict, numbers for
//! Prometheus are what Prometheus takes.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::conveyor::{Bench, PATIENCE, stage};
use crate::support::disk::Mount;
use crate::support::events::is_verdict;
use crate::support::line::{FOLDER, Line, finished, settings};
use crate::support::mosquitto::{self, Mosquitto, Rules, free_port};
use crate::support::schema;

use super::disk_faults::shim;

/// Status, type and body of an answer.
fn fetch(api: u16, path: &str) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", api)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let kind = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default().to_owned();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), kind, answer[end + 4..].to_vec())
}

#[test]
fn events_name_pictures_that_are_there() {
    let broker = Mosquitto::start(Rules::default());
    let verdicts = mosquitto::Subscriber::start(broker.port, "vcp-line/caps/top/verdict", &[]);
    let api = free_port();
    let extra = format!(
        "[archive]\ndirectory = \"kept\"\nsample = 1.0\nreserve_bytes = 1048576\n[http]\nlisten = \"127.0.0.1:{api}\"\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let parts = folder.path().join("parts");
    crate::support::line::pictures(&parts);
    // The line goes on after them, so that it can be asked.
    let camera = FOLDER.replace("path", "watch = true\npath");
    let mut line = Line::run_in(folder, &settings(broker.port, &format!("{extra}{camera}")), |_| {});
    let mut events: Vec<Value> = Vec::new();
    while events.len() < 12 {
        let message = verdicts.next(PATIENCE).expect("a verdict");
        if is_verdict(&message) {
            events.push(message.json());
        }
    }
    for event in &events {
        schema::assert_valid(&schema::verdict(), event);
        let frame = event["images"]["frame"].as_str().unwrap_or_else(|| panic!("no picture: {event}"));
        let overlay = event["images"]["overlay"].as_str().unwrap();
        let start = Instant::now();
        // It is written a moment after the event.
        let bytes = loop {
            match fetch(api, frame) {
                (200, kind, bytes) => break (kind, bytes).1,
                (404, ..) if start.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(20)),
                other => panic!("{frame}: {other:?}"),
            }
        };
        let kept = image::load_from_memory(&bytes).unwrap();
        let file = parts.join(event["frame"]["file"].as_str().unwrap());
        let original = image::open(&file).unwrap();
        assert_eq!((kept.width(), kept.height()), (original.width(), original.height()));
        if file.extension().unwrap() != "jpg" {
            assert_eq!(kept.to_rgb8(), original.to_rgb8(), "{}", file.display());
        }
        let (status, kind, drawn) = fetch(api, overlay);
        assert_eq!((status, kind.as_str()), (200, "image/png"));
        assert_eq!(image::load_from_memory(&drawn).unwrap().width(), original.width());
    }
    assert_eq!(fetch(api, "/api/archive/0192f6c1-0000-7000-8000-000000000000/frame.png").0, 404);
    assert_eq!(fetch(api, &events[0]["images"]["frame"].as_str().unwrap().replace("frame", "x")).0, 404);
    assert_eq!(fetch(api, "/ready"), (200, "application/json".into(), b"{\"ready\":true}".to_vec()));
    let (status, kind, metrics) = fetch(api, "/metrics");
    assert_eq!((status, kind.as_str()), (200, "text/plain; version=0.0.4; charset=utf-8"));
    judge_metrics(&String::from_utf8(metrics).unwrap());
    line.service.signal("TERM");
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
    let kept = line.folder.path().join("kept");
    let kept = kept.to_str().unwrap();
    let listed = finished(&["archive", kept, "list", "--pictures", "--json"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.lines().count(), 12, "{listed}");
    let first: Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    assert_eq!(first["camera"], "top");
    let set = line.folder.path().join("set");
    let exported = finished(&["archive", kept, "export", set.to_str().unwrap()]);
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    let check = finished(&["archive", line.folder.path().join("no").to_str().unwrap(), "list"]);
    assert_eq!(check.status.code(), Some(2));
}

/// What Prometheus' own tool says of them, and that what is documented is there.
fn judge_metrics(text: &str) {
    let mut promtool = match Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    {
        Ok(promtool) => promtool,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "promtool: {error}");
            eprintln!("skipped, promtool: {error}; scripts/setup-debian.sh test installs it");
            return;
        }
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    let complaints = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success() && complaints.is_empty(), "{complaints}\n{text}");
    let sample = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in\n{text}"));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(sample("vcp_line_ready "), 1.0);
    assert_eq!(sample("vcp_line_camera_up{camera=\"top\"}"), 1.0);
    assert_eq!(sample("vcp_line_broker_connected "), 1.0);
    assert_eq!(sample("vcp_line_verdict_seconds_count "), 12.0);
    assert_eq!(sample("vcp_line_frames_total{camera=\"top\"}"), 12.0);
    assert_eq!(sample("vcp_line_archive_pictures_written_total "), 12.0);
    let verdicts = text.lines().filter(|line| line.starts_with("vcp_line_verdicts_total{"));
    assert_eq!(verdicts.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum::<f64>(), 12.0);
    let documented = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/metrics.md")).unwrap();
    let named: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(named.len() >= 40, "{named:?}");
    for name in named {
        assert!(documented.contains(&format!("`{name}`")), "deploy/metrics.md does not name {name}");
    }
}

#[test]
fn rules_and_dashboard_name_metrics_that_there_are() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let documented = fs::read_to_string(deploy.join("metrics.md")).unwrap();
    for file in ["prometheus-rules.yml", "grafana-dashboard.json"] {
        let text = fs::read_to_string(deploy.join(file)).unwrap();
        let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
        let names: Vec<&str> = words.filter(|word| word.starts_with("vcp_line_")).collect();
        assert!(names.len() > 8, "{file}: {names:?}");
        for name in names {
            let plain = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(
                documented.contains(&format!("`{plain}`")),
                "{file} names {name}, which deploy/metrics.md does not"
            );
        }
    }
    let dashboard: Value = serde_json::from_slice(&fs::read(deploy.join("grafana-dashboard.json")).unwrap()).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 8);
    match Command::new("promtool").args(["check", "rules"]).arg(deploy.join("prometheus-rules.yml")).output() {
        Ok(said) => assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr)),
        Err(error) => assert!(std::env::var_os("CI").is_none(), "promtool: {error}"),
    }
}

/// 50 MB are left on the archive's disk, and it leaves 64 MB: it keeps no pictures and says so, verdicts go on; once there is
/// room again, it goes on.
#[test]
fn a_disk_that_is_nearly_full_costs_pictures_and_no_verdict() {
    let broker = Mosquitto::start(Rules::default());
    let mut consumer = crate::support::consumer::Consumer::start(broker.port);
    let mut bench = Bench::new();
    let place = bench.folder.path().join("kept");
    fs::create_dir_all(&place).unwrap();
    let Some(mount) = Mount::tmpfs(&place, "160m") else { return };
    let filler = place.join("somebody-elses-file");
    fs::write(&filler, vec![b'x'; 110 << 20]).unwrap();
    let table = format!("[archive]\ndirectory = \"{}\"\nsample = 1.0\nreserve_bytes = {}\n", place.display(), 64 << 20);
    let verdicts = mosquitto::Subscriber::start(broker.port, "vcp-line/caps/top/verdict", &[]);
    let mut service = bench.run(broker.port, "127.0.0.1", None, 40.0, &table);
    service.logged("no picture is kept until there is more");
    let so_far = bench.delivered();
    consumer.until_parts(so_far + 60, PATIENCE);
    let alarm = mosquitto::Subscriber::start(broker.port, "vcp-line/caps/top/alarm", &[]).next(PATIENCE).unwrap();
    assert!(alarm.retained && alarm.payload.contains("\"archive\""), "{alarm:?}");
    let state = mosquitto::Subscriber::start(broker.port, "vcp-line/caps/state", &[]).next(PATIENCE).unwrap();
    assert_eq!(state.json()["state"], "online", "it harms no verdict");
    let last = verdicts.until(|message| is_verdict(message) && message.json()["seq"].as_u64() > Some(60));
    assert!(last.last().unwrap().json()["images"].is_null(), "an event names pictures that are not kept");
    fs::remove_file(&filler).unwrap();
    service.logged("the archive is well again");
    verdicts.until(|message| is_verdict(message) && !message.json()["images"].is_null());
    bench.end(&mut service, &mut consumer, "50 MB left on the archive's disk");
    drop(verdicts);
    drop(mount);
}

/// Every sync takes 150 ms: the archive falls behind and counts what it drops, the line does not notice.
#[test]
fn a_slow_disk_of_the_archive_costs_no_verdict() {
    let (broker, mut consumer, mut bench) = stage();
    let slow = shim(
        bench.folder.path(),
        "#include <fcntl.h>\n#include <string.h>\n#include <stdlib.h>\n\
         static void wait(int f) { char l[64], p[4096]; snprintf(l, sizeof l, \"/proc/self/fd/%d\", f);\n\
         ssize_t n = readlink(l, p, sizeof p - 1); if (n > 0) { p[n] = 0;\n\
         if (strstr(p, \"/kept/\")) { struct timespec t = {0, 150000000}; nanosleep(&t, 0); } } }\n\
         int fdatasync(int f) { wait(f); return syscall(SYS_fdatasync, f); }\n\
         int fsync(int f) { wait(f); return syscall(SYS_fsync, f); }\n",
    );
    let place = bench.folder.path().join("kept");
    let table = format!(
        "[archive]\ndirectory = \"{}\"\nsample = 1.0\nreserve_bytes = 1048576\nmax_queue_bytes = 1048576\n",
        place.display()
    );
    let mut service = bench.run_with(broker.port, "127.0.0.1", None, 40.0, &table, |command| {
        command.env("LD_PRELOAD", &slow);
    });
    consumer.until_parts(100, PATIENCE);
    let (began, before) = (Instant::now(), bench.delivered());
    service.logged("slower than parts come");
    while began.elapsed() < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let rate = (bench.delivered() - before) as f64 / began.elapsed().as_secs_f64();
    assert!(rate > 30.0, "the camera waits for the archive: {rate} parts a second in place of 40");
    bench.end(&mut service, &mut consumer, "slow disk of the archive, 150 ms for each sync");
}

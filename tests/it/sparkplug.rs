//! The Sparkplug edge node against a real broker, judged by a decoder of its own that knows the wire format alone.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::mosquitto::{Mosquitto, PATIENCE, Rules, Subscriber, free_port};
use crate::support::spark::{Spark, Value, rebirth};
use crate::support::verdicts::model;
use uuid::Uuid;
use vcp_line::clock::{Clock, ClockSource, SystemClock};
use vcp_line::event::*;
use vcp_line::publish::sparkplug::{Sparkplug, SparkplugSpec};
use vcp_line::publish::{CameraState, LineState, PublisherSpec, StateWord, Version};

/// Set in the child process that is to be killed: the port of the broker and the file with the connection's number.
const VICTIM: &str = "VCP_LINE_TEST_SPARKPLUG_VICTIM";

fn event(camera: &str, seq: u64, verdict: VerdictWord) -> InspectionEvent {
    let now = SystemClock.now();
    InspectionEvent {
        schema: SCHEMA,
        event_id: Uuid::now_v7(),
        session: Uuid::nil(),
        seq,
        line: "caps".into(),
        camera: camera.into(),
        part: None,
        verdict,
        reason: None,
        score: Some(0.25),
        threshold: None,
        defect_threshold: 0.5,
        defects: vec![],
        frame: None,
        time: EventTime { captured: now.wall, clock: ClockSource::System, published: now.wall },
        latency_ms: Latency::default(),
        recipe: RecipeInfo { id: "cap".into(), version: 3 },
        model: model(),
        historical: false,
        suspect: None,
        location: None,
        images: None,
        tiles: None,
    }
}

fn line() -> LineState {
    LineState {
        state: StateWord::Online,
        since: None,
        cameras: [("side".to_string(), CameraState::Online), ("top".to_string(), CameraState::Online)].into(),
        model: Some(model()),
        activity: None,
        activities: Vec::new(),
    }
}

fn spec(port: u16) -> SparkplugSpec {
    let mut connection = PublisherSpec::new("127.0.0.1", port, "caps");
    connection.client_id = "caps-sparkplug".into();
    connection.backoff_min = Duration::from_millis(50);
    connection.backoff_max = Duration::from_millis(200);
    SparkplugSpec {
        connection,
        group: "plant".into(),
        node: "caps".into(),
        primary_host: None,
        max_stored: 10_000,
        bd_seq_file: None,
    }
}

fn start(spec: SparkplugSpec) -> Sparkplug {
    Sparkplug::start(spec, &line(), Arc::new(SystemClock)).expect("starts")
}

/// Everything that is published in the namespace, as bytes in hexadecimal.
fn host(port: u16) -> Subscriber {
    Subscriber::start(port, "spBv1.0/plant/#", &["-F", "MESSAGE %r\t%t\t%x"])
}

fn until(host: &Subscriber, mut last: impl FnMut(&Spark) -> bool) -> Vec<Spark> {
    let mut heard = Vec::new();
    host.until(|message| {
        let spark = Spark::of(message);
        let done = last(&spark);
        heard.push(spark);
        done
    });
    heard
}

fn publish(port: u16, topic: &str, payload: &[u8], retained: bool) {
    use std::io::Write;
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1", "-t", topic]);
    command.arg(if payload.is_empty() { "-n" } else { "-s" });
    if retained {
        command.arg("-r");
    }
    let mut child = command.stdin(Stdio::piped()).spawn().expect("mosquitto_pub runs");
    child.stdin.take().expect("piped").write_all(payload).expect("written");
    assert!(child.wait().expect("our own child").success());
}

/// Births first, then one number after the other; returns the names that were born, by topic.
fn assert_well_formed(heard: &[Spark]) {
    let mut next = None;
    let mut born: std::collections::BTreeMap<String, BTreeSet<String>> = Default::default();
    for spark in heard {
        match spark.kind.as_str() {
            "NDEATH" => {
                assert_eq!(spark.seq, None, "a death has no number");
                next = None;
                continue;
            }
            "NCMD" => continue,
            "NBIRTH" => next = Some(0),
            _ => {}
        }
        assert_eq!(spark.seq, next, "{spark:?}");
        next = next.map(|seq| (seq + 1) % 256);
        let names: BTreeSet<String> = spark.metrics.keys().cloned().collect();
        let key = spark.device.clone().unwrap_or_default();
        if spark.kind.ends_with("BIRTH") {
            born.insert(key, names);
        } else {
            assert!(names.is_subset(&born[&key]), "{spark:?} says what was not born");
        }
    }
}

#[test]
fn births_come_first_numbers_run_on_and_the_death_belongs_to_the_birth() {
    for version in [Version::V4, Version::V5] {
        let broker = Mosquitto::start(Rules::default());
        let host = host(broker.port);
        let mut spec = spec(broker.port);
        spec.connection.version = version;
        let node = start(spec);
        let births = until(&host, |spark| spark.device.as_deref() == Some("top"));
        let kinds: Vec<_> = births.iter().map(|s| (s.kind.as_str(), s.device.as_deref(), s.seq)).collect();
        let (side, top) = (Some("side"), Some("top"));
        assert_eq!(kinds, [("NBIRTH", None, Some(0)), ("DBIRTH", side, Some(1)), ("DBIRTH", top, Some(2))]);
        let birth = &births[0];
        assert_eq!((birth.long("bdSeq"), birth.value("Node Control/Rebirth")), (0, &Value::Boolean(false)));
        assert_eq!(birth.value("Line/State"), &Value::Text("online".into()));
        assert_eq!(births[2].value("Verdict/Word"), &Value::Null);

        let voice = node.handle();
        for seq in 0..600 {
            let verdict = if seq % 3 == 0 { VerdictWord::Fail } else { VerdictWord::Pass };
            voice.verdict(&event(["top", "side"][seq as usize % 2], seq, verdict));
        }
        assert_eq!(node.stop(PATIENCE), 0);
        let mut heard = births;
        heard.extend(until(&host, |spark| spark.kind == "NDEATH"));
        assert_well_formed(&heard);
        assert!(heard.iter().all(|spark| !spark.retained));
        let data: Vec<_> = heard.iter().filter(|spark| spark.kind == "DDATA").collect();
        let seqs: Vec<_> = data.iter().map(|spark| spark.long("Verdict/Seq")).collect();
        assert_eq!(seqs, (0..600).collect::<Vec<_>>());
        assert!(data.iter().all(|spark| !spark.historical()));
        let last = data[599];
        let counted = ["Counters/Pass", "Counters/Fail", "Counters/No verdict"].map(|name| last.long(name));
        assert_eq!(counted, [200, 100, 0], "of one camera");
        assert_eq!(last.value("Verdict/Score"), &Value::Float(0.25));
        assert_eq!((last.long("Recipe/Version"), last.long("Verdict/Defects")), (3, 0));
        assert_eq!(heard.last().map(|death| death.long("bdSeq")), Some(0));
    }
}

/// Not a test of its own: the process that the next test kills.
#[test]
fn victim() {
    let Ok(words) = std::env::var(VICTIM) else { return };
    let (port, file) = words.split_once(' ').expect("port and file");
    let mut spec = spec(port.parse().expect("a port"));
    spec.bd_seq_file = Some(file.into());
    let node = start(spec);
    for seq in 0.. {
        node.handle().verdict(&event("top", seq, VerdictWord::Pass));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_killed_node_dies_with_the_number_of_its_birth_and_the_next_one_has_another() {
    let broker = Mosquitto::start(Rules::default());
    let host = host(broker.port);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bdseq");
    for expected in 0..3 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "sparkplug::victim"])
            .env(VICTIM, format!("{} {}", broker.port, file.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test again");
        let mut heard = until(&host, |spark| spark.kind == "DDATA" && spark.long("Verdict/Seq") >= 3);
        child.kill().expect("our own child");
        child.wait().expect("our own child");
        heard.extend(until(&host, |spark| spark.kind == "NDEATH"));
        assert_well_formed(&heard);
        let (birth, death) = (&heard[0], heard.last().expect("a death"));
        assert_eq!((birth.kind.as_str(), birth.long("bdSeq"), death.long("bdSeq")), ("NBIRTH", expected, expected));
    }
}

#[test]
fn a_host_gets_all_births_again_and_nonsense_gets_nothing() {
    let broker = Mosquitto::start(Rules::default());
    // A command from another time.
    publish(broker.port, "spBv1.0/plant/NCMD/caps", &rebirth(true), true);
    let host = host(broker.port);
    let node = start(spec(broker.port));
    let mut heard = until(&host, |spark| spark.device.as_deref() == Some("top"));
    assert_eq!(heard.iter().filter(|spark| spark.kind == "NBIRTH").count(), 1);
    (0..5).for_each(|seq| node.handle().verdict(&event("top", seq, VerdictWord::Fail)));
    let hostile: [&[u8]; 6] =
        [b"", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", &[0x12, 0x7f], &rebirth(false), b"{}", &[0; 4096]];
    for payload in hostile {
        publish(broker.port, "spBv1.0/plant/NCMD/caps", payload, false);
    }
    publish(broker.port, "spBv1.0/plant/NCMD/caps", &rebirth(true), false);
    let again = until(&host, |spark| spark.kind == "NBIRTH");
    assert_eq!(again.last().map(|spark| spark.long("bdSeq")), Some(0), "the same connection");
    assert_eq!(again.iter().filter(|spark| spark.kind == "NCMD").count(), hostile.len() + 1);
    heard.extend(again);
    heard.extend(until(&host, |spark| spark.device.as_deref() == Some("top")));
    let top = heard.last().expect("heard");
    assert_eq!((top.kind.as_str(), top.long("Verdict/Seq"), top.long("Counters/Fail")), ("DBIRTH", 4, 5));
    node.handle().verdict(&event("top", 5, VerdictWord::Fail));
    heard.extend(until(&host, |spark| spark.kind == "DDATA"));
    assert_well_formed(&heard);
    assert_eq!(node.stop(PATIENCE), 0);
}

fn say_host(port: u16, online: bool, timestamp: u64) {
    let payload = format!("{{\"online\":{online},\"timestamp\":{timestamp}}}");
    publish(port, "spBv1.0/STATE/scada", payload.as_bytes(), true);
}

#[test]
fn without_its_primary_host_the_node_is_silent_and_tells_the_past_afterwards() {
    let broker = Mosquitto::start(Rules::default());
    let host = host(broker.port);
    let mut spec = spec(broker.port);
    spec.primary_host = Some("scada".into());
    let node = start(spec);
    let give =
        |seqs: std::ops::Range<u64>| seqs.for_each(|s| node.handle().verdict(&event("top", s, VerdictWord::Pass)));
    give(0..3);
    assert!(host.next(Duration::from_millis(700)).is_none(), "nobody asked");
    assert_eq!(node.handle().stored(), (3, 0));

    say_host(broker.port, true, 1000);
    let mut heard = until(&host, |spark| spark.kind == "DDATA" && spark.long("Verdict/Seq") == 2);
    assert!(heard.iter().filter(|spark| spark.kind == "DDATA").all(Spark::historical));
    give(3..5);
    heard.extend(until(&host, |spark| spark.kind == "DDATA" && spark.long("Verdict/Seq") == 4));
    assert!(heard.iter().rev().take(2).all(|spark| !spark.historical()));

    say_host(broker.port, false, 2000);
    heard.extend(until(&host, |spark| spark.kind == "NDEATH"));
    let first = heard[0].long("bdSeq");
    assert_eq!(heard.last().map(|spark| spark.long("bdSeq")), Some(first));
    give(5..8);
    // The past is no news: a delayed message from before the host went.
    std::thread::sleep(Duration::from_millis(600));
    publish(broker.port, "spBv1.0/STATE/scada", b"{\"online\":true,\"timestamp\":1500}", false);
    publish(broker.port, "spBv1.0/STATE/scada", b"online", false);
    assert!(host.next(Duration::from_millis(500)).is_none(), "the host is away");
    assert_eq!(node.handle().stored(), (3, 0));

    say_host(broker.port, true, 3000);
    let back = until(&host, |spark| spark.kind == "DDATA" && spark.long("Verdict/Seq") == 7);
    assert_eq!((back[0].kind.as_str(), back[0].long("bdSeq")), ("NBIRTH", first + 1));
    assert_eq!(back[0].long("Store/Waiting"), 3);
    let past: Vec<_> = back.iter().filter(|spark| spark.kind == "DDATA").collect();
    assert_eq!(past.iter().map(|spark| spark.long("Verdict/Seq")).collect::<Vec<_>>(), [5, 6, 7]);
    assert!(past.iter().all(|spark| spark.historical()));
    heard.extend(back);
    assert_well_formed(&heard);
    assert_eq!(node.stop(PATIENCE), 0);
}

#[test]
fn a_broker_that_comes_back_gets_births_and_the_newest_of_what_was_kept() {
    let mut broker = Mosquitto::start(Rules::default());
    broker.stop();
    let mut spec = spec(broker.port);
    // Nothing is said before the host listens, so nothing can be missed.
    (spec.max_stored, spec.primary_host) = (5, Some("scada".into()));
    let node = start(spec);
    (0..12).for_each(|seq| node.handle().verdict(&event("top", seq, VerdictWord::Pass)));
    assert_eq!(node.handle().stored(), (5, 7));
    broker.restart();
    let host = host(broker.port);
    say_host(broker.port, true, 1);
    let heard = until(&host, |spark| spark.kind == "DDATA" && spark.long("Verdict/Seq") == 11);
    assert_well_formed(&heard);
    assert_eq!((heard[0].long("Store/Waiting"), heard[0].long("Store/Lost")), (5, 7));
    let data = heard.iter().filter(|spark| spark.kind == "DDATA");
    assert_eq!(data.map(|spark| spark.long("Verdict/Seq")).collect::<Vec<_>>(), [7, 8, 9, 10, 11]);
    assert!(heard.iter().filter(|spark| spark.kind == "DDATA").all(Spark::historical));
    assert_eq!(node.stop(PATIENCE), 0);
}

#[test]
fn a_stop_without_a_broker_does_not_wait() {
    let node = start(spec(free_port()));
    node.handle().verdict(&event("top", 0, VerdictWord::Pass));
    let start = Instant::now();
    assert_eq!(node.stop(PATIENCE), 1);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

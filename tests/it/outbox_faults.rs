//! The real program, a real broker and an independent consumer, while things break: no verdict is lost, none is given
//! twice, order holds. Each test prints its row of the table:
//! `| fault | parts | lost | gaps | repeated | answered twice or changed | out of order | restarted |`
//!
//! `make soak` runs the long form: 200 kills while 2,000 parts run, a broker away for a minute. Here what happens to the
//! process, the broker and the network; `disk_faults.rs`, `camera_faults.rs` and `soak.rs` have the rest.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::commands::{ACK, publish};
use crate::support::consumer::{self, Consumer};
use crate::support::conveyor::{Bench, Dice, PATIENCE, soak, stage};
use crate::support::mosquitto::{self, Mosquitto, Rules, Subscriber};
use crate::support::{certs, netns};
use vcp_line::vcp_clip::Architecture;
use vcp_line::weights;

/// The judge itself: each mistake that it looks for is made here once.
#[test]
fn the_consumer_sees_every_kind_of_mistake() {
    let broker = Mosquitto::start(Rules::default());
    let mut consumer = Consumer::start(broker.port);
    let folder = tempfile::tempdir().unwrap();
    let say = |id: &str, session: &str, seq: u64, verdict: &str, part: &str| {
        let event = format!(
            "{{\"event_id\":\"{id}\",\"session\":\"{session}\",\"seq\":{seq},\"camera\":\"top\",\"part\":{{\"id\":\"{part}\"}},\
             \"verdict\":\"{verdict}\",\"frame\":{{\"seq\":99}},\"historical\":false}}"
        );
        let port = broker.port.to_string();
        let told = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &port, "-t", "vcp-line/caps/top/verdict", "-q", "1", "-m", &event])
            .status();
        assert!(told.unwrap().success());
    };
    say("a", "s1", 1, "pass", "A-1");
    say("a", "s1", 1, "pass", "A-1"); // a duplicate
    say("a", "s1", 1, "fail", "A-1"); // a duplicate that says something else
    say("b", "s1", 4, "pass", "A-2"); // two are missing before it
    say("c", "s1", 3, "pass", "A-4"); // out of order
    say("d", "s2", 1, "pass", "A-4"); // a second event for a part
    say("e", "s1", 5, "pass", "A-5"); // a session that is over
    let parts = folder.path().join("parts");
    let lines: String = (1..=7).map(|part| format!("{{\"part\":\"A-{part}\",\"trigger\":{part}}}\n")).collect();
    fs::write(&parts, lines).unwrap();
    consumer.until_quiet();
    let report = consumer.judge(&[parts]);
    let seen = ["messages", "events", "duplicates", "changed", "gaps", "disorder", "twice", "lost"];
    assert_eq!(seen.map(|name| report.number(name)), [7, 5, 2, 1, 2, 2, 1, 1]);
    assert_eq!((report.text("lost_parts"), report.unaccepted()), ("A-3", vec![2]));
}

/// Learning, calibrating and going back go on meanwhile: of them nothing is ever left half-written.
#[test]
fn killed_at_random_moments() {
    let (kills, longest_ms) = if soak().is_some() { (200, 900) } else { (20, 700) };
    let (broker, mut consumer, mut bench) = stage();
    // Pictures that differ, because copies are no parts to learn from.
    bench.camera = "classes = [\"ring\"]\nsize = 64\npool = 40\nqueue = 64\n".into();
    let acks = Subscriber::start(broker.port, ACK, &[]);
    let mut begun = 0;
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for round in 0..kills {
        let mut service = bench.run(broker.port, "127.0.0.1", None, 40.0, "");
        // Some die while they start and read the outbox, most while parts run.
        if dice.below(5) > 0 {
            let truth = bench.truths.last().unwrap().clone();
            let start = Instant::now();
            while !truth.exists() && service.is_running() && start.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(2));
            }
            let many = [
                ("learn", "{\"correlation_id\":\"l\",\"parts\":4}"),
                ("calibrate", "{\"correlation_id\":\"c\",\"false_rejects\":0.2,\"confidence\":0.8,\"apply\":true}"),
                ("learn", "{\"correlation_id\":\"l\",\"parts\":1}"),
                ("rollback", "{\"correlation_id\":\"b\"}"),
            ];
            let (name, command) = many[round % many.len()];
            // Some come while the line is starting, and are refused or not heard; they are sent again, for a while.
            for _ in 0..10 {
                publish(broker.port, name, command.as_bytes(), &[]);
                let ack = acks.next(Duration::from_millis(300)).map(|ack| ack.json());
                begun += usize::from(ack.as_ref().is_some_and(|ack| ack["pending"] == true));
                if ack.is_some_and(|ack| !ack["error"].as_str().is_some_and(|error| error.contains("starting"))) {
                    break;
                }
            }
        }
        std::thread::sleep(Duration::from_millis(dice.below(longest_ms)));
        bench.kill(&mut service);
        all_is_whole(&bench);
    }
    let mut service = bench.run(broker.port, "127.0.0.1", None, 40.0, "");
    bench.until_running(&mut service);
    let log = service.stderr();
    assert!(!log.contains("without its memory:") && !log.contains("the recipes of the settings are used"), "{log}");
    println!("{begun} times learning or calibrating had begun");
    assert!(begun > 0, "nothing was being learnt at any kill");
    bench.end(&mut service, &mut consumer, &format!("killed {kills} times at random moments"));
    let report = consumer.judge(&bench.truths);
    println!("not yet accepted at the kills: {} parts", bench.unaccepted.iter().sum::<usize>());
    assert!(report.number("parts") >= if soak().is_some() { 2_000 } else { 100 }, "too few parts ran");
    assert!(report.number("restarted") > 0, "no part was under way at any kill");
}

/// What a calibration or a memory has left in the state folder: whole, or not there.
fn all_is_whole(bench: &Bench) {
    let state = bench.folder.path().join("state");
    fn below(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            // Hidden files are those in the making.
            if path.is_dir() {
                below(&path, found);
            } else if !path.file_name().unwrap().to_string_lossy().starts_with('.') {
                found.push(path);
            }
        }
    }
    let files = |folder: &str| {
        let mut found = Vec::new();
        below(&state.join(folder), &mut found);
        found
    };
    for file in files("memories") {
        vcp_line::memory::Memory::read(&file).unwrap();
    }
    let json = files("calibrations").into_iter().filter(|file| file.extension().is_some_and(|json| json == "json"));
    for file in json.chain([state.join("recipes.json")].into_iter().filter(|file| file.exists())) {
        serde_json::from_slice::<serde_json::Value>(&fs::read(&file).unwrap()).unwrap();
    }
}

/// The session of the consumer survives at the broker, so that what it misses is what the line has lost.
#[test]
fn broker_stopped() {
    let away = if soak().is_some() { Duration::from_secs(60) } else { Duration::from_secs(3) };
    let mut broker = Mosquitto::start(Rules { persistence: true, ..Rules::default() });
    let mut consumer = Consumer::start(broker.port);
    let mut bench = Bench::new();
    let mut service = bench.run(broker.port, "127.0.0.1", None, 40.0, "");
    consumer.until_parts(30, PATIENCE);
    broker.stop();
    std::thread::sleep(away);
    broker.restart();
    let parts = bench.delivered();
    consumer.until_parts(parts, PATIENCE);
    assert!(consumer.report().number("late") > 20, "nothing had to wait");
    bench.end(&mut service, &mut consumer, &format!("broker stopped for {} s", away.as_secs()));
}

/// Stopped and killed with nothing of it kept; the service is held still until the consumer listens again, so that
/// what the consumer misses is what the line has lost.
#[test]
fn broker_restarted_without_memory() {
    let mut broker = Mosquitto::start(Rules::default());
    let mut consumer = Consumer::start(broker.port);
    let mut bench = Bench::new();
    let mut service = bench.run(broker.port, "127.0.0.1", None, 40.0, "");
    for round in 1..=3 {
        consumer.until_parts(30 * round, PATIENCE);
        service.signal("STOP");
        consumer.until_quiet();
        broker.kill();
        service.signal("CONT");
        std::thread::sleep(Duration::from_millis(700));
        service.signal("STOP");
        broker.restart();
        consumer.subscribed();
        service.signal("CONT");
    }
    consumer.until_parts(bench.delivered(), PATIENCE);
    bench.end(&mut service, &mut consumer, "broker killed 3 times, without memory");
}

/// Both at once: the service dies while the broker is away, and the next start delivers what it finds.
#[test]
fn killed_while_the_broker_is_away() {
    let mut broker = Mosquitto::start(Rules { persistence: true, ..Rules::default() });
    let mut consumer = Consumer::start(broker.port);
    let mut bench = Bench::new();
    broker.stop();
    for _ in 0..3 {
        let mut service = bench.run(broker.port, "127.0.0.1", None, 40.0, "");
        let start = Instant::now();
        let before = bench.delivered();
        while bench.delivered() < before + 25 {
            assert!(start.elapsed() < PATIENCE, "{}", service.stderr());
            std::thread::sleep(Duration::from_millis(10));
        }
        bench.kill(&mut service);
    }
    broker.restart();
    let mut service = bench.run(broker.port, "127.0.0.1", None, 40.0, "");
    consumer.until_parts(bench.delivered().max(90), PATIENCE);
    assert!(consumer.report().number("late") >= 60);
    bench.end(&mut service, &mut consumer, "killed 3 times while the broker was away");
}

/// Somebody else takes the client id again and again: each time the broker ends the line's connection.
#[test]
fn session_taken_over() {
    let (broker, mut consumer, mut bench) = stage();
    let mut service = bench.run(broker.port, "127.0.0.1", None, 40.0, "");
    for round in 1..=5 {
        consumer.until_parts(20 * round, PATIENCE);
        let port = broker.port.to_string();
        let taken = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &port, "-i", "vcp-line-caps", "-t", "elsewhere", "-m", "mine", "-q", "1"])
            .status();
        assert!(taken.unwrap().success());
    }
    assert!(service.times_logged("connection lost: ") >= 1, "{}", service.stderr());
    consumer.until_parts(bench.delivered(), PATIENCE);
    bench.end(&mut service, &mut consumer, "session taken over 5 times");
}

/// The broker comes back with a certificate of an authority that the line does not trust, then with its own.
#[test]
fn wrong_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (right, wrong) = (certs::Authority::new(folder.path(), "right"), certs::Authority::new(folder.path(), "wrong"));
    let show = |signed: &certs::Signed| {
        fs::copy(&signed.certificate, path("broker.pem")).unwrap();
        fs::copy(&signed.key, path("broker.key")).unwrap();
    };
    let (mine, other) = (right.sign("broker", "localhost"), wrong.sign("broker", "localhost"));
    show(&mine);
    let (plain, secure) = (mosquitto::free_port(), mosquitto::free_port());
    let config = format!(
        "user root\nmax_queued_messages 0\nallow_anonymous true\npersistence true\npersistence_location {}/\n\
         listener {plain} 127.0.0.1\nlistener {secure} 127.0.0.1\ncertfile {}\nkeyfile {}\n",
        folder.path().display(),
        path("broker.pem").display(),
        path("broker.key").display(),
    );
    let mut broker = Mosquitto::with_config(tempfile::tempdir().unwrap(), plain, &config);
    let mut consumer = Consumer::start(plain);
    let mut bench = Bench::new();
    bench.authority = Some(right.pem());
    let mut service = bench.run(secure, "127.0.0.1", None, 40.0, "");
    consumer.until_parts(30, PATIENCE);
    broker.stop();
    show(&other);
    broker.restart();
    service.logged("certificate");
    std::thread::sleep(Duration::from_secs(if soak().is_some() { 60 } else { 3 }));
    broker.stop();
    show(&mine);
    broker.restart();
    consumer.until_parts(bench.delivered(), PATIENCE);
    assert!(consumer.report().number("late") > 20, "nothing had to wait");
    bench.end(&mut service, &mut consumer, "wrong certificate for a while");
}

/// The cable is pulled: packets vanish, and nobody says that the connection is over.
#[test]
fn half_open_connection() {
    let network = match netns::Network::from_host() {
        Ok(network) => network,
        Err(reason) => {
            assert!(std::env::var_os("CI").is_none(), "no network namespace: {reason}");
            eprintln!("skipped, no network namespace: {reason}");
            return;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mosquitto.conf");
    let port = 18_83;
    fs::write(&file, format!("user root\nlistener {port} {}\nallow_anonymous true\n", network.far_address())).unwrap();
    let mut broker = network
        .far("/usr/sbin/mosquitto")
        .arg("-c")
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while std::net::TcpStream::connect((network.far_address().as_str(), port)).is_err() {
        assert!(start.elapsed() < PATIENCE, "mosquitto does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    // The consumer lives beside the broker: its cable is not the one that is pulled.
    let command = network.far(consumer::program().to_str().unwrap());
    let mut consumer = Consumer::by(command, &network.far_address(), port);
    let mut bench = Bench::new();
    let mut service = bench.run(port, &network.far_address(), None, 40.0, "");
    consumer.until_parts(30, PATIENCE);
    network.unplug();
    std::thread::sleep(Duration::from_secs(if soak().is_some() { 60 } else { 4 }));
    network.plug();
    consumer.until_parts(bench.delivered(), PATIENCE);
    assert!(consumer.report().number("late") > 20, "nothing had to wait");
    assert!(service.times_logged("connection lost: ") >= 1, "{}", service.stderr());
    bench.end(&mut service, &mut consumer, "packets dropped, connection half open");
    broker.kill().unwrap();
    broker.wait().unwrap();
}

/// A model that takes many times longer than the line allows: what it cannot judge is said in time, and nothing piles up.
#[test]
fn engine_too_slow() {
    let (broker, mut consumer, mut bench) = stage();
    let bundle = bench.folder.path().join("slow");
    let sizes = Architecture {
        image_size: 336,
        patch: 14,
        vision_width: 256,
        vision_layers: 6,
        text_width: 64,
        text_layers: 2,
        context_length: 77,
        class_vectors: 2,
        prompt_tokens: 1,
        deep_prompts: 1,
        taps: vec![2, 4, 6],
        post_heads: 8,
        direct_prompts: false,
    };
    weights::random(&bundle, &sizes, 7).unwrap();
    bench.bundle = Some(bundle);
    bench.camera = "classes = [\"ring\"]\nsize = 64\npool = 4\nqueue = 4\n[camera.trigger]\nmode = \"hardware\"\n\
                    deadline_ms = 5000\n"
        .into();
    // On a machine that does other things as well, one frame may take longer than the default leaves the engine.
    let patient = "[stop]\ndeadline_s = 60.0\n";
    let mut service = bench.run(broker.port, "127.0.0.1", None, 40.0, patient);
    let parts = if soak().is_some() { 2_400 } else { 200 };
    consumer.until_parts(parts, PATIENCE);
    bench.end(&mut service, &mut consumer, "engine too slow");
    let report = consumer.report();
    let (events, given_up) = (report.number("events"), report.number("no_verdict"));
    println!("{} of {events} parts judged, {} past their deadline", events - given_up, report.number("deadline"));
    assert!(given_up * 4 > events, "the engine follows: {given_up} of {events}");
    assert!(given_up < events, "the engine judges nothing");
}

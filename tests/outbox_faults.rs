//! The real program, a real broker and an independent consumer, while things break: no verdict is lost, none is given
//! twice, order holds. Each test prints its row of the table:
//! `| fault | parts | lost | gaps | repeated | answered twice or changed | out of order | restarted |`
//!
//! `VCP_LINE_SOAK=1` (or `make soak`) runs the long form: 200 kills while 2,000 parts run, a broker away for a minute.
// Clippy knows only functions marked as tests for tests, not what they share.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "support/consumer.rs"]
mod consumer;
#[path = "support/line.rs"]
mod line;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "support/netns.rs"]
mod netns;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use consumer::Consumer;
use line::{Running, program, settings};
use mosquitto::{Mosquitto, Rules};
use vcp_line::clock::{Clock, SystemClock};

/// Longer than a busy machine takes to deliver what waits.
const PATIENCE: Duration = Duration::from_secs(90);

fn soak() -> bool {
    std::env::var_os("VCP_LINE_SOAK").is_some()
}

/// A conveyor whose parts have the numbers from `first` on, listed in `truth`.
fn conveyor(first: u64, count: Option<u64>, fps: f64, truth: &Path) -> String {
    let count = count.map(|count| format!("count = {count}\n")).unwrap_or_default();
    format!(
        "[[camera]]\nname = \"top\"\nsource = \"synthetic\"\nclasses = [\"ring\"]\nsize = 64\npool = 4\nqueue = 64\n\
         fps = {fps:?}\nfirst = {first}\n{count}truth_file = \"{}\"\n",
        truth.display()
    )
}

/// A line in a folder of its own.
struct Bench {
    folder: tempfile::TempDir,
    truths: Vec<PathBuf>,
    /// Parts that had come when the service was killed and were not accepted yet.
    unaccepted: Vec<usize>,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), truths: Vec::new(), unaccepted: Vec::new() }
    }

    fn outbox(&self) -> PathBuf {
        self.folder.path().join("state/outbox")
    }

    /// Starts the service on parts that no run before has had. `more` are further settings before the camera.
    fn run(&mut self, port: u16, host: &str, count: Option<u64>, fps: f64, more: &str) -> Running {
        self.run_with(port, host, count, fps, more, |_| {})
    }

    fn run_with(
        &mut self,
        port: u16,
        host: &str,
        count: Option<u64>,
        fps: f64,
        more: &str,
        change: impl FnOnce(&mut Command),
    ) -> Running {
        let number = self.truths.len() as u64;
        let truth = self.folder.path().join(format!("truth-{number}.jsonl"));
        let camera = conveyor(1 + 10_000 * number, count, fps, &truth);
        let text = settings(port, &format!("keep_alive_s = 1\n{more}{camera}")).replace("127.0.0.1", host);
        let file = self.folder.path().join("line.toml");
        fs::write(&file, text).unwrap();
        self.truths.push(truth);
        let mut command = program(&["run", file.to_str().unwrap()]);
        command.env("STATE_DIRECTORY", self.folder.path().join("state"));
        change(&mut command);
        Running::start(command)
    }

    /// Kills the service. The parts of this run are those that the dead process has written down: a trigger counts from
    /// then on. What came after the last of them is taken off the list, and counted.
    fn kill(&mut self, service: &mut Running) {
        service.signal("KILL");
        assert_eq!(service.end().code(), None, "{}", service.stderr());
        let mut log = Vec::new();
        for entry in fs::read_dir(self.outbox()).into_iter().flatten() {
            log.extend(fs::read(entry.unwrap().path()).unwrap());
        }
        let log = String::from_utf8_lossy(&log);
        let truth = self.truths.last().unwrap();
        let text = fs::read_to_string(truth).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let written = |line: &&str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            log.contains(&format!("\"id\":{}", line["part"]))
        };
        let accepted = lines.iter().rposition(written).map_or(0, |last| last + 1);
        self.unaccepted.push(lines.len() - accepted);
        let kept: String = lines[..accepted].iter().map(|line| format!("{line}\n")).collect();
        fs::write(truth, kept).unwrap();
    }

    fn delivered(&self) -> u64 {
        self.truths.iter().map(lines).sum()
    }

    /// Returns when the present run has shown some parts: then it has answered for the one before.
    fn until_running(&self, service: &mut Running) {
        let start = Instant::now();
        while self.truths.last().map_or(0, lines) < 20 {
            assert!(start.elapsed() < PATIENCE && service.is_running(), "{}", service.stderr());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// An orderly end, then the consumer's judgement on everything.
    fn end(&self, service: &mut Running, consumer: &mut Consumer, fault: &str) {
        service.signal("TERM");
        assert_eq!(service.end().code(), Some(0), "{}", service.stderr());
        consumer.until_quiet();
        let report = consumer.judge(&self.truths);
        report.row(fault);
        assert!(report.unaccepted().iter().all(|count| *count == 0), "parts without events: {:?}", report.unaccepted());
        // A part that had just come when the process died; there are never many of them.
        assert!(self.unaccepted.iter().all(|count| *count <= 10), "{:?}", self.unaccepted);
    }
}

fn lines(file: &PathBuf) -> u64 {
    fs::read_to_string(file).unwrap_or_default().lines().count() as u64
}

/// Numbers that look like chance and are the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

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

#[test]
fn killed_at_random_moments() {
    let (kills, longest_ms) = if soak() { (200, 900) } else { (20, 700) };
    let broker = Mosquitto::start(Rules::default());
    let mut consumer = Consumer::start(broker.port);
    let mut bench = Bench::new();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..kills {
        let mut service = bench.run(broker.port, "127.0.0.1", None, 40.0, "");
        // Some die while they start and read the outbox, most while parts run.
        if dice.below(5) > 0 {
            let truth = bench.truths.last().unwrap().clone();
            let start = Instant::now();
            while !truth.exists() && service.is_running() && start.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        std::thread::sleep(Duration::from_millis(dice.below(longest_ms)));
        bench.kill(&mut service);
    }
    let mut service = bench.run(broker.port, "127.0.0.1", None, 40.0, "");
    bench.until_running(&mut service);
    bench.end(&mut service, &mut consumer, &format!("killed {kills} times at random moments"));
    let report = consumer.judge(&bench.truths);
    println!("not yet accepted at the kills: {} parts", bench.unaccepted.iter().sum::<usize>());
    assert!(report.number("parts") >= if soak() { 2_000 } else { 100 }, "too few parts ran");
    assert!(report.number("restarted") > 0, "no part was under way at any kill");
}

/// The session of the consumer survives at the broker, so that what it misses is what the line has lost.
#[test]
fn broker_stopped() {
    let away = if soak() { Duration::from_secs(60) } else { Duration::from_secs(3) };
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
    let broker = Mosquitto::start(Rules::default());
    let mut consumer = Consumer::start(broker.port);
    let mut bench = Bench::new();
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
    std::thread::sleep(Duration::from_secs(if soak() { 60 } else { 4 }));
    network.plug();
    consumer.until_parts(bench.delivered(), PATIENCE);
    assert!(consumer.report().number("late") > 20, "nothing had to wait");
    assert!(service.times_logged("connection lost: ") >= 1, "{}", service.stderr());
    bench.end(&mut service, &mut consumer, "packets dropped, connection half open");
    broker.kill().unwrap();
    broker.wait().unwrap();
}

/// A file system of 2 MiB for the outbox, filled by somebody else while parts run.
#[test]
fn disk_full() {
    let broker = Mosquitto::start(Rules { persistence: true, ..Rules::default() });
    let mut consumer = Consumer::start(broker.port);
    let mut bench = Bench::new();
    let outbox = bench.outbox();
    fs::create_dir_all(&outbox).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "none"]).arg(&outbox).output().unwrap();
    if !mounted.status.success() {
        let reason = String::from_utf8_lossy(&mounted.stderr).into_owned();
        assert!(std::env::var_os("CI").is_none(), "no file system can be mounted: {reason}");
        eprintln!("skipped, no file system can be mounted: {reason}");
        return;
    }
    let mount = Mount(outbox.clone());
    let table = "[outbox]\nmax_bytes = 1048576\n";
    let mut service = bench.run(broker.port, "127.0.0.1", None, 40.0, table);
    consumer.until_parts(30, PATIENCE);
    let filler = outbox.join("somebody-elses-file");
    fill(&filler);
    // Parts go on from memory, and the alarm tells.
    service.logged("the disk is full; make room; verdicts are kept in memory alone");
    let so_far = bench.delivered();
    consumer.until_parts(so_far + 60, PATIENCE);
    let alarm = mosquitto::Subscriber::start(broker.port, "vcp-line/caps/top/alarm", &[]).next(PATIENCE).unwrap();
    assert!(alarm.retained && alarm.payload.contains("the disk is full"), "{alarm:?}");
    let state = mosquitto::Subscriber::start(broker.port, "vcp-line/caps/state", &[]).next(PATIENCE).unwrap();
    assert_eq!(state.json()["state"], "degraded");
    fs::remove_file(&filler).unwrap();
    service.logged("the disk of the outbox takes records again");
    service.logged("the outbox is well again");
    consumer.until_parts(bench.delivered() + 30, PATIENCE);
    bench.end(&mut service, &mut consumer, "disk full for a while");
    drop(mount);
}

/// Unmounts when dropped, also when the test fails; lazily, because the program may still be there then.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        assert!(Command::new("umount").arg("-l").arg(&self.0).status().unwrap().success());
    }
}

/// Takes whatever is free, to the last byte.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).unwrap();
    for size in [65_536, 4_096, 512, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
}

/// A library that stands between the program and some calls of the C library, as `LD_PRELOAD` does it.
fn shim(folder: &Path, code: &str) -> PathBuf {
    let (library, source) = (folder.join("shim.so"), folder.join("shim.c"));
    let head = "#define _GNU_SOURCE\n#include <errno.h>\n#include <stdio.h>\n#include <time.h>\n#include <unistd.h>\n\
                #include <sys/syscall.h>\n";
    fs::write(&source, format!("{head}{code}")).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().unwrap();
    assert!(built.success());
    library
}

/// Every fsync takes 150 ms: verdicts come later, cameras and engine do not wait.
#[test]
fn slow_disk() {
    let broker = Mosquitto::start(Rules::default());
    let mut consumer = Consumer::start(broker.port);
    let mut bench = Bench::new();
    let slow = shim(
        bench.folder.path(),
        "static void wait(void) { struct timespec t = {0, 150000000}; nanosleep(&t, 0); }\n\
         int fdatasync(int f) { wait(); return syscall(SYS_fdatasync, f); }\n\
         int fsync(int f) { wait(); return syscall(SYS_fsync, f); }\n",
    );
    let mut service = bench.run_with(broker.port, "127.0.0.1", None, 40.0, "", |command| {
        command.env("LD_PRELOAD", &slow);
    });
    consumer.until_parts(150, PATIENCE);
    let frames = Instant::now();
    let before = bench.delivered();
    std::thread::sleep(Duration::from_secs(2));
    let rate = (bench.delivered() - before) as f64 / frames.elapsed().as_secs_f64();
    assert!(rate > 30.0, "the camera waits for the disk: {rate} parts a second in place of 40");
    bench.end(&mut service, &mut consumer, "slow disk, 150 ms for each fsync");
}

/// A disk whose fsync fails for 8 s: what was written before it cannot be trusted and is written again.
#[test]
fn failing_disk() {
    let broker = Mosquitto::start(Rules::default());
    let mut consumer = Consumer::start(broker.port);
    let mut bench = Bench::new();
    let flag = bench.folder.path().join("broken");
    let failing = shim(
        bench.folder.path(),
        &format!(
            "int fdatasync(int f) {{ if (!access(\"{}\", F_OK)) {{ errno = EIO; return -1; }} return syscall(SYS_fdatasync, f); }}\n",
            flag.display()
        ),
    );
    let mut service = bench.run_with(broker.port, "127.0.0.1", None, 40.0, "", |command| {
        command.env("LD_PRELOAD", &failing);
    });
    consumer.until_parts(30, PATIENCE);
    fs::write(&flag, "").unwrap();
    service.logged("fsync: Input/output error (os error 5); check the disk; verdicts are kept in memory alone");
    std::thread::sleep(Duration::from_secs(8));
    // After five seconds at the latest nothing waits for this disk any more.
    let so_far = bench.delivered();
    consumer.until_parts(so_far + 10, PATIENCE);
    fs::remove_file(&flag).unwrap();
    service.logged("the disk of the outbox takes records again");
    consumer.until_parts(bench.delivered() + 20, PATIENCE);
    bench.end(&mut service, &mut consumer, "fsync fails for 8 s");
    let restarted = bench.run(broker.port, "127.0.0.1", Some(5), 40.0, "").end();
    assert_eq!(restarted.code(), Some(0));
    consumer.until_quiet();
    consumer.judge(&bench.truths).row("the start after that");
}

/// Somebody sets the system's clock: an hour ahead, then an hour back.
#[test]
fn clock_moved() {
    let broker = Mosquitto::start(Rules::default());
    let mut consumer = Consumer::start(broker.port);
    let mut bench = Bench::new();
    let offset = bench.folder.path().join("offset");
    let moved = shim(
        bench.folder.path(),
        &format!(
            "int clock_gettime(clockid_t c, struct timespec *t) {{\n\
               int r = syscall(SYS_clock_gettime, c, t);\n\
               if (c == CLOCK_REALTIME) {{\n\
                 long s = 0; FILE *f = fopen(\"{}\", \"r\");\n\
                 if (f) {{ if (fscanf(f, \"%ld\", &s) != 1) s = 0; fclose(f); }}\n\
                 t->tv_sec += s;\n\
               }}\n\
               return r;\n\
             }}\n",
            offset.display()
        ),
    );
    let table = "[outbox]\nmax_age_h = 1\n";
    let mut service = bench.run_with(broker.port, "127.0.0.1", None, 40.0, table, |command| {
        command.env("LD_PRELOAD", &moved);
    });
    for (round, seconds) in [3600, -3600, 86_400 * 365].into_iter().enumerate() {
        consumer.until_parts(30 * (round as u64 + 1), PATIENCE);
        let new = offset.with_extension("new");
        fs::write(&new, seconds.to_string()).unwrap();
        fs::rename(&new, &offset).unwrap();
    }
    consumer.until_parts(bench.delivered() + 20, PATIENCE);
    let reader = mosquitto::Subscriber::start(broker.port, "vcp-line/caps/top/verdict", &[]);
    let year = |text: &serde_json::Value| text.as_str().unwrap()[..4].parse::<u32>().unwrap();
    let stamped = year(&reader.next(PATIENCE).unwrap().json()["time"]["captured"]);
    let true_year = SystemClock.now().wall.to_string()[..4].parse::<u32>().unwrap();
    assert!(stamped > true_year, "the clock of the line was not moved");
    bench.kill(&mut service);
    // The next start has the true clock again, a year before the last records.
    let mut service = bench.run(broker.port, "127.0.0.1", None, 40.0, table);
    bench.until_running(&mut service);
    bench.end(&mut service, &mut consumer, "clock moved +1 h, -1 h, +1 year, then back");
    assert!(!service.stderr().contains("deleted undelivered"), "{}", service.stderr());
}

/// What a person sees of an outbox, in use and not.
#[test]
fn the_outbox_is_shown_by_check_and_by_its_own_command() {
    let mut bench = Bench::new();
    let port = mosquitto::free_port();
    let mut service = bench.run(port, "127.0.0.1", None, 40.0, "");
    bench.until_running(&mut service);
    let settings = bench.folder.path().join("line.toml");
    let mut check = program(&["check", settings.to_str().unwrap()]);
    check.env("STATE_DIRECTORY", bench.folder.path().join("state"));
    let mut check = Running::start(check);
    assert_eq!(check.end().code(), Some(1), "no broker is there");
    let said = check.stdout();
    let line = said.lines().find(|line| line.starts_with("ok    outbox")).unwrap_or_else(|| panic!("{said}"));
    let outbox = bench.outbox().display().to_string();
    assert!(
        line.contains(&outbox) && line.contains(" events wait, ") && line.contains(", in use by process "),
        "{line}"
    );
    service.signal("KILL");
    service.end();

    let mut shown = Running::start(program(&["outbox", &outbox]));
    assert_eq!(shown.end().code(), Some(0), "{}", shown.stderr());
    let said = shown.stdout();
    let number = |name: &str| {
        let line = said.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{said}"));
        line[name.len()..].split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(number("events that wait") + number("parts owed"), bench.delivered(), "{said}");
    assert_eq!(number("unreadable"), 0, "{said}");
    let mut absent = Running::start(program(&["outbox", "/absent/outbox"]));
    assert_eq!(absent.end().code(), Some(1));
    assert!(absent.stderr().contains("no directory at /absent/outbox"), "{}", absent.stderr());
}

//! What others do to a line: a log that nobody takes, a flood of commands, a kill right after an acknowledgement. Rows of
//! the table as in `outbox_faults.rs`.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::disk_faults::shim;
use crate::support::commands::{ACK, Sender, part};
use crate::support::consumer::Consumer;
use crate::support::conveyor::{Bench, Dice, PATIENCE, soak, stage};
use crate::support::line::{Running, program, settings};
use crate::support::mosquitto::{Mosquitto, Rules, Subscriber};

/// A line on a conveyor whose log goes to `log`, while its broker is away for a while, which it would like to tell.
fn without_a_log(log: impl Into<Stdio>, fault: &str) {
    let away = Duration::from_secs(if soak().is_some() { 60 } else { 3 });
    let mut broker = Mosquitto::start(Rules { persistence: true, ..Rules::default() });
    let mut consumer = Consumer::start(broker.port);
    let mut bench = Bench::new();
    let mut service = Running::start_logging_to(bench.command(broker.port, "127.0.0.1", None, 40.0, ""), log);
    consumer.until_parts(30, PATIENCE);
    broker.stop();
    std::thread::sleep(away);
    broker.restart();
    consumer.until_parts(bench.delivered(), PATIENCE);
    assert!(consumer.report().number("late") > 20, "nothing had to wait");
    bench.end(&mut service, &mut consumer, &format!("{fault}, broker stopped for {} s", away.as_secs()));
}

#[test]
fn log_disk_full() {
    without_a_log(File::options().write(true).open("/dev/full").unwrap(), "disk of the log full");
}

#[test]
fn log_reader_gone() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    without_a_log(OwnedFd::from(writer), "reader of the log gone");
}

/// The reader of the log stalls, and strangers give the line much to complain of: 16 bursts at once in the long form.
#[test]
fn flood_of_commands_and_a_log_that_stalls() {
    let (bursts, length) = if soak().is_some() { (16, 20_000) } else { (4, 2_000) };
    let (broker, mut consumer, mut bench) = stage();
    let (stalled, writer) = std::io::pipe().unwrap();
    let log = OwnedFd::from(writer);
    let mut service = Running::start_logging_to(bench.command(broker.port, "127.0.0.1", None, 40.0, ""), log);
    consumer.until_parts(30, PATIENCE);
    let senders: Vec<_> = (0..bursts)
        .map(|burst| {
            let port = broker.port.to_string();
            let (name, payload) = [
                ("trigger", "{\"part_id\":\"stranger\",\"correlation_id\":\"x\"}"),
                ("nonsense", "{}"),
                ("recipe", "{\"correlation_id\":\"r\",\"id\":\"x\",\"defect_threshold\":7}"),
                ("pause", "not even JSON"),
            ][burst % 4];
            let mut sender = Command::new("mosquitto_pub")
                .args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-l", "-t", &format!("vcp-line/caps/cmd/{name}")])
                .stdin(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut input = sender.stdin.take().unwrap();
            let lines = format!("{payload}\n").repeat(length);
            let write = move || input.write_all(lines.as_bytes());
            (sender, std::thread::Builder::new().name("stranger".into()).spawn(write).unwrap())
        })
        .collect();
    for (mut sender, writing) in senders {
        writing.join().unwrap().unwrap();
        assert!(sender.wait().unwrap().success());
    }
    consumer.until_parts(bench.delivered() + 20, PATIENCE);
    bench.end(&mut service, &mut consumer, &format!("{} commands of strangers, log stalled", bursts * length));
    drop(stalled);
}

/// A thread dies of a panic: the clock fails for it once. The service ends and names it, and the next start, as systemd
/// makes it, goes on where it was.
#[test]
fn thread_dead() {
    let (broker, mut consumer, mut bench) = stage();
    let victim = bench.folder.path().join("victim");
    let code = format!(
        "#include <string.h>\n#include <sys/prctl.h>\n\
         static __thread int dead;\n\
         int clock_gettime(clockid_t clock, struct timespec *time) {{\n\
           if (!dead && !access(\"{0}\", F_OK)) {{\n\
             char own[16] = {{0}}, wanted[16] = {{0}};\n\
             prctl(PR_GET_NAME, own);\n\
             FILE *file = fopen(\"{0}\", \"r\");\n\
             if (file) {{ if (!fgets(wanted, 16, file)) wanted[0] = 0; fclose(file); }}\n\
             if (!strcmp(own, wanted)) {{ dead = 1; errno = EINVAL; return -1; }}\n\
           }}\n\
           return syscall(SYS_clock_gettime, clock, time);\n\
         }}\n",
        victim.display()
    );
    let shim = shim(bench.folder.path(), &code);
    let threads = ["vcp-outbox", "vcp-mqtt", "vcp-commands"];
    for (round, thread) in (1..).zip(threads) {
        let mut service = bench.run_with(broker.port, "127.0.0.1", None, 5.0, "", |command| {
            command.env("LD_PRELOAD", &shim);
        });
        consumer.until_parts(10 * round, PATIENCE);
        fs::write(&victim, thread).unwrap();
        service.logged("a thread that the line cannot do without has ended; the service stops");
        assert_eq!(service.end().code(), Some(1), "{}", service.stderr());
        assert!(service.stderr().contains(thread), "{}", service.stderr());
        fs::remove_file(&victim).unwrap();
        bench.died();
    }
    let mut service = bench.run(broker.port, "127.0.0.1", None, 5.0, "");
    bench.until_running(&mut service);
    bench.end(&mut service, &mut consumer, &format!("a thread dead: {}", threads.join(", ")));
}

/// Killed in the moment in which a controller hears that its part was accepted: the next start answers for it.
#[test]
fn acknowledged_then_killed() {
    let rounds = if soak().is_some() { 100 } else { 8 };
    let broker = Mosquitto::start(Rules::default());
    let mut consumer = Consumer::start(broker.port);
    let folder = tempfile::tempdir().unwrap();
    let camera = "[[camera]]\nname = \"top\"\nsource = \"synthetic\"\nclasses = [\"ring\"]\nsize = 64\npool = 4\n\
                  fps = 20.0\n[camera.trigger]\nmode = \"software\"\ndeadline_ms = 5000\n";
    let file = folder.path().join("line.toml");
    fs::write(&file, settings(broker.port, camera)).unwrap();
    let start = || {
        let mut command = program(&["run", file.to_str().unwrap()]);
        command.env("STATE_DIRECTORY", folder.path().join("state"));
        let service = Running::start(command);
        service.logged("commands can come in");
        service.logged("1 camera, engine reference");
        service
    };
    let acks = Subscriber::start(broker.port, ACK, &[]);
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let mut accepted = Vec::new();
    for round in 0..rounds {
        let mut service = start();
        let mut controller = Sender::start(broker.port, "trigger");
        // The parts before the last have their verdicts, or have not, as it happens.
        let parts = 1 + dice.below(5);
        for number in 0..parts {
            controller.send(&part(&format!("K-{round}-{number}")));
            let ack = acks.next(PATIENCE).expect("an acknowledgement").json();
            assert_eq!(ack["ok"], true, "{ack}");
            accepted.push(ack["applied"]["part"]["id"].as_str().unwrap().to_owned());
            if number + 1 < parts {
                std::thread::sleep(Duration::from_millis(dice.below(80)));
            }
        }
        service.signal("KILL");
        assert_eq!(service.end().code(), None);
    }
    let mut service = start();
    consumer.until_parts(accepted.len() as u64, PATIENCE);
    service.signal("TERM");
    assert_eq!(service.end().code(), Some(0), "{}", service.stderr());
    consumer.until_quiet();
    let truth = folder.path().join("accepted.jsonl");
    fs::write(&truth, accepted.iter().map(|id| format!("{{\"part\":\"{id}\"}}\n")).collect::<String>()).unwrap();
    let report = consumer.judge(&[truth]);
    report.row(&format!("acknowledged, then killed, {rounds} times"));
    assert_eq!((report.unaccepted(), report.number("parts")), (vec![0], accepted.len() as u64));
    assert!(report.number("restarted") > 0, "no part was under way at any kill");
}

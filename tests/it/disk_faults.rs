//! The disk of the outbox and the clock fail under the real program: no verdict is lost, none is given twice, order holds.
//! Rows of the table as in `outbox_faults.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::consumer::Consumer;
use crate::support::conveyor::{Bench, PATIENCE, stage};
use crate::support::disk::{Mount, fill};
use crate::support::line::{Running, program};
use crate::support::mosquitto::{self, Mosquitto, Rules};
use vcp_line::clock::{Clock, SystemClock};

/// A file system of 2 MiB for the outbox, filled by somebody else while parts run.
#[test]
fn disk_full() {
    let broker = Mosquitto::start(Rules { persistence: true, ..Rules::default() });
    let mut consumer = Consumer::start(broker.port);
    let mut bench = Bench::new();
    let outbox = bench.outbox();
    fs::create_dir_all(&outbox).unwrap();
    let Some(mount) = Mount::tmpfs(&outbox, "2m") else { return };
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

/// Returns when parts that come from now on have arrived.
fn goes_on(bench: &Bench, consumer: &mut Consumer) {
    consumer.until_parts(bench.delivered() + 20, PATIENCE);
}

/// A library that stands between the program and some calls of the C library, as `LD_PRELOAD` does it.
pub fn shim(folder: &Path, code: &str) -> PathBuf {
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
    let (broker, mut consumer, mut bench) = stage();
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
    let (broker, mut consumer, mut bench) = stage();
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
    goes_on(&bench, &mut consumer);
    bench.end(&mut service, &mut consumer, "fsync fails for 8 s");
    let restarted = bench.run(broker.port, "127.0.0.1", Some(5), 40.0, "").end();
    assert_eq!(restarted.code(), Some(0));
    consumer.until_quiet();
    consumer.judge(&bench.truths).row("the start after that");
}

/// An fsync that does not return for 12 s: after five of them the line goes on from memory and says so.
#[test]
fn hanging_disk() {
    let (broker, mut consumer, mut bench) = stage();
    let flag = bench.folder.path().join("hangs");
    let wait = format!(
        "static void wait(void) {{ struct timespec t = {{0, 20000000}}; while (!access(\"{}\", F_OK)) nanosleep(&t, 0); }}\n\
         int fdatasync(int f) {{ wait(); return syscall(SYS_fdatasync, f); }}\n\
         int fsync(int f) {{ wait(); return syscall(SYS_fsync, f); }}\n",
        flag.display()
    );
    let hanging = shim(bench.folder.path(), &wait);
    let mut service = bench.run_with(broker.port, "127.0.0.1", None, 40.0, "", |command| {
        command.env("LD_PRELOAD", &hanging);
    });
    consumer.until_parts(30, PATIENCE);
    fs::write(&flag, "").unwrap();
    let began = Instant::now();
    service.logged("the disk of the outbox hangs; verdicts are kept in memory alone");
    assert!(began.elapsed() < Duration::from_secs(8), "said after {:?}", began.elapsed());
    goes_on(&bench, &mut consumer);
    let alarm = mosquitto::Subscriber::start(broker.port, "vcp-line/caps/top/alarm", &[]).next(PATIENCE).unwrap();
    assert!(alarm.payload.contains("the disk of the outbox hangs"), "{alarm:?}");
    std::thread::sleep(Duration::from_secs(12).saturating_sub(began.elapsed()));
    fs::remove_file(&flag).unwrap();
    service.logged("the disk of the outbox answers again");
    service.logged("the outbox is well again");
    goes_on(&bench, &mut consumer);
    bench.end(&mut service, &mut consumer, "fsync hangs for 12 s");
}

/// Somebody deletes the folder of the outbox while parts run, and makes it again.
#[test]
fn outbox_deleted() {
    let (broker, mut consumer, mut bench) = stage();
    let mut service = bench.run(broker.port, "127.0.0.1", None, 40.0, "");
    consumer.until_parts(30, PATIENCE);
    fs::remove_dir_all(bench.outbox()).unwrap();
    let began = Instant::now();
    service
        .logged("is not there any more; mount or make it again, and check what it held; verdicts are kept in memory");
    assert!(began.elapsed() < Duration::from_secs(2), "said after {:?}", began.elapsed());
    consumer.until_parts(bench.delivered() + 30, PATIENCE);
    let alarm = mosquitto::Subscriber::start(broker.port, "vcp-line/caps/top/alarm", &[]).next(PATIENCE).unwrap();
    assert!(alarm.payload.contains("is not there any more"), "{alarm:?}");
    fs::create_dir(bench.outbox()).unwrap();
    service.logged("the disk of the outbox takes records again");
    consumer.until_parts(bench.delivered() + 30, PATIENCE);
    assert!(fs::read_dir(bench.outbox()).unwrap().count() >= 2, "nothing is written to the new folder");
    bench.end(&mut service, &mut consumer, "outbox deleted for a while");
}

/// The file system of the outbox is unmounted, with a folder of the same name under it, and mounted again.
#[test]
fn outbox_unmounted() {
    let (broker, mut consumer, mut bench) = stage();
    let outbox = bench.outbox();
    let place = outbox.parent().unwrap().to_owned();
    fs::create_dir_all(&outbox).unwrap();
    let Some(mount) = Mount::tmpfs(&place, "40m") else { return };
    let mut service = bench.run(broker.port, "127.0.0.1", None, 40.0, "");
    consumer.until_parts(30, PATIENCE);
    let began = Instant::now();
    drop(mount);
    service
        .logged("is not there any more; mount or make it again, and check what it held; verdicts are kept in memory");
    assert!(began.elapsed() < Duration::from_secs(2), "said after {:?}", began.elapsed());
    consumer.until_parts(bench.delivered() + 30, PATIENCE);
    let alarm = mosquitto::Subscriber::start(broker.port, "vcp-line/caps/top/alarm", &[]).next(PATIENCE).unwrap();
    assert!(alarm.payload.contains("is not there any more"), "{alarm:?}");
    // What would be written there would be out of sight with the next mount.
    assert_eq!(fs::read_dir(&outbox).unwrap().count(), 0, "the folder under the mount is written");
    let Some(mount) = Mount::tmpfs(&place, "40m") else { return };
    fs::create_dir(&outbox).unwrap();
    service.logged("the disk of the outbox takes records again");
    consumer.until_parts(bench.delivered() + 30, PATIENCE);
    assert!(fs::read_dir(&outbox).unwrap().count() >= 2, "nothing is written to the new file system");
    bench.end(&mut service, &mut consumer, "outbox unmounted for a while");
    drop(mount);
}

/// Ticks of /proc a second, the same on every Linux.
const TICKS: u64 = 100;

/// Processor time that a thread of a process has had.
fn thread_time(process: u32, name: &str) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let mut ticks = 0;
    for task in tasks.flatten() {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        if let Some((head, fields)) = stat.rsplit_once(')')
            && head.ends_with(&format!("({name}"))
        {
            let fields: Vec<&str> = fields.split_whitespace().collect();
            ticks += fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        }
    }
    Duration::from_millis(ticks * 1000 / TICKS)
}

/// Every fsync fails where each record has one of its own: tried once a second, and not in a new segment each time.
#[test]
fn failing_disk_fsync_always() {
    let (broker, mut consumer, mut bench) = stage();
    let flag = bench.folder.path().join("broken");
    let failing = shim(
        bench.folder.path(),
        &format!(
            "static int fails(void) {{ if (access(\"{}\", F_OK)) return 0; errno = EIO; return 1; }}\n\
             int fdatasync(int f) {{ return fails() ? -1 : syscall(SYS_fdatasync, f); }}\n\
             int fsync(int f) {{ return fails() ? -1 : syscall(SYS_fsync, f); }}\n",
            flag.display()
        ),
    );
    let mut service =
        bench.run_with(broker.port, "127.0.0.1", None, 40.0, "[outbox]\nfsync = \"always\"\n", |command| {
            command.env("LD_PRELOAD", &failing);
        });
    consumer.until_parts(30, PATIENCE);
    let newest = |folder: &Path| {
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let names = fs::read_dir(folder).unwrap().map(name).filter(|name| name.ends_with(".log"));
        names.map(|name| u64::from_str_radix(&name[..16], 16).unwrap()).max().unwrap_or_default()
    };
    let before = newest(&bench.outbox());
    fs::write(&flag, "").unwrap();
    service.logged("fsync: Input/output error (os error 5); check the disk; verdicts are kept in memory alone");
    let (began, busy) = (Instant::now(), thread_time(service.id(), "vcp-outbox"));
    std::thread::sleep(Duration::from_secs(6));
    let share = (thread_time(service.id(), "vcp-outbox") - busy).as_secs_f64() / began.elapsed().as_secs_f64();
    assert!(share < 0.1, "the outbox thread is busy for {:.0} % of the time with a disk that fails", share * 100.0);
    let segments = newest(&bench.outbox()) - before;
    assert!(segments <= 3, "{segments} segments were begun in 6 s");
    goes_on(&bench, &mut consumer);
    // Each failure is said once, not with every attempt.
    let said = service.stderr().lines().filter(|line| line.contains("check the disk")).count();
    assert!(said <= 6, "{said} lines: {}", service.stderr());
    fs::remove_file(&flag).unwrap();
    service.logged("the disk of the outbox takes records again");
    goes_on(&bench, &mut consumer);
    bench.end(&mut service, &mut consumer, "fsync fails for 8 s, \"always\"");
}

/// Somebody sets the system's clock: an hour ahead, then an hour back.
#[test]
fn clock_moved() {
    let (broker, mut consumer, mut bench) = stage();
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
    assert_eq!(absent.end().code(), Some(2));
    assert!(absent.stderr().contains("no directory at /absent/outbox"), "{}", absent.stderr());
}

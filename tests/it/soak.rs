//! Four conveyors of 20 parts a second each while things break at random: nothing is lost, and neither memory nor open
//! files grow. `make soak` runs it for half an hour; the short form shows in some seconds that it works.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::consumer::Consumer;
use crate::support::conveyor::{Bench, Dice, PATIENCE, soak};
use crate::support::disk::{Mount, fill};
use crate::support::held::Held;
use crate::support::line::Running;
use crate::support::mosquitto::{Mosquitto, Rules};

/// Parts of each camera in a second.
const PACE: f64 = 20.0;
/// A part without a verdict after this time gets `no_verdict`.
const DEADLINE_MS: u64 = 1000;
/// What memory may grow by, as a share, within the last two thirds of the last life of the service. Before that, what
/// waits during the longest outages finds its place in it.
const GROWTH: f64 = 0.05;
/// Open files more at the end than at the beginning: a connection that is just being replaced.
const FILES: usize = 4;

/// What breaks. A killed service starts with new memory, so that only the first third of the time has kills.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    BrokerAway,
    BrokerHangs,
    TakenOver,
    DiskFull,
    Killed,
}

impl Fault {
    const ALL: [Self; 5] = [Self::Killed, Self::BrokerAway, Self::BrokerHangs, Self::TakenOver, Self::DiskFull];
}

struct Plant {
    broker: Mosquitto,
    bench: Bench,
    service: Running,
}

impl Plant {
    fn settings() -> &'static str {
        "[outbox]\nmax_bytes = 33554432\n"
    }

    fn suffer(&mut self, fault: Fault, for_long: Duration) {
        match fault {
            Fault::BrokerAway => {
                self.broker.stop();
                std::thread::sleep(for_long);
                self.broker.restart();
            }
            Fault::BrokerHangs => {
                self.broker.freeze();
                std::thread::sleep(for_long);
                self.broker.thaw();
            }
            Fault::TakenOver => {
                let port = self.broker.port.to_string();
                let other = ["-i", "vcp-line-caps", "-t", "elsewhere", "-m", "mine", "-q", "1"];
                let taken = Command::new("mosquitto_pub").args(["-h", "127.0.0.1", "-p", &port]).args(other).status();
                assert!(taken.unwrap().success());
            }
            Fault::DiskFull => {
                let filler = self.bench.outbox().join("somebody-elses-file");
                fill(&filler);
                std::thread::sleep(for_long);
                fs::remove_file(&filler).unwrap();
            }
            Fault::Killed => {
                self.bench.kill(&mut self.service);
                self.service = self.bench.run(self.broker.port, "127.0.0.1", None, PACE, Self::settings());
                self.bench.until_running(&mut self.service);
            }
        }
    }
}

#[test]
fn four_cameras_while_things_break() {
    let (length, pause, outage) = match soak() {
        Some(minutes) => (Duration::from_secs(60 * minutes), 20_000, 20_000),
        None => (Duration::from_secs(24), 700, 1_500),
    };
    let broker = Mosquitto::start(Rules { persistence: true, ..Rules::default() });
    let mut consumer = Consumer::start(broker.port);
    let mut bench = Bench::with_cameras(&["top", "left", "right", "bottom"]);
    bench.camera = format!(
        "classes = [\"ring\", \"pill\"]\nsize = 64\npool = 16\nqueue = 64\n\
         [camera.trigger]\nmode = \"hardware\"\ndeadline_ms = {DEADLINE_MS}\n"
    );
    fs::create_dir_all(bench.outbox()).unwrap();
    let Some(mount) = Mount::tmpfs(&bench.outbox(), "64m") else { return };
    let mut service = bench.run(broker.port, "127.0.0.1", None, PACE, Plant::settings());
    bench.until_running(&mut service);
    let mut plant = Plant { broker, bench, service };
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let (began, mut count) = (Instant::now(), [0; Fault::ALL.len()]);
    let (mut samples, mut last_life) = (Vec::new(), Duration::ZERO);
    while began.elapsed() < length {
        let turn = count.iter().sum::<usize>();
        // Each once, then by chance.
        let mut place = if turn < Fault::ALL.len() { turn } else { dice.below(Fault::ALL.len() as u64) as usize };
        if Fault::ALL[place] == Fault::Killed && began.elapsed() > length / 3 {
            place = 1 + dice.below(Fault::ALL.len() as u64 - 1) as usize;
        }
        plant.suffer(Fault::ALL[place], Duration::from_millis(500 + dice.below(outage)));
        count[place] += 1;
        if Fault::ALL[place] == Fault::Killed {
            plant.suffer(Fault::BrokerAway, Duration::from_millis(500 + outage));
            samples.clear();
            last_life = began.elapsed();
        }
        // Looked at while nothing is broken, and what had waited has gone.
        let until = Instant::now() + Duration::from_millis(pause / 4 + dice.below(pause));
        while Instant::now() < until {
            std::thread::sleep(Duration::from_millis(200));
            assert!(plant.service.is_running(), "{}", plant.service.stderr());
        }
        samples.push(Held::by(&plant.service));
    }
    let Plant { broker, bench, mut service } = plant;
    consumer.until_parts(bench.delivered().saturating_sub(200), PATIENCE);
    bench.end(&mut service, &mut consumer, "soak: kills, broker away, hanging, session taken over, disk full");
    drop((mount, broker));

    let report = consumer.report();
    let times = consumer.times();
    let names: Vec<String> = Fault::ALL.iter().zip(count).map(|(fault, count)| format!("{fault:?} {count}")).collect();
    println!("{} s: {}", began.elapsed().as_secs(), names.join(", "));
    println!(
        "live verdicts {}: p50 {} ms, p99 {} ms, max {} ms; late and said so {}; deadline missed and said so {}; deadline \
         {DEADLINE_MS} ms",
        times.text("times"),
        times.text("p50"),
        times.text("p99"),
        times.text("max"),
        report.text("late"),
        report.text("deadline")
    );
    assert!(count.iter().all(|count| *count > 0), "{names:?}");
    let ends @ [first, last] = Held::first_and_last(&samples);
    let growth = Held::growth(&ends);
    println!(
        "the last life, {} s: memory {:.1} to {:.1} MiB ({:+.1} %), descriptors {} to {}, {} looks",
        (began.elapsed() - last_life).as_secs(),
        first.mib(),
        last.mib(),
        growth * 100.0,
        first.files,
        last.files,
        samples.len()
    );
    assert!(last.files <= first.files + FILES, "descriptors leak: {} to {}", first.files, last.files);
    // Some seconds of life say nothing about memory.
    if soak().is_some() {
        assert!(growth <= GROWTH, "memory grows by {:.1} %", growth * 100.0);
    }
}

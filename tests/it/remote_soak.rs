//! A line that asks servers while they and the way to them break at random: every part has its event, and neither side's memory
//! grows. The short form shows in some seconds that it works.

use std::time::{Duration, Instant};

use crate::support::conveyor::{Dice, soak};
use crate::support::held::Held;
use crate::support::netns::{Network, or_skip};
use crate::support::remote_line::{Remote, judged};
use crate::support::serve::Server;

/// What memory may grow by, as a share, within the last two thirds of the time.
const GROWTH: f64 = 0.05;
/// Open files more at the end than at the beginning: connections that are just being replaced.
const FILES: usize = 8;

/// What breaks. The far server is never killed: its memory is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Killed,
    Hangs,
    Slow,
    Cut,
    Lossy,
}

impl Fault {
    const ALL: [Self; 5] = [Self::Killed, Self::Hangs, Self::Slow, Self::Cut, Self::Lossy];
}

/// A tenth of its time is left to the server.
fn slowed(server: &Server, for_long: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < for_long {
        server.running.signal("STOP");
        std::thread::sleep(Duration::from_millis(90));
        server.running.signal("CONT");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn servers_break_at_random() {
    let (length, calm) = match soak() {
        Some(minutes) => (Duration::from_secs(60 * minutes), 4000),
        None => (Duration::from_secs(14), 300),
    };
    let network = Network::from_host().and_then(|network| network.lose(0).map(|()| network));
    let Some(network) = or_skip(network) else { return };
    let (mut near, far) = (Server::start(&[]), Server::far(&network));
    let mut line = Remote::start(&[near.address(), far.address()], "");
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let (began, mut count, mut seen) = (Instant::now(), [0; Fault::ALL.len()], (0, 0));
    let (mut of_line, mut of_server) = (Vec::new(), Vec::new());
    while began.elapsed() < length {
        let turn = count.iter().sum::<usize>();
        // Each once, then by chance.
        let place = if turn < Fault::ALL.len() { turn } else { dice.below(Fault::ALL.len() as u64) as usize };
        let for_long = Duration::from_millis(300 + dice.below(1700));
        let both = dice.below(4) == 0;
        let one = if dice.below(2) == 0 { &far } else { &near };
        match Fault::ALL[place] {
            Fault::Killed => {
                near.kill();
                std::thread::sleep(for_long);
                near.restart();
            }
            Fault::Hangs => {
                let hung = if both { vec![&near, &far] } else { vec![one] };
                hung.iter().for_each(|server| server.running.signal("STOP"));
                std::thread::sleep(for_long);
                hung.iter().for_each(|server| server.running.signal("CONT"));
            }
            Fault::Slow => slowed(one, for_long),
            Fault::Cut => {
                network.lose(100).unwrap();
                std::thread::sleep(for_long);
                network.lose(0).unwrap();
            }
            Fault::Lossy => {
                network.lose(25).unwrap();
                std::thread::sleep(for_long);
                network.lose(0).unwrap();
            }
        }
        count[place] += 1;
        std::thread::sleep(Duration::from_millis(calm / 4 + dice.below(calm)));
        let events = line.told();
        seen = (seen.0 + judged(&events), seen.1 + events.len());
        assert!(line.service.is_running(), "{}", line.service.stderr());
        of_line.push(Held::by(&line.service));
        of_server.push(Held::by(&far.running));
    }
    line.recovers("after the last fault");
    line.end("soak: servers killed, hung, slow, cut off, packets lost");
    let names: Vec<String> = Fault::ALL.iter().zip(count).map(|(fault, count)| format!("{fault:?} {count}")).collect();
    println!("{} s: {}; {} of {} judged", began.elapsed().as_secs(), names.join(", "), seen.0, seen.1);
    assert!(count.iter().all(|count| *count > 0), "{names:?}");
    assert!(4 * seen.0 >= 3 * seen.1, "{seen:?}: one server of two always works but for moments");
    for (who, samples) in [("line", &of_line), ("server", &of_server)] {
        let ends @ [first, last] = Held::first_and_last(samples);
        let growth = Held::growth(&ends);
        let (percent, looks) = (growth * 100.0, samples.len());
        println!(
            "{who}: memory {:.1} to {:.1} MiB ({percent:+.1} %), descriptors {} to {}, {looks} looks",
            first.mib(),
            last.mib(),
            first.files,
            last.files
        );
        assert!(last.files <= first.files + FILES, "{who}: descriptors leak: {} to {}", first.files, last.files);
        // Some seconds of life say nothing about memory.
        if soak().is_some() {
            assert!(growth <= GROWTH, "{who}: memory grows by {percent:.1} %");
        }
    }
}

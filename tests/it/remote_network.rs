//! The way to a server: packets that are lost, and a cable that is cut. The server is in a network namespace of its own.

use std::time::Duration;

use crate::support::conveyor::soak;
use crate::support::netns::{Network, or_skip};
use crate::support::remote_line::{Remote, judged, most_judged};
use crate::support::serve::Server;

/// Of a hundred packets each way.
const LOST: u32 = 25;

/// A cable on which packets can be lost.
fn cable() -> Option<Network> {
    or_skip(Network::from_host().and_then(|network| network.lose(0).map(|()| network)))
}

#[test]
fn packets_lost() {
    let Some(network) = cable() else { return };
    let server = Server::far(&network);
    let mut line = Remote::start(&[server.address()], "");
    line.told();
    network.lose(LOST).unwrap();
    line.more(100);
    let meanwhile = line.told();
    println!("{LOST} % of the packets lost each way: {} of {} judged", judged(&meanwhile), meanwhile.len());
    network.lose(0).unwrap();
    line.recovers("no packets lost any more");
    line.more(20);
    line.end("a quarter of the packets lost, each way");
}

#[test]
fn packets_lost_on_the_way_to_one_of_two_servers() {
    let Some(network) = cable() else { return };
    let (far, near) = (Server::far(&network), Server::start(&[]));
    let mut line = Remote::start(&[far.address(), near.address()], "");
    line.more(20);
    line.told();
    network.lose(LOST).unwrap();
    line.more(100);
    most_judged(&line.told());
    network.lose(0).unwrap();
    line.more(20);
    line.end("a quarter of the packets to one of two servers lost");
}

#[test]
fn packets_vanish_for_seconds() {
    let Some(network) = cable() else { return };
    let server = Server::far(&network);
    let mut line = Remote::start(&[server.address()], "");
    // Longer than it takes to notice, and so short that the old connection might still be waited for.
    let cuts = if soak().is_some() { &[3000, 400, 1000, 700, 2000, 5000, 1500, 9000][..] } else { &[3000, 700] };
    for &cut in cuts {
        line.more(20);
        network.lose(100).unwrap();
        std::thread::sleep(Duration::from_millis(cut));
        line.told();
        network.lose(0).unwrap();
        line.recovers(&format!("all packets lost for {cut} ms"));
    }
    line.end("all packets lost for seconds");
}

#[test]
fn cable_pulled() {
    let Some(network) = cable() else { return };
    let server = Server::far(&network);
    let mut line = Remote::start(&[server.address()], "");
    let rounds = if soak().is_some() { 10 } else { 1 };
    for _ in 0..rounds {
        line.more(20);
        network.unplug();
        line.nobody_looks();
        network.plug();
        line.recovers("cable plugged in again");
    }
    line.end("the server's cable pulled and plugged in");
}

//! What becomes of the servers that look for a line: killed, hung, slow, most of them gone, another model, certificates that
//! have expired. Every part has one event, in order, and none passes that nobody has looked at.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::certs::{Authority, Signed};
use crate::support::conveyor::soak;
use crate::support::remote_line::{Remote, most_judged};
use crate::support::serve::Server;

fn line(servers: &[&Server], more: &str) -> Remote {
    Remote::start(&servers.iter().map(|server| server.address()).collect::<Vec<_>>(), more)
}

#[test]
fn server_killed_and_started_again() {
    let mut server = Server::start(&[]);
    let mut line = line(&[&server], "");
    let rounds = if soak().is_some() { 20 } else { 2 };
    for _ in 0..rounds {
        line.more(20);
        server.kill();
        line.nobody_looks();
        server.restart();
        line.recovers("server started again");
    }
    line.end("server of the model killed and started again");
}

#[test]
fn server_hung() {
    let (hung, other) = (Server::start(&[]), Server::start(&[]));
    let mut line = line(&[&hung, &other], "");
    line.more(30);
    line.told();
    hung.running.signal("STOP");
    line.more(60);
    // The other one answers for all but those that were on their way.
    most_judged(&line.told());
    hung.running.signal("CONT");
    line.more(20);
    line.end("one of two servers hung (SIGSTOP)");
}

#[test]
fn only_server_hung() {
    let server = Server::start(&[]);
    let mut line = line(&[&server], "");
    line.more(10);
    let rounds = if soak().is_some() { 20 } else { 2 };
    for _ in 0..rounds {
        server.running.signal("STOP");
        line.more(40);
        line.told();
        server.running.signal("CONT");
        line.recovers("SIGCONT");
        line.more(20);
    }
    line.end("the only server hung (SIGSTOP) and back");
}

#[test]
fn server_slow() {
    let (slow, other) = (Server::start(&[]), Server::start(&[]));
    let mut line = line(&[&slow, &other], "");
    line.more(20);
    line.told();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                slow.running.signal("STOP");
                std::thread::sleep(Duration::from_millis(90));
                slow.running.signal("CONT");
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        line.more(60);
        over.store(true, Ordering::Relaxed);
    });
    most_judged(&line.told());
    line.end("one of two servers ten times as slow");
}

#[test]
fn two_of_three_servers_die() {
    let mut servers = [Server::start(&[]), Server::start(&[]), Server::start(&[])];
    let mut line = line(&servers.each_ref(), "map = \"uint16\"\n");
    line.more(20);
    line.told();
    for server in servers.iter_mut().take(2) {
        server.kill();
        line.more(20);
    }
    most_judged(&line.told());
    line.end("two of three servers killed");
}

#[test]
fn another_version_of_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other");
    vcp_line::weights::random(&other, &vcp_line::vcp_clip::Architecture::smallest(), 8).unwrap();
    let mut server = Server::start(&[]);
    let mut line = line(&[&server], "");
    server.kill();
    server.replace(&other);
    line.service.logged("does not serve 'random-demo-");
    line.nobody_looks();
    server.kill();
    server.restart();
    line.recovers("the right model is back");
    line.end("another version of the model served");
}

/// The files are there under the same names, whole at every moment.
fn put(files: &Signed, place: &Signed) {
    for (from, to) in [(&files.certificate, &place.certificate), (&files.key, &place.key)] {
        let new = to.with_extension("new");
        fs::copy(from, &new).unwrap();
        fs::rename(&new, to).unwrap();
    }
}

#[test]
fn certificate_expires_and_is_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let plant = Authority::new(folder.path(), "plant");
    let (valid, expired) = (plant.sign("gpu-1", "localhost"), plant.sign_expired("gpu-1", "localhost"));
    let place = Signed { certificate: folder.path().join("in-use.pem"), key: folder.path().join("in-use.key") };
    put(&valid, &place);
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let mut server = Server::start(&["--certificate", &text(&place.certificate), "--key", &text(&place.key)]);
    let address = format!("grpcs://localhost:{}", server.port);
    let mut line = Remote::start(&[address], &format!("ca = {:?}\n", text(&plant.pem())));
    line.more(10);
    server.kill();
    put(&expired, &place);
    server.restart();
    line.service.logged("no TLS");
    line.nobody_looks();
    // The server reads them again at every connection.
    put(&valid, &place);
    line.recovers("the certificate is renewed");
    line.end("the server's certificate expired");
}

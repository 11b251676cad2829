//! `vcp-line serve` on loopback, the real program, and engines that ask it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use vcp_line::engine::remote::{Address, RemoteSpec};
use vcp_line::engine::{self, Engine, EngineChoice, EngineError, EngineSpec};

use super::line::{Running, model, program};
use super::mosquitto::free_port;
use super::netns::Network;

/// A server and its port, which it keeps across starts.
pub struct Server {
    pub running: Running,
    pub port: u16,
    host: String,
    bundle: std::path::PathBuf,
    extra: Vec<String>,
}

impl Server {
    /// Of the small model, with these further arguments; returns when the model is ready.
    pub fn start(extra: &[&str]) -> Self {
        Self::of(model(), extra)
    }

    /// Of another bundle.
    pub fn of(bundle: &Path, extra: &[&str]) -> Self {
        let port = free_port();
        let extra: Vec<String> = extra.iter().map(|&word| word.to_owned()).collect();
        let host = "127.0.0.1".to_owned();
        let running = begin(command(bundle, &host, port, &extra));
        Self { running, port, host, bundle: bundle.to_owned(), extra }
    }

    /// Of the small model, at the far end of a cable.
    pub fn far(network: &Network) -> Self {
        let (host, port) = (network.far_address(), 8001);
        let running = begin(network.moved_far(&command(model(), &host, port, &[])));
        Self { running, port, host, bundle: model().to_owned(), extra: Vec::new() }
    }

    pub fn address(&self) -> String {
        format!("grpc://{}:{}", self.host, self.port)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.running.signal("KILL");
        self.running.end();
    }

    /// Starts it again on its port.
    pub fn restart(&mut self) {
        self.running = begin(command(&self.bundle, &self.host, self.port, &self.extra));
    }

    /// Starts another model on its port; the own one is back with the next [`Server::restart`].
    pub fn replace(&mut self, bundle: &Path) {
        self.running = begin(command(bundle, &self.host, self.port, &self.extra));
    }
}

fn command(bundle: &Path, host: &str, port: u16, extra: &[String]) -> Command {
    let listen = format!("{host}:{port}");
    let mut arguments = vec!["serve", bundle.to_str().unwrap(), "--listen", &listen, "--threads", "1"];
    if !extra.iter().any(|word| word == "--engine") {
        arguments.extend(["--engine", "reference"]);
    }
    arguments.extend(extra.iter().map(String::as_str));
    program(&arguments)
}

fn begin(command: Command) -> Running {
    let running = Running::start(command);
    running.logged("clients can connect");
    running.logged("the model is ready");
    running
}

/// An engine that asks these servers.
pub fn remote(endpoints: &[String], change: impl FnOnce(&mut RemoteSpec)) -> Result<Box<dyn Engine>, EngineError> {
    let endpoints: Vec<Address> = endpoints.iter().map(|text| text.parse().unwrap()).collect();
    let mut remote = RemoteSpec::new(endpoints);
    change(&mut remote);
    let (engine, remote) = (EngineChoice::Remote, Some(remote));
    engine::open(&EngineSpec { engine, remote, max_batch: 4, ..EngineSpec::new(model()) })
}

/// Returns when `condition` holds.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < super::line::PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    begin.elapsed()
}

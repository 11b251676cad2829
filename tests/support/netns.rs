//! Two network namespaces joined by a cable: one for a network camera, one for the program that looks at it.
//!
//! The host's own network stays untouched: both ends of the veth pair lie in namespaces made here and removed on drop.
#![allow(dead_code)]

use std::io::Read;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Frames of GigE Vision cameras are large: jumbo packets on both ends.
const MTU: &str = "9000";

/// A cable with a namespace at each end.
pub struct Network {
    near: String,
    far: String,
}

impl Network {
    /// Address of the near end, where the program under test runs.
    pub const NEAR: &str = "10.213.77.1";
    /// Address of the far end, where the camera is.
    pub const FAR: &str = "10.213.77.2";

    /// Makes the namespaces. The error says what is missing: root, or the right to make namespaces.
    pub fn new() -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let network = Self { near: format!("vcpn-{id}"), far: format!("vcpf-{id}") };
        let (near, far) = (network.near.as_str(), network.far.as_str());
        ip(&["netns", "add", near])?;
        ip(&["netns", "add", far])?;
        // Made inside the near namespace, so that the names of the two ends can be short and need not be unique.
        ip(&["-n", near, "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", far])?;
        for (namespace, link, address) in [(near, "near", Self::NEAR), (far, "far", Self::FAR)] {
            ip(&["-n", namespace, "addr", "add", &format!("{address}/24"), "dev", link])?;
            ip(&["-n", namespace, "link", "set", link, "mtu", MTU, "up"])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        }
        Ok(network)
    }

    /// The network, or `None` with a printed reason where it cannot be had; under CI that is a failure.
    pub fn or_skip() -> Option<Self> {
        match Self::new() {
            Ok(network) => Some(network),
            Err(reason) if std::env::var("CI").is_ok_and(|ci| ci == "true") => {
                panic!("under CI this test must run: {reason}")
            }
            Err(reason) => {
                println!("NOT TESTED: {reason}");
                None
            }
        }
    }

    /// A command at the near end.
    pub fn near(&self, program: &str) -> Command {
        inside(&self.near, program)
    }

    /// A command at the far end.
    pub fn far(&self, program: &str) -> Command {
        inside(&self.far, program)
    }

    /// Pulls the cable.
    pub fn unplug(&self) {
        ip(&["-n", &self.far, "link", "set", "far", "down"]).unwrap();
    }

    /// Plugs the cable in again.
    pub fn plug(&self) {
        ip(&["-n", &self.far, "link", "set", "far", "up"]).unwrap();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The pair goes with its namespace. A namespace that could not be made cannot be removed either.
        for namespace in [&self.near, &self.far] {
            if let Err(reason) = ip(&["netns", "del", namespace]) {
                eprintln!("{reason}");
            }
        }
    }
}

/// Aravis's fake GigE Vision camera at the far end of a cable: 512×512 at 25 frames per second.
pub struct FakeCamera {
    child: Child,
}

impl FakeCamera {
    /// Its serial number.
    pub const SERIAL: &str = "VCP01";

    /// Starts the camera and waits until it listens.
    pub fn start(network: &Network) -> Result<Self, String> {
        let mut child = network
            .far("arv-fake-gv-camera-0.8")
            .args(["-i", "far", "-s", Self::SERIAL])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("ip netns exec: {error}"))?;
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if child.try_wait().map_err(|error| error.to_string())?.is_some() {
                let mut said = String::new();
                let read = child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said));
                return Err(format!("install the Debian package aravis-tools ({said}{read:?})"));
            }
            // 3956 is the control port of GigE Vision.
            let sockets = output(network.far("ss").args(["-Hlun", "sport", "=", ":3956"]))?;
            if !sockets.trim().is_empty() {
                return Ok(Self { child });
            }
            if Instant::now() > deadline {
                return Err("the fake camera does not listen on port 3956".to_owned());
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// The camera, or `None` with a printed reason; under CI that is a failure.
    pub fn or_skip(network: &Network) -> Option<Self> {
        match Self::start(network) {
            Ok(camera) => Some(camera),
            Err(reason) if std::env::var("CI").is_ok_and(|ci| ci == "true") => {
                panic!("under CI this test must run: {reason}")
            }
            Err(reason) => {
                println!("NOT TESTED: {reason}");
                None
            }
        }
    }
}

impl Drop for FakeCamera {
    fn drop(&mut self) {
        self.child.kill().expect("the fake camera can be killed");
        self.child.wait().expect("the fake camera ends");
    }
}

fn inside(namespace: &str, program: &str) -> Command {
    // `ip netns exec` becomes the program itself: the child's id is the program's.
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]);
    command
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    output(Command::new("ip").args(arguments)).map(drop)
}

fn output(command: &mut Command) -> Result<String, String> {
    let Output { status, stdout, stderr } =
        command.output().map_err(|error| format!("{error}: install the Debian package iproute2"))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
    let said = String::from_utf8_lossy(&stderr).trim().to_owned();
    Err(format!("network namespaces need root: `ip {}`: {said}", arguments.join(" ")))
}

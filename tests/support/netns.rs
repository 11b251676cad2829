//! A network camera's cable: a veth pair whose far end, with the camera, lies in a network namespace of its own.
//!
//! The near end, where the program looks at the camera, lies in a second namespace, so that the host's network stays
//! untouched; or in the host's own, for a test that also has to reach a broker. Everything is removed on drop.

use std::io::Read;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Frames of GigE Vision cameras are large: jumbo packets on both ends.
const MTU: &str = "9000";

/// A cable with a namespace at its far end.
pub struct Network {
    /// Namespace of the near end; `None` is the host's.
    near: Option<String>,
    far: String,
    subnet: u32,
}

impl Network {
    /// Both ends in namespaces of their own: programs at the near end see nothing but the cable.
    /// The error says what is missing: root, or the right to make namespaces.
    pub fn isolated() -> Result<Self, String> {
        let id = unique();
        let network = Self { near: Some(format!("vcpn-{id}")), far: format!("vcpf-{id}"), subnet: 77 };
        ip(&["netns", "add", &network.near.clone().unwrap_or_default()])?;
        network.laid("near")
    }

    /// The near end in the host's namespace: every process of the host reaches the camera.
    pub fn from_host() -> Result<Self, String> {
        // Two tests must not find the same subnet free.
        static CHOOSING: Mutex<()> = Mutex::new(());
        let _chosen = CHOOSING.lock().unwrap_or_else(PoisonError::into_inner);
        let id = unique();
        let mut free = (100..250).map(|offset| 100 + (offset + std::process::id()) % 150);
        let taken =
            |subnet: &u32| ip(&["route", "show", &format!("10.213.{subnet}.0/24")]).map(|found| !found.is_empty());
        let subnet = free.find(|subnet| taken(subnet) == Ok(false)).ok_or("10.213.100.0 to 10.213.249.0 are taken")?;
        // The name of a link has at most 15 characters.
        Self { near: None, far: format!("vcpf-{id}"), subnet }.laid(&format!("vcp{id}"))
    }

    fn laid(self, near_link: &str) -> Result<Self, String> {
        ip(&["netns", "add", &self.far])?;
        self.ip_near(&["link", "add", near_link, "type", "veth", "peer", "name", "far", "netns", &self.far])?;
        self.ip_near(&["addr", "add", &format!("{}/24", self.near_address()), "dev", near_link])?;
        self.ip_near(&["link", "set", near_link, "mtu", MTU, "up"])?;
        self.ip_far(&["addr", "add", &format!("{}/24", self.far_address()), "dev", "far"])?;
        self.ip_far(&["link", "set", "far", "mtu", MTU, "up"])?;
        self.ip_far(&["link", "set", "lo", "up"])?;
        if self.near.is_some() {
            self.ip_near(&["link", "set", "lo", "up"])?;
        }
        Ok(self)
    }

    /// Address of the near end, where the program under test runs.
    pub fn near_address(&self) -> String {
        format!("10.213.{}.1", self.subnet)
    }

    /// Address of the far end, where the camera is.
    pub fn far_address(&self) -> String {
        format!("10.213.{}.2", self.subnet)
    }

    /// A command at the near end. Its child's id is the id of the program itself.
    pub fn near(&self, program: &str) -> Command {
        self.near.as_ref().map_or_else(|| Command::new(program), |namespace| inside(namespace, program))
    }

    /// A command at the far end. Its child's id is the id of the program itself.
    pub fn far(&self, program: &str) -> Command {
        inside(&self.far, program)
    }

    /// The same command at the far end.
    pub fn moved_far(&self, command: &Command) -> Command {
        let mut moved = inside(&self.far, &command.get_program().to_string_lossy());
        moved.args(command.get_args()).stdin(Stdio::null());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => moved.env(name, value),
                None => moved.env_remove(name),
            };
        }
        moved
    }

    /// Pulls the cable.
    pub fn unplug(&self) {
        self.ip_far(&["link", "set", "far", "down"]).unwrap();
    }

    /// Plugs the cable in again.
    pub fn plug(&self) {
        self.ip_far(&["link", "set", "far", "up"]).unwrap();
    }

    /// From now on so many of a hundred packets that go to or from the far end are lost there; none with 0, all with 100.
    pub fn lose(&self, percent: u32) -> Result<(), String> {
        let some = if percent == 100 { String::new() } else { format!("numgen random mod 100 < {percent} ") };
        let hooks = ["input", "output"].map(|hook| {
            format!(
                "add chain ip loss {hook} {{ type filter hook {hook} priority 0; }}; \
                 add rule ip loss {hook} {some}drop"
            )
        });
        // The first line makes the table where there is none, so that there is one to delete.
        let table = "add table ip loss; delete table ip loss";
        let rules =
            if percent == 0 { table.to_owned() } else { format!("{table}; add table ip loss; {}", hooks.join("; ")) };
        output(self.far("nft").arg(rules))
            .map(drop)
            .map_err(|error| format!("{error} (install the Debian package nftables)"))
    }

    fn ip_near(&self, arguments: &[&str]) -> Result<(), String> {
        match &self.near {
            Some(namespace) => ip(&[&["-n", namespace.as_str()], arguments].concat()).map(drop),
            None => ip(arguments).map(drop),
        }
    }

    fn ip_far(&self, arguments: &[&str]) -> Result<(), String> {
        ip(&[&["-n", self.far.as_str()], arguments].concat()).map(drop)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Both links go with the namespace of either. One that could not be made cannot be removed either: said, no more.
        for namespace in self.near.iter().chain([&self.far]) {
            if let Err(reason) = ip(&["netns", "del", namespace]) {
                eprintln!("{reason}");
            }
        }
    }
}

/// What a test needs, or `None` with a printed reason where it is not to be had; under CI that is a failure.
pub fn or_skip<T>(needed: Result<T, String>) -> Option<T> {
    match needed {
        Ok(needed) => Some(needed),
        Err(reason) if std::env::var("CI").is_ok_and(|ci| ci == "true") => {
            panic!("under CI this test must run: {reason}")
        }
        Err(reason) => {
            println!("NOT TESTED: {reason}");
            None
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
}

impl Drop for FakeCamera {
    fn drop(&mut self) {
        self.child.kill().expect("the fake camera can be killed");
        self.child.wait().expect("the fake camera ends");
    }
}

fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn inside(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]);
    command
}

fn ip(arguments: &[&str]) -> Result<String, String> {
    output(Command::new("ip").args(arguments))
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

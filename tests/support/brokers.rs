//! Brokers beside mosquitto as plants have them: Debian's RabbitMQ with its MQTT plugin, aedes for Node.js, amqtt for
//! Python, each on free loopback ports in a temporary folder.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::mosquitto::free_port;

/// RabbitMQ takes ten seconds to start on an idle machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Which broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    RabbitMq,
    Aedes,
    Amqtt,
}

/// A running broker; stopped by its process ids when dropped.
pub struct Peer {
    pub kind: Kind,
    pub port: u16,
    folder: tempfile::TempDir,
    /// Of RabbitMQ: its port mapper's, and the one for other nodes.
    inner: [u16; 2],
    children: Vec<Child>,
}

impl Peer {
    pub fn start(kind: Kind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let inner = if kind == Kind::RabbitMq { [free_port(), free_port()] } else { [0; 2] };
        let mut peer = Self { kind, port: free_port(), folder, inner, children: Vec::new() };
        if kind == Kind::RabbitMq {
            peer.write_rabbitmq();
        }
        peer.restart();
        peer
    }

    /// Starts it again on the same port, with what it keeps on disk.
    pub fn restart(&mut self) {
        assert!(self.children.is_empty(), "the broker is still running");
        let commands = match self.kind {
            Kind::RabbitMq => vec![self.epmd(), self.rabbitmq()],
            Kind::Aedes => vec![self.aedes()],
            Kind::Amqtt => vec![self.amqtt()],
        };
        for mut command in commands {
            let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
            let output = log.try_clone().unwrap();
            let child = command.stdin(Stdio::null()).stdout(output).stderr(log).spawn();
            self.children.push(child.unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program())));
        }
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.children.iter_mut().any(|child| child.try_wait().unwrap().is_some());
            assert!(!ended && start.elapsed() < PATIENCE, "{:?} does not listen:\n{}", self.kind, self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Further arguments of mosquitto's clients: amqtt keeps messages only for users who give a name.
    pub fn arguments(&self) -> &'static [&'static str] {
        if self.kind == Kind::Amqtt { &["-u", "plant", "-P", "any"] } else { &[] }
    }

    /// SIGKILL: nothing is saved that was not on disk.
    pub fn kill(&mut self) {
        for mut child in self.children.drain(..).rev() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn aedes(&self) -> Command {
        let made = made();
        let mut command = Command::new(made.join("node/bin/node"));
        command.arg(script("aedes.cjs")).arg(self.port.to_string()).env("NODE_PATH", made.join("node_modules"));
        command
    }

    fn amqtt(&self) -> Command {
        let mut command = Command::new("python3");
        command.arg(script("amqtt_broker.py")).arg(self.port.to_string()).env("PYTHONPATH", made().join("python"));
        command
    }

    /// Of RabbitMQ: whether the user `lids` may publish verdicts, and listen to commands, from the next start on.
    pub fn allow_lids(&self, allowed: bool) {
        let all = r#""configure": ".*", "write": ".*", "read": ".*""#;
        let (write, read) = if allowed { (".*", ".*") } else { ("state$", "^$") };
        let users = format!(
            r#"{{"users": [{{"name": "guest", "password": "guest", "tags": ""}},
                          {{"name": "lids", "password": "s3cret", "tags": ""}}],
                "vhosts": [{{"name": "/"}}],
                "permissions": [{{"user": "guest", "vhost": "/", {all}}}, {{"user": "lids", "vhost": "/", {all}}}],
                "topic_permissions": [{{"user": "lids", "vhost": "/", "exchange": "amq.topic",
                                        "write": "{write}", "read": "{read}"}}]}}"#
        );
        fs::write(self.path("users.json"), users).unwrap();
    }

    /// Anybody is the user `guest`.
    fn write_rabbitmq(&self) {
        for folder in ["mnesia", "log.d", "home"] {
            fs::create_dir(self.path(folder)).unwrap();
        }
        let port = self.port;
        let config = format!(
            "listeners.tcp = none\nmqtt.listeners.tcp.1 = 127.0.0.1:{port}\nlog.console = true\nlog.console.level = warning\nlog.file = false\n\
             mqtt.allow_anonymous = true\nmqtt.default_user = guest\nmqtt.default_pass = guest\n\
             load_definitions = {}\n",
            self.path("users.json").display()
        );
        self.allow_lids(false);
        fs::write(self.path("rabbitmq.conf"), config).unwrap();
        fs::write(self.path("enabled_plugins"), "[rabbitmq_mqtt].\n").unwrap();
        // In place of the machine's own.
        fs::write(self.path("env.conf"), "").unwrap();
    }

    /// The port mapper in the foreground; otherwise the first node leaves one behind.
    fn epmd(&self) -> Command {
        let mut command = Command::new("epmd");
        command.args(["-port", &self.inner[0].to_string(), "-address", "127.0.0.1"]);
        command
    }

    fn rabbitmq(&self) -> Command {
        // Debian's /usr/sbin/rabbitmq-server changes folder and user.
        let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
        command
            .env("HOME", self.path("home"))
            .env("ERL_EPMD_PORT", self.inner[0].to_string())
            .env("RABBITMQ_DIST_PORT", self.inner[1].to_string())
            .env("RABBITMQ_NODENAME", format!("peer{}@localhost", self.port))
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
            .env("RABBITMQ_CONF_ENV_FILE", self.path("env.conf"))
            .env("RABBITMQ_CONFIG_FILE", self.path("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", self.path("enabled_plugins"))
            .env("RABBITMQ_MNESIA_BASE", self.path("mnesia"))
            .env("RABBITMQ_LOG_BASE", self.path("log.d"))
            .env("RABBITMQ_PID_FILE", self.path("pid"))
            // The script becomes the broker, so that the child's process id is the broker's.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .env_remove("NOTIFY_SOCKET");
        command
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("log of {:?}:\n{}", self.kind, lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/brokers").join(name)
}

/// The folder of `scripts/brokers.sh`, which fetches what is not there yet.
fn made() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/brokers.sh");
        let output = Command::new(script).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "scripts/brokers.sh cannot bring the brokers");
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
    })
}

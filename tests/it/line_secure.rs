//! The real program with the broker files of deploy/: what they allow, what they refuse, and that no secret is told.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::certs;
use crate::support::line::{CAROUSEL, Line, Running, finished, pictures, program, settings};
use crate::support::mosquitto::{Message, Mosquitto, Subscriber, free_port};

/// A password that appears nowhere else, so that a search finds it wherever it leaks.
const PASSWORD: &str = "Zq7-unmistakable-pw";

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

/// The broker as deploy/ describes it, with certificates of its script, on a free port.
struct Plant {
    broker: Mosquitto,
    ca: PathBuf,
    _certificates: tempfile::TempDir,
}

fn plant() -> Plant {
    let certificates = tempfile::tempdir().unwrap();
    let made = Command::new("sh")
        .arg(deploy("broker-certificates.sh"))
        .args(["localhost", certificates.path().to_str().unwrap()])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let users = folder.path().join("users");
    fs::write(&users, "").unwrap();
    let config = fs::read_to_string(deploy("mosquitto.conf")).unwrap();
    let config = config
        .replace("listener 8883\n", &format!("listener {port} 127.0.0.1\n"))
        .replace("/etc/mosquitto/certs", &certificates.path().display().to_string())
        .replace("/etc/mosquitto/vcp-line.users", &users.display().to_string())
        .replace("/etc/mosquitto/vcp-line.acl", &deploy("mosquitto.acl").display().to_string());
    assert!(!config.lines().any(|line| !line.starts_with('#') && line.contains("/etc/mosquitto")), "{config}");
    // Started as root, mosquitto would change to a user that cannot read the folders.
    let broker = Mosquitto::with_config(folder, port, &format!("user root\nlog_type all\n{config}"));
    for user in ["line", "plc", "viewer", "scada"] {
        broker.add_user(user, PASSWORD);
    }
    Plant { broker, ca: certificates.path().join("ca.pem"), _certificates: certificates }
}

impl Plant {
    /// Settings of the line `caps` at this broker.
    fn settings(&self, more: &str) -> String {
        let address = format!("mqtt://127.0.0.1:{}", self.broker.port);
        let text = settings(self.broker.port, &format!("{more}{CAROUSEL}"));
        assert!(text.contains(&address));
        let secure = format!("mqtts://localhost:{}", self.broker.port);
        text.replace(&address, &secure).replace(
            "reconnect_min_ms",
            &format!(
                "ca = \"{}\"\nusername = \"line\"\npassword_file = \"password\"\nreconnect_min_ms",
                self.ca.display()
            ),
        )
    }

    fn arguments(&self, user: Option<&str>) -> Vec<String> {
        let mut arguments = ["-h", "localhost", "--cafile", self.ca.to_str().unwrap()].map(str::to_owned).to_vec();
        arguments.extend(["-p".to_owned(), self.broker.port.to_string()]);
        if let Some(user) = user {
            arguments.extend(["-u", user, "-P", PASSWORD].map(str::to_owned));
        }
        arguments
    }

    fn subscriber(&self, user: &str, filter: &str) -> Subscriber {
        let mut arguments = self.arguments(Some(user));
        if filter.starts_with("spBv1.0") {
            // Its payloads are no text.
            arguments.extend(["-F", "MESSAGE %r\t%t\t%x"].map(str::to_owned));
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Subscriber::start(self.broker.port, filter, &arguments)
    }

    /// Publishes over MQTT 5; whether the broker took it, and what the client said.
    fn publish(&self, user: Option<&str>, topic: &str, payload: &str) -> (bool, String) {
        let output = Command::new("mosquitto_pub")
            .args(self.arguments(user))
            .args(["-V", "5", "-q", "1", "-d", "-t", topic, "-m", payload])
            .output()
            .unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        // A reason code other than success (0) and nobody-listens (16) is a refusal.
        let taken = said.contains("RC:0)") || said.contains("RC:16)");
        (output.status.success() && taken, said)
    }
}

fn folder(password: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    pictures(&folder.path().join("parts"));
    fs::write(folder.path().join("password"), format!("{password}\n")).unwrap();
    folder
}

fn is_verdict(message: &Message) -> bool {
    message.topic == "vcp-line/caps/top/verdict"
}

#[test]
fn under_the_example_list_the_line_works_and_nobody_else_can_speak_for_it() {
    let plant = plant();
    let viewer = plant.subscriber("viewer", "#");
    let scada = plant.subscriber("scada", "spBv1.0/#");
    let more = "[sparkplug]\ngroup = \"plant\"\nprimary_host = \"scada\"\n";
    let mut service = Line::run_in(folder(PASSWORD), &plant.settings(&format!("version = 5\n{more}")), |_| {});
    let messages = viewer.until(|message| is_verdict(message) && message.json()["seq"].as_u64() >= Some(5));
    assert!(messages.iter().any(|message| message.topic == "vcp-line/caps/state"));

    // What only the line may say.
    let forged = [
        "vcp-line/caps/top/verdict",
        "vcp-line/caps/state",
        "vcp-line/caps/top/alarm",
        "vcp-line/caps/ack",
        "spBv1.0/plant/NBIRTH/caps",
        "spBv1.0/plant/DDATA/caps/top",
        "spBv1.0/plant/NDEATH/caps",
    ];
    for topic in forged {
        for user in ["plc", "viewer", "scada"] {
            let (taken, said) = plant.publish(Some(user), topic, "forged");
            assert!(!taken && said.contains("RC:135"), "{user} may publish to {topic}: {said}");
        }
    }
    // Another line is not this one.
    assert!(!plant.publish(Some("line"), "vcp-line/jars/top/verdict", "forged").0);
    // Commands: the controller's right alone.
    for (user, may) in [("plc", true), ("viewer", false), ("scada", false), ("line", false)] {
        let (taken, said) = plant.publish(Some(user), "vcp-line/caps/cmd/resume", "{}");
        assert_eq!(taken, may, "{user}: {said}");
    }
    for (user, may) in [("scada", true), ("plc", false), ("viewer", false)] {
        assert_eq!(plant.publish(Some(user), "spBv1.0/plant/NCMD/caps", "x").0, may, "{user}");
    }
    // Nobody without a name gets in, and nobody with a wrong password.
    let (taken, said) = plant.publish(None, "vcp-line/caps/cmd/resume", "{}");
    assert!(!taken && said.contains("CONNACK (135)"), "{said}");

    // The controller reads verdicts; the Sparkplug host gets its births once it has said that it is there.
    let plc = plant.subscriber("plc", "vcp-line/#");
    plc.until(is_verdict);
    assert!(plant.publish(Some("scada"), "spBv1.0/STATE/scada", "{\"online\":true,\"timestamp\":1}").0);
    scada.until(|message| message.topic == "spBv1.0/plant/NBIRTH/caps");
    scada.until(|message| message.topic == "spBv1.0/plant/DDATA/caps/top");
    service.service.signal("TERM");
    assert_eq!(service.service.end().code(), Some(0), "{}", service.service.stderr());
    let mut rest = viewer.until(|message| message.topic.ends_with("/state") && message.json()["state"] == "offline");
    rest.extend(messages);
    assert!(rest.iter().all(|message| message.payload != "forged"));
    scada.until(|message| message.topic == "spBv1.0/plant/NDEATH/caps");
}

/// A list that forgot the line's verdicts: MQTT 5 makes it visible where people look.
#[test]
fn a_refused_verdict_raises_an_alarm_on_the_cameras() {
    let (port, list) = (free_port(), tempfile::tempdir().unwrap());
    let acl = list.path().join("acl");
    fs::write(&acl, "topic write vcp-line/+/state\ntopic write vcp-line/+/+/alarm\ntopic read #\n").unwrap();
    let config = format!("user root\nallow_anonymous true\nacl_file {}\nlistener {port} 127.0.0.1\n", acl.display());
    let broker = Mosquitto::with_config(tempfile::tempdir().unwrap(), port, &config);
    let viewer = Subscriber::start(broker.port, "vcp-line/caps/top/alarm", &[]);
    let line = Line::run_in(folder(PASSWORD), &settings(port, &format!("version = 5\n{CAROUSEL}")), |_| {});
    let alarm = viewer.until(|message| !message.payload.is_empty()).pop().unwrap().json();
    assert_eq!(alarm["alarms"][0]["kind"], "broker_refuses");
    let message = alarm["alarms"][0]["message"].as_str().unwrap();
    assert!(message.contains("publish to vcp-line/caps/top/verdict (NotAuthorized)"), "{message}");
    fs::write(&acl, "topic write vcp-line/#\ntopic read #\n").unwrap();
    broker.reload();
    viewer.until(|message| message.payload.is_empty());
    drop(line);
}

/// Everything that the program says, at its most talkative, through start, trouble, work and stop.
#[test]
fn no_secret_is_told() {
    let plant = plant();
    let viewer = plant.subscriber("viewer", "#");
    let wrong = "Xw9-also-unmistakable";
    let talkative = |command: &mut Command| {
        command.env("VCP_LINE_LOG", "trace");
    };
    let text = plant.settings("[sparkplug]\ngroup = \"plant\"\n");
    let mut outputs = Vec::new();

    let mut refused = Line::run_in(folder(wrong), &text, talkative);
    refused.service.logged("does not accept user \"line\"");
    refused.service.signal("TERM");
    refused.service.end();
    outputs.push((refused.service.stdout(), refused.service.stderr()));
    let file = refused.folder.path().join("line.toml");
    let mut check = program(&["check", file.to_str().unwrap()]);
    talkative(&mut check);
    let mut check = Running::start(check);
    assert_eq!(check.end().code(), Some(1));
    outputs.push((check.stdout(), check.stderr()));

    let mut line = Line::run_in(folder(PASSWORD), &text, talkative);
    let mut messages = viewer.until(|message| is_verdict(message) && message.json()["seq"].as_u64() >= Some(3));
    line.service.signal("TERM");
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
    assert!(
        line.service.stderr().contains("TRACE") || line.service.stderr().contains("DEBUG"),
        "as talkative as asked"
    );
    outputs.push((line.service.stdout(), line.service.stderr()));
    let check = finished(&["check", line.folder.path().join("line.toml").to_str().unwrap()]);
    let said = String::from_utf8(check.stdout).unwrap();
    assert_eq!(check.status.code(), Some(0), "{said}");
    assert!(said.contains(&format!("ok    broker       localhost:{}", plant.broker.port)), "{said}");
    outputs.push((said, String::from_utf8(check.stderr).unwrap()));

    messages.extend(std::iter::from_fn(|| viewer.next(Duration::from_millis(300))));
    for secret in [PASSWORD, wrong] {
        for (out, err) in &outputs {
            assert!(!out.contains(secret) && !err.contains(secret), "told:\n{out}\n{err}");
        }
        assert!(messages.iter().all(|message| !message.payload.contains(secret)));
    }
}

/// As systemd hands them over: a folder that only the service can read, named by a variable.
#[test]
fn secrets_come_from_the_credentials_folder_when_they_are_there() {
    let plant = plant();
    let credentials = tempfile::tempdir().unwrap();
    fs::write(credentials.path().join("password"), format!("{PASSWORD}\n")).unwrap();
    fs::set_permissions(credentials.path().join("password"), fs::Permissions::from_mode(0o400)).unwrap();
    let folder = folder("the wrong one, beside the settings");
    let file = folder.path().join("line.toml");
    fs::write(&file, plant.settings("")).unwrap();
    let check = |credentials: Option<&Path>| {
        let mut command = program(&["check", file.to_str().unwrap()]);
        if let Some(folder) = credentials {
            command.env("CREDENTIALS_DIRECTORY", folder);
        }
        let output = command.stdin(Stdio::null()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(check(Some(credentials.path())).contains("ok    broker "));
    assert!(check(None).contains("does not accept user \"line\""));
    // What the unit hands over for a secret that nobody has set.
    fs::remove_file(credentials.path().join("password")).unwrap();
    fs::write(credentials.path().join("password"), "\n").unwrap();
    fs::write(folder.path().join("password"), format!("{PASSWORD}\n")).unwrap();
    assert!(check(Some(credentials.path())).contains("ok    broker "));
}

#[test]
fn check_says_what_is_wrong_with_tls() {
    let plant = plant();
    let foreign = tempfile::tempdir().unwrap();
    let other = certs::Authority::new(foreign.path(), "other");
    let folder = folder(PASSWORD);
    let file = folder.path().join("line.toml");
    let check = |text: String| {
        fs::write(&file, text).unwrap();
        let output = finished(&["check", file.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), said)
    };
    let good = plant.settings("");
    let ca = plant.ca.display().to_string();
    let (code, said) = check(good.replace(&ca, &other.pem().display().to_string()));
    assert!(code == Some(1) && said.contains("not trusted: none of the authorities in ca has signed it"), "{said}");
    let (code, said) = check(good.replace("mqtts://localhost", "mqtts://127.0.0.1"));
    assert!(code == Some(1) && said.contains("it is not for \"127.0.0.1\" but for localhost;"), "{said}");
    // Files are settings: the place in the file is told, and the service does not start.
    fs::write(folder.path().join("empty.pem"), "").unwrap();
    let (code, said) = check(good.replace(&ca, "empty.pem"));
    assert!(code == Some(78) && said.contains("mqtt.ca: ca ") && said.contains("holds no certificate"), "{said}");
    let (code, said) = check(good.replace("mqtts://", "mqtt://"));
    assert!(code == Some(78) && said.contains("mqtt.ca: has a meaning only with url = \"mqtts://…\""), "{said}");
}

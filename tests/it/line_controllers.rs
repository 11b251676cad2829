//! Controllers and plants as they are: payloads in a PLC's strings, topics of a Unified Namespace, a user without password.

use serde_json::{Value, json};

use crate::support::commands::ACK;
use crate::support::line::{Line, finished, settings};
use crate::support::mosquitto::{Message, Mosquitto, Rules, Subscriber, free_port};
use crate::support::{commands, schema};

/// Products twenty times a second, inspected when a command asks.
const CAMERA: &str = "[[camera]]\nname = \"top\"\nsource = \"synthetic\"\nclasses = [\"pill\"]\nsize = 64\npool = 4\n\
                      fps = 20.0\n[camera.trigger]\nmode = \"software\"\ndeadline_ms = 30000\n";

/// The next acknowledgement.
fn answer(reader: &Subscriber) -> Value {
    let answer = reader.until(|message: &Message| message.topic.ends_with("/ack")).last().unwrap().json();
    schema::assert_valid(&schema::ack(), &answer);
    answer
}

#[test]
fn a_payload_of_a_controller_is_taken_or_refused_and_never_met_with_silence() {
    let broker = Mosquitto::start(Rules::default());
    let line = Line::run(&settings(broker.port, CAMERA));
    line.service.logged("commands can come in");
    line.service.logged("1 camera, engine");
    let reader = Subscriber::start(broker.port, ACK, &[]);
    let trigger = |payload: &[u8]| {
        commands::publish(broker.port, "trigger", payload, &[]);
        answer(&reader)
    };
    let utf16: Vec<u8> =
        "\u{feff}{\"correlation_id\":\"16\",\"part_id\":\"W\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let taken: [(&[u8], &str, &str); 10] = [
        (b"{\"part_id\":\"A-2\",\"correlation_id\":\"2\"}\0", "2", "A-2"),
        (b"{\"part_id\":\"A-3\0\0\0\0\",\"correlation_id\":\"3\"}    \0\0\0", "3", "A-3"),
        (b"{\"part_id\":\"A-4\",\"correlation_id\":\"4\"}\0longer\"}", "4", "A-4"),
        (b"\xef\xbb\xbf{\"part_id\":\"A-5\",\"correlation_id\":5}", "5", "A-5"),
        (b"{'part_id':'A-6','correlation_id':'6'}", "6", "A-6"),
        (b"'{\"part_id\":\"A-7\",\"correlation_id\":\"7\"}'", "7", "A-7"),
        (b"{\"part_id\":42,\"correlation_id\":\"8\",\"trigger\":\"8\",}", "8", "42"),
        (b"{\"part_id\":\"M\xfcller\",\"correlation_id\":\"9\"}", "9", "M\u{fc}ller"),
        (b"\xfe\x27{\"part_id\":\"S-7\",\"correlation_id\":\"10\"}\x00\x00\x00", "10", "S-7"),
        (&utf16, "16", "W"),
    ];
    for (payload, id, part) in taken {
        let ack = trigger(payload);
        let shown = String::from_utf8_lossy(payload);
        assert_eq!((&ack["ok"], &ack["correlation_id"]), (&json!(true), &json!(id)), "{shown:?}: {ack}");
        assert_eq!(ack["applied"]["part"]["id"], part, "{shown:?}");
    }
    let refused: [(&[u8], Value, &str); 6] = [
        (b"", Value::Null, "it is empty"),
        (b"\0\0\0\0", Value::Null, "it is empty"),
        (b"{\"part_id\":\"A-2\",\"correlation_id\":\"20\"", json!("20"), "EOF while parsing"),
        (b"A-2", Value::Null, "expected value"),
        (b"{\"part_id\":\"A-2\",\"trigger\":\"x\"}", Value::Null, "\"x\" where a whole number from 0 belongs"),
        (b"{\"correlation_id\":true,\"part_id\":\"A\"}", Value::Null, "correlation_id, a string or a number,"),
    ];
    for (payload, id, reason) in refused {
        let ack = trigger(payload);
        let said = ack["error"].as_str().unwrap_or_default();
        assert!(ack["ok"] == false && ack["correlation_id"] == id && said.contains(reason), "{ack}");
    }
}

#[test]
fn a_line_lives_under_the_topics_of_a_plant_as_a_user_without_password() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let prefix = "/acme.corp/Plant 1/k\u{f6}ln";
    let access = folder.path().join("acl");
    // Whoever shows no token sees everything and may command; only the token's line may speak.
    std::fs::write(
        &access,
        format!("topic read #\ntopic write {prefix}/caps/cmd/#\nuser TOKEN\ntopic readwrite {prefix}/caps/#\n"),
    )
    .unwrap();
    let config = format!("user root\nlistener {port} 127.0.0.1\nallow_anonymous true\nacl_file {}\n", access.display());
    let broker = Mosquitto::with_config(folder, port, &config);
    let reader = Subscriber::start(broker.port, "#", &[]);
    let text = settings(broker.port, CAMERA).replacen(
        "[mqtt]\n",
        &format!("[mqtt]\nprefix = \"{prefix}\"\nusername = \"TOKEN\"\n"),
        1,
    );
    let line = Line::run(&text);
    line.service.logged("commands can come in");
    line.service.logged("1 camera, engine");
    let url = format!("mqtt://127.0.0.1:{port}//acme.corp/Plant%201/k%C3%B6ln/caps");
    let said = finished(&["trigger", &url, "--part", "A-1"]);
    assert!(said.stdout.starts_with(b"accepted"), "{said:?}");
    let verdict = reader.until(|message| message.topic.ends_with("/verdict")).pop().unwrap();
    assert_eq!(verdict.topic, format!("{prefix}/caps/top/verdict"));
    assert_eq!(verdict.json()["part"]["id"], "A-1");
}

//! A reader of verdicts that loses none and counts none twice: `consumer HOST PORT PREFIX/LINE`, ended by Ctrl-C.

use std::collections::VecDeque;
use std::io::{Error, Write as _, stdout};
use std::time::Duration;

use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use vcp_line::event::InspectionEvent;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [_, host, port, line] = &std::env::args().collect::<Vec<_>>()[..] else {
        return Err("usage: consumer HOST PORT PREFIX/LINE".into());
    };
    // A name of its own that stays the same, and a session that stays: the broker keeps what comes while this is away.
    let mut options = MqttOptions::new(format!("consumer of {line}"), host, port.parse()?);
    options.set_clean_session(false).set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut connection) = Client::new(options, 64);
    let mut known = VecDeque::from([uuid::Uuid::nil(); 1000]);
    for packet in connection.iter() {
        match packet {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                client.subscribe(format!("{line}/+/verdict"), QoS::AtLeastOnce)?
            }
            Ok(Event::Incoming(Packet::Publish(message))) => {
                let event: InspectionEvent = serde_json::from_slice(&message.payload).map_err(Error::other)?;
                if known.contains(&event.event_id) {
                    continue;
                }
                known.pop_front();
                known.push_back(event.event_id);
                let part = event.part.map_or_else(|| "-".to_owned(), |part| part.id);
                writeln!(stdout(), "{} {} {part:?} {:?}", event.camera, event.seq, event.verdict)?;
            }
            Ok(_) => {}
            Err(_) => std::thread::sleep(Duration::from_secs(1)),
        }
    }
    Ok(())
}

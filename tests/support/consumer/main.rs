//! An independent consumer of verdicts: it counts what reaches a reader, and shares no code with the program it judges.
//!
//! `consumer HOST PORT CLIENT-ID FILTER` speaks MQTT 3.1.1 (OASIS, 2014) with a session that survives lost connections,
//! and answers commands on standard input, one line each:
//! - `report`: what has come so far.
//! - `judge FILE…`: the same, and which of the parts listed in the files got no event. A file lists the parts of one run
//!   of the service in the order of their triggers, a JSON object with `part` on each line. A part without an event
//!   before one that has an event is `lost`; those at the end of a file are `unaccepted`: the service was killed before
//!   it had taken them.
//! - `parts`: the different parts that have an event.
//! - `times`: milliseconds from capture to publishing, as the events tell them, of those that did not come late.
//!
//! Built alone by `rustc`, with nothing but the standard library.

use std::collections::{HashMap, HashSet};
use std::env;
use std::fs;
use std::io::{self, BufRead, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What has come.
#[derive(Default)]
struct Book {
    messages: u64,
    /// Event ids with what they said first.
    events: HashMap<String, (String, u64)>,
    duplicates: u64,
    changed: u64,
    /// The last number and session of each camera, and the sessions that are over.
    last: HashMap<String, (String, u64)>,
    over: HashSet<(String, String)>,
    gaps: u64,
    disorder: u64,
    /// Parts with the ids of their events.
    parts: HashMap<String, HashSet<String>>,
    late: u64,
    /// Milliseconds from capture to publishing of what did not come late.
    latencies: Vec<f32>,
    no_verdict: u64,
    deadline: u64,
    restarted: u64,
    refused: u64,
}

impl Book {
    fn take(&mut self, payload: &[u8]) {
        self.messages += 1;
        let Some(event) = std::str::from_utf8(payload).ok().and_then(Json::parse) else {
            self.refused += 1;
            return;
        };
        let (Some(id), Some(session), Some(camera), Some(seq)) =
            (event.text("event_id"), event.text("session"), event.text("camera"), event.number("seq"))
        else {
            self.refused += 1;
            return;
        };
        let seq = seq as u64;
        let verdict = event.text("verdict").unwrap_or_default();
        let part = event.get("part").and_then(|part| part.text("id"));
        if let Some(first) = self.events.get(&id) {
            self.duplicates += 1;
            self.changed += u64::from(*first != (verdict, seq));
            return;
        }
        let late = matches!(event.get("historical"), Some(Json::Bool(true)));
        self.late += u64::from(late);
        if let (false, Some(total)) = (late, event.get("latency_ms").and_then(|latency| latency.number("total"))) {
            self.latencies.push(total as f32);
        }
        self.no_verdict += u64::from(verdict == "no_verdict");
        let reason = event.text("reason");
        self.restarted += u64::from(reason.as_deref() == Some("restarted"));
        self.deadline += u64::from(reason.as_deref() == Some("deadline"));
        self.events.insert(id.clone(), (verdict, seq));
        if let Some(part) = part {
            self.parts.entry(part).or_default().insert(id);
        }
        self.count(camera, session, seq);
    }

    /// Numbers of one session and camera go up by one; a session that is over does not come again.
    fn count(&mut self, camera: String, session: String, seq: u64) {
        if self.over.contains(&(camera.clone(), session.clone())) {
            self.disorder += 1;
            return;
        }
        let before = match self.last.get(&camera) {
            Some((known, last)) if *known == session => *last,
            Some((known, _)) => {
                self.over.insert((camera.clone(), known.clone()));
                0
            }
            None => 0,
        };
        if seq <= before {
            self.disorder += 1;
        } else {
            self.gaps += seq - before - 1;
            self.last.insert(camera, (session, seq));
        }
    }

    fn report(&self) -> String {
        let twice = self.parts.values().filter(|ids| ids.len() > 1).count();
        format!(
            "messages={} events={} parts={} duplicates={} changed={} twice={twice} gaps={} disorder={} late={} \
             no_verdict={} restarted={} deadline={} refused={}",
            self.messages,
            self.events.len(),
            self.parts.len(),
            self.duplicates,
            self.changed,
            self.gaps,
            self.disorder,
            self.late,
            self.no_verdict,
            self.restarted,
            self.deadline,
            self.refused
        )
    }

    /// Latencies in milliseconds, by nearest rank.
    fn times(&self) -> String {
        let mut sorted = self.latencies.clone();
        sorted.sort_by(f32::total_cmp);
        let at = |share: f64| {
            let rank = (sorted.len() as f64 * share).ceil() as usize;
            sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0.0)
        };
        format!("times={} p50={:.1} p99={:.1} max={:.1}", sorted.len(), at(0.5), at(0.99), at(1.0))
    }

    fn judge(&self, files: &[&str]) -> String {
        let (mut lost, mut unaccepted, mut listed) = (Vec::new(), Vec::new(), 0);
        for file in files {
            let text = fs::read_to_string(file).unwrap_or_default();
            let parts: Vec<String> =
                text.lines().filter_map(Json::parse).filter_map(|line| line.text("part")).collect();
            listed += parts.len();
            let answered = parts.iter().rposition(|part| self.parts.contains_key(part)).map_or(0, |last| last + 1);
            lost.extend(parts[..answered].iter().filter(|part| !self.parts.contains_key(*part)).cloned());
            unaccepted.push((parts.len() - answered).to_string());
        }
        let named = if lost.is_empty() { String::new() } else { format!(" lost_parts={}", lost.join(",")) };
        format!("{} listed={listed} lost={} unaccepted={}{named}", self.report(), lost.len(), unaccepted.join(","))
    }
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [host, port, client, filter] = &arguments[..] else {
        eprintln!("usage: consumer HOST PORT CLIENT-ID FILTER");
        std::process::exit(2);
    };
    let address = (host.clone(), port.parse::<u16>().expect("a port"));
    let (client, filter) = (client.clone(), filter.clone());
    let book = Arc::new(Mutex::new(Book::default()));
    let filled = Arc::clone(&book);
    thread::Builder::new()
        .name("mqtt".into())
        .spawn(move || {
            loop {
                if let Err(error) = listen(&address, &client, &filter, &filled) {
                    eprintln!("connection: {error}");
                }
                thread::sleep(Duration::from_millis(50));
            }
        })
        .expect("a thread");
    for line in io::stdin().lock().lines() {
        let line = line.expect("text");
        let words: Vec<&str> = line.split_whitespace().collect();
        let book = book.lock().expect("not poisoned");
        match words.split_first() {
            Some((&"report", _)) => say(&book.report()),
            Some((&"judge", files)) => say(&book.judge(files)),
            Some((&"times", _)) => say(&book.times()),
            Some((&"parts", _)) => say(&format!("parts={}", book.parts.len())),
            _ => say("unknown"),
        }
    }
}

fn say(text: &str) {
    println!("{text}");
    io::stdout().flush().expect("somebody listens");
}

/// One connection, until it ends.
fn listen(address: &(String, u16), client: &str, filter: &str, book: &Mutex<Book>) -> io::Result<()> {
    let mut stream = TcpStream::connect((address.0.as_str(), address.1))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    // CONNECT: protocol level 4, the session is kept, keep alive 0 (none).
    let mut connect = text("MQTT");
    connect.extend([4, 0, 0, 0]);
    connect.extend(text(client));
    send(&mut stream, 0x10, &connect)?;
    let (kind, answer) = receive(&mut stream)?;
    if kind != 0x20 || answer.get(1) != Some(&0) {
        return Err(io::Error::other(format!("not accepted: {kind:#x} {answer:?}")));
    }
    // SUBSCRIBE with QoS 1, packet id 1.
    let mut subscribe = vec![0, 1];
    subscribe.extend(text(filter));
    subscribe.push(1);
    send(&mut stream, 0x82, &subscribe)?;
    loop {
        let (kind, body) = match receive(&mut stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                send(&mut stream, 0xc0, &[])?;
                continue;
            }
            other => other?,
        };
        match kind & 0xf0 {
            0x90 => eprintln!("subscribed"),
            0x30 => {
                let wrong = || io::Error::other("a publish packet is too short");
                let topic = usize::from(u16::from_be_bytes([
                    *body.first().ok_or_else(wrong)?,
                    *body.get(1).ok_or_else(wrong)?,
                ]));
                let mut rest = body.get(2 + topic..).ok_or_else(wrong)?;
                let mut id = None;
                if kind & 0x06 != 0 {
                    id = Some([*rest.first().ok_or_else(wrong)?, *rest.get(1).ok_or_else(wrong)?]);
                    rest = &rest[2..];
                }
                // Counted before it is acknowledged: a connection that ends in between repeats it.
                book.lock().expect("not poisoned").take(rest);
                if let Some(id) = id {
                    send(&mut stream, 0x40, &id)?;
                }
            }
            _ => {}
        }
    }
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

fn send(stream: &mut TcpStream, kind: u8, body: &[u8]) -> io::Result<()> {
    let mut packet = vec![kind];
    let mut length = body.len();
    loop {
        let more = if length > 127 { 128 } else { 0 };
        packet.push((length % 128) as u8 | more);
        length /= 128;
        if more == 0 {
            break;
        }
    }
    packet.extend(body);
    stream.write_all(&packet)
}

fn receive(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    let (mut length, mut shift) = (0, 0);
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 127) << shift;
        shift += 7;
        if byte[0] & 128 == 0 {
            break;
        }
        if shift > 21 {
            return Err(io::Error::other("a packet without end"));
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((kind[0], body))
}

/// As much of JSON (RFC 8259) as an event needs.
enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List,
    Object(HashMap<String, Json>),
}

impl Json {
    fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim();
        let value = Self::value(&mut rest)?;
        rest.trim().is_empty().then_some(value)
    }

    fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => fields.get(key),
            _ => None,
        }
    }

    fn text(&self, key: &str) -> Option<String> {
        match self.get(key)? {
            Self::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    fn number(&self, key: &str) -> Option<f64> {
        match self.get(key)? {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    fn value(rest: &mut &str) -> Option<Self> {
        *rest = rest.trim_start();
        for (word, value) in [("null", Self::Null), ("true", Self::Bool(true)), ("false", Self::Bool(false))] {
            if let Some(after) = rest.strip_prefix(word) {
                *rest = after;
                return Some(value);
            }
        }
        match rest.chars().next()? {
            '"' => Self::string(rest).map(Self::Text),
            '[' => {
                Self::items(rest, ']', |rest| Self::value(rest).map(drop))?;
                Some(Self::List)
            }
            '{' => {
                let mut fields = HashMap::new();
                Self::items(rest, '}', |rest| {
                    *rest = rest.trim_start();
                    let key = Self::string(rest)?;
                    *rest = rest.trim_start().strip_prefix(':')?;
                    fields.insert(key, Self::value(rest)?);
                    Some(())
                })?;
                Some(Self::Object(fields))
            }
            _ => {
                let end = rest.find(|c: char| !(c.is_ascii_digit() || "+-.eE".contains(c))).unwrap_or(rest.len());
                let number = rest[..end].parse().ok()?;
                *rest = &rest[end..];
                Some(Self::Number(number))
            }
        }
    }

    fn items(rest: &mut &str, end: char, mut item: impl FnMut(&mut &str) -> Option<()>) -> Option<()> {
        *rest = rest[1..].trim_start();
        if let Some(after) = rest.strip_prefix(end) {
            *rest = after;
            return Some(());
        }
        loop {
            item(rest)?;
            *rest = rest.trim_start();
            match rest.strip_prefix(',') {
                Some(after) => *rest = after,
                None => {
                    *rest = rest.strip_prefix(end)?;
                    return Some(());
                }
            }
        }
    }

    fn string(rest: &mut &str) -> Option<String> {
        let mut letters = rest.strip_prefix('"')?.char_indices();
        let mut text = String::new();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    *rest = &rest[at + 2..];
                    return Some(text);
                }
                // What stands behind a backslash is never compared.
                '\\' => text.push(letters.next()?.1),
                _ => text.push(letter),
            }
        }
        None
    }
}

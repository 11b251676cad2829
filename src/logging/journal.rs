//! systemd's journal by its own protocol (`systemd.io/JOURNAL_NATIVE_PROTOCOL`): a datagram of `NAME=value` lines for each event, so
//! that a part, a camera, a verdict or a kind of message can be asked for by name (`journalctl PART_ID=4711`).
//!
//! No value holds a line end, because others' control characters are spelled out, and none is longer than a line of the log: the
//! simple form of the protocol is enough, and a datagram always takes it.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use super::harmless::push_harmless;
use crate::event::LOG_TARGET;

/// Where journald listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";
/// Kinds of messages that people ask for, as `MESSAGE_ID=`; deploy/operate.md lists them. Drawn once with `journalctl --new-id128`.
const VERDICT: &str = "6f0d2c51b8a34e0f9a6c1d1d0c7e5b21";
const ALARM: &str = "b2a7f0c3d94e4a7a8f3be1c06d5a9e47";
const ALARM_OVER: &str = "0c9e83fb51d24d5e8f7d2a64b1e0c3d8";

/// Whether standard error is the stream that journald has given to this service, as `systemd.exec(5)` tells it by device and inode:
/// whoever has redirected it wants the lines elsewhere.
pub fn is_given(stream: &str, stderr: &File) -> bool {
    let Some((device, inode)) = stream.split_once(':') else { return false };
    stderr.metadata().is_ok_and(|file| {
        device.parse() == Ok(file.dev()) && inode.parse() == Ok(file.ino()) && Path::new(SOCKET).exists()
    })
}

/// The way to journald; what it does not take goes to the stream.
pub struct Journal {
    socket: UnixDatagram,
    address: PathBuf,
    stream: Option<File>,
}

impl Journal {
    /// `address` is journald's socket, which need not be there all the time.
    pub fn new(address: &Path, stream: Option<File>) -> io::Result<Self> {
        Ok(Self { socket: UnixDatagram::unbound()?, address: address.to_owned(), stream })
    }

    /// Hands a record over. Waits while journald reads nothing.
    pub fn put(&mut self, record: &str) -> io::Result<()> {
        let Err(refused) = self.socket.send_to(record.as_bytes(), &self.address) else { return Ok(()) };
        let Some(stream) = &mut self.stream else { return Err(refused) };
        stream.write_all(as_line(record).as_bytes())
    }
}

/// What a line without fields of its own is as a record.
pub fn record(level: Level, words: &str) -> String {
    let mut record = String::with_capacity(words.len() + 96);
    // Writing to a String never fails.
    write!(record, "PRIORITY={}\nSYSLOG_IDENTIFIER=vcp-line\nMESSAGE={level:>5} ", priority(level)).ok();
    push_harmless(&mut record, words);
    record.push('\n');
    record
}

/// The record of an event: its line, and its fields by name.
pub fn record_of(event: &Event<'_>, words: &str) -> String {
    let metadata = event.metadata();
    let mut fields = Fields { record: record(*metadata.level(), words), alarm: false };
    event.record(&mut fields);
    let Fields { mut record, alarm } = fields;
    let kind = match () {
        () if metadata.target() == LOG_TARGET => Some(VERDICT),
        () if alarm && *metadata.level() <= Level::WARN => Some(ALARM),
        () if alarm => Some(ALARM_OVER),
        () => None,
    };
    if let Some(kind) = kind {
        writeln!(record, "MESSAGE_ID={kind}").ok();
    }
    record
}

/// A record as the stream takes it: priority and message.
fn as_line(record: &str) -> String {
    let value = |name: &str| record.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    format!("<{}>{}\n", value("PRIORITY="), value("MESSAGE="))
}

/// The kernel's levels (`syslog(3)`).
pub fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

struct Fields {
    record: String,
    alarm: bool,
}

impl Fields {
    fn add(&mut self, field: &Field, value: &str) {
        let (known, others) = match field.name() {
            // It is in the line.
            "message" => return,
            "part" => ("PART_ID", None),
            "camera" => ("CAMERA", None),
            "verdict" => ("VERDICT", None),
            "reason" => ("REASON", None),
            "event_id" => ("EVENT_ID", None),
            "alarm" => ("ALARM", None),
            name => ("VCP_", Some(name)),
        };
        self.alarm |= known == "ALARM";
        self.record.push_str(known);
        for letter in others.into_iter().flat_map(str::chars) {
            self.record.push(if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' });
        }
        self.record.push('=');
        push_harmless(&mut self.record, value);
        self.record.push('\n');
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_lines_of_names_and_values() {
        assert_eq!(
            record(Level::WARN, "a\nPRIORITY=0"),
            "PRIORITY=4\nSYSLOG_IDENTIFIER=vcp-line\nMESSAGE= WARN a\\nPRIORITY=0\n"
        );
        assert_eq!(as_line(&record(Level::ERROR, "gone")), "<3>ERROR gone\n");
    }

    #[test]
    fn what_journald_does_not_take_goes_to_the_stream() {
        let folder = tempfile::tempdir().unwrap();
        let (address, stream) = (folder.path().join("socket"), folder.path().join("stream"));
        let mut journal = Journal::new(&address, File::create(&stream).ok()).unwrap();
        journal.put(&record(Level::INFO, "before it is there")).unwrap();
        let journald = UnixDatagram::bind(&address).unwrap();
        let sent = record(Level::INFO, "there");
        journal.put(&sent).unwrap();
        let mut taken = [0; 1024];
        let length = journald.recv(&mut taken).unwrap();
        assert_eq!(std::str::from_utf8(&taken[..length]).unwrap(), sent);
        assert_eq!(std::fs::read_to_string(&stream).unwrap(), "<6> INFO before it is there\n");
        let mut nowhere = Journal::new(&folder.path().join("none"), None).unwrap();
        assert!(nowhere.put(&sent).is_err());
    }

    /// Through the real subscriber: names of fields, the kind of message, and nothing of others' line ends.
    #[test]
    fn an_event_is_found_by_its_part_and_its_kind() {
        use tracing_subscriber::layer::SubscriberExt;

        use super::super::outlet::{Outlet, Target};
        use super::super::rate::{PerMessage, RateLimit};
        use super::super::text::{OneLine, Style};

        let folder = tempfile::tempdir().unwrap();
        let address = folder.path().join("socket");
        let journald = UnixDatagram::bind(&address).unwrap();
        journald.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let target = Target::Journal(Journal::new(&address, None).unwrap());
        let outlet = Outlet::start(target, Style::Fields, PerMessage::new(RateLimit::default())).unwrap();
        let lines = tracing_subscriber::fmt::layer().event_format(OneLine::new(Style::Fields)).with_writer(outlet);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            let part = Some("4711\nPRIORITY=0");
            tracing::info!(target: LOG_TARGET, camera = "top", part, verdict = "fail", event_id = %7, "a part");
            tracing::warn!(alarm = "light", "darker");
            tracing::info!(alarm = "light", "over");
            tracing::info!(free_bytes = 3, "plain");
        });
        let next = || {
            let mut taken = [0; 4096];
            let length = journald.recv(&mut taken).unwrap();
            String::from_utf8(taken[..length].to_vec()).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let record = next();
        for line in [
            "PRIORITY=6",
            "SYSLOG_IDENTIFIER=vcp-line",
            "PART_ID=4711\\nPRIORITY=0",
            "CAMERA=top",
            "VERDICT=fail",
            "EVENT_ID=7",
            &format!("MESSAGE_ID={VERDICT}"),
        ] {
            assert_eq!(record.iter().filter(|found| *found == line).count(), 1, "{line} in {record:?}");
        }
        assert_eq!(record.iter().filter(|line| line.starts_with("PRIORITY=")).count(), 1, "{record:?}");
        let (raised, over, plain) = (next(), next(), next());
        assert!(
            raised.contains(&format!("MESSAGE_ID={ALARM}")) && raised.contains(&"ALARM=light".to_owned()),
            "{raised:?}"
        );
        assert!(over.contains(&format!("MESSAGE_ID={ALARM_OVER}")), "{over:?}");
        assert!(plain.contains(&"VCP_FREE_BYTES=3".to_owned()), "{plain:?}");
        assert!(!plain.iter().any(|line| line.starts_with("MESSAGE_ID=")), "{plain:?}");
    }

    #[test]
    fn only_the_stream_that_was_given_counts() {
        let folder = tempfile::tempdir().unwrap();
        let other = File::create(folder.path().join("log")).unwrap();
        let at = |file: &File| format!("{}:{}", file.metadata().unwrap().dev(), file.metadata().unwrap().ino());
        assert_eq!(is_given(&at(&other), &other), Path::new(SOCKET).exists());
        assert!(!is_given("8:1", &other));
        assert!(!is_given("1", &other));
    }
}

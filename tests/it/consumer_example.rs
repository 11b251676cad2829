//! `examples/consumer.rs` as `deploy/integrate.md` runs it: no verdict is missed while it is away, none is told twice.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::line::{CAROUSEL, Line, settings};
use crate::support::mosquitto::{Mosquitto, Rules};

struct Consumer(Child);

impl Consumer {
    fn start(port: u16) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_vcp-line")).with_file_name("examples").join("consumer");
        let line = ["127.0.0.1", &port.to_string(), "vcp-line/caps"].map(str::to_owned);
        Self(
            Command::new("timeout")
                .arg("60")
                .arg(program)
                .args(line)
                .stdout(Stdio::piped())
                .spawn()
                .expect("built with the tests"),
        )
    }

    /// The numbers of the next `n` verdicts, then it is ended.
    fn read(mut self, n: usize) -> Vec<u64> {
        let lines = BufReader::new(self.0.stdout.take().expect("piped")).lines();
        let number =
            |line: String| line.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("camera, number, …");
        let numbers: Vec<u64> = lines.take(n).map(|line| number(line.expect("text"))).collect();
        assert_eq!(numbers.len(), n, "{numbers:?}");
        // `timeout` hands SIGTERM on.
        Command::new("kill").arg(self.0.id().to_string()).status().expect("ended");
        self.0.wait().expect("ended");
        numbers
    }
}

#[test]
fn the_example_of_a_consumer_misses_nothing_while_it_is_away() {
    let broker = Mosquitto::start(Rules { persistence: true, ..Rules::default() });
    let first = Consumer::start(broker.port);
    let mut line = Line::with_pictures(&settings(broker.port, CAROUSEL));
    let mut numbers = first.read(5);
    let second = Consumer::start(broker.port);
    numbers.extend(second.read(20));
    line.service.signal("TERM");
    line.service.end();
    let known: BTreeSet<u64> = numbers.iter().copied().collect();
    let (least, most) = (numbers[0], *known.last().expect("some"));
    // Verdicts may come again to the second one, whose memory is new; between the first and the last, none is missing.
    assert_eq!(known, (least..=most).collect(), "{numbers:?}");
}

//! What `demo` prints: it reads along at the broker inside and sets each verdict beside the truth.

use std::collections::BTreeSet;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::score::Score;
use crate::cli::terminal;
use crate::publish::state::StateWord;
use crate::publish::watch::Heard;
use crate::publish::{self, PublishError, PublisherSpec};
use crate::synth::Conveyor;

/// What is not printed yet when the line has ended has been acknowledged, so it is on its way.
const ON_ITS_WAY: Duration = Duration::from_millis(200);

/// Reads until it is told to end.
pub struct Reader {
    end: CancellationToken,
    thread: JoinHandle<(Result<(), PublishError>, Score)>,
}

impl Reader {
    /// Reads what `publisher` publishes of products from `conveyor`, until `stop` at the latest.
    pub fn start(publisher: &PublisherSpec, conveyor: Conveyor, stop: &CancellationToken) -> anyhow::Result<Self> {
        let mut reader = publisher.clone();
        reader.client_id = "vcp-line-demo-reader".into();
        let filter = format!("{}/#", publisher.prefix);
        let end = stop.child_token();
        let reading = end.clone();
        let mut score = Score::new(conveyor);
        let thread = std::thread::Builder::new()
            .name("watch".into())
            .spawn(move || {
                let mut news = News::default();
                let watched = publish::watch::watch(&reader, &filter, &reading, |heard| {
                    let line = heard.event().and_then(|event| score.line(&event));
                    if line.is_some() || news.is_some_at(&heard) {
                        terminal::line(&line.unwrap_or_else(|| heard.readable()));
                    }
                });
                (watched, score)
            })
            .context("starting the reader")?;
        Ok(Self { end, thread })
    }

    /// How often the verdicts were right, once all are printed.
    pub fn end(self) -> anyhow::Result<Score> {
        std::thread::sleep(ON_ITS_WAY);
        self.end.cancel();
        let (watched, score) = self.thread.join().map_err(|_| anyhow::anyhow!("the reader broke off"))?;
        watched.context("reading from the broker inside")?;
        Ok(score)
    }
}

/// What the line says of itself is told once it is at work, and when it changes. A line begins by saying that it is not
/// online yet and by taking back the alarms of an earlier start, and nobody here has seen that one.
#[derive(Default)]
struct News {
    state: Option<StateWord>,
    alarms: BTreeSet<String>,
}

impl News {
    fn is_some_at(&mut self, heard: &Heard<'_>) -> bool {
        if let Some(state) = heard.state() {
            let before = self.state.replace(state.state);
            return before != self.state && (before.is_some() || state.state != StateWord::Offline);
        }
        match heard {
            Heard::Message { topic, payload } if topic.ends_with("/alarm") => match payload.is_empty() {
                true => self.alarms.remove(*topic),
                false => {
                    self.alarms.insert((*topic).to_owned());
                    true
                }
            },
            _ => true,
        }
    }
}

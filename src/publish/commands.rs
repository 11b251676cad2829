//! Commands come in here, on a connection of their own: whatever is sent to a line, its verdicts do not wait behind it.
//!
//! The session is clean, so that the broker keeps no command for a line that is away; a command that it has retained is
//! handed on as such, to be refused.

use std::future::pending;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::attributes::About;
use super::client::{self, Client, Keep, NotTaken, Signal, Wish};
use super::reconnect::{self, Connection, End, Reconnect};
use super::topic::Topics;
use super::{PublishError, PublisherSpec};
use crate::clock::{Clock, SystemClock};
use crate::command::{Ack, NAMES};

/// Acknowledgements that may wait for the connection, a few hundred bytes each.
const ACKS: usize = 4096;
/// How often the end is looked for.
const LOOK: Duration = Duration::from_millis(5);
/// Characters of an error that is shortened.
const BRIEF: usize = 120;
/// A connection that has lasted this long was no accident of its own making.
const STEADY: Duration = Duration::from_secs(10);
/// Whoever has told this line to go to another broker is answered on the old one, within so long.
const LAST_ANSWER: Duration = Duration::from_millis(500);

/// Takes commands. Implemented by `service`, and by tests.
pub trait CommandPort: Send + Sync {
    /// A command as it came, not yet read; never waits. Its acknowledgement, if there is one, goes to `acks`.
    fn command(&self, name: &str, payload: &[u8], retained: bool, acks: &AckSender);
}

/// Where acknowledgements go; cheap to clone.
#[derive(Clone)]
pub struct AckSender(mpsc::Sender<Vec<u8>>);

impl AckSender {
    /// Sends it when the broker is there. One that finds no room is left out: nobody waits for it any more.
    pub fn send(&self, ack: &Ack) {
        let sent = serde_json::to_vec(ack).map(|bytes| self.0.try_send(bytes));
        if !matches!(sent, Ok(Ok(()))) {
            tracing::warn!(correlation_id = ack.correlation_id, "an acknowledgement was left out");
        }
    }
}

/// The connection that commands come in by; dropped, it is closed.
pub struct CommandLink {
    closing: CancellationToken,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl CommandLink {
    /// Listens in its own thread, connecting again for ever.
    pub fn start(mut spec: PublisherSpec, port: Arc<dyn CommandPort>) -> Result<Self, PublishError> {
        spec.client_id = format!("{}-commands", spec.client_id);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(PublishError::Thread)?;
        let (closing, stop) = (CancellationToken::new(), CancellationToken::new());
        let stopped = stop.clone();
        let (acks, outbox) = mpsc::channel(ACKS);
        let mut connection = CommandConnection {
            topics: spec.topics(),
            reconnect: Reconnect::new(spec),
            port,
            acks: AckSender(acks),
            outbox,
            closing: closing.clone(),
            goodbye: false,
            began: Instant::now(),
            asked: false,
            hung_up: 0,
            unheard: false,
            flooded: false,
            leaves: None,
        };
        let thread = std::thread::Builder::new()
            .name("vcp-commands".into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        biased;
                        () = stopped.cancelled() => {}
                        () = reconnect::run(&mut connection) => {}
                    }
                });
                // A name lookup may hang for long; nobody waits for it.
                runtime.shutdown_background();
            })
            .map_err(PublishError::Thread)?;
        Ok(Self { closing, stop, thread: Some(thread) })
    }

    /// Says the acknowledgements that are there, and then goodbye; for so long at most.
    pub fn close(self, patience: Duration) {
        self.closing.cancel();
        let until = Instant::now() + patience;
        while self.broken().is_none() && Instant::now() < until {
            std::thread::sleep(LOOK);
        }
    }

    /// The thread that has ended though nobody asked, if it has: from then on no command comes in.
    pub fn broken(&self) -> Option<&'static str> {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished).then_some("vcp-commands")
    }
}

impl Drop for CommandLink {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread for commands panicked");
        }
    }
}

/// See the module.
struct CommandConnection {
    reconnect: Reconnect,
    topics: Topics,
    port: Arc<dyn CommandPort>,
    acks: AckSender,
    outbox: mpsc::Receiver<Vec<u8>>,
    /// No other connection is to be made, and this one ends when all is said.
    closing: CancellationToken,
    /// That was said.
    goodbye: bool,
    /// When the present connection was asked for.
    began: Instant,
    /// The subscription has no answer yet.
    asked: bool,
    /// How often in a row the connection ended instead of one.
    hung_up: u32,
    /// Said once, until the broker confirms the subscription.
    unheard: bool,
    /// Said once, until commands come in again.
    flooded: bool,
    /// When this connection ends, because there is another broker.
    leaves: Option<Instant>,
}

impl CommandConnection {
    fn subscribed(&mut self, refused: usize) {
        (self.asked, self.hung_up) = (false, 0);
        if refused == 0 {
            self.unheard = false;
            tracing::info!(topic = self.topics.commands(), "commands can come in");
        } else {
            self.refused();
        }
    }

    /// Behind all that is to be said.
    fn say_goodbye(&mut self, client: &Client) {
        while let Ok(ack) = self.outbox.try_recv() {
            acknowledge(client, self.topics.ack(), ack);
        }
        self.goodbye = true;
        if let Err(error) = client.try_disconnect() {
            tracing::debug!("the connection for commands ends without a goodbye: {error}");
        }
    }

    fn refused(&mut self) {
        if !std::mem::replace(&mut self.unheard, true) {
            let topic = self.topics.commands();
            tracing::error!(
                "the broker does not let this line listen to {topic}; allow it in the broker's access list, or set \
                 mqtt = false in [commands]"
            );
        }
    }
}

impl Connection for CommandConnection {
    type Link = Client;

    fn reconnect(&mut self) -> &mut Reconnect {
        &mut self.reconnect
    }

    fn is_over(&self) -> bool {
        self.closing.is_cancelled()
    }

    fn wish(&mut self) -> Wish {
        (self.began, self.asked, self.leaves) = (Instant::now(), false, None);
        let client_id = self.reconnect.spec.client_id.clone();
        Wish { client_id, clean: true, will: None, requests: ACKS, packet_ids: None }
    }

    fn opened(&mut self, client: Client) -> Client {
        client
    }

    async fn woken(&mut self, client: &mut Client) -> Option<End> {
        let leaving = async {
            match self.leaves {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => pending().await,
            }
        };
        let closing = async {
            match self.goodbye {
                true => pending().await,
                false => self.closing.cancelled().await,
            }
        };
        tokio::select! {
            ack = self.outbox.recv() => match ack {
                Some(ack) => acknowledge(client, self.topics.ack(), ack),
                // This task holds a sender itself.
                None => pending().await,
            },
            () = closing => self.say_goodbye(client),
            () = leaving => return Some(End::Renewed),
        }
        None
    }

    /// The connection for verdicts says what is wrong with certificates. A command that comes in these milliseconds gets
    /// no answer, as with every connection lost.
    fn look(&mut self, _: &mut Client) -> Option<End> {
        self.reconnect.renewed().then_some(End::Renewed)
    }

    fn moved(&mut self, _: &mut Client) -> Option<End> {
        self.leaves = Some(Instant::now() + LAST_ANSWER);
        None
    }

    fn heard(&mut self, client: &mut Client, signal: Signal) -> Option<End> {
        match signal {
            Signal::Connected(granted) => {
                client.granted = granted;
                self.asked = true;
                let filters =
                    if granted.wildcards { vec![self.topics.commands()] } else { self.topics.each_command(&NAMES) };
                for filter in filters {
                    if let Err(error) = client.try_subscribe(&filter) {
                        tracing::error!(%error, "commands cannot be subscribed to");
                    }
                }
            }
            Signal::Subscribed { refused } => self.subscribed(refused),
            Signal::Goodbye if self.goodbye => return Some(End::Done),
            Signal::Message { topic, payload, retained } => {
                self.flooded = false;
                // The prefix may be another one than ours: RabbitMQ writes its own separators in place of dots.
                if let Some((_, name)) = topic.rsplit_once("/cmd/") {
                    self.port.command(name, &payload, retained, &self.acks);
                }
            }
            _ => {}
        }
        None
    }

    /// A flood of commands must not keep their answers waiting.
    fn advance(&mut self, client: &mut Client) -> Option<End> {
        while let Ok(ack) = self.outbox.try_recv() {
            acknowledge(client, self.topics.ack(), ack);
        }
        None
    }

    fn lost(&mut self, error: &PublishError) {
        match error {
            // Larger than anything that is read to be refused; it closes the connection for commands, this one alone.
            PublishError::TooLarge { .. } => {
                if !std::mem::replace(&mut self.flooded, true) {
                    let topics = self.topics.commands();
                    tracing::error!("no commands come in from {topics}: {error}; clear it there if it was retained");
                }
            }
            // A broker that cannot refuse a subscription hangs up instead: RabbitMQ. Once is chance.
            PublishError::Connection { .. } if self.asked && self.hung_up > 0 => self.refused(),
            // The connection for verdicts goes to the same broker, and says so for people.
            error => tracing::debug!("commands cannot come in: {error}"),
        }
        self.hung_up = if self.asked { self.hung_up.saturating_add(1) } else { 0 };
        if self.began.elapsed() > STEADY {
            self.reconnect.backoff.reset();
        }
        // What waits for a broker that is away is old when it is back.
        while self.outbox.try_recv().is_ok() {}
    }
}

/// No answer to a command.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The broker cannot be used.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The line said nothing.
    #[error("line '{line}' does not answer; is it running, and may it listen to {topic}?")]
    Silent {
        /// Its name.
        line: String,
        /// Where the command went.
        topic: String,
    },
    /// The broker's access list is in the way.
    #[error("the broker does not let this user listen to {topic}; check its access list")]
    NotAllowed {
        /// Where answers come.
        topic: String,
    },
}

/// Sends one command, a JSON object that carries `correlation_id`, and waits for the line's answer.
pub fn ask(
    spec: &PublisherSpec,
    name: &str,
    command: &[u8],
    correlation_id: &str,
    patience: Duration,
) -> Result<Ack, AskError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(PublishError::Thread)?;
    let topic = format!("{}/{name}", spec.topics().commands().trim_end_matches("/+"));
    let answer = runtime.block_on(async {
        let conversation = converse(spec, &topic, command, correlation_id);
        tokio::time::timeout(patience, conversation).await
    });
    runtime.shutdown_background();
    answer.unwrap_or_else(|_| Err(AskError::Silent { line: spec.line.clone(), topic }))
}

async fn converse(spec: &PublisherSpec, topic: &str, command: &[u8], correlation_id: &str) -> Result<Ack, AskError> {
    let answers = spec.topics().ack();
    let wish = Wish { client_id: spec.client_id.clone(), clean: true, will: None, requests: 4, packet_ids: None };
    let (client, mut events) = client::open_now(spec, wish, &mut None)?;
    loop {
        let signal = match events.next().await {
            Ok(signal) => signal,
            Err(failure) => return Err(events.error(spec, failure).await.into()),
        };
        match signal {
            // The client's queue is empty at both places.
            Signal::Connected(_) => drop(client.try_subscribe(&answers)),
            Signal::Subscribed { refused: 0 } => {
                let about = About::now(SystemClock.now().wall);
                // As above.
                let Ok(()) = client.try_publish(topic.into(), Keep::Sure, command.to_vec(), Some(about)) else {
                    continue;
                };
            }
            Signal::Subscribed { .. } => return Err(AskError::NotAllowed { topic: answers }),
            Signal::Message { payload, .. } => {
                if let Ok(ack) = serde_json::from_slice::<Ack>(&payload)
                    && ack.correlation_id.as_deref() == Some(correlation_id)
                {
                    return Ok(ack);
                }
            }
            _ => {}
        }
    }
}

fn acknowledge(client: &Client, topic: String, ack: Vec<u8>) {
    let about = Some(About::now(SystemClock.now().wall));
    let done = match client.try_publish(topic.clone(), Keep::Sure, ack.clone(), about.clone()) {
        Err(NotTaken::TooLarge { .. }) => client.try_publish(topic, Keep::Sure, brief(&ack), about),
        done => done,
    };
    if let Err(error) = done {
        tracing::warn!(%error, "an acknowledgement was left out");
    }
}

/// An acknowledgement that says no more than yes or no and why, for a broker that takes small packets only.
fn brief(ack: &[u8]) -> Vec<u8> {
    let Ok(ack) = serde_json::from_slice::<Ack>(ack) else { return Vec::new() };
    let error = ack.error.map(|error| error.chars().take(BRIEF).collect());
    serde_json::to_vec(&Ack { error, applied: None, ..ack }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl CommandPort for Nobody {
        fn command(&self, _: &str, _: &[u8], _: bool, _: &AckSender) {}
    }

    #[test]
    fn a_thread_that_ends_unasked_is_named() {
        let link = CommandLink::start(PublisherSpec::new("127.0.0.1", 1, "caps"), Arc::new(Nobody)).expect("a thread");
        assert_eq!(link.broken(), None);
        link.stop.cancel();
        let until = Instant::now() + Duration::from_secs(20);
        while link.broken() != Some("vcp-commands") {
            assert!(Instant::now() < until, "not within 20 s");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

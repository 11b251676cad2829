//! The ways in for commands: the broker, and the API.

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::api::LineApi;
use super::commands::{CommandSpec, Commander};
use super::error::ServiceError;
use super::kept::Via;
use super::self_test::SelfTests;
use super::voice::Voice;
use crate::archive::Archive;
use crate::clock::Clock;
use crate::command::Ack;
use crate::line::control::Control;
use crate::publish::{Activity, CommandLink, PublisherSpec};
use crate::web::{Web, WebSpec};

/// What is being written when the service ends may take so long.
const PUTTING: Duration = Duration::from_secs(1);
/// Time for the broker to take the last acknowledgements.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Who may ask what of the line.
pub struct Ask {
    /// What commands may do.
    pub commands: CommandSpec,
    /// Whether they are taken from the broker.
    pub mqtt: bool,
    /// The API, when it is wanted.
    pub http: Option<WebSpec>,
}

/// Open ways in; dropped, they are closed.
pub struct WaysIn {
    web: Option<Web>,
    link: Option<CommandLink>,
    commander: Commander,
}

impl WaysIn {
    /// Until the line is [ready](WaysIn::ready), triggers wait and other commands are refused.
    pub fn open(
        ask: Ask,
        broker: PublisherSpec,
        line: String,
        session: Uuid,
        voice: &Arc<Voice>,
        archive: Option<&Archive>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, ServiceError> {
        voice.recipes(ask.commands.kept.trouble());
        let commander = Commander::start(ask.commands, Arc::clone(clock), voice.clone())?;
        let outbox = broker.outbox.clone();
        let link = ask.mqtt.then(|| CommandLink::start(broker, Arc::new(commander.inbox()))).transpose()?;
        let api = LineApi {
            line,
            session,
            voice: Arc::clone(voice),
            inbox: commander.inbox(),
            activities: Arc::clone(commander.activities()),
            self_tests: Arc::clone(commander.self_tests()),
            control: commander.control(),
            archive: archive.cloned(),
            outbox,
        };
        let web = ask.http.map(|spec| Web::start(spec, Arc::new(api))).transpose()?;
        Ok(Self { web, link, commander })
    }

    /// The line is there.
    pub fn ready(&mut self, control: Control) {
        self.commander.ready(control);
    }

    /// The settings are to be read again, as by command; nobody waits for the answer but the log.
    pub fn read_again(&self) {
        let told = |ack: Ack| {
            if let Some(error) = ack.error {
                tracing::error!("the settings in use stay: {error}");
            }
        };
        self.commander.inbox().ask(Via::Service, "reload", b"{}", told);
    }

    /// A thread that has ended though nobody asked it to: commands would be lost in silence.
    pub fn broken(&self) -> Option<&'static str> {
        self.commander.broken().or_else(|| self.link.as_ref().and_then(CommandLink::broken))
    }

    /// Golden parts.
    pub fn self_tests(&self) -> &Arc<SelfTests> {
        self.commander.self_tests()
    }

    /// How far calibrations and learning are.
    pub fn activities(&self) -> Vec<Activity> {
        self.commander.activities().report()
    }

    /// No more commands: what takes many parts ends and says so, and what is not accepted any more is owed nothing. The API says how the stop is going until it is
    /// dropped.
    pub fn close(self) -> Option<Web> {
        let Self { web, link, commander } = self;
        commander.self_tests().close();
        let ended = commander.activities().close(Instant::now() + PUTTING);
        match link {
            Some(link) if ended => link.close(LAST_WORDS),
            link => drop(link),
        }
        drop(commander);
        web
    }
}

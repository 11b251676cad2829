//! A line at work, with all that is open around it: started, watched and stopped in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::activity::Pace;
use super::drops::DropWatch;
use super::ending::{End, Ending};
use super::error::ServiceError;
use super::manager::ServiceManager;
use super::settings_file::SettingsFile;
use super::spec::Service;
use super::voice::Voice;
use super::ways_in::WaysIn;
use super::ways_out::WaysOut;
use crate::archive::{Archive, ArchiveThread};
use crate::clock::{Clock, SystemClock};
use crate::engine::EngineInfo;
use crate::line::{Line, LineParts};
use crate::logging::Log;
use crate::publish::Traces;
use crate::systemd::Watchdog;

/// How often the running line is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Share of the stop deadline that the line may use; the rest belongs to the publisher.
const LINE_SHARE: f64 = 0.6;

/// Time for the archive to write what waits, whatever else took the stop's time.
const ARCHIVE_STOP: Duration = Duration::from_millis(500);

/// What is said of an archive whose thread broke off.
const ARCHIVE_ENDED: &str = "the thread of the archive has ended: nothing is archived until the next start";

/// A running line.
pub struct Running {
    manager: ServiceManager,
    ways_out: WaysOut,
    ways_in: WaysIn,
    line: Line,
    archive: Option<Archive>,
    archive_thread: Option<ArchiveThread>,
    watchdog: Option<Watchdog>,
    stop_deadline: Duration,
    reread: Option<Receiver<()>>,
    watched: Option<SettingsFile>,
    /// What systemd shows while all is well.
    status: String,
}

impl Running {
    /// Opens the ways out, then the ways in, then the line; only when it inspects is anybody told that it is ready.
    pub fn start(service: Service, stop: &CancellationToken) -> Result<Self, ServiceError> {
        let Service {
            line: name,
            cameras,
            engine,
            publisher,
            ask,
            sparkplug,
            traces,
            archive,
            stop_deadline,
            files,
            reread,
            watched,
        } = service;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let session = Uuid::now_v7();
        let manager = ServiceManager::from_env()?;
        let broker = publisher.clone();
        let plans = cameras.iter().map(|(plan, _)| plan);
        let traces = traces.map(|spec| Traces::start(spec, &name, session)).transpose()?;
        let ways_out = WaysOut::open(publisher, sparkplug, traces, session, plans, &clock)?;
        let voice = ways_out.voice();
        let unanswered = ways_out.unanswered(&files);
        let archive = archive.map(|spec| Archive::start(spec, Arc::clone(&clock))).transpose()?;
        let (archive, archive_thread) = archive.unzip();
        let mut ways_in = WaysIn::open(ask, broker, name.clone(), session, voice, archive.as_ref(), &clock)?;

        let count = cameras.len();
        let parts = LineParts {
            name: name.clone(),
            session,
            cameras,
            engine: engine(tell_activity(&manager, voice)),
            unanswered,
            sink: voice.clone(),
            archive: archive.clone(),
            heartbeat: manager.heartbeat(),
            clock,
            cancelled: stop.clone(),
        };
        let line = match Line::start(parts) {
            Ok(line) => line,
            Err(error) => {
                manager.gave_up();
                ways_out.give_up();
                return Err(error.into());
            }
        };

        ways_in.ready(line.control());
        voice.judging(line.troubles());
        voice.ready(line.engine().model());
        let status = status(count, line.engine());
        let watchdog = manager.ready(&status)?;
        tracing::info!(line = %name, %session, "{status}");
        Ok(Self {
            manager,
            ways_out,
            ways_in,
            line,
            archive,
            archive_thread,
            watchdog,
            stop_deadline,
            reread,
            watched,
            status,
        })
    }

    /// Returns at the request to stop, when the line ends by itself, or when something that it needs has.
    pub fn watch(&mut self, log: &Log, stop: &CancellationToken) -> End {
        let voice = self.ways_out.voice();
        let mut drops = DropWatch::default();
        let mut pace = Pace::default();
        while !stop.is_cancelled() {
            voice.outbox();
            drops.look(Instant::now(), &self.line.queues()).into_iter().for_each(|change| voice.drops(change));
            voice.broker();
            voice.log(&log.health());
            if let (Some(archive), Some(thread)) = (&self.archive, &self.archive_thread) {
                let ended = thread.is_broken().then(|| ARCHIVE_ENDED.to_owned());
                voice.archive(ended.or_else(|| archive.alarm()));
            }
            if self.reread.as_ref().is_some_and(|asked| asked.try_recv().is_ok()) {
                self.ways_in.read_again();
            }
            if self.watched.as_mut().is_some_and(|file| file.has_changed(Instant::now())) {
                tracing::info!("the settings file has changed: it is read again");
                self.ways_in.read_again();
            }
            let tests = self.ways_in.self_tests();
            tests.look(&self.line.control());
            voice.judging(self.line.troubles().into_iter().chain(tests.troubles()).collect());
            if let Some(activities) = pace.show(self.ways_in.activities(), Instant::now()) {
                voice.activities(activities);
            }
            self.manager.status(&format!("{}{}", self.status, voice.trouble()));
            if let Some(end) = self.line.wait(LOOK) {
                return End::Line(end);
            }
            if let Some(thread) = self.ways_out.broken().or_else(|| self.ways_in.broken()) {
                tracing::error!(thread, "a thread that the line cannot do without has ended; the service stops");
                return End::Broken(thread);
            }
        }
        End::Asked
    }

    /// Takes nothing new, finishes what has begun, delivers it: in this order, within the stop deadline.
    pub fn stop(self, end: End) -> Ending {
        let Self { manager, ways_out, ways_in, line, archive_thread, watchdog, stop_deadline, .. } = self;
        manager.stopping(stop_deadline);
        let began = Instant::now();
        let web = ways_in.close();
        let report = line.stop(stop_deadline.mul_f64(LINE_SHARE));
        // From here on nobody makes progress on frames; a hang is TimeoutStopSec's business.
        drop(watchdog);
        // What is archived harms nobody's verdict: it has what the publisher leaves of the time, and a little in any case.
        let delivered = ways_out.stop(began + stop_deadline);
        if let Some(thread) = archive_thread {
            let left = stop_deadline.saturating_sub(began.elapsed()).max(ARCHIVE_STOP);
            if !thread.stop(left) {
                tracing::warn!("the archive was still writing at the stop deadline");
            }
        }
        drop(web);
        tracing::info!(
            events = report.stats.events(),
            acked = delivered.acked,
            unsent = delivered.unsent,
            ms = began.elapsed().as_millis() as u64,
            "stopped"
        );
        Ending { end, report, delivered }
    }
}

/// Whoever waits for the engine learns what takes so long.
fn tell_activity(manager: &ServiceManager, voice: &Arc<Voice>) -> Box<dyn Fn(&str) + Send> {
    let (manager, voice) = (manager.clone(), Arc::clone(voice));
    Box::new(move |activity| {
        voice.activity(activity);
        manager.activity(activity);
    })
}

fn status(cameras: usize, engine: &EngineInfo) -> String {
    let noun = if cameras == 1 { "camera" } else { "cameras" };
    format!("{cameras} {noun}, engine {} {}", engine.engine, engine.precision)
}

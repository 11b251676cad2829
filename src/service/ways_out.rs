//! The ways out for verdicts and states: JSON over MQTT, and Sparkplug B besides; one voice speaks through both. What was
//! handed to the broker is told to a collector of traces.

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::error::ServiceError;
use super::spec::OwedFile;
use super::voice::Voice;
use crate::camera::CameraState;
use crate::clock::Clock;
use crate::line::{CameraPlan, Unanswered};
use crate::publish::outbox::WhenUnkept;
use crate::publish::sparkplug::{Sparkplug, SparkplugSpec};
use crate::publish::{LineState, Publisher, PublisherSpec, StateWord, Traces};

/// Time for the Sparkplug node to say what waits and its death, while the publisher works on.
const SPARKPLUG_STOP: Duration = Duration::from_secs(1);
/// Time for the last traces, once the verdicts have left: a collector that hangs holds up no stop.
const TRACES_STOP: Duration = Duration::from_secs(1);
/// Time for the publisher after a line that has not started.
const GIVE_UP: Duration = Duration::from_secs(1);

/// Open ways out.
pub struct WaysOut {
    voice: Arc<Voice>,
    sparkplug: Option<Sparkplug>,
    publisher: Publisher,
    traces: Option<Traces>,
    /// What becomes of verdicts that are not delivered.
    rest: &'static str,
}

/// What has become of the verdicts.
pub struct Delivered {
    /// Those the broker has taken.
    pub acked: u64,
    /// Those it has not.
    pub unsent: usize,
    /// What has become of the latter.
    pub rest: &'static str,
}

impl WaysOut {
    /// Begins to publish what an earlier start has left, and that the cameras are being opened.
    pub fn open<'a>(
        publisher: PublisherSpec,
        sparkplug: Option<SparkplugSpec>,
        traces: Option<Traces>,
        session: Uuid,
        cameras: impl Iterator<Item = &'a CameraPlan>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, ServiceError> {
        let state = LineState {
            state: StateWord::Offline,
            since: Some(clock.now().wall),
            cameras: cameras.map(|plan| (plan.name.to_string(), CameraState::Starting)).collect(),
            model: None,
            activity: None,
            activities: Vec::new(),
        };
        let when_unkept = publisher.outbox.as_ref().map_or(WhenUnkept::Refuse, |outbox| outbox.when_unkept);
        let rest = if publisher.outbox.is_some() { "wait in the outbox" } else { "are lost" };
        let reports = traces.as_ref().map(Traces::reports);
        let publisher = Publisher::start(publisher, session, state.clone(), Arc::clone(clock), reports)?;
        let sparkplug = sparkplug.map(|spec| Sparkplug::start(spec, &state, Arc::clone(clock))).transpose()?;
        let host = sparkplug.as_ref().map(Sparkplug::handle);
        let voice = Arc::new(Voice::new(publisher.door(), host, state, when_unkept, Arc::clone(clock)));
        Ok(Self { voice, sparkplug, publisher, traces, rest })
    }

    /// Who speaks.
    pub fn voice(&self) -> &Arc<Voice> {
        &self.voice
    }

    /// A thread that has ended though nobody asked it to: verdicts would be lost in silence.
    pub fn broken(&self) -> Option<&'static str> {
        self.publisher.broken().or_else(|| self.sparkplug.as_ref().and_then(Sparkplug::broken))
    }

    /// Parts that an earlier start has accepted and not answered, with what is remembered of their files.
    pub fn unanswered(&self, files: &[OwedFile]) -> Vec<Unanswered> {
        let owed = self.publisher.door().owed();
        let unanswered = owed.iter().map(|owed| Unanswered {
            camera: owed.camera.clone(),
            part: owed.part.clone(),
            accepted: owed.accepted,
            frame: files
                .iter()
                .find(|file| file.is_of(&owed.camera, &owed.part, owed.accepted))
                .map(|file| file.frame.clone()),
        });
        unanswered.collect()
    }

    /// There will be no line: says `offline` and goes.
    pub fn give_up(self) {
        let report = self.publisher.stop(GIVE_UP);
        tracing::debug!(unsent = report.unsent, "publisher stopped");
    }

    /// Delivers what is left, until then.
    pub fn stop(self, until: Instant) -> Delivered {
        let time_left = || until.saturating_duration_since(Instant::now());
        if let Some(sparkplug) = self.sparkplug {
            let unsent = sparkplug.stop(time_left().min(SPARKPLUG_STOP));
            tracing::info!(unsent, "stop: Sparkplug");
        }
        let time_left = time_left();
        tracing::info!(deadline_ms = time_left.as_millis() as u64, "stop: publisher");
        let door = self.publisher.door();
        let report = self.publisher.stop(time_left);
        if let Some(traces) = self.traces {
            traces.stop(until.min(Instant::now() + TRACES_STOP));
        }
        Delivered { acked: door.counters().acked, unsent: report.unsent, rest: self.rest }
    }
}

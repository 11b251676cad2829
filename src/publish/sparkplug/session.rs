//! The life of a Sparkplug edge node as a state machine without sockets and clocks: what it says next, and when it has to
//! be silent.

use std::collections::{BTreeMap, VecDeque};

use prost::Message;
use serde::Deserialize;

use super::metrics::{self, Counts, Sample};
use super::proto::{Metric, Payload, Value};
use crate::event::InspectionEvent;
use crate::publish::state::{CameraState, LineState};

/// First part of every topic, Sparkplug 3.0.
const NAMESPACE: &str = "spBv1.0";

/// Births and changes that may wait; more than this are forgotten in favour of all births.
const MOST_NEWS: usize = 256;

/// Who the node is.
#[derive(Clone, Debug)]
pub struct Names {
    pub group: String,
    pub node: String,
    pub primary_host: Option<String>,
}

impl Names {
    fn topic(&self, kind: &str) -> String {
        format!("{NAMESPACE}/{}/{kind}/{}", self.group, self.node)
    }

    fn device_topic(&self, kind: &str, device: &str) -> String {
        format!("{}/{device}", self.topic(kind))
    }

    /// Commands for the node itself.
    pub fn commands(&self) -> String {
        self.topic("NCMD")
    }

    /// Where the primary host says whether it is there.
    pub fn host(&self) -> Option<String> {
        self.primary_host.as_ref().map(|host| format!("{NAMESPACE}/STATE/{host}"))
    }

    /// The node's death, also its last will.
    pub fn death(&self) -> String {
        self.topic("NDEATH")
    }
}

/// What to do next on the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Publish; `sure` with QoS 1, else QoS 0, never retained.
    Publish { topic: String, payload: Vec<u8>, sure: bool },
    /// Disconnect; the death has been said.
    Goodbye,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No connection.
    Away,
    /// Connected, and not yet allowed to speak.
    Waiting,
    /// The births have been said or wait to be.
    Born,
    /// The death is to be said.
    Dying,
    /// The death has been said.
    Dead,
    /// Nothing more on this connection.
    Gone,
}

/// Something to say besides verdicts; its content is that of the moment when it is said.
#[derive(Clone, Debug, PartialEq, Eq)]
enum News {
    Birth,
    DeviceBirth(String),
    Line,
    Camera(String),
}

#[derive(Clone, Debug, Default)]
struct Device {
    counts: Counts,
    last: Option<Sample>,
}

/// What the primary host publishes about itself.
#[derive(Deserialize)]
struct HostState {
    online: bool,
    timestamp: u64,
}

/// Whether the command of a host asks for all births. What cannot be read asks for nothing.
pub fn asks_for_births(command: &[u8]) -> bool {
    let asks = |metric: &Metric| {
        metric.name.as_deref() == Some(metrics::REBIRTH) && metric.value == Some(Value::Boolean(true))
    };
    Payload::decode(command).is_ok_and(|payload| payload.metrics.iter().any(asks))
}

/// One edge node.
pub struct Session {
    names: Names,
    phase: Phase,
    stopping: bool,
    seq: u8,
    bd_seq: Option<u8>,
    line: LineState,
    devices: BTreeMap<String, Device>,
    news: VecDeque<News>,
    store: VecDeque<Sample>,
    max_stored: usize,
    lost: u64,
    host_at: Option<u64>,
    host_online: bool,
}

impl Session {
    /// `bd_seq` is the number of the last connection of an earlier process, if known.
    pub fn new(names: Names, line: LineState, bd_seq: Option<u8>, max_stored: usize) -> Self {
        let devices = line.cameras.keys().map(|camera| (camera.clone(), Device::default())).collect();
        Self {
            names,
            phase: Phase::Away,
            stopping: false,
            seq: 0,
            bd_seq,
            line,
            devices,
            news: VecDeque::new(),
            store: VecDeque::new(),
            max_stored,
            lost: 0,
            host_at: None,
            host_online: false,
        }
    }

    /// Before each connection: its number, and the payload of its last will.
    pub fn connecting(&mut self, now: u64) -> (u8, Vec<u8>) {
        let number = self.bd_seq.map_or(0, |last| last.wrapping_add(1));
        self.bd_seq = Some(number);
        (number, self.death(now))
    }

    fn death(&self, now: u64) -> Vec<u8> {
        let metrics = vec![metrics::bd_seq(self.bd_seq.unwrap_or(0), now)];
        Payload { timestamp: Some(now), metrics, seq: None }.encode_to_vec()
    }

    /// The broker listens and has confirmed what we listen to.
    pub fn subscribed(&mut self) {
        self.phase = Phase::Waiting;
        if self.names.primary_host.is_none() {
            self.bear();
        }
    }

    /// The connection has ended, in whatever way.
    pub fn disconnected(&mut self) {
        self.phase = Phase::Away;
        // Whether the host is there is told anew on the next connection.
        self.host_online = false;
        self.news.clear();
        self.store.iter_mut().for_each(|sample| sample.late = true);
    }

    fn bear(&mut self) {
        self.phase = Phase::Born;
        self.news.clear();
        self.news.push_back(News::Birth);
        self.news.extend(self.devices.keys().cloned().map(News::DeviceBirth));
    }

    fn tell(&mut self, news: News) {
        if self.phase != Phase::Born || self.news.contains(&news) {
            return;
        }
        if self.news.len() >= MOST_NEWS { self.bear() } else { self.news.push_back(news) }
    }

    /// A message of the broker. What is not understood is no command.
    pub fn heard(&mut self, topic: &str, payload: &[u8], retained: bool) {
        if self.names.host().as_deref() == Some(topic) {
            if let Ok(state) = serde_json::from_slice::<HostState>(payload) {
                self.host(&state);
            }
        } else if topic == self.names.commands() && !retained {
            // A command that was kept for us is one from another time.
            if asks_for_births(payload) && self.phase == Phase::Born && !self.news.contains(&News::Birth) {
                self.bear();
            }
        }
    }

    fn host(&mut self, state: &HostState) {
        // An older message that arrives late says nothing about now.
        if self.host_at.is_some_and(|known| state.timestamp < known) {
            return;
        }
        self.host_at = Some(state.timestamp);
        self.host_online = state.online;
        match (self.phase, state.online) {
            (Phase::Waiting, true) => self.bear(),
            (Phase::Born, false) => self.leave(),
            _ => {}
        }
    }

    /// Whether the primary host is what is waited for.
    pub fn waits_for_host(&self) -> bool {
        self.phase == Phase::Waiting && !self.host_online
    }

    /// Say the death and disconnect; verdicts wait.
    pub fn leave(&mut self) {
        if self.phase == Phase::Born {
            self.phase = Phase::Dying;
            self.news.clear();
            self.store.iter_mut().for_each(|sample| sample.late = true);
        }
    }

    /// Say what waits, then the death, then disconnect.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// A verdict was given.
    pub fn verdict(&mut self, event: &InspectionEvent) {
        // Only what was born may speak.
        let Some(device) = self.devices.get_mut(&event.camera) else { return };
        let mut sample = Sample::of(event, &mut device.counts);
        sample.late = self.phase != Phase::Born;
        if self.store.len() >= self.max_stored {
            self.store.pop_front();
            self.lost += 1;
        }
        self.store.push_back(sample);
    }

    /// The line has changed.
    pub fn line(&mut self, line: &LineState) {
        let old = std::mem::replace(&mut self.line, line.clone());
        if (old.state, &old.model) != (line.state, &line.model) {
            self.tell(News::Line);
        }
        for (camera, state) in &line.cameras {
            if old.cameras.get(camera) != Some(state) {
                self.tell(News::Camera(camera.clone()));
            }
        }
    }

    /// Verdicts that wait, and those that went because too many waited.
    pub fn stored(&self) -> (usize, u64) {
        (self.store.len(), self.lost)
    }

    /// What to do next, if anything; `now` in milliseconds since 1970.
    pub fn next(&mut self, now: u64) -> Option<Step> {
        match self.phase {
            Phase::Away | Phase::Gone => None,
            Phase::Waiting => self.stopping.then(|| {
                self.phase = Phase::Gone;
                Step::Goodbye
            }),
            Phase::Dying => {
                self.phase = Phase::Dead;
                Some(Step::Publish { topic: self.names.death(), payload: self.death(now), sure: true })
            }
            Phase::Dead => {
                self.phase = Phase::Gone;
                Some(Step::Goodbye)
            }
            Phase::Born => {
                if let Some(news) = self.news.pop_front() {
                    return Some(self.say(news, now));
                }
                if let Some(sample) = self.store.pop_front() {
                    let topic = self.names.device_topic("DDATA", &sample.camera);
                    let metrics = metrics::verdict(Some(&sample), sample.at);
                    if let Some(device) = self.devices.get_mut(&sample.camera) {
                        device.last = Some(sample);
                    }
                    return Some(self.publish(topic, metrics, now));
                }
                if self.stopping {
                    self.phase = Phase::Dying;
                    return self.next(now);
                }
                None
            }
        }
    }

    fn say(&mut self, news: News, now: u64) -> Step {
        let camera = |name: &str| self.line.cameras.get(name).copied().unwrap_or(CameraState::Starting);
        let (topic, metrics) = match &news {
            News::Birth => {
                self.seq = 0;
                let mut metrics = vec![metrics::bd_seq(self.bd_seq.unwrap_or(0), now), metrics::rebirth(now)];
                metrics.extend(metrics::line(&self.line, self.store.len(), self.lost, now));
                (self.names.topic("NBIRTH"), metrics)
            }
            News::DeviceBirth(name) => {
                let last = self.devices.get(name).and_then(|device| device.last.as_ref());
                // A birth tells how things are, also where the last verdict was an old one when it was sent.
                let last = last.cloned().map(|mut sample| {
                    sample.late = false;
                    sample
                });
                (self.names.device_topic("DBIRTH", name), metrics::device(last.as_ref(), camera(name), now))
            }
            News::Line => (self.names.topic("NDATA"), metrics::line(&self.line, self.store.len(), self.lost, now)),
            News::Camera(name) => {
                (self.names.device_topic("DDATA", name), vec![metrics::camera_state(camera(name), now)])
            }
        };
        self.publish(topic, metrics, now)
    }

    fn publish(&mut self, topic: String, metrics: Vec<Metric>, now: u64) -> Step {
        let seq = self.seq;
        self.seq = seq.wrapping_add(1);
        let payload = Payload { timestamp: Some(now), metrics, seq: Some(u64::from(seq)) };
        Step::Publish { topic, payload: payload.encode_to_vec(), sure: false }
    }
}

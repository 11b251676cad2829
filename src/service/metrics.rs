//! `GET /metrics`: the line in numbers, for Prometheus; base units, names that stay. `deploy/metrics.md` lists them.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::voice::Voice;
use crate::archive::ArchiveCounters;
use crate::camera::CameraState;
use crate::line::control::Control;
use crate::line::stats::Histogram;
use crate::publish::{OutboxSpec, StateWord};

/// Upper ends of the histograms' buckets, seconds: from what a small model takes to what no gate waits for.
const BUCKETS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Who knows what is told.
pub struct Sources<'a> {
    /// Configured name.
    pub line: &'a str,
    /// Knows the state and how publishing goes.
    pub voice: &'a Voice,
    /// The line, once it is there.
    pub control: Option<&'a Control>,
    /// How the archive is doing, where there is one.
    pub archive: Option<ArchiveCounters>,
    /// How much may wait for the broker on disk.
    pub outbox: Option<&'a OutboxSpec>,
}

/// What is told on one request.
#[derive(Debug, Default)]
pub struct Metrics(Vec<Metric>);

#[derive(Debug)]
struct Metric {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    samples: Vec<(Labels, Value)>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// The encoder adds `_total`.
    Counter,
    Gauge,
    Histogram,
}

#[derive(Debug)]
enum Value {
    Number(f64),
    Durations { sum: f64, count: u64, buckets: Vec<(f64, u64)> },
}

type Labels = Vec<(&'static str, String)>;

/// The text of `GET /metrics`.
pub fn text(from: &Sources<'_>) -> String {
    let mut metrics = Metrics::default();
    metrics.line(from);
    if let Some(control) = from.control {
        metrics.cameras(control);
        metrics.verdicts(control);
    }
    metrics.publishing(from);
    if let Some(archive) = &from.archive {
        metrics.archive(archive);
    }
    let mut registry = Registry::default();
    registry.register_collector(Box::new(metrics));
    let mut text = String::new();
    if prometheus_text::encode(&mut text, &registry).is_err() {
        tracing::error!("the metrics could not be written");
    }
    text
}

fn label(key: &'static str, value: impl ToString) -> Labels {
    vec![(key, value.to_string())]
}

impl Metrics {
    fn add(&mut self, kind: Kind, name: &'static str, help: &'static str, samples: Vec<(Labels, f64)>) {
        let samples = samples.into_iter().map(|(labels, value)| (labels, Value::Number(value))).collect();
        self.0.push(Metric { name, help, kind, samples });
    }

    fn one(&mut self, kind: Kind, name: &'static str, help: &'static str, value: f64) {
        self.add(kind, name, help, vec![(Vec::new(), value)]);
    }

    fn line(&mut self, from: &Sources<'_>) {
        use Kind::Gauge;
        let (state, _) = from.voice.report();
        let version = vec![("line", from.line.to_owned()), ("version", env!("CARGO_PKG_VERSION").to_owned())];
        self.add(Gauge, "vcp_line_build_info", "The line and the program's version", vec![(version, 1.0)]);
        let words = [("online", StateWord::Online), ("degraded", StateWord::Degraded), ("offline", StateWord::Offline)];
        let is = |word: StateWord| f64::from(u8::from(state.state == word));
        let states = words.map(|(name, word)| (label("state", name), is(word))).to_vec();
        self.add(Gauge, "vcp_line_state", "1 for the state that the line is in", states);
        self.one(Gauge, "vcp_line_ready", "1 while the line inspects with all that it needs", {
            f64::from(u8::from(from.voice.health().is_ok()))
        });
        let up = |state: &CameraState| f64::from(u8::from(*state == CameraState::Online));
        let cameras = state.cameras.iter().map(|(name, state)| (label("camera", name), up(state))).collect();
        self.add(Gauge, "vcp_line_camera_up", "1 while the camera delivers or waits for its trigger", cameras);
        let alarms =
            from.voice.alarms().into_iter().map(|(camera, kind)| (vec![("camera", camera), ("kind", kind)], 1.0));
        self.add(Gauge, "vcp_line_alarm", "1 for each alarm that stands", alarms.collect());
        if let Some(model) = &state.model {
            let labels = vec![
                ("engine", model.engine.clone()),
                ("precision", model.precision.clone()),
                ("model", model.name.clone()),
                ("sha256", model.sha256.clone()),
            ];
            self.add(Gauge, "vcp_line_engine_info", "The engine and the model that look", vec![(labels, 1.0)]);
        }
    }

    fn cameras(&mut self, control: &Control) {
        use Kind::{Counter, Gauge};
        let lanes = control.queues();
        let of = |value: &dyn Fn(&crate::line::queue::LaneCounters) -> f64| {
            lanes.iter().map(|(camera, lane)| (label("camera", camera), value(lane))).collect()
        };
        self.add(Counter, "vcp_line_frames", "Frames that went to the engine's queue", of(&|lane| lane.taken as f64));
        self.add(Gauge, "vcp_line_queue_frames", "Frames that wait for the engine", of(&|lane| lane.waiting as f64));
        let reports = control.cameras();
        let full = lanes.iter().map(|(camera, lane)| (dropped(camera, "queue_full"), lane.dropped as f64));
        let damaged = reports.iter().map(|camera| (dropped(&camera.camera, "damaged"), camera.damaged as f64));
        let unclaimed =
            reports.iter().map(|camera| (dropped(&camera.camera, "unclaimed"), camera.parts.unclaimed as f64));
        let help = "Frames that no verdict is about: no room in the queue, not whole, or asked for by nobody";
        self.add(Counter, "vcp_line_frames_dropped", help, full.chain(damaged).chain(unclaimed).collect());
        let parts = |value: &dyn Fn(&crate::line::control::CameraReport) -> f64| {
            reports.iter().map(|camera| (label("camera", &camera.camera), value(camera))).collect()
        };
        let help = "Parts that were accepted and are owed a verdict event each";
        self.add(Counter, "vcp_line_parts", help, parts(&|camera| camera.parts.triggers as f64));
        self.add(
            Gauge,
            "vcp_line_parts_open",
            "Parts without an outcome yet",
            parts(&|camera| camera.parts.open as f64),
        );
        let help = "Answers of the engine that came after their part had been given up";
        self.add(Counter, "vcp_line_late_answers", help, parts(&|camera| camera.parts.late as f64));
        let help = "1 while inspection is paused";
        self.add(Gauge, "vcp_line_paused", help, parts(&|camera| f64::from(u8::from(camera.paused))));
        let recipes = reports.iter().map(|camera| {
            let (recipe, version) = (camera.recipe.id.clone(), camera.recipe.version.to_string());
            (vec![("camera", camera.camera.to_string()), ("recipe", recipe), ("version", version)], 1.0)
        });
        self.add(Gauge, "vcp_line_recipe_info", "The recipe that judges", recipes.collect());
        let memories = control.memories().into_iter().map(|(camera, memory)| {
            let labels =
                vec![("camera", camera.to_string()), ("memory", memory.id), ("parts", memory.parts.to_string())];
            (labels, 1.0)
        });
        self.add(Gauge, "vcp_line_memory_info", "The memory of good parts that helps", memories.collect());
    }

    fn verdicts(&mut self, control: &Control) {
        use Kind::Counter;
        let stats = control.stats();
        let verdicts = stats.verdicts.iter().map(|((camera, verdict, reason), count)| {
            let reason = reason.map(crate::line::stats::reason_word).unwrap_or_default();
            (
                vec![("camera", camera.to_string()), ("verdict", verdict.word().to_owned()), ("reason", reason)],
                *count as f64,
            )
        });
        self.add(
            Counter,
            "vcp_line_verdicts",
            "Verdict events, by verdict and by why there is none",
            verdicts.collect(),
        );
        self.one(Counter, "vcp_line_engine_batches", "Calls of the engine", stats.batches as f64);
        self.one(Counter, "vcp_line_engine_failures", "Calls of the engine that failed", stats.failed_batches as f64);
        let stages = [
            ("queue", &stats.queue),
            ("preprocess", &stats.preprocess),
            ("inference", &stats.inference),
            ("postprocess", &stats.postprocess),
        ];
        let samples = stages.map(|(name, histogram)| (label("stage", name), durations(histogram)));
        self.0.push(Metric {
            name: "vcp_line_stage_seconds",
            help: "How long the stages of a verdict take",
            kind: Kind::Histogram,
            samples: samples.into(),
        });
        self.0.push(Metric {
            name: "vcp_line_verdict_seconds",
            help: "From the frame's capture until its verdict event is handed to the broker connection",
            kind: Kind::Histogram,
            samples: vec![(Vec::new(), durations(&stats.total))],
        });
    }

    fn publishing(&mut self, from: &Sources<'_>) {
        use Kind::{Counter, Gauge};
        let (_, counters) = from.voice.report();
        let refused = counters.dropped as f64;
        self.one(Counter, "vcp_line_refused", "Verdicts and parts refused because the way out was full", refused);
        let connected = f64::from(u8::from(counters.connected));
        self.one(Gauge, "vcp_line_broker_connected", "1 while the broker is there", connected);
        self.one(
            Counter,
            "vcp_line_broker_reconnects",
            "Connections to the broker after the first",
            counters.reconnects as f64,
        );
        self.one(
            Counter,
            "vcp_line_verdicts_acknowledged",
            "Verdict events that the broker has taken",
            counters.acked as f64,
        );
        self.one(Gauge, "vcp_line_outbox_events", "Verdict events that wait for the broker", counters.queued as f64);
        let Some((outbox, spec)) = from.voice.outbox_status().zip(from.outbox) else { return };
        self.one(Gauge, "vcp_line_outbox_bytes", "What the outbox takes on disk", outbox.bytes as f64);
        self.one(Gauge, "vcp_line_outbox_max_bytes", "What the outbox may take on disk", spec.max_bytes as f64);
        let age = outbox.age * spec.max_age.as_secs_f64();
        self.one(Gauge, "vcp_line_outbox_oldest_age_seconds", "Age of the oldest event that waits", age);
        self.one(Gauge, "vcp_line_outbox_max_age_seconds", "Older events are deleted", spec.max_age.as_secs_f64());
        let failing = f64::from(u8::from(outbox.failing.is_some()));
        self.one(Gauge, "vcp_line_outbox_failing", "1 while the disk of the outbox takes nothing", failing);
    }

    fn archive(&mut self, archive: &ArchiveCounters) {
        use Kind::{Counter, Gauge};
        self.one(Counter, "vcp_line_archive_parts_written", "Parts written to the archive", archive.written as f64);
        let pictures = archive.pictures_written as f64;
        self.one(Counter, "vcp_line_archive_pictures_written", "Parts written with pictures", pictures);
        let dropped = [
            ("queue_full", archive.dropped_queue),
            ("disk", archive.dropped_disk),
            ("part_not_indexed", archive.dropped_parts),
        ];
        let dropped = dropped.map(|(reason, count)| (label("reason", reason), count as f64)).to_vec();
        let help = "Parts of which the archive has no pictures though it was to keep them, or no row";
        self.add(Counter, "vcp_line_archive_dropped", help, dropped);
        self.one(
            Counter,
            "vcp_line_archive_removed",
            "Parts removed to make room or for their age",
            archive.removed as f64,
        );
        self.one(Gauge, "vcp_line_archive_bytes", "What the archive takes on disk", archive.bytes as f64);
        self.one(Gauge, "vcp_line_archive_max_bytes", "What the archive may take on disk", archive.max_bytes as f64);
        self.one(Gauge, "vcp_line_archive_parts", "Parts in the archive", archive.parts as f64);
        let pictured = archive.parts_with_pictures as f64;
        self.one(Gauge, "vcp_line_archive_parts_with_pictures", "Parts in the archive with pictures", pictured);
        self.one(Gauge, "vcp_line_archive_queue_bytes", "What waits to be archived", archive.queue_bytes as f64);
        self.one(Gauge, "vcp_line_archive_queue_parts", "Parts that wait to be archived", archive.queue_parts as f64);
        let taking = f64::from(u8::from(archive.taking));
        self.one(Gauge, "vcp_line_archive_taking", "1 while the archive takes pictures", taking);
        if let Some(oldest) = archive.oldest_s {
            self.one(
                Gauge,
                "vcp_line_archive_oldest_timestamp_seconds",
                "Capture of the oldest part, since 1970",
                oldest,
            );
        }
        if let Some(free) = archive.free_bytes {
            self.one(Gauge, "vcp_line_archive_disk_free_bytes", "What is free on the archive's disk", free as f64);
        }
    }
}

fn dropped(camera: &str, reason: &str) -> Labels {
    vec![("camera", camera.to_owned()), ("reason", reason.to_owned())]
}

fn durations(histogram: &Histogram) -> Value {
    let mut before = 0;
    let mut buckets: Vec<(f64, u64)> = BUCKETS
        .iter()
        .map(|&end| {
            let so_far = histogram.at_most(Duration::from_secs_f64(end));
            let own = so_far - before;
            before = so_far;
            (end, own)
        })
        .collect();
    buckets.push((f64::INFINITY, histogram.count() - before));
    Value::Durations { sum: histogram.sum().as_secs_f64(), count: histogram.count(), buckets }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Metric { name, help, kind, samples } in &self.0 {
            let kind = match kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            if samples.is_empty() {
                continue;
            }
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            for (labels, value) in samples {
                let mut sample = metric.encode_family(labels)?;
                match value {
                    Value::Number(number) if matches!(kind, MetricType::Counter) => {
                        sample.encode_counter::<prometheus_client::encoding::NoLabelSet, _, f64>(number, None)?;
                    }
                    Value::Number(number) => sample.encode_gauge(number)?,
                    Value::Durations { sum, count, buckets } => {
                        sample
                            .encode_histogram::<prometheus_client::encoding::NoLabelSet>(*sum, *count, buckets, None)?;
                    }
                }
            }
        }
        Ok(())
    }
}

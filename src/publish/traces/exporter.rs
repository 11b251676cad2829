//! Spans of a part, by way of the OpenTelemetry SDK.

use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::Receiver;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_otlp::{SpanExporter as Otlp, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter, SpanLinks};
use uuid::Uuid;

use super::super::mqtt::Published;
use super::spec::{TraceError, TraceSpec};
use crate::event::{InspectionEvent, VerdictWord};

/// Spans are gathered for so long.
const GATHERED: Duration = Duration::from_secs(1);
/// Most parts in one message: six spans of some 200 bytes each stay far below the 4 MiB that gRPC takes by default.
const MOST: usize = 512;
/// So long the collector may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Exporter {
    spec: TraceSpec,
    runtime: tokio::runtime::Runtime,
    otlp: Otlp,
    scope: InstrumentationScope,
    /// The collector has taken, or not taken, what was sent last.
    well: Option<bool>,
}

impl Exporter {
    pub fn new(spec: TraceSpec, line: &str, session: Uuid) -> Result<Self, TraceError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(TraceError::Thread)?;
        let made = runtime.block_on(async {
            Otlp::builder().with_tonic().with_endpoint(&spec.endpoint).with_timeout(PATIENCE).build()
        });
        let mut otlp = made.map_err(|error| TraceError::Endpoint {
            endpoint: spec.endpoint.clone(),
            reason: crate::error_chain::one_line(&error),
        })?;
        // https://opentelemetry.io/docs/specs/semconv/resource/ (service), and ours.
        otlp.set_resource(
            &Resource::builder_empty()
                .with_attributes([
                    KeyValue::new("service.name", "vcp-line"),
                    KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                    KeyValue::new("service.instance.id", session.to_string()),
                    KeyValue::new("vcp_line.line", line.to_owned()),
                ])
                .build(),
        );
        let scope = InstrumentationScope::builder("vcp-line").with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Self { spec, runtime, otlp, scope, well: None })
    }

    /// Until nobody reports any more.
    pub fn run(&mut self, waiting: &Receiver<Published>) {
        while let Ok(first) = waiting.recv() {
            let end = Instant::now() + GATHERED;
            let mut spans = self.spans(&first);
            for _ in 1..MOST {
                let Ok(next) = waiting.recv_deadline(end) else { break };
                spans.extend(self.spans(&next));
            }
            if !spans.is_empty() {
                self.send(spans);
            }
        }
    }

    fn send(&mut self, spans: Vec<SpanData>) {
        let count = spans.len();
        let endpoint = &self.spec.endpoint;
        let sent = self.runtime.block_on(self.otlp.export(spans));
        match (&sent, self.well) {
            (Ok(()), Some(true)) => {}
            (Ok(()), _) => tracing::info!(endpoint, "the collector takes traces"),
            (Err(error), Some(false)) => tracing::debug!(endpoint, count, %error, "spans were left out"),
            (Err(error), _) => {
                tracing::warn!(endpoint, %error, "the collector does not take traces; they are left out until it does")
            }
        }
        self.well = Some(sent.is_ok());
    }

    fn spans(&self, Published { outgoing, wall, latency, .. }: &Published) -> Vec<SpanData> {
        let event = &outgoing.event;
        if !is_told(event.event_id, self.spec.sample) {
            return Vec::new();
        }
        let end = SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(wall.as_nanosecond()).unwrap_or(0));
        let start = end.checked_sub(*latency).unwrap_or(end);
        let trace = TraceId::from_bytes(event.event_id.into_bytes());
        // The same ones each time, so that a verdict that is sent twice is one trace.
        let root = event.event_id.as_u64_pair().1;
        let span = |place: u64, name: &'static str, (start, end): (SystemTime, SystemTime)| SpanData {
            span_context: SpanContext::new(
                trace,
                SpanId::from(root.wrapping_add(place)),
                TraceFlags::SAMPLED,
                false,
                TraceState::default(),
            ),
            parent_span_id: if place == 0 { SpanId::INVALID } else { SpanId::from(root) },
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time: start,
            end_time: end,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        };
        let mut part = span(0, "part", (start, end));
        part.attributes = attributes(event);
        if event.verdict == VerdictWord::NoVerdict {
            part.status = Status::error(reason(event));
        }
        let mut spans = vec![part];
        let took = &event.latency_ms;
        let mut at = start;
        let stages = [
            ("queue", took.queue),
            ("preprocess", took.preprocess),
            ("inference", took.inference),
            ("postprocess", took.postprocess),
        ];
        for ((name, ms), place) in stages.into_iter().zip(1..) {
            let next =
                Duration::try_from_secs_f64(ms / 1e3).ok().and_then(|took| at.checked_add(took)).unwrap_or(at).min(end);
            if next > at {
                spans.push(span(place, name, (at, next)));
            }
            at = next;
        }
        let mut publish = span(5, "publish", (at, end));
        publish.span_kind = SpanKind::Producer;
        spans.push(publish);
        spans
    }
}

/// By the last 32 bits, which are random: what stands before them may be a counter (RFC 9562, section 6.2, method 1), and is one in
/// the library's UUIDs of version 7.
fn is_told(id: Uuid, sample: f64) -> bool {
    let random = id.as_u64_pair().1 as u32;
    f64::from(random) < sample * 2f64.powi(32)
}

fn reason(event: &InspectionEvent) -> String {
    let word = event.reason.and_then(|reason| serde_json::to_value(reason).ok());
    word.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

fn attributes(event: &InspectionEvent) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("vcp_line.event_id", event.event_id.to_string()),
        KeyValue::new("vcp_line.camera", event.camera.clone()),
        KeyValue::new("vcp_line.seq", i64::try_from(event.seq).unwrap_or(i64::MAX)),
        KeyValue::new("vcp_line.verdict", event.verdict.word()),
        KeyValue::new("vcp_line.defects", i64::try_from(event.defects.len()).unwrap_or(i64::MAX)),
        KeyValue::new("vcp_line.recipe", format!("{}@{}", event.recipe.id, event.recipe.version)),
        KeyValue::new("vcp_line.engine", format!("{} {}", event.model.engine, event.model.precision)),
        KeyValue::new("vcp_line.historical", event.historical),
    ];
    let mut besides = |name: &'static str, value: Option<Value>| {
        attributes.extend(value.map(|value| KeyValue::new(name, value)));
    };
    besides("vcp_line.part", event.part.as_ref().map(|part| part.id.to_string().into()));
    besides("vcp_line.reason", event.reason.map(|_| reason(event).into()));
    besides("vcp_line.score", event.score.map(|score| f64::from(score).into()));
    attributes
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::*;
    use crate::event::Latency;
    use crate::publish::Outgoing;
    use crate::publish::payload::tests::event;

    fn exporter(sample: f64) -> Exporter {
        let spec = TraceSpec { endpoint: "http://127.0.0.1:9".into(), sample };
        Exporter::new(spec, "caps", Uuid::nil()).expect("an exporter")
    }

    fn published(latency: Latency) -> Published {
        let event = InspectionEvent { latency_ms: latency, ..event(3) };
        let outgoing = Arc::new(Outgoing { event, captured: Instant::now(), due: None });
        let wall = Timestamp::from_second(1_700_000_000).expect("valid");
        Published { outgoing, at: Instant::now(), wall, latency: Duration::from_millis(40) }
    }

    fn times(spans: &[SpanData]) -> Vec<(&str, u128, u128)> {
        let began = spans[0].start_time;
        let ms = |time: SystemTime| time.duration_since(began).expect("later").as_millis();
        spans.iter().map(|span| (span.name.as_ref(), ms(span.start_time), ms(span.end_time))).collect()
    }

    #[test]
    fn stages_follow_each_other_from_capture_to_the_broker() {
        let took = Latency { queue: 5.0, preprocess: 0.0, inference: 20.0, postprocess: 3.0, total: 0.0 };
        let published = published(took);
        let spans = exporter(1.0).spans(&published);
        let wanted =
            [("part", 0, 40), ("queue", 0, 5), ("inference", 5, 25), ("postprocess", 25, 28), ("publish", 28, 40)];
        assert_eq!(times(&spans), wanted);
        let id = published.outgoing.event.event_id;
        assert!(spans.iter().all(|span| span.span_context.trace_id().to_string() == id.simple().to_string()));
        assert!(spans[1..].iter().all(|span| span.parent_span_id == spans[0].span_context.span_id()));
        let mut ids: Vec<_> = spans.iter().map(|span| span.span_context.span_id().to_string()).collect();
        ids.dedup();
        assert_eq!(ids.len(), spans.len());
    }

    #[test]
    fn stages_that_claim_more_than_the_whole_end_with_it() {
        let took = Latency { queue: 30.0, preprocess: f64::NAN, inference: 20.0, postprocess: -1.0, total: 0.0 };
        let spans = exporter(1.0).spans(&published(took));
        assert_eq!(times(&spans), [("part", 0, 40), ("queue", 0, 30), ("inference", 30, 40), ("publish", 40, 40)]);
    }

    #[test]
    fn a_share_of_the_parts_is_told() {
        let told = |sample: f64| (0..10_000).filter(|_| is_told(Uuid::now_v7(), sample)).count();
        assert_eq!((told(0.0), told(1.0)), (0, 10_000));
        // Seven standard deviations.
        assert!((2_200..2_800).contains(&told(0.25)), "{}", told(0.25));
    }
}

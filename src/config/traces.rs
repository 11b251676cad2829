//! Rules and defaults of `[traces]`: what became of each part, and when, for OpenTelemetry.

use super::raw_traces::RawTraces;
use super::rules::Rules;
use crate::publish::{TRACES_BUILT, TraceError, TraceSpec};

/// `None` without the section, and after a mistake.
pub(super) fn resolve(raw: Option<&RawTraces>, rules: &mut Rules<'_>) -> Option<TraceSpec> {
    let raw = raw?;
    if !TRACES_BUILT {
        rules.wrong(raw.endpoint.as_ref(), "endpoint", TraceError::NotBuilt.to_string());
        return None;
    }
    let endpoint =
        rules.required(&raw.endpoint, "endpoint", "write endpoint = \"http://HOST:4317\", the collector's address");
    let sample = rules.bounded(&raw.sample, "sample", 1.0, 0.0..=1.0, "");
    let endpoint = endpoint?;
    let address = endpoint.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    let fine = address.is_some_and(|address| {
        let port = address
            .rsplit_once(':')
            .map(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
        port == Some(true) && !address.contains(['/', '?', '#', '@']) && !address.contains(char::is_whitespace)
    });
    if !fine {
        let message = format!(
            "\"{endpoint}\" is no collector's address; write http://HOST:PORT, OTLP over gRPC (one on this machine forwards with TLS)"
        );
        rules.wrong(raw.endpoint.as_ref(), "endpoint", message);
        return None;
    }
    Some(TraceSpec { endpoint, sample })
}

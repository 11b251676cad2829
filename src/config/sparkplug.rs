//! Rules and defaults of `[sparkplug]`: the same verdicts for a SCADA system that speaks Sparkplug B.

use super::problem::Report;
use super::raw::{Key, RawSparkplug};
use super::rules::{Rules, value};
use crate::command::MAX_ID;

/// The edge node, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparkplugConfig {
    /// Sparkplug group.
    pub group: String,
    /// Sparkplug edge node.
    pub node: String,
    /// Host application without which nothing is published, only stored.
    pub primary_host: Option<String>,
    /// Verdicts kept while the broker or the primary host is away.
    pub max_stored: usize,
}

/// `Some(None)` without the section, `None` after a mistake.
pub(super) fn resolve(raw: &Option<RawSparkplug>, line: &str, report: &mut Report) -> Option<Option<SparkplugConfig>> {
    let Some(raw) = raw else { return Some(None) };
    let mut rules = Rules { section: "sparkplug".into(), report };
    let group = rules.required(&raw.group, "group", "write group = \"NAME\", the Sparkplug group of the plant");
    let node = value(&raw.node).unwrap_or_else(|| line.into());
    let primary_host = value(&raw.primary_host);
    let mut checked = |name: Option<&String>, key: &Key<String>, what: &str| {
        let bad = name.is_some_and(|name| {
            let unfit = |letter: char| matches!(letter, '/' | '+' | '#') || letter.is_control();
            !(1..=MAX_ID).contains(&name.chars().count()) || name.contains(unfit)
        });
        if bad {
            let message = format!(
                "\"{}\" is no Sparkplug name; allowed: 1 to {MAX_ID} characters without '/', '+' and '#'",
                name.map_or("", |n| n)
            );
            rules.wrong(key.as_ref(), what, message);
        }
        !bad
    };
    let fine = [
        checked(group.as_ref(), &raw.group, "group"),
        checked(Some(&node).filter(|_| raw.node.is_some()), &raw.node, "node"),
        checked(primary_host.as_ref(), &raw.primary_host, "primary_host"),
    ];
    let max_stored = rules.bounded(&raw.max_stored, "max_stored", 10_000, 1..=1_000_000, " verdicts");
    if fine.contains(&false) {
        return None;
    }
    Some(Some(SparkplugConfig { group: group?, node, primary_host, max_stored }))
}

//! What is said of one image: a line for a person, or a JSON object.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde::Serialize;
use serde_json::{Value, json};

use super::judge::Judge;
use crate::anomaly::Prediction;
use crate::cli::terminal::{self, say};
use crate::engine::EngineInfo;
use crate::event::VerdictWord;
use crate::frame::Image;
use crate::verdict::{Inspection, NoVerdictReason, Verdict};

/// What stands for itself in the bytes of a path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'_').remove(b'-');

/// An image with the engine's answer, which is absent where its part was not found, and what the recipe makes of it where there is one.
pub struct Found<'a> {
    pub path: &'a Path,
    pub image: &'a Image,
    pub prediction: Option<&'a Prediction>,
    pub judged: Option<(&'a Judge, Inspection)>,
}

/// Prints it.
pub fn report(found: &Found<'_>, info: &EngineInfo, json: bool) -> anyhow::Result<()> {
    let Found { path, prediction, .. } = found;
    if json {
        terminal::json(&object(found, info), false)?;
        return Ok(());
    }
    let verdict = found.judged.as_ref().map(|(_, inspection)| format!("{}  ", words(inspection))).unwrap_or_default();
    let Some(prediction) = prediction else {
        say!("{}  {}", path.display(), verdict.trim_end());
        return Ok(());
    };
    let times = &prediction.times;
    let (peak, took) = (peak(prediction), ms(times.preprocess + times.inference + times.postprocess));
    say!("{}  {verdict}score {:.4}  peak {peak:.3}  {took:.1} ms", path.display(), prediction.score);
    Ok(())
}

fn peak(prediction: &Prediction) -> f32 {
    prediction.map.values().iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

fn words(inspection: &Inspection) -> String {
    let area = area(inspection);
    match (inspection.verdict, inspection.defects.len()) {
        (Verdict::Pass, _) => "pass".into(),
        (Verdict::Fail, 0) => "FAIL by the score".into(),
        (Verdict::Fail, 1) => format!("FAIL  1 defect, {area} px"),
        (Verdict::Fail, count) => format!("FAIL  {count} defects, {area} px"),
        (Verdict::NoVerdict(reason), _) => format!("no verdict: {}", word(reason)),
    }
}

/// As in events.
fn word(reason: NoVerdictReason) -> String {
    json!(reason).as_str().unwrap_or_default().to_owned()
}

/// Pixels of all defects.
fn area(inspection: &Inspection) -> u64 {
    inspection.defects.iter().map(|defect| u64::from(defect.area_px)).sum()
}

fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// The value with its numbers as events have them: 0.3 is not 0.30000001192092896, the double nearest to its 32 bits.
fn as_written(value: &impl Serialize) -> Value {
    let text = serde_json::to_string(value).ok();
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

fn object(found: &Found<'_>, info: &EngineInfo) -> Value {
    let Found { path, image, prediction, judged } = found;
    let mut object = json!({
        // What is no UTF-8 in a name is replaced.
        "image": path.to_string_lossy(),
        "score": as_written(&prediction.map(|prediction| prediction.score)),
        "peak": as_written(&prediction.map(peak)),
        "width": image.width,
        "height": image.height,
        "latency_ms": prediction.map(|Prediction { times, .. }| json!({
            "preprocess": ms(times.preprocess), "inference": ms(times.inference), "postprocess": ms(times.postprocess),
        })),
        "model": {
            "name": info.model, "sha256": info.sha256,
            "engine": info.engine.to_string(), "precision": info.precision.to_string(),
        },
    });
    if path.to_str().is_none() {
        object["image_bytes"] = json!(percent_encode(path.as_os_str().as_bytes(), PLAIN).to_string());
    }
    if let Some((judge, inspection)) = judged {
        let recipe = judge.spec();
        object["camera"] = json!(judge.camera);
        object["verdict"] = json!(VerdictWord::from(inspection.verdict));
        object["reason"] = match inspection.verdict {
            Verdict::NoVerdict(reason) => json!(reason),
            Verdict::Pass | Verdict::Fail => Value::Null,
        };
        object["threshold"] = as_written(&recipe.threshold);
        object["defect_threshold"] = as_written(&recipe.defect_threshold);
        object["defects"] = as_written(&inspection.defects);
        object["area_px"] = json!(area(inspection));
        object["recipe"] = json!(recipe.info);
        if let Some(location) = &inspection.location {
            object["location"] = as_written(location);
        }
    }
    object
}

//! What a calibration leaves for people: the calibration file, and a histogram for each threshold.

use super::calibration::Calibration;
use super::histogram::{Histogram, svg};
use super::part::Part;
use super::record::Record;
use crate::line::recipe::RecipeSpec;

/// Names and texts of the files, one set for each camera and recipe. `before` is the recipe that the calibration was of.
pub fn sheets(
    record: &Record,
    before: &RecipeSpec,
    found: &Calibration,
    good: &[Part],
    bad: &[Part],
) -> serde_json::Result<Vec<(String, String)>> {
    let name = format!("{}-{}", record.camera, before.info.id);
    let title = |what: &str| {
        let (recipe, version) = (&before.info.id, found.recipe.info.version);
        format!("{}, {}, recipe {recipe} version {version}: {what}", record.line, record.camera)
    };
    let histogram = |what: &str, of: fn(&Part) -> f32, before, after| {
        let values = |parts: &[Part]| parts.iter().map(of).collect::<Vec<f32>>();
        let (good, bad) = (values(good), values(bad));
        svg(&Histogram { title: &title(what), axis: what, good: &good, bad: &bad, before, after })
    };
    let defect = histogram(
        "highest defect_threshold at which the part fails",
        |part| part.statistics.defect,
        Some(before.defect_threshold),
        found.recipe.defect_threshold,
    );
    let mut texts =
        vec![(format!("{name}.json"), serde_json::to_string_pretty(record)? + "\n"), (format!("{name}.svg"), defect)];
    if let Some(threshold) = found.recipe.threshold {
        let score = histogram("image score", |part| part.statistics.score, before.threshold, threshold);
        texts.push((format!("{name}-score.svg"), score));
    }
    Ok(texts)
}

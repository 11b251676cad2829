//! Rules and defaults of `[camera.locate]`.

use std::path::Path;

use super::problem::Report;
use super::raw::RawLocate;
use super::rules::{Rules, value};
use crate::error_chain;
use crate::line::locating::{LocatePlan, LocatePlanError, LocateSettings};
use crate::view::locate::{MOST_SHIFT, MOST_TURN};

/// What a camera without the table does is nothing.
pub(super) fn resolve(raw: &RawLocate, base: &Path, rules: &mut Rules<'_>) -> Option<LocateSettings> {
    let what = "write picture = \"FILE\", a frame with a good part as the camera captures it";
    let picture = rules.required(&raw.picture, "picture", what);
    let what = "write rectangle = [X, Y, WIDTH, HEIGHT], the piece of the picture that is looked for";
    let rectangle = rules.required(&raw.rectangle, "rectangle", what);
    let shift_px = rules.bounded(&raw.shift_px, "shift_px", 40, 0..=MOST_SHIFT, " pixels");
    let turn_degrees = rules.bounded(&raw.turn_degrees, "turn_degrees", 5.0, 0.0..=MOST_TURN, " degrees");
    let least_score = rules.bounded(&raw.least_score, "least_score", 0.6, 0.1..=1.0, " (correlation)");
    let missing = value(&raw.missing).unwrap_or_default();
    let picture = base.join(picture?);
    Some(LocateSettings { picture, rectangle: rectangle?, shift_px, turn_degrees, least_score, missing })
}

/// Reads the taught picture, and hands out what was learnt of it; adds a mistake where that cannot be.
pub(super) fn look_for_file(
    raw: &RawLocate,
    settings: &LocateSettings,
    camera: &str,
    report: &mut Report,
) -> Option<LocatePlan> {
    let error = match settings.plan() {
        Ok(plan) => return Some(plan),
        Err(error) => error,
    };
    let (key, place) = match &error {
        LocatePlanError::Picture(_) => ("picture", raw.picture.as_ref().map(|key| key.span().start)),
        LocatePlanError::Locate(_) => ("rectangle", raw.rectangle.as_ref().map(|key| key.span().start)),
    };
    report.add(place, &format!("camera '{camera}'.locate.{key}"), error_chain::one_line(&error));
    None
}

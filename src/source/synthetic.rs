//! Synthetic products on a conveyor, as a triggered camera sees them: every part has an id, and a known truth.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use serde_json::{Value, json};

use super::{Source, SourceContext, SourceError};
use crate::clock::{ClockSource, Moment};
use crate::frame::{Frame, Image, Part};
use crate::synth::{Defect, DefectPlace, FrameSample, Request, render, render_frame};

pub use super::synthetic_format::SyntheticFormat;
pub use crate::synth::{Conveyor, ConveyorFrames, DefectKind, FRAME_SIDES, Motion, SIDES};

/// Parts whose picture waits to be taken, like the buffers of a camera's driver. When more wait, the oldest are lost:
/// they are missing from the sequence numbers, and the conveyor moves on.
const BUFFERS: u64 = 8;

/// What comes along, and how fast.
#[derive(Clone, Debug, PartialEq)]
pub struct SyntheticSpec {
    /// The parts.
    pub conveyor: Conveyor,
    /// Parts per second.
    pub fps: f64,
    /// Trigger of the first part, so that a conveyor goes on counting after a restart.
    pub first: u64,
    /// Parts until the end; `None` is for ever.
    pub count: Option<u64>,
    /// How the sensor delivers them.
    pub pixel_format: SyntheticFormat,
    /// A JSON line for each part that was delivered is appended to this file.
    pub truth_file: Option<PathBuf>,
}

/// What is wrong with the part behind a trigger (they count from 1): a function of the settings alone.
pub fn truth(spec: &SyntheticSpec, trigger: u64) -> Option<Defect> {
    spec.conveyor.part(trigger).defect
}

/// The id of the part behind a trigger.
pub fn part_id(trigger: u64) -> String {
    format!("A-{trigger:06}")
}

/// Delivers a part at every tick of a conveyor that starts with the first call.
///
/// The clock of the conveyor does not wait: part `k` is due `(k - 1) / fps` seconds after the start, whenever the one before was
/// taken. A part that is taken late says when it was captured, and one that is never taken is missing.
pub struct SyntheticSource {
    spec: SyntheticSpec,
    context: SourceContext,
    /// With where part and defect lie, in large frames.
    pictures: Vec<(Image, Option<Value>)>,
    truth: Option<File>,
    began: Option<Instant>,
    /// Sequence number of the next part; its trigger is so many more than the first one's.
    next: u64,
    stopped: bool,
}

impl SyntheticSource {
    /// Makes the pictures. Errors when the truth file cannot be opened.
    pub fn open(spec: SyntheticSpec, context: SourceContext) -> Result<Self, SourceError> {
        let truth = match &spec.truth_file {
            Some(path) => Some(
                File::options()
                    .create(true)
                    .append(true)
                    .open(path)
                    .map_err(|error| refuse(&spec, &context, &error))?,
            ),
            None => None,
        };
        let different = u64::from(spec.conveyor.pool).min(spec.count.unwrap_or(u64::MAX)).max(1);
        let first = spec.first;
        let picture = |index: u64| picture(&spec.conveyor, first + index, spec.pixel_format);
        let pictures: Result<Vec<_>, _> = (0..different).into_par_iter().map(picture).collect();
        let pictures =
            pictures.map_err(|reason| SourceError::Pipeline { camera: context.camera.to_string(), reason })?;
        tracing::info!(camera = %context.camera, pictures = pictures.len(), "products made");
        Ok(Self { spec, context, pictures, truth, began: None, next: 0, stopped: false })
    }

    /// Whether the source could be opened, without making all the pictures.
    pub fn probe(spec: &SyntheticSpec, context: &SourceContext) -> Result<(), SourceError> {
        let mut one = spec.clone();
        one.conveyor.pool = 1;
        Self::open(one, context.clone()).map(|_| ())
    }

    fn ended(&self) -> bool {
        self.stopped || self.spec.count.is_some_and(|count| self.next >= count)
    }

    fn due(&self, began: Instant) -> Instant {
        began + Duration::from_secs_f64(self.next as f64 / self.spec.fps)
    }

    /// Loses what no buffer is left for.
    fn overflow(&mut self, late: Duration) {
        let last = self.spec.count.map_or(u64::MAX, |count| count.saturating_sub(1));
        let newest = self.next.saturating_add((late.as_secs_f64() * self.spec.fps) as u64).min(last);
        let lost = (newest - self.next).saturating_sub(BUFFERS);
        if lost > 0 {
            tracing::debug!(camera = %self.context.camera, lost, "parts went by unseen");
            self.next += lost;
        }
    }

    /// The next part, captured when it was due.
    fn frame(&mut self, began: Instant) -> Result<Frame, SourceError> {
        let now = self.context.clock.now();
        let late = now.monotonic.saturating_duration_since(self.due(began));
        let captured = Moment {
            wall: now.wall.checked_sub(late).unwrap_or(now.wall),
            monotonic: now.monotonic.checked_sub(late).unwrap_or(now.monotonic),
        };
        let (seq, trigger) = (self.next, self.spec.first + self.next);
        self.next += 1;
        let (image, place) = self.pictures[(seq % self.pictures.len() as u64) as usize].clone();
        let part = Part { id: part_id(trigger), trigger };
        self.tell(seq, &part, place)?;
        Ok(Frame {
            camera: self.context.camera.clone(),
            seq,
            part: Some(part),
            captured,
            clock: ClockSource::System,
            file: None,
            image,
        })
    }

    fn tell(&mut self, seq: u64, part: &Part, place: Option<Value>) -> Result<(), SourceError> {
        let Some(file) = &mut self.truth else { return Ok(()) };
        let Request { class, defect, seed, .. } = self.spec.conveyor.part(part.trigger);
        let mut line = json!({
            "part": part.id,
            "trigger": part.trigger,
            "seq": seq,
            "class": class.name(),
            "defect": defect.map(|defect| defect.kind.name()),
            "difficulty": defect.map(|defect| defect.difficulty),
            "seed": seed,
        });
        if let Some(place) = place {
            line["place"] = place;
        }
        // One write for one line: whoever reads along never sees half of it.
        file.write_all(format!("{line}\n").as_bytes()).map_err(|error| refuse(&self.spec, &self.context, &error))
    }
}

fn picture(conveyor: &Conveyor, trigger: u64, format: SyntheticFormat) -> Result<(Image, Option<Value>), String> {
    let Some(request) = conveyor.frame(trigger) else {
        let sample = render(&conveyor.part(trigger));
        return Ok((format.picture(sample.size, sample.size, sample.rgb)?, None));
    };
    let mut frame = render_frame(&request);
    let rgb = std::mem::take(&mut frame.rgb);
    Ok((format.picture(frame.width, frame.height, rgb)?, Some(place(&frame))))
}

/// Where part and defect lie in a large frame, pixels from its upper left corner.
fn place(frame: &FrameSample) -> Value {
    let defect = |spot: &DefectPlace| json!({ "box": spot.bounds, "area_px": spot.area_px, "size_px": spot.size_px });
    json!({
        "box": frame.part.bounds,
        "centre": frame.part.centre,
        "turn_degrees": frame.part.turn_degrees,
        "defects": frame.defects.iter().map(defect).collect::<Vec<_>>(),
    })
}

fn refuse(spec: &SyntheticSpec, context: &SourceContext, error: &std::io::Error) -> SourceError {
    SourceError::File {
        camera: context.camera.to_string(),
        path: spec.truth_file.clone().unwrap_or_default(),
        reason: format!("{error}; name a truth_file that can be written"),
    }
}

impl Source for SyntheticSource {
    fn next(&mut self, timeout: Duration) -> Result<Option<Frame>, SourceError> {
        if self.ended() {
            return Err(SourceError::Ended { camera: self.context.camera.to_string() });
        }
        let now = Instant::now();
        let began = *self.began.get_or_insert(now);
        let wait = self.due(began).saturating_duration_since(now);
        std::thread::sleep(wait.min(timeout));
        if wait > timeout {
            return Ok(None);
        }
        self.overflow(Instant::now().saturating_duration_since(self.due(began)));
        self.frame(began).map(Some)
    }

    fn stop(&mut self) {
        self.stopped = true;
        self.pictures.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::synth::Class;

    const SOON: Duration = Duration::from_secs(5);

    fn spec(fps: f64, count: u64) -> SyntheticSpec {
        SyntheticSpec {
            conveyor: Conveyor {
                classes: vec![Class::Weave, Class::Pill],
                kinds: vec![DefectKind::Stain, DefectKind::Hole],
                defective: 0.25,
                difficulty: (0.1, 0.3),
                size: 64,
                pool: 8,
                seed: 3,
                frames: None,
            },
            fps,
            count: Some(count),
            first: 1,
            pixel_format: SyntheticFormat::default(),
            truth_file: None,
        }
    }

    fn open(spec: &SyntheticSpec) -> SyntheticSource {
        let context = SourceContext { camera: Arc::from("top"), clock: Arc::new(SystemClock) };
        SyntheticSource::open(spec.clone(), context).expect("opens")
    }

    #[test]
    fn parts_come_in_order_with_the_pictures_that_the_settings_say() {
        let spec = spec(20.0, 12);
        let mut source = open(&spec);
        let frames: Vec<Frame> = (0..12).map(|_| source.next(SOON).expect("a part").expect("in time")).collect();
        assert!(matches!(source.next(SOON), Err(SourceError::Ended { .. })));
        for (frame, trigger) in frames.into_iter().zip(1..) {
            assert_eq!((frame.seq, frame.part), (trigger - 1, Some(Part { id: part_id(trigger), trigger })));
            assert_eq!(frame.image.data(), render(&spec.conveyor.part(trigger)).rgb);
        }
        let bad = |trigger: &u64| truth(&spec, *trigger).is_some();
        assert_eq!((1..=8).filter(bad).count(), 2);
        assert_eq!(truth(&spec, 1), truth(&spec, 9));
    }

    #[test]
    fn large_frames_come_with_where_part_and_defect_lie() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut spec = spec(20.0, 4);
        spec.conveyor.defective = 0.5;
        spec.conveyor.frames = Some(ConveyorFrames {
            width: 320,
            height: 256,
            defect_px: (8.0, 20.0),
            motion: Motion { shift_px: 20.0, turn_degrees: 5.0 },
            one_product: true,
        });
        spec.truth_file = Some(folder.path().join("truth.jsonl"));
        let mut source = open(&spec);
        for trigger in 1..=4 {
            let frame = source.next(SOON).expect("a part").expect("in time");
            let made = render_frame(&spec.conveyor.frame(trigger).expect("large"));
            assert_eq!((frame.image.width, frame.image.height, frame.image.data()), (320, 256, &made.rgb[..]));
        }
        let told = std::fs::read_to_string(folder.path().join("truth.jsonl")).expect("truth");
        let lines: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), 4);
        for line in lines {
            let defects = line["place"]["defects"].as_array().expect("a list").len();
            assert_eq!(defects > 0, !line["defect"].is_null(), "{line}");
            assert!(line["place"]["box"][2].as_u64() > Some(60), "{line}");
        }
    }

    #[test]
    fn the_conveyor_keeps_its_pace_and_a_part_that_is_taken_late_says_so() {
        let mut source = open(&spec(20.0, 100));
        let start = Instant::now();
        let first = source.next(SOON).expect("a part").expect("in time");
        assert!(source.next(Duration::ZERO).expect("idle").is_none());
        std::thread::sleep(Duration::from_millis(170));
        // Three were due meanwhile and wait.
        for seq in 1..=3 {
            let frame = source.next(Duration::ZERO).expect("a part").expect("waits");
            let after = frame.captured.monotonic - first.captured.monotonic;
            assert_eq!((frame.seq, after.as_millis()), (seq, 50 * u128::from(seq)));
        }
        let fifth = source.next(SOON).expect("a part").expect("in time");
        assert_eq!(fifth.seq, 4);
        assert!(start.elapsed() >= Duration::from_millis(200));
    }

    #[test]
    fn who_is_too_slow_sees_the_gap() {
        let mut source = open(&spec(200.0, 300));
        source.next(SOON).expect("a part").expect("in time");
        std::thread::sleep(Duration::from_millis(200));
        let frame = source.next(SOON).expect("a part").expect("in time");
        assert!(frame.seq >= 30, "{}", frame.seq);
        assert_eq!(frame.part.expect("a part").trigger, frame.seq + 1);
        // What is in the buffers at the end is delivered.
        std::thread::sleep(Duration::from_millis(1500));
        for seq in 291..300 {
            assert_eq!(source.next(SOON).expect("a part").expect("in time").seq, seq);
        }
        assert!(matches!(source.next(SOON), Err(SourceError::Ended { .. })));
    }

    #[test]
    fn a_stopped_source_has_ended() {
        let mut source = open(&spec(10.0, 5));
        source.stop();
        source.stop();
        assert!(matches!(source.next(SOON), Err(SourceError::Ended { .. })));
    }

    #[test]
    fn a_truth_file_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let truth_file = Some(folder.path().join("away/truth.jsonl"));
        let context = SourceContext { camera: Arc::from("top"), clock: Arc::new(SystemClock) };
        let error =
            SyntheticSource::open(SyntheticSpec { truth_file, ..spec(1.0, 1) }, context).err().expect("refused");
        assert!(
            error
                .to_string()
                .ends_with("No such file or directory (os error 2); name a truth_file that can be written")
        );
    }
}

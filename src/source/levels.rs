//! The levels of a camera whose pictures have more than 8 bits: set, stated by its format, or taken from its first pictures and
//! then frozen.
//!
//! What is taken is how many bits the sensor uses (10, 12, 14 or 16), never where the brightest spot of a picture lies: black
//! is 0, white the largest value of so many bits. It is kept in a file and holds until somebody deletes that.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Source, SourceContext, SourceError};
use crate::frame::{Frame, Image, Levels};
use crate::levels::sensor_bits;
use crate::output;

/// Pictures that are looked at before the first is judged, and how long the first may wait for the others.
pub const FIRST_PICTURES: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(1);

/// Below, a picture is too dark to tell a quarter of 10 bits from less of more: nothing is taken from it.
const DARK: u16 = 256;

/// What is known of a camera's levels before it is opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LevelsSpec {
    /// Those of the settings.
    pub set: Option<Arc<Levels>>,
    /// Where those are kept that were taken; `None` forgets them with the program.
    pub file: Option<PathBuf>,
    /// Those that were taken since the program started: a camera that is opened again keeps them.
    pub taken: Arc<OnceLock<Arc<Levels>>>,
}

/// Where the first pictures are looked at.
pub enum First {
    /// As they come: the first may wait for the others.
    AsTheyCome,
    /// Beforehand, in a source of its own; what comes later does not wait. `None` where there is nothing to look at yet.
    Beforehand(Option<Box<dyn Source>>),
}

impl LevelsSpec {
    /// Those of the settings, else those that were taken and kept.
    pub fn known(&self) -> Result<Option<Arc<Levels>>, String> {
        match (&self.set, &self.file) {
            (Some(set), _) => Ok(Some(Arc::clone(set))),
            (None, Some(file)) => Ok(Taken::read(file)?.map(|(_, levels)| levels)),
            (None, None) => Ok(None),
        }
    }
}

/// What the first pictures show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    /// Largest value.
    brightest: u16,
    /// How many pictures.
    pictures: u32,
}

impl Seen {
    fn add(&mut self, image: &Image) {
        self.brightest = self.brightest.max(brightest(image));
        self.pictures += 1;
    }

    fn taken(self) -> Taken {
        let bits = sensor_bits(self.brightest);
        Taken { black: 0, white: Levels::of_bits(bits).white(), gamma: 1.0, bits, seen: self }
    }
}

/// The file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Taken {
    black: u16,
    white: u16,
    gamma: f32,
    /// Significant bits that were seen.
    bits: u32,
    seen: Seen,
}

impl Taken {
    /// `Ok(None)`: nothing was taken yet.
    fn read(file: &Path) -> Result<Option<(Self, Arc<Levels>)>, String> {
        let remedy = "delete it, and the first pictures are looked at anew, or set [camera.levels]";
        let text = match std::fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("the levels in {} cannot be read: {error}; {remedy}", file.display())),
        };
        let damaged = |error: String| format!("{} does not hold levels: {error}; {remedy}", file.display());
        let taken: Self = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        let levels = Levels::new(taken.black, taken.white, taken.gamma).map_err(|error| damaged(error.to_string()))?;
        Ok(Some((taken, Arc::new(levels))))
    }

    fn write(&self, file: &Path) -> Result<(), String> {
        let text = serde_json::to_vec_pretty(self).map_err(|error| error.to_string())?;
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        }
        output::write(file, &text).map_err(|error| error.to_string())
    }
}

/// A source whose deep pictures have their levels.
pub struct Levelled {
    inner: Box<dyn Source>,
    camera: Arc<str>,
    spec: LevelsSpec,
    frozen: Option<Arc<Levels>>,
    seen: Seen,
    /// Pictures that make a decision.
    enough: u32,
    waiting: VecDeque<Frame>,
    since: Option<Instant>,
    ready: VecDeque<Frame>,
    /// What came behind the pictures that wait.
    behind: Option<SourceError>,
    warned: bool,
}

impl Levelled {
    /// Reads what was taken before. Errors when the file is there and holds no levels: a guess could pass what is bad.
    pub fn over(
        inner: Box<dyn Source>,
        spec: LevelsSpec,
        context: &SourceContext,
        first: First,
    ) -> Result<Self, SourceError> {
        let camera = Arc::clone(&context.camera);
        let kept = match (&spec.set, &spec.file) {
            (None, Some(file)) => {
                Taken::read(file).map_err(|reason| SourceError::Pipeline { camera: camera.to_string(), reason })?
            }
            _ => None,
        };
        if let Some((taken, levels)) = &kept {
            tracing::info!(%camera, bits = taken.bits, "levels as they were taken: {levels}");
        }
        let (enough, first) = match first {
            First::AsTheyCome => (FIRST_PICTURES, None),
            First::Beforehand(first) => (1, first),
        };
        let frozen = kept.map(|(_, levels)| levels).or_else(|| spec.taken.get().cloned());
        let mut levelled = Self {
            inner,
            camera,
            spec,
            frozen,
            seen: Seen::default(),
            enough,
            waiting: VecDeque::new(),
            since: None,
            ready: VecDeque::new(),
            behind: None,
            warned: false,
        };
        if let Some(mut first) = first.filter(|_| levelled.frozen.is_none() && levelled.spec.set.is_none()) {
            let mut glance = Glance::default();
            glance.look(&mut *first, PATIENCE);
            levelled.seen = glance.seen;
            first.stop();
            if levelled.seen.pictures > 0 {
                levelled.settle();
            }
        }
        Ok(levelled)
    }

    /// Takes the levels from what was seen, and lets go what waits.
    fn settle(&mut self) {
        let camera = &self.camera;
        self.since = None;
        if self.seen.brightest < DARK {
            if !std::mem::replace(&mut self.warned, true) {
                tracing::warn!(
                    %camera,
                    brightest = self.seen.brightest,
                    "too dark to tell how many bits the sensor uses; no verdict until a picture is brighter, or [camera.levels] set"
                );
            }
            self.seen = Seen::default();
            for mut frame in self.waiting.drain(..) {
                frame.image.damaged = true;
                self.ready.push_back(frame);
            }
            return;
        }
        let taken = self.seen.taken();
        let levels = Arc::new(Levels::of_bits(taken.bits));
        let (bits, pictures, brightest) = (taken.bits, self.seen.pictures, self.seen.brightest);
        match self.spec.file.as_deref().map(|file| (file, taken.write(file))) {
            Some((file, Ok(()))) => tracing::info!(
                %camera, bits, pictures, brightest, "levels taken from the first pictures and kept in {}: {levels}", file.display()
            ),
            Some((file, Err(error))) => tracing::error!(
                %camera, bits, "levels taken from the first pictures: {levels}; the next start takes them anew: {}: {error}", file.display()
            ),
            None => {
                tracing::info!(%camera, bits, pictures, brightest, "levels taken from the first pictures: {levels}")
            }
        }
        self.frozen = Some(Arc::clone(self.spec.taken.get_or_init(|| levels)));
        let waiting = std::mem::take(&mut self.waiting);
        let finished: Vec<Frame> = waiting.into_iter().map(|frame| self.finished(frame)).collect();
        self.ready.extend(finished);
    }

    /// With its levels; a value that a sensor of so many bits cannot have shows that they are wrong.
    fn finished(&mut self, mut frame: Frame) -> Frame {
        let Some(levels) = &self.frozen else { return frame };
        let brightest = brightest(&frame.image);
        if brightest > levels.white() {
            frame.image.damaged = true;
            if !std::mem::replace(&mut self.warned, true) {
                let file =
                    self.spec.file.as_ref().map_or_else(String::new, |file| format!("delete {} or ", file.display()));
                tracing::error!(
                    camera = %self.camera,
                    brightest,
                    "brighter than the white {} that was taken from the first pictures: no verdict for such pictures; {file}set \
                     [camera.levels]",
                    levels.white()
                );
            }
        }
        frame.image.levels = Some(Arc::clone(levels));
        frame
    }

    /// A picture that came: ready, or to wait for others.
    fn came(&mut self, mut frame: Frame) {
        if let Some(set) = &self.spec.set {
            frame.image.levels = Some(Arc::clone(set));
        } else if frame.image.format.is_deep() && frame.image.levels.is_none() {
            if self.frozen.is_none() {
                self.seen.add(&frame.image);
                self.waiting.push_back(frame);
                self.since.get_or_insert_with(Instant::now);
                return;
            }
            frame = self.finished(frame);
        }
        // Behind those that wait, so that the order stays.
        if self.waiting.is_empty() { self.ready.push_back(frame) } else { self.waiting.push_back(frame) }
    }
}

impl Source for Levelled {
    fn next(&mut self, timeout: Duration) -> Result<Option<Frame>, SourceError> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Ok(Some(frame));
            }
            if let Some(error) = self.behind.take() {
                return Err(error);
            }
            let late = self.since.is_some_and(|since| since.elapsed() >= PATIENCE);
            if !self.waiting.is_empty() && (late || self.seen.pictures >= self.enough) {
                self.settle();
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.inner.next(left) {
                Ok(Some(frame)) => self.came(frame),
                Ok(None) if Instant::now() >= deadline => return Ok(None),
                Ok(None) => {}
                Err(error) if self.waiting.is_empty() => return Err(error),
                Err(error) => {
                    self.behind = Some(error);
                    self.settle();
                }
            }
        }
    }

    fn hand_over(&mut self, session: Uuid, frame: u64) {
        self.inner.hand_over(session, frame);
    }

    fn answered(&mut self, to: u64) {
        self.inner.answered(to);
    }

    fn stop(&mut self) {
        self.waiting.clear();
        self.ready.clear();
        self.inner.stop();
    }
}

/// The first pictures of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Glance {
    seen: Seen,
    /// The first that came, of any depth.
    pub first: Option<Image>,
}

impl Glance {
    /// Looks at the first pictures of a source: one of 8 bits is enough, of deeper ones as many as decide on their levels.
    pub fn look(&mut self, source: &mut dyn Source, patience: Duration) {
        let deadline = Instant::now() + patience;
        while self.first.is_none() || self.wants_more() {
            let Ok(Some(frame)) = source.next(deadline.saturating_duration_since(Instant::now())) else { break };
            self.add(&frame.image);
        }
    }

    /// One more picture.
    pub fn add(&mut self, image: &Image) {
        if image.format.is_deep() && image.levels.is_none() {
            self.seen.add(image);
        }
        self.first.get_or_insert_with(|| image.clone());
    }

    fn wants_more(&self) -> bool {
        (1..FIRST_PICTURES).contains(&self.seen.pictures)
    }

    /// For `check`: which levels a start would use, and where they come from. Empty for 8 bits without any. Errors when those
    /// that were kept cannot be read, or do not fit what was seen.
    pub fn told(&self, spec: &LevelsSpec) -> Result<String, String> {
        let Some(first) = &self.first else { return Ok(String::new()) };
        if let Some(set) = &spec.set {
            return Ok(format!(", levels of the settings: {set}"));
        }
        if !first.format.is_deep() {
            return Ok(String::new());
        }
        if let Some(stated) = &first.levels {
            return Ok(format!(", levels of the format: {stated}"));
        }
        let Seen { brightest, pictures } = self.seen;
        let bits = sensor_bits(brightest);
        let seen = format!("{bits} significant bits (brightest value {brightest} in {pictures} pictures)");
        match spec.file.as_deref().map(Taken::read).transpose()?.flatten() {
            Some((taken, levels)) if brightest > levels.white() => Err(format!(
                "{seen}, but levels of {} bits were taken from the first pictures and kept in {}: delete it, or set [camera.levels]",
                taken.bits,
                spec.file.as_deref().unwrap_or(Path::new("")).display()
            )),
            Some((taken, levels)) => {
                Ok(format!(", {seen}, levels kept from the first pictures: {levels}, {} bits", taken.bits))
            }
            None if brightest < DARK => Err(format!(
                "too dark to tell how many bits the sensor uses (brightest value {brightest}); light it, or set [camera.levels]"
            )),
            None => Ok(format!(", {seen}; the start takes and keeps levels: {}", Levels::of_bits(bits))),
        }
    }
}

fn brightest(image: &Image) -> u16 {
    let values = image.data().chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    if image.format.is_deep() { values.max().unwrap_or(0) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::frame::PixelFormat;

    /// Grey pictures of one value each.
    struct Values(VecDeque<u16>, u64);

    impl Source for Values {
        fn next(&mut self, _: Duration) -> Result<Option<Frame>, SourceError> {
            let Some(value) = self.0.pop_front() else { return Err(SourceError::Ended { camera: "top".into() }) };
            let image = Image::new(1, 1, PixelFormat::Gray16, value.to_le_bytes().to_vec()).expect("a pixel");
            let seq = self.1;
            self.1 += 1;
            Ok(Some(Frame { seq, ..Frame::alone("top", SystemClock.now(), image) }))
        }
        fn stop(&mut self) {}
    }

    fn context() -> SourceContext {
        SourceContext { camera: "top".into(), clock: Arc::new(SystemClock) }
    }

    fn played(spec: &LevelsSpec, values: &[u16]) -> Vec<(u64, Option<u16>, bool)> {
        let inner = Box::new(Values(values.iter().copied().collect(), 0));
        let mut source = Levelled::over(inner, spec.clone(), &context(), First::AsTheyCome).expect("opens");
        let mut seen = Vec::new();
        while let Ok(Some(frame)) = source.next(Duration::from_secs(1)) {
            seen.push((frame.seq, frame.image.levels.map(|levels| levels.white()), frame.image.damaged));
        }
        seen
    }

    #[test]
    fn the_first_pictures_decide_and_the_decision_stays() {
        let folder = tempfile::tempdir().expect("folder");
        let spec = LevelsSpec { file: Some(folder.path().join("levels/top.json")), ..LevelsSpec::default() };
        let twelve = |seq| (seq, Some(4095), false);
        assert_eq!(played(&spec, &[900, 800, 3000, 10, 700]), [0, 1, 2, 3, 4].map(twelve));
        // The next start keeps to it, whatever comes; what 12 bits cannot hold gets no verdict.
        assert_eq!(played(&spec, &[20, 5000]), [(0, Some(4095), false), (1, Some(4095), true)]);
        std::fs::write(spec.file.as_ref().expect("file"), "{").expect("writable");
        let error = Levelled::over(Box::new(Values(VecDeque::new(), 0)), spec, &context(), First::AsTheyCome)
            .err()
            .expect("no guess");
        assert!(error.to_string().contains("does not hold levels") && !error.is_transient(), "{error}");
    }

    #[test]
    fn the_settings_win_and_the_dark_decides_nothing() {
        let set = Arc::new(Levels::new(64, 1000, 1.0).expect("levels"));
        let spec = LevelsSpec { set: Some(set), ..LevelsSpec::default() };
        assert_eq!(played(&spec, &[5, 60_000]), [(0, Some(1000), false), (1, Some(1000), false)]);
        let dark = |seq| (seq, None, true);
        let seen = played(&LevelsSpec::default(), &[1, 2, 3, 4, 600, 5]);
        assert_eq!(seen[..4], [0, 1, 2, 3].map(dark));
        assert_eq!(seen[4..], [(4, Some(1023), false), (5, Some(1023), false)]);
    }

    #[test]
    fn check_says_what_a_start_would_take() {
        let mut source = Values([300, 3100, 200, 500, 65_000].into(), 0);
        let mut glance = Glance::default();
        glance.look(&mut source, Duration::from_secs(1));
        let told = glance.told(&LevelsSpec::default()).expect("bright enough");
        let seen = "12 significant bits (brightest value 3100 in 4 pictures)";
        assert_eq!(told, format!(", {seen}; the start takes and keeps levels: black 0, white 4095, gamma 1"));
    }
}

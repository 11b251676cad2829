//! Golden parts: stored pictures with their right verdicts, judged on request and on a schedule as the camera's frames are.
//!
//! ```text
//! DIRECTORY/CAMERA/test/good/*.png    must pass     (what `vcp-line archive DIR export` and the page's export write)
//! DIRECTORY/CAMERA/test/bad/*.png     must fail
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::activity::give_way;
use crate::clock::{Clock, Moment};
use crate::error_chain;
use crate::line::Trouble;
use crate::line::control::{Control, ControlError};
use crate::source::image_file;
use crate::verdict::Verdict;

/// Golden parts of one camera.
const MOST: usize = 1000;
/// The engine had nothing but parts of the line for so long.
const PATIENCE: Duration = Duration::from_secs(120);
/// A scheduled one that could not be begun is tried again after so long.
const AGAIN: Duration = Duration::from_secs(10);
/// Wrong ones that are named.
const NAMED: usize = 20;
const ALARM: &str = "self_test";

/// Where golden parts lie, and how often they are judged unasked.
#[derive(Clone, Debug, PartialEq)]
pub struct SelfTestSpec {
    /// A folder for each camera.
    pub directory: PathBuf,
    /// From one to the next; `None`: on request only.
    pub every: Option<Duration>,
}

/// Golden parts cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    /// The line says so.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The settings name none.
    #[error("no golden parts; name their folder as directory in [self_test]")]
    NoFolder,
    /// The folder has none for this camera.
    #[error("no golden parts in {path}, in test/good and test/bad; export reviewed parts from the archive to there")]
    None {
        /// The camera's folder.
        path: PathBuf,
    },
    /// More than are judged.
    #[error("{path} has more than {MOST} golden parts; leave fewer there")]
    TooMany {
        /// The camera's folder.
        path: PathBuf,
    },
    /// One at a time.
    #[error("the golden parts of camera '{camera}' are being judged; wait for the end of it")]
    Busy {
        /// Which camera.
        camera: Arc<str>,
    },
    /// No thread to be had.
    #[error("the thread of 'self_test' cannot be started; the system is out of threads")]
    Thread {
        /// What the system said.
        source: std::io::Error,
    },
}

/// What has come of one.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    ended: Timestamp,
    parts: usize,
    right: usize,
    wrong: Vec<Wrong>,
    /// Why it was broken off.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    at: Instant,
}

/// A golden part that is judged wrong.
#[derive(Clone, Debug, Serialize)]
struct Wrong {
    file: String,
    should: &'static str,
    score: Option<f32>,
}

#[derive(Default)]
struct Book {
    running: BTreeSet<Arc<str>>,
    last: BTreeMap<Arc<str>, Outcome>,
    refused: BTreeMap<Arc<str>, Instant>,
    closed: bool,
}

/// Those of a line; shared by whoever begins or shows them.
pub struct SelfTests {
    spec: Option<SelfTestSpec>,
    clock: Arc<dyn Clock>,
    book: Mutex<Book>,
}

/// Hears what has come of it, or why nothing has.
pub type Heard = Box<dyn FnOnce(Result<Value, String>) + Send>;

impl SelfTests {
    pub fn new(spec: Option<SelfTestSpec>, clock: Arc<dyn Clock>) -> Self {
        Self { spec, clock, book: Mutex::default() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Judges the golden parts of this camera in a thread of its own; `heard` hears of the end.
    pub fn begin(
        self: &Arc<Self>,
        control: &Control,
        camera: Option<&str>,
        heard: Heard,
    ) -> Result<Value, SelfTestError> {
        let (camera, _) = control.recipe(camera)?;
        let spec = self.spec.as_ref().ok_or(SelfTestError::NoFolder)?;
        let parts = golden(&spec.directory.join(&*camera))?;
        if !self.book().running.insert(Arc::clone(&camera)) {
            return Err(SelfTestError::Busy { camera });
        }
        let begun = json!({ "camera": camera, "parts": parts.len() });
        let (tests, control, name) = (Arc::clone(self), control.clone(), Arc::clone(&camera));
        let work = move || {
            give_way();
            let outcome = tests.judge(&control, &name, &parts);
            let told = match &outcome.error {
                Some(error) => Err(error.clone()),
                None => serde_json::to_value(&outcome).map_err(|error| error.to_string()),
            };
            tests.ended(&name, outcome);
            heard(told);
        };
        let begin = std::thread::Builder::new().name(ALARM.into()).spawn(work);
        begin.map(|_| begun).map_err(|source| {
            self.book().running.remove(&camera);
            SelfTestError::Thread { source }
        })
    }

    fn judge(&self, control: &Control, camera: &str, parts: &[(PathBuf, bool)]) -> Outcome {
        let Moment { wall, monotonic } = self.clock.now();
        let mut outcome =
            Outcome { ended: wall, parts: parts.len(), right: 0, wrong: Vec::new(), error: None, at: monotonic };
        for (path, good) in parts {
            let until = Instant::now() + PATIENCE;
            let go_on = || !self.book().closed && Instant::now() < until;
            let image = image_file::load_of_sensor(path).map_err(|error| error_chain::one_line(&error));
            let judged = image
                .and_then(|image| control.judge(camera, image, &go_on).map_err(|error| error_chain::one_line(&error)));
            match judged {
                Ok(inspection) if inspection.verdict == (if *good { Verdict::Pass } else { Verdict::Fail }) => {
                    outcome.right += 1;
                }
                Ok(inspection) => outcome.wrong.push(Wrong {
                    file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                    should: if *good { "pass" } else { "fail" },
                    score: inspection.score,
                }),
                Err(error) => {
                    outcome.error = Some(error);
                    break;
                }
            }
        }
        outcome.ended = self.clock.now().wall;
        outcome
    }

    fn ended(&self, camera: &Arc<str>, mut outcome: Outcome) {
        let Outcome { parts, right, .. } = outcome;
        match &outcome.error {
            None => tracing::info!(%camera, parts, right, "golden parts judged"),
            Some(error) => tracing::warn!(%camera, parts, right, "golden parts were not all judged: {error}"),
        }
        outcome.wrong.truncate(NAMED);
        let mut book = self.book();
        book.running.remove(camera);
        book.last.insert(Arc::clone(camera), outcome);
    }

    /// Begins those that are due.
    pub fn look(self: &Arc<Self>, control: &Control) {
        let Some(every) = self.spec.as_ref().and_then(|spec| spec.every) else { return };
        let now = Instant::now();
        for camera in control.names(None).unwrap_or_default() {
            let due = {
                let book = self.book();
                let recent =
                    |at: Option<Instant>, time: Duration| at.is_some_and(|at| now.saturating_duration_since(at) < time);
                let last = book.last.get(&camera);
                let wait = if last.is_some_and(|last| last.error.is_some()) { AGAIN.max(every / 60) } else { every };
                !book.closed
                    && !book.running.contains(&camera)
                    && !recent(last.map(|last| last.at), wait)
                    && !recent(book.refused.get(&camera).copied(), AGAIN)
            };
            // Before the first part there is no frame that a golden one could be like.
            if !due || !control.has_seen(&camera) {
                continue;
            }
            if let Err(error) = self.begin(control, Some(&camera), Box::new(|_| {})) {
                let first = self.book().refused.insert(Arc::clone(&camera), now).is_none();
                if first {
                    tracing::warn!(%camera, "{}", error_chain::one_line(&error));
                }
            }
        }
    }

    /// Alarms of cameras whose last ones were judged wrong.
    pub fn troubles(&self) -> Vec<Trouble> {
        let book = self.book();
        let wrong = book.last.iter().filter(|(_, outcome)| !outcome.wrong.is_empty());
        let told = wrong.map(|(camera, Outcome { parts, right, wrong, .. })| {
            let named: Vec<String> =
                wrong.iter().take(3).map(|Wrong { file, should, .. }| format!("{file} must {should}")).collect();
            let message = format!(
                "camera '{camera}' judges {} of {parts} golden parts wrong: {}{}; look at light and focus, then calibrate \
                 again or roll the recipe back",
                parts - right,
                named.join(", "),
                if wrong.len() > named.len() { ", …" } else { "" }
            );
            Trouble { camera: Arc::clone(camera), kind: ALARM, message }
        });
        told.collect()
    }

    /// What has come of the camera's last one, and whether one is under way; `None` without golden parts in the settings.
    pub fn of(&self, camera: &str) -> Option<Value> {
        self.spec.as_ref()?;
        let book = self.book();
        Some(json!({ "running": book.running.contains(camera), "last": book.last.get(camera) }))
    }

    /// The service ends, and they with it.
    pub fn close(&self) {
        self.book().closed = true;
    }
}

/// The golden parts of a camera's folder, and whether each is good.
fn golden(folder: &Path) -> Result<Vec<(PathBuf, bool)>, SelfTestError> {
    let mut parts = Vec::new();
    for (name, good) in [("good", true), ("bad", false)] {
        let Ok(entries) = std::fs::read_dir(folder.join("test").join(name)) else { continue };
        let files = entries.filter_map(Result::ok).map(|entry| entry.path());
        parts.extend(files.filter(|path| path.is_file() && !is_hidden(path)).take(MOST + 1).map(|path| (path, good)));
    }
    parts.sort();
    match parts.len() {
        0 => Err(SelfTestError::None { path: folder.to_owned() }),
        count if count > MOST => Err(SelfTestError::TooMany { path: folder.to_owned() }),
        _ => Ok(parts),
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

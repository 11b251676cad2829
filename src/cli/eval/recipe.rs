//! `vcp-line eval --recipe`: what a recipe would let escape and reject, judged as its camera judges frames.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::display::{Display, found};
use crate::calibrate::promise::upper_limit;
use crate::cli::engine_arguments::EngineArguments;
use crate::cli::inspect::judge::{self, Judge};
use crate::cli::terminal::{self, note};
use crate::cli::{failure, json_file};
use crate::clock::{Clock, SystemClock};
use crate::dataset::{Dataset, DatasetError, Item, Layout, Split, most_left_out};
use crate::engine::{self, Engine, EngineInfo};
use crate::error_chain;
use crate::event::VerdictWord;
use crate::frame::Frame;
use crate::line::locating::{NotPlaced, Placed};
use crate::line::recipe::no_verdict;
use crate::look::{Asked, LookError, Looker};
use crate::memory::Memory;
use crate::output;
use crate::source::image_file;
use crate::verdict::{Inspection, Verdict};

/// Version of the JSON; a field that is added does not change it.
const SCHEMA: u32 = 1;
/// Confidence of the bounds.
const CONFIDENCE: f64 = 0.95;
/// Characters of a class's name in the table.
const NAME: usize = 16;
/// Escapes and false rejects that are named in text; JSON has all.
const NAMED: usize = 10;

/// What became of parts of one kind.
#[derive(Clone, Copy, Default)]
struct Kind {
    parts: usize,
    passed: usize,
    failed: usize,
}

/// What became of the parts of a class, or of all.
#[derive(Clone, Copy, Default)]
struct Counts {
    good: Kind,
    bad: Kind,
}

impl Kind {
    fn count(&mut self, verdict: Verdict) {
        self.parts += 1;
        self.passed += usize::from(verdict == Verdict::Pass);
        self.failed += usize::from(verdict == Verdict::Fail);
    }

    fn without_verdict(&self) -> usize {
        self.parts - self.passed - self.failed
    }

    fn and(self, other: Self) -> Self {
        let Self { parts, passed, failed } = other;
        Self { parts: self.parts + parts, passed: self.passed + passed, failed: self.failed + failed }
    }
}

impl Counts {
    fn and(self, other: Self) -> Self {
        Self { good: self.good.and(other.good), bad: self.bad.and(other.bad) }
    }

    fn json(&self) -> Value {
        let rate = |count: usize, kind: &Kind| {
            json!({ "count": count, "rate": share(count, kind.parts),
                "at_most": (kind.parts > 0).then(|| upper_limit(count, kind.parts, CONFIDENCE)) })
        };
        let Self { good, bad } = self;
        json!({
            "good": good.parts, "bad": bad.parts,
            "false_rejects": rate(good.failed, good), "escapes": rate(bad.passed, bad),
            "no_verdict": { "good": good.without_verdict(), "bad": bad.without_verdict() },
        })
    }
}

fn share(count: usize, of: usize) -> Option<f64> {
    (of > 0).then(|| count as f64 / of as f64)
}

/// A part whose verdict is not what its label says.
struct Wrong {
    class: String,
    image: String,
    bad: bool,
    inspection: Inspection,
}

/// Labelled pictures, and what of them counts.
pub struct Labelled<'a> {
    /// Root of the data set.
    pub root: &'a Path,
    /// How its files lie.
    pub layout: Layout,
    /// Which part of it.
    pub split: Split,
    /// These classes alone; none are all.
    pub classes: &'a [String],
    /// A picture that cannot be judged ends it.
    pub strict: bool,
    /// More than a tenth of the pictures may be left out.
    pub allow_missing: bool,
}

/// Counts what the recipe of this camera in `file` makes of the pictures; `model` in place of the line's, into `to` as JSON, `-` is standard output.
pub fn run(
    data: &Labelled<'_>,
    file: &Path,
    camera: Option<&str>,
    (model, asked): (Option<&Path>, &EngineArguments),
    to: Option<&Path>,
) -> anyhow::Result<()> {
    let (config, judge) = judge::open(file, camera)?;
    let spec = match model {
        Some(bundle) => asked.spec(bundle, 1),
        None => asked.over(config.engine),
    };
    failure::bundle_there(&spec.bundle)?;
    failure::there("--data", data.root)?;
    let dataset = Dataset::open(data.root, data.layout, data.split)?.only(data.classes)?;
    found(&dataset, data.allow_missing)?;
    let to_stdout = to == Some(Path::new("-"));
    let to_file = to.filter(|_| !to_stdout);
    if let Some(path) = to_file {
        output::check_file(path).with_context(|| format!("writing {}", path.display()))?;
    }
    let memory = judge.memory.as_deref().map(Memory::read).transpose()?;
    let mut engine = engine::open(&spec)?;
    if let Some(memory) = &memory {
        memory.fits(&engine.info().model())?;
        memory.about().fits_view(&judge.view)?;
        engine.hand_out_tokens(true);
    }
    let looker = Looker::new(judge.view.clone());
    let mut line = AsLine { engine: engine.as_mut(), judge, memory, looker };
    let counted = line.count(&dataset, data)?;
    let json = counted.json(data, &dataset, line.engine.info(), &line.judge, line.memory.as_ref());
    if let Some(path) = to_file {
        json_file::write(path, &json)?;
    }
    match to_stdout {
        true => terminal::json(&json, true)?,
        false => terminal::lines(&counted.text(&line.judge)),
    }
    if !counted.left_out.is_empty() {
        let (left_out, all) = (counted.left_out.len(), dataset.len());
        note!("vcp-line: {left_out} of {all} pictures could not be judged and count nowhere; they are named above");
    }
    Ok(())
}

/// Looks and judges as the camera's line does.
struct AsLine<'a> {
    engine: &'a mut dyn Engine,
    judge: Judge,
    memory: Option<Memory>,
    looker: Looker,
}

/// What came of a data set.
#[derive(Default)]
struct Counted {
    classes: Vec<(String, Counts)>,
    wrong: Vec<Wrong>,
    left_out: Vec<Value>,
}

impl AsLine<'_> {
    fn count(&mut self, dataset: &Dataset, data: &Labelled<'_>) -> anyhow::Result<Counted> {
        let mut counted = Counted::default();
        let mut display = Display::new();
        // What was left out before counts as well.
        let all = dataset.len() + dataset.left_out();
        let most = most_left_out(all).saturating_sub(dataset.left_out());
        let (mut done, mut reasons) = (0, Vec::new());
        for class in &dataset.classes {
            let mut counts = Counts::default();
            for item in &class.items {
                match self.verdict(item)? {
                    Ok(inspection) => {
                        let kind = if item.anomalous { &mut counts.bad } else { &mut counts.good };
                        kind.count(inspection.verdict);
                        let right = if item.anomalous { Verdict::Fail } else { Verdict::Pass };
                        if inspection.verdict != right {
                            let (class, image) = (class.name.clone(), item.image.display().to_string());
                            counted.wrong.push(Wrong { class, image, bad: item.anomalous, inspection });
                        }
                    }
                    Err(reason) if data.strict => anyhow::bail!("{reason}"),
                    Err(reason) => {
                        display.say(&format!("vcp-line: {reason}; left out"));
                        let image = item.image.display().to_string();
                        counted.left_out.push(json!({ "image": image, "reason": reason }));
                        reasons.push(reason);
                        if !data.allow_missing && reasons.len() > most {
                            let so_far = reasons.len() + dataset.left_out();
                            return Err(DatasetError::too_many_left_out(so_far, all, reasons).into());
                        }
                    }
                }
                done += 1;
                display.looked(done, dataset.len(), &class.name);
            }
            counted.classes.push((class.name.clone(), counts));
        }
        display.finish();
        Ok(counted)
    }

    /// What the line would say of this picture, or why it says nothing.
    fn verdict(&mut self, item: &Item) -> anyhow::Result<Result<Inspection, String>> {
        let named =
            |error: &dyn std::error::Error| format!("image {}: {}", item.image.display(), error_chain::one_line(error));
        let image = match image_file::load_with(&item.image, self.judge.levels.as_ref()) {
            Ok(image) => image,
            Err(error) => return Ok(Err(error_chain::one_line(&error))),
        };
        let frame = Frame::alone("eval", SystemClock.now(), image);
        let size = (frame.image.width, frame.image.height);
        let placed = match Placed::new(&frame, self.judge.locate.as_ref()) {
            Ok(placed) => placed,
            Err(error @ NotPlaced::Missing) => return Ok(Ok(no_verdict(error.reason()))),
            Err(error @ NotPlaced::Failed(_)) => return Ok(Err(named(&error))),
        };
        let regions = self.judge.spec().regions.clone();
        let asked = Asked { regions: &regions, memory: self.memory.as_ref(), ..Asked::default() };
        let prediction = match self.looker.look(self.engine, placed.seen(), asked, None) {
            Ok(prediction) => prediction,
            Err(LookError::Engine(error)) => return Err(error).with_context(|| item.image.display().to_string()),
            Err(error) => return Ok(Err(named(&error))),
        };
        let judged = self.judge.inspect(&prediction, size).map(|inspection| placed.inspection(inspection));
        Ok(judged.map_err(|error| named(&error)))
    }
}

impl Counted {
    fn all(&self) -> Counts {
        self.classes.iter().fold(Counts::default(), |all, (_, counts)| all.and(*counts))
    }

    fn json(
        &self,
        data: &Labelled<'_>,
        dataset: &Dataset,
        info: &EngineInfo,
        judge: &Judge,
        memory: Option<&Memory>,
    ) -> Value {
        let recipe = judge.spec();
        let wrong = |wrong: &Wrong| {
            let Wrong { class, image, bad, inspection } = wrong;
            json!({ "class": class, "image": image, "label": if *bad { "bad" } else { "good" },
                "verdict": VerdictWord::from(inspection.verdict).word(), "score": inspection.score,
                "defects": inspection.defects.len() })
        };
        let class = |(name, counts): &(String, Counts)| {
            let mut json = counts.json();
            json["class"] = name.as_str().into();
            json
        };
        json!({
            "schema": SCHEMA,
            "data": data.root.display().to_string(),
            "layout": dataset.layout.name(),
            "split": data.split.name(),
            "model": {
                "name": info.model, "sha256": info.sha256,
                "engine": info.engine.to_string(), "precision": info.precision.to_string(),
            },
            "camera": judge.camera,
            "recipe": recipe,
            "view": (!judge.view.is_whole()).then_some(&judge.view),
            "memory": memory.map(|memory| memory.info()),
            "confidence": CONFIDENCE,
            "classes": self.classes.iter().map(class).collect::<Vec<_>>(),
            "all": self.all().json(),
            "wrong": self.wrong.iter().map(wrong).collect::<Vec<_>>(),
            "left_out": self.left_out,
        })
    }

    fn text(&self, judge: &Judge) -> String {
        let recipe = judge.spec();
        let score = recipe.threshold.map(|threshold| format!(", score {threshold}")).unwrap_or_default();
        let mut text = format!(
            "recipe {} version {} of camera {}: map {}{score}, from {} px\n\n",
            recipe.info.id, recipe.info.version, judge.camera, recipe.defect_threshold, recipe.min_area_px
        );
        text.push_str(&table(&self.classes, self.all()));
        text.push('\n');
        text.push_str(&sentences(self.all()));
        for (bad, what) in [(true, "escaped"), (false, "rejected")] {
            let wanted = if bad { Verdict::Pass } else { Verdict::Fail };
            let all: Vec<&Wrong> =
                self.wrong.iter().filter(|wrong| wrong.bad == bad && wrong.inspection.verdict == wanted).collect();
            for wrong in all.iter().take(NAMED) {
                text.push_str(&format!("{what}: {}\n", wrong.image));
            }
            if all.len() > NAMED {
                text.push_str(&format!("{what}: {} more; --json names all\n", all.len() - NAMED));
            }
        }
        text
    }
}

/// Of 80 columns at most.
fn table(classes: &[(String, Counts)], all: Counts) -> String {
    let mut text = format!(
        "{:<NAME$} {:>6} {:>8} {:>6} {:>6} {:>7} {:>6} {:>10}  {}\n",
        "class", "good", "rejected", "%", "bad", "escaped", "%", "no verdict", "result"
    );
    let rule = "─".repeat(80);
    text.push_str(&format!("{rule}\n"));
    let mut row = |name: &str, Counts { good, bad }: Counts| {
        let name: String = match name.chars().count() > NAME {
            true => name.chars().take(NAME - 1).chain(['…']).collect(),
            false => name.to_owned(),
        };
        // Writing to a string cannot fail.
        let written = writeln!(
            text,
            "{name:<NAME$} {:>6} {:>8} {:>6} {:>6} {:>7} {:>6} {:>10}  {}",
            good.parts,
            good.failed,
            percent(share(good.failed, good.parts)),
            bad.parts,
            bad.passed,
            percent(share(bad.passed, bad.parts)),
            good.without_verdict() + bad.without_verdict(),
            match bad {
                Kind { parts: 0, .. } => "–",
                Kind { passed: 0, .. } => "ok",
                Kind { .. } => "FAIL",
            },
        );
        debug_assert!(written.is_ok());
    };
    classes.iter().for_each(|(name, counts)| row(name, *counts));
    if classes.len() > 1 {
        row("all", all);
    }
    text
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{:.1}", share * 100.0))
}

fn sentences(Counts { good, bad }: Counts) -> String {
    let sentence = |what: &str, count: usize, kind: &Kind, which: &str| {
        let most = upper_limit(count, kind.parts, CONFIDENCE);
        format!(
            "{what}: {count} of {} {which} parts, {} %; at most {} % with {:.0} % confidence\n",
            kind.parts,
            percent(share(count, kind.parts)),
            percent(Some(most)),
            CONFIDENCE * 100.0
        )
    };
    let mut text = String::new();
    if good.parts > 0 {
        text.push_str(&sentence("false rejects", good.failed, &good, "good"));
    }
    if bad.parts > 0 {
        text.push_str(&sentence("escapes", bad.passed, &bad, "bad"));
    }
    let none = good.without_verdict() + bad.without_verdict();
    if none > 0 {
        text.push_str(&format!("no verdict: {none} parts, neither passed nor failed\n"));
    }
    text.push_str(match bad {
        Kind { parts: 0, .. } => "no bad part is among them: nothing is known of escapes\n",
        Kind { passed: 0, .. } => "no bad part passes\n",
        Kind { .. } => "FAIL: bad parts pass\n",
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_fits_80_columns_and_says_fail_where_a_bad_part_passes() {
        let kind = |parts, passed, failed| Kind { parts, passed, failed };
        let counts = Counts { good: kind(10_000, 9_000, 1_000), bad: kind(10_000, 2, 9_990) };
        let clean = Counts { good: kind(4, 4, 0), bad: kind(0, 0, 0) };
        let classes = [("a name that is longer than it can be".to_owned(), counts), ("cap".to_owned(), clean)];
        let text = table(&classes, counts.and(clean));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[2].starts_with("a name that is …") && lines[2].ends_with("FAIL"), "{text}");
        assert!(lines[3].ends_with("–          0  –"), "{text}");
        assert!(lines[4].starts_with("all ") && lines[4].contains(" 10004 ") && lines[4].contains(" 8 "), "{text}");
        let said = sentences(counts);
        assert!(said.contains("escapes: 2 of 10000 bad parts, 0.0 %; at most 0.1 % with 95 % confidence"), "{said}");
        assert!(said.ends_with("no verdict: 8 parts, neither passed nor failed\nFAIL: bad parts pass\n"), "{said}");
        assert!(sentences(clean).ends_with("nothing is known of escapes\n"));
    }
}

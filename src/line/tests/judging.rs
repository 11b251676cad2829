//! What frames are judged by: what belongs together is changed together, and what ails it is told.

use super::*;
use crate::drift::{Baseline, Features, GoodPart};
use crate::event::ModelInfo;
use crate::line::judge::judged_by;
use crate::memory::{Learner, Memory, Settings};
use crate::tokens::PatchTokens;
use crate::verdict::{Suspect, Verdict};

fn kinds(line: &Line) -> Vec<(&'static str, String)> {
    line.troubles().into_iter().map(|trouble| (trouble.kind, trouble.message)).collect()
}

#[test]
fn what_does_not_fit_the_frames_gives_way_to_all_that_the_settings_say() {
    let (feed, (mut plan, open)) = camera("a", 8, WhenFull::Wait);
    let lost = |reason: &str| Some(Arc::new(Memory::lost(reason.to_owned())));
    plan.memory = lost("of the settings");
    let mut kept = plan.configured();
    let recipe = RecipeSpec {
        info: RecipeInfo { id: "caps".into(), version: 5 },
        regions: vec![vec![[0.0, 0.0], [90.0, 0.0], [0.0, 60.0]]],
        ..plan.recipe.clone()
    };
    (kept.recipe, kept.memory) = (Arc::new(recipe), lost("of the command"));
    plan.kept = Some(kept);
    let settings = plan.configured();
    let (line, notebook) = start(vec![(plan, open)], None);
    assert_eq!(kinds(&line), [("recipes", "camera 'a' gets no verdicts without its memory: of the command".into())]);
    feed.send(Ok(frame("a", 0, 20))).expect("room");
    until("an event", || notebook.events().len() == 1);
    let (_, used) = line.control().used(None).expect("one camera");
    assert_eq!((&used.recipe, used.has_memory(settings.memory.as_ref())), (&settings.recipe, true));
    assert!(line.control().gave_way("a").expect("a camera"));
    let told = kinds(&line);
    assert_eq!(told[0].1, "camera 'a' gets no verdicts without its memory: of the settings");
    assert!(told[1].1.ends_with("; the recipe of the settings is used again"), "{told:?}");
    let none = Used { memory: None, ..used };
    line.control().change("a", none).expect("without a memory").apply();
    assert_eq!((kinds(&line), line.control().gave_way("a").expect("a camera")), (Vec::new(), false));
    feed.send(Ok(frame("a", 1, 20))).expect("room");
    until("an event", || notebook.events().len() == 2);
    let reasons: Vec<_> = notebook.events().iter().map(|event| event.reason).collect();
    assert_eq!(reasons, [Some(NoVerdictReason::EngineError), None]);
}

#[test]
fn thresholds_that_something_else_has_found_are_told_until_they_are_set_by_hand() {
    let (_feed, (mut plan, open)) = camera("a", 8, WhenFull::Wait);
    let (line, _) = start(vec![camera("b", 8, WhenFull::Wait).1], None);
    let here = line.control().model().clone();
    plan.found_with = Some(ModelInfo { precision: "bf16".into(), ..here });
    let (line, _notebook) = start(vec![(plan, open)], None);
    let told = kinds(&line);
    assert_eq!((told.len(), told[0].0), (1, "thresholds"), "{told:?}");
    assert!(told[0].1.contains("reference bf16, no memory, and parts are judged with 'by-hand'"), "{told:?}");
    let (_, used) = line.control().used(None).expect("one camera");
    let by_hand = Used { found_with: None, ..used };
    line.control().change("a", by_hand).expect("good").apply();
    assert_eq!(kinds(&line), []);
}

#[test]
fn whoever_learns_gets_parts_that_nobody_can_judge_and_whoever_calibrates_does_not() {
    let (feed, (mut plan, open)) = camera("a", 8, WhenFull::Wait);
    plan.memory = Some(Arc::new(Memory::lost("it is gone".into())));
    let (line, notebook) = start(vec![(plan, open)], None);
    let control = line.control();
    let judges = control.judges("a").expect_err("no verdicts").to_string();
    assert!(judges.contains("it is gone"), "{judges}");
    let calibrates = control.hand_over("a", Instant::now(), false).expect("parts");
    feed.send(Ok(frame("a", 0, 20))).expect("room");
    until("an event", || notebook.events().len() == 1);
    assert!(calibrates.next(Duration::from_millis(50)).is_none());
    let learns = control.hand_over("a", Instant::now(), true).expect("parts");
    feed.send(Ok(frame("a", 1, 20))).expect("room");
    let part = learns.next(LONG).expect("a part");
    assert_eq!((part.frame.seq, part.verdict), (1, Verdict::NoVerdict(NoVerdictReason::EngineError)));
    assert!(part.own.is_some());
    until("an event", || notebook.events().len() == 2);
    assert!(notebook.events().iter().all(|event| event.reason == Some(NoVerdictReason::EngineError)));
}

/// Good parts whose pictures are those of `frame(_, _, 20)`, judged by this model with other scores.
fn good_parts(model: &ModelInfo, recipe: &RecipeSpec) -> Arc<Baseline> {
    let image = frame("a", 0, 20).image;
    let part = |i: u8| GoodPart {
        features: Features::of(&image),
        passes: true,
        statistic: None,
        score: Some(0.4 + 0.001 * f32::from(i % 7)),
    };
    let parts: Vec<GoodPart> = (0..60).map(part).collect();
    Arc::new(Baseline::of(&parts).expect("enough").judged_by(judged_by(recipe, model)))
}

#[test]
fn scores_are_compared_with_those_of_the_same_judge_alone() {
    let (line, _) = start(vec![camera("b", 8, WhenFull::Wait).1], None);
    let here = line.control().model().clone();
    let alarmed = |model: ModelInfo| {
        let (feed, (mut plan, open)) = camera("a", 8, WhenFull::Wait);
        plan.picture = Some(good_parts(&model, &plan.recipe));
        let (line, notebook) = start(vec![(plan, open)], None);
        for seq in 0..60 {
            feed.send(Ok(frame("a", seq, 20))).expect("room");
            until("an event", || notebook.events().len() > seq as usize);
            // The picture is looked at beside the line.
            std::thread::sleep(Duration::from_millis(2));
        }
        drop(line);
        notebook.pictures.lock().expect("lock").clone()
    };
    assert_eq!(alarmed(here.clone()), [Suspect::Drift]);
    assert_eq!(alarmed(ModelInfo { precision: "bf16".into(), ..here }), []);
}

#[test]
fn the_end_of_the_thread_that_compares_pictures_ends_the_line() {
    let (line, _) = start(vec![camera("b", 8, WhenFull::Wait).1], None);
    let here = line.control().model().clone();
    let (feed, (mut plan, open)) = camera("a", 8, WhenFull::Wait);
    let recipe = plan.recipe.clone();
    let image = Image::new(16, 12, PixelFormat::Gray8, vec![20; 192]).expect("valid");
    let part = GoodPart { features: Features::of(&image), passes: true, statistic: None, score: None };
    let baseline = Baseline::of(&vec![part; 20]).expect("enough").judged_by(judged_by(&recipe, &here));
    plan.picture = Some(Arc::new(baseline));
    let (mut line, notebook) = start(vec![(plan, open)], None);
    notebook.picture_panics.store(true, Ordering::Relaxed);
    feed.send(Ok(frame("a", 0, 20))).expect("room");
    let end = line.wait(LONG);
    assert!(matches!(&end, Some(LineEnd::Failed(LineError::Panicked { thread })) if thread == WATCH), "{end:?}");
    assert_eq!(notebook.events().len(), 1);
}

/// A memory of this line's model, made of pictures of this size.
pub(super) fn learnt(model: &ModelInfo, size: (u32, u32)) -> Arc<Memory> {
    let (now, by) = (Timestamp::UNIX_EPOCH, "test".to_owned());
    let settings = Settings { model: model.clone(), size: 4, sigma: 1.0, pictures_of_tokens: 1, by, now };
    let mut learner = Learner::new(settings);
    let tokens = |i: u8| PatchTokens::new(2, 2, vec![[1.0, f32::from(i) / 10.0].repeat(4)]);
    for i in 0..3 {
        learner.take(&tokens(i), 0.1 + f32::from(i) / 100.0, size).expect("a good part");
    }
    Arc::new(learner.finish().expect("a memory"))
}

#[test]
fn a_memory_of_pictures_of_another_shape_is_refused_and_told_where_it_is_in_use() {
    let (feed, (mut plan, open)) = camera("a", 8, WhenFull::Wait);
    let (line, _) = start(vec![camera("b", 8, WhenFull::Wait).1], None);
    let here = line.control().model().clone();
    let square = learnt(&here, (480, 480));
    plan.memory = Some(Arc::clone(&square));
    let (line, notebook) = start(vec![(plan, open)], None);
    assert_eq!(kinds(&line), [], "nobody knows yet which frames will come");
    feed.send(Ok(frame("a", 0, 20))).expect("room");
    until("an event", || notebook.events().len() == 1);
    let told = kinds(&line);
    assert!(told.len() == 1 && told[0].0 == "recipes", "{told:?}");
    assert!(told[0].1.contains("pictures of 480x480, here it is 8x6"), "{told:?}");
    let (_, used) = line.control().used(None).expect("one camera");
    let with = |memory| Used { memory, ..used.clone() };
    line.control().change("a", with(None)).expect("without").apply();
    assert_eq!(kinds(&line), []);
    let refused = line.control().change("a", with(Some(square))).err().expect("refused").to_string();
    assert!(refused.starts_with("camera 'a': the memory ") && refused.ends_with("memory in use stay"), "{refused}");
    let other = ModelInfo { precision: "bf16".into(), ..here.clone() };
    assert!(line.control().change("a", with(Some(learnt(&other, (640, 480))))).is_err());
    line.control().change("a", with(Some(learnt(&here, (640, 480))))).expect("it fits").apply();
    assert_eq!(kinds(&line), []);
}

//! What is kept goes with its product, and a way back leads to what was in use.

use std::time::Duration;

use super::*;
use crate::line::parts::TriggerPlan;
use crate::line::queue::WhenFull;

fn plan(version: u32) -> CameraPlan {
    CameraPlan {
        view: crate::view::ViewSpec::default(),
        name: "top".into(),
        queue: 1,
        when_full: WhenFull::Reject,
        trigger: TriggerPlan::free(),
        recipe: RecipeSpec {
            info: RecipeInfo { id: "caps".into(), version },
            threshold: None,
            defect_threshold: 0.5,
            min_area_px: 1,
            regions: vec![vec![[0.0, 0.0], [9.5, 0.0], [0.0, 9.0]]],
        },
        kept: None,
        memory: None,
        found_with: None,
        picture: None,
        locate: None,
        backoff_min: Duration::from_secs(1),
        backoff_max: Duration::from_secs(1),
    }
}

fn keep(kept: &mut KeptRecipes, recipe: RecipeSpec, by_hand: bool) -> Result<RecipeSpec, KeptError> {
    let used = Used { recipe: Arc::new(kept.used("top")?.clone()), ..plan(1).configured() };
    let (used, with) = kept.next("top", &used, Wish { recipe, version: false, by_hand, without_memory: false })?;
    kept.keep([("top", &*used.recipe, with)].into_iter())?;
    Ok(RecipeSpec::clone(&used.recipe))
}

fn caps(defect_threshold: f32) -> RecipeSpec {
    RecipeSpec { defect_threshold, ..plan(1).recipe }
}

fn lids() -> RecipeSpec {
    RecipeSpec { info: RecipeInfo { id: "lids".into(), version: 1 }, ..plan(1).recipe }
}

fn model(precision: &str) -> ModelInfo {
    let text = |text: &str| text.to_owned();
    let (engine, memory) = (text("reference"), None);
    ModelInfo { name: text("m"), sha256: text("00"), engine, precision: text(precision), memory }
}

/// A memory of this name, as `learn` would keep it; its file holds nothing.
fn learn(kept: &mut KeptRecipes, name: &str) {
    let mut of_camera = kept.of_camera("top").expect("a camera");
    let with = With { memory: Some(name.into()), ..of_camera.with.clone() };
    of_camera.put(of_camera.recipe.clone(), with);
    let mut all = kept.kept.clone();
    all.insert("top".into(), of_camera);
    kept.replace(all).expect("kept");
}

fn memory(kept: &KeptRecipes) -> Option<String> {
    kept.with("top").expect("a camera").memory
}

#[test]
fn a_recipe_is_kept_until_the_settings_change() {
    let folder = tempfile::tempdir().expect("temp dir");
    let state = folder.path().join("state");
    let mut first = plan(1);
    let mut kept = KeptRecipes::open(Some(&state), &mut [&mut first]);
    assert!(first.kept.is_none());
    let new = keep(&mut kept, caps(0.7), true).expect("kept");

    let mut second = plan(1);
    KeptRecipes::open(Some(&state), &mut [&mut second]);
    assert_eq!(*second.kept.expect("kept").recipe, new);
    let mut changed = plan(1);
    changed.recipe.min_area_px = 7;
    KeptRecipes::open(Some(&state), &mut [&mut changed]);
    assert!(changed.kept.is_none());

    fs::write(state.join(FILE), "{\"top\": 7").expect("written");
    let mut damaged = plan(1);
    KeptRecipes::open(Some(&state), &mut [&mut damaged]);
    assert!(damaged.kept.is_none());
}

#[test]
fn it_is_noted_since_when_a_recipe_is_used_and_whose_doing_that_was() {
    let folder = tempfile::tempdir().expect("temp dir");
    let state = Some(folder.path());
    let mut kept = KeptRecipes::open(state, &mut [&mut plan(1)]);
    let who = |command: &str| Who { via: Via::Mqtt, command: Some(command.into()), user: None };
    let before = crate::clock::Clock::now(&crate::clock::SystemClock).wall;
    kept.changed_by(By::Command, Some(&who("c-1")));
    keep(&mut kept, caps(0.6), true).expect("kept");
    let calibrated = RecipeSpec { info: RecipeInfo { id: "caps".into(), version: 3 }, ..caps(0.7) };
    kept.changed_by(By::Calibration, None);
    kept.keep_calibrated("top", &calibrated, &model("fp32"), None).expect("kept");
    kept.changed_by(By::Rollback, Some(&who("c-2")));
    kept.roll_back("top", 0).expect("back");
    // Only what has changed is anybody's doing.
    let all = kept.kept.clone();
    kept.changed_by(By::Settings, None);
    kept.replace(all.clone()).expect("kept");
    assert_eq!(kept.kept, all);

    let history = recipe_history(state, &plan(1)).expect("read");
    let told: Vec<_> = history
        .iter()
        .map(|was| (was.recipe.info.version, was.since.as_ref().map(ToString::to_string).unwrap_or_default()))
        .collect();
    let said = |text: &str| text.to_owned();
    assert_eq!(
        told,
        [
            (1, said("")),
            (2, said("command, MQTT, id c-1")),
            (3, said("calibration")),
            (4, said("rollback, MQTT, id c-2"))
        ],
        "also what a way back has left"
    );
    let times: Vec<_> = history.iter().filter_map(|was| was.since.as_ref()).map(|since| since.at).collect();
    assert!(times.is_sorted() && times[0] >= before, "{times:?}");
    let text = fs::read_to_string(folder.path().join(FILE)).expect("read");
    let at = times[2].to_string();
    assert!(at.ends_with('Z') && text.contains(&format!("\"at\": \"{at}\"")), "{text}");
    // Other settings are used, and what was before is known.
    let other = CameraPlan { recipe: RecipeSpec { min_area_px: 7, ..plan(1).recipe }, ..plan(1) };
    let history = recipe_history(state, &other).expect("read");
    assert_eq!(history.iter().map(|was| was.recipe.min_area_px).collect::<Vec<_>>(), [1, 1, 1, 1, 7]);
    let mut other = other;
    let mut kept = KeptRecipes::open(state, &mut [&mut other]);
    kept.changed_by(By::Command, None);
    keep(&mut kept, caps(0.9), true).expect("kept");
    assert_eq!(recipe_history(state, &other).expect("read").len(), 6, "nothing is forgotten");
}

#[test]
fn what_happens_to_one_camera_is_not_in_the_history_of_another() {
    let folder = tempfile::tempdir().expect("temp dir");
    let state = Some(folder.path());
    let side = || CameraPlan { name: "side".into(), ..plan(1) };
    let mut kept = KeptRecipes::open(state, &mut [&mut plan(1), &mut side()]);
    kept.changed_by(By::Command, None);
    keep(&mut kept, caps(0.6), true).expect("kept");
    // The settings of this camera are others now, and win over what came by command.
    let mut other = CameraPlan { recipe: RecipeSpec { min_area_px: 7, ..plan(1).recipe }, ..plan(1) };
    let mut kept = KeptRecipes::open(state, &mut [&mut other, &mut side()]);
    let before = recipe_history(state, &other).expect("read");
    for defect_threshold in [0.7, 0.8] {
        let used = Used { recipe: Arc::new(kept.used("side").expect("a camera").clone()), ..side().configured() };
        let wish = Wish { recipe: caps(defect_threshold), version: false, by_hand: true, without_memory: false };
        let (used, with) = kept.next("side", &used, wish).expect("fits");
        kept.changed_by(By::Command, None);
        kept.keep([("side", &*used.recipe, with)].into_iter()).expect("kept");
    }
    let after = recipe_history(state, &other).expect("read");
    let said = |history: &[Before]| serde_json::to_value(history).expect("JSON");
    assert_eq!(said(&after), said(&before));
}

#[test]
fn a_way_back_leads_to_the_recipes_before_as_new_versions() {
    let folder = tempfile::tempdir().expect("temp dir");
    let state = Some(folder.path());
    let mut kept = KeptRecipes::open(state, &mut [&mut plan(1)]);
    let told = kept.roll_back("top", 0).expect_err("nothing before").to_string();
    assert!(told.contains("recipe 'caps' version 1 is in use, and none was before it"), "{told}");
    for (version, defect_threshold) in [(2, 0.6), (3, 0.7)] {
        assert_eq!(keep(&mut kept, caps(defect_threshold), true).expect("kept").info.version, version);
    }
    let mut kept = KeptRecipes::open(state, &mut [&mut plan(1)]);
    let back = kept.roll_back("top", 0).expect("back");
    assert_eq!((back.info.version, back.defect_threshold), (4, 0.6));
    assert_eq!(recipe_in_use(state, &plan(1)).expect("read"), back);
    let back = kept.roll_back("top", 0).expect("back");
    assert_eq!((back.info.version, back.defect_threshold), (5, 0.5));
    assert!(matches!(kept.roll_back("top", 0), Err(KeptError::NothingBefore { version: 5, .. })));
    let mut started = plan(1);
    KeptRecipes::open(state, &mut [&mut started]);
    assert_eq!(*started.kept.expect("kept").recipe, back);
    // Changed settings win, and nothing leads back behind them.
    let mut changed = plan(1);
    changed.recipe.min_area_px = 7;
    assert_eq!(recipe_in_use(state, &changed).expect("read"), changed.recipe);
    let mut kept = KeptRecipes::open(state, &mut [&mut changed]);
    assert!(matches!(kept.roll_back("top", 0), Err(KeptError::NothingBefore { version: 1, .. })));
}

#[test]
fn a_memory_goes_with_its_product_however_often_recipes_change() {
    let mut kept = KeptRecipes::open(None, &mut [&mut plan(1)]);
    keep(&mut kept, caps(0.6), true).expect("kept");
    learn(&mut kept, "top-7.memory");
    keep(&mut kept, caps(0.7), true).expect("kept");
    assert_eq!(memory(&kept).as_deref(), Some("top-7.memory"));
    keep(&mut kept, lids(), true).expect("kept");
    assert_eq!(memory(&kept), None);
    learn(&mut kept, "top-8.memory");
    keep(&mut kept, caps(0.7), true).expect("kept");
    assert_eq!(memory(&kept).as_deref(), Some("top-7.memory"), "the product is back");
    // More changes than a way back leads over, and a way back from another product.
    for number in 0..30_u8 {
        keep(&mut kept, caps(f32::from(number) / 100.0), true).expect("kept");
    }
    keep(&mut kept, lids(), true).expect("kept");
    assert_eq!(memory(&kept).as_deref(), Some("top-8.memory"));
    assert_eq!(kept.roll_back("top", 0).expect("back").info.id, "caps");
    assert_eq!(memory(&kept).as_deref(), Some("top-7.memory"));
    let again = keep(&mut kept, lids(), true).expect("kept");
    assert_eq!(memory(&kept).as_deref(), Some("top-8.memory"), "it was not forgotten by going back");
    assert_eq!(again.info.version, 3, "a version never means two recipes");
    let known: Vec<_> = kept.kept["top"].memories().cloned().collect();
    assert!(["top-7.memory", "top-8.memory"].iter().all(|name| known.iter().any(|known| known == name)));
}

#[test]
fn what_thresholds_were_found_with_goes_with_them_until_they_are_set_by_hand() {
    let folder = tempfile::tempdir().expect("temp dir");
    let state = Some(folder.path());
    let found_with = |kept: &KeptRecipes| kept.with("top").expect("a camera").found_with.map(|model| model.precision);
    let mut kept = KeptRecipes::open(state, &mut [&mut plan(1)]);
    let calibrated = RecipeSpec { info: RecipeInfo { id: "caps".into(), version: 2 }, ..caps(0.3) };
    let file = folder.path().join("calibrations/top/caps/v2.json");
    kept.keep_calibrated("top", &calibrated, &model("fp32"), Some(&file)).expect("kept");
    let with = kept.with("top").expect("a camera");
    assert_eq!(with.good_parts.as_deref(), Some(Path::new("calibrations/top/caps/v2.json")));
    assert_eq!(found_with(&kept).as_deref(), Some("fp32"));

    let mut started = plan(1);
    let mut kept = KeptRecipes::open(state, &mut [&mut started]);
    assert_eq!(started.kept.expect("kept").found_with, Some(model("fp32")));
    keep(&mut kept, caps(0.3), false).expect("one threshold of two was set");
    assert_eq!(found_with(&kept).as_deref(), Some("fp32"));
    keep(&mut kept, caps(0.4), true).expect("kept");
    assert_eq!(found_with(&kept), None);
    kept.roll_back("top", 0).expect("back");
    assert_eq!(found_with(&kept).as_deref(), Some("fp32"));
    keep(&mut kept, lids(), true).expect("kept");
    assert_eq!(found_with(&kept), None);
    keep(&mut kept, caps(0.3), true).expect("kept");
    let with = kept.with("top").expect("a camera");
    assert!(with.good_parts.is_some() && with.found_with.is_none(), "its pictures are those of the product: {with:?}");
}

#[test]
fn what_does_not_fit_gives_way_to_all_that_the_settings_say_and_its_version_is_not_used_again() {
    let mut settings = CameraPlan { found_with: Some(model("bf16")), ..plan(1) };
    let mut kept = KeptRecipes::open(None, &mut [&mut settings]);
    keep(&mut kept, caps(0.6), true).expect("kept");
    learn(&mut kept, "top-7.memory");
    kept.give_way("top").expect("kept");
    assert_eq!(*kept.used("top").expect("a camera"), plan(1).recipe);
    let with = kept.with("top").expect("a camera");
    assert_eq!((with.memory, with.found_with), (None, Some(model("bf16"))));
    kept.give_way("top").expect("again");
    assert_eq!(keep(&mut kept, caps(0.7), true).expect("kept").info.version, 3);
    kept.roll_back("top", 1).expect("behind the settings");
    assert_eq!((memory(&kept).as_deref(), kept.used("top").expect("used").info.version), (Some("top-7.memory"), 4));
}

#[test]
fn files_of_earlier_versions_are_read_and_half_written_ones_taken_away() {
    let folder = tempfile::tempdir().expect("temp dir");
    let recipe = |id: &str, version: u32| {
        serde_json::json!({ "info": { "id": id, "version": version }, "threshold": null, "defect_threshold": 0.5,
            "min_area_px": 1, "regions": plan(1).recipe.regions })
    };
    let mut before = recipe("lids", 4);
    before["memory"] = "top-9.memory".into();
    let file = serde_json::json!({ "top": { "configured": recipe("caps", 1), "recipe": recipe("caps", 3),
        "before": [before] } });
    fs::write(folder.path().join(FILE), file.to_string()).expect("written");
    let memories = folder.path().join(MEMORIES);
    fs::create_dir(&memories).expect("made");
    let half = [memories.join(".top-9.memory.x8Y.partial"), folder.path().join(".recipes.json.a1B.partial")];
    half.iter().for_each(|file| fs::write(file, "half").expect("written"));
    let mut kept = KeptRecipes::open(Some(folder.path()), &mut [&mut plan(1)]);
    assert!(half.iter().all(|file| !file.exists()));
    assert_eq!(kept.newest("top", "caps"), 3);
    let error = keep(&mut kept, lids(), true).expect_err("the file is not there").to_string();
    assert!(error.contains("no memory at ") && error.contains("top-9.memory"), "{error}");
    let used = plan(1).configured();
    let wish = Wish { recipe: lids(), version: false, by_hand: true, without_memory: true };
    let (used, with) = kept.next("top", &used, wish).expect("without it");
    assert!(used.memory.is_none() && with.without_memory && used.recipe.info.version == 5, "{with:?}");
}

#[test]
fn what_cannot_be_written_changes_nothing() {
    let folder = tempfile::tempdir().expect("temp dir");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("written");
    let mut kept = KeptRecipes::open(Some(&file), &mut [&mut plan(1)]);
    let error = keep(&mut kept, caps(0.6), true).expect_err("no folder");
    assert!(error.to_string().starts_with("the recipe in use stays, the new one cannot be kept: writing "));
    assert!(kept.kept.is_empty());
}

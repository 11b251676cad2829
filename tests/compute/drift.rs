//! Whether changes of the picture are found, and nothing where there is none: on pictures of synthetic products, and over
//! millions of good parts.

use std::sync::Arc;

use crate::support::shots::{Product, SAME, Setup};
use vcp_line::dice::Dice;
use vcp_line::drift::{Baseline, BaselineError, Features, GoodPart, Measure, Seen, Watch};
use vcp_line::frame::{Image, PixelFormat};
use vcp_line::synth::{Class, Request, render};
use vcp_line::verdict::Suspect;

const PASSED: Seen = Seen { passes: true, statistic: None, score: None };
const SIDE: u32 = 128;

fn good(image: &Image) -> GoodPart {
    GoodPart { features: Features::of(image), passes: true, statistic: None, score: None }
}

fn baseline(product: &Product, parts: usize, dice: &mut Dice) -> Arc<Baseline> {
    let parts: Vec<GoodPart> = (0..parts).map(|_| good(&product.shot(SAME, dice))).collect();
    Arc::new(Baseline::of(&parts).unwrap())
}

/// The parts after which alarms begin, of so many parts.
fn alarms(
    baseline: &Arc<Baseline>,
    product: &Product,
    setup: Setup,
    parts: usize,
    dice: &mut Dice,
) -> Vec<(usize, Suspect)> {
    let mut watch = Watch::new(Arc::clone(baseline));
    let mut begun = Vec::new();
    for part in 1..=parts {
        let changes = watch.look(&Features::of(&product.shot(setup, dice)), PASSED);
        begun
            .extend(changes.into_iter().filter(|change| change.message.is_some()).map(|change| (part, change.suspect)));
    }
    begun
}

#[test]
fn light_focus_position_and_lens_are_alarmed_within_thirty_parts() {
    let changed = [
        ("brightness -15 %", Setup { gain: 0.85, ..SAME }, Suspect::Light),
        ("brightness +15 %", Setup { gain: 1.15, ..SAME }, Suspect::Light),
        ("a defocus of 1 pixel", Setup { blur: 1.0, ..SAME }, Suspect::Focus),
        ("a shift of 2 %", Setup { shift: 0.02, ..SAME }, Suspect::Position),
        ("another lens", Setup { scale: 1.03, blur: 0.6, ..SAME }, Suspect::Focus),
    ];
    for (class, seed) in [(Class::Ring, 77), (Class::Connector, 77), (Class::Leather, 77), (Class::Keycap, 78)] {
        let (product, mut dice) = (Product::new(class, SIDE, seed), Dice::new(seed, [1, 2, 3]));
        let baseline = baseline(&product, 60, &mut dice);
        let none = alarms(&baseline, &product, SAME, 60, &mut dice);
        assert!(none.is_empty(), "{class:?}: {none:?} without a change");
        for (what, setup, suspect) in changed {
            let begun = alarms(&baseline, &product, setup, 30, &mut dice);
            assert!(begun.iter().any(|(_, found)| *found == suspect), "{class:?}, {what}: {begun:?}");
        }
    }
}

/// Every part another design, elsewhere, in another light: defocus is found all the same, and position is not watched.
#[test]
fn parts_that_lie_differently_have_no_position_and_a_focus_all_the_same() {
    let grey = |index: u64| {
        let sample = render(&Request { class: Class::Ring, size: SIDE, defect: None, seed: 4000 + index });
        sample.rgb.chunks_exact(3).map(|p| (u32::from(p[0]) + u32::from(p[1]) + u32::from(p[2])) as u8 / 3).collect()
    };
    let image = |index| Image::new(SIDE, SIDE, PixelFormat::Gray8, grey(index)).unwrap();
    let parts: Vec<GoodPart> = (0..100).map(|index| good(&image(index))).collect();
    let baseline = Arc::new(Baseline::of(&parts).unwrap());
    let unwatched = |measure| baseline.unwatched().iter().find(|one| one.measure == measure).map(|one| one.why.clone());
    let why = unwatched(Measure::Across).expect("position means nothing");
    assert!(why.contains("their position means nothing"), "{why}");
    assert!(unwatched(Measure::Likeness).is_some() && unwatched(Measure::Sharpness).is_none());
    let mut watch = Watch::new(Arc::clone(&baseline));
    let soft = |index: u64| {
        let image = image(index);
        let at = |x: usize, y: usize| u32::from(image.data()[y.min(127) * 128 + x.min(127)]);
        // Binomial twice: a deviation of 1 pixel.
        let cross = |x: usize, y: usize| {
            let side = |x: usize, y: usize| at(x.saturating_sub(1), y) + 2 * at(x, y) + at(x + 1, y);
            side(x, y.saturating_sub(1)) + 2 * side(x, y) + side(x, y + 1)
        };
        let bytes = (0..128 * 128).map(|i| {
            let (x, y): (usize, usize) = (i % 128, i / 128);
            let wide = cross(x.saturating_sub(1), y) + 2 * cross(x, y) + cross(x + 1, y);
            ((wide + 32) / 64) as u8
        });
        Image::new(SIDE, SIDE, PixelFormat::Gray8, bytes.collect()).unwrap()
    };
    let begun: Vec<_> = (0..30).flat_map(|index| watch.look(&Features::of(&soft(900 + index)), PASSED)).collect();
    assert!(begun.iter().any(|change| change.suspect == Suspect::Focus), "{begun:?}");
}

/// A million good parts, drawn from what 400 pictures of a product measure, with statistics and scores of skewed and of
/// discrete distribution: by the promise 10 false alarms at most, in fact hardly one.
#[test]
fn a_million_good_parts_give_hardly_a_false_alarm() {
    let (product, mut dice) = (Product::new(Class::Ring, 64, 77), Dice::new(11, [5, 5, 5]));
    let mut part = || GoodPart {
        statistic: Some((0.1 * (0.5 * dice.normal()).exp()) as f32),
        score: Some((20.0 * (0.6 + 0.05 * dice.normal())).round() as f32 / 20.0),
        ..good(&product.shot(SAME, &mut dice))
    };
    let pool: Vec<GoodPart> = (0..400).map(|_| part()).collect();
    let mut dice = Dice::new(12, [5, 5, 5]);
    let drawn: Vec<GoodPart> = (0..100).map(|_| pool[dice.below(pool.len())].clone()).collect();
    let baseline = Arc::new(Baseline::of(&drawn).unwrap());
    assert_eq!(baseline.watched().len(), Measure::ALL.len(), "{:?}", baseline.unwatched());
    let mut watch = Watch::new(Arc::clone(&baseline));
    let seen = |part: &GoodPart| Seen { passes: true, statistic: part.statistic, score: part.score };
    let measured: Vec<Vec<Option<f32>>> = pool.iter().map(|part| watch.measure(&part.features, seen(part))).collect();
    let mut begun = 0;
    for _ in 0..1_000_000 {
        let changes = watch.step(&measured[dice.below(measured.len())]);
        begun += changes.iter().filter(|change| change.message.is_some()).count();
    }
    println!("{begun} false alarms in 1,000,000 good parts");
    assert!(begun <= 10, "{begun}");
}

#[test]
fn a_baseline_outlives_its_file_and_refuses_what_is_none() {
    let (product, mut dice) = (Product::new(Class::Connector, 64, 77), Dice::new(2, [0, 0, 1]));
    let made = baseline(&product, 20, &mut dice);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calibration.json");
    let write = |text: String| std::fs::write(&file, text).unwrap();
    write(serde_json::json!({ "schema": 1, "picture": &*made }).to_string());
    let read = Baseline::read(&file).unwrap().expect("a section");
    assert_eq!((read.parts(), read.size(), read.watched()), (20, (64, 64), made.watched()));
    write("{\"schema\": 1}".into());
    assert!(Baseline::read(&file).unwrap().is_none());
    let mut other = serde_json::json!({ "picture": &*made });
    other["picture"]["version"] = 2.into();
    write(other.to_string());
    let said = Baseline::read(&file).unwrap_err().to_string();
    assert!(said.contains("version 2") && said.ends_with("`vcp-line calibrate`"), "{said}");
    other["picture"]["version"] = 1.into();
    other["picture"]["watched"][0]["quantiles"] = serde_json::json!([2.0, 1.0]);
    write(other.to_string());
    assert!(Baseline::read(&file).unwrap_err().to_string().contains("that no good parts have"));

    let few: Vec<GoodPart> = (0..9).map(|_| good(&product.shot(SAME, &mut dice))).collect();
    assert!(matches!(Baseline::of(&few), Err(BaselineError::TooFew { parts: 9 })));
    let mut mixed: Vec<GoodPart> = (0..12).map(|_| good(&product.shot(SAME, &mut dice))).collect();
    mixed[7] = good(&Image::new(8, 9, PixelFormat::Gray8, vec![0; 72]).unwrap());
    let said = Baseline::of(&mixed).unwrap_err().to_string();
    assert!(said.contains("(64, 64)") && said.contains("(8, 9)"), "{said}");
}

#[test]
fn pictures_of_another_size_are_a_drift_until_the_right_ones_come() {
    let (product, mut dice) = (Product::new(Class::Ring, 64, 77), Dice::new(3, [0, 0, 1]));
    let baseline = baseline(&product, 20, &mut dice);
    let mut watch = Watch::new(baseline);
    let other = Features::of(&Image::new(32, 64, PixelFormat::Gray8, vec![9; 2048]).unwrap());
    let begun = watch.look(&other, PASSED);
    assert_eq!(begun.len(), 1);
    assert!(
        begun[0].message.as_deref().is_some_and(|text| text.contains("pictures of 32x64 pixels come")),
        "{begun:?}"
    );
    assert!(watch.look(&other, PASSED).is_empty() && watch.stands(Suspect::Drift));
    let over = watch.look(&Features::of(&product.shot(SAME, &mut dice)), PASSED);
    assert_eq!((over.len(), over[0].suspect, over[0].message.clone()), (1, Suspect::Drift, None));
}

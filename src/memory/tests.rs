//! A memory from the first good part to its file and back.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;

use super::fusion::Weights;
use super::{Learner, Memory, MemoryError, Settings};
use crate::anomaly::{AnomalyMap, Fetch, Prediction, StageTimes};
use crate::dice::Dice;
use crate::event::ModelInfo;
use crate::tokens::{FetchTokens, Known, PatchTokens};

const GRID: usize = 6;
const WIDTH: usize = 20;
const TAPS: usize = 2;
const SIZE: usize = 48;

fn settings(pictures_of_tokens: usize) -> Settings {
    let model = ModelInfo {
        name: "tiny".into(),
        sha256: "0f".repeat(32),
        engine: "reference".into(),
        precision: "fp32".into(),
        memory: None,
    };
    Settings { model, size: SIZE, sigma: 2.0, pictures_of_tokens, by: "test".into(), now: Timestamp::UNIX_EPOCH }
}

/// A part whose patches look like those of its kind with some noise; `odd` patches look like nothing known.
fn part(number: u64, odd: &[usize]) -> PatchTokens {
    let taps = (0..TAPS as u64).map(|tap| {
        let mut kind = Dice::new(1, [tap, 0, 0]);
        let mut own = Dice::new(2, [tap, number, 0]);
        let patch = |patch: usize| {
            let plain: Vec<f32> = (0..WIDTH).map(|_| kind.normal() as f32).collect();
            let noise = |own: &mut Dice| own.normal() as f32;
            let strange = odd.contains(&patch);
            plain.iter().map(|x| if strange { noise(&mut own) } else { x + 0.2 * noise(&mut own) }).collect::<Vec<_>>()
        };
        (0..GRID * GRID).flat_map(patch).collect()
    });
    PatchTokens::new(GRID, WIDTH, taps.collect())
}

fn answer(tokens: PatchTokens, level: f32, score: f32) -> Prediction {
    let map = AnomalyMap::new(SIZE, vec![level; SIZE * SIZE]);
    Prediction { map, score, times: StageTimes::default(), tokens: Some(tokens) }
}

fn learnt(parts: u64, pictures_of_tokens: usize) -> Memory {
    let mut learner = Learner::new(settings(pictures_of_tokens));
    for number in 0..parts {
        learner.take(&part(number, &[]), 0.1 + 0.01 * number as f32, (640, 480)).expect("a good part");
    }
    learner.finish().expect("a memory")
}

fn at(map: &AnomalyMap, patch: usize) -> f32 {
    let place = |along: usize| along * (SIZE - 1) / (GRID - 1);
    map.values()[place(patch / GRID) * SIZE + place(patch % GRID)]
}

#[test]
fn what_no_good_part_has_stands_out_and_the_rest_does_not() {
    for parts in [2, 4, 16, 40] {
        let memory = learnt(parts, 4);
        let look = |odd: &[usize]| memory.look(answer(part(1000, odd), 0.2, 0.5), (640, 480)).expect("looked");
        let (good, bad) = (look(&[]), look(&[14, 15]));
        assert!(
            at(&bad.map, 14) > at(&good.map, 14) + if parts < 4 { 0.001 } else { 0.01 },
            "{parts} parts: {}",
            at(&bad.map, 14)
        );
        // Far from it nothing changes, and what looks good is no more anomalous than the model says.
        assert!((at(&bad.map, 35) - at(&good.map, 35)).abs() < 1e-3, "{parts} parts");
        assert!(good.map.peak() <= 0.22, "{parts} parts: {}", good.map.peak());
        assert!(bad.score > good.score + 0.05, "{parts} parts: {} {}", bad.score, good.score);
        assert!(bad.tokens.is_none(), "tokens are used up");
    }
}

#[test]
fn one_part_speaks_softly() {
    let memory = learnt(1, 4);
    let bad = memory.look(answer(part(1000, &[14]), 0.2, 0.5), (640, 480)).expect("looked");
    assert!(bad.map.values().iter().all(|value| (value - 0.2).abs() < 0.05));
    assert_eq!(bad.score, 0.5);
}

#[test]
fn a_part_is_never_compared_with_itself() {
    // Three copies that are called different parts know each other; of different parts none knows the others that well.
    let means = |numbers: [u64; 3]| {
        let mut learner = Learner::new(settings(4));
        for number in numbers {
            learner.take(&part(number, &[]), 0.1, (640, 480)).expect("a good part");
        }
        serde_json::to_value(learner.finish().expect("a memory").fusion()).expect("JSON")["means"][0].as_f64()
    };
    assert!(means([7, 7, 7]).expect("a mean") < 1e-3);
    assert!(means([7, 8, 9]).expect("a mean") > 0.01);
}

#[test]
fn weights_grow_with_the_parts_and_the_memory_takes_over_where_the_model_is_unsure() {
    let close = |a: f32, b: f32| (a - b).abs() < 1e-6;
    let few = Weights::of(4, 0.5);
    assert!(close(few.map, 0.15 * 3.0 / 15.0) && close(few.score, 0.35 * 0.25) && few.own == 0.0 && few.alone == 0.0);
    let many = Weights::of(16, 1.0);
    assert!(close(many.own, 0.5) && close(many.alone, 0.02) && close(many.map, 0.15));
    assert_eq!(Weights::of(200, 1.0), many);
    assert!(Weights::of(16, 0.01).own < 0.011, "a model that is sure of good parts is believed");
}

#[test]
fn many_parts_take_no_more_room_than_few() {
    for parts in [4, 5, 60] {
        assert_eq!(learnt(parts, 4).about().tokens, [4 * GRID * GRID; TAPS], "{parts} parts");
    }
    assert_eq!(learnt(3, 4).about().tokens, [3 * GRID * GRID; TAPS]);
    assert_eq!(learnt(60, 4).about().id, learnt(60, 4).about().id, "nothing but the parts decides");
}

#[test]
fn a_file_gives_back_the_very_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let [file, again] = ["a.memory", "b.memory"].map(|name| folder.path().join(name));
    let memory = learnt(6, 2);
    memory.write(&file).expect("written");
    let read = Memory::read(&file).expect("read");
    assert_eq!((read.about(), read.fusion()), (memory.about(), memory.fusion()));
    let look = |memory: &Memory| memory.look(answer(part(1000, &[3]), 0.2, 0.5), (640, 480)).expect("looked");
    assert_eq!(look(&read).map, look(&memory).map);
    read.write(&again).expect("written");
    assert_eq!(fs::read(&file).expect("bytes"), fs::read(&again).expect("bytes"));
}

#[test]
fn a_file_that_is_damaged_cut_or_something_else_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.memory");
    learnt(3, 4).write(&file).expect("written");
    let whole = fs::read(&file).expect("bytes");
    let said = |bytes: &[u8]| {
        fs::write(&file, bytes).expect("written");
        let Err(error) = Memory::read(&file) else { panic!("no memory") };
        assert!(matches!(error, MemoryError::Damaged { .. } | MemoryError::Format { .. }), "{error:?}");
        assert!(error.to_string().ends_with("make a new one with `vcp-line learn`"), "{error}");
        error.to_string()
    };
    for length in [0, 7, 8, 100, whole.len() / 2, whole.len() - 1] {
        said(&whole[..length]);
    }
    for place in [whole.len() - 1, whole.len() / 2, whole.len() * 3 / 4] {
        let mut other = whole.clone();
        other[place] ^= 0x40;
        said(&other);
    }
    // What it says of itself is in the hash, too.
    let turned = |from: &[u8], to: &[u8]| {
        let place = whole.windows(from.len()).position(|bytes| bytes == from).expect("it is said");
        let mut other = whole.clone();
        other[place..place + to.len()].copy_from_slice(to);
        said(&other)
    };
    assert!(turned(br#"\"picture\":[640"#, br#"\"picture\":[641"#).contains("it has changed since it was written"));
    assert!(turned(br#"\"by\":\"test"#, br#"\"by\":\"tess"#).contains("it has changed since it was written"));
    assert!(turned(br#"\"picture\":[640"#, br#"\"picture\":[000"#).contains("is no memory, or damaged"));
    let key = br#"\"format\":"#;
    let format = whole.windows(key.len()).position(|bytes| bytes == key).expect("its format") + key.len();
    let mut newer = whole.clone();
    newer[format] = b'7';
    assert!(said(&newer).contains("has format 7, this program reads 2"));
    assert!(matches!(Memory::read(Path::new("/nowhere/a.memory")), Err(MemoryError::Absent { .. })));
}

#[test]
fn pictures_of_two_shapes_and_none_make_no_memory() {
    let mut learner = Learner::new(settings(4));
    learner.take(&part(0, &[]), 0.1, (640, 480)).expect("a good part");
    let error = learner.take(&part(1, &[]), 0.1, (480, 640)).expect_err("turned").to_string();
    assert!(error.starts_with("good pictures of 640x480 and of 480x640"), "{error}");
    assert!(matches!(Learner::new(settings(4)).finish(), Err(MemoryError::NoParts)));
    let memory = learner.finish().expect("a memory of one");
    let error = memory.look(answer(part(2, &[]), 0.2, 0.5), (480, 640)).expect_err("turned").to_string();
    assert!(error.contains("pictures of 640x480, here it is 480x640"), "{error}");
    let bare = Prediction { tokens: None, ..answer(part(2, &[]), 0.2, 0.5) };
    assert!(matches!(memory.look(bare, (640, 480)), Err(MemoryError::NoTokens { .. })));
}

#[test]
fn numbers_that_good_parts_cannot_have_make_no_fusion() {
    let memory = learnt(4, 4);
    let whole = serde_json::to_value(memory.fusion()).expect("JSON");
    let fits = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut fusion = whole.clone();
        change(&mut fusion);
        serde_json::from_value::<super::fusion::Fusion>(fusion).expect("numbers").fits(GRID, TAPS)
    };
    assert!(fits(&|_| {}));
    assert!(!fits(&|fusion| fusion["grid"] = 5.into()) && !fits(&|fusion| fusion["means"] = [0.1].into()));
    for (key, value) in [("sigma", 1e9), ("sigma", -1.0), ("peak", 0.0), ("middle", -1.0), ("peak", 1e39)] {
        assert!(!fits(&|fusion| fusion[key] = value.into()), "{key} {value}");
    }
    assert!(!fits(&|fusion| fusion["means"][1] = 0.into()) && !fits(&|fusion| fusion["weights"]["own"] = 2.into()));
}

#[test]
fn it_knows_the_pictures_that_have_made_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.memory");
    let mut learner = Learner::new(settings(4));
    for (number, picture) in [(0, [9; 32]), (1, [3; 32]), (2, [7; 32])] {
        learner.take(&part(number, &[]), 0.1, (640, 480)).expect("a good part");
        learner.note(picture);
    }
    learner.finish().expect("a memory").write(&file).expect("written");
    let about = Memory::read(&file).expect("read").about().clone();
    assert!([3, 7, 9].iter().all(|&picture| about.knows(&[picture; 32])) && !about.knows(&[4; 32]));
    assert!(!learnt(3, 4).about().knows(&[3; 32]), "nobody has told");
}

#[test]
fn a_part_whose_tokens_are_all_that_is_kept_says_nothing_about_the_others() {
    // Copies but for rounding: the room of one picture is filled by the first one's tokens.
    let mut learner = Learner::new(settings(1));
    for _ in 0..3 {
        learner.take(&part(7, &[]), 0.1, (640, 480)).expect("a good part");
    }
    let memory = learner.finish().expect("a memory");
    let fusion = serde_json::to_value(memory.fusion()).expect("JSON");
    assert!(fusion["means"][0].as_f64().expect("a mean") < 1e-3, "2 would be a part that nothing is near to: {fusion}");
    assert!(memory.fusion().fits(GRID, TAPS));
}

#[test]
fn what_is_no_number_is_not_learnt() {
    let mut learner = Learner::new(settings(4));
    let mut taps = part(0, &[]).taps().to_vec();
    taps[1][5] = f32::NAN;
    let odd = PatchTokens::new(GRID, WIDTH, taps);
    assert!(matches!(learner.take(&odd, 0.1, (640, 480)), Err(MemoryError::NotFinite)));
    assert!(matches!(learner.take(&part(0, &[]), f32::INFINITY, (640, 480)), Err(MemoryError::NotFinite)));
    assert_eq!(learner.parts(), 0);
}

/// A picture on a card: its tokens and its map, what the card says with a memory, and how often it was asked for more.
#[derive(Clone)]
struct OnCard {
    tokens: PatchTokens,
    joins: bool,
    fetches: Arc<AtomicUsize>,
}

impl OnCard {
    fn answer(&self) -> Prediction {
        let map = AnomalyMap::elsewhere(SIZE, 0.2, Box::new(self.clone()));
        let tokens = PatchTokens::elsewhere(GRID, WIDTH, TAPS, Box::new(self.clone()));
        Prediction { map, score: 0.5, times: StageTimes::default(), tokens: Some(tokens) }
    }
}

impl Fetch for OnCard {
    fn fetch(&self) -> Vec<f32> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        vec![0.2; SIZE * SIZE]
    }

    fn join(&self, memory: &Known<'_>) -> Option<(AnomalyMap, f32)> {
        assert_eq!((memory.width, memory.taps.len(), memory.joining.means.len()), (WIDTH, TAPS, TAPS));
        self.joins.then(|| (AnomalyMap::new(SIZE, vec![0.75; SIZE * SIZE]), 1.25))
    }
}

impl FetchTokens for OnCard {
    fn fetch(&self) -> Vec<Vec<f32>> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        self.tokens.taps().to_vec()
    }
}

#[test]
fn a_card_that_holds_the_tokens_is_asked_and_one_that_cannot_hands_them_out() {
    let memory = learnt(6, 4);
    let tokens = part(1000, &[14, 15]);
    let here = memory.look(answer(tokens.clone(), 0.2, 0.5), (640, 480)).expect("looked");
    for joins in [true, false] {
        let card = OnCard { tokens: tokens.clone(), joins, fetches: Arc::default() };
        let looked = memory.look(card.answer(), (640, 480)).expect("looked");
        if joins {
            assert_eq!((looked.map.peak(), looked.score), (0.75, 1.25));
        } else {
            assert!(looked.map == here.map && looked.score == here.score, "the processor says the same");
        }
        assert_eq!(card.fetches.load(Ordering::Relaxed), if joins { 0 } else { 2 });
    }
    // What does not fit is refused before the card is asked.
    let card = OnCard { tokens, joins: true, fetches: Arc::default() };
    assert!(memory.look(card.answer(), (480, 640)).is_err());
}

#[test]
fn tokens_that_are_lost_with_the_card_are_no_verdict() {
    let memory = learnt(6, 4);
    let lost = PatchTokens::new(GRID, WIDTH, Vec::new());
    let card = OnCard { tokens: lost, joins: false, fetches: Arc::default() };
    assert!(matches!(memory.look(card.answer(), (640, 480)), Err(MemoryError::TokensLost)));
    let tokens = card.answer().tokens.expect("tokens");
    assert!(matches!(Learner::new(settings(4)).take(&tokens, 0.1, (640, 480)), Err(MemoryError::TokensLost)));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn tiles_say_what_plain_rust_says() {
    use super::tiles::{are_there, largest};
    if !are_there() {
        return;
    }
    for (width, count, height) in [(20, 7, 3), (33, 50, 300), (128, 65, 513), (1024, 32, 40)] {
        let mut dice = Dice::new(5, [width as u64, 0, 0]);
        let mut rows = |count: usize| -> Vec<f32> {
            let values: Vec<f32> = (0..count * width).map(|_| dice.normal() as f32).collect();
            super::look_up::normalised(&values, width)
        };
        let (tokens, memory) = (rows(count), rows(height));
        let found = largest(&tokens, &memory, width, &|row| row % 3 == 1).expect("there are tiles");
        let round = |value: f32| half::bf16::from_f32(value).to_f32();
        for (token, found) in tokens.chunks_exact(width).zip(&found) {
            let product = |row: &[f32]| row.iter().zip(token).map(|(&a, &b)| round(a) * round(b)).sum::<f32>();
            let others = memory.chunks_exact(width).enumerate().filter(|(at, _)| at % 3 != 1);
            let best = others.map(|(_, row)| product(row)).fold(-1.0, f32::max);
            assert!((best - found).abs() < 1e-5, "width {width}: {found}, not {best}");
        }
        assert_eq!(found.len(), count);
        assert_eq!(largest(&tokens, &memory, width, &|_| true), Some(vec![-1.0; count]));
    }
}

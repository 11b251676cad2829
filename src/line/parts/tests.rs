//! The matcher against a naive model that forgets nothing and states its rules over everything that ever happened.

mod model;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use proptest::prelude::*;

use super::matcher::MOST_OPEN;
use super::*;
use model::{DEADLINE, Fate, GRACE, HELD, Model, WINDOW};

fn plan(mode: TriggerMode, pairing: Pairing) -> TriggerPlan {
    TriggerPlan {
        mode,
        pairing,
        window: Duration::from_millis(WINDOW),
        deadline: Some(Duration::from_millis(DEADLINE)),
        held: HELD,
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u64),
    Tick,
    /// A command; its own number is this much above the last one (0 runs backwards).
    Trigger(u64),
    /// A command that was stamped this long ago.
    Late(u64),
    /// A frame after this many that were lost.
    Frame(u64),
    /// The engine answers for the frame at this place among those it has.
    Judge(usize),
    Drop(usize),
    Fail(usize),
    Lost,
    Back,
    Pause(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0_u64..60).prop_map(Step::Wait),
        3 => Just(Step::Tick),
        8 => prop_oneof![9 => Just(1_u64), 1 => 0_u64..4].prop_map(Step::Trigger),
        4 => (0_u64..400).prop_map(Step::Late),
        8 => prop_oneof![9 => Just(0_u64), 1 => 0_u64..4].prop_map(Step::Frame),
        8 => (0_usize..4).prop_map(Step::Judge),
        1 => (0_usize..4).prop_map(Step::Drop),
        1 => (0_usize..4).prop_map(Step::Fail),
        1 => Just(Step::Lost),
        2 => Just(Step::Back),
        1 => any::<bool>().prop_map(Step::Pause),
    ];
    prop::collection::vec(step, 0..120)
}

/// The frame is its own number, and so is the engine's answer for it.
type Tested = Matcher<u64, u64>;

struct Bench {
    start: Instant,
    now: u64,
    /// Frames that the engine has and has not answered for; some of their parts may have been given up.
    engine: Vec<u64>,
    next_id: u64,
    number: u64,
    seq: u64,
    /// When the last command was stamped.
    stamped: u64,
}

impl Bench {
    fn moment(&self) -> Moment {
        self.at(self.now)
    }

    fn at(&self, ms: u64) -> Moment {
        Moment { wall: Timestamp::UNIX_EPOCH, monotonic: self.start + Duration::from_millis(ms) }
    }

    fn shot(&self, seq: u64) -> Shot {
        Shot { seq, width: 1, height: 1, captured: self.moment(), clock: ClockSource::System, file: None }
    }

    /// What was said, as text; frames that were served go to the engine.
    fn said(&mut self, output: Vec<Output<u64, u64>>) -> Vec<String> {
        let word = |reason: NoVerdictReason| serde_json::to_value(reason).expect("a word");
        let one = |output| match output {
            Output::Serve { part, frame } => {
                self.engine.push(frame);
                format!("serve {} {frame}", part.id)
            }
            Output::Forget { seq } => format!("forget {seq}"),
            Output::Tell { part, shot, outcome: Outcome::Verdict(seq), .. } => {
                assert_eq!(shot.map(|shot| shot.seq), Some(seq), "a verdict of another frame");
                format!("tell {} verdict", part.id)
            }
            Output::Tell { part, outcome: Outcome::NoVerdict(reason), .. } => {
                format!("tell {} {}", part.id, word(reason).as_str().expect("a word"))
            }
        };
        output.into_iter().map(one).collect()
    }

    fn answered(&mut self, place: usize) -> Option<u64> {
        (place < self.engine.len()).then(|| self.engine.remove(place))
    }

    fn step(&mut self, step: Step, tested: &mut Tested, model: &mut Model) -> (Vec<String>, Vec<String>) {
        let commanded = matches!(tested_mode(model), TriggerMode::Software | TriggerMode::Matched);
        match step {
            Step::Wait(ms) => {
                self.now += ms;
                (vec![], vec![])
            }
            Step::Tick => (self.said_of(|bench| tested.tick(bench.moment().monotonic)), model.tick(self.now)),
            Step::Trigger(more) if commanded => self.trigger(more, self.now, tested, model),
            Step::Late(ms) if commanded => {
                // Commands of matched parts come in order; those that trigger may overtake each other on two ways in.
                let earliest = if tested_mode(model) == TriggerMode::Matched { self.stamped } else { 0 };
                self.trigger(1, (self.now - ms).max(earliest), tested, model)
            }
            Step::Trigger(_) | Step::Late(_) => (vec![], vec![]),
            Step::Frame(lost) => {
                let seq = self.seq + lost;
                self.seq = seq + 1;
                (self.said_of(|bench| tested.frame(bench.shot(seq), seq, None)), model.frame(seq, self.now))
            }
            Step::Judge(place) => match self.answered(place) {
                Some(seq) => (self.said_of(|_| tested.judged(seq, seq)), model.answer(seq, "verdict", true)),
                None => (vec![], vec![]),
            },
            Step::Drop(place) => match self.answered(place) {
                Some(seq) => (self.said_of(|_| tested.dropped(seq)), model.answer(seq, "overrun", false)),
                None => (vec![], vec![]),
            },
            Step::Fail(place) => match self.answered(place) {
                Some(seq) => {
                    let failed = |_: &Self| tested.failed(seq, NoVerdictReason::EngineError);
                    (self.said_of(failed), model.answer(seq, "engine_error", false))
                }
                None => (vec![], vec![]),
            },
            Step::Lost => (self.said_of(|_| tested.camera_lost()), model.lost()),
            Step::Back => {
                tested.camera_back();
                model.lost = false;
                (vec![], vec![])
            }
            Step::Pause(paused) => {
                tested.pause(paused);
                model.paused = paused;
                (vec![], vec![])
            }
        }
    }

    fn trigger(&mut self, more: u64, at: u64, tested: &mut Tested, model: &mut Model) -> (Vec<String>, Vec<String>) {
        self.next_id += 1;
        self.stamped = at;
        let id = format!("A-{}", self.next_id);
        self.number = if more == 0 { 1 } else { self.number + more };
        let part = tested.announce(id.clone(), Some(self.number));
        let number = if model.by_counter() { self.number } else { self.next_id };
        assert_eq!(part.trigger, number);
        (self.said_of(|bench| tested.trigger(part, bench.at(at))), model.trigger(id, number, at))
    }

    fn said_of(&mut self, input: impl FnOnce(&Self) -> Vec<Output<u64, u64>>) -> Vec<String> {
        let output = input(self);
        self.said(output)
    }
}

fn tested_mode(model: &Model) -> TriggerMode {
    model.plan.mode
}

fn bench() -> Bench {
    Bench { start: Instant::now(), now: 1000, engine: vec![], next_id: 0, number: 0, seq: 0, stamped: 0 }
}

fn plans() -> impl Strategy<Value = TriggerPlan> {
    prop_oneof![
        Just(plan(TriggerMode::Hardware, Pairing::Time)),
        Just(plan(TriggerMode::Software, Pairing::Time)),
        Just(plan(TriggerMode::Matched, Pairing::Time)),
        Just(plan(TriggerMode::Matched, Pairing::Counter)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_trigger_has_one_outcome_in_order(plan in plans(), steps in steps()) {
        let (mut bench, mut tested, mut model) = (bench(), Tested::new(plan), Model::new(plan));
        let mut all: Vec<String> = vec![];
        for step in steps {
            let (said, expected) = bench.step(step, &mut tested, &mut model);
            prop_assert_eq!(&said, &expected, "{:?}", step);
            all.extend(said);
            // The bell rings for whatever is still undecided.
            let undecided = model.parts[model.told..].iter().any(|part| !matches!(part.fate, Fate::Done(_)));
            prop_assert!(!undecided || tested.next_due().is_some());
        }
        // Time passes: nothing stays open, whatever the engine still has.
        bench.now += DEADLINE + WINDOW + GRACE;
        let (said, expected) = bench.step(Step::Tick, &mut tested, &mut model);
        prop_assert_eq!(&said, &expected);
        all.extend(said);
        while !bench.engine.is_empty() {
            let (said, expected) = bench.step(Step::Judge(0), &mut tested, &mut model);
            prop_assert_eq!((said.len(), expected.len()), (0, 0), "an answer after the end");
        }
        prop_assert_eq!(tested.next_due(), None);
        let counters = tested.counters();
        prop_assert_eq!((counters.open, counters.triggers, counters.late), (0, model.parts.len() as u64, model.late));

        let told: Vec<&str> = all.iter().filter_map(|said| said.strip_prefix("tell ")).collect();
        let ids: Vec<&str> = told.iter().map(|told| told.split(' ').next().unwrap_or_default()).collect();
        let triggered: Vec<&str> = model.parts.iter().map(|part| part.id.as_str()).collect();
        prop_assert_eq!(ids, triggered);
        let fates = |kind: &str, word: usize| {
            let of_kind = all.iter().filter(|said| said.starts_with(kind));
            of_kind.filter_map(|said| said.split(' ').nth(word)?.parse::<u64>().ok()).collect::<Vec<_>>()
        };
        let mut frames = [fates("serve", 2), fates("forget", 1)].concat();
        let count = frames.len();
        frames.sort_unstable();
        frames.dedup();
        prop_assert_eq!(frames.len(), count, "a frame with two fates");

        if plan.mode == TriggerMode::Software {
            let serves = all.iter().filter_map(|said| said.strip_prefix("serve ")?.split_once(' '));
            let own: HashMap<&str, u64> = serves.filter_map(|(part, frame)| Some((part, frame.parse().ok()?))).collect();
            let served: Vec<Option<u64>> = model.parts.iter().map(|part| own.get(&*part.id).copied()).collect();
            for (index, part) in model.parts.iter().enumerate() {
                let Some(own) = served[index] else { continue };
                // The frame of a part is the first one since its trigger that no earlier part has; whatever came in between.
                let others = &served[..index];
                let right = model.frames.iter().find(|frame| frame.captured >= part.at && !others.contains(&Some(frame.seq)));
                prop_assert_eq!(right.map(|frame| frame.seq), Some(own), "the frame of part {}", &part.id);
            }
        }
    }
}

/// A trigger at 1000 that is carried out late, with frames every 10 ms since 1005.
fn late_trigger(frames: u64, plan: TriggerPlan) -> Vec<String> {
    let (mut bench, mut tested, mut model) = (bench(), Tested::new(plan), Model::new(plan));
    for frame in 0..frames {
        bench.now = 1005 + 10 * frame;
        bench.step(Step::Frame(0), &mut tested, &mut model);
        bench.step(Step::Tick, &mut tested, &mut model);
    }
    let late = bench.now - 1000;
    bench.step(Step::Late(late), &mut tested, &mut model).0
}

#[test]
fn a_trigger_that_is_carried_out_late_gets_the_frame_that_was_first_after_it_or_none() {
    let plan = plan(TriggerMode::Software, Pairing::Time);
    for frames in 1..=HELD as u64 {
        assert_eq!(late_trigger(frames, plan), ["serve A-1 0"]);
    }
    // The first one has been let go: no later one shows the part.
    assert_eq!(late_trigger(HELD as u64 + 1, plan), ["tell A-1 overrun"]);
    let roomy = TriggerPlan { held: 1000, ..plan };
    let (mut bench, mut tested, mut model) = (bench(), Tested::new(roomy), Model::new(roomy));
    bench.step(Step::Frame(0), &mut tested, &mut model);
    bench.now += GRACE;
    assert_eq!(bench.step(Step::Tick, &mut tested, &mut model).0, ["forget 0"]);
    assert_eq!(bench.step(Step::Late(GRACE), &mut tested, &mut model).0, ["tell A-1 overrun"]);
}

#[test]
fn a_part_that_was_triggered_before_the_pause_gets_its_frame() {
    let plan = plan(TriggerMode::Software, Pairing::Time);
    let (mut bench, mut tested, mut model) = (bench(), Tested::new(plan), Model::new(plan));
    let mut step = |step: Step| {
        bench.now += 5;
        bench.step(step, &mut tested, &mut model).0
    };
    assert!(step(Step::Trigger(1)).is_empty());
    assert!(step(Step::Pause(true)).is_empty());
    assert_eq!(step(Step::Frame(0)), ["serve A-1 0"]);
    assert_eq!(step(Step::Frame(0)), ["forget 1"]);
    assert!(step(Step::Pause(false)).is_empty());
    assert!(step(Step::Trigger(1)).is_empty());
    assert_eq!(step(Step::Frame(0)), ["serve A-2 2"]);
}

#[test]
fn a_part_known_to_be_lost_is_told_at_once() {
    let plan = plan(TriggerMode::Matched, Pairing::Time);
    let (mut bench, mut tested, mut model) = (bench(), Tested::new(plan), Model::new(plan));
    let mut step = |ms: u64, step: Step| {
        bench.now += ms;
        bench.step(step, &mut tested, &mut model).0
    };
    // The frame of a later part has come already.
    assert!(step(0, Step::Frame(0)).is_empty());
    assert_eq!(step(0, Step::Late(WINDOW + 1)), ["tell A-1 camera_lost"]);
    assert_eq!(step(5, Step::Trigger(1)), ["serve A-2 0"]);
    assert_eq!(step(5, Step::Judge(0)), ["tell A-2 verdict"]);
    // The belt stands still: no newer frame says so, time does.
    assert!(step(100, Step::Trigger(1)).is_empty());
    assert!(step(WINDOW + GRACE - 1, Step::Tick).is_empty());
    assert_eq!(step(1, Step::Tick), ["tell A-3 camera_lost"]);
}

#[test]
fn a_verdict_is_not_held_up_by_a_part_whose_frame_was_let_go() {
    let plan = plan(TriggerMode::Matched, Pairing::Time);
    let (mut bench, mut tested, mut model) = (bench(), Tested::new(plan), Model::new(plan));
    let mut step = |ms: u64, step: Step| {
        bench.now += ms;
        bench.step(step, &mut tested, &mut model).0
    };
    assert!(step(0, Step::Frame(0)).is_empty());
    assert_eq!(step(WINDOW + GRACE, Step::Tick), ["forget 0"]);
    assert_eq!(step(1, Step::Late(WINDOW + GRACE + 1)), ["tell A-1 overrun"]);
    assert!(step(100, Step::Frame(0)).is_empty());
    assert_eq!(step(5, Step::Trigger(1)), ["serve A-2 1"]);
    assert_eq!(step(5, Step::Judge(0)), ["tell A-2 verdict"]);
}

#[test]
fn a_command_may_come_before_or_after_its_frame() {
    for first in [Step::Trigger(1), Step::Frame(0)] {
        let plan = plan(TriggerMode::Matched, Pairing::Time);
        let (mut bench, mut tested, mut model) = (bench(), Tested::new(plan), Model::new(plan));
        let second = if matches!(first, Step::Frame(_)) { Step::Trigger(1) } else { Step::Frame(0) };
        assert!(bench.step(first, &mut tested, &mut model).0.is_empty());
        bench.now += WINDOW;
        assert_eq!(bench.step(second, &mut tested, &mut model).0, ["serve A-1 0"]);
        assert_eq!(bench.step(Step::Judge(0), &mut tested, &mut model).0, ["tell A-1 verdict"]);
    }
}

#[test]
fn counters_find_each_other_across_lost_frames_and_late_commands() {
    let plan = plan(TriggerMode::Matched, Pairing::Counter);
    let (mut bench, mut tested, mut model) = (bench(), Tested::new(plan), Model::new(plan));
    let mut step = |ms: u64, step: Step| {
        bench.now += ms;
        bench.step(step, &mut tested, &mut model).0
    };
    assert!(step(0, Step::Frame(0)).is_empty());
    assert_eq!(step(5, Step::Trigger(1)), ["serve A-1 0"]);
    // Far outside the window, and the numbers say it all.
    assert!(step(50, Step::Frame(0)).is_empty());
    assert_eq!(step(90, Step::Trigger(1)), ["serve A-2 1"]);
    assert!(step(10, Step::Trigger(1)).is_empty());
    assert_eq!(step(10, Step::Judge(0)), ["tell A-1 verdict"]);
    assert_eq!(step(0, Step::Judge(0)), ["tell A-2 verdict"]);
    // Frame 2 is lost: its part is owed at once, and the next one keeps its own frame.
    assert_eq!(step(10, Step::Frame(1)), ["tell A-3 camera_lost"]);
    assert_eq!(step(10, Step::Trigger(1)), ["serve A-4 3"]);
}

#[test]
fn what_holds_up_the_order_is_given_up_before_it_costs_the_memory() {
    let plan = TriggerPlan::hardware(None);
    let mut tested = Tested::new(plan);
    let bench = bench();
    let mut told = 0;
    for seq in 0..3 * MOST_OPEN as u64 {
        for output in tested.frame(bench.shot(seq), seq, None) {
            if let Output::Tell { part, outcome, .. } = output {
                told += 1;
                assert_eq!((part.trigger, outcome), (told, Outcome::NoVerdict(NoVerdictReason::Overrun)));
            }
        }
        assert!(tested.counters().open <= MOST_OPEN);
    }
    assert_eq!(told, 2 * MOST_OPEN as u64);
    assert!(tested.judged(0, 0).is_empty());
    assert_eq!(tested.counters().late, 1);
}

#[test]
fn a_counter_that_was_set_anew_is_no_million_lost_parts() {
    let mut tested = Tested::new(TriggerPlan::hardware(None));
    let bench = bench();
    assert_eq!(tested.frame(bench.shot(0), 0, None).len(), 1);
    assert_eq!(tested.frame(bench.shot(1 << 40), 1 << 40, None).len(), 1);
    assert_eq!(tested.parts_until((1 << 40) + 3, None).len(), 3);
}

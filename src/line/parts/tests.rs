//! The matcher against a naive model that keeps everything and looks at everything again for every input.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use proptest::prelude::*;

use super::matcher::MOST_OPEN;
use super::*;

const WINDOW: u64 = 40;
const DEADLINE: u64 = 200;
const GRACE: u64 = 250;
const HELD: usize = 3;

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

#[derive(Clone, Debug, PartialEq)]
enum Fate {
    Awaits,
    Engine(u64),
    Done(String),
}

struct Known {
    id: String,
    number: u64,
    at: u64,
    fate: Fate,
}

/// Everything that ever happened; what was told is a prefix of `parts`.
struct Model {
    plan: TriggerPlan,
    parts: Vec<Known>,
    told: usize,
    waiting: Vec<(u64, u64)>,
    difference: Option<i64>,
    last: Option<u64>,
    expected: u64,
    lost: bool,
    paused: bool,
    late: u64,
}

impl Model {
    fn new(plan: TriggerPlan) -> Self {
        Self {
            plan,
            parts: vec![],
            told: 0,
            waiting: vec![],
            difference: None,
            last: None,
            expected: 0,
            lost: false,
            paused: false,
            late: 0,
        }
    }

    fn by_counter(&self) -> bool {
        self.plan.pairing == Pairing::Counter
    }

    /// Negative: the frame is older than the command; positive: newer.
    fn fit(&self, (number, at): (u64, u64), (seq, captured): (u64, u64)) -> i64 {
        match self.difference {
            Some(difference) if self.by_counter() => seq as i64 + difference - number as i64,
            _ if captured > at + WINDOW => 1,
            _ if captured + WINDOW < at => -1,
            _ => 0,
        }
    }

    fn add(&mut self, id: String, number: u64, at: u64, fate: Fate) {
        self.parts.push(Known { id, number, at, fate });
    }

    fn trigger(&mut self, id: String, number: u64, now: u64) -> Vec<String> {
        let mut said = vec![];
        if self.last.is_some_and(|last| last >= number) {
            self.difference = None;
        }
        self.last = Some(number);
        let mut fate = Fate::Done("camera_lost".into());
        if self.paused {
            fate = Fate::Done("paused".into());
        } else {
            while self.waiting.first().is_some_and(|&frame| self.fit((number, now), frame) < 0) {
                said.push(format!("forget {}", self.waiting.remove(0).0));
            }
            if self.waiting.first().is_some_and(|&frame| self.fit((number, now), frame) == 0) {
                let (seq, _) = self.waiting.remove(0);
                self.difference = Some(number as i64 - seq as i64);
                said.push(format!("serve {id} {seq}"));
                fate = Fate::Engine(seq);
            } else if !self.lost {
                fate = Fate::Awaits;
            }
        }
        self.add(id, number, now, fate);
        said.extend(self.tell());
        said
    }

    fn frame(&mut self, seq: u64, now: u64) -> Vec<String> {
        let mut said = vec![];
        match self.plan.mode {
            TriggerMode::Free | TriggerMode::Hardware => {
                for missing in self.expected..seq {
                    self.add((missing + 1).to_string(), 0, now, Fate::Done("camera_lost".into()));
                }
                self.expected = seq + 1;
                let id = (seq + 1).to_string();
                if self.paused {
                    self.add(id, 0, now, Fate::Done("paused".into()));
                } else {
                    said.push(format!("serve {id} {seq}"));
                    self.add(id, 0, now, Fate::Engine(seq));
                }
            }
            _ if self.paused => said.push(format!("forget {seq}")),
            TriggerMode::Software => {
                match self.parts.iter_mut().find(|part| part.fate == Fate::Awaits && part.at <= now) {
                    Some(part) => {
                        part.fate = Fate::Engine(seq);
                        said.push(format!("serve {} {seq}", part.id));
                    }
                    None => said.push(format!("forget {seq}")),
                }
            }
            TriggerMode::Matched => {
                let mut free = true;
                for index in 0..self.parts.len() {
                    if !free || self.parts[index].fate != Fate::Awaits {
                        continue;
                    }
                    let fit = self.fit((self.parts[index].number, self.parts[index].at), (seq, now));
                    let part = &mut self.parts[index];
                    if fit > 0 {
                        part.fate = Fate::Done("camera_lost".into());
                        continue;
                    }
                    free = false;
                    if fit == 0 {
                        part.fate = Fate::Engine(seq);
                        said.push(format!("serve {} {seq}", part.id));
                        self.difference = Some(part.number as i64 - seq as i64);
                    } else {
                        said.push(format!("forget {seq}"));
                    }
                }
                if free {
                    self.waiting.push((seq, now));
                    if self.waiting.len() > HELD {
                        said.push(format!("forget {}", self.waiting.remove(0).0));
                    }
                }
            }
        }
        said.extend(self.tell());
        said
    }

    fn answer(&mut self, seq: u64, what: &str, verdict: bool) -> Vec<String> {
        match self.parts.iter_mut().find(|part| part.fate == Fate::Engine(seq)) {
            Some(part) => part.fate = Fate::Done(what.into()),
            None => self.late += u64::from(verdict),
        }
        self.tell()
    }

    fn tick(&mut self, now: u64) -> Vec<String> {
        let mut said = vec![];
        for part in self.parts.iter_mut().filter(|part| part.at + DEADLINE <= now) {
            match part.fate {
                Fate::Awaits => part.fate = Fate::Done("camera_lost".into()),
                Fate::Engine(_) => part.fate = Fate::Done("deadline".into()),
                Fate::Done(_) => {}
            }
        }
        let patience = if self.by_counter() { DEADLINE } else { WINDOW + GRACE };
        while self.waiting.first().is_some_and(|&(_, captured)| captured + patience <= now) {
            said.push(format!("forget {}", self.waiting.remove(0).0));
        }
        said.extend(self.tell());
        said
    }

    fn lost(&mut self) -> Vec<String> {
        self.lost = true;
        self.difference = None;
        for part in self.parts.iter_mut().filter(|part| part.fate == Fate::Awaits) {
            part.fate = Fate::Done("camera_lost".into());
        }
        self.tell()
    }

    fn tell(&mut self) -> Vec<String> {
        let mut said = vec![];
        while let Some(Known { id, fate: Fate::Done(what), .. }) = self.parts.get(self.told) {
            said.push(format!("tell {id} {what}"));
            self.told += 1;
        }
        said
    }
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
}

impl Bench {
    fn moment(&self) -> Moment {
        Moment { wall: Timestamp::UNIX_EPOCH, monotonic: self.start + Duration::from_millis(self.now) }
    }

    fn shot(&self, seq: u64) -> Shot {
        Shot { seq, width: 1, height: 1, captured: self.moment(), clock: ClockSource::System }
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
            Step::Trigger(more) if commanded => {
                self.next_id += 1;
                let id = format!("A-{}", self.next_id);
                self.number = if more == 0 { 1 } else { self.number + more };
                let part = tested.announce(id.clone(), Some(self.number));
                let number = if model.by_counter() { self.number } else { self.next_id };
                assert_eq!(part.trigger, number);
                (self.said_of(|bench| tested.trigger(part, bench.moment())), model.trigger(id, number, self.now))
            }
            Step::Trigger(_) => (vec![], vec![]),
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

    fn said_of(&mut self, input: impl FnOnce(&Self) -> Vec<Output<u64, u64>>) -> Vec<String> {
        let output = input(self);
        self.said(output)
    }
}

fn tested_mode(model: &Model) -> TriggerMode {
    model.plan.mode
}

fn bench() -> Bench {
    Bench { start: Instant::now(), now: 1000, engine: vec![], next_id: 0, number: 0, seq: 0 }
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
    }
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

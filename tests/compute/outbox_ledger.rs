//! The outbox's state machine against a simple model: random parts, disks, brokers and crashes; nothing that counted is
//! lost, no part is answered twice, and order is kept.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use proptest::prelude::*;
use vcp_line::frame::Part;
use vcp_line::publish::outbox::{Content, Inherited, Ledger, Limits, OwedPart, RecordId, Refusal, Safety};

const CAMERA: &str = "top";

fn part(trigger: u64) -> Part {
    Part { id: format!("A-{trigger}"), trigger }
}

fn owed(trigger: u64) -> OwedPart {
    OwedPart { camera: CAMERA.into(), part: part(trigger), accepted: Timestamp::UNIX_EPOCH }
}

/// An event: a number that grows with every event given, and the part it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    number: u64,
    part: Option<u64>,
}

/// What the disk remembers.
#[derive(Clone, Debug, Default)]
struct Disk {
    records: Vec<(RecordId, Content<Item>)>,
    acked_to: RecordId,
    works: bool,
    /// Records that a power cut leaves behind.
    safe: usize,
}

impl Disk {
    fn written(&self) -> RecordId {
        self.records.last().map_or(RecordId::default(), |(id, _)| *id)
    }

    fn synced(&self) -> RecordId {
        self.safe.checked_sub(1).map_or(RecordId::default(), |last| self.records[last].0)
    }

    fn events_after(&self, after: RecordId, through: RecordId) -> Vec<(RecordId, Item)> {
        let event = |(id, content): &(RecordId, Content<Item>)| match content {
            Content::Event { item, .. } if *id > after && *id <= through => Some((*id, *item)),
            _ => None,
        };
        self.records.iter().filter_map(event).collect()
    }

    fn inherited(&self) -> Inherited {
        let mut open = BTreeMap::new();
        for (id, content) in &self.records {
            match content {
                Content::Owed(part) => drop(open.insert(*id, (**part).clone())),
                Content::Event { answers: Some(debt), .. } | Content::Settled(debt) => drop(open.remove(debt)),
                Content::Event { answers: None, .. } => {}
            }
        }
        Inherited {
            last: self.written().max(self.acked_to),
            acked_to: self.acked_to,
            waiting: self.events_after(self.acked_to, RecordId(u64::MAX)).len() as u64,
            owed: open.into_iter().collect(),
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Owe,
    Answer(usize),
    Free,
    Write(usize),
    Sync,
    WriteAcks,
    Load,
    DiskFails,
    DiskFailsForLong,
    DiskWorks,
    DiskHangs,
    DiskAnswers,
    Connect,
    Lose,
    Send,
    Ack(usize),
    Kill,
    PowerCut,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => Just(Step::Owe),
        5 => (0..8usize).prop_map(Step::Answer),
        3 => Just(Step::Free),
        5 => (1..6usize).prop_map(Step::Write),
        4 => Just(Step::Sync),
        2 => Just(Step::WriteAcks),
        3 => Just(Step::Load),
        1 => Just(Step::DiskFails),
        1 => Just(Step::DiskFailsForLong),
        2 => Just(Step::DiskWorks),
        1 => Just(Step::DiskHangs),
        2 => Just(Step::DiskAnswers),
        3 => Just(Step::Connect),
        1 => Just(Step::Lose),
        8 => Just(Step::Send),
        6 => (0..4usize).prop_map(Step::Ack),
        1 => Just(Step::Kill),
        1 => Just(Step::PowerCut),
    ];
    prop::collection::vec(step, 0..400)
}

/// Parts whose debt or event is among these records.
fn parts_in(records: &[(RecordId, Content<Item>)]) -> BTreeSet<u64> {
    let part = |(_, content): &(RecordId, Content<Item>)| match content {
        Content::Owed(owed) => Some(owed.part.trigger),
        Content::Event { item, .. } => item.part,
        Content::Settled(_) => None,
    };
    records.iter().filter_map(part).collect()
}

struct World {
    limits: Limits,
    ledger: Ledger<Item>,
    disk: Disk,
    /// What the door would write again after a failed fsync is not modelled: a failed write leaves nothing behind.
    flying: Vec<(RecordId, Item)>,
    online: bool,
    triggers: u64,
    numbers: u64,
    /// Parts this start has accepted and not yet answered.
    open: Vec<u64>,
    /// Parts and free events that must reach the broker whatever happens.
    promised_parts: BTreeSet<u64>,
    promised_free: BTreeSet<u64>,
    debts: HashMap<u64, RecordId>,
    /// The outbox's thread is in a call that does not return.
    hangs: bool,
    /// Parts whose events the broker has acknowledged.
    acked: BTreeSet<u64>,
    delivered: Vec<Item>,
    /// Events given in earlier starts: their first delivery in this one is late.
    before: u64,
    late: Vec<bool>,
    /// Parts whose events went on although their debts were on disk: a start that finds the debts answers again.
    forced: BTreeSet<u64>,
    /// How often that may have happened to a part: once for each start that broke off.
    again: HashMap<u64, usize>,
}

impl World {
    fn new(limits: Limits) -> Self {
        let disk = Disk { works: true, ..Disk::default() };
        Self {
            limits,
            ledger: Ledger::on_disk(limits, Inherited::default()),
            disk,
            flying: Vec::new(),
            online: false,
            triggers: 0,
            numbers: 0,
            open: Vec::new(),
            promised_parts: BTreeSet::new(),
            promised_free: BTreeSet::new(),
            debts: HashMap::new(),
            hangs: false,
            acked: BTreeSet::new(),
            delivered: Vec::new(),
            before: 0,
            late: Vec::new(),
            forced: BTreeSet::new(),
            again: HashMap::new(),
        }
    }

    fn give(&mut self, part_number: Option<u64>) -> bool {
        let item = Item { number: self.numbers + 1, part: part_number };
        if self.hangs {
            self.forced.extend(part_number);
        }
        let taken = self.ledger.push(CAMERA, part_number.map(part).as_ref(), item).is_ok();
        self.numbers += u64::from(taken);
        taken
    }

    fn write(&mut self, most: usize) {
        let batch = self.ledger.to_store(self.disk.written(), most);
        assert!(batch.is_sorted_by_key(|record| record.id));
        for record in batch {
            // A failing disk has room for answers to debts that it holds.
            if !self.disk.works && !record.reserved {
                break;
            }
            self.disk.records.push((record.id, record.content));
        }
        if !self.disk.works {
            self.ledger.store_failed(self.disk.written(), false);
            let handed = parts_in(&self.disk.records);
            for trigger in self.debts.keys().filter(|trigger| !handed.contains(trigger)) {
                let safety = self.safety(*trigger);
                assert_ne!(safety, Safety::BeingWritten, "a disk that fails has no byte of part {trigger}");
            }
        }
    }

    fn safety(&self, trigger: u64) -> Safety {
        self.ledger.safety(self.debts[&trigger])
    }

    /// A part counts as safe when its debt or its event lies on disk, or the broker has its event; open or answered.
    fn judge_safety(&self) {
        let disk = parts_in(&self.disk.records[..self.disk.safe]);
        for trigger in self.debts.keys() {
            let kept = disk.contains(trigger) || self.acked.contains(trigger);
            assert!(!self.hangs || self.safety(*trigger) != Safety::BeingWritten, "nobody waits for a disk that hangs");
            assert_eq!(self.safety(*trigger) == Safety::OnDisk, kept, "part {trigger} is {:?}", self.safety(*trigger));
        }
    }

    fn sync(&mut self) {
        self.disk.safe = self.disk.records.len();
        self.ledger.stored(self.disk.synced());
        if self.disk.works && self.ledger.to_store(self.disk.written(), 1).is_empty() {
            self.forced.clear();
        }
        if self.disk.works && self.ledger.to_store(self.disk.written(), 1).is_empty() {
            for trigger in self.debts.keys() {
                assert_ne!(self.safety(*trigger), Safety::BeingWritten, "nothing is left to write of part {trigger}");
            }
        }
        // An acknowledged command is a promise, whether its part has been answered since or not.
        let safe: Vec<u64> = self.debts.keys().copied().filter(|at| self.safety(*at) == Safety::OnDisk).collect();
        self.promised_parts.extend(safe);
        for (_, item) in self.disk.events_after(RecordId::default(), self.disk.synced()) {
            if item.part.is_none() {
                self.promised_free.insert(item.number);
            }
        }
    }

    /// From now on events go out whose debts may be on disk.
    fn force(&mut self) {
        let waiting = self.ledger.to_store(RecordId::default(), usize::MAX).into_iter();
        self.forced.extend(waiting.filter_map(|record| match record.content {
            Content::Event { item, .. } => item.part,
            _ => None,
        }));
    }

    fn load(&mut self) {
        if let Some((after, most)) = self.ledger.to_load() {
            let mut events = self.disk.events_after(after, self.disk.synced());
            let end = events.len() <= most;
            events.truncate(most);
            self.ledger.loaded(events, end);
        }
    }

    fn send(&mut self) {
        let Some(next) = self.ledger.next_to_send() else { return };
        assert!(self.online);
        let (id, late, item) = (next.id, next.late, *next.item);
        assert!(late || !self.delivered.contains(&item), "{item:?} is repeated and not called late");
        assert!(late || item.number > self.before, "{item:?} of an earlier start is not called late");
        self.late.push(late);
        self.delivered.push(item);
        self.flying.push((id, item));
    }

    fn ack(&mut self, which: usize) {
        if self.flying.is_empty() {
            return;
        }
        let (id, item) = self.flying.remove(which % self.flying.len());
        assert_eq!(self.ledger.acked(id), Some(item));
        assert_eq!(self.ledger.acked(id), None);
        self.acked.extend(item.part);
    }

    fn connect(&mut self) {
        self.ledger.connected();
        self.flying.clear();
        self.online = true;
    }

    fn lose(&mut self) {
        self.ledger.connection_lost();
        self.flying.clear();
        self.online = false;
    }

    /// The next start answers what is owed, before anything new.
    fn restart(&mut self) {
        (self.online, self.disk.works, self.hangs) = (false, true, false);
        self.flying.clear();
        self.open.clear();
        self.debts.clear();
        self.before = self.numbers;
        for trigger in std::mem::take(&mut self.forced) {
            *self.again.entry(trigger).or_default() += 1;
        }
        self.ledger = Ledger::on_disk(self.limits, self.disk.inherited());
        for owed in self.ledger.owed() {
            assert!(self.give(Some(owed.part.trigger)), "an owed part's event is never refused");
        }
        assert!(self.ledger.owed().is_empty());
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Owe => {
                let trigger = self.triggers + 1;
                match self.ledger.owe(owed(trigger)) {
                    Ok(debt) => {
                        self.triggers = trigger;
                        self.open.push(trigger);
                        self.debts.insert(trigger, debt);
                    }
                    Err(refused) => {
                        assert_eq!(refused.why, Refusal::Memory { capacity: self.limits.memory });
                        assert!(self.ledger.held() >= self.limits.memory);
                    }
                }
            }
            Step::Answer(which) if !self.open.is_empty() => {
                let trigger = self.open.remove(which % self.open.len());
                assert!(self.give(Some(trigger)), "an owed part's event is never refused");
            }
            Step::Answer(_) => {}
            Step::Free => {
                let room = self.ledger.held() < self.limits.memory;
                assert_eq!(self.give(None), room);
            }
            // Whatever the thread of the outbox does, it does when the disk has answered.
            Step::Write(_) | Step::Sync | Step::WriteAcks | Step::Load if self.hangs => {}
            Step::DiskFails | Step::DiskFailsForLong | Step::DiskWorks if self.hangs => {}
            Step::DiskHangs => {
                self.hangs = true;
                self.force();
                self.ledger.set_hangs(true);
            }
            Step::DiskAnswers => {
                self.hangs = false;
                self.ledger.set_hangs(false);
            }
            Step::Write(most) => self.write(*most),
            Step::Sync => self.sync(),
            Step::WriteAcks => self.disk.acked_to = self.ledger.acked_to(),
            Step::Load => self.load(),
            Step::DiskFails => {
                self.disk.works = false;
                self.write(1);
            }
            Step::DiskFailsForLong if !self.disk.works => {
                self.force();
                self.ledger.store_failed(self.disk.written(), true);
            }
            Step::DiskFailsForLong => {}
            Step::DiskWorks => {
                if !std::mem::replace(&mut self.disk.works, true) {
                    self.ledger.store_works();
                }
            }
            Step::Connect if !self.online => self.connect(),
            Step::Connect => {}
            Step::Lose => self.lose(),
            Step::Send => self.send(),
            Step::Ack(which) => self.ack(*which),
            Step::Kill => {
                // The operating system still writes what it was given.
                self.disk.safe = self.disk.records.len();
                self.restart();
            }
            Step::PowerCut => {
                self.disk.records.truncate(self.disk.safe);
                self.restart();
            }
        }
        assert!(self.ledger.held() <= self.limits.memory + self.open.len(), "memory is bounded");
        assert!(self.ledger.in_flight() <= self.limits.in_flight);
        assert_eq!(self.ledger.in_flight(), self.flying.len());
        self.judge_safety();
    }

    /// Everything works again, and nothing new comes.
    fn settle(&mut self) {
        self.step(&Step::DiskAnswers);
        self.step(&Step::DiskWorks);
        while let Some(trigger) = self.open.pop() {
            assert!(self.give(Some(trigger)));
            self.promised_parts.insert(trigger);
        }
        self.step(&Step::Connect);
        for _ in 0..10_000 {
            if self.ledger.is_empty() {
                break;
            }
            self.write(5);
            self.sync();
            self.load();
            self.send();
            self.ack(0);
        }
        assert!(self.ledger.is_empty() && self.ledger.held() == 0, "{} are stuck", self.ledger.len());
    }

    fn judge(&self) {
        let mut answers: HashMap<u64, BTreeSet<Item>> = HashMap::new();
        for item in &self.delivered {
            if let Some(trigger) = item.part {
                answers.entry(trigger).or_default().insert(*item);
            }
        }
        for (trigger, items) in &answers {
            let most = 1 + self.again.get(trigger).copied().unwrap_or_default();
            assert!(items.len() <= most, "part {trigger} got different events: {items:?}");
        }
        for trigger in &self.promised_parts {
            assert!(answers.contains_key(trigger), "part {trigger} was promised an event");
        }
        let delivered: BTreeSet<u64> = self.delivered.iter().map(|item| item.number).collect();
        assert!(self.promised_free.is_subset(&delivered), "{:?} lack some of {:?}", delivered, self.promised_free);
        let mut first = Vec::new();
        for item in &self.delivered {
            if !first.contains(item) {
                first.push(*item);
            }
        }
        assert!(first.is_sorted(), "first deliveries out of order: {first:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_counted_is_lost_and_no_part_is_answered_twice(
        steps in steps(), memory in 1..12usize, window in 1..6usize, in_flight in 1..4usize,
    ) {
        let mut world = World::new(Limits { memory, window: window.max(in_flight), in_flight });
        for step in &steps {
            world.step(step);
        }
        world.settle();
        world.judge();
    }

    /// Without a disk the same, as long as the process lives.
    #[test]
    fn in_memory_nothing_accepted_is_lost(pushes in prop::collection::vec(any::<bool>(), 0..60), memory in 1..20usize) {
        let mut ledger = Ledger::in_memory(Limits { memory, window: 4, in_flight: 2 });
        let (mut accepted, mut delivered) = (Vec::new(), Vec::new());
        for (number, lose) in pushes.into_iter().enumerate() {
            if ledger.push(CAMERA, None, number).is_ok() {
                accepted.push(number);
            } else {
                prop_assert_eq!(ledger.held(), memory);
            }
            if lose {
                ledger.connection_lost();
            } else {
                ledger.connected();
            }
            if number % 3 == 0 && let Some(next) = ledger.next_to_send() {
                let (id, item) = (next.id, *next.item);
                delivered.push(item);
                prop_assert_eq!(ledger.acked(id), Some(item));
            }
            prop_assert!(ledger.to_store(RecordId::default(), 9).is_empty() || memory == 0);
        }
        ledger.connected();
        while let Some(next) = ledger.next_to_send() {
            let (id, item) = (next.id, *next.item);
            delivered.push(item);
            ledger.acked(id);
        }
        prop_assert_eq!(delivered, accepted);
    }
}

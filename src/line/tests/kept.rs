//! The last picture's map stays where the engine has it until somebody asks.

use super::*;
use crate::anomaly::Fetch;

/// What lies on the card: the number of the batch, and how often anything was fetched.
#[derive(Default)]
struct Card {
    batch: AtomicU64,
    fetches: AtomicU64,
}

struct OnCard {
    card: Arc<Card>,
    batch: u64,
    value: f32,
}

impl Fetch for OnCard {
    fn fetch(&self) -> Vec<f32> {
        self.card.fetches.fetch_add(1, Ordering::Relaxed);
        let there = self.card.batch.load(Ordering::Relaxed) == self.batch;
        vec![if there { self.value } else { f32::NAN }; 16]
    }
}

/// Like an engine on a card: maps that somebody still holds are fetched before the next batch takes their place.
struct CardEngine {
    info: EngineInfo,
    card: Arc<Card>,
    handed_out: Vec<AnomalyMap>,
}

impl Engine for CardEngine {
    fn infer(&mut self, frames: &[&Frame]) -> Result<Vec<Prediction>, EngineError> {
        for map in self.handed_out.drain(..).filter(AnomalyMap::is_held_elsewhere) {
            map.values();
        }
        let batch = self.card.batch.fetch_add(1, Ordering::Relaxed) + 1;
        let predict = |frame: &&Frame| {
            let value = f32::from(frame.image.data()[0]) / 255.0;
            let values = OnCard { card: Arc::clone(&self.card), batch, value };
            let map = AnomalyMap::elsewhere(4, value, Box::new(values));
            Prediction { map, score: value, times: StageTimes::default(), tokens: None }
        };
        let predictions: Vec<Prediction> = frames.iter().map(predict).collect();
        self.handed_out = predictions.iter().map(|prediction| prediction.map.clone()).collect();
        Ok(predictions)
    }
    fn info(&self) -> &EngineInfo {
        &self.info
    }
}

#[test]
fn a_kept_map_is_fetched_only_when_asked_for() {
    let card = Arc::new(Card::default());
    let engine = CardEngine { info: info(3), card: Arc::clone(&card), handed_out: Vec::new() };
    let (busy, first) = camera("busy", 4, WhenFull::Wait);
    let (rare, second) = camera("rare", 4, WhenFull::Wait);
    let (line, notebook) = start_with(vec![first, second], engine, Vec::new());
    rare.send(Ok(frame("rare", 0, 51))).expect("room");
    until("the rare one", || notebook.events().len() == 1);
    (0..50).for_each(|seq| busy.send(Ok(frame("busy", seq, 20))).expect("room"));
    until("all", || notebook.events().len() == 51);
    assert_eq!(card.fetches.load(Ordering::Relaxed), 0, "nobody has asked");
    // The map of the other camera's batch has long been overwritten.
    let map = |camera| {
        let inspected = line.control().latest(Some(camera)).expect("a picture");
        (inspected.frame.seq, inspected.map.values()[0])
    };
    assert_eq!(map("rare"), (0, 0.2));
    assert_eq!(map("rare"), (0, 0.2));
    assert_eq!(map("busy"), (49, 20.0 / 255.0));
    assert_eq!(card.fetches.load(Ordering::Relaxed), 2);
    assert_eq!(line.stop(LONG).stats.events(), 51);
}

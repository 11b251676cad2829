//! Parts, their deadlines and commands, with the camera and the engine that tests wind by hand.

use super::*;
use crate::line::parts::TriggerMode;

fn with_trigger(mode: TriggerMode, deadline: u64, camera: (CameraPlan, SourceOpener)) -> (CameraPlan, SourceOpener) {
    let (mut plan, open) = camera;
    plan.trigger = TriggerPlan { mode, deadline: Some(Duration::from_millis(deadline)), ..TriggerPlan::free() };
    (plan, open)
}

/// Part, reason and frame of every event so far.
fn told(notebook: &Notebook) -> Vec<(String, Option<NoVerdictReason>, Option<u64>)> {
    let one = |event: &InspectionEvent| {
        let part = event.part.as_ref().map(|part| part.id.clone()).unwrap_or_default();
        (part, event.reason, event.frame.as_ref().map(|frame| frame.seq))
    };
    notebook.events().iter().map(one).collect()
}

fn trigger(line: &Line, id: &str) {
    line.control().trigger(None, id, None, SystemClock.now(), false).expect("accepted");
}

#[test]
fn a_part_past_its_deadline_is_told_while_the_engine_is_still_busy_with_it() {
    let (feed, plan) = camera("a", 8, WhenFull::Reject);
    let ((seen, open), inner) = gate();
    let (line, notebook) = start(vec![with_trigger(TriggerMode::Hardware, 200, plan)], Some(inner));
    let began = Instant::now();
    feed.send(Ok(frame("a", 0, 20))).expect("room");
    assert_eq!(seen.recv_timeout(LONG).expect("busy"), 1);
    feed.send(Ok(frame("a", 1, 20))).expect("room");
    until("both are given up", || notebook.events().len() == 2);
    assert!(began.elapsed() >= Duration::from_millis(200));
    let late = Some(NoVerdictReason::Deadline);
    assert_eq!(told(&notebook), [("1".into(), late, Some(0)), ("2".into(), late, Some(1))]);
    assert!(notebook.events().iter().all(|event| event.latency_ms.total < 5_000.0));
    open.send(()).expect("open");
    // The answer is late and goes nowhere; the frame that waited is not looked at any more.
    until("the answer is counted", || line.control().cameras()[0].parts.late == 1);
    let report = line.stop(LONG);
    assert_eq!((notebook.events().len(), report.stats.batches), (2, 1));
}

#[test]
fn what_the_queue_drops_is_told_in_the_order_of_the_triggers() {
    let (feed, plan) = camera("a", 2, WhenFull::DropOldest);
    let ((seen, open), inner) = gate();
    let (line, notebook) = start(vec![with_trigger(TriggerMode::Hardware, 60_000, plan)], Some(inner));
    feed.send(Ok(frame("a", 0, 20))).expect("room");
    seen.recv_timeout(LONG).expect("busy");
    // Frame 1 gives way, frames 2 to 4 never came, and 5 and 6 wait.
    for seq in [1, 5, 6] {
        feed.send(Ok(frame("a", seq, 20))).expect("room");
    }
    until("one drop", || line.queues()[0].1.dropped == 1);
    assert!(notebook.events().is_empty(), "part 1 has no outcome yet");
    (0..2).for_each(|_| open.send(()).expect("open"));
    line.stop(LONG);
    let (overrun, lost) = (Some(NoVerdictReason::Overrun), Some(NoVerdictReason::CameraLost));
    let expected = [
        ("1", None, Some(0)),
        ("2", overrun, Some(1)),
        ("3", lost, None),
        ("4", lost, None),
        ("5", lost, None),
        ("6", None, Some(5)),
        ("7", None, Some(6)),
    ];
    assert_eq!(told(&notebook), expected.map(|(id, reason, seq)| (id.to_owned(), reason, seq)));
    assert!(notebook.events().iter().all(|event| event.frame.as_ref().is_none_or(|frame| frame.skipped_before == 0)));
}

#[test]
fn a_command_gets_the_first_frame_after_it_and_a_lost_camera_answers_at_once() {
    let (feed, (mut plan, opener)) = camera("a", 8, WhenFull::Reject);
    plan.backoff_min = Duration::from_secs(600);
    let (line, notebook) = start(vec![with_trigger(TriggerMode::Software, 60_000, (plan, opener))], None);
    feed.send(Ok(frame("a", 0, 20))).expect("room");
    until("frame 0 is nobody's", || line.control().cameras()[0].parts.unclaimed == 1);
    trigger(&line, "A-1");
    trigger(&line, "A-2");
    let again = line.control().trigger(Some("a"), "A-1", None, SystemClock.now(), false).expect_err("it is open");
    assert!(again.to_string().starts_with("part 'A-1' of camera 'a' is still being inspected"), "{again}");
    let nobody = line.control().trigger(Some("b"), "A-3", None, SystemClock.now(), false).expect_err("no such camera");
    assert_eq!(nobody.to_string(), "there is no camera 'b'; this line has: a");
    feed.send(Ok(frame("a", 1, 200))).expect("room");
    feed.send(Ok(frame("a", 2, 20))).expect("room");
    until("both are judged", || notebook.events().len() == 2);
    trigger(&line, "A-3");
    let lost = SourceError::Lost { camera: "a".into(), address: "usb".into(), reason: "unplugged".into() };
    feed.send(Err(lost)).expect("room");
    until("part 3 is owed none", || notebook.events().len() == 3);
    trigger(&line, "A-4");
    line.control().pause(None, true).expect("paused");
    trigger(&line, "A-5");
    line.control().trigger(None, "A-6", None, SystemClock.now(), true).expect("accepted");
    let reason = Some;
    use NoVerdictReason::{CameraLost, Paused, WarmingUp};
    let expected = [
        ("A-1", None, Some(1)),
        ("A-2", None, Some(2)),
        ("A-3", reason(CameraLost), None),
        ("A-4", reason(CameraLost), None),
        ("A-5", reason(Paused), None),
        ("A-6", reason(WarmingUp), None),
    ];
    assert_eq!(told(&notebook), expected.map(|(id, reason, seq)| (id.to_owned(), reason, seq)));
    assert_eq!(notebook.events()[0].verdict, VerdictWord::Fail);
    let control = line.control();
    line.stop(LONG);
    let ended = control.trigger(None, "A-7", None, SystemClock.now(), false).expect_err("ended");
    assert_eq!(ended.to_string(), "the line is stopping and takes no more parts");
}

#[test]
fn an_engine_that_hangs_at_the_stop_owes_nobody_an_event() {
    let (feed, plan) = camera("a", 8, WhenFull::Reject);
    let ((seen, open), inner) = gate();
    let (line, notebook) = start(vec![with_trigger(TriggerMode::Hardware, 60_000, plan)], Some(inner));
    feed.send(Ok(frame("a", 0, 20))).expect("room");
    seen.recv_timeout(LONG).expect("busy");
    assert_eq!(line.stop(Duration::from_millis(300)).late, ["inference"]);
    assert_eq!(told(&notebook), [("1".into(), Some(NoVerdictReason::EngineError), Some(0))]);
    open.send(()).expect("open");
}

#[test]
fn a_recipe_is_taken_into_use_whole_or_not_at_all() {
    let (feed, plan) = camera("a", 8, WhenFull::Wait);
    let (line, notebook) = start(vec![plan], None);
    let control = line.control();
    let region = vec![vec![[0.0, 0.0], [8.0, 0.0], [0.0, 6.0]]];
    let change = |regions: &Vec<Vec<[f32; 2]>>, defect_threshold: f32| {
        let (camera, used) = control.used(None)?;
        let regions = regions.clone();
        let recipe = Arc::new(RecipeSpec { defect_threshold, regions, ..RecipeSpec::clone(&used.recipe) });
        control.change(&camera, Used { recipe, ..used }).map(|change| drop(change.apply()))
    };
    let early = change(&region, 0.5).expect_err("no frame yet").to_string();
    assert!(early.starts_with("camera 'a' has shown no frame yet"), "{early}");
    feed.send(Ok(frame("a", 0, 200))).expect("room");
    until("an event", || notebook.events().len() == 1);
    let wrong = change(&vec![vec![[0.0, 0.0], [9.0, 0.0], [0.0, 6.0]]], 0.5).expect_err("outside").to_string();
    assert!(wrong.contains("has the corner [9, 0] outside") && wrong.ends_with("the recipe in use stays"), "{wrong}");
    let wrong = change(&region, 1.5).expect_err("out of range").to_string();
    assert!(wrong.contains("defect_threshold 1.5 is out of range"), "{wrong}");
    change(&region, 0.9).expect("good");
    feed.send(Ok(frame("a", 1, 200))).expect("room");
    until("an event", || notebook.events().len() == 2);
    let judged: Vec<_> =
        notebook.events().iter().map(|event| (event.recipe.version, event.verdict, event.defect_threshold)).collect();
    assert_eq!(judged, [(1, VerdictWord::Fail, 0.5), (2, VerdictWord::Pass, 0.9)]);
    line.stop(LONG);
}

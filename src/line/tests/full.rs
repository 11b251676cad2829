//! A way out that is full, and threads that end: nothing else of the line stands still, and nothing ends unseen.

use super::*;
use crate::line::parts::TriggerMode;

fn software(camera: (CameraPlan, SourceOpener)) -> (CameraPlan, SourceOpener) {
    let (mut plan, open) = camera;
    let deadline = Some(Duration::from_millis(100));
    plan.trigger = TriggerPlan { mode: TriggerMode::Software, deadline, ..TriggerPlan::free() };
    (plan, open)
}

fn of<'a>(events: &'a [InspectionEvent], camera: &str) -> Vec<&'a InspectionEvent> {
    events.iter().filter(|event| event.camera == camera).collect()
}

#[test]
fn a_full_way_out_keeps_only_the_source_waiting_that_can_wait() {
    const FRAMES: u64 = 60;
    let (files, waits) = camera("files", 4, WhenFull::Wait);
    let (_belt, triggered) = camera("belt", 4, WhenFull::DropOldest);
    let (line, notebook) = start(vec![waits, software(triggered)], None);
    notebook.full.store(true, Ordering::Relaxed);
    (0..FRAMES).for_each(|seq| files.send(Ok(frame("files", seq, 20))).expect("room"));
    // The folder waits with all but the frames that are on their way.
    until("the first refusal", || line.queues()[0].1.taken > 0);
    std::thread::sleep(Duration::from_millis(300));
    assert!(files.len() > 40, "{} frames are left", files.len());
    let control = line.control();
    let began = Instant::now();
    control.trigger(Some("belt"), "A-1", None, SystemClock.now(), false).expect_err("owed nothing");
    notebook.owes_all.store(true, Ordering::Relaxed);
    control.trigger(Some("belt"), "A-2", None, SystemClock.now(), false).expect("accepted");
    control.pause(Some("belt"), true).expect("paused");
    assert_eq!(control.cameras()[1].parts.triggers, 1);
    until("the deadline of another camera", || of(&notebook.events(), "belt").len() == 1);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(of(&notebook.events(), "files").is_empty());
    let steps = notebook.steps.load(Ordering::Relaxed);
    until("signs of life", || notebook.steps.load(Ordering::Relaxed) > steps);
    // There is room again: nothing is missing.
    notebook.full.store(false, Ordering::Relaxed);
    until("every frame", || of(&notebook.events(), "files").len() == FRAMES as usize);
    let events = notebook.events();
    let told: Vec<_> = of(&events, "files")
        .iter()
        .map(|event| (event.seq, event.frame.as_ref().map(|frame| (frame.seq, frame.skipped_before))))
        .collect();
    assert_eq!(told, (0..FRAMES).map(|seq| (seq + 1, Some((seq, 0)))).collect::<Vec<_>>());
    // One refused trigger, no refused verdict.
    assert_eq!(line.stop(LONG).stats.refused, 1);
}

#[test]
fn a_stop_does_not_wait_for_a_way_out_that_is_full() {
    let (files, waits) = camera("files", 4, WhenFull::Wait);
    let (line, notebook) = start(vec![waits], None);
    notebook.full.store(true, Ordering::Relaxed);
    (0..20).for_each(|seq| files.send(Ok(frame("files", seq, 20))).expect("room"));
    until("the first refusal", || line.queues()[0].1.taken > 0);
    let began = Instant::now();
    let report = line.stop(Duration::from_secs(3));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!((report.late.len(), report.panicked.len()), (0, 0));
    assert!(report.stats.refused > 0);
}

fn ending(line: &mut Line) -> String {
    match line.wait(LONG) {
        Some(LineEnd::Failed(error)) => error.to_string(),
        end => panic!("{end:?}"),
    }
}

#[test]
fn a_thread_that_dies_ends_the_line_with_its_name() {
    let (feed, plan) = camera("a", 4, WhenFull::Reject);
    let (mut line, notebook) = start(vec![plan], None);
    notebook.panics.store(true, Ordering::Relaxed);
    feed.send(Ok(frame("a", 0, 20))).expect("room");
    assert!(ending(&mut line).contains("inference"));
    line.stop(LONG);

    // Nothing but the deadline thread speaks of this part.
    let (_feed, plan) = camera("a", 4, WhenFull::Reject);
    let (mut line, notebook) = start(vec![software(plan)], None);
    notebook.panics.store(true, Ordering::Relaxed);
    line.control().trigger(None, "A-1", None, SystemClock.now(), false).expect("accepted");
    assert!(ending(&mut line).contains("deadlines"));
    notebook.panics.store(false, Ordering::Relaxed);
    line.stop(LONG);

    struct Broken(Receiver<()>);
    impl Source for Broken {
        fn next(&mut self, _: Duration) -> Result<Option<Frame>, SourceError> {
            self.0.recv_timeout(LONG).expect("the word to go");
            panic!("on purpose")
        }
        fn stop(&mut self) {}
    }
    let (tell, told) = bounded(1);
    let (_feed, (plan, _)) = camera("a", 4, WhenFull::Reject);
    let (mut line, _) =
        start(vec![(plan, Box::new(move || Ok(Box::new(Broken(told.clone())) as Box<dyn Source>)))], None);
    tell.send(()).expect("room");
    assert!(ending(&mut line).contains("cam-a"));
    line.stop(LONG);
}

#[test]
fn a_thread_that_returns_early_ends_the_line_with_its_name() {
    for thread in [DEADLINES, INFERENCE] {
        let (_feed, plan) = camera("a", 4, WhenFull::Reject);
        let (mut line, _) = start(vec![plan], None);
        let mut other = Crew::new(3);
        let (hold, held) = bounded::<()>(0);
        for name in [INFERENCE, DEADLINES, "cam-a"] {
            let (ends, held) = (name == thread, held.clone());
            other.spawn(name, move || assert!(ends || held.recv().is_err())).expect("spawned");
        }
        let mut crew = std::mem::replace(&mut line.crew, other);
        assert!(ending(&mut line).contains(thread));
        drop(hold);
        std::mem::swap(&mut crew, &mut line.crew);
        line.stop(LONG);
    }
}

//! Frames that their source calls damaged: no verdict, one event for each part, in its turn.

use super::*;
use crate::line::parts::TriggerMode;

fn damaged(seq: u64) -> Frame {
    let mut frame = frame("a", seq, 20);
    frame.image.damaged = true;
    frame
}

fn told(notebook: &Notebook) -> Vec<(String, Option<NoVerdictReason>, Option<u64>)> {
    let one = |event: &InspectionEvent| {
        let part = event.part.as_ref().map(|part| part.id.clone()).unwrap_or_default();
        (part, event.reason, event.frame.as_ref().map(|frame| frame.seq))
    };
    notebook.events().iter().map(one).collect()
}

const DAMAGED: Option<NoVerdictReason> = Some(NoVerdictReason::FrameDamaged);

#[test]
fn a_free_running_camera_tells_of_damaged_frames_in_their_turn() {
    let (feed, plan) = camera("a", 8, WhenFull::Wait);
    let ((seen, open), inner) = gate();
    let (line, notebook) = start(vec![plan], Some(inner));
    feed.send(Ok(frame("a", 0, 20))).expect("room");
    seen.recv_timeout(LONG).expect("busy");
    // They wait together: one batch holds both kinds, one only damaged frames.
    for next in [frame("a", 1, 20), damaged(2), frame("a", 3, 20), damaged(4), damaged(5), damaged(6)] {
        feed.send(Ok(next)).expect("room");
    }
    until("all wait", || line.queues()[0].1.waiting == 6);
    assert_eq!(line.control().cameras()[0].damaged, 4);
    (0..3).for_each(|_| open.send(()).expect("open"));
    until("all are told", || notebook.events().len() == 7);
    let report = line.stop(LONG);
    let expected = [None, None, DAMAGED, None, DAMAGED, DAMAGED, DAMAGED];
    let expected: Vec<_> = (0..).zip(expected).map(|(seq, reason)| (String::new(), reason, Some(seq))).collect();
    assert_eq!(told(&notebook), expected);
    assert_eq!((report.stats.batches, report.stats.no_verdict), (2, 4));
    assert!(notebook.events().iter().all(|event| event.score.is_some() == event.reason.is_none()));
}

#[test]
fn where_every_frame_is_a_part_a_damaged_one_is_a_part_without_verdict() {
    let (feed, (mut plan, open)) = camera("a", 8, WhenFull::Wait);
    plan.trigger = TriggerPlan { mode: TriggerMode::Hardware, ..TriggerPlan::free() };
    let (line, notebook) = start(vec![(plan, open)], None);
    for next in [frame("a", 0, 20), damaged(1), frame("a", 2, 20), damaged(3)] {
        feed.send(Ok(next)).expect("room");
    }
    until("all are told", || notebook.events().len() == 4);
    line.stop(LONG);
    let expected = [("1", None, 0), ("2", DAMAGED, 1), ("3", None, 2), ("4", DAMAGED, 3)];
    assert_eq!(told(&notebook), expected.map(|(id, reason, seq)| (id.to_owned(), reason, Some(seq))));
}

#[test]
fn a_part_named_by_command_whose_frame_is_damaged_has_one_event() {
    for mode in [TriggerMode::Software, TriggerMode::Matched] {
        let (feed, (mut plan, open)) = camera("a", 8, WhenFull::Wait);
        let window = Duration::from_secs(600);
        plan.trigger = TriggerPlan { mode, deadline: Some(window), window, ..TriggerPlan::free() };
        let (line, notebook) = start(vec![(plan, open)], None);
        for (seq, id) in [(0, "A"), (1, "B"), (2, "C")] {
            line.control().trigger(None, id, Some(seq), SystemClock.now(), false).expect("accepted");
            let next = if seq == 1 { damaged(seq) } else { frame("a", seq, 20) };
            feed.send(Ok(next)).expect("room");
            until("it is told", || notebook.events().len() as u64 == seq + 1);
        }
        line.stop(LONG);
        let expected = [("A", None, 0), ("B", DAMAGED, 1), ("C", None, 2)];
        let expected = expected.map(|(id, reason, seq)| (id.to_owned(), reason, Some(seq)));
        assert_eq!(told(&notebook), expected, "{mode:?}");
    }
}

#[test]
fn a_file_that_is_no_picture_is_counted_in_every_mode() {
    for mode in [TriggerMode::Free, TriggerMode::Hardware] {
        let (feed, (mut plan, open)) = camera("a", 8, WhenFull::Wait);
        plan.trigger = TriggerPlan { mode, ..TriggerPlan::free() };
        let (line, _notebook) = start(vec![(plan, open)], None);
        let (camera, file, reason) = ("a".to_owned(), "1.png".into(), "the file is empty".to_owned());
        feed.send(Ok(frame("a", 0, 20))).expect("room");
        feed.send(Err(SourceError::Damaged { camera, seq: 1, file, size: None, reason })).expect("room");
        feed.send(Ok(damaged(2))).expect("room");
        until("both are counted", || line.control().cameras()[0].damaged == 2);
        line.stop(LONG);
    }
}

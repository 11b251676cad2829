//! Cameras that go on in another way: what is in hand is answered by what it came under.

use super::*;
use crate::line::change::Reconfigured;
use crate::line::parts::TriggerMode;
use crate::view::ViewSpec;

fn reconfigured(line: &Line, way: Option<Way>, waits: bool) -> Result<(), control::ControlError> {
    let control = line.control();
    let (_, used) = control.used(Some("a"))?;
    let configured = used.clone();
    let settings = Reconfigured { used, configured, way, reopened: false, waits };
    control.reconfigure("a", settings).map(|change| _ = change.apply())
}

#[test]
fn frames_in_hand_are_answered_as_they_came_and_the_next_ones_are_parts() {
    let (feed, plan) = camera("a", 4, WhenFull::Reject);
    let ((seen, open), inner) = gate();
    let (line, notebook) = start(vec![plan], Some(inner));
    feed.send(Ok(frame("a", 0, 20))).expect("room");
    seen.recv_timeout(LONG).expect("the engine has frame 0");
    for seq in 1..=2 {
        feed.send(Ok(frame("a", seq, 20))).expect("room");
    }
    until("two wait", || line.queues()[0].1.waiting == 2);
    let control = line.control();
    reconfigured(&line, None, true).expect("nothing has changed");
    let trigger = TriggerPlan::hardware(None);
    let arrangement = Arrangement { queue: 2, when_full: WhenFull::Reject, trigger };
    control.reopen("a", Reopening { open: None, arrangement }).expect("a camera");
    // A threshold that comes meanwhile is that of the frames to come.
    let (_, used) = control.used(Some("a")).expect("a camera");
    let recipe = Arc::new(RecipeSpec { defect_threshold: 0.75, ..RecipeSpec::clone(&used.recipe) });
    control.change("a", Used { recipe, ..used }).expect("it fits").apply();
    until("the camera takes no more", || !line.stations[0].reopen.is_due());
    for seq in 3..=4 {
        feed.send(Ok(frame("a", seq, 20))).expect("room");
    }
    let waits = || control.gone_on(&["a".into()], Duration::from_millis(50));
    assert_eq!(waits(), ["a".into()], "the engine has not answered");
    open.send(()).expect("open");
    assert_eq!(seen.recv_timeout(LONG).expect("what waited"), 2);
    assert_eq!(waits(), ["a".into()], "the engine has the last ones");
    open.send(()).expect("open");
    assert!(control.gone_on(&["a".into()], LONG).is_empty());
    (0..2).for_each(|_| open.send(()).expect("open"));
    until("five events", || notebook.events().len() == 5);
    let told: Vec<_> = notebook
        .events()
        .iter()
        .map(|event| (event.seq, event.part.as_ref().map(|part| part.trigger), event.defect_threshold))
        .collect();
    assert_eq!(told, [(1, None, 0.5), (2, None, 0.5), (3, None, 0.5), (4, Some(4), 0.75), (5, Some(5), 0.75)]);
    assert_eq!(control.cameras()[0].trigger, TriggerMode::Hardware);
    line.stop(LONG);
}

#[test]
fn parts_without_a_frame_are_told_when_their_camera_goes_on_in_another_way() {
    let (feed, (mut plan, open)) = camera("a", 4, WhenFull::Reject);
    plan.trigger = TriggerPlan { mode: TriggerMode::Software, ..TriggerPlan::free() };
    let (line, notebook) = start(vec![(plan.clone(), open)], None);
    let control = line.control();
    control.trigger(None, "waits", None, SystemClock.now(), false).expect("accepted");
    reconfigured(&line, None, true).expect("nothing has changed");
    let arrangement = Arrangement { trigger: TriggerPlan::free(), ..plan.arrangement() };
    control.reopen("a", Reopening { open: None, arrangement }).expect("a camera");
    assert!(control.gone_on(&["a".into()], LONG).is_empty());
    assert!(control.trigger(None, "late", None, SystemClock.now(), false).is_err(), "it runs free");
    feed.send(Ok(frame("a", 0, 20))).expect("room");
    until("two events", || notebook.events().len() == 2);
    let events = notebook.events();
    assert_eq!((events[0].reason, events[1].reason), (Some(NoVerdictReason::CameraLost), None));
    assert_eq!(events[0].part.as_ref().map(|part| &*part.id), Some("waits"));
    line.stop(LONG);
}

#[test]
fn a_view_that_does_not_fit_frames_or_memory_is_refused_and_nothing_changes() {
    let (feed, plan) = camera("a", 4, WhenFull::Reject);
    let (line, notebook) = start(vec![plan], None);
    feed.send(Ok(frame("a", 0, 20))).expect("room");
    until("an event", || !notebook.events().is_empty());
    let crop = |crop| Some(Way { view: ViewSpec { crop: Some(crop), ..ViewSpec::default() }, locate: None });
    let said = reconfigured(&line, crop([4, 0, 5, 6]), false).expect_err("outside").to_string();
    assert!(said.starts_with("camera 'a': [camera.view]: crop [4, 0, 5, 6]"), "{said}");
    let control = line.control();
    let (_, used) = control.used(None).expect("one camera");
    let memory = Some(super::judging::learnt(control.model(), (640, 480)));
    control.change("a", Used { memory, ..used }).expect("of whole pictures").apply();
    let said = reconfigured(&line, crop([4, 0, 4, 6]), false).expect_err("another view").to_string();
    assert!(said.contains("was made with the view of whole pictures") && said.ends_with("in use stay"), "{said}");
    let (_, used) = control.used(None).expect("one camera");
    control.change("a", Used { memory: None, ..used }).expect("without").apply();
    reconfigured(&line, crop([4, 0, 4, 6]), false).expect("it fits");
    assert_eq!(control.way("a").expect("a camera").view.crop, Some([4, 0, 4, 6]));
    let (_, used) = control.used(None).expect("one camera");
    let memory = Some(super::judging::learnt(control.model(), (640, 480)));
    assert!(control.change("a", Used { memory, ..used }).is_err(), "it was made with another view");
    line.stop(LONG);
}

/// Settings that are read again while the camera still finishes what it had in hand wait for their own turn: the way of the first
/// ones does not come with the thresholds of the second.
#[test]
fn settings_read_twice_in_a_row_are_not_mixed() {
    let (feed, plan) = camera("a", 4, WhenFull::Reject);
    let ((seen, open), inner) = gate();
    let (line, notebook) = start(vec![plan], Some(inner));
    feed.send(Ok(frame("a", 0, 20))).expect("room");
    seen.recv_timeout(LONG).expect("the engine has frame 0");
    let control = line.control();
    let arrangement = |trigger| Arrangement { queue: 2, when_full: WhenFull::Reject, trigger };
    reconfigured(&line, None, true).expect("nothing has changed");
    let first = arrangement(TriggerPlan::hardware(None));
    control.reopen("a", Reopening { open: None, arrangement: first }).expect("a camera");
    until("the camera takes no more", || !line.stations[0].reopen.is_due());
    // The second ones are taken over, and the camera does not know yet how frames are taken under them.
    let (_, used) = control.used(Some("a")).expect("a camera");
    let recipe = Arc::new(RecipeSpec { defect_threshold: 0.75, ..RecipeSpec::clone(&used.recipe) });
    let used = Used { recipe, ..used };
    let settings = Reconfigured { configured: used.clone(), used, way: None, reopened: false, waits: true };
    _ = control.reconfigure("a", settings).expect("it fits").apply();
    open.send(()).expect("open");
    until("the first way is gone", || control.cameras()[0].trigger == TriggerMode::Hardware);
    let threshold = || control.recipe(Some("a")).expect("a camera").1.defect_threshold;
    assert_eq!((threshold(), line.stations[0].settings.is_coming()), (0.5, true), "not under the first way");
    let second = arrangement(TriggerPlan::free());
    control.reopen("a", Reopening { open: None, arrangement: second }).expect("a camera");
    assert!(control.gone_on(&["a".into()], LONG).is_empty());
    assert_eq!((threshold(), control.cameras()[0].trigger), (0.75, TriggerMode::Free));
    feed.send(Ok(frame("a", 1, 20))).expect("room");
    seen.recv_timeout(LONG).expect("the engine has frame 1");
    open.send(()).expect("open");
    until("two events", || notebook.events().len() == 2);
    let told: Vec<_> = notebook.events().iter().map(|event| event.defect_threshold).collect();
    assert_eq!(told, [0.5, 0.75]);
    line.stop(LONG);
}
